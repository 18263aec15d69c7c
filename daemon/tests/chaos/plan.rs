//! The schedule of a run, derived from the seed before the run starts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{caf, number_from};

/// One fault of the broker for so many kills.
const KILLS_PER_BROKER_FAULT: usize = 8;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub length: Duration,
    pub kills: usize,
    pub inputs: usize,
    /// Every recording for flash is one of many pieces; else a few are.
    pub in_pieces: bool,
}

/// A signal to a process, `after` so long since the previous strike.
#[derive(Debug, Clone, Copy)]
pub enum Strike {
    /// SIGKILL to the daemon, which is restarted at once.
    Kill { after: Duration },
    /// SIGKILL to the broker, which is restarted at once.
    BrokerRestart { after: Duration },
    /// SIGSTOP to the broker.
    BrokerPause { after: Duration, lasting: Duration },
}

impl Plan {
    /// The short run, unless the environment sets other figures. Without `HARK_SEED` every run has a new seed.
    pub fn from_environment_or(short: Plan) -> Plan {
        let count = |name: &str| number_from(name).map(|count| usize::try_from(count).unwrap());
        let of_now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        Plan {
            seed: number_from("HARK_SEED").unwrap_or_else(of_now),
            length: number_from("HARK_CHAOS_SECONDS").map_or(short.length, Duration::from_secs),
            kills: count("HARK_CHAOS_KILLS").unwrap_or(short.kills),
            inputs: count("HARK_CHAOS_INPUTS").unwrap_or(short.inputs),
            in_pieces: count("HARK_CHAOS_PIECES").map_or(short.in_pieces, |pieces| pieces > 0),
        }
    }

    /// Whether a recording for flash is a long one.
    pub fn is_long(&self, number: usize) -> bool {
        self.in_pieces || number % 40 == 5
    }

    /// The strikes, over the length of the run. Every eighth kill is followed by a fault of the broker, in turn a restart and a pause.
    pub fn strikes(&self) -> Vec<Strike> {
        let mut chance = Chance::new(self.seed);
        let mean = self.length.as_secs_f64() / self.kills.max(1) as f64;
        let mut strikes = Vec::new();
        for kill in 0..self.kills {
            // Some intervals are so short that the daemon has only begun to read its ledger.
            let after = Duration::from_secs_f64(mean * 2.0 * chance.next());
            if kill % KILLS_PER_BROKER_FAULT != KILLS_PER_BROKER_FAULT - 1 {
                strikes.push(Strike::Kill { after });
                continue;
            }
            let half = after / 2;
            strikes.push(Strike::Kill { after: half });
            strikes.push(if (kill / KILLS_PER_BROKER_FAULT).is_multiple_of(2) {
                Strike::BrokerRestart { after: half }
            } else {
                Strike::BrokerPause { after: half, lasting: Duration::from_secs_f64(0.5 + chance.next()) }
            });
        }
        strikes
    }
}

impl Strike {
    pub fn after(&self) -> Duration {
        match self {
            Strike::Kill { after } | Strike::BrokerRestart { after } | Strike::BrokerPause { after, .. } => {
                *after
            }
        }
    }
}

/// A recording of about twenty pieces, by [`ROUTES`].
pub fn long(number: usize) -> Vec<u8> {
    caf(32.0, number as u64)
}

/// The routes of a run.
pub const ROUTES: &str = "[[route]]\nname = \"default\"\nengine = \"flash\"\npiece = \"2s\"\n\n[[route]]\nname = \"long\"\nengine = \"filetrans\"\n";

/// Every fault of the service that a job survives, mixed.
pub fn faults(seed: u64) -> Value {
    let mut number = seed;
    let mut fault = |kind: &str, probability: f64, more: Value| {
        number = number.wrapping_add(1);
        let mut fault = json!({"kind": kind, "probability": probability, "seed": number});
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fault
    };
    json!([
        fault("throttle", 0.01, json!({"retry_after": 0.2, "on": ["flash", "submit"]})),
        fault("throttle", 0.005, json!({"on": ["query", "list"]})),
        fault("status", 0.03, json!({"status": 503})),
        fault("status", 0.01, json!({"status": 502, "html": true})),
        fault("reset", 0.03, json!({})),
        fault("drop_answer", 0.03, json!({})),
        fault("cut_answer", 0.02, json!({"after_bytes": 100})),
        fault("garbage", 0.02, json!({})),
        fault("split_bytes", 0.02, json!({})),
        fault("stall", 0.02, json!({"ms": 1_500})),
        fault("no_stop", 0.02, json!({"after_events": 3})),
        fault("stream_error", 0.02, json!({"after_events": 2})),
        fault("slow_tokens", 0.03, json!({"ms": 100})),
        fault("task_failed", 0.03, json!({"code": "FILE_DOWNLOAD_FAILED"})),
        fault("task_unknown", 0.01, json!({})),
        fault("result_expired", 0.02, json!({})),
    ])
}

/// splitmix64: its only state is one number, and it gives the same sequence on every machine.
#[derive(Debug, Clone, Copy)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// In [0, 1).
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}
