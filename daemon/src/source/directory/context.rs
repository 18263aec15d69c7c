//! What all parts of a source share: its config, the ledger, and the way to the folder.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::task::spawn_blocking;

use super::file_filter::FileFilter;
use super::log_once::LogOnce;
use super::root::Root;
use crate::config::{DirectorySource, NamePattern, WhenDone};
use crate::job::ledger::{Ledger, LedgerError};
use crate::source::switch::Switch;
use crate::telemetry::metrics::Metrics;

/// Files that are listed and compared at once.
pub(super) const BATCH: usize = 512;

/// The most troubles that are logged once each.
const MOST_TROUBLES: usize = 1_000;

/// The most file name endings that are logged. If there are more, the names have no real endings.
const MOST_ENDINGS: usize = 32;

/// What stays the same for all looks at a folder.
pub(super) struct Context {
    pub config: DirectorySource,
    pub file_filter: FileFilter,
    /// `metadata_from_name`.
    pub name_pattern: Option<NamePattern>,
    pub ledger: Ledger,
    pub metrics: Metrics,
    /// USD for an hour of audio.
    pub usd_per_hour: f64,
    pub switch: Switch,
    pub troubles: LogOnce,
    pub endings: LogOnce,
}

impl Context {
    /// # Errors
    /// A sentence about a path, glob or pattern that cannot be used.
    pub fn new(
        config: DirectorySource,
        ledger: Ledger,
        metrics: Metrics,
        usd_per_hour: f64,
    ) -> Result<Context, String> {
        let root = std::path::absolute(&config.path)
            .map_err(|error| format!("path {}: {error}; give an absolute path", config.path.display()))?;
        let file_filter = FileFilter::new(root, &config.include, &config.exclude, config.recursive)
            .map_err(|error| format!("include or exclude: {error}"))?;
        let name_pattern = NamePattern::parse(&config.metadata_from_name)?;
        let (troubles, endings) = (LogOnce::at_most(MOST_TROUBLES), LogOnce::at_most(MOST_ENDINGS));
        let switch = Switch::default();
        Ok(Context {
            config,
            file_filter,
            name_pattern,
            ledger,
            metrics,
            usd_per_hour,
            switch,
            troubles,
            endings,
        })
    }

    /// Name of the source.
    pub fn source(&self) -> &str {
        &self.config.name
    }

    /// The watched folder, absolute.
    pub fn root(&self) -> &Path {
        &self.file_filter.root
    }

    /// Whether files of settled jobs are moved or deleted.
    pub fn puts_away(&self) -> bool {
        self.config.when_done != WhenDone::Keep
    }

    /// [`Ledger::read`] with this context.
    ///
    /// # Errors
    /// The error of `read`.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        mut read: impl FnMut(&Connection, &Context) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let context = Arc::clone(self);
        self.ledger.read(move |connection| read(connection, &context)).await
    }

    /// [`Ledger::write`] with this context.
    ///
    /// # Errors
    /// The error of `write`.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        mut write: impl FnMut(&Connection, &Context) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let context = Arc::clone(self);
        self.ledger.write(move |connection| write(connection, &context)).await
    }

    /// Runs blocking work in the watched folder; `None` if the folder cannot be opened. The folder is open only for this piece of work, so
    /// that the operator can unmount or replace it in between.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn in_folder<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Root, &Context) -> T + Send + 'static,
    ) -> Result<Option<T>, LedgerError> {
        let context = Arc::clone(self);
        let work = move || Root::open(context.root()).ok().map(|root| work(root, &context));
        blocking(work).await
    }
}

/// Runs blocking work. Its thread ends without a result only when the runtime ends, and the ledger with it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LedgerError> {
    spawn_blocking(work).await.map_err(|_| LedgerError::Closed)
}
