//! What the daemon logs about a watched folder, and that it logs each thing once.

use crate::support::{CEILING, Emulator, Hark, NatsServer, wait_until, wav};

/// Lines of a log that contain these words.
fn lines(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn links_to_files_and_folders_are_skipped_and_that_is_logged_once() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let setup = setup.folder_with("calls", "rescan = \"1s\"\nexisting = \"process\"\n");
    let outside = setup.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("a.wav"), wav(1.0, 1)).unwrap();
    for (target, link) in
        [("outside/a.wav", "file.wav"), ("outside", "folder"), ("outside/a.wav", "other.wav")]
    {
        std::os::unix::fs::symlink(setup.path(target), setup.path("calls").join(link)).unwrap();
    }
    let mut hark = setup.start().await;
    // Each file is found by a separate scan.
    for seed in 2..5 {
        let path = hark.drop_file("calls", &format!("{seed}.wav"), &wav(1.0, seed));
        let done = hark.next_event("job.completed").await;
        assert_eq!(done.body["recording"]["name"], path.file_name().unwrap().to_str().unwrap());
    }
    assert_eq!(hark.ended_jobs(3).await.len(), 3);
    assert_eq!(lines(&hark.log(), "symbolic links are ignored"), 1, "{}", hark.log());
}

#[tokio::test]
async fn system_folders_and_excluded_folders_are_not_entered_and_the_first_are_logged_once() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let keys = "rescan = \"1s\"\nexisting = \"process\"\nexclude = [\"archive\", \"**/*-draft.wav\"]\n";
    let setup = setup.folder_with("calls", keys);
    let calls = setup.path("calls");
    for (seed, folder) in
        (0..).zip(["#snapshot/2026", "deep/@Recycle", "other/@Recycle", "archive", "deep/archive"])
    {
        std::fs::create_dir_all(calls.join(folder)).unwrap();
        std::fs::write(calls.join(folder).join("a.wav"), wav(0.1, seed)).unwrap();
    }
    std::fs::write(calls.join("a-draft.wav"), wav(0.1, 9)).unwrap();
    let mut hark = setup.start().await;
    let done = hark.next_event("job.completed").await;
    let uri = done.body["recording"]["uri"].as_str().unwrap();
    assert!(
        uri.ends_with("/deep/archive/a.wav"),
        "only what lies in `archive` at the top is excluded: {uri}"
    );
    for seed in 20..23 {
        hark.drop_file("calls", &format!("{seed}.wav"), &wav(0.1, seed));
        hark.next_event("job.completed").await;
    }
    assert_eq!(hark.ended_jobs(4).await.len(), 4);
    let log = hark.log();
    for (name, times) in [("#snapshot", 1), ("@Recycle", 1), ("archive", 0), ("draft", 0)] {
        let named = log.lines().filter(|line| line.contains("is not entered") && line.contains(name)).count();
        assert_eq!(named, times, "{name}: {log}");
    }
}

#[tokio::test]
async fn a_new_file_that_is_skipped_is_logged_in_one_line() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder_with("calls", "rescan = \"1s\"\n");
    let calls = setup.path("calls");
    for seed in 0..200 {
        std::fs::write(calls.join(format!("{seed}.wav")), wav(0.1, seed)).unwrap();
    }
    // A file as old as the first start counts as new; these have to be older.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let mut hark = setup.start().await;
    let heard = hark.drop_file("calls", "heard.wav", &wav(0.1, 1_000));
    hark.ended_jobs(1).await;

    std::fs::rename(&heard, calls.join("renamed.wav")).unwrap();
    wait_until("the new name to be logged", CEILING, async || {
        lines(&hark.log(), "known recordings were renamed or are back") == 1
    })
    .await;
    std::fs::write(calls.join("renamed.wav"), wav(0.1, 1_000)).unwrap();
    wait_until("the same bytes to be logged", CEILING, async || {
        lines(&hark.log(), "have the bytes of a recording that was recognized at the same path") == 1
    })
    .await;
    for seed in 0..200 {
        let file = std::fs::File::options().write(true).open(calls.join(format!("{seed}.wav"))).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let touched = || {
        let log = hark.log();
        let told =
            log.lines().filter(|line| line.contains("were written or touched, and their size is the same"));
        let files = |line: &str| line.split("files=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        (told.clone().count(), told.filter_map(files).sum::<u64>())
    };
    wait_until("all touched files to be logged", CEILING, async || touched().1 == 200).await;
    assert!(touched().0 < 20, "{:?}", touched());
    hark.drop_file("calls", "fresh.wav", &wav(0.1, 1_001));
    assert_eq!(hark.ended_jobs(2).await.len(), 2);
}

#[tokio::test]
async fn a_recognized_file_that_grows_is_logged_with_its_settle_time() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let mut audio = wav(0.3, 1);
    // As a recorder does that cannot know yet; else the header would say that more comes.
    audio[40..44].fill(0);
    for (part, end) in (1..).zip([audio.len() / 3, audio.len() / 2, audio.len()]) {
        let path = hark.path("calls").join("call.wav");
        let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        let begin = file.metadata().unwrap().len() as usize;
        std::io::Write::write_all(&mut file, &audio[begin..end]).unwrap();
        drop(file);
        hark.ended_jobs(part).await;
    }
    let log = hark.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("a recognized file grows")).collect();
    assert!(told.len() == 1 && told[0].contains("call.wav") && told[0].contains("settle=100ms"), "{log}");
}

#[tokio::test]
async fn an_obstacle_to_putting_a_recording_away_is_named_and_counted() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let done = setup.path("done");
    std::fs::create_dir(&done).unwrap();
    std::fs::write(done.join("x.wav"), "a file of the operator's").unwrap();
    let keys = format!("when_done = \"move\"\ndone_directory = '{}'\n", done.display());
    let mut hark = setup.folder_with("calls", &keys).start().await;
    std::fs::create_dir(hark.path("calls/x.wav")).unwrap();
    let stuck = hark.drop_file("calls/x.wav", "y.wav", &wav(0.1, 1));
    let other = hark.drop_file("calls", "other.wav", &wav(0.1, 2));
    hark.ended_jobs(2).await;
    wait_until("the other to be moved", CEILING, async || !other.exists()).await;
    wait_until("the reason to be logged", CEILING, async || {
        let taken = format!(
            "{} is a file, and would have to be a folder; move it away",
            done.join("x.wav").display()
        );
        let (_, page) = hark.get("/metrics").await.unwrap();
        let line =
            page.lines().find(|line| line.starts_with("hark_source_not_put_away_total{source=\"calls\"}"));
        let is_counted = line.is_some_and(|line| !line.ends_with(" 0"));
        lines(&hark.log(), &taken) == 1 && is_counted
    })
    .await;
    assert!(stuck.exists());
    std::fs::remove_file(done.join("x.wav")).unwrap();
    wait_until("the recording to be moved", CEILING, async || done.join("x.wav/y.wav").exists()).await;
}

#[tokio::test]
async fn a_wav_that_is_shorter_than_its_header_says_is_waited_for_and_then_heard_with_a_mark() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let (stalled, broken) = (wav(1.0, 1), wav(1.0, 2));
    let path = hark.drop_file("calls", "stalled.wav", &stalled[..9_000]);
    let began = std::time::Instant::now();
    hark.drop_file("calls", "broken.wav", &broken[..9_000]);
    hark.drop_file("calls", "whole.wav", &wav(1.0, 3));
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["recording"]["name"], "whole.wav", "{}", done.body);
    assert!(done.body["recording"].get("truncated").is_none(), "{}", done.body);
    std::fs::write(path, &stalled).unwrap();
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["recording"]["name"], "stalled.wav", "{}", done.body);
    assert_eq!(done.body["recording"]["duration_ms"], 1_000, "{}", done.body);

    let done = hark.next_event("job.completed").await;
    assert!(began.elapsed() > std::time::Duration::from_secs(3), "thirty times `settle`");
    assert_eq!(done.body["recording"]["name"], "broken.wav", "{}", done.body);
    for event in hark.events_of(done.job()).await.iter().skip(1) {
        assert_eq!(event.body["recording"]["truncated"], true, "{}", event.body);
    }
    let log = hark.log();
    assert_eq!(lines(&log, "the recording is shorter than its header says"), 1, "{log}");
    assert_eq!(hark.ended_jobs(3).await.len(), 3);
}
