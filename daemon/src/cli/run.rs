//! `harkd run`.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::Exit;
use crate::config::Config;
use crate::daemon::{Daemon, DaemonError};
use crate::telemetry::logging;

/// Runs the daemon until SIGTERM or SIGINT; a second one ends it at once.
///
/// # Errors
/// 78 where the operator has to change the config, 70 for a bug or a failure of the machine.
pub fn execute(file: &Path) -> Result<(), Exit> {
    let config = Config::load(file)?;
    logging::init(config.log.format, &config.log.level).map_err(Exit::Config)?;
    info!(version = env!("CARGO_PKG_VERSION"), "harkd starts");
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::Software(format!("starting the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let stop = stop();
        tokio::pin!(stop);
        // Takes long on a full disk, or while a ledger is checked. No work is under way yet.
        let daemon = tokio::select! {
            daemon = Daemon::build(config, file) => daemon?,
            () = &mut stop => return Ok(()),
        };
        daemon.run(stop).await
    });
    // Blocking reads that hang (a dead network file system) do not keep the process from ending.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => {
            info!("harkd has ended");
            Ok(())
        }
        Err(DaemonError::Config(reason)) => Err(Exit::Config(reason)),
        Err(DaemonError::Software(reason)) => Err(Exit::Software(reason)),
    }
}

/// Receives the signals from now on. Resolves at the first signal; from then on the second one ends the process.
fn stop() -> impl Future<Output = ()> + Send + 'static {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let hangup = signal(SignalKind::hangup());
    async move {
        // The default action of SIGHUP would end the process in the middle of requests that cost money.
        if let Ok(mut hangup) = hangup {
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    warn!("SIGHUP does not reload the config yet; restart the daemon for that");
                }
            });
        }
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
