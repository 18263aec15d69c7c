//! Where standard error leads to the journal, each line begins with its priority, as `sd-daemon(3)` defines it, so that `journalctl -p
//! warning` finds it.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing::Level;

/// The prefix of a line of this level on standard error; empty where standard error does not lead to the journal.
pub fn priority(level: Level) -> &'static str {
    static LEADS_TO_JOURNAL: OnceLock<bool> = OnceLock::new();
    match *LEADS_TO_JOURNAL
        .get_or_init(|| leads_to_journal(io::stderr(), std::env::var("JOURNAL_STREAM").ok()))
    {
        true => prefix(level),
        false => "",
    }
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Whether a stream is the one that systemd names, by device and inode: the descriptor may have been redirected since.
fn leads_to_journal(stream: impl AsFd, named: Option<String>) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|found| named == Some(format!("{}:{}", found.st_dev, found.st_ino)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn only_the_stream_that_systemd_names_leads_to_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let found = file.metadata().unwrap();
        let name = |inode: u64| Some(format!("{}:{inode}", found.dev()));
        assert!(leads_to_journal(&file, name(found.ino())));
        assert!(!leads_to_journal(&file, name(found.ino() + 1)));
        assert!(!leads_to_journal(&file, None));
    }
}
