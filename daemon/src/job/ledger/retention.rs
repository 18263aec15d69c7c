//! What is forgotten, and how much there is.

use std::fs::DirEntry;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{LedgerError, jobs};

/// Jobs forgotten in one transaction: others wait for no longer than that takes, some milliseconds.
const BATCH: i64 = 500;

/// Folder of the state directory that belongs to plugins.
pub const PLUGINS: &str = "plugins";

/// Forgets settled jobs that ended before `before`, with the keys of their messages; returns how many. Call again until it is 0.
/// What is known of files stays for as long as the files do.
///
/// # Errors
/// When a statement fails.
pub fn forget(connection: &Connection, before: Timestamp) -> Result<usize, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM job WHERE ended < ?1 AND stage = 'settled' ORDER BY ended LIMIT ?2",
    )?;
    let ids: Vec<uuid::Uuid> = statement
        .query_map(params![before.as_millisecond(), BATCH], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in &ids {
        jobs::forget(connection, *id)?;
    }
    Ok(ids.len())
}

/// Bytes of the ledger's file that its next rows will be written over: rows that are gone leave room inside the file, which itself
/// never shrinks.
///
/// # Errors
/// When the query fails.
pub fn room_inside(connection: &Connection) -> Result<u64, LedgerError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok(pragma("freelist_count")? * pragma("page_size")?)
}

/// Bytes below the state directory: ledger, outbox, spool and temporary files together. What plugins keep there is not counted: a plugin
/// must not be able to stop every source. What cannot be read is not counted either.
pub fn size(directory: &Path) -> u64 {
    let entries = entries(directory).filter(|entry| entry.file_name() != PLUGINS);
    entries.map(|entry| size_of(&entry)).sum()
}

fn size_of(entry: &DirEntry) -> u64 {
    match entry.file_type() {
        Ok(kind) if kind.is_dir() => entries(&entry.path()).map(|entry| size_of(&entry)).sum(),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_keep_is_not_the_daemons_size() {
        let state = tempfile::tempdir().unwrap();
        for (folder, file, bytes) in [
            ("", "ledger.sqlite", 3),
            ("spool", "a.wav", 40),
            ("plugins/subtitles", "calls.srt", 500),
            ("spool/plugins", "b.wav", 6_000),
        ] {
            let folder = state.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), vec![0; bytes]).unwrap();
        }
        assert_eq!(size(state.path()), 6_043);
    }
}
