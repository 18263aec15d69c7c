//! Ctrl-C, which ends every wait.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;

/// The pause between two checks of a condition.
const LOOK: Duration = Duration::from_millis(50);

/// The operator pressed Ctrl-C, or the process got SIGTERM or SIGHUP.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted before it was done")
    }
}

impl std::error::Error for Interrupted {}

/// Receives the signals for the rest of the process's life.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signals: Receiver<()>,
}

impl Interrupt {
    pub(crate) fn listen() -> anyhow::Result<Interrupt> {
        let (sender, signals) = channel();
        // An error means that no wait is left, because everything is ending already.
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

    /// Asks until there is an answer; `None` if there was none within `ceiling`.
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
