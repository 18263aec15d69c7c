//! How the sources share the slots of a lane. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::{Config, Priority};
use crate::job::ledger::due::Owed;

/// While work of archives waits, this many tasks of other sources start before one of them.
const BEFORE_AN_ARCHIVE: u32 = 7;

/// The priorities of the sources. Clones share the table.
#[derive(Debug, Clone, Default)]
pub struct Priorities(Arc<BTreeMap<String, Priority>>);

impl Priorities {
    /// As the config has them.
    pub fn of_config(config: &Config) -> Priorities {
        let sources = config.source.iter();
        Priorities(Arc::new(sources.map(|source| (source.name().to_owned(), source.priority())).collect()))
    }

    /// Of a source; normal for one that is not configured any more.
    pub fn of(&self, source: &str) -> Priority {
        self.0.get(source).copied().unwrap_or_default()
    }
}

/// The slots of a lane.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    priorities: Priorities,
    width: usize,
    /// While an archive waits: how many tasks of other sources have started since an archive last had its turn.
    before_an_archive: u32,
}

impl Slots {
    pub(super) fn new(priorities: Priorities, width: usize) -> Slots {
        Slots { priorities, width, before_an_archive: 0 }
    }

    /// Takes the priorities and the width of another config over.
    pub(super) fn reconfigure(&mut self, priorities: Priorities, width: usize) {
        (self.priorities, self.width) = (priorities, width);
    }

    /// How many tasks of a priority, and of those before it, may run at a time. Where sources of a higher priority are configured, an eighth
    /// of the lane is left free for their next recording: it starts at once, though every other slot has a task that takes minutes.
    fn most(&self, priority: Priority) -> usize {
        let higher = self.priorities.0.values().any(|other| *other < priority);
        let left_free = if higher && self.width > 1 { (self.width / 8).max(1) } else { 0 };
        self.width - left_free
    }

    /// Chooses the tasks that get the free slots: those of the source with the highest priority, and among equal ones of the source with the
    /// fewest slots; every eighth slot goes to an archive that waits. `busy`: tasks that have a slot already or must not get one; `taken`:
    /// how many slots each source has.
    pub(super) fn give(
        &mut self,
        due: BTreeMap<String, Vec<Owed>>,
        busy: &HashSet<Owed>,
        taken: &HashMap<String, usize>,
    ) -> Vec<Owed> {
        let mut queues: Vec<_> = due
            .into_iter()
            .map(|(source, ids)| {
                let free = ids.into_iter().filter(|id| !busy.contains(id)).peekable();
                (self.priorities.of(&source), taken.get(&source).copied().unwrap_or(0), free)
            })
            .collect();
        let mut running: usize = taken.values().sum();
        let of_archives = taken.iter().filter(|(source, _)| self.priorities.of(source) == Priority::Archive);
        let mut archives: usize = of_archives.map(|(_, count)| *count).sum();
        let mut chosen = Vec::new();
        loop {
            let is_archives_turn = self.before_an_archive >= BEFORE_AN_ARCHIVE;
            let mut waiting: Vec<_> = queues
                .iter_mut()
                .filter_map(|(priority, count, ids)| ids.peek().is_some().then_some((*priority, count, ids)))
                .collect();
            let has_archives = waiting.iter().any(|(priority, ..)| *priority == Priority::Archive);
            // An archive whose turn it is may take a slot that is left free, up to its eighth of the lane.
            let is_owed = is_archives_turn && archives < self.width.div_ceil(8);
            waiting.retain(|(priority, ..)| {
                running < self.width
                    && (running < self.most(*priority) || (is_owed && *priority == Priority::Archive))
            });
            let next = waiting.iter_mut().min_by_key(|(priority, count, _)| {
                let is_first = is_archives_turn && *priority == Priority::Archive;
                (!is_first, *priority, **count)
            });
            let Some((priority, count, ids)) = next else { return chosen };
            self.before_an_archive = match *priority {
                Priority::Archive => 0,
                _ if has_archives => self.before_an_archive + 1,
                _ => self.before_an_archive,
            };
            **count += 1;
            running += 1;
            archives += usize::from(*priority == Priority::Archive);
            chosen.extend(ids.next());
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn due(sources: &[(&str, usize)]) -> BTreeMap<String, Vec<Owed>> {
        let ids = |count| (0..count).map(|_| Owed { job: Uuid::now_v7(), piece: 0 }).collect();
        sources.iter().map(|(source, count)| ((*source).to_owned(), ids(*count))).collect()
    }

    fn slots(width: usize) -> Slots {
        let sources = [("archive", Priority::Archive), ("live", Priority::Live)];
        let sources = sources.map(|(source, priority)| (source.to_owned(), priority));
        Slots::new(Priorities(Arc::new(sources.into())), width)
    }

    /// How many slots each source gets. `taken`: how many slots each source has already.
    fn given(slots: &mut Slots, sources: &[(&str, usize)], taken: &[(&str, usize)]) -> Vec<(String, usize)> {
        let due = due(sources);
        let taken = taken.iter().map(|(source, count)| ((*source).to_owned(), *count)).collect();
        let chosen = slots.give(due.clone(), &HashSet::new(), &taken);
        let of = |ids: &[Owed]| chosen.iter().filter(|id| ids.contains(id)).count();
        due.iter().map(|(source, ids)| (source.clone(), of(ids))).filter(|(_, count)| *count > 0).collect()
    }

    fn alike(width: usize) -> Slots {
        Slots::new(Priorities::default(), width)
    }

    fn counts(counts: &[(&str, usize)]) -> Vec<(String, usize)> {
        counts.iter().map(|(source, count)| ((*source).to_owned(), *count)).collect()
    }

    #[test]
    fn a_source_with_many_jobs_leaves_places_to_the_others() {
        let given = |width, sources: &[_], taken: &[_]| given(&mut alike(width), sources, taken);
        assert_eq!(given(8, &[("a", 100), ("b", 100)], &[]), counts(&[("a", 4), ("b", 4)]));
        assert_eq!(given(8, &[("a", 100), ("b", 1)], &[]), counts(&[("a", 7), ("b", 1)]));
        assert_eq!(given(8, &[("a", 100), ("b", 100)], &[("a", 7)]), counts(&[("b", 1)]));
        assert_eq!(
            given(13, &[("a", 100), ("b", 100)], &[("a", 6), ("b", 2)]),
            counts(&[("a", 1), ("b", 4)])
        );
    }

    #[test]
    fn no_place_stays_empty_while_a_job_waits_and_none_is_given_twice() {
        assert_eq!(given(&mut alike(32), &[("a", 100)], &[("a", 30)]), counts(&[("a", 2)]));
        assert_eq!(given(&mut alike(8), &[("a", 1), ("b", 1)], &[]), counts(&[("a", 1), ("b", 1)]));
        assert_eq!(given(&mut alike(8), &[], &[]), counts(&[]));
        let due = due(&[("a", 3)]);
        let busy = due["a"][..2].iter().copied().collect();
        assert_eq!(alike(8).give(due.clone(), &busy, &HashMap::new()), due["a"][2..]);
    }

    #[test]
    fn a_live_call_finds_a_free_place_however_much_waits() {
        let mut slots = slots(32);
        assert_eq!(
            given(&mut slots, &[("archive", 100), ("calls", 10)], &[]),
            counts(&[("archive", 18), ("calls", 10)])
        );
        assert_eq!(given(&mut slots, &[("archive", 100)], &[("archive", 28)]), counts(&[]));
        assert_eq!(
            given(&mut slots, &[("archive", 100), ("live", 100)], &[("archive", 28)]),
            counts(&[("live", 4)])
        );
        assert_eq!(given(&mut self::slots(1), &[("archive", 9)], &[]), counts(&[("archive", 1)]));
    }

    #[test]
    fn an_archive_gets_its_turn_though_live_calls_fill_the_lane() {
        let mut slots = slots(8);
        let waiting = [("archive", 100), ("live", 100)];
        let turns: Vec<_> =
            (0..9).map(|_| given(&mut slots, &waiting, &[("live", 7)])[0].0.clone()).collect();
        assert_eq!(turns.iter().filter(|source| *source == "archive").count(), 1, "{turns:?}");
        // It has its eighth already.
        let given = given(&mut slots, &waiting, &[("archive", 1), ("live", 6)]);
        assert_eq!(given[0].0, "live");
    }

    #[test]
    fn an_archive_gets_every_eighth_place_while_others_wait() {
        let mut narrow = slots(1);
        let turns: Vec<_> = (0..17)
            .map(|_| given(&mut narrow, &[("archive", 100), ("live", 100)], &[])[0].0.clone())
            .enumerate()
            .filter(|(_, source)| source == "archive")
            .map(|(turn, _)| turn)
            .collect();
        assert_eq!(turns, [7, 15]);
    }
}
