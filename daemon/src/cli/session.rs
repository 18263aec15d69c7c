//! What every command that talks to NATS needs: runtime, connection, and each failure's exit code.

use std::future::Future;

use super::Exit;
use crate::broker::{ConnectError, JetStream, Patience, connect};
use crate::config::Config;

/// Runs a command's work on one thread; a command waits more than it computes.
///
/// # Errors
/// The work's own, and 70 when the runtime cannot be started.
pub fn block_on<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::Software(format!("starting the runtime: {error}")))?
        .block_on(work)
}

/// Connects once.
///
/// # Errors
/// 69 when no server answers or accepts the connection, 78 when the config names a file that cannot be read.
pub async fn open(config: &Config) -> Result<JetStream, Exit> {
    connect(&config.nats, Patience::Once).await.map_err(|error: ConnectError| {
        if error.is_configuration() {
            Exit::Config(error.to_string())
        } else {
            Exit::Unavailable(error.to_string())
        }
    })
}
