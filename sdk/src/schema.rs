//! JSON Schemas of plugins' configs, and of the events, generated from the types; `schemas/*.json` hold them for readers and other languages.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::event;

/// The schema of a plugin's config, from the type that its `create` reads: what the type refuses with `deny_unknown_fields`, and types, are
/// mistakes that `harkd check` prints with their lines.
pub fn of_config<Config: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>()
}

/// Makes the schema of one kind's body; what it refers to becomes a definition of the generator.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// Every kind; `plugin` stands for `plugin.<name>`.
const KINDS: [(&str, Make); 14] = [
    ("job.accepted", body::<event::JobAccepted>),
    ("job.submitted", body::<event::JobSubmitted>),
    ("job.retrying", body::<event::JobRetrying>),
    ("job.completed", body::<event::JobCompleted>),
    ("job.failed", body::<event::JobFailed>),
    ("transcript.partial", body::<event::TranscriptPartial>),
    ("transcript.segment", body::<event::TranscriptSegment>),
    ("transcript.final", body::<event::TranscriptFinal>),
    ("annotation.language", body::<event::Annotation>),
    ("annotation.emotion", body::<event::Annotation>),
    ("annotation.speech", body::<event::AnnotationSpeech>),
    ("alert.raised", body::<event::Alert>),
    ("alert.retracted", body::<event::Alert>),
    ("plugin", body::<event::PluginEvent>),
];

/// Every kind with the schema of its body.
pub fn all() -> BTreeMap<&'static str, Schema> {
    let alone = |(kind, make): (&'static str, Make)| {
        let mut generator = generator(DEFINITIONS);
        let mut schema = titled(kind, make(&mut generator));
        declare(&mut schema);
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), definitions.into());
        }
        (kind, schema)
    };
    KINDS.into_iter().map(alone).collect()
}

/// One schema of all events: its definitions are named by their kinds, and its root is one of them. Bodies do not tell their kind (that is
/// in `ce-type`), and some kinds have bodies of the same shape; a body of a known kind is held against its definition.
pub fn events() -> Schema {
    let definitions = definitions(DEFINITIONS);
    let any: Vec<Value> =
        KINDS.iter().map(|(kind, _)| json!({ "$ref": format!("#{DEFINITIONS}/{kind}") })).collect();
    let mut schema = json_schema!({
        "title": "hark.event",
        "description": "The body of an event of Hark. Its kind is the definition of that name; `plugin` is `plugin.<name>`.",
        "anyOf": any,
        "$defs": definitions,
    });
    declare(&mut schema);
    schema
}

/// The schemas of all kinds, and what they refer to, by their names. `path` is where a document has them, as a JSON pointer.
pub fn definitions(path: &str) -> Map<String, Value> {
    let mut generator = generator(path);
    let mut kinds: Map<String, Value> = KINDS
        .iter()
        .map(|(kind, make)| ((*kind).to_owned(), titled(kind, make(&mut generator)).to_value()))
        .collect();
    kinds.extend(generator.take_definitions(true));
    kinds
}

/// Where a schema has what it refers to.
const DEFINITIONS: &str = "/$defs";

fn generator(definitions: &str) -> SchemaGenerator {
    // The schema describes the JSON that Hark writes; the types accept more when they read.
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with(|settings| settings.definitions_path = definitions.to_owned().into()).into_generator()
}

fn titled(kind: &str, mut schema: Schema) -> Schema {
    schema.insert("title".to_owned(), format!("hark.{kind}").into());
    schema
}

fn declare(schema: &mut Schema) {
    schema.insert("$schema".to_owned(), schemars::consts::meta_schemas::DRAFT2020_12.into());
}

fn body<Fields: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    Shape::<Fields>::json_schema(generator)
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
