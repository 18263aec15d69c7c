//! Which engine a recording takes, and why: a pure function, so that `harkd explain` can print what the daemon will do.

mod listened;

use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Fault, Recording};

use self::listened::{listened, split};
use super::Profile;
use super::limits::{Delivers, Limits, Pieces};
use crate::config::Route;
use crate::job::{Cut, Delivery, Origin, Plan, fault};

/// What is known about a recording. `None`: it was not measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Container: `wav`, `mp3`, … as the service names them.
    pub format: Option<String>,
    /// Length in milliseconds.
    pub duration_ms: Option<u64>,
    /// Size in bytes.
    pub bytes: Option<u64>,
    /// Number of channels.
    pub channels: Option<u32>,
    /// The service is to fetch the audio from the message's own URL.
    pub is_url: bool,
    /// The codec, for messages.
    pub codec: Option<String>,
    /// A recognizer may refuse the file, or hear only a part of it, because of its header. So the file is not sent as it is.
    pub misleading_header: bool,
    /// The file ends before its audio does.
    pub truncated: bool,
    /// Why it cannot be decoded here, and what to do, if that is known.
    pub undecodable: Option<String>,
}

impl Facts {
    /// The facts of a recording that was probed.
    pub fn of(recording: &Recording, origin: &Origin) -> Facts {
        Facts {
            format: recording.format.clone(),
            duration_ms: recording.duration_ms,
            bytes: recording.bytes,
            channels: recording.channels,
            is_url: matches!(origin, Origin::Url { .. }),
            truncated: recording.truncated,
            ..Facts::default()
        }
    }

    /// Whether a recognizer may refuse the file because it is cut off: its header, or an index, tells of more than the file has.
    fn tells_of_more(&self) -> bool {
        self.truncated
            && self.duration_ms.is_some()
            && self.format.as_deref().is_some_and(|format| INDEXED.contains(&format))
    }

    /// As messages name the audio: the container, and the codec where it has another name.
    fn audio(&self) -> String {
        let format = self.format.as_deref().unwrap_or("this format");
        match self.codec.as_deref().filter(|codec| *codec != format) {
            Some(codec) => format!("{format} (codec {codec})"),
            None => format.to_owned(),
        }
    }
}

const FORMAT: &str = "FormatNotSupported";

/// Containers whose header or index tells where everything is. Streams (mp3, ogg, aac, flac) are read as far as they go.
const INDEXED: [&str; 9] = ["aiff", "avi", "m4a", "mkv", "mov", "mp4", "webm", "wma", "wmv"];

/// The plan for a recording on a route. `offers`: in the order in which `auto` prefers them, each for longer recordings than the offer
/// before it.
///
/// # Errors
/// The fault for the job's last event, before anything is spent: the limit that prevents the plan, and what to change.
pub fn plan(facts: &Facts, route: &Route, offers: Vec<&Profile>) -> Result<Plan, Fault> {
    let named = route.engine.name();
    let is_unknown = facts.duration_ms.is_none();
    let mut candidates = offers;
    candidates.retain(|offer| named.map_or(!offer.only_by_name, |name| offer.engine.as_str() == name));
    if is_unknown {
        // The recognizer with the largest limit is tried first.
        candidates.reverse();
    }
    let split = split(facts, route)?;
    if let Some(planned) = listened(facts, route, &candidates, split) {
        return planned;
    }
    let mut misfits: Vec<Fault> = Vec::new();
    for offer in &candidates {
        let engine = &offer.engine;
        match fit(facts, offer, named.is_some()) {
            Ok(plan) => {
                let reason = match misfits.first() {
                    _ if named.is_some() => format!("the route asks for {engine}"),
                    _ if is_unknown => format!("its length is not known, and {engine} takes it"),
                    None => format!("it fits into {engine}"),
                    Some(misfit) => format!("another engine cannot take it: {}", misfit.message),
                };
                return Ok(Plan { reason, ..plan });
            }
            Err(misfit) => misfits.push(misfit),
        }
    }
    let in_pieces = candidates.iter().find_map(|offer| in_pieces(facts, route, offer));
    let fault = fault_of_misfits(facts, &misfits);
    in_pieces
        .map(|plan| Plan { reason: format!("it is sent in pieces: {}", fault.message), ..plan })
        .ok_or(fault)
}

/// Why a recording on a route does not go to this recognizer, which its plan does not name.
pub fn rejection(facts: &Facts, route: &Route, offer: &Profile) -> String {
    match route.engine.name() {
        Some(name) => format!("the route asks for {name}"),
        None if offer.only_by_name => "only a route that names it gets it".into(),
        None => match fit(facts, offer, false) {
            Err(misfit) => misfit.message,
            Ok(_) => "it could take the recording, and another engine comes first".into(),
        },
    }
}

/// The plan to decode and cut a recording here, for a recognizer that does not take it as it is. A recording whose length is not known is
/// one that cannot be decoded here.
fn in_pieces(facts: &Facts, route: &Route, offer: &Profile) -> Option<Plan> {
    let Profile { engine, model, limits, unavailable, .. } = offer;
    let Pieces { longest, format } =
        limits.pieces.filter(|_| facts.duration_ms.is_some() && !facts.is_url && unavailable.is_none())?;
    let longest = longest.unwrap_or(route.piece).min(limits.longest.unwrap_or(Duration::MAX));
    let longest_ms = longest.as_millis() as u64;
    let (skip_silence, misleading_header) = (route.skip_silence, facts.misleading_header);
    let cut = Some(Cut { longest_ms, format, skip_silence, misleading_header });
    let (engine, model) = (engine.clone(), model.clone());
    Some(Plan { engine, model, delivery: Delivery::Inline, cut, split: None, reason: String::new() })
}

/// The plan for a recording with this recognizer, or the limit that prevents it. `is_named`: the route names the recognizer.
fn fit(facts: &Facts, offer: &Profile, is_named: bool) -> Result<Plan, Fault> {
    let Profile { engine, model, limits, unavailable, .. } = offer;
    if let Some(fault) = unavailable {
        return Err(fault.clone());
    }
    let format = facts.format.as_deref();
    if format.is_some_and(|name| !limits.formats.is_empty() && !limits.formats.contains(&name)) {
        return Err(misfit(FORMAT, format!("{engine} does not read {}", facts.audio())));
    }
    // A route that names filetrans gets it as it is: that service cannot be sent pieces.
    if facts.tells_of_more() && (limits.pieces.is_some() || !is_named) {
        let message =
            format!("{engine} may refuse the {} file, which is cut off", format.unwrap_or_default());
        return Err(misfit(FORMAT, message));
    }
    if facts.misleading_header {
        let format = format.unwrap_or_default();
        let codec = facts.codec.as_deref().map(|codec| format!(" (codec {codec})")).unwrap_or_default();
        let message =
            format!("{engine} may refuse or misread the file because of its {format} header{codec}");
        return Err(misfit(FORMAT, message));
    }
    let longest = limits.longest.map_or(u64::MAX, |longest| longest.as_millis() as u64);
    if let Some(length) = facts.duration_ms.filter(|length| *length > longest) {
        let message = format!("{engine} takes up to {}, this has {}", time(longest), time(length));
        return Err(misfit("TooLong", message));
    }
    let delivery = delivery(facts, engine, limits)?;
    let (engine, model) = (engine.clone(), model.clone());
    Ok(Plan { engine, model, delivery, cut: None, split: None, reason: String::new() })
}

/// How the audio reaches the recognizer.
fn delivery(facts: &Facts, engine: &Engine, limits: &Limits) -> Result<Delivery, Fault> {
    let ways = match facts.is_url {
        true => &[(Delivery::Url, &limits.url)][..],
        false => &[(Delivery::Inline, &limits.inline), (Delivery::Upload, &limits.upload)],
    };
    let (way, limit) = match ways.iter().find(|(_, delivers)| **delivers != Delivers::No) {
        Some((way, Delivers::UpTo(limit))) => (*way, *limit),
        Some((_, Delivers::Forbidden(advice))) => {
            let message = format!("{engine} fetches from a URL, and {advice}");
            return Err(fault("UploadNotAllowed", Blame::Hark, message));
        }
        Some((_, Delivers::No)) | None => {
            let message =
                format!("{engine} cannot be given {}", if facts.is_url { "a URL" } else { "bytes" });
            return Err(fault("UploadNotAllowed", Blame::Hark, message));
        }
    };
    let Some(bytes) = facts.bytes.filter(|bytes| *bytes > limit) else { return Ok(way) };
    let advice = match way {
        Delivery::Upload => "; put it where a URL reaches it and send that",
        _ => "",
    };
    let message = format!("{engine} takes up to {} this way, this has {}{advice}", size(limit), size(bytes));
    Err(misfit("TooLarge", message))
}

/// The fault where no engine accepts the recording: that of the last available engine, which accepts the longest recordings.
fn fault_of_misfits(facts: &Facts, misfits: &[Fault]) -> Fault {
    let of_audio = misfits.iter().rfind(|misfit| misfit.blame == Blame::Audio);
    let Some(first) = of_audio.or(misfits.last()) else {
        return fault(
            "UnknownRecognizer",
            Blame::Hark,
            "the config has no recognizer for the route's engine".into(),
        );
    };
    let mut messages: Vec<&str> = misfits.iter().map(|misfit| misfit.message.as_str()).collect();
    if misfits.iter().all(|misfit| misfit.code == FORMAT) {
        messages.push(facts.undecodable.as_deref().unwrap_or("convert it to wav, flac or mp3"));
    }
    fault(&first.code, first.blame, messages.join("; "))
}

fn misfit(code: &str, message: String) -> Fault {
    fault(code, Blame::Audio, message)
}

fn time(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1000);
    format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests;
