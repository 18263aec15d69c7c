//! Deletes old jobs and measures the size of the state directory.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{LedgerError, jobs, outbox, sql};
use crate::os::usage;

/// How many jobs one transaction deletes: other writes wait for it, some milliseconds.
const BATCH: i64 = 500;

/// Folder of the state directory that belongs to plugins.
pub const PLUGINS: &str = "plugins";

/// Deletes settled jobs that ended before `before`, with the keys of their messages; returns how many. Call again until it is 0. The rows
/// of files stay for as long as the files exist.
///
/// # Errors
/// When a statement fails.
pub fn forget(connection: &Connection, before: Timestamp) -> Result<usize, LedgerError> {
    let query = "SELECT id FROM job WHERE ended < ?1 AND duty IS NULL ORDER BY ended LIMIT ?2";
    let ids = sql::all(connection, query, params![before.as_millisecond(), BATCH], |row| row.get(0))?;
    for id in &ids {
        jobs::forget(connection, *id)?;
    }
    Ok(ids.len())
}

/// Erases the published events of the jobs that ended longest ago, a batch of jobs; returns of how many. The jobs themselves stay known, so that
/// nothing is heard twice; lists show them without their texts.
///
/// # Errors
/// When a statement fails.
pub fn shed(connection: &Connection) -> Result<usize, LedgerError> {
    let jobs = sql::all(
        connection,
        "SELECT event.job FROM event JOIN job ON job.id = event.job WHERE kind IN ('job.completed', 'job.failed') \
         AND event.stream_seq IS NOT NULL AND duty IS NULL ORDER BY event.id LIMIT ?1",
        [BATCH],
        |row| row.get(0),
    )?;
    for job in &jobs {
        outbox::erase(connection, *job)?;
    }
    Ok(jobs.len())
}

/// Free bytes inside the ledger's file, where the next rows will be written: deleted rows leave room in the file, which itself never
/// shrinks.
///
/// # Errors
/// When the query fails.
pub fn room_inside(connection: &Connection) -> Result<u64, LedgerError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok(pragma("freelist_count")? * pragma("page_size")?)
}

/// Bytes below the state directory: ledger, outbox, spool, temporary files and what plugins keep there. What cannot be read is not counted.
pub fn size(directory: &Path) -> u64 {
    usage::below(directory).map(|entry| entry.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_keep_is_counted() {
        let state = tempfile::tempdir().unwrap();
        for (folder, file, bytes) in [
            ("", "ledger.sqlite", 300_000),
            ("spool", "a.wav", 200_000),
            ("plugins/subtitles", "calls.srt", 500_000),
        ] {
            let folder = state.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), vec![0; bytes]).unwrap();
        }
        // And the folders themselves.
        assert!((1_000_000..1_050_000).contains(&size(state.path())), "{}", size(state.path()));
    }
}
