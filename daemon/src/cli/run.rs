//! `harkd run`.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Exit;
use crate::config::Config;
use crate::daemon::{Daemon, DaemonError};
use crate::telemetry::logging;

/// Runs the daemon until SIGTERM or SIGINT; a second one ends it at once. SIGHUP reloads the config.
///
/// # Errors
/// 78 where the operator has to change the config, 70 for a bug or a failure of the machine.
pub fn execute(file: &Path) -> Result<(), Exit> {
    let config = Config::load(file)?;
    let level = logging::init(config.log.format, &config.log.level).map_err(Exit::Config)?;
    info!(version = env!("CARGO_PKG_VERSION"), "harkd starts");
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let runtime = runtime().map_err(|error| Exit::Software(format!("starting the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let (stop, reload) = (stop(), reload());
        tokio::pin!(stop);
        // Building takes long on a full disk, or while a ledger is checked; a signal may end it, since no work is in progress yet.
        let daemon = tokio::select! {
            daemon = Daemon::build(config, file) => daemon?,
            () = &mut stop => return Ok(()),
        };
        daemon.run(stop, reload, level).await
    });
    runtime.shutdown_timeout(THREADS_END);
    match outcome {
        Ok(()) => {
            info!("harkd has ended");
            Ok(())
        }
        Err(DaemonError::Config(reason)) => Err(Exit::Config(reason)),
        Err(DaemonError::Software(reason)) => Err(Exit::Software(reason)),
    }
}

/// A takeover is polled through dozens of futures: compiled without optimization it has taken 1.8 MiB of a thread's stack, and the default
/// is 2 MiB. Pages that no thread has touched cost nothing.
const STACK: usize = 8 << 20;

/// How long the process waits at its end for threads with blocking work. The limit is needed because a read that hangs (a dead network file
/// system) may take for ever. The wait is needed because the runtime would otherwise detach threads that are just ending, and glibc's
/// `pthread_detach` may read the stack of such a thread after it was unmapped: the process then ends with SIGSEGV.
const THREADS_END: Duration = Duration::from_millis(500);

/// How long a thread for blocking work waits for its next work. The runtime gives work to the thread that has waited longest. With tokio's 10 s,
/// a little work each second after a burst would therefore keep dozens of threads alive.
const THREAD_WAITS: Duration = Duration::from_secs(1);

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_stack_size(STACK).thread_keep_alive(THREAD_WAITS).enable_all().build()
}

/// Receives SIGHUP from now on: its default action would end the process in the middle of requests that cost money. Signals that come during a
/// reload are one.
fn reload() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    if let Ok(mut hangup) = signal(SignalKind::hangup()) {
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // One that waits already will read the file as it is then.
                let _ = sender.try_send(());
            }
        });
    }
    receiver
}

/// Receives the signals from now on. Resolves at the first signal; from then on the second one ends the process.
fn stop() -> impl Future<Output = ()> + Send + 'static {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            // Without handlers the signals' default action applies: the process ends at once, and the next start recovers from the ledger.
            return std::future::pending().await;
        };
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            #[allow(clippy::disallowed_methods, reason = "a second signal asks for an immediate end")]
            std::process::exit(130);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_more_stack_than_the_deepest_one_needs_without_optimization() {
        fn deep(kilobytes: usize) -> u64 {
            let page = std::hint::black_box([1_u8; 1024]);
            u64::from(page[kilobytes % 1024]) + if kilobytes == 0 { 0 } else { deep(kilobytes - 1) }
        }
        let runtime = runtime().unwrap();
        let sum = runtime.block_on(async { tokio::spawn(async { deep(3 * 1024) }).await.unwrap() });
        assert_eq!(sum, 3 * 1024 + 1);
    }
}
