//! The daemon is killed just after the service has taken a task, while the task's id may not be on disk yet: the most expensive moment for
//! a kill.
//!
//! `HARK_SUBMIT_KILLS` sets the number of kills.

use std::time::{Duration, Instant};

use crate::support::{
    Emulator, Hark, Input, LedgerRecord, NatsServer, Records, number_from, wait_until, wav,
};

const KILLS: u64 = 8;
const FILES_A_KILL: u64 = 3;
/// The search for a lost task reads the list twice, five seconds apart, and the task may still run at the first read.
const CEILING: Duration = Duration::from_secs(60);

#[tokio::test]
async fn no_task_is_submitted_twice_and_the_list_can_always_tell() {
    let kills = number_from("HARK_SUBMIT_KILLS").unwrap_or(KILLS);
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    // The emulator writes a task to its journal 300 ms before it sends the id, so every kill falls in between.
    let service = Emulator::start(&["--task-delay", "1s", "--fault", "stall,on=submit,ms=300"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder_with("archive", "route = \"long\"\n")
        .lines("[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let requests = |kind: &str| service.journal_of(kind).len();
    let mut inputs = Vec::new();
    for number in 0..kills * FILES_A_KILL {
        let (name, audio) = (format!("{number}.wav"), wav(1.0, number));
        let before = requests("submit");
        hark.drop_file("archive", &name, &audio);
        inputs.push(Input::recognized("archive", &name, &audio));
        if number % FILES_A_KILL == FILES_A_KILL - 1 {
            wait_until("a task to be submitted", CEILING, async || requests("submit") > before).await;
            hark.kill_and_launch();
        }
    }
    let ceiling = CEILING + Duration::from_secs(kills);
    LedgerRecord::all_ended(&hark.path("state"), inputs.len(), ceiling).await;
    assert_eq!(requests("submit"), inputs.len(), "one submit a recording");
    println!(
        "{kills} kills at the submit, {} recordings, {} submits, {} lists, {:.0} s",
        inputs.len(),
        requests("submit"),
        requests("list"),
        begin.elapsed().as_secs_f64()
    );
    let events = hark.events().await;
    assert!(events.iter().all(|event| event.body["possible_duplicate_charge"] != true));
    let interrupted = hark.log().matches("a request was under way when the daemon ended").count();
    assert!(interrupted as u64 >= kills, "{interrupted} of {kills} kills met a submit");
    assert!(requests("list") > 0);
    Records::gather(&inputs, &hark, &service, &nats).await.assert_kept();
}
