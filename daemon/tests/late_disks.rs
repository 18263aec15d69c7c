//! A disk that is mounted while the daemon runs, and a disk whose device and inode numbers changed when it was mounted again: files from
//! before the first start stay skipped, and recognized files stay recognized.

use std::path::Path;
use std::process::Command;

use crate::support::{CEILING, Emulator, Hark, NatsServer, SmallDisk, has_own_mounts, wait_until, wav};

fn run(program: &str, arguments: &[&Path]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// Moves a mount from one folder to another.
fn mount_at(disk: &Path, folder: &Path) {
    run("mount", &["--bind".as_ref(), disk, folder]);
    run("umount", &[disk]);
}

#[tokio::test]
async fn old_files_of_a_disk_that_is_mounted_late_are_skipped() {
    if !has_own_mounts("late_disks::old_files_of_a_disk_that_is_mounted_late_are_skipped") {
        return;
    }
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder_with("calls", "rescan = \"1s\"\n");
    let disks = ["whole", "below"].map(|name| setup.path(name));
    // `mount_at` moves the mounts, so the destructors would find nothing at these paths.
    let mounted = disks.each_ref().map(|disk| SmallDisk::over(disk, 1 << 20));
    for (seed, disk) in (0..).zip(&disks) {
        for number in 0..5 {
            std::fs::write(disk.join(format!("{number}.wav")), wav(0.1, 10 * seed + number)).unwrap();
        }
    }
    std::mem::forget(mounted);
    // A file as old as the first start counts as new; these have to be older.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let mut hark = setup.start().await;
    let calls = hark.path("calls");

    for (name, disk) in ["first.wav", "second.wav"].iter().zip(&disks) {
        let below = calls.join("disk");
        mount_at(disk, if disk.ends_with("whole") { &calls } else { &below });
        std::fs::create_dir_all(&below).unwrap();
        wait_until("the disk's files to be known", CEILING, async || {
            hark.log().matches("files from before the first start are skipped").count()
                == usize::from(disk.ends_with("below")) + 1
        })
        .await;
        hark.drop_file("calls", name, &wav(0.1, name.len() as u64 + 1_000));
        let done = hark.next_event("job.completed").await;
        assert_eq!(done.body["recording"]["name"], *name, "{}", done.body);
    }

    // A copy of the whole folder is mounted in its place: other device and inode numbers, the same names, sizes and times.
    let copy = hark.path("copy");
    let mounted = SmallDisk::over(&copy, 2 << 20);
    run("cp", &["-a".as_ref(), &calls.join("."), &copy]);
    std::mem::forget(mounted);
    run("umount", &[&calls.join("disk")]);
    run("umount", &[&calls]);
    mount_at(&copy, &calls);
    hark.drop_file("calls", "third.wav", &wav(0.1, 2_000));
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["recording"]["name"], "third.wav", "{}", done.body);
    hark.restart().await;
    hark.drop_file("calls", "fourth.wav", &wav(0.1, 2_001));
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["recording"]["name"], "fourth.wav", "{}", done.body);
    assert_eq!(hark.ended_jobs(4).await.len(), 4);
    drop(hark);
    // Only this test's namespace has the mount; the folder cannot be removed while the mount is there.
    run("umount", &[&calls]);
}
