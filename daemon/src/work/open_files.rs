//! Opens recordings on blocking threads. An open takes microseconds, or never returns if a file server does not answer. Then the files of that
//! source block a bounded number of threads, and its jobs are tried again later.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

/// How many threads one source may use; an open takes microseconds, and the thread pool has hundreds.
const AT_A_TIME: usize = 16;
/// How long a file may take to be opened: a disk that spins up takes some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many recordings stay open between two lanes, and for how long. A recording that the send lane does not take in that time is opened
/// again later.
const KEPT: usize = 32;
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Opens the recordings of all sources.
#[derive(Debug)]
pub struct OpenFiles {
    threads: Mutex<HashMap<String, Arc<Semaphore>>>,
    patience: Duration,
    /// Open recordings, by job.
    kept: Arc<Mutex<HashMap<Uuid, File>>>,
}

impl Default for OpenFiles {
    fn default() -> Self {
        OpenFiles { threads: Mutex::default(), patience: PATIENCE, kept: Arc::default() }
    }
}

impl OpenFiles {
    /// Runs `work` on a file of a source, on a blocking thread. Work that hangs keeps its thread, one of the source's `AT_A_TIME`, until
    /// it returns.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`]: the source's files do not answer.
    pub(super) async fn run_for<T: Send + 'static>(
        &self,
        source: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let hangs =
            || io::Error::new(io::ErrorKind::TimedOut, format!("the files of source {source} do not answer"));
        let threads = self.threads(source);
        let deadline = Instant::now() + self.patience;
        let Ok(thread) = tokio::time::timeout_at(deadline, threads.acquire_owned()).await else {
            return Err(hangs());
        };
        let opened = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            work()
        });
        match tokio::time::timeout_at(deadline, opened).await {
            Err(_) => Err(hangs()),
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is ending and drops this future.
            Ok(Err(_)) => std::future::pending().await,
        }
    }

    /// Keeps a job's recording open for the next lane, for `KEPT_FOR`, if fewer than `KEPT` are open.
    pub(super) fn keep(&self, job: Uuid, file: File) {
        {
            let mut kept = self.kept.lock();
            if kept.len() >= KEPT {
                return;
            }
            kept.insert(job, file);
        }
        let kept = Arc::clone(&self.kept);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            kept.lock().remove(&job);
        });
    }

    /// The recording of a job, if it was kept open.
    pub(super) fn take(&self, job: Uuid) -> Option<File> {
        self.kept.lock().remove(&job)
    }

    fn threads(&self, source: &str) -> Arc<Semaphore> {
        let mut sources = self.threads.lock();
        if let Some(threads) = sources.get(source) {
            return Arc::clone(threads);
        }
        Arc::clone(sources.entry(source.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_A_TIME))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn files_that_do_not_answer_keep_some_threads_and_no_other_source_waiting() {
        let files = OpenFiles { patience: Duration::from_millis(200), ..OpenFiles::default() };
        let (answer, hang) = mpsc::channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let hanging = (0..2 * AT_A_TIME).map(|_| {
            let hang = Arc::clone(&hang);
            files.run_for("server", move || hang.lock().recv().is_ok())
        });
        for outcome in futures::future::join_all(hanging).await {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
        assert_eq!(files.threads("server").available_permits(), 0);
        assert_eq!(files.run_for("disk", || 7).await.unwrap(), 7);
        drop(answer);
        assert_eq!(files.run_for("server", || 8).await.unwrap(), 8, "it is back");
    }
}
