use std::collections::BTreeSet;
use std::path::Path;

use hark_sdk::event::{Body, Recording, TranscriptFinal};
use jiff::Timestamp;
use serde_json::{Map, json};
use uuid::Uuid;

use super::*;
use crate::job::history::transcript_final;
use crate::job::ledger::{checkpoint, forget, jobs, pieces};
use crate::job::{Job, Origin, Piece, Span};

/// Stands, with its number behind it, in everything that the ledger has of a job.
const WORD: &str = "zebrafinch";

fn named(number: usize) -> String {
    format!("{WORD}{number:05}")
}

/// Numbers that look random, the same ones in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

/// Jobs that come, change and go.
struct Load {
    dice: Dice,
    jobs: Vec<Option<Job>>,
    gone: BTreeSet<usize>,
}

impl Load {
    fn new() -> Load {
        Load { dice: Dice(0x3c6e_f372_fe94_f82a), jobs: Vec::new(), gone: BTreeSet::new() }
    }

    /// A job is taken in; some others go on, and one may be forgotten.
    fn step(&mut self, connection: &Connection) -> Result<(), LedgerError> {
        let number = self.jobs.len();
        let mut metadata = Map::new();
        metadata.insert("customer".into(), json!(named(number)));
        let recording = Recording { name: Some(named(number)), ..Recording::default() };
        let id = Uuid::from_u128(number as u128 + 1);
        let mut job = Job::new(id, "calls", "default", Origin::Nothing, recording, metadata);
        // Ids and times have no part in what is left where: each run leaves the same.
        job.accepted_at = Timestamp::UNIX_EPOCH;
        jobs::insert(connection, &mut job, Vec::new())?;
        self.jobs.push(Some(job));
        for _ in 0..3 {
            let (number, words) = (self.dice.roll(self.jobs.len()), self.dice.roll(60));
            let Some(job) = &mut self.jobs[number] else { continue };
            let text = format!("{} and so on ", named(number)).repeat(words);
            let last = Body::TranscriptFinal(TranscriptFinal { text, ..transcript_final(Vec::new()) });
            jobs::enqueue(connection, job, &[last], Timestamp::UNIX_EPOCH)?;
            let span = Span::part(0, 1_000);
            let count = u32::try_from(words % 4).unwrap();
            let piece = Piece::new(count, span, &named(number), "model");
            pieces::put(connection, job, &piece, &[], Timestamp::UNIX_EPOCH)?;
            jobs::update(connection, job, None, Some(Timestamp::UNIX_EPOCH))?;
        }
        if self.dice.roll(2) == 0 {
            let number = self.dice.roll(self.jobs.len());
            if let Some(job) = self.jobs[number].take() {
                forget::erase(connection, &job)?;
                self.gone.insert(number);
            }
        }
        Ok(())
    }
}

async fn run(ledger: &Ledger, mut load: Load, steps: usize) -> Load {
    for _ in 0..steps / 5 {
        let work = move |connection: &Connection| {
            (0..5).try_for_each(|_| load.step(connection))?;
            Ok(std::mem::replace(&mut load, Load::new()))
        };
        load = ledger.write(work).await.unwrap();
    }
    load
}

/// The jobs of which the ledger's files have something.
fn traces(state: &Path) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for file in state.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(file).unwrap();
        for (at, _) in bytes.windows(WORD.len()).enumerate().filter(|(_, part)| *part == WORD.as_bytes()) {
            let digits = bytes.get(at + WORD.len()..at + WORD.len() + 5).unwrap_or_default();
            found.extend(str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok()));
        }
    }
    found
}

/// How many pages have something in their gap.
async fn full(ledger: &Ledger) -> usize {
    let count = |connection: &Connection| {
        let mut pages = connection.prepare("SELECT pgno, data FROM sqlite_dbpage")?;
        let is_full =
            |row: &rusqlite::Row<'_>| Ok(without_gap(row.get(0)?, row.get_ref(1)?.as_blob()?).is_some());
        let full: Vec<bool> = pages.query_map([], is_full)?.collect::<Result<_, _>>()?;
        Ok(full.into_iter().filter(|full| *full).count())
    };
    ledger.read(count).await.unwrap()
}

async fn empty_log(ledger: &Ledger) {
    while !ledger.read(checkpoint::empty_log).await.unwrap() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_has_nothing_of_forgotten_jobs_while_others_come_and_go() {
    let state = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(state.path()).unwrap();
    let load = run(&ledger, Load::new(), 1_000).await;
    assert!(full(&ledger).await > 0, "SQLite leaves nothing any more, and the walk is not needed");
    let gone = load.gone.clone();

    let (other, loaded) = (ledger.clone(), tokio::sync::oneshot::channel());
    let under_load = tokio::spawn(async move {
        let load = run(&other, load, 100).await;
        loaded.0.send(()).unwrap();
        run(&other, load, 100).await
    });
    loaded.1.await.unwrap();
    ledger.zero_gaps().await.unwrap();
    let load = under_load.await.unwrap();
    empty_log(&ledger).await;
    let found = traces(state.path());
    assert_eq!(found.intersection(&gone).collect::<Vec<_>>(), Vec::<&usize>::new());
    let kept: BTreeSet<usize> = (0..load.jobs.len()).filter(|number| load.jobs[*number].is_some()).collect();
    assert!(found.is_superset(&kept), "and everything of the others");
    let whole = |connection: &Connection| {
        Ok(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))?)
    };
    assert_eq!(ledger.read(whole).await.unwrap(), "ok");
    ledger.zero_gaps().await.unwrap();
    assert_eq!(full(&ledger).await, 0);
}

#[tokio::test]
async fn a_walk_in_parts_ends_when_nothing_is_written_any_more() {
    let state = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(state.path()).unwrap();
    let load = run(&ledger, Load::new(), 1_000).await;
    let pages = |connection: &Connection| {
        Ok(connection.pragma_query_value(None, "page_count", |row| row.get::<_, u32>(0))?)
    };
    let mut walk = Walk::default();
    for batch in 1..=ledger.read(pages).await.unwrap().div_ceil(BATCH) {
        walk = ledger.zero_next_gaps(walk).await.unwrap();
        assert!(batch > 1 || walk.next.is_some(), "the ledger is too small for this test");
    }
    assert_eq!((walk.next, full(&ledger).await), (None, 0));
    run(&ledger, load, 200).await;
    assert!(full(&ledger).await > 0);
    while full(&ledger).await > 0 {
        walk = ledger.zero_next_gaps(walk).await.unwrap();
    }
    while walk.next.is_some() {
        walk = ledger.zero_next_gaps(walk).await.unwrap();
    }
    let changes = walk.changes;
    assert_eq!(ledger.zero_next_gaps(walk).await.unwrap().changes, changes, "it looks at nothing");
}
