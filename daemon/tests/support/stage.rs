//! One daemon, one service, one broker, and the inputs of the test; at the end the ledger check compares the records.

use async_nats::jetstream;

use super::audio::wav;
use super::emulator::Emulator;
use super::events::ReceivedEvent;
use super::hark::Hark;
use super::ledger_check::{Input, LedgerRecord, Records};
use super::messages::{publish, unacknowledged};
use super::nats_server::NatsServer;
use super::setup::Setup;
use super::wait::{REDELIVERY, wait_until};

/// All recordings of a stage are different.
#[derive(Debug)]
pub struct Stage {
    pub nats: NatsServer,
    pub service: Emulator,
    pub hark: Hark,
    pub inputs: Vec<Input>,
    seed: u64,
}

impl Stage {
    /// Starts all three, the emulator with these flags; `prepare` configures the daemon's sources and other keys.
    pub async fn set(flags: &[&str], prepare: impl FnOnce(Setup) -> Setup) -> Stage {
        let nats = NatsServer::start().await;
        let service = Emulator::start(flags).await;
        let hark = prepare(Hark::new().nats(&nats).asr(&service)).start().await;
        Stage { nats, service, hark, inputs: Vec::new(), seed: 0 }
    }

    /// Drops a recording into a folder; returns the input, so that the test can change how its job should end.
    pub fn drop_recording(&mut self, folder: &str) -> &mut Input {
        let (name, audio) = self.recording(folder, 1.0);
        self.hark.drop_file(folder, &name, &audio);
        self.inputs.last_mut().unwrap()
    }

    /// Drops `count` recordings into the folder `calls`.
    pub fn drop_files(&mut self, count: usize) {
        for _ in 0..count {
            self.drop_recording("calls");
        }
    }

    /// Publishes `count` recordings to the source `inbox`, without `Nats-Msg-Id`: only their sequence in the stream identifies them.
    pub async fn publish(&mut self, count: usize, seconds: f64) {
        let context = jetstream::new(self.nats.client().await);
        for _ in 0..count {
            let (name, audio) = self.recording("inbox", seconds);
            let headers = [("Content-Type", "audio/wav"), ("Hark-Name", &name)];
            publish(&context, "hark.audio.inbox", &headers, audio).await;
        }
    }

    /// Waits until all jobs have ended, and returns the events of the one that ended last.
    pub async fn ended(&mut self) -> Vec<ReceivedEvent> {
        let count = self.inputs.len();
        let job = self.hark.ended_jobs(count).await[count - 1].job().to_owned();
        self.hark.events_of(&job).await
    }

    pub fn ledger(&self) -> LedgerRecord {
        LedgerRecord::read(&self.hark.path("state"))
    }

    /// Number of requests of this kind that the service received.
    pub fn requests(&self, kind: &str) -> usize {
        self.service.journal_of(kind).len()
    }

    /// Waits until every input is a settled job, every event stored, every message acknowledged, and its audio removed, which comes last.
    pub async fn all_settled(&self) {
        let context = jetstream::new(self.nats.client().await);
        wait_until("every job to be settled", REDELIVERY, async || {
            let ledger = self.ledger();
            let is_settled = ledger.jobs.len() >= self.inputs.len()
                && ledger.open().next().is_none()
                && ledger.outbox_rows == 0
                && ledger.leftovers.is_empty();
            is_settled && unacknowledged(&context).await == 0
        })
        .await;
    }

    /// Waits until every job is settled, then runs the ledger check.
    pub async fn check(self) {
        self.all_settled().await;
        Records::gather(&self.inputs, &self.hark, &self.service, &self.nats).await.assert_kept();
    }

    fn recording(&mut self, source: &str, seconds: f64) -> (String, Vec<u8>) {
        self.seed += 1;
        let (name, audio) = (format!("{}.wav", self.seed), wav(seconds, self.seed));
        self.inputs.push(Input::recognized(source, &name, &audio));
        (name, audio)
    }
}
