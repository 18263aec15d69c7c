//! What the speech of a recording's channels tells about the talk: turns, overlap, silence, interruptions. Pure.

use hark_sdk::event::TimeSpan;
use serde::{Deserialize, Serialize};

/// A pause that is longer ends a turn, in milliseconds.
const LONGEST_PAUSE: u64 = 1_000;

/// The most interruptions that are listed, so that an event with them fits into a message: a conversation of twelve hours has fewer.
pub(super) const MOST_INTERRUPTIONS: usize = 10_000;

/// The speech of one channel.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Spoken {
    /// In order of time, without overlap.
    pub(super) speech: Vec<TimeSpan>,
    /// It repeats another channel: what it says is said there.
    pub(super) is_double: bool,
}

/// How the channels of a recording share its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Talk {
    /// By channel.
    pub turns: Vec<Turns>,
    /// Milliseconds in which more than one channel speaks.
    pub overlap_ms: u64,
    /// Milliseconds in which no channel speaks.
    pub silence_ms: u64,
    /// The longest time in which no channel speaks, the first one of several; `None`: a channel speaks at any time.
    pub longest_silence: Option<TimeSpan>,
    /// The number of the channel, and where the turn begins, in order of time. At most 10,000.
    pub interruptions: Vec<(u32, u64)>,
}

/// The turns of a channel: speech with no pause over a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    pub speech_ms: u64,
    pub count: u32,
    pub longest_ms: u64,
}

/// Measures a recording of this length by the speech of its channels.
pub(super) fn talk(channels: &[Spoken], duration_ms: u64) -> Talk {
    let turns: Vec<Vec<TimeSpan>> = channels.iter().map(|channel| turns(&channel.speech)).collect();
    let of = |speech: &[TimeSpan], turns: &[TimeSpan]| Turns {
        speech_ms: speech.iter().map(TimeSpan::length_ms).sum(),
        count: u32::try_from(turns.len()).unwrap_or(u32::MAX),
        longest_ms: turns.iter().map(TimeSpan::length_ms).max().unwrap_or(0),
    };
    let speakers = || channels.iter().filter(|channel| !channel.is_double);
    let (overlap_ms, silences) = together(speakers().map(|channel| &channel.speech[..]), duration_ms);
    let longest = silences.iter().rev().max_by_key(|silence| silence.length_ms()).copied();
    let mut heard = turns.clone();
    for (turns, channel) in heard.iter_mut().zip(channels) {
        if channel.is_double {
            turns.clear();
        }
    }
    Talk {
        turns: channels.iter().zip(&turns).map(|(channel, turns)| of(&channel.speech, turns)).collect(),
        overlap_ms,
        silence_ms: silences.iter().map(TimeSpan::length_ms).sum(),
        longest_silence: longest,
        interruptions: interruptions(&heard),
    }
}

/// Speech with no pause over a second.
fn turns(speech: &[TimeSpan]) -> Vec<TimeSpan> {
    let mut turns: Vec<TimeSpan> = Vec::new();
    for span in speech {
        match turns.last_mut() {
            Some(turn) if span.begin_ms - turn.end_ms <= LONGEST_PAUSE => turn.end_ms = span.end_ms,
            _ => turns.push(*span),
        }
    }
    turns
}

/// Milliseconds in which several speak, and the times in which none does.
fn together<'s>(channels: impl Iterator<Item = &'s [TimeSpan]>, duration_ms: u64) -> (u64, Vec<TimeSpan>) {
    let mut changes: Vec<(u64, i32)> =
        channels.flatten().flat_map(|span| [(span.begin_ms, 1), (span.end_ms, -1)]).collect();
    changes.sort_unstable();
    changes.push((duration_ms, 0));
    let (mut at, mut speaking, mut overlap) = (0, 0, 0);
    let mut silences: Vec<TimeSpan> = Vec::new();
    for (time, change) in changes {
        if time > at {
            match speaking {
                0 => silences.push(TimeSpan { begin_ms: at, end_ms: time }),
                1 => {}
                _ => overlap += time - at,
            }
            at = time;
        }
        speaking += change;
    }
    (overlap, silences)
}

/// The turns that begin inside another channel's turn and go on after that one ends.
fn interruptions(channels: &[Vec<TimeSpan>]) -> Vec<(u32, u64)> {
    let mut turns: Vec<(TimeSpan, u32)> = Vec::new();
    for (turns_of, channel) in channels.iter().zip(0..) {
        turns.extend(turns_of.iter().map(|turn| (*turn, channel)));
    }
    turns.sort_by_key(|(turn, channel)| (turn.begin_ms, *channel));
    // By channel the turn that began last.
    let mut present: Vec<Option<TimeSpan>> = vec![None; channels.len()];
    let mut found = Vec::new();
    for (turn, channel) in turns {
        let interrupts = |other: &TimeSpan| {
            other.begin_ms < turn.begin_ms && turn.begin_ms < other.end_ms && other.end_ms < turn.end_ms
        };
        if present.iter().flatten().any(interrupts) && found.len() < MOST_INTERRUPTIONS {
            found.push((channel, turn.begin_ms));
        }
        present[channel as usize] = Some(turn);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans(spans: &[(u64, u64)]) -> Vec<TimeSpan> {
        spans.iter().map(|(begin_ms, end_ms)| TimeSpan { begin_ms: *begin_ms, end_ms: *end_ms }).collect()
    }

    fn of(channels: &[&[(u64, u64)]], duration_ms: u64) -> Talk {
        let spoken = |speech: &&[(u64, u64)]| Spoken { speech: spans(speech), is_double: false };
        talk(&channels.iter().map(spoken).collect::<Vec<_>>(), duration_ms)
    }

    #[test]
    fn a_pause_over_a_second_ends_a_turn() {
        let talk = of(&[&[(0, 500), (1_500, 2_000), (3_001, 3_200)]], 4_000);
        assert_eq!(talk.turns, [Turns { speech_ms: 1_199, count: 2, longest_ms: 2_000 }]);
        assert_eq!((talk.overlap_ms, talk.silence_ms), (0, 1_000 + 1_001 + 800));
        assert_eq!(talk.longest_silence, Some(TimeSpan { begin_ms: 2_000, end_ms: 3_001 }));
    }

    #[test]
    fn an_interruption_begins_in_another_turn_and_outlasts_it() {
        let agent = &[(0, 5_000), (10_000, 12_000), (20_000, 21_000)][..];
        for (customer, expected) in [
            (&[(4_000, 6_000)][..], &[(1, 4_000)][..]),
            // Within the other turn, right behind it, or at the same time.
            (&[(1_000, 2_000)], &[]),
            (&[(5_000, 6_000)], &[]),
            (&[(0, 6_000)], &[]),
            // The customer's turn ends at the same time as the agent's.
            (&[(4_000, 5_000)], &[]),
            // The agent interrupts.
            (&[(9_000, 11_000)], &[(0, 10_000)]),
            (&[(4_900, 5_100), (11_999, 13_500), (19_000, 20_500)], &[(1, 4_900), (1, 11_999), (0, 20_000)]),
        ] {
            let talk = of(&[agent, customer], 30_000);
            assert_eq!(talk.interruptions, expected, "{customer:?}");
        }
    }

    #[test]
    fn nobody_speaks_to_a_double_of_themselves() {
        let speech = spans(&[(1_000, 2_000), (5_000, 7_000)]);
        let original = Spoken { speech: speech.clone(), is_double: false };
        let talk = talk(&[original, Spoken { speech, is_double: true }], 8_000);
        assert_eq!((talk.overlap_ms, talk.silence_ms, talk.interruptions.len()), (0, 5_000, 0));
        assert_eq!(talk.turns[0], talk.turns[1], "what was measured on it is told");
    }

    #[test]
    fn a_recording_without_speech_is_one_silence_and_one_without_a_pause_has_none() {
        assert_eq!(of(&[&[], &[]], 700).longest_silence, Some(TimeSpan { begin_ms: 0, end_ms: 700 }));
        assert_eq!(of(&[&[(0, 700)], &[]], 700).longest_silence, None);
    }

    /// Speech of a channel: lengths of pauses and of spans by turns, none empty.
    fn speech() -> impl Strategy<Value = Vec<TimeSpan>> {
        prop::collection::vec((1_u64..2_500, 1_u64..2_500), 0..12).prop_map(|parts| {
            let mut at = 0;
            let mut span = |(pause, length): (u64, u64)| {
                let begin_ms = at + pause;
                at = begin_ms + length;
                TimeSpan { begin_ms, end_ms: at }
            };
            parts.into_iter().map(&mut span).collect()
        })
    }

    proptest! {
        #[test]
        fn every_figure_is_what_counting_each_millisecond_gives(
            channels in prop::collection::vec(speech(), 1..4), rest in 0_u64..2_000,
        ) {
            let spoken = |speech: &Vec<TimeSpan>| Spoken { speech: speech.clone(), is_double: false };
            let end = channels.iter().flatten().map(|span| span.end_ms).max().unwrap_or(0) + rest + 1;
            let talk = talk(&channels.iter().map(spoken).collect::<Vec<_>>(), end);
            let speakers: Vec<usize> = (0..end)
                .map(|at| {
                    let speaks = |speech: &&Vec<TimeSpan>| {
                        speech.iter().any(|span| (span.begin_ms..span.end_ms).contains(&at))
                    };
                    channels.iter().filter(speaks).count()
                })
                .collect();
            prop_assert_eq!(talk.overlap_ms, speakers.iter().filter(|count| **count > 1).count() as u64);
            prop_assert_eq!(talk.silence_ms, speakers.iter().filter(|count| **count == 0).count() as u64);
            let longest = speakers.split(|count| *count > 0).map(<[usize]>::len).max().unwrap_or(0);
            prop_assert_eq!(talk.longest_silence.map_or(0, |silence| silence.length_ms()), longest as u64);
            for (speech, turns) in channels.iter().zip(&talk.turns) {
                let pauses = speech.windows(2).filter(|two| two[1].begin_ms - two[0].end_ms > 1_000).count();
                let expected = if speech.is_empty() { 0 } else { pauses + 1 };
                prop_assert_eq!(turns.count as usize, expected);
            }
            let turns: Vec<Vec<TimeSpan>> = channels.iter().map(|speech| super::turns(speech)).collect();
            let mut expected: Vec<(u64, u32)> = Vec::new();
            for (channel, own) in turns.iter().enumerate() {
                for turn in own {
                    let is_interruption = turns.iter().enumerate().any(|(other, theirs)| {
                        other != channel && theirs.iter().any(|it| {
                            it.begin_ms < turn.begin_ms && turn.begin_ms < it.end_ms && it.end_ms < turn.end_ms
                        })
                    });
                    if is_interruption {
                        expected.push((turn.begin_ms, channel as u32));
                    }
                }
            }
            expected.sort_unstable();
            let found: Vec<(u64, u32)> = talk.interruptions.iter().map(|(channel, at)| (*at, *channel)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
