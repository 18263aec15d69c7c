//! `events/*.json` are bodies of events, one per kind with all its fields: a change of a public format shows in their diff. `HARK_BLESS=1`
//! rewrites them.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hark_sdk::event::{
    About, Alert, AlertState, Annotation, AnnotationSpeech, Bill, Blame, Body, ChannelSpeech, Engine, Event,
    Fault, Interruption, JobAccepted, JobCompleted, JobFailed, JobRetrying, JobSubmitted, Kind, ObjectRef,
    PluginEvent, Quality, Recording, Segment, Severity, TimeSpan, Timing, Tokens, TranscriptFinal,
    TranscriptPartial, TranscriptSegment, Usage, Warning, Word,
};
use serde_json::{Map, Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events")
}

fn event(body: Body) -> Event {
    let is_stored = body.kind().is_stored();
    Event {
        job: "01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c".parse().unwrap(),
        source: "calls".into(),
        sequence: is_stored.then_some(3),
        time: "2026-11-23T08:15:04.114Z".parse().unwrap(),
        recording: Recording {
            uri: "file:///srv/calls/cancel.wav".into(),
            name: Some("cancel.wav".into()),
            sha256: Some("a636cb6c0b0e1b6bdd5bbd1ef2d6eb9f0b4dbf1f4ca4b3e9f1f0c8e1b1a4f2d7".into()),
            bytes: Some(51_148),
            format: Some("wav".into()),
            duration_ms: Some(3_194),
            channels: Some(1),
            truncated: true,
            message_id: Some("call-1".into()),
            path_b64: Some("L3Nydi9jYWxscy/pLndhdg==".into()),
        },
        metadata: Map::from_iter([("agent_id".to_owned(), json!("7"))]),
        body,
    }
}

/// One event of each kind, with every field that it may have.
fn bodies() -> Vec<Body> {
    let error = |attempts| Fault {
        code: "InvalidApiKey".into(),
        blame: Blame::Account,
        message: "Invalid API-key provided; put a key of dashscope.region where the config looks for it"
            .into(),
        attempts,
    };
    let bill = Bill {
        audio_seconds: Some(3.194),
        billed_seconds: 3,
        billed_tokens: Some(Tokens { input: 95, output: 9 }),
        cost_usd: 0.000_105,
        saved_seconds: Some(3.194),
        saved_usd: Some(0.000_112),
        elapsed_ms: 1_280,
        possible_duplicate_charge: true,
    };
    let segment = |timing, begin_ms, end_ms| Segment {
        channel: 0,
        role: Some("customer".into()),
        speaker: Some("0".into()),
        begin_ms,
        end_ms,
        timing,
        text: "I want to cancel my contract.".into(),
        language: Some("en".into()),
        emotion: Some("angry".into()),
        words: Some(vec![Word { begin_ms: 100, end_ms: 400, text: "contract.".into() }]),
        echo: true,
        error: None,
    };
    let annotation = |value: &str| Annotation {
        channel: 0,
        role: Some("customer".into()),
        begin_ms: Some(0),
        end_ms: Some(3_194),
        value: value.into(),
        about: About { piece: Some(2), revision: Some(7) },
    };
    let alert = |state| Alert {
        alert: "churn-1".into(),
        plugin: "keywords".into(),
        rule: "churn".into(),
        severity: Severity::Warning,
        state,
        channel: Some(0),
        role: Some("customer".into()),
        begin_ms: Some(0),
        end_ms: Some(3_194),
        quote: "cancel".into(),
        reason: Some("not in the segment".into()),
        about: About { piece: Some(2), revision: Some(7) },
    };
    vec![
        Body::JobAccepted(JobAccepted {
            route: "default".into(),
            retry_of: Some(uuid::Uuid::from_u128(0x0193_6f4e_5f0a_7c3e_8c1d_2f9f_6f0a_1b2b)),
            warnings: vec![Warning {
                code: "SidecarUnreadable".into(),
                message: "the metadata of \"cancel.json\" is left out: it is no JSON object".into(),
            }],
        }),
        Body::JobSubmitted(JobSubmitted {
            engine: Engine::FILETRANS,
            model: "qwen3-asr-flash-filetrans".into(),
            task_id: Some("c0ffee00-0000-4000-8000-000000000000".into()),
            pieces: Some(3),
            possible_duplicate_charge: true,
        }),
        Body::JobRetrying(JobRetrying { attempt: 1, error: error(None), retry_in_ms: 2_000, piece: Some(2) }),
        Body::JobCompleted(JobCompleted { incomplete: true, bill: bill.clone() }),
        Body::JobFailed(JobFailed { error: error(Some(2)), bill }),
        Body::TranscriptPartial(TranscriptPartial {
            revision: 2,
            channel: 0,
            role: Some("customer".into()),
            piece: Some(2),
            begin_ms: 0,
            text: "I want to".into(),
            echo: true,
        }),
        Body::TranscriptSegment(TranscriptSegment {
            engine: Engine::FLASH,
            model: "qwen3-asr-flash".into(),
            piece: 2,
            pieces: Some(3),
            begin_ms: 0,
            end_ms: 3_194,
            truncated: true,
            segments: vec![segment(Timing::Chunk, Some(0), Some(3_194))],
        }),
        Body::TranscriptFinal(TranscriptFinal {
            engine: Engine::FLASH,
            model: "qwen3-asr-flash".into(),
            text: "I want to cancel my contract.".into(),
            language: Some("en".into()),
            emotion: Some("angry".into()),
            speech: Some(true),
            truncated: true,
            segments: Some(vec![
                segment(Timing::Service, Some(0), Some(1_500)),
                segment(Timing::Chunk, Some(1_500), Some(3_194)),
                segment(Timing::None, None, None),
                Segment {
                    text: String::new(),
                    error: Some(error(None)),
                    ..segment(Timing::Chunk, Some(3_194), Some(4_000))
                },
            ]),
            segments_object: Some(ObjectRef {
                bucket: "HARK_TRANSCRIPTS".into(),
                name: "01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c".into(),
            }),
            usage: Usage { seconds: 3, input_tokens: Some(95), output_tokens: Some(9) },
            quality: Quality { speech_ms: Some(2_900), repetition: 1, echo: 1, failed_ms: 806 },
        }),
        Body::AnnotationLanguage(annotation("en")),
        Body::AnnotationEmotion(annotation("angry")),
        Body::AnnotationSpeech(AnnotationSpeech {
            channels: vec![ChannelSpeech {
                channel: 1,
                role: Some("customer".into()),
                speech_ms: 2_310,
                turns: 2,
                longest_turn_ms: 1_800,
                level_dbfs: Some(-23.4),
                clipped: 0.000_125,
                doubles: Some(0),
            }],
            overlap_ms: 120,
            silence_ms: 640,
            longest_silence: Some(TimeSpan { begin_ms: 0, end_ms: 410 }),
            interruptions: vec![Interruption { channel: 1, role: Some("customer".into()), begin_ms: 1_200 }],
        }),
        Body::AlertRaised(alert(AlertState::Confirmed)),
        Body::AlertRetracted(alert(AlertState::Tentative)),
        Body::Plugin(PluginEvent {
            plugin: "keywords".into(),
            data: json!({"left_out": 3}),
            about: About { piece: Some(2), revision: Some(7) },
        }),
    ]
}

/// The kind's name in the schemas, in which `plugin` stands for `plugin.<name>`.
fn name_of(kind: &Kind) -> String {
    if let Kind::Plugin(_) = kind { "plugin".into() } else { kind.to_string() }
}

#[test]
fn the_bodies_are_those_of_the_files_and_the_files_are_read() {
    let bless = std::env::var_os("HARK_BLESS").is_some();
    for event in bodies().into_iter().map(event) {
        let kind = event.kind();
        let file = folder().join(format!("{}.json", name_of(&kind)));
        let text = serde_json::to_string_pretty(&event).unwrap() + "\n";
        if bless {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(kept, text, "{kind}: if the change is meant, run the test again with HARK_BLESS=1");
        assert_eq!(Event::parse(&kind, kept.as_bytes()).unwrap(), event, "{kind}");
    }
}

#[test]
fn every_kind_has_a_file_and_every_field_of_a_schema_stands_in_it() {
    let schemas = hark_sdk::schema::all();
    let files: BTreeSet<String> = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files, schemas.keys().map(|&kind| kind.to_owned()).collect());
    for (kind, schema) in schemas {
        let text = std::fs::read_to_string(folder().join(format!("{kind}.json"))).unwrap();
        let body: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let fields = schema.get("properties").unwrap().as_object().unwrap();
        for field in fields.keys().filter(|field| *field != "sequence") {
            assert!(body.contains_key(field), "{kind}: {field} is missing in the file");
        }
    }
}

#[test]
fn a_schema_is_named_by_its_kind_and_version() {
    assert_eq!(hark_sdk::event::data_schema("transcript.final"), "urn:hark:transcript.final:1");
}
