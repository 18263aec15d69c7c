//! How long a final of 10,000 segments takes, for `cargo xtask bench redact`: one JSON object on stdout.
//!
//! Every tenth segment has a number, an address or a name to take out; the others are plain talk. The event goes through the C functions that
//! the daemon calls, so that JSON is read and written as there.
#![allow(clippy::print_stdout, reason = "the program's result")]

use std::time::Instant;

use hark_sdk::event::{Body, Segment};
use hark_sdk::testing::{Bench, transcript};
use redact::Redact;
use serde_json::json;

const SEGMENTS: usize = 10_000;
const RUNS: usize = 5;

const CONFIG: &str =
    r#"{"find": ["card", "phone", "email", "iban", "digits"], "words": ["falcon"], "fillers": true}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut event = transcript(&[""]);
    let Body::TranscriptFinal(last) = &mut event.body else { return Err("not a final".into()) };
    last.segments = Some((0..SEGMENTS).map(segment).collect());
    last.text = (0..SEGMENTS).map(said).collect::<Vec<_>>().join(" ");
    let mut bench = Bench::<Redact>::create(CONFIG)?;
    let mut millis = Vec::with_capacity(RUNS);
    let mut taken = 0;
    for _ in 0..RUNS {
        let began = Instant::now();
        let heard = bench.hand(&event).map_err(|failure| failure.message)?;
        millis.push(began.elapsed().as_secs_f64() * 1_000.0);
        let Some(Body::TranscriptFinal(left)) = heard.replaced.map(|event| event.body) else {
            return Err("the text was not replaced".into());
        };
        taken = left.segments.iter().flatten().filter(|segment| segment.text.contains('[')).count();
    }
    millis.sort_by(f64::total_cmp);
    println!("{}", json!({ "median_ms": millis[RUNS / 2], "segments_changed": taken }));
    Ok(())
}

fn segment(number: usize) -> Segment {
    let begin_ms = number as u64 * 3_000;
    Segment {
        text: said(number),
        begin_ms: Some(begin_ms),
        end_ms: Some(begin_ms + 2_500),
        ..Segment::default()
    }
}

fn said(number: usize) -> String {
    match number % 60 {
        0 => format!("my card is 4111 1111 1111 {:04}, please", number % 10_000),
        10 => format!("call me at 555 01{:02} 77", number % 100),
        20 => format!("write to agent{number}@example.com"),
        30 => "the account is DE89 3704 0044 0532 0130 00".to_owned(),
        40 => "four one one one, one one one one, one one one one, one one one one".to_owned(),
        50 => "it is about the falcon again".to_owned(),
        _ => "well, I had asked for two of them on the third floor, and then we waited".to_owned(),
    }
}
