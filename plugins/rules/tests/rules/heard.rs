//! A call that is followed while it is heard: alerts come with the words, and in the end stand as if the final had been judged alone.

use std::collections::{BTreeMap, BTreeSet};

use hark_rules::{Call, Change, Config, Rule, Rules, Unit};
use hark_sdk::event::{
    Alert, AlertState, Body, Engine, Segment, TranscriptFinal, TranscriptPartial, TranscriptSegment,
};
use hark_sdk::testing::transcript;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::generate;

fn rules(rules: serde_json::Value) -> Rules {
    Rules::new(Config::parse(&serde_json::json!({ "rules": rules }).to_string()).unwrap()).unwrap()
}

fn partial(piece: Option<u32>, begin_ms: u64, text: &str) -> TranscriptPartial {
    TranscriptPartial {
        revision: 1,
        channel: 0,
        role: None,
        piece,
        begin_ms,
        text: text.to_owned(),
        echo: false,
    }
}

fn segment(begin_ms: u64, text: &str) -> Segment {
    Segment {
        begin_ms: Some(begin_ms),
        end_ms: Some(begin_ms + 10_000),
        text: text.to_owned(),
        ..Segment::default()
    }
}

fn piece(piece: u32, segments: Vec<Segment>) -> TranscriptSegment {
    let begin_ms = segments.iter().filter_map(|segment| segment.begin_ms).min().unwrap_or(0);
    let end_ms = segments.iter().filter_map(|segment| segment.end_ms).max().unwrap_or(0);
    TranscriptSegment {
        engine: Engine::FLASH,
        model: String::new(),
        piece,
        pieces: None,
        begin_ms,
        end_ms,
        truncated: false,
        segments,
    }
}

fn finale(segments: Vec<Segment>) -> TranscriptFinal {
    let Body::TranscriptFinal(event) = transcript(&[]).body else { panic!("a final") };
    TranscriptFinal { segments: Some(segments), ..event }
}

/// The changes in short: what, rule, number, state, quote.
fn short(changes: &[Change]) -> Vec<String> {
    let of = |word: &str, alert: &Alert| {
        let number = alert.alert.rsplit(':').next().unwrap();
        format!("{word} {} {number} {:?} {:?}", alert.rule, alert.state, alert.quote)
    };
    let changes = changes.iter().map(|change| match change {
        Change::Raised(alert) => of("raised", alert),
        Change::Retracted(alert) => of("retracted", alert),
    });
    changes.collect()
}

#[test]
fn a_partial_raises_and_the_final_confirms_or_retracts() {
    let rules = rules(serde_json::json!([
        { "name": "churn", "any": ["cancel"], "not": ["just joking"] },
        { "name": "refund", "any": ["refund"] },
    ]));
    let mut call = Call::new("job");
    assert!(call.partial(&rules, &partial(None, 0, "I want to"), None).is_empty());
    let raised = call.partial(&rules, &partial(None, 0, "I want to cancel, refund"), None);
    assert_eq!(
        short(&raised),
        ["raised churn 1.1 Tentative \"cancel\"", "raised refund 1.1 Tentative \"refund\""]
    );
    let Change::Raised(alert) = &raised[0] else { panic!("{raised:?}") };
    assert_eq!(alert.alert, "job:{plugin}:churn:0:1.1");
    assert!(
        call.partial(&rules, &partial(None, 0, "I want to cancel, refunds"), None).is_empty(),
        "nothing twice"
    );
    assert!(call.partial(&rules, &partial(None, 0, "I want"), None).is_empty(), "a partial retracts nothing");
    let changes = call.end(&rules, &finale(vec![segment(0, "I want to cancel, refunded.")]), None);
    assert_eq!(
        short(&changes),
        ["retracted refund 1.1 Tentative \"refund\"", "raised churn 1.1 Confirmed \"cancel\""]
    );
    let Change::Retracted(alert) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(alert.reason.as_deref(), Some("the rule does not hold over the whole transcript"));
}

#[test]
fn a_pieces_segments_decide_and_the_final_says_nothing_twice() {
    let rules = rules(serde_json::json!([{ "name": "churn", "any": ["cancel"] }]));
    let mut call = Call::new("job");
    let tentative = call.partial(&rules, &partial(Some(2), 20_000, "cancel"), None);
    assert_eq!(short(&tentative), ["raised churn 2.1 Tentative \"cancel\""]);
    assert!(!call.partial(&rules, &partial(Some(3), 40_000, "cancel"), None).is_empty());
    let second = vec![segment(20_000, "Cancel."), segment(30_000, "I said: cancel!")];
    let confirmed = call.segment(&rules, &piece(2, second.clone()), None);
    assert_eq!(
        short(&confirmed),
        ["raised churn 2.1 Confirmed \"Cancel\"", "raised churn 2.2 Confirmed \"cancel\""]
    );
    assert!(call.segment(&rules, &piece(2, second.clone()), None).is_empty(), "a redelivered segment");
    assert!(
        call.partial(&rules, &partial(Some(2), 20_000, "cancel"), None).is_empty(),
        "a partial that is late"
    );
    let retracted = call.segment(&rules, &piece(3, vec![segment(40_000, "Council.")]), None);
    assert_eq!(short(&retracted), ["retracted churn 3.1 Tentative \"cancel\""]);
    assert!(call.segment(&rules, &piece(1, vec![segment(0, "Hello.")]), None).is_empty());
    let all = [vec![segment(0, "Hello.")], second, vec![segment(40_000, "Council.")]].concat();
    assert_eq!(short(&call.end(&rules, &finale(all), None)), [""; 0]);
}

#[test]
fn a_phrase_over_the_border_of_two_pieces_is_raised_when_the_second_is_heard() {
    let rules = rules(serde_json::json!([{ "name": "close", "any": ["close my account"] }]));
    let mut call = Call::new("job");
    assert!(call.segment(&rules, &piece(3, vec![segment(20_000, "account, three")]), None).is_empty());
    assert!(
        call.segment(&rules, &piece(1, vec![segment(0, "close my")]), None).is_empty(),
        "piece 2 may come between"
    );
    let tentative = call.partial(&rules, &partial(Some(2), 10_000, "account"), None);
    assert_eq!(short(&tentative), ["raised close 1.0 Tentative \"close my account\""]);
    let changes = call.segment(&rules, &piece(2, vec![segment(10_000, "Account, two.")]), None);
    assert_eq!(short(&changes), ["raised close 1.0 Confirmed \"close my Account\""]);
    let Change::Raised(alert) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!((alert.begin_ms, alert.end_ms), (Some(0), Some(10_000)), "the first one's times");
}

#[test]
fn a_phrase_over_a_border_is_decided_when_both_pieces_are_heard() {
    let rules = rules(serde_json::json!([{ "name": "close", "any": ["close my account"] }]));
    let (first, second) = (partial(Some(1), 0, "close my"), partial(Some(2), 10_000, "account"));
    let mut call = Call::new("job");
    assert!(call.partial(&rules, &first, None).is_empty());
    assert_eq!(call.partial(&rules, &second, None).len(), 1);
    assert!(call.segment(&rules, &piece(1, vec![segment(0, "Close my")]), None).is_empty());
    let changes = call.segment(&rules, &piece(2, vec![segment(10_000, "Council.")]), None);
    assert_eq!(short(&changes), ["retracted close 1.0 Tentative \"close my account\""]);

    let mut call = Call::new("job");
    call.partial(&rules, &first, None);
    call.partial(&rules, &second, None);
    assert!(call.segment(&rules, &piece(2, vec![segment(10_000, "Account.")]), None).is_empty());
    let changes = call.segment(&rules, &piece(1, vec![segment(0, "Close my")]), None);
    assert_eq!(short(&changes), ["raised close 1.0 Confirmed \"Close my Account\""]);
}

#[test]
fn an_alert_whose_time_proves_to_be_in_a_cooldown_is_decided_by_the_final() {
    let rules = rules(
        serde_json::json!([{ "name": "churn", "any": ["cancel"], "not": ["just joking"], "cooldown": "40s" }]),
    );
    let later = |text| vec![segment(40_000, text)];
    let earlier = vec![segment(0, "Hello."), segment(20_000, "I cancel.")];
    let heard = || {
        let mut call = Call::new("job");
        assert_eq!(short(&call.segment(&rules, &piece(2, later("Cancel, just")), None)).len(), 1);
        let tentative = call.partial(&rules, &partial(Some(1), 0, "hello I cancel"), None);
        assert_eq!(short(&tentative), ["raised churn 1.1 Tentative \"cancel\""], "the piece begins at 0");
        assert!(
            call.segment(&rules, &piece(1, earlier.clone()), None).is_empty(),
            "20 s from the confirmed one"
        );
        call
    };
    let all = [earlier.clone(), later("Cancel, just")].concat();
    let changes = heard().end(&rules, &finale(all), None);
    let [Change::Raised(stands), Change::Retracted(alert)] = &changes[..] else { panic!("{changes:?}") };
    let reason = "another alert of the rule stands within its cooldown";
    assert_eq!((alert.begin_ms, alert.reason.as_deref()), (Some(0), Some(reason)));
    assert_eq!(stands.begin_ms, Some(40_000));

    let all = [earlier.clone(), later("Cancel, just"), vec![segment(50_000, "joking")]].concat();
    let changes = heard().end(&rules, &finale(all), None);
    assert_eq!(
        short(&changes),
        ["retracted churn 2.1 Confirmed \"Cancel\"", "raised churn 1.1 Confirmed \"cancel\""],
        "the final does not bear the confirmed one out"
    );
}

#[test]
fn what_is_judged_over_the_call_is_decided_by_its_final() {
    let rules = rules(serde_json::json!([
        { "name": "unthanked", "scope": "call", "any": ["refund"], "not": ["thank you"] },
        { "name": "both", "scope": "call", "all": ["refund", "lawyer"] },
        { "name": "greeting", "missing": ["good morning"] },
    ]));
    let mut call = Call::new("job");
    let changes = call.segment(&rules, &piece(1, vec![segment(0, "A refund.")]), None);
    assert_eq!(short(&changes), ["raised unthanked call Tentative \"refund\""]);
    let changes = call.segment(&rules, &piece(2, vec![segment(10_000, "My lawyer. Thank you.")]), None);
    assert_eq!(short(&changes), ["raised both call Tentative \"refund\""]);
    let changes = call.end(
        &rules,
        &finale(vec![segment(0, "A refund."), segment(10_000, "My lawyer. Thank you.")]),
        None,
    );
    assert_eq!(
        short(&changes),
        [
            "retracted unthanked call Tentative \"refund\"",
            "raised both call Confirmed \"refund\"",
            "raised greeting call Confirmed \"\"",
        ]
    );
}

/// The alerts that stand after some changes, and that each change was allowed.
#[derive(Default)]
struct Board {
    standing: BTreeMap<String, Alert>,
    said: BTreeSet<(String, bool)>,
    gone: BTreeSet<String>,
}

impl Board {
    /// Takes changes as the host would: what is stored already is not stored again.
    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Raised(alert) => {
                    assert!(!self.gone.contains(&alert.alert), "what is retracted stays so: {alert:?}");
                    if self.said.insert((alert.alert.clone(), alert.state == AlertState::Confirmed)) {
                        self.standing.insert(alert.alert.clone(), alert);
                    }
                }
                Change::Retracted(alert) => {
                    assert!(self.standing.remove(&alert.alert).is_some(), "{alert:?}");
                    self.gone.insert(alert.alert);
                }
            }
        }
    }
}

/// The pieces of a call: each some segments that follow each other, of whatever channel.
fn pieces(segments: &[Segment], cuts: &[bool]) -> Vec<TranscriptSegment> {
    let mut pieces: Vec<Vec<Segment>> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        match pieces.last_mut() {
            Some(last) if !cuts[index % cuts.len()] => last.push(segment.clone()),
            _ => pieces.push(vec![segment.clone()]),
        }
    }
    (1..).zip(pieces).map(|(number, segments)| piece(number, segments)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_the_alerts_of_the_final_stand(
        given in vec(generate::rule(), 1..6),
        segments in generate::call(),
        cuts in vec(any::<bool>(), 6),
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        dies_at in prop::option::of(0..6_usize),
        limited in any::<bool>(),
    ) {
        let named = given.into_iter().enumerate().map(|(index, rule)| Rule {
            name: format!("r{index}"),
            once: limited && rule.once,
            cooldown: if limited { rule.cooldown } else { Default::default() },
            ..rule
        });
        let engine = Rules::new(Config { rules: named.collect() }).unwrap();
        let length = segments.iter().filter_map(|segment| segment.end_ms).max();
        let pieces = pieces(&segments, &cuts);
        let heard: Vec<&TranscriptSegment> = order.iter().filter_map(|index| pieces.get(*index)).collect();

        let mut board = Board::default();
        let mut call = Call::new("job");
        for (index, piece) in heard.iter().enumerate() {
            if dies_at == Some(index) {
                // The next process is handed the stored segments again, and what it says of them is dropped.
                call = Call::new("job");
                for earlier in &heard[..index] {
                    call.segment(&engine, earlier, length);
                }
            }
            for one in &piece.segments {
                let text = one.text.to_uppercase();
                let partial = TranscriptPartial { channel: one.channel, role: one.role.clone(), ..partial(Some(piece.piece), piece.begin_ms, &text) };
                board.take(call.partial(&engine, &partial, length));
            }
            board.take(call.segment(&engine, piece, length));
            prop_assert!(call.size() > 0);
        }
        let changes = call.end(&engine, &finale(segments.clone()), length);
        board.take(changes);
        // The host retracts what a dead process left tentative.
        board.standing.retain(|_, alert| alert.state == AlertState::Confirmed || dies_at.is_none());

        let place = |alert: &Alert| (alert.rule.clone(), alert.begin_ms, alert.channel);
        let standing: BTreeSet<_> = board.standing.values().map(place).collect();
        prop_assert!(board.standing.values().all(|alert| alert.state == AlertState::Confirmed));
        let units: Vec<Unit> = segments.iter().map(|segment| Unit::of_segment(&engine, segment)).collect();
        let judged = engine.judge(&units, length);
        if limited {
            for rule in engine.list() {
                let mut begins: Vec<u64> = board.standing.values().filter(|alert| alert.rule == rule.name).filter_map(|alert| alert.begin_ms).collect();
                begins.sort_unstable();
                prop_assert!(!rule.once || begins.len() <= 1);
                prop_assert!(begins.windows(2).all(|pair| pair[1] - pair[0] >= rule.cooldown.ms), "{begins:?}");
                let is_judged = judged.iter().any(|one| engine.list()[one.rule].name == rule.name);
                prop_assert_eq!(is_judged, board.standing.values().any(|alert| alert.rule == rule.name));
            }
        } else {
            let expected: BTreeSet<_> = judged.iter().map(|one| {
                let segment = one.segment.map(|segment| &segments[segment]);
                let begin_ms = segment.and_then(|segment| segment.begin_ms);
                (engine.list()[one.rule].name.clone(), begin_ms, segment.map(|segment| segment.channel))
            }).collect();
            prop_assert_eq!(&standing, &expected);
            prop_assert_eq!(board.standing.len(), judged.len(), "{:?}", board.standing);
        }
    }
}
