//! JSON Schemas of plugins' configs, and of the events, generated from the types; `schemas/*.json` hold them for readers and other languages.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event;

/// The schema of a plugin's config, from the type that its `create` reads: what the type refuses with `deny_unknown_fields`, and types, are
/// mistakes that `harkd check` prints with their lines.
pub fn of_config<Config: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>()
}

/// Every kind with the schema of its body; `plugin` stands for `plugin.<name>`.
pub fn all() -> BTreeMap<&'static str, Schema> {
    let mut schemas = BTreeMap::from([
        ("job.accepted", of::<event::JobAccepted>()),
        ("job.submitted", of::<event::JobSubmitted>()),
        ("job.retrying", of::<event::JobRetrying>()),
        ("job.completed", of::<event::JobCompleted>()),
        ("job.failed", of::<event::JobFailed>()),
        ("transcript.partial", of::<event::TranscriptPartial>()),
        ("transcript.segment", of::<event::TranscriptSegment>()),
        ("transcript.final", of::<event::TranscriptFinal>()),
        ("annotation.language", of::<event::Annotation>()),
        ("annotation.emotion", of::<event::Annotation>()),
        ("annotation.speech", of::<event::AnnotationSpeech>()),
        ("alert.raised", of::<event::Alert>()),
        ("alert.retracted", of::<event::Alert>()),
        ("plugin", of::<event::PluginEvent>()),
    ]);
    for (kind, schema) in &mut schemas {
        schema.insert("title".to_owned(), format!("hark.{kind}").into());
    }
    schemas
}

// The common fields of every body. [`event::Event`] cannot derive its schema, since the kind that determines the remaining fields is
// outside of the body.
#[derive(JsonSchema)]
#[schemars(rename = "Event")]
#[allow(dead_code, reason = "only its shape is used")]
struct Shape<Fields> {
    /// The job, a UUIDv7.
    job: Uuid,
    /// Name of the source that the recording came from.
    source: String,
    /// 1, 2, … without a gap over the job's stored events; a partial has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    /// When the event happened (UTC).
    time: Timestamp,
    /// What was heard.
    recording: event::Recording,
    /// What the sender, the file's name or the config said about it.
    metadata: Map<String, Value>,
    #[serde(flatten)]
    fields: Fields,
}

fn of<Fields: JsonSchema>() -> Schema {
    // The schema describes the JSON that Hark writes; the types accept more when they read.
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Shape<Fields>>()
}
