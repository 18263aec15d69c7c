//! When each daemon is killed or stopped, and for how long; derived from the seed before the run starts.

use std::time::Duration;

use super::plan::{Chance, Plan};

/// Longer than the consumers' `ack_wait`: the other daemon receives the messages.
const LONG: f64 = 9.0;

/// One of so many absences is long.
const SHORT_ONES: usize = 12;

/// A signal or a start, for one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL.
    Kill,
    /// A new process with the same state; the old one receives SIGKILL first if it still runs.
    Launch,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

#[derive(Debug, Clone, Copy)]
pub struct Deed {
    pub at: Duration,
    /// 0 or 1.
    pub daemon: usize,
    pub act: Act,
}

/// All deeds in order of time. The absences of the two daemons are independent: at times both are away. Daemon 1 begins with a long
/// absence, so that even the shortest run has one.
pub fn script(plan: &Plan) -> Vec<Deed> {
    let mut chance = Chance::new(plan.seed);
    let mean = 2.0 * plan.length.as_secs_f64() / plan.kills.max(1) as f64;
    let mut script = Vec::new();
    for daemon in 0..2 {
        // Daemon 1 starts its absences later, when it has messages.
        let mut at = plan.length.as_secs_f64() * if daemon == 0 { 0.0 } else { 0.2 };
        let mut number = if daemon == 0 { 1 } else { 0 };
        loop {
            at += mean * 2.0 * chance.next();
            if at > plan.length.as_secs_f64() {
                break;
            }
            let is_long = number % SHORT_ONES == 0;
            let away = if is_long { LONG + 4.0 * chance.next() } else { 2.0 * chance.next() };
            let is_paused = chance.next() < 0.4;
            let mut deed = |at: f64, act: Act| {
                script.push(Deed { at: Duration::from_secs_f64(at), daemon, act });
            };
            if is_paused {
                deed(at, Act::Pause);
                deed(at + away, Act::Resume);
                at += away;
            } else if is_long {
                deed(at, Act::Kill);
                deed(at + away, Act::Launch);
                at += away;
            } else {
                deed(at, Act::Launch);
            }
            number += 1;
        }
    }
    script.sort_by_key(|deed| deed.at);
    script
}

/// Number of absences that are long enough for a takeover.
pub fn long(script: &[Deed]) -> usize {
    let ends = |deed: &&Deed| {
        let next = script.iter().find(|next| next.daemon == deed.daemon && next.at > deed.at);
        matches!(deed.act, Act::Kill | Act::Pause)
            && next.is_some_and(|next| (next.at - deed.at).as_secs_f64() >= LONG)
    };
    script.iter().filter(ends).count()
}
