//! What every command that talks to NATS needs: config, runtime, connection, and each failure's exit code.

use std::future::Future;
use std::path::Path;

use super::Exit;
use crate::broker::{ConnectError, Connection, Patience, connect};
use crate::config::Config;

/// Reads the config.
///
/// # Errors
/// 78, with every mistake.
pub fn load(path: &Path) -> Result<Config, Exit> {
    Ok(Config::load(path)?)
}

/// Runs a command's work on one thread; a command waits more than it computes.
///
/// # Errors
/// The work's own, and 70 when the runtime cannot be started.
pub fn block_on(work: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
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
pub async fn open(config: &Config) -> Result<Connection, Exit> {
    connect(&config.nats, Patience::Once).await.map_err(|error: ConnectError| {
        if error.is_configuration() {
            Exit::Config(error.to_string())
        } else {
            Exit::Unavailable(error.to_string())
        }
    })
}

/// Whether writing failed because the reader is gone (`harkd tail | head`): that ends the command without an error.
///
/// # Errors
/// Any other failure of the output, as 70.
pub fn written(outcome: std::io::Result<()>) -> Result<Written, Exit> {
    match outcome {
        Ok(()) => Ok(Written::Yes),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Written::ReaderGone),
        Err(error) => Err(Exit::Software(format!("writing the output: {error}"))),
    }
}

/// See [`written`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Yes,
    ReaderGone,
}
