//! The rules, in their order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::pieces::{Pieces, heard_once, pieces_whole};
use super::{Ends, Input, Records, Violation};
use crate::support::ReceivedEvent;

/// Applies every rule.
pub(super) fn all(records: &Records) -> Vec<Violation> {
    let jobs = Jobs::of(records);
    let rules: [fn(&Records, &Jobs<'_>) -> Vec<Violation>; 11] = [
        one_job_and_one_end,
        paid_once,
        heard_once,
        sequences_unbroken,
        texts_equal,
        pieces_whole,
        outputs_once,
        hashes_equal,
        everything_ends,
        bills_equal,
        nothing_left,
    ];
    rules.iter().flat_map(|rule| rule(records, &jobs)).collect()
}

/// Indexes of the records, so that no rule searches linearly: a long run has 50,000 inputs.
pub(super) struct Jobs<'r> {
    /// The events of each job, in the order of the stream.
    events: BTreeMap<&'r str, Vec<&'r ReceivedEvent>>,
    /// Jobs by source and name of the recording.
    of_origin: HashMap<Origin<'r>, Vec<&'r str>>,
    /// Journal lines with a charge, by the hash of the audio.
    charges: HashMap<&'r str, Vec<&'r Value>>,
    pub(super) pieces: Pieces<'r>,
}

type Origin<'r> = (&'r str, &'r str);

impl<'r> Jobs<'r> {
    fn of(records: &'r Records) -> Jobs<'r> {
        let mut events: BTreeMap<&str, Vec<&ReceivedEvent>> = BTreeMap::new();
        for event in &records.events {
            events.entry(event.job()).or_default().push(event);
        }
        let mut of_origin: HashMap<Origin<'_>, Vec<&str>> = HashMap::new();
        for (job, events) in &events {
            of_origin.entry(origin(events)).or_default().push(job);
        }
        let mut charges: HashMap<&str, Vec<&Value>> = HashMap::new();
        for line in records.journal.iter().filter(|line| !line["charged_seconds"].is_null()) {
            charges.entry(line["sha256"].as_str().unwrap_or_default()).or_default().push(line);
        }
        Jobs { events, of_origin, charges, pieces: Pieces::of(records) }
    }

    /// The events of each job of an input.
    pub(super) fn of_input(&self, input: &Input) -> Vec<&[&'r ReceivedEvent]> {
        let jobs = self.of_origin.get(&(input.source.as_str(), input.name.as_str()));
        jobs.into_iter().flatten().map(|job| self.events[job].as_slice()).collect()
    }

    /// What was charged for an input: for its bytes, or for those of its pieces.
    pub(super) fn charges(&self, input: &Input) -> Vec<&'r Value> {
        let of_pieces =
            self.of_input(input).into_iter().flatten().filter_map(|event| self.pieces.sha256(event));
        let hashes: Vec<&str> = match input.in_pieces {
            true => of_pieces.collect(),
            false => vec![input.sha256.as_str()],
        };
        hashes.into_iter().filter_map(|sha256| self.charges.get(sha256)).flatten().copied().collect()
    }
}

/// L1: every input has one job and one last event; no job without an input.
fn one_job_and_one_end(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for input in &records.inputs {
        let name = input.name.clone();
        let of_input = jobs.of_input(input);
        match of_input.len() {
            0 => found.push(Violation::NoJob { name }),
            1 => {
                let end = of_input[0].iter().find(|event| is_last(event));
                let wrong = end.filter(|end| match input.ends {
                    Ends::Completed => end.kind() != "job.completed",
                    Ends::Failed => end.kind() != "job.failed",
                    Ends::EitherWay => false,
                });
                found.extend(wrong.map(|end| Violation::WrongEnd {
                    name,
                    kind: end.kind().to_owned(),
                    code: end.body["error"]["code"].as_str().unwrap_or("no error").to_owned(),
                }));
            }
            count => found.push(Violation::SeveralJobs { name, count }),
        }
    }
    let known: HashSet<(&str, &str)> =
        records.inputs.iter().map(|input| (input.source.as_str(), input.name.as_str())).collect();
    for (job, events) in &jobs.events {
        if !known.contains(&origin(events)) {
            found.push(Violation::NoInput { job: (*job).to_owned(), name: origin(events).1.to_owned() });
        }
        let count = events.iter().filter(|event| is_last(event)).count();
        if count != 1 {
            found.push(Violation::LastEvents { job: (*job).to_owned(), count });
        }
    }
    found
}

/// L2: at most one paid request for each recording, plus the retries of marked jobs.
fn paid_once(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for inputs in by_hash(&records.inputs).into_values() {
        let paid = jobs.charges(inputs[0]).len();
        let allowed: usize = inputs.iter().flat_map(|input| jobs.of_input(input)).map(tries).sum();
        if paid > allowed.max(1) {
            found.push(Violation::PaidTwice { name: inputs[0].name.clone(), paid, allowed });
        }
    }
    found
}

/// L3: the sequences of a job are 1…n in the order of the stream, no id is used twice, no event follows the last one, and the ledger has
/// the same number of events.
fn sequences_unbroken(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut ids = HashSet::new();
    for event in &records.events {
        let id = event.headers.get("Nats-Msg-Id").map_or("", |id| id.as_str());
        let expected = format!("{}:{}", event.job(), sequence(event));
        if id != expected || event.headers.get("ce-id").is_none_or(|id| id.as_str() != expected) {
            found.push(Violation::WrongId { expected: expected.clone(), found: id.to_owned() });
        }
        if !ids.insert(expected.clone()) {
            found.push(Violation::RepeatedId { id: expected });
        }
    }
    for (job, events) in &jobs.events {
        let wrong = events.iter().zip(1..).find(|(event, expected)| sequence(event) != *expected);
        found.extend(wrong.map(|(event, expected)| Violation::Gap {
            job: (*job).to_owned(),
            expected,
            found: sequence(event),
        }));
        let end = events.iter().position(|event| is_last(event));
        found.extend(
            end.and_then(|end| events.get(end + 1))
                .map(|late| Violation::AfterLast { job: (*job).to_owned(), kind: late.kind().to_owned() }),
        );
    }
    for row in &records.ledger.jobs {
        let stream = jobs.events.get(row.job.as_str()).map_or(0, Vec::len) as u64;
        if stream != row.sequence {
            found.push(Violation::LedgerDisagrees { job: row.job.clone(), ledger: row.sequence, stream });
        }
    }
    found
}

/// L4: the text of a final is the text that the service returns for these bytes.
fn texts_equal(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let wrong = |input: &&Input| {
        let mut finals =
            jobs.of_input(input).into_iter().flatten().filter(|e| e.kind() == "transcript.final");
        finals.any(|event| event.body["text"] != input.text.as_str())
    };
    let wrong = records.inputs.iter().filter(|input| !input.in_pieces).filter(wrong);
    wrong.map(|input| Violation::WrongText { name: input.name.clone() }).collect()
}

/// L5: a completed job has exactly one final and exactly one set of plugin outputs.
fn outputs_once(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (job, events) in &jobs.events {
        if !events.iter().any(|event| event.kind() == "job.completed") {
            continue;
        }
        let one_final = [("transcript.final", 1)];
        let outputs = records.outputs.iter().map(|(kind, count)| (kind.as_str(), *count));
        for (kind, expected) in one_final.into_iter().chain(outputs) {
            let count = events.iter().filter(|event| event.kind() == kind).count();
            if count != expected {
                let (job, kind) = ((*job).to_owned(), kind.to_owned());
                found.push(Violation::Outputs { job, kind, expected, found: count });
            }
        }
    }
    found
}

/// L6: the service received exactly the bytes that the test made.
fn hashes_equal(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut made: HashSet<&str> = records.inputs.iter().map(|input| input.sha256.as_str()).collect();
    made.extend(records.events.iter().filter_map(|event| jobs.pieces.sha256(event)));
    let recognized = records.journal.iter().filter(|line| line["kind"] == "flash" || line["kind"] == "task");
    let received: BTreeSet<&str> = recognized.filter_map(|line| line["sha256"].as_str()).collect();
    let strange = received.into_iter().filter(|sha256| !made.contains(sha256));
    let mut found: Vec<Violation> =
        strange.map(|sha256| Violation::UnknownBytes { sha256: sha256.to_owned() }).collect();
    for input in &records.inputs {
        let mut told = jobs
            .of_input(input)
            .into_iter()
            .flatten()
            .filter_map(|event| event.body["recording"]["sha256"].as_str());
        if told.any(|sha256| sha256 != input.sha256) {
            found.push(Violation::WrongHash { name: input.name.clone() });
        }
    }
    found
}

/// L7: once the faults have stopped, everything ends within a bound, and a fresh input succeeds.
fn everything_ends(records: &Records, _: &Jobs<'_>) -> Vec<Violation> {
    let open = records.ledger.open();
    let mut found: Vec<Violation> =
        open.map(|row| Violation::StillOpen { job: row.job.clone(), duty: row.duty.clone() }).collect();
    if records.unacknowledged > 0 {
        found.push(Violation::Unacknowledged { count: records.unacknowledged });
    }
    if records.ended_after > records.bound {
        found.push(Violation::TooLate { after: records.ended_after, bound: records.bound });
    }
    if let Some(kind) = records.fresh.as_ref().filter(|kind| *kind != "job.completed") {
        found.push(Violation::FreshInput { kind: kind.clone() });
    }
    found
}

/// L8: the seconds reported equal the seconds charged; if a job failed or is marked, they may be fewer.
fn bills_equal(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for inputs in by_hash(&records.inputs).into_values() {
        let charged: u64 =
            jobs.charges(inputs[0]).iter().filter_map(|line| line["charged_seconds"].as_u64()).sum();
        let ends: Vec<&ReceivedEvent> = inputs
            .iter()
            .flat_map(|input| jobs.of_input(input))
            .filter_map(|events| events.iter().find(|event| is_last(event)).copied())
            .collect();
        let reported: u64 = ends.iter().filter_map(|end| end.body["billed_seconds"].as_u64()).sum();
        let certain = ends.iter().all(|end| end.kind() == "job.completed" && !is_marked(end));
        if reported > charged || (certain && reported != charged) {
            found.push(Violation::Bill { name: inputs[0].name.clone(), charged, reported });
        }
    }
    found
}

/// L9: the database is sound, no file is left over, and no daemon has grown.
fn nothing_left(records: &Records, _: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let ledger = &records.ledger;
    if ledger.integrity != "ok" {
        found.push(Violation::Integrity { finding: ledger.integrity.clone() });
    }
    if ledger.outbox_rows > 0 {
        found.push(Violation::Outbox { rows: ledger.outbox_rows });
    }
    found.extend(ledger.leftovers.iter().map(|file| Violation::Leftover { file: file.clone() }));
    found.extend(records.footprints.iter().flat_map(|(before, after)| after.grown_from(before)));
    found
}

/// Source and name of the recording, from the first event.
fn origin<'r>(events: &[&'r ReceivedEvent]) -> Origin<'r> {
    let body = &events[0].body;
    (body["source"].as_str().unwrap_or_default(), body["recording"]["name"].as_str().unwrap_or_default())
}

fn by_hash(inputs: &[Input]) -> HashMap<&str, Vec<&Input>> {
    let mut grouped: HashMap<&str, Vec<&Input>> = HashMap::new();
    for input in inputs {
        grouped.entry(input.sha256.as_str()).or_default().push(input);
    }
    grouped
}

/// Number of requests that a job may have paid for: one, or one for each piece, and, if the job is marked, one more for each retry.
fn tries(events: &[&ReceivedEvent]) -> usize {
    let marked = events.iter().any(|event| is_marked(event));
    let pieces = events.iter().filter(|event| event.kind() == "transcript.segment").count();
    pieces.max(1)
        + if marked { events.iter().filter(|event| event.kind() == "job.retrying").count() } else { 0 }
}

fn is_marked(event: &ReceivedEvent) -> bool {
    event.body["possible_duplicate_charge"] == true
}

fn is_last(event: &ReceivedEvent) -> bool {
    matches!(event.kind(), "job.completed" | "job.failed")
}

fn sequence(event: &ReceivedEvent) -> u64 {
    event.body["sequence"].as_u64().unwrap_or_default()
}
