//! What an event of 100 words costs with 5,000 rules, for `cargo xtask bench rules`: one JSON object on stdout.
//!
//! Half of the rules have words and phrases, a quarter a pattern, a quarter `all`, `near` and `not`. Every event is another text, and one rule
//! in a hundred holds in it.
#![allow(clippy::print_stdout, reason = "the program's result")]

use std::time::Instant;

use hark_rules::{Config, Rules, Unit};
use hark_sdk::event::Segment;
use serde_json::{Value, json};

const RULES: usize = 5_000;
const WORDS: usize = 100;
const EVENTS: usize = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = json!({ "rules": (0..RULES).map(rule).collect::<Vec<_>>() });
    let began = Instant::now();
    let rules = Rules::new(Config::parse(&config.to_string())?)?;
    let compiled_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let mut dice = Dice(7);
    let mut micros = Vec::with_capacity(EVENTS);
    let mut alerts = 0;
    for number in 0..EVENTS {
        let segment = Segment {
            text: text(number, &mut dice),
            begin_ms: Some(0),
            end_ms: Some(30_000),
            ..Segment::default()
        };
        let began = Instant::now();
        let matches = rules.judge(&[Unit::of_segment(&rules, &segment)], Some(30_000));
        micros.push(began.elapsed().as_secs_f64() * 1e6);
        alerts += matches.len();
    }
    micros.sort_by(f64::total_cmp);
    let at = |share: usize| micros[(EVENTS * share / 100).min(EVENTS - 1)];
    println!(
        "{}",
        json!({
            "median_us": at(50), "p99_us": at(99), "compiled_ms": compiled_ms, "alerts": alerts, "memory_mb": memory_mb()?,
        })
    );
    Ok(())
}

fn rule(index: usize) -> Value {
    let (one, two, three) = (word(index), word(index * 7 + 1), word(index * 13 + 2));
    let name = format!("rule-{index}");
    match index % 4 {
        0 | 1 => json!({ "name": name, "any": [format!("{one}{index}"), format!("{two} {three} {one}")] }),
        2 => {
            json!({ "name": name, "regex": [format!("{one}{index}(s|ed)?"), format!("{two} \\d{{1,3}} {three}{index}")] })
        }
        _ => json!({
            "name": name, "all": [format!("{two}{index}")], "near": { "words": [format!("{one}{index}"), three] }, "not": [two],
            "roles": ["customer"],
        }),
    }
}

/// A text of 100 words, in which one of the rules holds.
fn text(number: usize, dice: &mut Dice) -> String {
    let mut words: Vec<String> = (0..WORDS).map(|_| word(dice.roll())).collect();
    let index = number * 4 % RULES;
    words[number % WORDS] = format!("{}{index}", word(index));
    words.join(if number.is_multiple_of(2) { " " } else { ", " })
}

/// One of some thousand words.
fn word(number: usize) -> String {
    const PARTS: [&str; 16] = [
        "can", "cel", "re", "fund", "con", "tract", "ac", "count", "law", "yer", "mor", "ning", "ser",
        "vice", "ok", "é",
    ];
    let part = |place: usize| PARTS[number / place % PARTS.len()];
    format!("{}{}{}", part(1), part(16), part(256))
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }
}

/// The most memory that the process had, in MB.
fn memory_mb() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1_024.0)
}
