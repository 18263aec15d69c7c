//! Reads `[plugin.config]`.

use serde::de::DeserializeOwned;

use crate::Error;

/// Reads `[plugin.config]` as [`Plugin::create`](crate::Plugin::create) gets it. Give the type `#[serde(deny_unknown_fields)]`: a key with a
/// typing error would otherwise have no effect, without notice.
///
/// # Errors
/// The first key that is unknown or has a value of another type. The message begins with the key's place, lists counted from 0
/// (`checks.2.weight: …`).
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     lines: u8,
/// }
/// let error = hark_sdk::config::read::<Config>(r#"{"lines": "two"}"#).err().unwrap();
/// assert_eq!(error.to_string(), "lines: invalid type: string \"two\", expected u8");
/// ```
pub fn read<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    serde_path_to_error::deserialize(&value).map_err(|error| match error.path().to_string().as_str() {
        "." => Error::new(format_args!("[plugin.config]: {}", error.inner())),
        path => {
            let path = path.replace('[', ".").replace(']', "");
            Error::new(format_args!("{path}: {}", error.inner()))
        }
    })
}
