//! Webhooks of the library against a real broker: the stream of events is written by the test, and the schedule is short.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use harkd::broker::{JetStream, Subjects, event_streams, subject};
use harkd::config::{Nats, Webhook};
use harkd::publish::webhooks::{Schedule, View, Webhooks};
use harkd::telemetry::metrics::Metrics;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{CEILING, HookReceiver, NatsServer, SECRET, wait_until};

/// A broker with the stream of events, a receiver, and the config of a webhook `crm` for it.
pub struct WebhookStage {
    pub nats: NatsServer,
    pub receiver: HookReceiver,
    pub config: Nats,
    pub schedule: Schedule,
    pub context: Context,
    folder: TempDir,
}

/// The webhooks of one daemon.
pub struct Daemon {
    pub webhooks: Webhooks,
    pub metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl WebhookStage {
    pub async fn set() -> WebhookStage {
        let nats = NatsServer::start().await;
        let config = Nats {
            servers: vec![nats.url()],
            ack_wait: Duration::from_secs(1),
            events_max_bytes: 64 << 20,
            ..Nats::default()
        };
        let context = jetstream::new(nats.client().await);
        let connection = JetStream::from(nats.client().await);
        let subjects = Subjects::new("hark");
        event_streams::ensure_event_streams(&connection, &config, &subjects).await.unwrap();
        let schedule = Schedule {
            waits: vec![Duration::from_millis(100), Duration::from_millis(300)],
            patience: Duration::from_secs(60),
            timeout: Duration::from_secs(1),
            ..Schedule::default()
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        WebhookStage { nats, receiver: HookReceiver::start().await, config, schedule, context, folder }
    }

    /// The webhook `crm`, for jobs' first and last events and finals.
    pub fn webhook(&self) -> Webhook {
        Webhook {
            name: "crm".into(),
            url: self.receiver.url(),
            kinds: ["job.accepted", "transcript.final", "job.completed"].map(str::to_owned).to_vec(),
            sources: Vec::new(),
            secret_file: self.folder.path().join("secret"),
        }
    }

    pub fn write_secrets(&self, lines: &str) {
        std::fs::write(self.folder.path().join("secret"), lines).unwrap();
    }

    /// Starts the webhooks of a daemon.
    pub async fn daemon(&self) -> Daemon {
        self.daemon_with_id(Uuid::now_v7()).await
    }

    /// The same with the id of a daemon that ran before.
    pub async fn daemon_with_id(&self, id: Uuid) -> Daemon {
        self.configured(id).await.run()
    }

    /// The webhooks of a daemon that does not deliver yet.
    pub async fn configured(&self, id: Uuid) -> Configured {
        let metrics = Metrics::new();
        let connection = self.nats.client().await;
        let webhooks = Webhooks::new(connection, &self.config, id, metrics.clone(), self.schedule.clone());
        webhooks.configure(&[self.webhook()]).unwrap();
        Configured { webhooks, metrics }
    }

    /// Stores an event; a job's events have the sequences 1, 2, …
    pub async fn store(&self, job: Uuid, sequence: u64, kind: &str) {
        let body = json!({"job": job, "source": "calls", "sequence": sequence, "text": "über & <all>"});
        self.store_body(job, sequence, kind, body.to_string()).await;
    }

    pub async fn store_body(&self, job: Uuid, sequence: u64, kind: &str, body: String) {
        let headers = subject::headers(kind, "calls", job, &sequence.to_string(), "2026-11-23T08:15:04.114Z");
        let subject = Subjects::new("hark").event(kind, "calls", job);
        self.context.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap();
    }

    /// Stores the three events of a job.
    pub async fn store_job(&self, job: Uuid) {
        for (kind, sequence) in [("job.accepted", 1), ("transcript.final", 2), ("job.completed", 3)] {
            self.store(job, sequence, kind).await;
        }
    }

    /// Waits until the receiver has taken so many different events.
    pub async fn taken(&self, count: usize) {
        wait_until(&format!("{count} events"), CEILING, async || {
            self.receiver.taken().into_iter().collect::<std::collections::HashSet<_>>().len() >= count
        })
        .await;
    }
}

/// The webhooks of a daemon that does not deliver yet.
pub struct Configured {
    webhooks: Webhooks,
    metrics: Metrics,
}

impl Configured {
    pub fn run(self) -> Daemon {
        let Configured { webhooks, metrics } = self;
        let stop = CancellationToken::new();
        let task = tokio::spawn(webhooks.clone().run(stop.clone()));
        Daemon { webhooks, metrics, stop, task }
    }
}

impl Daemon {
    /// Waits until this daemon holds the lease.
    pub async fn delivers(&self) {
        self.shows("delivering", |view| view.delivering).await;
    }

    /// Waits until the view is so.
    pub async fn shows(&self, what: &str, is_so: impl Fn(&View) -> bool) -> View {
        let mut view = View::default();
        wait_until(what, CEILING, async || {
            view = self.view();
            is_so(&view)
        })
        .await;
        view
    }

    pub fn view(&self) -> View {
        self.webhooks.list().into_iter().find(|view| view.name == "crm").unwrap_or_default()
    }

    /// Stops as the daemon does at SIGTERM.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As if the process was killed: nothing is given back or released.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

/// The first time that each event was taken, in this order; `<job>:<sequence>`.
pub fn firsts(taken: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    taken.iter().filter(|id| seen.insert((*id).clone())).cloned().collect()
}

/// Asserts that every event of these jobs was taken, in the order of its job.
pub fn assert_in_order(taken: &[String], jobs: &[Uuid], events: u64) {
    let firsts = firsts(taken);
    for job in jobs {
        let prefix = format!("{job}:");
        let of_job: Vec<&str> = firsts.iter().filter_map(|id| id.strip_prefix(&prefix)).collect();
        let wanted: Vec<String> = (1..=events).map(|sequence| sequence.to_string()).collect();
        assert_eq!(of_job, wanted, "{job}");
    }
    assert_eq!(firsts.len(), jobs.len() * usize::try_from(events).unwrap());
}
