//! `schemas/*.json` are generated from the types. `HARK_BLESS=1` rewrites them.

use std::path::Path;

#[test]
fn the_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let bless = std::env::var_os("HARK_BLESS").is_some();
    let mut expected = Vec::new();
    for (kind, schema) in hark_sdk::schema::all() {
        let file = folder.join(format!("{kind}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if bless {
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(kept, text, "{kind}: if the change is meant, run the test again with HARK_BLESS=1");
        expected.push(file);
    }
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected);
}

#[test]
fn an_event_of_an_engine_that_the_sdk_does_not_know_is_read() {
    let mut event = serde_json::to_value(hark_sdk::testing::transcript(&["hello"])).unwrap();
    event["engine"] = "gpu".into();
    let read = hark_sdk::event::Event::from_value(&hark_sdk::event::Kind::TranscriptFinal, event).unwrap();
    let hark_sdk::event::Body::TranscriptFinal(event) = read.body else { panic!("{read:?}") };
    assert_eq!(event.engine, hark_sdk::event::Engine::new("gpu"));
}

#[test]
fn an_event_has_the_fields_that_its_schema_requires() {
    let schemas = hark_sdk::schema::all();
    let event = serde_json::to_value(hark_sdk::testing::transcript(&["hello"])).unwrap();
    let required = schemas["transcript.final"].get("required").unwrap().as_array().unwrap().clone();
    assert!(required.len() > 8, "{required:?}");
    for field in required {
        assert!(event.get(field.as_str().unwrap()).is_some(), "{field} is missing in {event}");
    }
}
