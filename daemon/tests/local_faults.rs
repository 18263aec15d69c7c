//! Faults of the machine: a full disk, no free descriptors, a clock that was set. Nothing is lost, nothing is paid for again, and the
//! daemon recovers without a restart.

use std::time::{Duration, Instant};

use crate::support::{
    CEILING, Emulator, Footprint, Hark, Input, NatsServer, Setup, Stage, has_own_mounts, wait_until, wav,
};
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

/// Room for a ledger and little else.
const SMALL: u64 = 8 << 20;

/// A daemon with a directory source and a NATS source.
async fn stage(flags: &[&str], prepare: impl FnOnce(Setup) -> Setup) -> Stage {
    Stage::set(flags, |setup| prepare(setup.inbox("inbox", "hark.audio.inbox"))).await
}

#[tokio::test]
async fn a_full_disk_is_waited_for_and_answers_paid_meanwhile_are_kept() {
    if has_own_mounts("local_faults::a_full_disk_is_waited_for_and_answers_paid_meanwhile_are_kept") {
        outlive_a_full_disk(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn waiting_audio_leaves_the_last_space_of_a_disk_to_the_ledger() {
    if has_own_mounts("local_faults::waiting_audio_leaves_the_last_space_of_a_disk_to_the_ledger") {
        let mut stage = stage(&["--flash-delay", "2s"], |setup| setup.small_disk("state", SMALL)).await;
        // More audio than the disk has room for, and no more messages than one daemon takes at once.
        stage.publish(60, 12.0).await;
        let log = stage.hark.path("state").join("ledger.sqlite3-wal");
        let mut longest = 0;
        let watch = async {
            loop {
                longest = longest.max(std::fs::metadata(&log).map_or(0, |log| log.len()));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = stage.check() => {}
            () = watch => {}
        }
        // An eighth of the disk is kept free for the WAL and for the growth of the file at a checkpoint.
        assert!(longest < SMALL / 8, "the ledger's log took {longest} bytes");
    }
}

#[tokio::test]
#[ignore = "two minutes: messages are delivered again meanwhile"]
async fn a_daemon_survives_a_disk_that_is_full_for_longer_than_ack_wait() {
    if has_own_mounts("local_faults::a_daemon_survives_a_disk_that_is_full_for_longer_than_ack_wait") {
        outlive_a_full_disk(Duration::from_secs(75)).await;
    }
}

async fn outlive_a_full_disk(longer: Duration) {
    let mut stage =
        stage(&["--token-delay", "150ms"], |setup| setup.folder("calls").small_disk("state", SMALL)).await;
    stage.drop_files(4);
    stage.publish(4, 1.0).await;
    wait_until("8 requests", CEILING, async || stage.requests("flash") >= 8).await;
    stage.hark.disk("state").fill();
    // The service answers, and the daemon can store little of the answers. New inputs wait in the folder and in the stream.
    stage.hark.not_ready("full").await;
    stage.drop_files(4);
    stage.publish(4, 1.0).await;
    wait_until("the whole text of eight answers", CEILING, async || {
        let partials = stage.hark.partials();
        let is_whole =
            |input: &&Input| partials.iter().any(|event| event.body["text"] == input.text.as_str());
        stage.inputs.iter().filter(is_whole).count() == 8
    })
    .await;
    stage.hark.not_ready("spooled").await;
    let sources = stage.hark.json(&["sources"]).await;
    for source in sources.as_array().unwrap() {
        let reason = source["reason"].as_str().unwrap_or_default();
        assert!(source["state"] == "waiting" && reason.contains("make room on"), "{source}");
    }

    tokio::time::sleep(longer).await;
    stage.hark.disk("state").empty();
    let begin = Instant::now();
    stage.hark.ended_jobs(8).await;
    let elapsed = begin.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?} after there was room");
    stage.hark.ready().await;
    stage.check().await;
}

#[tokio::test]
async fn a_daemon_stops_and_starts_on_a_full_disk() {
    if !has_own_mounts("local_faults::a_daemon_stops_and_starts_on_a_full_disk") {
        return;
    }
    let mut stage =
        stage(&["--flash-delay", "1500ms"], |setup| setup.folder("calls").small_disk("state", SMALL)).await;
    stage.drop_files(2);
    stage.hark.ended_jobs(2).await;
    stage.hark.disk("state").fill();
    stage.drop_files(2);
    stage.hark.not_ready("full").await;
    let begin = Instant::now();
    assert!(stage.hark.stop().await.success());
    assert!(begin.elapsed() < Duration::from_secs(11), "{:?}", begin.elapsed());

    stage.hark.kill_and_launch();
    stage.hark.not_ready("").await;
    stage.hark.disk("state").empty();
    stage.hark.ready().await;
    stage.check().await;
}

#[tokio::test]
async fn a_first_start_waits_for_room_too() {
    if !has_own_mounts("local_faults::a_first_start_waits_for_room_too") {
        return;
    }
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").small_disk("state", SMALL);
    setup.disk("state").fill();
    let mut hark = setup.launch().await;
    let says_so = async |hark: &Hark, times: usize| {
        wait_until("the daemon to say what it waits for", CEILING, async || {
            hark.log().matches("make room on it").count() == times
        })
        .await;
    };
    says_so(&hark, 1).await;
    assert!(hark.stop().await.success(), "it stops while it waits");
    hark.kill_and_launch();
    says_so(&hark, 2).await;
    hark.not_ready("").await;
    hark.disk("state").empty();
    hark.ready().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.next_event("job.completed").await;
}

#[tokio::test]
async fn recordings_wait_in_their_folder_for_space_in_the_done_directory() {
    if !has_own_mounts("local_faults::recordings_wait_in_their_folder_for_space_in_the_done_directory") {
        return;
    }
    let mut stage = stage(&[], |setup| {
        let done = setup.path("done");
        let lines = format!("when_done = \"move\"\ndone_directory = '{}'\n", done.display());
        setup.folder_with("calls", &lines).small_disk("done", SMALL)
    })
    .await;
    stage.hark.disk("done").fill();
    stage.drop_files(3);
    stage.hark.ended_jobs(3).await;
    wait_until("the daemon to say why they stay", CEILING, async || {
        stage.hark.log().contains("cannot be moved or deleted")
    })
    .await;
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(stage.hark.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("calls"), ["1.wav", "2.wav", "3.wav"]);
    stage.hark.disk("done").empty();
    let begin = Instant::now();
    wait_until("the recordings to be put away", CEILING, async || names("calls").is_empty()).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?} after there was room", begin.elapsed());
    assert_eq!(names("done"), ["1.wav", "2.wav", "3.wav"], "nothing half written is left");
    stage.check().await;
}

#[tokio::test]
async fn sources_wait_while_the_state_directory_is_as_large_as_it_may_be() {
    let mut stage = stage(&[], |setup| setup.folder("calls").set("state.max_size", "\"32MiB\"")).await;
    stage.drop_files(1);
    stage.hark.ended_jobs(1).await;
    let large = stage.hark.path("state").join("large");
    std::fs::File::create(&large).unwrap().set_len(40 << 20).unwrap();
    stage.hark.not_ready("state.max_size").await;
    stage.drop_files(3);
    stage.publish(3, 1.0).await;
    // Longer than the daemon takes to accept a file or a message.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Messages are not counted: a request that was open before may still deliver some.
    let taken = stage.ledger().jobs;
    assert_eq!(taken.iter().filter(|job| job.source == "calls").count(), 1);

    std::fs::remove_file(large).unwrap();
    stage.hark.ready().await;
    stage.check().await;
}

#[tokio::test]
async fn without_descriptors_work_waits_and_no_recording_is_blamed() {
    let mut stage = stage(&["--token-delay", "1ms"], |setup| setup.folder("calls")).await;
    stage.drop_files(2);
    stage.hark.ended_jobs(2).await;
    let process = stage.hark.process().id();
    let limit = |descriptors: u64| {
        let pid = Pid::from_raw(i32::try_from(process).unwrap());
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(descriptors), maximum }).unwrap();
    };
    // One more than the daemon has open: an operation that needs two descriptors at once fails.
    limit(Footprint::of(process).descriptors as u64 + 1);
    stage.drop_files(20);
    stage.publish(5, 1.0).await;
    wait_until("the daemon to notice", CEILING, async || stage.hark.log().contains("Too many open files"))
        .await;
    let before = processor_time(process);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = processor_time(process) - before;
    assert!(spent < Duration::from_millis(1_500), "it spins: {spent:?} of processor time in 3 s");

    limit(1_024);
    stage.hark.ended_jobs(27).await;
    let blamed: Vec<_> =
        stage.hark.events().await.into_iter().filter(|event| event.kind() == "job.failed").collect();
    assert!(blamed.is_empty(), "{blamed:?}");
    stage.check().await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_no_job_waiting() {
    let mut stage = stage(&[], |setup| setup.folder("calls")).await;
    stage.service.set_faults(json!([{"kind": "status", "status": 503}])).await;
    stage.drop_files(3);
    for _ in 0..3 {
        stage.hark.next_event("job.retrying").await;
    }
    stage.hark.kill();
    // The state after the clock was set back by an hour: what was due soon is due in an hour.
    let ledger = Connection::open(stage.hark.path("state").join("ledger.sqlite3")).unwrap();
    ledger.execute("UPDATE piece SET due = due + 3600000", []).unwrap();
    drop(ledger);
    stage.service.set_faults(json!([])).await;
    stage.hark.restart().await;
    stage.hark.ended_jobs(3).await;
    stage.check().await;
}

#[tokio::test]
async fn recordings_wait_for_their_folder_and_a_touch_does_them_no_harm() {
    let mut stage = stage(&[], |setup| setup.folder("calls")).await;
    stage.service.set_faults(json!([{"kind": "status", "status": 503}])).await;
    stage.drop_files(3);
    for _ in 0..3 {
        stage.hark.next_event("job.retrying").await;
    }
    let (calls, aside) = (stage.hark.path("calls"), stage.hark.path("aside"));
    std::fs::rename(&calls, &aside).unwrap();
    stage.service.set_faults(json!([])).await;
    wait_until("the daemon to say that the folder is away", CEILING, async || {
        stage.hark.log().contains("the folder of recordings is away")
    })
    .await;
    for file in std::fs::read_dir(&aside).unwrap() {
        let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    std::fs::rename(&aside, &calls).unwrap();
    stage.hark.ended_jobs(3).await;
    stage.check().await;
}

#[tokio::test]
async fn a_stop_ends_in_ten_seconds_while_the_service_and_the_broker_are_stopped() {
    let mut stage = stage(&[], |setup| setup.folder("calls")).await;
    stage.service.pause();
    stage.drop_files(3);
    stage.publish(3, 1.0).await;
    wait_until("requests to be under way", CEILING, async || {
        let ledger = stage.ledger();
        ledger.jobs.len() == 6 && ledger.jobs.iter().all(|job| job.duty != "prepare")
    })
    .await;
    stage.nats.pause();
    let begin = Instant::now();
    let status = stage.hark.stop().await;
    let elapsed = begin.elapsed();
    assert!(status.success(), "{status}");
    assert!(elapsed < Duration::from_millis(10_500), "{elapsed:?}");
    stage.nats.resume();
    stage.service.resume();
    stage.hark.restart().await;
    stage.hark.ended_jobs(6).await;
}

/// Processor time of a process, all threads.
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = [11, 12].map(|field| fields[field].parse::<u64>().unwrap()).iter().sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}
