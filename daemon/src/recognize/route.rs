//! Which engine a recording takes, and why: a pure function, so that `harkd explain` can print what the daemon will do.

use hark_sdk::event::{Blame, Engine, Fault, Recording};

use super::body::encoded_length;
use super::error::fault;
use crate::config::{Dashscope, EngineChoice, Route};
use crate::job::{Delivery, Origin, Plan};

/// What is known of a recording. `None`: nobody measured it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Container: `wav`, `mp3`, … as the service names them.
    pub format: Option<String>,
    /// Length in milliseconds.
    pub duration_ms: Option<u64>,
    /// Size in bytes.
    pub bytes: Option<u64>,
    /// The service is to fetch it from the message's own URL.
    pub is_url: bool,
}

impl Facts {
    /// Of a recording that was looked into.
    pub fn of(recording: &Recording, origin: &Origin) -> Facts {
        Facts {
            format: recording.format.clone(),
            duration_ms: recording.duration_ms,
            bytes: recording.bytes,
            is_url: matches!(origin, Origin::Url { .. }),
        }
    }
}

/// What the service offers in the configured region.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Model for recordings of up to five minutes.
    pub flash_model: String,
    /// Model for longer ones; `None`: the region has none.
    pub filetrans_model: Option<String>,
    /// `dashscope.allow_temporary_upload`.
    pub temporary_upload: bool,
}

impl Offer {
    /// What the config says.
    pub fn of(config: &Dashscope) -> Offer {
        Offer {
            flash_model: config.flash_model().to_owned(),
            filetrans_model: config.filetrans_model().map(str::to_owned),
            temporary_upload: config.allow_temporary_upload,
        }
    }
}

/// The service's limits (dashscope-protocol.md 2, 3, 6).
pub const FLASH_MILLISECONDS: u64 = 300_000;
/// Of the data URL, prefix and base64 included.
pub const FLASH_ENCODED_BYTES: u64 = 10_485_760;
/// Of a recording for filetrans.
pub const FILETRANS_MILLISECONDS: u64 = 12 * 3_600_000;
/// Of a recording for filetrans.
pub const FILETRANS_BYTES: u64 = 2 << 30;
/// Of a file in the temporary storage.
pub const UPLOAD_BYTES: u64 = 1 << 30;

const FLASH_FORMATS: [&str; 16] = [
    "aac", "aiff", "amr", "avi", "flac", "flv", "m4a", "mkv", "mp3", "mpeg", "ogg", "opus", "wav", "webm",
    "wma", "wmv",
];
const FILETRANS_FORMATS: [&str; 17] = [
    "aac", "amr", "avi", "flac", "flv", "m4a", "mkv", "mov", "mp3", "mp4", "mpeg", "ogg", "opus", "wav",
    "webm", "wma", "wmv",
];

/// The plan for a recording on a route.
///
/// # Errors
/// The fault for the job's last event, before anything is spent: which limit is in the way, and what to change.
pub fn plan(facts: &Facts, route: &Route, offer: &Offer) -> Result<Plan, Fault> {
    let flash = || flash(facts, offer);
    let filetrans = || filetrans(facts, offer);
    match route.engine {
        EngineChoice::Flash => flash().map(|plan| because(plan, "the route asks for flash")),
        EngineChoice::Filetrans => filetrans().map(|plan| because(plan, "the route asks for filetrans")),
        EngineChoice::Auto if facts.duration_ms.is_none() => filetrans()
            .map(|plan| because(plan, "nobody knows how long it is, and filetrans takes up to 12 hours"))
            .or_else(|filetrans| match flash() {
                Ok(plan) => Ok(because(plan, "nobody knows how long it is, and filetrans cannot take it")),
                Err(flash) => Err(neither(flash, filetrans)),
            }),
        EngineChoice::Auto => flash()
            .map(|plan| because(plan, "it fits into flash: up to 5 minutes, and 10 MB encoded"))
            .or_else(|flash| match filetrans() {
                Ok(plan) => Ok(because(plan, &format!("flash cannot take it: {}", flash.message))),
                Err(filetrans) => Err(neither(flash, filetrans)),
            }),
    }
}

/// The media type of a container, as the service expects it in a data URL.
pub(crate) fn mime(format: &str) -> &'static str {
    match format {
        "aac" => "audio/aac",
        "aiff" => "audio/aiff",
        "amr" => "audio/amr",
        "avi" => "video/x-msvideo",
        "flac" => "audio/flac",
        "flv" => "video/x-flv",
        "m4a" => "audio/mp4",
        "mkv" => "video/x-matroska",
        "mp3" => "audio/mpeg",
        "mpeg" => "video/mpeg",
        "ogg" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "webm" => "audio/webm",
        "wma" => "audio/x-ms-wma",
        "wmv" => "video/x-ms-wmv",
        _ => "application/octet-stream",
    }
}

fn flash(facts: &Facts, offer: &Offer) -> Result<Plan, Fault> {
    let format = facts.format.as_deref();
    if let Some(format) = format.filter(|format| !FLASH_FORMATS.contains(format)) {
        return Err(misfit("FormatNotSupported", format!("flash does not read {format}")));
    }
    if let Some(length) = facts.duration_ms.filter(|length| *length > FLASH_MILLISECONDS) {
        let message = format!("flash takes up to 5 minutes, this has {}", minutes(length));
        return Err(misfit("TooLongForFlash", message));
    }
    let delivery = if facts.is_url { Delivery::Url } else { Delivery::Inline };
    let encoded = facts.bytes.map(|bytes| match delivery {
        Delivery::Url => bytes,
        _ => {
            encoded_length(bytes)
                + "data:;base64,".len() as u64
                + mime(format.unwrap_or_default()).len() as u64
        }
    });
    if let Some(encoded) = encoded.filter(|encoded| *encoded > FLASH_ENCODED_BYTES) {
        let message = format!("flash takes up to 10 MB (base64 counted), this has {}", megabytes(encoded));
        return Err(misfit("TooLargeForFlash", message));
    }
    Ok(Plan { engine: Engine::Flash, model: offer.flash_model.clone(), delivery, reason: String::new() })
}

fn filetrans(facts: &Facts, offer: &Offer) -> Result<Plan, Fault> {
    let Some(model) = offer.filetrans_model.clone() else {
        let message =
            "the region has no filetrans model; use another region, or name one in dashscope.filetrans_model";
        return Err(fault("FiletransNotInRegion".into(), Blame::Hark, message.into()));
    };
    if let Some(format) = facts.format.as_deref().filter(|format| !FILETRANS_FORMATS.contains(format)) {
        return Err(misfit("FormatNotSupported", format!("filetrans does not read {format}")));
    }
    if let Some(length) = facts.duration_ms.filter(|length| *length > FILETRANS_MILLISECONDS) {
        let message = format!("filetrans takes up to 12 hours, this has {}", minutes(length));
        return Err(misfit("TooLongForFiletrans", message));
    }
    if let Some(bytes) = facts.bytes.filter(|bytes| *bytes > FILETRANS_BYTES) {
        let message = format!("filetrans takes up to 2 GB, this has {}", megabytes(bytes));
        return Err(misfit("TooLargeForFiletrans", message));
    }
    if facts.is_url {
        return Ok(Plan { engine: Engine::Filetrans, model, delivery: Delivery::Url, reason: String::new() });
    }
    if !offer.temporary_upload {
        let message = "filetrans fetches from a URL, and dashscope.allow_temporary_upload is false; set it to true, or send a URL";
        return Err(fault("UploadNotAllowed".into(), Blame::Hark, message.into()));
    }
    if let Some(bytes) = facts.bytes.filter(|bytes| *bytes > UPLOAD_BYTES) {
        let message = format!(
            "the service's temporary storage takes up to 1 GB, this has {}; put it where a URL reaches it and send that",
            megabytes(bytes)
        );
        return Err(misfit("TooLargeForUpload", message));
    }
    Ok(Plan { engine: Engine::Filetrans, model, delivery: Delivery::Upload, reason: String::new() })
}

/// Neither engine takes it: the fault that an operator can do something about comes first.
fn neither(flash: Fault, filetrans: Fault) -> Fault {
    let first =
        if filetrans.blame == Blame::Hark || flash.code == filetrans.code { &flash } else { &filetrans };
    let message = if flash.code == "FormatNotSupported" && filetrans.code == "FormatNotSupported" {
        format!("{} and neither does filetrans; convert it to wav, flac or mp3", flash.message)
    } else {
        format!("{}; {}", flash.message, filetrans.message)
    };
    fault(first.code.clone(), first.blame, message)
}

fn because(plan: Plan, reason: &str) -> Plan {
    Plan { reason: reason.to_owned(), ..plan }
}

fn misfit(code: &str, message: String) -> Fault {
    fault(code.into(), Blame::Audio, message)
}

fn minutes(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1000);
    format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer { flash_model: "f".into(), filetrans_model: Some("t".into()), temporary_upload: true }
    }

    fn facts(format: &str, seconds: u64, bytes: u64) -> Facts {
        Facts {
            format: Some(format.into()),
            duration_ms: Some(seconds * 1000),
            bytes: Some(bytes),
            is_url: false,
        }
    }

    fn on(engine: EngineChoice) -> Route {
        Route { engine, ..Route::named("default") }
    }

    fn shown(facts: &Facts, route: &Route, offer: &Offer) -> String {
        match plan(facts, route, offer) {
            Ok(plan) => format!("{} {:?}", plan.engine, plan.delivery),
            Err(fault) => fault.code,
        }
    }

    #[test]
    fn auto_takes_flash_where_it_fits_and_else_filetrans() {
        let url = |facts: Facts| Facts { is_url: true, ..facts };
        let unknown_length = |facts: Facts| Facts { duration_ms: None, ..facts };
        let us = Offer { filetrans_model: None, ..offer() };
        let no_upload = Offer { temporary_upload: false, ..offer() };
        let prefix = "data:audio/wav;base64,".len() as u64;
        let largest = (FLASH_ENCODED_BYTES - prefix) / 4 * 3;
        let table = [
            (facts("wav", 10, 320_000), offer(), "flash Inline"),
            (facts("wav", 300, largest), offer(), "flash Inline"),
            (facts("wav", 300, largest + 1), offer(), "filetrans Upload"),
            (Facts { duration_ms: Some(300_001), ..facts("mp3", 0, 1000) }, offer(), "filetrans Upload"),
            (facts("mp4", 10, 1000), offer(), "filetrans Upload"),
            (facts("aiff", 10, 1000), offer(), "flash Inline"),
            (facts("aiff", 301, 1000), offer(), "FormatNotSupported"),
            (facts("caf", 10, 1000), offer(), "FormatNotSupported"),
            (facts("mp3", 301, 1000), us.clone(), "TooLongForFlash"),
            (facts("mp3", 301, 1000), no_upload.clone(), "TooLongForFlash"),
            (facts("mp3", 10, 1000), us.clone(), "flash Inline"),
            (url(facts("mp3", 301, 1000)), no_upload, "filetrans Url"),
            (url(facts("mp3", 10, 1000)), offer(), "flash Url"),
            (facts("wav", 3600, UPLOAD_BYTES), offer(), "filetrans Upload"),
            (facts("wav", 3600, UPLOAD_BYTES + 1), offer(), "TooLargeForUpload"),
            (url(facts("wav", 3600, UPLOAD_BYTES + 1)), offer(), "filetrans Url"),
            (url(facts("wav", 3600, FILETRANS_BYTES + 1)), offer(), "TooLargeForFiletrans"),
            (facts("mp3", 12 * 3600, 1000), offer(), "filetrans Upload"),
            (facts("mp3", 12 * 3600 + 1, 1000), offer(), "TooLongForFiletrans"),
            (unknown_length(facts("amr", 0, 1000)), offer(), "filetrans Upload"),
            (unknown_length(facts("amr", 0, 1000)), us.clone(), "flash Inline"),
            (unknown_length(facts("wma", 0, 11_000_000)), us.clone(), "TooLargeForFlash"),
            (Facts { is_url: true, ..Facts::default() }, offer(), "filetrans Url"),
            (Facts { is_url: true, ..Facts::default() }, us, "flash Url"),
        ];
        for (facts, offer, expected) in table {
            assert_eq!(shown(&facts, &on(EngineChoice::Auto), &offer), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_route_that_names_an_engine_gets_it_or_a_fault_before_anything_is_spent() {
        let (flash, filetrans) = (on(EngineChoice::Flash), on(EngineChoice::Filetrans));
        assert_eq!(shown(&facts("wav", 10, 1000), &filetrans, &offer()), "filetrans Upload");
        assert_eq!(shown(&facts("wav", 301, 1000), &flash, &offer()), "TooLongForFlash");
        assert_eq!(shown(&facts("wav", 10, 8 << 20), &flash, &offer()), "TooLargeForFlash");
        assert_eq!(shown(&facts("mov", 10, 1000), &flash, &offer()), "FormatNotSupported");
        assert_eq!(shown(&facts("aiff", 10, 1000), &filetrans, &offer()), "FormatNotSupported");
        let us = Offer { filetrans_model: None, ..offer() };
        assert_eq!(shown(&facts("wav", 10, 1000), &filetrans, &us), "FiletransNotInRegion");
        let no_upload = Offer { temporary_upload: false, ..offer() };
        assert_eq!(shown(&facts("wav", 10, 1000), &filetrans, &no_upload), "UploadNotAllowed");
    }

    #[test]
    fn every_plan_says_why_and_every_fault_what_is_in_the_way() {
        let plan_of = |facts: &Facts| plan(facts, &on(EngineChoice::Auto), &offer());
        assert_eq!(
            plan_of(&facts("mp3", 600, 1000)).unwrap().reason,
            "flash cannot take it: flash takes up to 5 minutes, this has 0:10:00 h"
        );
        let fault = plan(
            &facts("wav", 400, 1000),
            &on(EngineChoice::Auto),
            &Offer { filetrans_model: None, ..offer() },
        )
        .unwrap_err();
        assert_eq!(fault.blame, Blame::Audio);
        assert!(
            fault.message.contains("up to 5 minutes") && fault.message.contains("region"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn every_format_of_flash_has_a_media_type() {
        for format in FLASH_FORMATS {
            assert!(mime(format).contains('/') && mime(format) != "application/octet-stream", "{format}");
        }
    }
}
