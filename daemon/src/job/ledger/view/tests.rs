//! Lists over a small ledger: what each filter lets through, and what a row says.

use hark_sdk::event::{Body, Fault, JobFailed, Recording, TranscriptFinal};
use serde_json::{Map, json};

use super::*;
use crate::job::history::transcript_final;
use crate::job::ledger::{outbox, retention};
use crate::job::{Job, Origin};

struct Shelf {
    ledger: Connection,
    made: Vec<Job>,
}

impl Shelf {
    fn new() -> Shelf {
        let ledger = Connection::open_in_memory().unwrap();
        ledger.execute_batch(include_str!("../schema.sql")).unwrap();
        Shelf { ledger, made: Vec::new() }
    }

    /// A job that was accepted `hour` hours after the epoch.
    fn job(&mut self, hour: i64, source: &str, name: &str) -> Uuid {
        let at = Timestamp::from_second(hour * 3600).unwrap();
        let id = Uuid::from_u128(filter::first_of(at).as_u128() | self.made.len() as u128);
        let recording = Recording { name: Some(name.into()), ..Recording::default() };
        let mut metadata = Map::new();
        metadata.insert("agent".into(), json!("Grace"));
        let mut job = Job::new(id, source, "default", Origin::Nothing, recording, metadata);
        job.accepted_at = at;
        jobs::insert(&self.ledger, &mut job, Vec::new()).unwrap();
        self.made.push(job);
        id
    }

    fn says(&mut self, id: Uuid, bodies: Vec<Body>) {
        let job = self.made.iter_mut().find(|job| job.id == id).unwrap();
        jobs::enqueue(&self.ledger, job, &bodies, job.accepted_at).unwrap();
    }

    fn found(&self, filter: &[(&str, &str)]) -> Vec<Uuid> {
        let now = Timestamp::from_second(100 * 3600).unwrap();
        let mut checked = Filter::default();
        filter.iter().for_each(|(key, value)| checked.set(key, value, now).unwrap());
        list(&self.ledger, &checked, &at(now, &[])).unwrap().jobs.iter().map(|job| job.job).collect()
    }
}

fn at(now: Timestamp, held: &[&str]) -> Moment {
    Moment { now, held: held.iter().map(|&name| name.to_owned()).collect() }
}

fn heard(text: &str) -> Body {
    Body::TranscriptFinal(TranscriptFinal { text: text.into(), ..transcript_final(Vec::new()) })
}

fn alert(kind: &str, id: &str, rule: &str) -> Body {
    let alert = hark_sdk::event::Alert { alert: id.into(), rule: rule.into(), ..Default::default() };
    if kind == "raised" { Body::AlertRaised(alert) } else { Body::AlertRetracted(alert) }
}

fn failed() -> Body {
    let error = Fault {
        code: "NotAudio".into(),
        blame: hark_sdk::event::Blame::Audio,
        message: "x".into(),
        attempts: Some(0),
    };
    Body::JobFailed(JobFailed { error, bill: Default::default() })
}

#[test]
fn filters_let_through_what_they_name_newest_first() {
    let mut shelf = Shelf::new();
    let old = shelf.job(1, "calls", "monday.wav");
    let new = shelf.job(3, "inbox", "tuesday.wav");
    let newest = shelf.job(5, "calls", "wednesday.wav");
    shelf.says(old, vec![heard("Ich möchte kündigen, sofort."), alert("raised", "1", "churn")]);
    shelf.says(
        new,
        vec![
            heard("我要取消订单"),
            alert("raised", "1", "churn"),
            alert("retracted", "1", "churn"),
            failed(),
        ],
    );
    assert_eq!(shelf.found(&[]), [newest, new, old]);
    assert_eq!(shelf.found(&[("source", "calls")]), [newest, old]);
    assert_eq!(shelf.found(&[("since", "1970-01-01T03:00:00Z")]), [newest, new]);
    assert_eq!(shelf.found(&[("since", "97h")]), [newest, new]);
    assert_eq!(shelf.found(&[("before", &new.to_string())]), [old]);
    assert_eq!(shelf.found(&[("before", "1970-01-01T04:00:00Z"), ("source", "inbox")]), [new]);
    assert_eq!(shelf.found(&[("state", "failed")]), [new]);
    assert_eq!(shelf.found(&[("state", "accepted")]), [newest, old]);
    assert!(shelf.found(&[("state", "canceled")]).is_empty());
    assert_eq!(shelf.found(&[("alert", "churn")]), [old], "the other one was retracted");
    assert_eq!(shelf.found(&[("alert", "*")]), [old]);
    assert_eq!(shelf.found(&[("text", "KÜNDIGEN")]), [old]);
    assert_eq!(shelf.found(&[("text", "取消")]), [new], "shorter than a word of the index");
    assert!(shelf.found(&[("text", "100%\" OR _")]).is_empty());
    assert_eq!(shelf.found(&[("text", "tuesday")]), [new], "by name");
    assert_eq!(shelf.found(&[("text", "grace")]), [new, old], "by metadata");
}

#[test]
fn a_page_names_the_next_one() {
    let mut shelf = Shelf::new();
    let jobs: Vec<Uuid> = (0..5).map(|hour| shelf.job(hour, "calls", "a.wav")).collect();
    let mut filter = Filter { limit: 2, ..Filter::default() };
    let mut seen = Vec::new();
    loop {
        let page = list(&shelf.ledger, &filter, &at(Timestamp::UNIX_EPOCH, &[])).unwrap();
        seen.extend(page.jobs.iter().map(|job| job.job));
        let Some(next) = page.next else { break };
        filter.before = Some(Before::Job(next));
    }
    assert_eq!(seen, Vec::from_iter(jobs.into_iter().rev()));
}

#[test]
fn a_job_waits_where_its_piece_has_failed_or_its_recognizer_is_held() {
    let mut shelf = Shelf::new();
    let now = Timestamp::from_second(100 * 3600).unwrap();
    let (new, failed) = (shelf.job(1, "calls", "a.wav"), shelf.job(2, "calls", "b.wav"));
    for (id, failures) in [(new, 0), (failed, 1)] {
        let owed = "INSERT INTO piece (job, number, source, recognizer, duty, due, about) \
                    VALUES (?1, 1, 'calls', 'flash', 'send', 0, ?2)";
        let about = json!({"state": {"name": "queued"}, "failures": failures}).to_string();
        shelf.ledger.execute(owed, rusqlite::params![id, about]).unwrap();
        shelf.ledger.execute("UPDATE job SET duty = NULL WHERE id = ?1", [id]).unwrap();
    }
    let state = |id, held: &[&str]| find(&shelf.ledger, id, &at(now, held)).unwrap().unwrap().state;
    assert_eq!((state(new, &[]), state(failed, &[])), (State::Accepted, State::Waiting));
    assert_eq!((state(new, &["flash"]), state(new, &["filetrans"])), (State::Waiting, State::Accepted));
}

#[test]
fn a_job_that_is_forgotten_leaves_no_text() {
    let mut shelf = Shelf::new();
    let id = shelf.job(1, "calls", "a.wav");
    shelf.says(id, vec![heard("a word that must go")]);
    let rows = outbox::after(&shelf.ledger, 0, 9, usize::MAX).unwrap();
    let acknowledged =
        |row: &outbox::Row| outbox::Acknowledged { id: row.id, job: id, stream_seq: 7, last: false };
    rows.iter().for_each(|row| outbox::acknowledge(&shelf.ledger, &acknowledged(row), 0).unwrap());
    assert_eq!(outbox::count(&shelf.ledger).unwrap(), 0);
    assert_eq!(events(&shelf.ledger, id).unwrap().len(), 2, "kept for the page");
    assert_eq!(shelf.found(&[("text", "must")]), [id]);
    jobs::forget(&shelf.ledger, id).unwrap();
    assert!(shelf.found(&[("text", "must")]).is_empty());
    let left: i64 = shelf.ledger.query_row("SELECT count(*) FROM search", [], |row| row.get(0)).unwrap();
    assert_eq!((left, events(&shelf.ledger, id).unwrap().len()), (0, 0));
}

#[test]
fn what_is_owed_is_summed_over_jobs_and_pieces() {
    let mut shelf = Shelf::new();
    let id = shelf.job(1, "calls", "a.wav");
    shelf.ledger.execute("UPDATE job SET duty = 'pipe'", []).unwrap();
    let owed = "INSERT INTO piece (job, number, source, recognizer, duty, due, about) \
                VALUES (?1, 1, 'calls', 'flash', 'pipe', 0, '{}')";
    shelf.ledger.execute(owed, [id]).unwrap();
    assert_eq!(jobs::count_by_duty(&shelf.ledger).unwrap(), [("pipe".to_owned(), 2)]);
}

#[test]
fn ended_jobs_make_room_and_stay_known() {
    let mut shelf = Shelf::new();
    let (ended, open) = (shelf.job(1, "calls", "a.wav"), shelf.job(2, "calls", "b.wav"));
    let repeats = "UPDATE job SET about = json_set(about, '$.retry_of', ?2) WHERE id = ?1";
    shelf.ledger.execute(repeats, rusqlite::params![ended, Uuid::nil().to_string()]).unwrap();
    shelf.says(ended, vec![heard("a word"), failed()]);
    let rows = outbox::after(&shelf.ledger, 0, 9, usize::MAX).unwrap();
    let acknowledged =
        |row: &outbox::Row| outbox::Acknowledged { id: row.id, job: row.job, stream_seq: 7, last: false };
    rows.iter().for_each(|row| outbox::acknowledge(&shelf.ledger, &acknowledged(row), 0).unwrap());
    assert_eq!(retention::shed(&shelf.ledger).unwrap(), 0, "its source is not settled yet");
    shelf.ledger.execute("UPDATE job SET duty = NULL WHERE id = ?1", [ended]).unwrap();
    assert_eq!((retention::shed(&shelf.ledger).unwrap(), retention::shed(&shelf.ledger).unwrap()), (1, 0));
    assert_eq!(
        (events(&shelf.ledger, ended).unwrap().len(), events(&shelf.ledger, open).unwrap().len()),
        (0, 1)
    );
    assert_eq!(shelf.found(&[]), [open, ended]);
    assert!(shelf.found(&[("text", "word")]).is_empty());
    let shed = find(&shelf.ledger, ended, &at(Timestamp::UNIX_EPOCH, &[])).unwrap().unwrap();
    assert_eq!(shed.retry_of, Some(Uuid::nil()), "without the event that said so");
}

#[test]
fn values_that_a_filter_does_not_take_are_named() {
    let mut filter = Filter::default();
    for (key, value) in [
        ("state", "done"),
        ("since", "soon"),
        ("before", "7"),
        ("limit", "0"),
        ("limit", "501"),
        ("colour", "red"),
        ("colour", ""),
        ("text", "a\0b"),
        ("source", "\0"),
        ("since", "9999-12-31"),
    ] {
        assert!(filter.set(key, value, Timestamp::UNIX_EPOCH).is_err(), "{key}={value}");
    }
    assert_eq!(filter, Filter::default());
    filter.set("state", "", Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(filter, Filter::default(), "an empty field of a form is no filter");
    filter.set("before", "9999-12-31T23:59:59Z", Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(filter.before, Some(Before::Time(Timestamp::MAX)), "RFC 3339 can write it");
}
