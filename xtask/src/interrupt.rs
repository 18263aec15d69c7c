//! Ctrl-C, as something that every wait can end with.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long a condition is left alone between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Somebody pressed Ctrl-C, or sent SIGTERM or SIGHUP.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted before it was done")
    }
}

impl std::error::Error for Interrupted {}

/// Listens for the rest of the process's life.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signals: Receiver<()>,
}

impl Interrupt {
    pub(crate) fn listen() -> anyhow::Result<Interrupt> {
        let (sender, signals) = channel();
        // When nobody waits any more, everything is ending already.
        ctrlc::set_handler(move || {
            let _ = sender.send(());
        })
        .context("listening for Ctrl-C")?;
        Ok(Interrupt { signals })
    }

    /// Waits, unless there is an interrupt.
    pub(crate) fn sleep(&self, duration: Duration) -> anyhow::Result<()> {
        match self.signals.recv_timeout(duration) {
            Ok(()) => Err(Interrupted.into()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    /// Asks until there is an answer; `None` when there was none within `ceiling`.
    pub(crate) fn wait_for<T>(
        &self,
        ceiling: Duration,
        mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let begin = Instant::now();
        while begin.elapsed() < ceiling {
            if let Some(answer) = ask()? {
                return Ok(Some(answer));
            }
            self.sleep(LOOK)?;
        }
        Ok(None)
    }
}
