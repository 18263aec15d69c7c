//! A subscriber that subscribes to everything and reads nothing, then a stopped broker, while recordings keep coming: nothing is lost,
//! memory does not grow, and soon afterwards the daemon has caught up.
//!
//! `HARK_STALL_SECONDS` sets the length, `HARK_STALL_RATE` the recordings per second.

use std::time::{Duration, Instant};

use crate::support::{
    CEILING, Emulator, Footprint, Hark, Input, LedgerRecord, NatsServer, Records, number_from, wait_until,
    wav,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// Within this time after the stall the daemon has caught up.
const BOUND: Duration = Duration::from_secs(60);

/// A connection that subscribes to every subject and reads nothing.
async fn stalled_subscriber(nats: &NatsServer) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = nats.url().trim_start_matches("nats://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB hark.> 1\r\n").await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_consumer_and_a_stalled_broker_cost_disk_and_no_memory() {
    let length = Duration::from_secs(number_from("HARK_STALL_SECONDS").unwrap_or(12));
    let rate = number_from("HARK_STALL_RATE").unwrap_or(10);
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "2ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").plugin("hello", "hello", "");
    let mut hark = setup.set("log.level", "\"warn\"").start().await;
    let mut inputs = Vec::new();
    let give = |hark: &Hark, inputs: &mut Vec<Input>| {
        let seed = inputs.len() as u64;
        let (name, audio) = (format!("{seed}.wav"), wav(1.0, seed));
        hark.drop_file("calls", &name, &audio);
        inputs.push(Input::recognized("calls", &name, &audio));
    };
    // Warm up the daemon, so that any growth is due to the stall.
    for _ in 0..40 {
        give(&hark, &mut inputs);
    }
    hark.ended_jobs(40).await;
    let before = Footprint::of(hark.process().id());
    let usual = hark.process().resident();

    let (begin, mut most) = (Instant::now(), 0);
    let mut subscriber = stalled_subscriber(&nats).await;
    let mut is_paused = false;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    while begin.elapsed() < length {
        tick.tick().await;
        give(&hark, &mut inputs);
        if !(inputs.len() as u64).is_multiple_of(10 * rate) {
            continue;
        }
        most = most.max(hark.process().resident());
        if begin.elapsed() > length / 3 {
            if !std::mem::replace(&mut is_paused, true) {
                nats.pause();
            }
        } else {
            // The server closes the connection of a slow consumer; so the test opens a new one.
            subscriber = stalled_subscriber(&nats).await;
        }
    }
    drop(subscriber);
    let state = hark.path("state");
    let owed = LedgerRecord::read(&state).outbox_rows;
    nats.resume();
    let resumed = Instant::now();
    wait_until("every event to be stored", BOUND, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(hark.process().resident());
        let ledger = LedgerRecord::read(&state);
        ledger.jobs.len() == inputs.len() && ledger.outbox_rows == 0 && ledger.open().next().is_none()
    })
    .await;
    println!(
        "{} recordings in {:.0} s; {owed} events waited for the broker and were stored {:.1} s after it was back; memory {} MB before, {} MB \
         at most",
        inputs.len(),
        begin.elapsed().as_secs_f64(),
        resumed.elapsed().as_secs_f64(),
        usual >> 20,
        most >> 20,
    );
    assert!(owed > 0, "nothing waited");
    hark.ready().await;
    assert!(most < usual + (64 << 20), "{usual} bytes before, {most} at most");
    let mut records = Records::gather(&inputs, &hark, &service, &nats).await;
    records.footprints = vec![Footprint::before_and_after(before, hark.process().id()).await];
    records.assert_kept();
    give(&hark, &mut inputs);
    wait_until("a fresh recording", CEILING, async || {
        hark.ended_jobs(inputs.len()).await.len() == inputs.len()
    })
    .await;
}
