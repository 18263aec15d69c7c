//! What the plugin remembers of calls: which values have which numbers. It keeps hashes under a key of the process, no texts.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use uuid::Uuid;

use crate::token::{self, Kind};

/// Most calls that are remembered; a daemon has some hundred under way. The oldest is forgotten.
const MOST_CALLS: usize = 4096;
/// Most values of all calls, some 50 bytes each. The oldest calls are forgotten.
const MOST_VALUES: usize = 1 << 20;
/// Calls that are remembered after their final: the daemon may give it again, if a plugin behind this one holds it.
const ENDED: usize = 64;

/// The calls under way.
#[derive(Default)]
pub(crate) struct Calls {
    calls: HashMap<Uuid, Call>,
    /// The oldest first.
    order: VecDeque<Uuid>,
    ended: VecDeque<Uuid>,
    values: usize,
    hasher: RandomState,
}

/// The numbers of a call.
#[derive(Default)]
struct Call {
    numbers: HashMap<(Kind, u64), u32>,
    highest: HashMap<Kind, u32>,
    /// The digits at the end of the newest partial of a piece, by what they were taken for.
    tails: HashMap<(Piece, Kind), (String, u32)>,
}

/// A piece of a call: its channel and number.
pub(crate) type Piece = (u32, Option<u32>);

impl Calls {
    /// Takes note of the tokens in a text: new numbers follow the highest.
    pub(crate) fn observe(&mut self, job: Uuid, text: &str) {
        for (_, kind, number) in token::all(text) {
            let highest = self.call(job).highest.entry(kind).or_default();
            *highest = number.max(*highest);
        }
    }

    /// The number of a value in a call.
    pub(crate) fn number(&mut self, job: Uuid, kind: Kind, value: &str) -> u32 {
        let key = (kind, self.hasher.hash_one(value));
        let call = self.call(job);
        if let Some(number) = call.numbers.get(&key) {
            return *number;
        }
        let highest = call.highest.entry(kind).or_default();
        *highest += 1;
        let number = *highest;
        call.numbers.insert(key, number);
        self.values += 1;
        number
    }

    /// The number of digits at the end of a partial. While they grow from one partial to the next, they keep it.
    pub(crate) fn number_of_tail(&mut self, job: Uuid, piece: Piece, kind: Kind, digits: &str) -> u32 {
        let grown = match self.call(job).tails.remove(&(piece, kind)) {
            Some((before, number)) if digits.starts_with(&before) => Some((before, number)),
            _ => None,
        };
        let number = match grown {
            Some((before, number)) if before != digits => {
                let before = (kind, self.hasher.hash_one(&before));
                let now = (kind, self.hasher.hash_one(digits));
                let numbers = &mut self.call(job).numbers;
                match numbers.get(&now) {
                    Some(known) => *known,
                    None => {
                        if numbers.get(&before) == Some(&number) {
                            numbers.remove(&before);
                        }
                        numbers.insert(now, number);
                        number
                    }
                }
            }
            _ => self.number(job, kind, digits),
        };
        self.call(job).tails.insert((piece, kind), (digits.to_owned(), number));
        number
    }

    /// Takes note that a call has had its final.
    pub(crate) fn end(&mut self, job: Uuid) {
        if self.calls.contains_key(&job) && !self.ended.contains(&job) {
            self.ended.push_back(job);
        }
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.forget(oldest);
            self.order.retain(|job| *job != oldest);
        }
    }

    fn call(&mut self, job: Uuid) -> &mut Call {
        if !self.calls.contains_key(&job) {
            while self.calls.len() >= MOST_CALLS || self.values >= MOST_VALUES {
                let Some(oldest) = self.order.pop_front() else { break };
                self.forget(oldest);
            }
            self.order.push_back(job);
        }
        self.calls.entry(job).or_default()
    }

    fn forget(&mut self, job: Uuid) {
        if let Some(call) = self.calls.remove(&job) {
            self.values = self.values.saturating_sub(call.numbers.len());
        }
    }
}
