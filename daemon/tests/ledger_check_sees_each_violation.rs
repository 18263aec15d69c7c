//! Tests that the ledger check fails: each test plants one violation in a copy of records that are in order.

use std::time::Duration;

use crate::support::{Footprint, Input, LedgerJob, LedgerRecord, ReceivedEvent, Records, Violation};
use async_nats::HeaderMap;
use serde_json::{Value, json};

const JOB: &str = "01990000-0000-7000-8000-000000000001";

fn event(job: &str, sequence: u64, kind: &str, name: &str, sha256: &str, fields: Value) -> ReceivedEvent {
    let mut body = json!({
        "job": job, "source": "calls", "sequence": sequence, "recording": {"name": name, "sha256": sha256},
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut headers = HeaderMap::new();
    let id = format!("{job}:{sequence}");
    headers.insert("ce-type", format!("hark.{kind}"));
    headers.insert("ce-id", id.as_str());
    headers.insert("Nats-Msg-Id", id.as_str());
    ReceivedEvent { subject: format!("hark.event.{kind}.calls.{job}"), headers, body, stored: None }
}

/// The records of one recording through flash, in order.
fn in_order() -> Records {
    let input = Input::recognized("calls", "a.wav", b"audio");
    let text = json!({"text": input.text});
    let heard = |sequence, kind: &str, fields| event(JOB, sequence, kind, "a.wav", &input.sha256, fields);
    Records {
        journal: vec![
            json!({"kind": "flash", "outcome": "ok", "sha256": input.sha256, "charged_seconds": 3}),
            json!({"kind": "query", "outcome": "ok"}),
        ],
        events: vec![
            heard(1, "job.accepted", json!({})),
            heard(2, "job.submitted", json!({})),
            heard(3, "transcript.final", text),
            heard(4, "alert.raised", json!({})),
            heard(5, "job.completed", json!({"billed_seconds": 3})),
        ],
        ledger: LedgerRecord {
            integrity: "ok".into(),
            jobs: vec![LedgerJob {
                source: "calls".into(),
                job: JOB.into(),
                duty: "nothing".into(),
                sequence: 5,
            }],
            ..LedgerRecord::default()
        },
        outputs: [("alert.raised".to_owned(), 1)].into(),
        fresh: Some("job.completed".into()),
        ended_after: Duration::from_secs(1),
        bound: Duration::from_secs(30),
        footprints: vec![(
            Footprint { descriptors: 20, threads: 5 },
            Footprint { descriptors: 22, threads: 5 },
        )],
        inputs: vec![input],
        unacknowledged: 0,
        several_daemons: false,
    }
}

/// The violations that the check finds in good records after one change.
fn planted(plant: impl FnOnce(&mut Records)) -> Vec<Violation> {
    let mut records = in_order();
    plant(&mut records);
    records.violations()
}

fn id(sequence: u64) -> String {
    format!("{JOB}:{sequence}")
}

#[test]
fn records_in_order_have_no_violation() {
    assert_eq!(in_order().violations(), []);
}

#[test]
fn l1_an_input_without_a_job_and_a_job_without_an_input() {
    let forgotten = Input::recognized("calls", "b.wav", b"other");
    assert_eq!(
        planted(|records| records.inputs.push(forgotten)),
        [Violation::NoJob { name: "b.wav".into() }]
    );
    let stranger = planted(|records| records.inputs[0].name = "c.wav".into());
    assert_eq!(
        stranger,
        [
            Violation::NoJob { name: "c.wav".into() },
            Violation::NoInput { job: JOB.into(), name: "a.wav".into() },
            Violation::Bill { name: "c.wav".into(), charged: 3, reported: 0 },
        ]
    );
}

#[test]
fn l1_two_jobs_of_one_input() {
    let found = planted(|records| {
        let sha256 = records.inputs[0].sha256.clone();
        records.events.push(event("other", 1, "job.failed", "a.wav", &sha256, json!({})));
    });
    assert_eq!(found, [Violation::SeveralJobs { name: "a.wav".into(), count: 2 }]);
}

#[test]
fn l1_a_job_without_a_last_event_and_one_with_two() {
    let endless = planted(|records| {
        records.events.pop();
        records.ledger.jobs[0].sequence = 4;
    });
    assert!(endless.contains(&Violation::LastEvents { job: JOB.into(), count: 0 }), "{endless:?}");
    let twice = planted(|records| {
        let mut second = records.events[4].clone();
        second.body["sequence"] = json!(6);
        second.headers.insert("ce-id", id(6));
        second.headers.insert("Nats-Msg-Id", id(6));
        records.events.push(second);
    });
    assert!(twice.contains(&Violation::LastEvents { job: JOB.into(), count: 2 }), "{twice:?}");
    assert!(
        twice.contains(&Violation::AfterLast { job: JOB.into(), kind: "job.completed".into() }),
        "{twice:?}"
    );
}

#[test]
fn l1_a_good_recording_that_failed() {
    let found = planted(|records| {
        records.outputs.clear();
        records.events[4].headers.insert("ce-type", "hark.job.failed");
        records.events[4].body["error"] = json!({"code": "Interrupted"});
    });
    let (name, kind, code) = ("a.wav".into(), "job.failed".into(), "Interrupted".into());
    assert_eq!(found, [Violation::WrongEnd { name, kind, code }]);
}

#[test]
fn l2_a_recording_paid_twice_and_not_marked() {
    let pay_again = |records: &mut Records| {
        let paid = records.journal[0].clone();
        records.journal.push(paid);
    };
    let found = planted(pay_again);
    assert!(found.contains(&Violation::PaidTwice { name: "a.wav".into(), paid: 2, allowed: 1 }), "{found:?}");
    // The second charge is allowed if the job is marked and has the retry.
    let marked = planted(|records| {
        pay_again(records);
        records.events[4].body["possible_duplicate_charge"] = json!(true);
        records.events[1].headers.insert("ce-type", "hark.job.retrying");
    });
    assert_eq!(marked, []);
}

#[test]
fn l3_gaps_repeats_and_foreign_ids() {
    let gap = planted(|records| {
        records.events.remove(1);
    });
    assert!(gap.contains(&Violation::Gap { job: JOB.into(), expected: 2, found: 3 }), "{gap:?}");
    let repeated = planted(|records| {
        let again = records.events[1].clone();
        records.events.insert(2, again);
    });
    assert!(repeated.contains(&Violation::RepeatedId { id: id(2) }), "{repeated:?}");
    let foreign = planted(|records| {
        records.events[0].headers.insert("Nats-Msg-Id", "another");
    });
    assert_eq!(foreign, [Violation::WrongId { expected: id(1), found: "another".into() }]);
    let swapped = planted(|records| records.events.swap(1, 2));
    assert_eq!(swapped, [Violation::Gap { job: JOB.into(), expected: 2, found: 3 }]);
    let ledger = planted(|records| records.ledger.jobs[0].sequence = 6);
    assert_eq!(ledger, [Violation::LedgerDisagrees { job: JOB.into(), ledger: 6, stream: 5 }]);
}

#[test]
fn l4_a_text_that_the_service_did_not_return() {
    let found = planted(|records| records.events[2].body["text"] = json!("something else"));
    assert_eq!(found, [Violation::WrongText { name: "a.wav".into() }]);
}

#[test]
fn l5_outputs_of_a_plugin_twice_or_never() {
    let kind = "alert.raised";
    let twice = planted(|records| {
        records.outputs.insert(kind.into(), 2);
    });
    let wrong = |expected, found| Violation::Outputs { job: JOB.into(), kind: kind.into(), expected, found };
    assert_eq!(twice, [wrong(2, 1)]);
    let never = planted(|records| {
        records.events[3].headers.insert("ce-type", "hark.plugin.other");
    });
    assert_eq!(never, [wrong(1, 0)]);
}

#[test]
fn l6_bytes_and_hashes_of_another_recording() {
    let line = json!({"kind": "flash", "outcome": "ok", "sha256": "beef"});
    let found = planted(|records| records.journal.push(line));
    assert_eq!(found, [Violation::UnknownBytes { sha256: "beef".into() }]);
    let told = planted(|records| records.events[0].body["recording"]["sha256"] = json!("beef"));
    assert_eq!(told, [Violation::WrongHash { name: "a.wav".into() }]);
}

#[test]
fn l7_what_does_not_end() {
    let open = planted(|records| records.ledger.jobs[0].duty = "settle".into());
    assert_eq!(open, [Violation::StillOpen { job: JOB.into(), duty: "settle".into() }]);
    assert_eq!(planted(|records| records.unacknowledged = 2), [Violation::Unacknowledged { count: 2 }]);
    let (after, bound) = (Duration::from_secs(31), Duration::from_secs(30));
    assert_eq!(planted(|records| records.ended_after = after), [Violation::TooLate { after, bound }]);
    let fresh = planted(|records| records.fresh = Some("job.failed".into()));
    assert_eq!(fresh, [Violation::FreshInput { kind: "job.failed".into() }]);
}

#[test]
fn l8_a_bill_that_is_not_the_services() {
    let bill = |charged, reported| Violation::Bill { name: "a.wav".into(), charged, reported };
    assert_eq!(planted(|records| records.events[4].body["billed_seconds"] = json!(2)), [bill(3, 2)]);
    let more = planted(|records| {
        records.events[4].body["billed_seconds"] = json!(4);
        records.events[4].body["possible_duplicate_charge"] = json!(true);
    });
    assert_eq!(more, [bill(3, 4)]);
}

#[test]
fn l9_what_is_left_behind() {
    let broken = planted(|records| records.ledger.integrity = "row 3 missing from index".into());
    assert_eq!(broken, [Violation::Integrity { finding: "row 3 missing from index".into() }]);
    assert_eq!(planted(|records| records.ledger.outbox_rows = 7), [Violation::Outbox { rows: 7 }]);
    let spool = planted(|records| records.ledger.leftovers.push("spool/x".into()));
    assert_eq!(spool, [Violation::Leftover { file: "spool/x".into() }]);
    let leak = planted(|records| records.footprints[0].1.descriptors = 120);
    assert_eq!(leak, [Violation::Grown { what: "the number of descriptors", before: 20, after: 120 }]);
    let threads = planted(|records| records.footprints[0].1.threads = 50);
    assert_eq!(threads, [Violation::Grown { what: "the number of threads", before: 5, after: 50 }]);
}

/// The records of one recording in two pieces, in order.
fn in_two_pieces() -> Records {
    let mut records = in_order();
    let input = records.inputs[0].clone().in_pieces();
    let text = |sha256: &str| dashscope_emulator::text_for(sha256);
    let recording = json!({"name": "a.wav", "sha256": input.sha256, "duration_ms": 3_000});
    let segment = |sha256: &str| json!({"text": text(sha256)});
    let heard = |sequence, kind: &str, fields: Value| {
        let mut event = event(JOB, sequence, kind, "a.wav", &input.sha256, fields);
        event.body["recording"] = recording.clone();
        event
    };
    let piece = |sequence: u64, number: u64, sha256: &str| {
        let fields = json!({
            "time": format!("2026-09-21T14:00:0{sequence}Z"), "piece": number, "begin_ms": (number - 1) * 2_000,
            "end_ms": (number * 2_000).min(3_000), "segments": [segment(sha256)],
        });
        heard(sequence, "transcript.segment", fields)
    };
    let sent = |second: u64, sha256: &str, seconds: u64| {
        json!({
            "kind": "flash", "outcome": "ok", "sha256": sha256, "charged_seconds": seconds, "time": format!("2026-09-21T14:00:0{second}Z"),
        })
    };
    records.journal = vec![sent(1, "aaaa", 2), sent(2, "bbbb", 1)];
    records.events = vec![
        heard(1, "job.accepted", json!({})),
        heard(2, "job.submitted", json!({})),
        piece(3, 2, "bbbb"),
        piece(4, 1, "aaaa"),
        heard(5, "transcript.final", json!({"segments": [segment("aaaa"), segment("bbbb")]})),
        heard(6, "alert.raised", json!({})),
        heard(7, "job.completed", json!({"billed_seconds": 3})),
    ];
    records.ledger.jobs[0].sequence = 7;
    records.inputs = vec![input];
    records
}

#[test]
fn pieces_that_are_sent_again_left_out_or_changed() {
    let planted = |plant: &dyn Fn(&mut Records)| {
        let mut records = in_two_pieces();
        plant(&mut records);
        records.violations()
    };
    assert_eq!(planted(&|_| ()), []);
    let name = || "a.wav".to_owned();
    let again = planted(&|records| {
        let mut line = records.journal[0].clone();
        line["time"] = json!("2026-09-21T14:00:05Z");
        records.journal.push(line);
        records.events[6].body["possible_duplicate_charge"] = json!(true);
        records.events[1] = event(JOB, 2, "job.retrying", "a.wav", &records.inputs[0].sha256, json!({}));
    });
    assert_eq!(again, [Violation::HeardAgain { name: name(), piece: 1 }], "marked, and wrong all the same");
    let wrong = |what: &'static str| [Violation::WrongPieces { name: name(), what }];
    let gap = planted(&|records| records.events[3].body["end_ms"] = json!(1_900));
    assert_eq!(gap, wrong("are not the whole recording"));
    let changed = planted(&|records| records.events[4].body["segments"][0]["text"] = json!("else"));
    assert_eq!(changed, wrong("are not what the final says"));
    let numbers = planted(&|records| records.events[3].body["piece"] = json!(3));
    assert!(numbers.contains(&wrong("are not heard once each")[0]), "{numbers:?}");
}
