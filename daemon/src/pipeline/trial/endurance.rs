//! Thousands of ordinary events: how long they take, and what the process keeps of them.

use std::time::{Duration, Instant};

use hark_sdk::Wants;
use hark_sdk::event::Event;

use super::report::{Finding, Trial};
use super::samples;
use super::{BUDGET, answer, judge, measure, send};
use crate::counted::counted;
use crate::os::resource_use::ResourceUse;
use crate::pipeline::process::Process;

/// Events that are sent ahead of the answers, so that the measurement shows the plugin's time, not the time of the socket.
const AHEAD: u64 = 32;
/// Limit of the 99th percentile of the time for one event; above it the trial warns the author, since all calls share one plugin process and
/// wait for each other.
const SLOW: Duration = Duration::from_millis(50);
/// Shares of the events, in fifths, after which the process is measured: caches and allocators are warm after the first.
const MEASURED: [u64; 3] = [1, 3, 5];
/// Growth of the memory over the last four fifths of the events, in bytes, from which the trial warns, and from which it fails. With 10,000
/// events these are 131 and 524 bytes for each event.
const GROWTH: (u64, u64) = (1 << 20, 4 << 20);
/// New descriptors or threads over the last four fifths of the events from which the trial fails; with fewer it warns.
const MORE: u64 = 8;
/// New descriptors or threads since before the first event from which the trial fails: a pool may grow to almost this many.
const MOST: u64 = 64;

/// Sends `events` events of calls, only of the kinds that the plugin wants; returns false if the process has ended. `before` is what the
/// process held before its first event.
pub(super) async fn run(
    process: &mut Process,
    wants: Wants,
    events: u64,
    before: ResourceUse,
    trial: &mut Trial,
) -> bool {
    const NAME: &str = "many events";
    let began = Instant::now();
    let (mut times, mut held) = (Vec::new(), vec![(0, before)]);
    let outcome = calls(process, wants, events, &mut times, &mut held).await;
    let took = match &outcome {
        Err(Stop::Gone(why)) => Finding::failed(format!("after {}: {why}", counted(times.len(), "event"))),
        Err(Stop::Error(why)) => Finding::failed(format!("event {} failed: {why}", times.len())),
        Ok(()) => time_taken(&mut times, events),
    };
    trial.add(NAME, began, took);
    if outcome.is_ok() && !times.is_empty() {
        trial.add("memory", began, memory(&held));
        for (name, count) in [
            ("descriptors", (|held| held.descriptors) as fn(&ResourceUse) -> u64),
            ("threads", |held| held.threads),
        ] {
            trial.add(
                name,
                began,
                number(name, &held.iter().map(|(_, held)| count(held)).collect::<Vec<_>>()),
            );
        }
    }
    !matches!(outcome, Err(Stop::Gone(_)))
}

/// Why the trial sends no more events: the process has ended, or the plugin failed on an event.
enum Stop {
    Gone(String),
    Error(String),
}

/// Sends the events and records the time of each answer. `held` receives pairs: a number of events, and what the process held after them.
async fn calls(
    process: &mut Process,
    wants: Wants,
    events: u64,
    times: &mut Vec<Duration>,
    held: &mut Vec<(u64, ResourceUse)>,
) -> Result<(), Stop> {
    let began = Instant::now();
    let wanted = |number| samples::call(number).into_iter().filter(|event| wants.include(&event.kind()));
    if wanted(0).next().is_none() {
        return Ok(());
    }
    let due = |done: u64| MEASURED.iter().any(|fifths| done == events * fifths / 5);
    let mut next = (0..).flat_map(wanted).take(events as usize).peekable();
    while next.peek().is_some() && began.elapsed() < BUDGET {
        // A slow plugin gets one event at a time, so that the step ends within its time.
        let is_quick = times.last().is_some_and(|last| *last < SLOW);
        let ahead = if is_quick { AHEAD } else { 1 };
        let until = (1..=ahead).find(|more| due(times.len() as u64 + more)).unwrap_or(ahead);
        let batch: Vec<Event> = next.by_ref().take(until as usize).collect();
        for event in &batch {
            send(process, &event.kind().to_string(), event).map_err(Stop::Gone)?;
        }
        for _ in &batch {
            let began = Instant::now();
            let answer = answer(process).await.map_err(Stop::Gone)?;
            times.push(began.elapsed());
            judge(&answer).map_err(Stop::Error)?;
        }
        let done = times.len() as u64;
        if due(done) {
            held.push((done, measure(process).await.map_err(Stop::Gone)?));
        }
    }
    Ok(())
}

fn time_taken(times: &mut [Duration], events: u64) -> Finding {
    times.sort_unstable();
    let Some(&slowest) = times.last() else { return Finding::passed("it wants none") };
    let p99 = times[(times.len() - 1) * 99 / 100];
    let in_ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let message =
        format!("{}, p99 {}, slowest {}", counted(times.len(), "event"), in_ms(p99), in_ms(slowest));
    if p99 > SLOW || (times.len() as u64) < events {
        return Finding::warning(
            format!("{message}; it is slow"),
            "do less in an event: events of all calls wait for each other, and each has 2 s",
        );
    }
    Finding::passed(message)
}

fn memory(held: &[(u64, ResourceUse)]) -> Finding {
    let [_, (first_at, first), (_, middle), (last_at, last)] = held else {
        return Finding::passed("not judged: there were too few events");
    };
    let growth = last.memory.saturating_sub(first.memory);
    let half = middle.memory.saturating_sub(first.memory);
    // A cache that fills up grows in one half of the events only; a leak grows in both.
    let goes_on = half >= growth / 4 && growth - half.min(growth) >= growth / 4;
    let message = format!("{}, grown by {}", in_mib(last.memory), in_mib(growth));
    if growth < GROWTH.0 || !goes_on {
        return Finding::passed(message);
    }
    let each = growth / (last_at - first_at).max(1);
    let message = format!("{message} over {}: {each} bytes an event", counted(last_at - first_at, "event"));
    let remedy = "free what an event needed; forget a call after its transcript.final";
    if growth < GROWTH.1 { Finding::warning(message, remedy) } else { Finding::failed_with(message, remedy) }
}

fn in_mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// `counts`: before the first event, then where measured.
fn number(name: &str, counts: &[u64]) -> Finding {
    let (Some(&start), Some(&last)) = (counts.first(), counts.last()) else { return Finding::passed("") };
    let warm = counts.get(1).copied().unwrap_or(start);
    let message = format!("{last} {name}, {start} before the first event");
    let remedy = match name {
        "threads" => "end the threads that an event needed, or keep a few for all events",
        _ => "close what an event opened",
    };
    if last >= warm + MORE || last >= start + MOST {
        Finding::failed_with(message, remedy)
    } else if last > warm {
        Finding::warning(message, remedy)
    } else {
        Finding::passed(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn verdict(finding: Finding) -> Verdict {
        let mut trial = Trial::default();
        trial.add("x", Instant::now(), finding);
        trial.verdict()
    }

    #[test]
    fn memory_that_goes_on_growing_is_told_from_a_cache_that_fills() {
        let of = |mib: [u64; 3]| {
            let all = [mib[0], mib[0], mib[1], mib[2]]
                .map(|mib| ResourceUse { memory: mib << 20, ..ResourceUse::default() });
            verdict(memory(&[(0, all[0]), (2_000, all[1]), (6_000, all[2]), (10_000, all[3])]))
        };
        for (mib, expected) in [
            ([10, 10, 10], Verdict::Passed),
            ([10, 60, 60], Verdict::Passed),
            ([10, 10, 60], Verdict::Passed),
            ([60, 30, 10], Verdict::Passed),
            ([10, 11, 12], Verdict::Warnings),
            ([10, 13, 16], Verdict::Failed),
            ([10, 60, 110], Verdict::Failed),
        ] {
            assert_eq!(of(mib), expected, "{mib:?}");
        }
    }

    #[test]
    fn descriptors_and_threads_that_stay_behind_are_told() {
        for (counts, expected) in [
            ([5, 5, 5, 5], Verdict::Passed),
            ([5, 40, 40, 40], Verdict::Passed),
            ([5, 6, 5, 7], Verdict::Warnings),
            ([5, 6, 10, 14], Verdict::Failed),
            ([5, 256, 256, 256], Verdict::Failed),
        ] {
            assert_eq!(verdict(number("threads", &counts)), expected, "{counts:?}");
        }
    }
}
