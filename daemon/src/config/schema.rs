//! The JSON Schema of the config file, by which an editor completes and checks it.
//!
//! Its shape comes from the types; its defaults and descriptions come from the manual. Rules of [`super::validate`] are not in the schema.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Config, manual};

/// The form of the names of sources, routes, recognizers, plugins.
pub(super) const NAME: &str = "^[a-z0-9_-]+$";

/// The keys of arrays of tables that have no default.
const REQUIRED: [&str; 9] =
    ["base_url", "kind", "library", "model", "name", "path", "secret_file", "subject", "url"];

/// The schema.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    schema["title"] = "harkd.toml".into();
    schema["description"] = "The configuration of harkd; every key may be left out.".into();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let comments = manual::comments();
    let Some(tables) = keys(&mut schema) else { return schema };
    for (name, table) in tables {
        match table.get("items").is_some() {
            true => array_of_tables(name, table, &comments),
            false => plain_table(name, table, &defaults[name.as_str()], &comments),
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("required");
    }
    schema
}

type Comments = std::collections::BTreeMap<String, String>;

fn keys(table: &mut Value) -> Option<&mut Map<String, Value>> {
    table.get_mut("properties")?.as_object_mut()
}

/// Every key of a plain table has a default, which stands in the manual and not in the types.
fn plain_table(name: &str, table: &mut Value, defaults: &Value, comments: &Comments) {
    for (key, schema) in keys(table).into_iter().flatten() {
        schema["default"] = defaults[key.as_str()].clone();
        describe(schema, comments.get(&format!("{name}.{key}")));
    }
    if let Some(table) = table.as_object_mut() {
        table.remove("required");
    }
}

/// The kinds of elements are the alternatives of the schema, in the order of the manual's samples.
fn array_of_tables(name: &str, array: &mut Value, comments: &Comments) {
    let element = &mut array["items"];
    let kinds = match element.get_mut("oneOf").and_then(Value::as_array_mut) {
        Some(kinds) => kinds.iter_mut().collect(),
        None => vec![element],
    };
    for (index, kind) in kinds.into_iter().enumerate() {
        let mut required = Vec::new();
        let of_kind = kind["description"].clone();
        for (key, schema) in keys(kind).into_iter().flatten() {
            if REQUIRED.contains(&key.as_str()) {
                required.push(json!(key));
                if let Some(schema) = schema.as_object_mut() {
                    schema.remove("default");
                }
            }
            if key == "kind" && schema["description"].is_null() {
                schema["description"] = of_kind.clone();
            }
            if key == "name" {
                schema["pattern"] = NAME.into();
            }
            describe(schema, comments.get(&format!("{name}.{index}.{key}")));
        }
        kind["required"] = required.into();
    }
}

/// The manual's words come before those of the types.
fn describe(schema: &mut Value, comment: Option<&String>) {
    if let Some(comment) = comment {
        schema["description"] = comment.as_str().into();
    }
}
