//! Which engine a recording takes, and why: a pure function, so that `harkd explain` can print what the daemon will do.

mod listened;

use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Fault, Recording};

use self::listened::{listened, split};
use super::Profile;
use super::error::fault;
use super::limits::{Delivers, Limits, Pieces};
use crate::config::Route;
use crate::job::{Cut, Delivery, Origin, Plan};

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
    /// Its header is one that a recognizer may refuse or hear a part by: the file is not sent as it is.
    pub misleading_header: bool,
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
            codec: None,
            misleading_header: false,
        }
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
        match fit(facts, offer) {
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
    let fault = none(&misfits);
    in_pieces
        .map(|plan| Plan { reason: format!("it is sent in pieces: {}", fault.message), ..plan })
        .ok_or(fault)
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

/// The plan for a recording with this recognizer, or the limit that prevents it.
fn fit(facts: &Facts, offer: &Profile) -> Result<Plan, Fault> {
    let Profile { engine, model, limits, unavailable, .. } = offer;
    if let Some(fault) = unavailable {
        return Err(fault.clone());
    }
    let format = facts.format.as_deref();
    if format.is_some_and(|name| !limits.formats.is_empty() && !limits.formats.contains(&name)) {
        return Err(misfit(FORMAT, format!("{engine} does not read {}", facts.audio())));
    }
    if facts.misleading_header {
        let format = format.unwrap_or_default();
        let message = format!("{engine} may refuse or misread the file because of its {format} header");
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
fn none(misfits: &[Fault]) -> Fault {
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
        messages.push("convert it to wav, flac or mp3");
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Dashscope, EngineChoice, Model, PieceFormat, Region};
    use crate::recognize::dashscope::profiles;

    const FLASH_BYTES: u64 = 10_485_760;

    pub(super) fn all() -> Dashscope {
        Dashscope::default()
    }

    pub(super) fn us() -> Dashscope {
        Dashscope { region: Region::Us, ..all() }
    }

    pub(super) fn no_upload() -> Dashscope {
        Dashscope { allow_temporary_upload: false, ..all() }
    }

    pub(super) fn facts(format: &str, seconds: u64, bytes: u64) -> Facts {
        Facts {
            format: Some(format.into()),
            duration_ms: Some(seconds * 1000),
            bytes: Some(bytes),
            channels: Some(1),
            ..Facts::default()
        }
    }

    fn with_wrong_header(facts: Facts) -> Facts {
        Facts { misleading_header: true, ..facts }
    }

    fn planned(facts: &Facts, engine: EngineChoice, config: &Dashscope) -> Result<Plan, Fault> {
        plan(facts, &Route { engine, ..Route::named("default") }, profiles(config).iter().collect())
    }

    fn shown(facts: &Facts, engine: EngineChoice, config: &Dashscope) -> String {
        match planned(facts, engine, config) {
            Ok(Plan { engine, cut: Some(_), .. }) => format!("{engine} in pieces"),
            Ok(plan) => format!("{} {:?}", plan.engine, plan.delivery),
            Err(fault) => fault.code,
        }
    }

    #[test]
    fn auto_takes_flash_where_it_fits_and_else_filetrans() {
        let url = |facts: Facts| Facts { is_url: true, ..facts };
        let unknown_length = |facts: Facts| Facts { duration_ms: None, ..facts };
        // 64 bytes are left for the prefix of the data URL.
        let largest = (FLASH_BYTES - 64) / 4 * 3;
        let table = [
            (facts("wav", 10, 320_000), all(), "flash Inline"),
            (facts("wav", 300, largest), all(), "flash Inline"),
            (facts("wav", 300, largest + 1), all(), "filetrans Upload"),
            (Facts { duration_ms: Some(300_001), ..facts("mp3", 0, 1000) }, all(), "filetrans Upload"),
            (facts("mp4", 10, 1000), all(), "filetrans Upload"),
            (facts("aiff", 10, 1000), all(), "flash Inline"),
            (facts("aiff", 301, 1000), all(), "flash in pieces"),
            (facts("caf", 10, 1000), all(), "flash in pieces"),
            (with_wrong_header(facts("wav", 10, 1000)), all(), "flash in pieces"),
            (with_wrong_header(facts("wav", 400, 1000)), all(), "flash in pieces"),
            (facts("mp3", 301, 1000), us(), "flash in pieces"),
            (facts("mp3", 301, 1000), no_upload(), "flash in pieces"),
            (facts("mp3", 10, 1000), us(), "flash Inline"),
            (url(facts("mp3", 301, 1000)), no_upload(), "filetrans Url"),
            (url(facts("mp3", 10, 1000)), all(), "flash Url"),
            (facts("wav", 3600, 1 << 30), all(), "filetrans Upload"),
            (facts("wav", 3600, (1 << 30) + 1), all(), "flash in pieces"),
            (url(facts("wav", 3600, (1 << 30) + 1)), all(), "filetrans Url"),
            (url(facts("wav", 3600, (2 << 30) + 1)), all(), "TooLarge"),
            (facts("mp3", 12 * 3600, 1000), all(), "filetrans Upload"),
            (facts("mp3", 12 * 3600 + 1, 1000), all(), "flash in pieces"),
            (unknown_length(facts("amr", 0, 1000)), all(), "filetrans Upload"),
            (unknown_length(facts("amr", 0, 1000)), us(), "flash Inline"),
            (unknown_length(facts("wma", 0, 11_000_000)), us(), "TooLarge"),
            (Facts { is_url: true, ..Facts::default() }, all(), "filetrans Url"),
            (Facts { is_url: true, ..Facts::default() }, us(), "flash Url"),
        ];
        for (facts, config, expected) in table {
            assert_eq!(shown(&facts, EngineChoice::Auto, &config), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_route_that_names_an_engine_gets_it_or_a_fault_before_anything_is_spent() {
        use EngineChoice::{Filetrans, Flash};
        assert_eq!(shown(&facts("wav", 10, 1000), Filetrans, &all()), "filetrans Upload");
        assert_eq!(shown(&facts("wav", 301, 1000), Flash, &all()), "flash in pieces");
        assert_eq!(shown(&facts("wav", 10, 8 << 20), Flash, &all()), "flash in pieces");
        assert_eq!(shown(&facts("mov", 10, 1000), Flash, &all()), "flash in pieces");
        assert_eq!(shown(&facts("aiff", 10, 1000), Filetrans, &all()), "FormatNotSupported");
        let wrong = with_wrong_header(facts("wav", 10, 1000));
        assert_eq!(shown(&wrong, Flash, &all()), "flash in pieces");
        assert_eq!(shown(&wrong, Filetrans, &all()), "FormatNotSupported");
        let message = planned(&wrong, Filetrans, &all()).unwrap_err().message;
        let expected = "filetrans may refuse or misread the file because of its wav header; convert it to wav, flac or mp3";
        assert_eq!(message, expected);
        assert_eq!(shown(&facts("wav", 10, 1000), Filetrans, &us()), "FiletransNotInRegion");
        assert_eq!(shown(&facts("wav", 10, 1000), Filetrans, &no_upload()), "UploadNotAllowed");
    }

    pub(super) fn own() -> Profile {
        Profile {
            engine: Engine::new("gpu"),
            model: "whisper-1".into(),
            limits: Limits {
                formats: &[],
                longest: Some(Duration::from_secs(30)),
                inline: Delivers::UpTo(1 << 20),
                upload: Delivers::No,
                url: Delivers::No,
                streams: true,
                selects_channels: false,
                takes: Model::QWEN3_FLASH.takes,
                tells: Model::QWEN3_FLASH.tells,
                pieces: Some(Pieces { longest: None, format: PieceFormat::Flac }),
                tasks: None,
            },
            unavailable: None,
            only_by_name: true,
            concurrency: 1,
        }
    }

    #[test]
    fn only_a_route_that_names_a_recognizer_of_ones_own_gets_it() {
        let own = own();
        let [flash, filetrans] = profiles(&us());
        let shown = |facts: Facts, engine: &str| {
            let route = Route { engine: engine.to_owned().into(), ..Route::named("default") };
            plan(&facts, &route, vec![&flash, &filetrans, &own]).map(|plan| plan.engine.to_string())
        };
        for (seconds, engine, expected) in [
            (10, "gpu", Ok("gpu")),
            (31, "gpu", Ok("gpu")),
            (10, "auto", Ok("flash")),
            (10, "flash", Ok("flash")),
        ] {
            let found = shown(facts("caf", seconds, 1_000), engine);
            assert_eq!(found.as_deref().map_err(|fault| fault.code.as_str()), expected, "{engine}");
        }
        // Its server takes wav as it is, but not with a wrong header.
        let route = Route { engine: "gpu".to_owned().into(), ..Route::named("default") };
        let wrong = with_wrong_header(facts("wav", 10, 1000));
        for (facts, is_cut) in [(facts("wav", 10, 1000), false), (wrong, true)] {
            assert_eq!(plan(&facts, &route, vec![&own]).unwrap().cut.is_some(), is_cut);
        }
    }

    #[test]
    fn every_plan_says_why_and_every_fault_what_is_in_the_way() {
        let of = |facts: &Facts, config: &Dashscope| planned(facts, EngineChoice::Auto, config);
        assert_eq!(
            of(&facts("mp3", 600, 1000), &all()).unwrap().reason,
            "another engine cannot take it: flash takes up to 0:05:00 h, this has 0:10:00 h"
        );
        let reason = of(&facts("wav", 400, 1000), &us()).unwrap().reason;
        assert!(reason.starts_with("it is sent in pieces: flash takes up to 0:05:00 h"), "{reason}");
        assert!(reason.contains("region"), "{reason}");
        // Recognized by its first bytes only: nothing of it can be decoded here.
        let unknown = Facts { duration_ms: None, ..facts("au", 0, 1000) };
        let fault = of(&unknown, &all()).unwrap_err();
        assert_eq!(fault.blame, Blame::Audio);
        let expected = "filetrans does not read au; flash does not read au; convert it to wav, flac or mp3";
        assert_eq!(fault.message, expected);
        let unknown = Facts { codec: Some("amr".into()), duration_ms: None, ..facts("3gp", 0, 1000) };
        let message = of(&unknown, &us()).unwrap_err().message;
        assert!(message.ends_with("flash does not read 3gp (codec amr)"), "{message}");
    }
}
