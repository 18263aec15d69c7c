//! See [`crate::fuzzing`].

use std::io::Write;
use std::sync::LazyLock;

use ::url::Host;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Map;

use super::directory::{sidecar, wav_header};
use super::nats::message::{self, Input};
use super::url::{vet, without_query};
use crate::config::{AllowList, NamePattern, is_inside, is_public, language_codes, plain};
use crate::job::metadata;

/// The most bytes of a name and of an id that events carry.
const LONGEST_NAME: usize = 1 << 10;

/// A message: lines of `Name: value`, an empty line, and the payload.
///
/// # Panics
/// Where reading it does, or what was read does not fit into an event.
pub fn message(bytes: &[u8]) {
    let at = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, payload) = at.map_or((&[][..], bytes), |at| (&bytes[..at], &bytes[at + 2..]));
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(head).lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    let (said, input) = message::read(Some(&headers), payload);
    assert!([&said.name, &said.message_id].into_iter().flatten().all(|text| text.len() <= LONGEST_NAME));
    assert!(said.language.is_none_or(|language| language_codes().any(|code| code == language)));
    assert!(metadata::size(&said.metadata) <= metadata::LARGEST);
    if let Input::Url(text) = input {
        url(text.as_bytes());
    }
}

/// The URL of a recording, from a message or a redirect.
///
/// # Panics
/// Where reading it does, one that leads inside is allowed, or its query is shown.
pub fn url(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let shown = without_query(&text);
    assert!(!shown.contains(['?', '#']), "{shown}");
    let nothing = AllowList::default();
    let Ok(url) = vet(&text, &nothing) else { return };
    assert!(url.scheme() == "https" && url.username().is_empty() && url.password().is_none(), "{url}");
    assert!(
        match url.host() {
            Some(Host::Domain(name)) => !is_inside(&plain(name)),
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
            None => false,
        },
        "{url}"
    );
    assert_eq!(vet(url.as_str(), &nothing).as_ref(), Ok(&url), "it is another one when it is read again");
}

/// The content of a sidecar.
///
/// # Panics
/// Where reading it does, or its fields do not fit into an event.
pub fn sidecar(bytes: &[u8]) {
    if let Ok(fields) = sidecar::merged(bytes, &Map::new()) {
        assert!(metadata::size(&fields) <= metadata::LARGEST);
    }
}

/// The name of a recording, for each preset of `metadata_from_name`.
///
/// # Panics
/// Where reading it does, or a field is not a part of the name.
pub fn file_name(name: &[u8]) {
    static PRESETS: LazyLock<Vec<NamePattern>> = LazyLock::new(|| {
        ["freepbx", "pca", "miarec"]
            .iter()
            .filter_map(|name| NamePattern::parse(name).ok().flatten())
            .collect()
    });
    let name = String::from_utf8_lossy(name);
    for field in PRESETS.iter().flat_map(|preset| preset.fields(&name)) {
        assert!(field.1.as_str().is_some_and(|text| name.contains(text)), "{field:?}");
    }
}

/// A WAV file in a watched folder, whose header the daemon asks whether the file is all there.
///
/// # Panics
/// Where reading it does.
pub fn wav_of_a_folder(bytes: &[u8]) {
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(bytes).is_ok() {
        assert!(wav_header::is_short(&file, bytes.len() as u64).is_ok());
    }
}
