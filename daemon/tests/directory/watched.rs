//! A watched folder with its ledger, and helpers that inspect them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Fault};
use harkd::config::DirectorySource;
use harkd::job::audio::GONE;
use harkd::job::job_machine::Fact;
use harkd::job::ledger::{Ledger, LedgerError};
use harkd::job::{Job, Origin, Stage};
use harkd::source::directory::Directory;
use harkd::telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{CEILING, wait_until};

pub(crate) const SETTLE: Duration = Duration::from_millis(300);

/// A file counts as present before the start if it is older than this.
pub(crate) const BEFORE: Duration = Duration::from_millis(150);

/// A watched folder with its ledger; both are deleted at the end of the test.
pub(crate) struct Watched {
    pub(crate) disk: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) config: DirectorySource,
    pub(crate) running: Option<Running>,
}

pub(crate) struct Running {
    pub(crate) directory: Arc<Directory>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), LedgerError>>,
}

impl Watched {
    pub(crate) fn new(change: impl FnOnce(&mut DirectorySource)) -> Watched {
        let disk = tempfile::tempdir().unwrap();
        let calls = disk.path().join("calls");
        fs::create_dir(&calls).unwrap();
        let mut config: DirectorySource =
            toml::from_str(&format!("name = \"calls\"\npath = {calls:?}\nsettle = \"300ms\"")).unwrap();
        change(&mut config);
        let ledger = Ledger::open(&disk.path().join("state")).unwrap();
        Watched { disk, ledger, config, running: None }
    }

    pub(crate) async fn started(change: impl FnOnce(&mut DirectorySource)) -> Watched {
        let mut watched = Watched::new(change);
        watched.start().await;
        watched
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join("calls").join(name)
    }

    /// Starts a source on the ledger, and waits until it watches the folder.
    pub(crate) async fn start(&mut self) {
        let mut state = self.launch();
        state.wait_for(Result::is_ok).await.unwrap();
    }

    pub(crate) fn launch(&mut self) -> watch::Receiver<Result<(), String>> {
        let directory =
            Arc::new(Directory::new(self.config.clone(), self.ledger.clone(), Metrics::new(), 0.0).unwrap());
        let (tell, state) = watch::channel(Err("starting".to_owned()));
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (directory, stop) = (Arc::clone(&directory), stop.clone());
            async move { directory.run(tell, stop).await }
        });
        self.running = Some(Running { directory, stop, task });
        state
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.running.as_ref().unwrap().directory)
    }

    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.cancel();
        running.task.await.unwrap().unwrap();
    }

    pub(crate) async fn jobs(&self) -> Vec<Job> {
        let read = |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare("SELECT about FROM job ORDER BY id")?;
            let bodies = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(bodies)
        };
        let bodies = self.ledger.read(read).await.unwrap();
        bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        self.ledger
            .read(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?))
            .await
            .unwrap()
    }

    /// Waits for so many jobs, and asserts that no more follow.
    pub(crate) async fn jobs_become(&self, number: i64) -> Vec<Job> {
        self.becomes("SELECT count(*) FROM job", number).await;
        self.after_a_while().await;
        let jobs = self.jobs().await;
        assert_eq!(
            jobs.len() as i64,
            number,
            "{:?}",
            jobs.iter().map(|job| &job.recording.uri).collect::<Vec<_>>()
        );
        jobs
    }

    pub(crate) async fn becomes(&self, sql: &'static str, number: i64) {
        let what = format!("{number} as the answer to {sql}");
        wait_until(&what, 2 * CEILING, async || self.count(sql).await == number).await;
    }

    /// As if the job had not found its file at two attempts.
    pub(crate) async fn is_missed_twice(&self, job: &Job) {
        let fault = Fault { code: GONE.into(), blame: Blame::Audio, message: "gone".into(), attempts: None };
        for _ in 0..2 {
            self.ledger.advance(job.id, Fact::Missing { fault: fault.clone() }).await.unwrap();
        }
    }

    /// As if JetStream had acknowledged the last event of every job, and no job were settled yet.
    pub(crate) async fn last_events_are_stored(&self) {
        let stored = "UPDATE job SET duty = 'settle', about = json_set(about, '$.stage', \
                      json('{\"name\": \"stored\", \"failed\": false, \"bad_input\": false}'))";
        self.ledger.write(move |connection| Ok(connection.execute(stored, [])?)).await.unwrap();
    }

    /// Settles the jobs whose last event is stored, as the daemon does.
    pub(crate) async fn settle(&self, directory: &Directory) {
        for job in self.jobs().await {
            if let Stage::Stored { failed, .. } = job.stage {
                let missed = directory.settle(&job, failed).await.unwrap();
                self.ledger.advance(job.id, Fact::Settled { missed }).await.unwrap();
            }
        }
    }

    /// Writes a witness file and waits until it is taken in: any older file would have been taken in by then.
    pub(crate) async fn after_a_while(&self) {
        const HEARD: &str = "SELECT count(*) FROM file WHERE path LIKE '%/witness-%'";
        let before = self.count(HEARD).await;
        fs::write(self.path(&format!("witness-{before}.wav")), format!("witness {before}")).unwrap();
        self.becomes(HEARD, before + 1).await;
        let gone = "DELETE FROM job WHERE json_extract(about, '$.recording.name') LIKE 'witness-%'";
        self.ledger.write(move |connection| Ok(connection.execute(gone, [])?)).await.unwrap();
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(crate) fn origin(job: &Job) -> PathBuf {
    match &job.origin {
        Origin::File { root, below, .. } => root.join(below),
        other => panic!("{other:?}"),
    }
}
