//! What `annotation.speech` measured of a call, and the checks that need it.

use std::collections::VecDeque;

use hark_sdk::event::{AnnotationSpeech, TimeSpan};
use uuid::Uuid;

use crate::check_result::{CheckResult, round, seconds};
use crate::config::AtMost;

/// Most calls whose measurement waits for the final, which follows it at once.
const MOST: usize = 256;
/// Most times that a reason lists.
const MOST_LISTED: usize = 5;

/// What was measured of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Speech {
    channels: Vec<Channel>,
    longest_silence: TimeSpan,
}

/// What was measured of a channel.
#[derive(Debug, Clone, PartialEq)]
struct Channel {
    role: Option<String>,
    speech_ms: u64,
    /// The channel that it repeats: then it has no speech of its own.
    doubles: Option<u32>,
    interruptions: usize,
    /// When the first ones begin.
    interrupts_ms: Vec<u64>,
}

impl Speech {
    pub(crate) fn of(measured: &AnnotationSpeech) -> Speech {
        let channel = |one: &hark_sdk::event::ChannelSpeech| {
            let own =
                || measured.interruptions.iter().filter(|interruption| interruption.channel == one.channel);
            Channel {
                role: one.role.clone(),
                speech_ms: one.speech_ms,
                doubles: one.doubles,
                interruptions: own().count(),
                interrupts_ms: own().map(|interruption| interruption.begin_ms).take(MOST_LISTED).collect(),
            }
        };
        Speech {
            channels: measured.channels.iter().map(channel).collect(),
            longest_silence: measured.longest_silence.unwrap_or_default(),
        }
    }

    pub(crate) fn longest_silence(&self, most_ms: u64) -> CheckResult {
        let TimeSpan { begin_ms, end_ms } = self.longest_silence;
        let length_ms = end_ms.saturating_sub(begin_ms);
        let place = match length_ms {
            0 => String::new(),
            _ => format!(", from {} to {}", seconds(begin_ms), seconds(end_ms)),
        };
        CheckResult::of(
            length_ms <= most_ms,
            format!("the longest silence takes {}{place}; at most {}", seconds(length_ms), seconds(most_ms)),
        )
    }

    pub(crate) fn talk_ratio(&self, AtMost { role, at_most }: &AtMost) -> CheckResult {
        let own_ms = match self.speech_of(role) {
            Ok(own_ms) => own_ms,
            Err(why) => return CheckResult::not_measured(why),
        };
        let all_ms: u64 = self.heard().map(|channel| channel.speech_ms).sum();
        if all_ms == 0 {
            return CheckResult::not_measured("there is no speech");
        }
        let share = own_ms as f64 / all_ms as f64;
        let figures = format!("{role} speaks {} of {}", seconds(own_ms), seconds(all_ms));
        CheckResult::of(
            share <= *at_most,
            format!("{figures}, {} %; at most {} %", round(share * 100.0), round(at_most * 100.0)),
        )
    }

    pub(crate) fn interruptions(&self, AtMost { role, at_most }: &AtMost) -> CheckResult {
        if let Err(why) = self.speech_of(role) {
            return CheckResult::not_measured(why);
        }
        let own = self.heard().filter(|channel| channel.role.as_ref() == Some(role));
        let (count, mut times) = own.fold((0, Vec::new()), |(count, mut times), channel| {
            times.extend(&channel.interrupts_ms);
            (count + channel.interruptions, times)
        });
        times.sort_unstable();
        times.truncate(MOST_LISTED);
        let places: Vec<String> = times.iter().map(|ms| seconds(*ms)).collect();
        let places = match (places.len(), count) {
            (0, _) => String::new(),
            (listed, count) if listed < count => format!(", at {}, …", places.join(", ")),
            _ => format!(", at {}", places.join(", ")),
        };
        CheckResult::of(
            count as f64 <= *at_most,
            format!("{role} interrupts {count} times{places}; at most {}", round(*at_most)),
        )
    }

    /// `words`: what the role says.
    pub(crate) fn words_per_minute(&self, AtMost { role, at_most }: &AtMost, words: usize) -> CheckResult {
        let own_ms = match self.speech_of(role) {
            Ok(0) => return CheckResult::not_measured(format_args!("{role} does not speak")),
            Ok(own_ms) => own_ms,
            Err(why) => return CheckResult::not_measured(why),
        };
        let rate = words as f64 * 60_000.0 / own_ms as f64;
        let figures = format!("{role} says {words} words in {} of speech", seconds(own_ms));
        CheckResult::of(
            rate <= *at_most,
            format!("{figures}, {} a minute; at most {}", round(rate), round(*at_most)),
        )
    }

    fn heard(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().filter(|channel| channel.doubles.is_none())
    }

    /// The milliseconds that a role speaks on channels of its own.
    fn speech_of(&self, role: &str) -> Result<u64, String> {
        let of_role = || self.channels.iter().filter(|channel| channel.role.as_deref() == Some(role));
        if of_role().next().is_none() {
            return Err(format!("no channel is of the role {role}"));
        }
        if self.heard().count() < 2 {
            return Err("all speakers are on one channel".to_owned());
        }
        if let Some(doubled) = of_role().find_map(|channel| channel.doubles) {
            return Err(format!("the channel of {role} repeats channel {doubled}"));
        }
        Ok(of_role().map(|channel| channel.speech_ms).sum())
    }
}

/// The measurements of calls whose final has not come yet; at the bound the oldest is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Measured(VecDeque<(Uuid, Speech)>);

impl Measured {
    pub(crate) fn keep(&mut self, job: Uuid, speech: Speech) {
        self.take(job);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((job, speech));
    }

    pub(crate) fn take(&mut self, job: Uuid) -> Option<Speech> {
        let place = self.0.iter().position(|(of, _)| *of == job)?;
        self.0.remove(place).map(|(_, speech)| speech)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_without_a_final_are_forgotten_at_the_bound() {
        let mut measured = Measured::default();
        let job = |number: usize| Uuid::from_u128(number as u128);
        for number in 0..=MOST {
            measured.keep(job(number), Speech::of(&AnnotationSpeech::default()));
            measured.keep(job(number), Speech::of(&AnnotationSpeech::default()));
        }
        assert_eq!(measured.0.len(), MOST);
        assert!(measured.take(job(0)).is_none() && measured.take(job(MOST)).is_some());
    }
}
