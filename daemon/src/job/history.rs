//! Histories of the job machine, by the thousand: a service that takes, refuses and forgets, and a daemon that is killed between any two
//! effects. A failing one prints its seed; `HARK_SEED=<n>` runs that one alone.

mod acts;
mod dice;
mod world;

use hark_sdk::event::{Blame, Engine, Recording};
use serde_json::Map;
use uuid::Uuid;

use self::world::{World, fault};
use super::machine::{self, Fact, Listing, Policy};
use super::{Consequence, Delivery, Failure, Job, Origin, Plan, State};

fn history(seed: u64) {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        world.run();
        world.check();
    });
    if let Err(panic) = outcome {
        eprintln!("history with HARK_SEED={seed} failed");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_history_ends_once_and_pays_once_or_says_so() {
    if let Some(seed) = std::env::var("HARK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return history(seed);
    }
    (0..20_000).for_each(history);
}

#[test]
fn a_submit_that_never_arrives_is_tried_ever_more_seldom_and_then_given_up() {
    let policy = Policy { ambiguous_retries: 1, price: 0.0 };
    let plan = Plan {
        engine: Engine::FILETRANS,
        model: "model".into(),
        delivery: Delivery::Upload,
        reason: String::new(),
    };
    let mut job =
        Job::new(Uuid::nil(), "calls", "default", Origin::Nothing, Recording::default(), Map::new());
    job.state = State::Queued { plan };
    let mut now = job.accepted_at;
    let mut waits = Vec::new();
    while let State::Queued { .. } = job.state {
        let lost = Failure { fault: fault(Blame::Service), consequence: Consequence::Unknown, unsure: false };
        for fact in [
            Fact::Sending { object: Some("object".into()) },
            Fact::Failed { failure: lost, billed_seconds: 0, revision: 0 },
            Fact::Listed(Listing::Absent),
            Fact::Listed(Listing::Absent),
        ] {
            let step = machine::advance(&job, fact, &policy, now);
            (job, now) = (step.job, now.max(step.due));
            waits.push(step.due);
        }
    }
    assert!(matches!(job.state, State::Ended { failed: true, .. }), "{:?}", job.state);
    assert_eq!((job.attempts, job.ambiguous, job.possible_duplicate_charge), (18, 0, false));
    let longest = waits.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap();
    assert_eq!(longest.as_secs(), 300, "the last waits are long");
}
