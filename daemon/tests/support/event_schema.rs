//! Every event that a test receives fits the schema of its kind, and has no field that the schema does not have.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// By kind; `plugin` for all events of plugins.
static SCHEMAS: LazyLock<HashMap<String, Validator>> = LazyLock::new(|| {
    let mut document = hark_sdk::schema::events().to_value();
    close(&mut document);
    let definitions = document["$defs"].as_object().unwrap();
    let kinds = definitions.keys().filter(|name| name.contains('.') || *name == "plugin");
    let validator = |kind: &String| {
        let schema = json!({ "$ref": format!("#/$defs/{kind}"), "$defs": document["$defs"] });
        (kind.clone(), jsonschema::options().offline().build(&schema).unwrap())
    };
    kinds.map(validator).collect()
});

/// Panics with everything that does not fit. `kind` is `family.name`.
pub fn assert_fits(kind: &str, body: &Value) {
    let name = if kind.starts_with("plugin.") { "plugin" } else { kind };
    let schema = SCHEMAS.get(name).unwrap_or_else(|| panic!("there is no schema of {kind}"));
    let mistakes: Vec<String> =
        schema.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(mistakes.is_empty(), "{kind} does not fit its schema: {mistakes:#?}\n{body:#}");
}

/// Consumers pass over fields that they do not know; a test does not.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            keywords.values_mut().for_each(close);
            if keywords.get("properties").is_some_and(Value::is_object)
                && !keywords.contains_key("additionalProperties")
            {
                keywords.insert("unevaluatedProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
