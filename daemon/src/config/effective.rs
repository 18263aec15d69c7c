//! What the layers make together: every value of a config, and the layer that it comes from.

use serde::Serialize;
use toml::de::DeTable;
use toml::{Table as Keys, Value};
use url::Url;

use super::Config;
use super::document::Document;
use super::environment::Setting;
use super::mistakes::Place;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Every value of a config, in the order of the manual.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The file, as the operator wrote its path.
    pub file: String,
    pub tables: Vec<Table>,
}

/// A plain table, or one element of an array of tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub name: String,
    /// Its number in the array; `None` for a plain table.
    pub index: Option<usize>,
    pub entries: Vec<Entry>,
}

/// A key with its value. Secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    pub layer: Layer,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "layer", rename_all = "snake_case")]
pub enum Layer {
    Default,
    File { line: usize },
    Environment { variable: String },
}

impl Effective {
    pub(super) fn new(
        file: &str,
        config: &Config,
        document: &Document<'_>,
        settings: &[Setting],
    ) -> Effective {
        // Through a text, because only a text has an order: that of the types, and so of the manual.
        let text = toml::to_string(config).unwrap_or_default();
        let (in_order, _) = DeTable::parse_recoverable(&text);
        let values: Keys = toml::from_str(&text).unwrap_or_default();
        let layer = |table: &str, index: Option<usize>, key: &str| {
            let set = settings.iter().find(|setting| setting.table == table && setting.key == key);
            if let (None, Some(setting)) = (index, set) {
                return Layer::Environment { variable: setting.variable.clone() };
            }
            let path = index.map_or(format!("{table}.{key}"), |index| format!("{table}.{index}.{key}"));
            match document.find_exactly(&path) {
                Some(Place::Line { line, .. }) => Layer::File { line },
                _ => Layer::Default,
            }
        };
        let table = |name: &str, index: Option<usize>, order: &DeTable<'_>, values: &Keys| {
            let entry = |key: String| {
                let value = masked(&key, values.get(&key)?.clone());
                Some(Entry { layer: layer(name, index, &key), value, key })
            };
            Table { name: name.to_owned(), index, entries: keys_in_order(order).filter_map(entry).collect() }
        };
        let mut tables = Vec::new();
        for name in keys_in_order(in_order.get_ref()) {
            let order = in_order.get_ref().get(name.as_str()).map(|value| value.get_ref());
            match (order, values.get(&name)) {
                (Some(order), Some(Value::Table(values))) => {
                    tables.extend(order.as_table().map(|order| table(&name, None, order, values)));
                }
                (Some(order), Some(Value::Array(elements))) => {
                    let orders = order.as_array().into_iter().flatten();
                    tables.extend(orders.zip(elements).enumerate().filter_map(|(index, (order, values))| {
                        Some(table(&name, Some(index), order.get_ref().as_table()?, values.as_table()?))
                    }));
                }
                _ => {}
            }
        }
        Effective { file: file.to_owned(), tables }
    }
}

/// The keys as the text has them.
fn keys_in_order(table: &DeTable<'_>) -> impl Iterator<Item = String> {
    let mut keys: Vec<_> = table.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    keys.into_iter().map(|key| key.get_ref().to_string())
}

/// The value without its secrets. Hark's own secrets are in files, but an address may have a user with a password, or a query, and Hark does
/// not know which keys of a plugin's config are secret.
fn masked(key: &str, value: Value) -> Value {
    match value {
        Value::String(text) if is_of_secret(key) && !text.is_empty() => Value::String(MASK.to_owned()),
        Value::String(text) if key == "servers" => Value::String(server_without_password(&text)),
        Value::String(text) => Value::String(without_password(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| masked(key, item)).collect()),
        Value::Table(keys) => {
            Value::Table(keys.into_iter().map(|(key, value)| (key.clone(), masked(&key, value))).collect())
        }
        other => other,
    }
}

/// Whether a key is named like one whose value is a secret. Keys that end with `_file` name the secret's file.
fn is_of_secret(key: &str) -> bool {
    const NAMES: [&str; 7] = ["apikey", "key", "passphrase", "password", "secret", "seed", "token"];
    let key = key.to_lowercase();
    let last = key.rsplit(['_', '-']).next().unwrap_or_default();
    NAMES.contains(&last) && key != "tls_key"
}

/// The address of a nats-server, which may have no scheme: then the user before the colon would be taken for one.
fn server_without_password(text: &str) -> String {
    let bare = (!text.contains("://")).then(|| format!("nats://{text}"));
    let whole = bare.as_deref().unwrap_or(text);
    if !Url::parse(whole).is_ok_and(|url| url.has_host()) {
        return text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("{MASK}@{host}"));
    }
    let shown = without_password(whole.to_owned());
    if bare.is_some() { shown.trim_start_matches("nats://").to_owned() } else { shown }
}

/// An address without the password, or the token, of its user, and without its query. Any other text stays.
fn without_password(text: String) -> String {
    let Ok(mut url) = Url::parse(&text) else { return text };
    if !url.has_host() || (url.username().is_empty() && url.password().is_none() && url.query().is_none()) {
        return text;
    }
    // An address that can have no user has none.
    let _ = match (url.username().is_empty(), url.password()) {
        (_, Some(_)) => url.set_password(Some(MASK)),
        (false, None) => url.set_username(MASK),
        _ => Ok(()),
    };
    if url.query().is_some() {
        url.set_query(Some(MASK));
    }
    url.into()
}
