//! Random rules, and random calls in Latin, Chinese and Japanese.

use hark_rules::{Duration, Near, Rule, Scope, Window};
use hark_sdk::event::Segment;
use proptest::collection::vec;
use proptest::prelude::*;

const WORDS: [&str; 24] = [
    "no",
    "No",
    "thank",
    "you",
    "cancel",
    "CANCEL",
    "café",
    "cafe\u{301}",
    "Cafe",
    "Straße",
    "STRASSE",
    "İptal",
    "iptal",
    "退款",
    "我要",
    "我",
    "投诉",
    "キャンセル",
    "ｷｬﾝｾﾙ",
    "きゃんせる",
    "が",
    "か",
    "ＶＩＰ",
    "vip",
];
const GAPS: [&str; 7] = [" ", ", ", "-", ". ", "、", "", "…  "];
const ROLES: [&str; 2] = ["agent", "customer"];
const EMOTIONS: [&str; 3] = ["neutral", "angry", "sad"];
const PATTERNS: [&str; 4] = ["can(cel)?", "退.|投诉", r"\bvip\b", "caf[eé]"];

fn text(most: usize) -> impl Strategy<Value = String> {
    vec((prop::sample::select(&WORDS[..]), prop::sample::select(&GAPS[..])), 0..most)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, gap)| [word, gap]).collect())
}

fn phrases(most: usize) -> impl Strategy<Value = Vec<String>> {
    let phrase = vec((prop::sample::select(&WORDS[..]), prop::sample::select(&GAPS[..])), 1..3)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, gap)| [word, gap]).collect());
    prop_oneof![3 => Just(Vec::new()), 2 => vec(phrase, 1..most)]
}

pub(crate) fn call() -> impl Strategy<Value = Vec<Segment>> {
    let segment = (0..2_u32, 0..5_u64, 1..3_u64, text(9), prop::sample::select(&EMOTIONS[..]));
    vec(segment, 0..6).prop_map(|parts| {
        let mut begin = 0;
        // On a grid, so that borders are met exactly.
        let segments = parts.into_iter().map(|(channel, pause, length, text, emotion)| {
            let (pause, length) = (10_000 * pause, 10_000 * length);
            begin += pause;
            let segment = Segment {
                channel,
                role: Some(ROLES[channel as usize].to_owned()),
                begin_ms: Some(begin),
                end_ms: Some(begin + length),
                text,
                emotion: Some(emotion.to_owned()),
                ..Segment::default()
            };
            begin += length;
            segment
        });
        segments.collect()
    })
}

fn some_of(list: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(Vec::new()), 1 => prop::sample::select(list).prop_map(|one| vec![one.to_owned()])]
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let window = prop_oneof![
        4 => Just(Window::All),
        1 => Just(Window::First(40_000)),
        1 => Just(Window::Last(50_000)),
        1 => Just(Window::FirstShare(50)),
        1 => Just(Window::LastShare(40)),
        1 => Just(Window::Between(10_000, 90_000)),
    ];
    let said = (phrases(3), some_of(&PATTERNS), phrases(3), phrases(4), 1..9_usize);
    let unsaid = (phrases(2), phrases(2), prop::bool::weighted(0.3));
    let place = (some_of(&ROLES), window, some_of(&EMOTIONS), prop::bool::weighted(0.3));
    let rest = (
        prop_oneof![2 => Just(0), 1 => Just(40_000_u64)],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.8),
    );
    (said, unsaid, place, rest).prop_map(
        |(
            (any, regex, all, near, within),
            (not, missing, has_missing),
            (roles, window, emotion, is_call),
            (ms, once, fold),
        )| Rule {
            any,
            regex,
            all,
            near: Near { words: near, within },
            not,
            missing: if has_missing { missing } else { Vec::new() },
            roles,
            window,
            emotion,
            scope: if is_call { Scope::Call } else { Scope::Segment },
            cooldown: Duration { ms },
            once,
            fold,
            ..Rule::default()
        },
    )
}
