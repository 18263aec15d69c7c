//! Gathers the records of a run.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use uuid::Uuid;

use super::{Footprint, Input, LedgerJob, LedgerRecord, Records};
use crate::support::{CEILING, Emulator, Hark, NatsServer, ReceivedEvent, unacknowledged};

impl Records {
    /// The records as they are now. The events are read from the stream again, not from those that the test has received.
    pub async fn gather(inputs: &[Input], hark: &Hark, service: &Emulator, nats: &NatsServer) -> Records {
        let context = async_nats::jetstream::new(nats.client().await);
        Records {
            inputs: inputs.to_vec(),
            journal: service.journal(),
            events: ReceivedEvent::everything(&context, "HARK_EVENTS").await,
            ledger: LedgerRecord::read(&hark.path("state")),
            unacknowledged: unacknowledged(&context).await,
            ..Records::default()
        }
    }
}

impl Footprint {
    /// The footprint of a running process.
    pub fn of(process: u32) -> Footprint {
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/{process}/{what}"))
                .map_or(0, |entries| entries.flatten().count())
        };
        Footprint { descriptors: count("fd"), threads: count("task") }
    }

    /// The footprint before, and the footprint when it no longer exceeds the bound, or after `CEILING`: tokio keeps a thread for blocking
    /// work for 10 s after its last task.
    pub async fn before_and_after(before: Footprint, process: u32) -> (Footprint, Footprint) {
        let deadline = Instant::now() + CEILING;
        loop {
            let after = Footprint::of(process);
            if after.grown_from(&before).is_empty() || Instant::now() > deadline {
                return (before, after);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(super) fn ledger(state: &Path) -> LedgerRecord {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(state.join("ledger.sqlite3"), flags).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let jobs = connection
        .prepare("SELECT id, coalesce(duty, (SELECT duty FROM piece WHERE job = job.id AND duty IS NOT NULL), 'nothing'), about FROM job")
        .unwrap()
        .query_map([], |row| {
            let (job, body): (Uuid, String) = (row.get(0)?, row.get(2)?);
            let body: Value = serde_json::from_str(&body).unwrap();
            let sequence = body["sequence"].as_u64().unwrap();
            let source = body["source"].as_str().unwrap().to_owned();
            Ok(LedgerJob { job: job.to_string(), source, duty: row.get(1)?, sequence })
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let failed: Vec<String> = connection
        .prepare("SELECT id FROM job WHERE outcome = 'failed'")
        .unwrap()
        .query_map([], |row| row.get::<_, Uuid>(0))
        .unwrap()
        .map(|id| id.unwrap().to_string())
        .collect();
    LedgerRecord {
        integrity: connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap(),
        outbox_rows: connection
            .query_row("SELECT count(*) FROM event WHERE stream_seq IS NULL", [], |row| row.get(0))
            .unwrap(),
        jobs,
        leftovers: leftovers(state, &failed),
    }
}

/// Files in the spool but for the audio of failed jobs, which is kept for a retry; and files in the state directory other than the ledger, the
/// lock and the token.
fn leftovers(state: &Path, failed: &[String]) -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        std::fs::read_dir(folder).map_or_else(
            |_| Vec::new(),
            |entries| {
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            },
        )
    };
    let spooled = names(&state.join("spool")).into_iter().filter(|name| !failed.contains(name));
    let mut found: Vec<String> = spooled.map(|name| format!("spool/{name}")).collect();
    found.extend(names(state).into_iter().filter(|name| {
        let is_known = name.starts_with("ledger.sqlite3") || ["lock", "http_token"].contains(&name.as_str());
        !(is_known || state.join(name).is_dir())
    }));
    found
}
