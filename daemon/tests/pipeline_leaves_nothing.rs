//! After many deaths of plugin processes the daemon has no more descriptors, threads or processes than before. The test has its own file
//! because it counts those of the whole process.

#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
use std::time::{Duration, Instant};

use hark_sdk::testing::transcript;

use crate::plugins::{Plugins, data};

/// Descriptors, threads and children of this process.
fn possessions() -> [usize; 3] {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    let children = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let children = task.unwrap().path().join("children");
        std::fs::read_to_string(children).unwrap_or_default().split_whitespace().count()
    });
    [entries("/proc/self/fd"), entries("/proc/self/task"), children.sum()]
}

async fn deaths(rounds: usize) -> Vec<Duration> {
    let mut back = Vec::new();
    for round in 0..rounds {
        let plugins =
            Plugins::new().c("moody").timeout(Duration::from_millis(200)).rust("hello").start().await;
        for what in ["segfault", "hang"] {
            let processed = plugins.process(transcript(&[&format!("do {what}")])).await;
            assert_eq!(data(&processed, "hello").count(), 1, "round {round}: {what}");
            let began = Instant::now();
            let processed = plugins.process(transcript(&["do nothing"])).await;
            back.push(began.elapsed());
            assert!(
                data(&processed, "moody").next().unwrap().get("greeting").is_some(),
                "round {round}: {what}"
            );
        }
        plugins.stop().await;
    }
    back
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_leave_nothing_behind() {
    deaths(2).await;
    let before = possessions();
    let mut back = deaths(12).await;
    back.sort();
    println!("back after a death: median {:?}, slowest {:?}", back[back.len() / 2], back[back.len() - 1]);
    let ceiling = Instant::now() + Duration::from_secs(10);
    while possessions().iter().zip(before).any(|(&now, before)| now > before) {
        assert!(Instant::now() < ceiling, "{before:?} before, {:?} after", possessions());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
