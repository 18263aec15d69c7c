//! Histories of both machines, by the thousand: a service that takes, refuses and forgets, and a daemon that is killed between any two
//! steps. A failing one prints its seed; `HARK_SEED=<n>` runs that one alone.

mod dice;
mod free;
mod jobs;
mod lost_submits;
mod pieces;

use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Fault, Quality, Segment, TranscriptFinal, Usage};
use uuid::Uuid;

use crate::job::Next;

const DAEMON: Uuid = Uuid::from_u128(1);

fn histories(name: &str, history: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let run = |seed: u64| {
        if let Err(panic) = std::panic::catch_unwind(|| history(seed)) {
            eprintln!("the history of a {name} with HARK_SEED={seed} failed");
            std::panic::resume_unwind(panic);
        }
    };
    match std::env::var("HARK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..20_000).for_each(run),
    }
}

#[test]
fn every_piece_ends_and_says_which_attempts_may_have_cost() {
    histories("piece", |seed| pieces::World::new(seed).run());
}

#[test]
fn a_piece_that_costs_nothing_is_asked_for_in_halves_once_whatever_is_killed() {
    histories("piece that costs nothing", |seed| free::World::new(seed).run());
}

#[test]
fn every_job_ends_once_whatever_its_pieces_do() {
    histories("job", |seed| jobs::World::new(seed).run());
}

/// Another attempt after a second; `counts` against the budget of refusals.
fn again(counts: bool) -> Next {
    Next::After { wait: Duration::from_secs(1), counts }
}

fn fault(blame: Blame) -> Fault {
    Fault { code: "Code".into(), blame, message: "why".into(), attempts: None }
}

/// A final with these segments.
pub(crate) fn transcript_final(segments: Vec<Segment>) -> TranscriptFinal {
    TranscriptFinal {
        engine: Engine::FLASH,
        model: "model".into(),
        text: String::new(),
        language: None,
        emotion: None,
        speech: Some(true),
        truncated: false,
        segments: Some(segments),
        segments_object: None,
        usage: Usage::seconds(7),
        quality: Quality::default(),
    }
}
