//! No partial file: whatever writers do to a watched folder, the service receives only whole versions, and each last version once.
//!
//! `HARK_WRITERS` sets the number of writers, `HARK_SEED` repeats a run's decisions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{
    Emulator, Hark, LedgerRecord, NatsServer, ReceivedEvent, number_from, python, wait_until,
};
use serde::Deserialize;

const WRITERS: u64 = 240;
const SETTLE: Duration = Duration::from_millis(600);
const FOLDERS: [&str; 2] = ["calls", "archive"];

/// A writer's report.
#[derive(Debug, Deserialize)]
struct Written {
    manner: String,
    /// Path relative to the watched folder; none if no file is left.
    name: Option<String>,
    whole: Option<String>,
    earlier: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_writers_do_no_half_file_is_sent_and_each_whole_one_once() {
    let writers = number_from("HARK_WRITERS").unwrap_or(WRITERS);
    let of_now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let seed = number_from("HARK_SEED").unwrap_or_else(of_now);
    println!("HARK_SEED={seed} repeats the decisions of this run");
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "1ms", "--task-delay", "200ms"]).await;
    let settle = format!("settle = \"{}ms\"\n", SETTLE.as_millis());
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("log.level", "\"warn\"")
        .set("dashscope.task_queries_per_second", "200")
        .folder_with(FOLDERS[0], &settle)
        .folder_with(FOLDERS[1], &format!("{settle}route = \"long\"\n"))
        .lines("[[route]]\nname = \"default\"\n\n[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
        .start()
        .await;

    let written = FOLDERS.map(|folder| {
        let (watched, outside) = (hark.path(folder), hark.path(&format!("{folder}-outside")));
        std::fs::create_dir(&outside).unwrap();
        let at = FOLDERS.iter().position(|other| *other == folder).unwrap() as u64;
        tokio::task::spawn_blocking(move || write(&watched, &outside, writers / 2, seed + at))
    });
    let written: BTreeMap<&str, Vec<Written>> = FOLDERS
        .into_iter()
        .zip(futures::future::join_all(written).await.into_iter().map(Result::unwrap))
        .collect();

    let files = written.values().flatten().filter(|written| written.whole.is_some()).count();
    let state = hark.path("state");
    wait_until("every file to be recognized", Duration::from_secs(60 + writers / 50), async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let ledger = LedgerRecord::read(&state);
        ledger.jobs.len() >= files && ledger.open().next().is_none()
    })
    .await;
    // A duplicate would arrive with the next scan at the latest; a fresh file that is recognized proves that a scan has run.
    let fresh = hark.drop_file(FOLDERS[0], "fresh.wav", &crate::support::wav(1.0, seed));
    wait_until("the fresh file to be recognized", crate::support::CEILING, async || {
        hark.events()
            .await
            .iter()
            .any(|event| event.kind() == "job.completed" && told(event, "name") == "fresh.wav")
    })
    .await;
    std::fs::remove_file(fresh).unwrap();

    let events = hark.events().await;
    let mut jobs: HashMap<(&str, &str, &str), Vec<&ReceivedEvent>> = HashMap::new();
    for end in events.iter().filter(|event| matches!(event.kind(), "job.completed" | "job.failed")) {
        let uri = told(end, "uri");
        let source = end.body["source"].as_str().unwrap();
        let name = uri.split_once(&format!("/{source}/")).unwrap().1;
        jobs.entry((source, name, told(end, "sha256"))).or_default().push(end);
    }
    let mut wrong = Vec::new();
    let mut whole = HashSet::new();
    let mut manners: BTreeMap<&str, usize> = BTreeMap::new();
    for (folder, written) in &written {
        for written in written {
            *manners.entry(&written.manner).or_default() += 1;
            whole.extend(written.earlier.iter().chain(&written.whole).cloned());
            let Some((name, last)) = written.name.as_deref().zip(written.whole.as_deref()) else { continue };
            let ends = |sha256: &str| -> Vec<&str> {
                let ends = jobs.get(&(*folder, name, sha256)).into_iter().flatten();
                ends.map(|end| end.kind()).collect()
            };
            if ends(last) != ["job.completed"] {
                wrong.push(format!("{written:?}: the whole file ended with {:?}", ends(last)));
            }
            wrong.extend(
                written
                    .earlier
                    .iter()
                    .filter(|earlier| ends(earlier).len() > 1)
                    .map(|_| format!("{written:?}: heard twice before")),
            );
        }
    }
    // The hash of the file is compared, not that of the request: a recording that breaks off is encoded anew before it is sent.
    let partial = jobs.keys().filter(|(_, name, sha256)| *name != "fresh.wav" && !whole.contains(*sha256));
    wrong.extend(partial.map(|job| format!("bytes that never stood in a whole file were taken in: {job:?}")));
    let journal = service.journal();
    let count = journal.iter().filter(|line| !line["charged_seconds"].is_null()).count();
    if count > jobs.len() {
        wrong.push(format!("{count} recognitions of {} recordings", jobs.len()));
    }
    println!("{manners:?}");
    println!(
        "{files} files of {writers} writers, {count} recognitions, {} wrong, {:.0} s",
        wrong.len(),
        begin.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(hark.stop().await.success());
}

/// A field of the event's `recording`.
fn told<'a>(event: &'a ReceivedEvent, field: &str) -> &'a str {
    event.body["recording"][field].as_str().unwrap_or_default()
}

/// Runs the writers and returns their reports.
fn write(watched: &Path, outside: &Path, count: u64, seed: u64) -> Vec<Written> {
    let mut writers = Command::new(python());
    writers.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile_writers.py"));
    writers.args([watched, outside]).arg(count.to_string());
    let output = writers.arg(SETTLE.as_secs_f64().to_string()).arg(seed.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
