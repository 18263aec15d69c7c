//! The OpenAPI 3.1 document of the HTTP API. A test asks the running daemon for everything that stands here.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::jobs::{Events, Shown};
use super::status::{Spend, Status};
use super::steer::sources;
use crate::job::ledger::view::{Listed, Page, State};

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schemas =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    let mut paths = Map::new();
    for path in [
        jobs(&mut schemas),
        job::<Shown>(&mut schemas, "", "showJob", "A job"),
        job::<Events>(
            &mut schemas,
            "/events",
            "listEventsOfJob",
            "Its stored events, as they were published",
        ),
        audio(),
        act::<Listed>(
            &mut schemas,
            "/api/jobs/{id}/cancel",
            "cancelJob",
            "Ends a job: its last event is job.failed with the code Canceled",
        ),
        act::<Listed>(
            &mut schemas,
            "/api/jobs/{id}/retry",
            "retryJob",
            "Recognizes the recording of an ended job again, as a new job",
        ),
        act::<sources::Listed>(
            &mut schemas,
            "/api/sources/{name}/pause",
            "pauseSource",
            "Pauses a source, also over restarts; its open jobs go on",
        ),
        act::<sources::Listed>(
            &mut schemas,
            "/api/sources/{name}/resume",
            "resumeSource",
            "Resumes a paused source",
        ),
        act::<sources::Listed>(
            &mut schemas,
            "/api/sources/{name}/rescan",
            "rescanSource",
            "Scans a folder at once",
        ),
        events(),
        simple::<Status>(&mut schemas, "/api/status", "showStatus", "What the daemon does now", &[]),
        simple::<Spend>(
            &mut schemas,
            "/api/spend",
            "showSpend",
            "What recognition cost, by UTC day",
            &[query(
                "days",
                "How many days, today included",
                json!({"type": "integer", "minimum": 1, "maximum": 400, "default": 30}),
            )],
        ),
    ] {
        paths.insert(path.0, path.1);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hark",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The jobs, events and costs of one harkd",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "responses": problems(),
        },
    })
}

type PathItem = (String, Value);

/// Every refusal has this form (RFC 9457).
fn problems() -> Value {
    let problem = |text: &str| {
        let schema = json!({
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": { "type": "string" }, "title": { "type": "string" },
                "status": { "type": "integer" }, "detail": { "type": "string" },
            },
        });
        json!({ "description": text, "content": { "application/problem+json": { "schema": schema } } })
    };
    json!({
        "Bad": problem("A value cannot be used"),
        "NoToken": problem("A token is needed"),
        "Forbidden": problem("The token, or the config, does not permit it"),
        "Unknown": problem("This daemon has no such job, source, page or recording"),
        "Slow": problem("The body has not come in time"),
        "Conflict": problem("The request does not fit the current state of the job or source"),
        "Foreign": problem("The Host header does not name this daemon"),
        "BadRange": problem("The recording ends before the range"),
        "Unsupported": problem("The body has to be JSON"),
        "NotNow": problem("The daemon is starting, or cannot do it now"),
    })
}

/// The answers of a path: the good ones, and the refusals by their status.
fn answers(good: Value, refusals: &[u16]) -> Value {
    let mut answers = match good {
        Value::Object(good) => good,
        _ => Map::new(),
    };
    for status in [401, 421, 503].iter().chain(refusals) {
        let name = match status {
            400 => "Bad",
            401 => "NoToken",
            403 => "Forbidden",
            404 => "Unknown",
            408 => "Slow",
            409 => "Conflict",
            415 => "Unsupported",
            416 => "BadRange",
            421 => "Foreign",
            _ => "NotNow",
        };
        answers.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") }));
    }
    Value::Object(answers)
}

fn ok<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({ "200": { "description": "OK", "content": { "application/json": { "schema": schemas.subschema_for::<T>() } } } })
}

/// An empty field of a form is no filter.
fn or_empty(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "const": "" }] })
}

fn query(name: &str, text: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": text, "schema": schema })
}

fn id() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "description": "The job", "schema": { "type": "string", "format": "uuid" } })
}

fn simple<T: JsonSchema>(
    schemas: &mut SchemaGenerator,
    path: &str,
    name: &str,
    text: &str,
    parameters: &[Value],
) -> PathItem {
    let refusals: &[u16] = if parameters.is_empty() { &[] } else { &[400] };
    let get = json!({
        "operationId": name, "summary": text, "parameters": parameters, "responses": answers(ok::<T>(schemas), refusals),
    });
    (path.to_owned(), json!({ "get": get }))
}

fn job<T: JsonSchema>(schemas: &mut SchemaGenerator, tail: &str, name: &str, text: &str) -> PathItem {
    let get = json!({
        "operationId": name, "summary": text, "parameters": [id()], "responses": answers(ok::<T>(schemas), &[400, 404]),
    });
    (format!("/api/jobs/{{id}}{tail}"), json!({ "get": get }))
}

fn name() -> Value {
    json!({ "name": "name", "in": "path", "required": true, "description": "The source", "schema": { "type": "string" } })
}

/// A POST on a job, or a source.
fn act<T: JsonSchema>(schemas: &mut SchemaGenerator, path: &str, name: &str, text: &str) -> PathItem {
    let body =
        json!({ "required": true, "content": { "application/json": { "schema": { "type": "object" } } } });
    let parameter = if path.contains("{id}") { id() } else { self::name() };
    let post = json!({
        "operationId": name, "summary": text, "parameters": [parameter], "requestBody": body,
        "responses": answers(ok::<T>(schemas), &[400, 403, 404, 408, 409, 415]),
    });
    (path.to_owned(), json!({ "post": post }))
}

fn jobs(schemas: &mut SchemaGenerator) -> PathItem {
    let text = json!({ "type": "string", "pattern": "^[^\\u0000]*$" });
    let time = json!({ "type": "string", "format": "date-time" });
    let parameters = [
        query("state", "Jobs in this state", or_empty(json!({ "enum": State::ALL.map(State::as_str) }))),
        query("source", "Jobs of this source", text.clone()),
        query("alert", "Jobs with an alert of this rule that was not retracted; `*`: of any", text.clone()),
        query("text", "Jobs with this text in the transcript, the recording's name or its metadata", text),
        query(
            "since",
            "Jobs accepted at this time or later: RFC 3339, or a duration before now such as 2h",
            or_empty(json!({ "anyOf": [
            time.clone(), { "type": "string", "pattern": "^[1-9][0-9]{0,3}[smhd]$" },
        ] })),
        ),
        query(
            "before",
            "Jobs accepted before this job or time: the value of `next`, or RFC 3339",
            or_empty(json!({ "anyOf": [
            { "type": "string", "format": "uuid" }, time,
        ] })),
        ),
        query(
            "limit",
            "Jobs of a page",
            or_empty(json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 50 })),
        ),
    ];
    let mut good = ok::<Page>(schemas);
    good["200"]["content"]["text/csv"] = json!({ "schema": { "type": "string" } });
    let get = json!({
        "operationId": "listJobs", "summary": "Jobs, newest first", "parameters": parameters, "responses": answers(good, &[400]),
    });
    ("/api/jobs".to_owned(), json!({ "get": get }))
}

fn audio() -> PathItem {
    let range =
        json!({ "name": "Range", "in": "header", "description": "RFC 9110", "schema": { "type": "string" } });
    let whole = json!({ "description": "The recording", "content": { "audio/*": {}, "application/octet-stream": {} } });
    let part = json!({ "description": "The range of it", "content": { "audio/*": {}, "application/octet-stream": {} } });
    let get = json!({
        "operationId": "playJob",
        "summary": "The recording, if http.audio is set, the file lies in its folder and its source has no transform",
        "parameters": [id(), range],
        "responses": answers(json!({ "200": whole, "206": part }), &[400, 403, 404, 416]),
    });
    ("/api/jobs/{id}/audio".to_owned(), json!({ "get": get }))
}

const LAST: &str = "The id of the event that the client had last. The stored events behind it come first, and those before it that the server \
    acknowledged late: these may come twice, with the same id";

fn events() -> PathItem {
    let text = json!({ "type": "string" });
    let sequence = json!({ "type": "integer", "minimum": 0, "maximum": i64::MAX });
    let kind = "(job|transcript|annotation|alert|plugin)(\\.([a-z0-9_-]+|\\*))?";
    let kinds = or_empty(json!({ "type": "string", "pattern": format!("^{kind}(,{kind})*$") }));
    let last = json!({
        "name": "Last-Event-ID", "in": "header", "description": LAST, "schema": sequence.clone(),
    });
    let parameters = [
        query("kind", "Kinds or families, with commas between them: transcript.final,alert", kinds),
        query("source", "Events of this source", text),
        query("job", "Events of this job", json!({ "type": "string", "format": "uuid" })),
        query("last_event_id", "As the header", sequence),
        last,
    ];
    let stream = json!({
        "description": "Server-sent events without end: `event` is the kind, `data` the body as on NATS, `id` the stream's sequence of a stored event",
        "content": { "text/event-stream": { "schema": { "type": "string" } } },
    });
    let get = json!({
        "operationId": "followEvents", "summary": "Events as they are published, partials included",
        "parameters": parameters, "responses": answers(json!({ "200": stream }), &[400]),
    });
    ("/api/events".to_owned(), json!({ "get": get }))
}
