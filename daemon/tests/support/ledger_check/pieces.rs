//! The rules about recordings that are heard in pieces. The service's text is made of the hash of the bytes that it received, so the text of
//! a piece tells which request it answers.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::rules::Jobs;
use super::{Records, Violation};
use crate::support::ReceivedEvent;

/// The requests that may be a piece's.
pub(super) struct Pieces<'r> {
    of_text: HashMap<String, Vec<&'r Value>>,
}

impl<'r> Pieces<'r> {
    pub(super) fn of(records: &'r Records) -> Pieces<'r> {
        let mut of_text: HashMap<String, Vec<&Value>> = HashMap::new();
        for line in records.journal.iter().filter(|line| line["kind"] == "flash") {
            let Some(sha256) = line["sha256"].as_str() else { continue };
            of_text.entry(dashscope_emulator::text_for(sha256)).or_default().push(line);
        }
        Pieces { of_text }
    }

    /// The requests whose answer is the piece of this event; none for other events.
    pub(super) fn requests(&self, event: &ReceivedEvent) -> &[&'r Value] {
        let is_piece = event.kind() == "transcript.segment";
        let text = event.body["segments"][0]["text"].as_str().filter(|_| is_piece);
        text.and_then(|text| self.of_text.get(text)).map_or(&[], Vec::as_slice)
    }

    /// The hash of the piece of this event.
    pub(super) fn sha256(&self, event: &ReceivedEvent) -> Option<&'r str> {
        self.requests(event).first().and_then(|line| line["sha256"].as_str())
    }
}

/// L2: no piece is sent again once it is heard: by its daemon once it is in the ledger, by another one once it is in the stream.
pub(super) fn heard_once(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for event in &records.events {
        let heard = match records.several_daemons {
            true => event.stored,
            false => time(&event.body["time"]),
        };
        let Some(heard) = heard else { continue };
        let again = |line: &&&Value| time(&line["time"]).is_some_and(|sent| sent > heard);
        found.extend(jobs.pieces.requests(event).iter().filter(again).map(|_| Violation::HeardAgain {
            name: event.body["recording"]["name"].as_str().unwrap_or_default().to_owned(),
            piece: event.body["piece"].as_u64().unwrap_or_default(),
        }));
    }
    found
}

/// L4: the pieces of a recording are heard once each, nothing between them is left out, and the final has what each of them said.
pub(super) fn pieces_whole(records: &Records, jobs: &Jobs<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for input in records.inputs.iter().filter(|input| input.in_pieces) {
        let events: Vec<&ReceivedEvent> = jobs.of_input(input).into_iter().flatten().copied().collect();
        let of_kind = |kind: &'static str| {
            events.iter().filter(move |event| event.kind() == kind).map(|event| &event.body)
        };
        let mut pieces: Vec<&Value> = of_kind("transcript.segment").collect();
        pieces.sort_by_key(|piece| piece["piece"].as_u64());
        let mut wrong =
            |what: &'static str| found.push(Violation::WrongPieces { name: input.name.clone(), what });
        if !(1..).zip(&pieces).all(|(number, piece)| piece["piece"] == number) {
            wrong("are not heard once each");
        }
        let is_gap = |pair: &[&Value]| pair[0]["end_ms"] != pair[1]["begin_ms"];
        let end = events.last().map(|last| &last.body["recording"]["duration_ms"]);
        if pieces.windows(2).any(is_gap) || pieces.last().map(|piece| &piece["end_ms"]) != end {
            wrong("are not the whole recording");
        }
        let said: Vec<&Value> =
            pieces.iter().flat_map(|piece| piece["segments"].as_array().into_iter().flatten()).collect();
        if of_kind("transcript.final")
            .any(|made| made["segments"].as_array().is_none_or(|all| !all.iter().eq(said.iter().copied())))
        {
            wrong("are not what the final says");
        }
        if events
            .iter()
            .any(|event| event.kind() == "transcript.segment" && jobs.pieces.requests(event).is_empty())
        {
            wrong("have a text that the service did not give");
        }
    }
    found
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
