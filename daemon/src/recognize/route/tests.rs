//! The table of plans.

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
    plan(facts, &Route { engine, ..Route::named("default") }, profiles(config, false).iter().collect())
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
        (Facts { truncated: true, ..facts("mp4", 10, 1000) }, all(), "flash in pieces"),
        (Facts { truncated: true, ..facts("mp3", 10, 1000) }, all(), "flash Inline"),
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
    let expected =
        "filetrans may refuse or misread the file because of its wav header; convert it to wav, flac or mp3";
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
            inputs: Model::QWEN3_FLASH.inputs,
            outputs: Model::QWEN3_FLASH.outputs,
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
    let [flash, filetrans] = profiles(&us(), false);
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
fn a_bucket_of_ones_own_takes_what_filetrans_takes_whatever_the_services_storage_may() {
    let shown = |bytes: u64| {
        let [flash, filetrans] = profiles(&no_upload(), true);
        let route = Route { engine: EngineChoice::Filetrans, ..Route::named("default") };
        let planned = plan(&facts("wav", 3600, bytes), &route, vec![&flash, &filetrans]);
        planned.map(|plan| plan.delivery).map_err(|fault| fault.code)
    };
    assert_eq!(shown(2 << 30), Ok(Delivery::Upload));
    assert_eq!(shown((2 << 30) + 1), Err("TooLarge".to_owned()));
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
