//! The AsyncAPI 3 document of the subjects, from the side of the daemon: what it sends, what it receives.

use hark_sdk::schema;
use serde_json::{Map, Value, json};
use url::Url;

use super::Subjects;
use crate::config::Nats;

/// Where the document has its schemas.
const SCHEMAS: &str = "/components/schemas";

/// Events that plugins say over old calls for `harkd replay --publish`.
const REPLAYED: [&str; 5] =
    ["annotation.language", "annotation.emotion", "alert.raised", "alert.retracted", "plugin"];

/// The document, with the names that the config has. `requests`: the ends of the subjects on which the daemon answers.
pub fn document(nats: &Nats, requests: impl Iterator<Item = &'static str>) -> Value {
    let subjects = Subjects::new(&nats.subject_prefix);
    let schemas = schema::definitions(SCHEMAS);
    let kinds: Vec<&String> = schemas.keys().filter(|name| *name == "plugin" || name.contains('.')).collect();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for kind in &kinds {
        // The parameters of a subject stand in braces.
        let name = if *kind == "plugin" { "plugin.{plugin}" } else { kind };
        channels
            .insert((*kind).clone(), channel(&subjects.event(name, "{source}", "{job}"), &[kind.as_str()]));
        let in_channel = json!({ "$ref": format!("#/channels/{kind}/messages/{kind}") });
        let channel = json!({ "$ref": format!("#/channels/{kind}") });
        operations.insert(
            format!("send.{kind}"),
            json!({ "action": "send", "channel": channel, "messages": [in_channel] }),
        );
        messages.insert((*kind).clone(), event(kind, &schemas[*kind]));
    }
    channels.insert("replay".to_owned(), channel(&subjects.replay("{kind}", "{source}", "{job}"), &REPLAYED));
    channels.insert("audio".to_owned(), {
        let address = subjects.audio().replace('>', "{inbox}");
        channel(&address, &["audio", "reference"])
    });
    operations
        .insert("send.replay".to_owned(), operation("send", "replay", "`harkd replay --publish` sends it."));
    operations.insert("receive.audio".to_owned(), operation("receive", "audio", "A source of kind `nats` takes it from its stream and acknowledges it after the job's last event."));
    for name in requests {
        let id = format!("control.{name}");
        channels.insert(id.clone(), channel(&subjects.request(name), &["request"]));
        operations.insert(format!("receive.{id}"), json!({
            "action": "receive",
            "channel": { "$ref": format!("#/channels/{id}") },
            "summary": "Every daemon that has what the request names answers for itself.",
            "reply": { "address": { "location": "$message.header#/reply", "description": "The reply subject of the request." } },
        }));
    }
    messages.insert("request".to_owned(), request());
    messages.insert("audio".to_owned(), audio());
    messages.insert("reference".to_owned(), reference());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Hark",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0" },
            "description": "Audio in, events out, over NATS. Events are CloudEvents 1.0 in NATS binary mode. The actions are the daemon's: what it sends, a consumer receives.",
        },
        "defaultContentType": "application/json",
        "servers": servers(nats),
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// Hosts only: an address may contain a password.
fn servers(nats: &Nats) -> Map<String, Value> {
    let server = |(index, address): (usize, &String)| {
        let url = Url::parse(address).or_else(|_| Url::parse(&format!("nats://{address}"))).ok()?;
        let port = url.port().unwrap_or(4222);
        let server = json!({ "host": format!("{}:{port}", url.host_str()?), "protocol": "nats" });
        Some((format!("nats{}", index + 1), server))
    };
    nats.servers.iter().enumerate().filter_map(server).collect()
}

/// A subject with these messages on it. What stands in braces is described by its name.
fn channel(address: &str, messages: &[&str]) -> Value {
    let named: Map<String, Value> = messages
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/messages/{name}") })))
        .collect();
    let parameters: Map<String, Value> = address
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| (name.to_owned(), json!({ "description": parameter(name) })))
        .collect();
    json!({ "address": address, "messages": named, "parameters": parameters })
}

fn parameter(name: &str) -> &'static str {
    match name {
        "source" => "Name of the [[source]] that the recording came from.",
        "job" => "The job, a UUIDv7.",
        "plugin" => "Name of the [[plugin]].",
        "inbox" => "The rest of the `subject` of a [[source]]; it may have several tokens.",
        _ => "Family and name of the event, as in `alert.raised`.",
    }
}

fn operation(action: &str, channel: &str, summary: &str) -> Value {
    json!({ "action": action, "channel": { "$ref": format!("#/channels/{channel}") }, "summary": summary })
}

/// An event: attributes of CloudEvents as headers, the body as JSON.
fn event(kind: &str, schema: &Value) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "name": kind,
        "title": schema["title"],
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": ["ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "Nats-Msg-Id"],
            "properties": {
                "ce-specversion": { "const": "1.0" },
                "ce-id": text("`<job>:<sequence>`, the same on every retry; `<job>:p<revision>` of a partial."),
                "ce-type": text("`hark.<family>.<name>`."),
                "ce-source": text("`/hark/<source>`."),
                "ce-subject": text("The job."),
                "ce-time": { "type": "string", "format": "date-time" },
                "ce-datacontenttype": { "const": "application/json" },
                "ce-dataschema": text("`urn:hark:<family>.<name>:<version>`; the version rises only with a change that breaks readers."),
                "Nats-Msg-Id": text("The same as `ce-id`."),
            },
        },
        "payload": { "$ref": format!("#{SCHEMAS}/{kind}") },
    })
}

/// What may be said of the audio beside it.
fn headers() -> Value {
    json!({
        "type": "object",
        "description": "`Hark-Meta-Agent-Id: 7` becomes `metadata.agent_id`.",
        "properties": {
            "Content-Type": { "type": "string" },
            "Hark-Name": { "type": "string", "description": "Name of the recording." },
            "Hark-Language": { "type": "string", "description": "Its language." },
            "Nats-Msg-Id": { "type": "string", "description": "A message with an id that Hark has seen is a duplicate and is not recognized again." },
        },
    })
}

fn audio() -> Value {
    json!({
        "name": "audio",
        "title": "Audio itself",
        "contentType": "audio/*",
        "headers": headers(),
        "payload": { "type": "string", "format": "binary", "description": "The bytes of the recording." },
    })
}

fn request() -> Value {
    json!({
        "name": "request",
        "title": "A request of an operator",
        "contentType": "application/json",
        "payload": { "type": "object", "description": "What it names: a job, a source, a plugin; docs/nats.md lists the fields." },
    })
}

fn reference() -> Value {
    let object = json!({
        "type": "object",
        "required": ["bucket", "name"],
        "properties": { "bucket": { "type": "string" }, "name": { "type": "string" } },
    });
    json!({
        "name": "reference",
        "title": "Where the audio is",
        "contentType": "application/json",
        "headers": headers(),
        "payload": {
            "type": "object",
            "description": "Either `url` or `object`.",
            "oneOf": [{ "required": ["url"] }, { "required": ["object"] }],
            "properties": {
                "url": { "type": "string", "format": "uri" },
                "object": object,
                "name": { "type": "string" },
                "metadata": { "type": "object" },
                "language": { "type": "string" },
                "context": { "type": "string" },
                "route": { "type": "string", "description": "One of the source's `allow_routes`." },
            },
        },
    })
}
