//! What the daemon says of a watched folder to its operator, and that it says it once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an unwrap here is an assertion of the test")]

mod support;

use support::{Emulator, Hark, NatsServer, wav};

/// Lines of a log with these words.
fn lines(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn links_to_files_and_folders_are_passed_over_and_that_is_said_once() {
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
    // Each comes with a scan of its own.
    for seed in 2..5 {
        let path = hark.drop_file("calls", &format!("{seed}.wav"), &wav(1.0, seed));
        let done = hark.next_event("job.completed").await;
        assert_eq!(done.body["recording"]["name"], path.file_name().unwrap().to_str().unwrap());
    }
    assert_eq!(hark.ended_jobs(3).await.len(), 3);
    assert_eq!(lines(&hark.log(), "symbolic links are left alone"), 1, "{}", hark.log());
}
