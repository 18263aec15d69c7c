//! Follows one call while it is heard, and says which alerts to raise and which to retract.
//!
//! A partial raises alerts as `tentative`. The segments of its piece confirm them (the same alert once more, `confirmed`) or retract them; a
//! later partial does neither. Where the segments' time is in the cooldown of a confirmed alert, it stays `tentative` until the final. What
//! segments show for the first time is raised as `confirmed`. A rule that is judged over the call stays `tentative` until the final. The final
//! decides everything: it retracts the alerts that it does not confirm, and does not repeat the alerts that are raised already.
//!
//! # Identity
//!
//! An alert is `<job>:{plugin}:<rule>:<channel>:<piece>.<number>`, where the daemon puts the plugin's name, and the number counts the rule's
//! alerts in this piece and channel in the order of time, from 1 (0: of a phrase that runs into the next piece); `<job>:{plugin}:<rule>:call`
//! for a rule that is judged over the call. It depends on no time, no number of partials and no order in which pieces were heard. A recording
//! that is sent whole is piece 1.
//!
//! # What the host does
//!
//! A [`Call`] knows what it was handed and nothing else. An alert keeps its identity over deaths of the plugin's process and takeovers by other
//! daemons because of three promises of the host (`hark_plugin.h`):
//!
//! 1. A process that gets its first event of a job in the middle of it is handed the job's earlier segments first, in the order in which they
//!    were stored; what it says about them is dropped. From them it has the pieces, whose numbers the final does not tell, and what stands.
//! 2. Of each identity the host stores `tentative`, `confirmed` and a retraction once each, in this order.
//! 3. An alert that is still `tentative` at the end of the job is retracted by the host: the process that raised it may be dead, and another
//!    one does not know of it, since partials are not handed out again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hark_sdk::event::{Alert, AlertState, TranscriptFinal, TranscriptPartial, TranscriptSegment};

use crate::config::Scope;
use crate::judge::{Match, View, following};
use crate::rules::Rules;
use crate::unit::Unit;

/// What to tell about a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The alert is raised, or one that was `tentative` is confirmed.
    Raised(Alert),
    /// The alert does not stand any more; its `reason` says why.
    Retracted(Alert),
}

/// A call as far as it was heard. Its size follows the length of the transcript.
#[derive(Debug)]
pub struct Call {
    job: String,
    /// The segments of the pieces that are heard, by piece.
    heard: BTreeMap<u32, Vec<Unit>>,
    /// The newest partial of the pieces that are not, by piece and channel.
    partials: BTreeMap<(u32, u32), Unit>,
    /// The piece that begins at a time, by channel and time.
    begins: BTreeMap<(u32, u64), u32>,
    /// The alerts that stand.
    standing: BTreeMap<Key, Alert>,
}

/// What makes an alert the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rule: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Call,
    /// The number counts from 1; 0 is the alert of a phrase that runs out of the piece. It is one of its own because the piece's segments may
    /// have retracted the first of the others before the next piece was heard, and what is retracted stays so.
    Piece {
        channel: Option<u32>,
        piece: u32,
        number: u32,
    },
}

/// Segments in the order of time, each with its piece.
type Said<'a> = Vec<(u32, &'a Unit)>;

impl Call {
    /// A call of which nothing was heard yet. `job`: its id.
    pub fn new(job: impl std::fmt::Display) -> Call {
        Call {
            job: job.to_string(),
            heard: BTreeMap::new(),
            partials: BTreeMap::new(),
            begins: BTreeMap::new(),
            standing: BTreeMap::new(),
        }
    }

    /// Bytes of memory, about.
    pub fn size(&self) -> usize {
        let units = self.heard.values().flatten().chain(self.partials.values());
        let alerts =
            self.standing.values().map(|alert| size_of::<Alert>() + alert.alert.len() + alert.quote.len());
        size_of::<Call>() + units.map(Unit::size).sum::<usize>() + alerts.sum::<usize>()
    }

    /// What a partial shows. `length_ms`: of the recording, where it is known.
    pub fn partial(
        &mut self,
        rules: &Rules,
        partial: &TranscriptPartial,
        length_ms: Option<u64>,
    ) -> Vec<Change> {
        let piece = partial.piece.unwrap_or(1);
        if self.heard.contains_key(&piece) {
            return Vec::new();
        }
        self.begins.insert((partial.channel, partial.begin_ms), piece);
        self.partials.insert((piece, partial.channel), Unit::of_partial(rules, partial));
        let partials = self.partials.iter().map(|((piece, _), unit)| (*piece, unit));
        let candidates = self.candidates(rules, in_time(self.pieces().chain(partials).collect()), length_ms);
        let mut changes = Vec::new();
        for (key, alert) in candidates {
            if !self.standing.contains_key(&key) {
                self.raise(rules, key, Alert { state: AlertState::Tentative, ..alert }, &mut changes);
            }
        }
        changes
    }

    /// What a piece shows that is heard. `length_ms`: of the recording, where it is known.
    pub fn segment(
        &mut self,
        rules: &Rules,
        event: &TranscriptSegment,
        length_ms: Option<u64>,
    ) -> Vec<Change> {
        let piece = event.piece;
        self.partials.retain(|(of, _), _| *of != piece);
        self.begins.extend(event.segments.iter().map(|segment| ((segment.channel, event.begin_ms), piece)));
        self.heard
            .insert(piece, event.segments.iter().map(|segment| Unit::of_segment(rules, segment)).collect());
        let candidates = self.candidates(rules, in_time(self.pieces().collect()), length_ms);
        let mut changes = Vec::new();
        let is_decided = |key: &Key| match key.place {
            Place::Call => false,
            Place::Piece { channel, piece, number: 0 } => self.is_followed(channel, piece),
            Place::Piece { piece: of, .. } => of == piece,
        };
        let decided: BTreeSet<Key> = self.standing.keys().filter(|key| is_decided(key)).copied().collect();
        let is_open =
            |key: &Key, alert: &Alert| alert.state == AlertState::Tentative && decided.contains(key);
        self.retract(&candidates, is_open, "the words are not in the piece as it was heard", &mut changes);
        for (key, alert) in candidates {
            let state = match key.place {
                Place::Call => AlertState::Tentative,
                Place::Piece { .. } => AlertState::Confirmed,
            };
            self.settle(rules, key, Alert { state, ..alert }, &mut changes);
        }
        changes
    }

    /// What the whole transcript shows. `length_ms`: of the recording; where it is not known, the call ends with its last segment.
    pub fn end(mut self, rules: &Rules, transcript: &TranscriptFinal, length_ms: Option<u64>) -> Vec<Change> {
        let segments = transcript.segments.as_deref().unwrap_or_default();
        let mut units: Vec<Unit> = segments.iter().map(|segment| Unit::of_segment(rules, segment)).collect();
        if units.is_empty() {
            units.push(Unit::of_text(rules, &transcript.text));
        }
        let length_ms = length_ms.or_else(|| units.iter().filter_map(|unit| unit.end_ms).max());
        let pieces = units.iter().map(|unit| self.piece_of(unit));
        let said: Said<'_> = pieces.zip(&units).collect();
        let candidates = self.judge(rules, &said, length_ms, true);
        let mut changes = Vec::new();
        self.retract(
            &candidates,
            |_, _| true,
            "the rule does not hold over the whole transcript",
            &mut changes,
        );
        for (key, alert) in candidates {
            // After a restart this process may count an alert as raised that its predecessor held back for a tentative one, and the host
            // drops what it has: so what stands of such a rule is told again.
            if rules.is_limited(key.rule)
                && let Some(standing) = self.standing.get(&key)
                && standing.state == AlertState::Confirmed
            {
                changes.push(Change::Raised(standing.clone()));
            }
            self.settle(rules, key, Alert { state: AlertState::Confirmed, ..alert }, &mut changes);
        }
        self.retract(
            &[],
            |_, alert| alert.state == AlertState::Tentative,
            "another alert of the rule stands within its cooldown",
            &mut changes,
        );
        changes
    }

    fn pieces(&self) -> impl Iterator<Item = (u32, &Unit)> {
        self.heard.iter().flat_map(|(piece, units)| units.iter().map(|unit| (*piece, unit)))
    }

    /// Whether a piece and what follows it in its channel are heard: what runs over its end is decided then.
    fn is_followed(&self, channel: Option<u32>, piece: u32) -> bool {
        let next = (piece + 1..).map_while(|piece| self.heard.get(&piece));
        self.heard.contains_key(&piece) && next.flatten().any(|unit| unit.channel == channel)
    }

    fn piece_of(&self, unit: &Unit) -> u32 {
        let Some((channel, begin)) = unit.channel.zip(unit.begin_ms) else { return 1 };
        let mut before = self.begins.range((channel, 0)..=(channel, begin));
        before.next_back().map_or(1, |(_, piece)| *piece)
    }

    fn candidates(&self, rules: &Rules, said: Said<'_>, length_ms: Option<u64>) -> Vec<(Key, Alert)> {
        self.judge(rules, &said, length_ms, false)
    }

    /// The alerts that the rules ask for, in the order of time, without `cooldown` and `once`.
    fn judge(
        &self,
        rules: &Rules,
        said: &Said<'_>,
        length_ms: Option<u64>,
        has_ended: bool,
    ) -> Vec<(Key, Alert)> {
        let units: Vec<&Unit> = said.iter().map(|(_, unit)| *unit).collect();
        let is_linked = |one: usize, other: usize| {
            has_ended || (said[one].0 + 1..said[other].0).all(|piece| self.heard.contains_key(&piece))
        };
        let next = following(&units, is_linked);
        let mut numbers: HashMap<(usize, Option<u32>, u32), u32> = HashMap::new();
        let matches = rules.matches(&View { units: &units, next: &next, length_ms, has_ended });
        let candidates = matches.into_iter().map(|found| {
            let place = match (rules.scope(found.rule as u32), found.segment) {
                (Scope::Segment, Some(segment))
                    if found.runs_over
                        && next[segment].is_some_and(|next| said[next].0 != said[segment].0) =>
                {
                    let (piece, unit) = said[segment];
                    Place::Piece { channel: unit.channel, piece, number: 0 }
                }
                (Scope::Segment, Some(segment)) => {
                    let (piece, unit) = said[segment];
                    let number = numbers.entry((found.rule, unit.channel, piece)).or_default();
                    *number += 1;
                    Place::Piece { channel: unit.channel, piece, number: *number }
                }
                _ => Place::Call,
            };
            let key = Key { rule: found.rule, place };
            (key, self.alert(rules, key, &units, found))
        });
        candidates.collect()
    }

    fn alert(&self, rules: &Rules, key: Key, units: &[&Unit], found: Match) -> Alert {
        let rule = &rules.list()[key.rule];
        let unit = found.segment.map(|segment| units[segment]);
        let place = match key.place {
            Place::Call => "call".to_owned(),
            Place::Piece { channel: Some(channel), piece, number } => format!("{channel}:{piece}.{number}"),
            Place::Piece { channel: None, piece, number } => format!("-:{piece}.{number}"),
        };
        Alert {
            alert: format!("{}:{{plugin}}:{}:{place}", self.job, rule.name),
            plugin: String::new(),
            rule: rule.name.clone(),
            severity: rule.severity,
            state: AlertState::Confirmed,
            channel: unit.and_then(|unit| unit.channel),
            role: unit.and_then(|unit| unit.role.clone()),
            begin_ms: unit.and_then(|unit| unit.begin_ms),
            end_ms: unit.and_then(|unit| unit.end_ms),
            quote: found.quote,
            ..Alert::default()
        }
    }

    /// Raises an alert that does not stand yet, or confirms one that stands as tentative. A partial tells only where its piece begins, so the
    /// time of the words may be in the cooldown of a confirmed alert: the alert then stays tentative until the final decides which one stands.
    fn settle(&mut self, rules: &Rules, key: Key, alert: Alert, changes: &mut Vec<Change>) {
        let Some(standing) = self.standing.get(&key) else {
            return self.raise(rules, key, alert, changes);
        };
        let confirms = standing.state == AlertState::Tentative && alert.state == AlertState::Confirmed;
        let confirmed = self.of_rule(key.rule).filter(|standing| standing.state == AlertState::Confirmed);
        if confirms && rules.is_free(key.rule, alert.begin_ms, confirmed.map(|standing| standing.begin_ms)) {
            self.standing.insert(key, alert.clone());
            changes.push(Change::Raised(alert));
        }
    }

    /// Raises an alert, unless `cooldown` or `once` of its rule forbids it.
    fn raise(&mut self, rules: &Rules, key: Key, alert: Alert, changes: &mut Vec<Change>) {
        let begins = self.of_rule(key.rule).map(|standing| standing.begin_ms);
        if rules.is_free(key.rule, alert.begin_ms, begins) {
            self.standing.insert(key, alert.clone());
            changes.push(Change::Raised(alert));
        }
    }

    /// The alerts of a rule that stand.
    fn of_rule(&self, rule: usize) -> impl Iterator<Item = &Alert> {
        let from = self.standing.range(Key { rule, place: Place::Call }..);
        from.take_while(move |(key, _)| key.rule == rule).map(|(_, alert)| alert)
    }

    /// Retracts the alerts that stand and are decided and are not among the candidates.
    fn retract(
        &mut self,
        candidates: &[(Key, Alert)],
        is_decided: impl Fn(&Key, &Alert) -> bool,
        reason: &str,
        changes: &mut Vec<Change>,
    ) {
        let keys: BTreeSet<Key> = candidates.iter().map(|(key, _)| *key).collect();
        let gone = self.standing.extract_if(.., |key, alert| is_decided(key, alert) && !keys.contains(key));
        changes.extend(
            gone.map(|(_, alert)| Change::Retracted(Alert { reason: Some(reason.to_owned()), ..alert })),
        );
    }
}

fn in_time(mut said: Said<'_>) -> Said<'_> {
    said.sort_by_key(|(piece, unit)| (unit.begin_ms, unit.channel, *piece));
    said
}
