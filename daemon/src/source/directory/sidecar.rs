//! The sidecar of a recording: `<base name>.json` beside it, whose fields are metadata. It serves every recording of its base name.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hark_sdk::event::Warning;
use hark_sdk::plain::Plain;
use rustix::fs::fstat;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tracing::warn;
use uuid::Uuid;

use super::context::Context;
use super::found::kind;
use super::put_away::{FileFate, HeardFile, PutAway, carry_out};
use crate::hex::hex;
use crate::job::{FileIdentity, Sidecar, metadata};
use crate::os::{Folder, NotARecording, open_recording};

/// The ending of its name.
pub(in crate::source) const ENDING: &str = "json";

/// Deepest nesting of the metadata, its own object included.
const DEEPEST: usize = 4;

/// At the beginning of a UTF-8 text of some editors.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is known about a recording before it is heard.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordingMetadata {
    /// The fields of its name and of its sidecar.
    pub metadata: Map<String, Value>,
    /// The sidecar that was read.
    pub sidecar: Option<Sidecar>,
    pub warnings: Vec<Warning>,
}

/// What the name of a file and its sidecar tell. Blocking.
pub(super) fn read(context: &Context, below: &Path) -> RecordingMetadata {
    let name = below.file_name().unwrap_or_default().to_string_lossy();
    let mut recording_metadata = RecordingMetadata::default();
    if let Some(pattern) = &context.name_pattern {
        recording_metadata.metadata = pattern.fields(&name);
    }
    if !context.config.metadata_sidecar {
        return recording_metadata;
    }
    match read_sidecar(context.root(), below, &recording_metadata.metadata) {
        Ok(None) => {}
        Ok(Some(with_sidecar)) => recording_metadata = with_sidecar,
        Err(reason) => {
            let name = path_of(below).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let message = format!("the metadata of {name:?} is left out: {reason}");
            warn!(source = context.source(), path = %context.root().join(below).display(), reason, "the recording's sidecar is left out");
            recording_metadata.warnings.push(Warning { code: "SidecarUnreadable".into(), message });
        }
    }
    recording_metadata
}

/// The sidecar's path.
fn path_of(below: &Path) -> PathBuf {
    below.with_extension(ENDING)
}

/// The metadata with the sidecar's fields over `fields`; `None`: there is no sidecar.
fn read_sidecar(
    root: &Path,
    below: &Path,
    fields: &Map<String, Value>,
) -> Result<Option<RecordingMetadata>, String> {
    let path = path_of(below);
    if path == below {
        return Ok(None);
    }
    let file = match open_recording(root, &path) {
        Ok(file) => file,
        Err(NotARecording::Gone) => return Ok(None),
        // The recording's ending is shorter, and its name as long as a name may be.
        Err(NotARecording::Unreadable(error)) if error.kind() == io::ErrorKind::InvalidFilename => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let unreadable = |error: io::Error| format!("it cannot be read: {error}");
    let identity = FileIdentity::of(&fstat(&file).map_err(|error| unreadable(error.into()))?);
    let mut bytes = Vec::new();
    file.take(metadata::LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let metadata = merged(&bytes, fields)?;
    let sidecar = Sidecar { identity, sha256: hex(&Sha256::digest(&bytes)) };
    Ok(Some(RecordingMetadata { metadata, sidecar: Some(sidecar), warnings: Vec::new() }))
}

/// Merges the fields of a sidecar into `fields`; where both have a key, the sidecar's value stays.
///
/// # Errors
/// Why the content cannot be used; the text quotes nothing of it.
pub(in crate::source) fn merged(
    bytes: &[u8],
    fields: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let too_large = format!("it has more than {} KiB", metadata::LARGEST >> 10);
    if bytes.len() > metadata::LARGEST {
        return Err(too_large);
    }
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let recording_metadata = match serde_json::from_slice(text) {
        Ok(Plain(Value::Object(recording_metadata))) => recording_metadata,
        Ok(_) => return Err("it is no JSON object".into()),
        // Only the place: serde's own text may quote the content.
        Err(error) => {
            return Err(format!(
                "it is no JSON that harkd reads (line {}, column {})",
                error.line(),
                error.column()
            ));
        }
    };
    let mut merged = fields.clone();
    merged.extend(recording_metadata);
    if metadata::size(&merged) > metadata::LARGEST {
        return Err(format!("with what the name tells, {too_large}"));
    }
    if merged.values().any(|value| !is_within(value, DEEPEST - 1)) {
        return Err(format!("it is nested deeper than {DEEPEST} levels"));
    }
    Ok(merged)
}

/// Whether a value has at most this many levels of arrays and objects.
fn is_within(value: &Value, levels: usize) -> bool {
    let below = |value| levels > 0 && is_within(value, levels - 1);
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(below),
        Value::Object(fields) => levels > 0 && fields.values().all(below),
        _ => true,
    }
}

/// Moves or deletes a sidecar after its recording, if no other recording of its base name is left in the folder, and only if it is still
/// the file that was read. If that fails, the sidecar stays and the log says so. Blocking; lists the folder.
pub(super) fn put_away(
    context: &Context,
    fate: &FileFate,
    root: &Path,
    below: &Path,
    job: Uuid,
    sidecar: &Sidecar,
) {
    let path = path_of(below);
    let outcome = match is_needed(context, root, below) {
        Ok(true) => return,
        Ok(false) => {
            let heard = HeardFile {
                job,
                identity: sidecar.identity,
                sha256: sidecar.sha256.clone(),
                was_missed: false,
            };
            carry_out(fate, root, &path, &heard).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(PutAway::Gone { .. } | PutAway::Absent | PutAway::Stays) => {}
        Err(error) => {
            warn!(%job, source = context.source(), path = %root.join(&path).display(), error, "a sidecar stays behind its recordings; move it by hand");
        }
    }
}

/// Whether a recording of the base name is left in the folder.
fn is_needed(context: &Context, root: &Path, below: &Path) -> io::Result<bool> {
    let parent = below.parent().unwrap_or(Path::new(""));
    let folder = Folder::open(root)?.below(parent)?;
    for entry in folder.entries()? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let of_the_same_base = Path::new(name).file_stem() == below.file_stem();
        if of_the_same_base
            && context.file_filter.wants(&root.join(parent).join(name))
            && folder.entry(name).status().is_ok_and(|status| kind(&status).is_file())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::ledger::Ledger;
    use crate::telemetry::metrics::Metrics;

    fn recording_metadata(files: &[(&str, &[u8])], pattern: &str) -> RecordingMetadata {
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("calls");
        std::fs::create_dir(&root).unwrap();
        for (name, bytes) in files {
            std::fs::write(root.join(name), bytes).unwrap();
        }
        let config = format!("name = \"calls\"\npath = {root:?}\nmetadata_from_name = {pattern:?}");
        let ledger = Ledger::open(&disk.path().join("state")).unwrap();
        let context = Context::new(toml::from_str(&config).unwrap(), ledger, Metrics::new(), 0.0).unwrap();
        read(&context, Path::new("out-71222-002-20241105-091730-1730780250.107.wav"))
    }

    const SIDECAR: &str = "out-71222-002-20241105-091730-1730780250.107.json";

    #[test]
    fn a_recording_whose_name_leaves_no_room_for_a_sidecars_has_none() {
        let disk = tempfile::tempdir().unwrap();
        let longest = format!("{}.wav", "a".repeat(251));
        assert!(read_sidecar(disk.path(), Path::new(&longest), &Map::new()).unwrap().is_none());
    }

    #[test]
    fn the_sidecar_lies_over_the_name() {
        let sidecar = r#"{"extension": 2, "agent": {"name": "Bob"}}"#;
        let recording_metadata =
            recording_metadata(&[(SIDECAR, format!("\u{feff}{sidecar}").as_bytes())], "freepbx");
        assert_eq!(
            Value::from(recording_metadata.metadata),
            json!({"direction": "out", "external": "71222", "extension": 2, "datetime": "20241105-091730",
                   "uniqueid": "1730780250.107", "agent": {"name": "Bob"}})
        );
        assert!(recording_metadata.sidecar.is_some() && recording_metadata.warnings.is_empty());
    }

    #[test]
    fn a_sidecar_that_cannot_be_used_is_left_out_whole_and_said() {
        let deep = br#"{"a": {"b": {"c": {"d": 1}}}}"#;
        assert!(recording_metadata(&[(SIDECAR, deep)], "").warnings.is_empty());
        let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(metadata::LARGEST - 9));
        assert!(recording_metadata(&[(SIDECAR, large.as_bytes())], "").warnings.is_empty());
        for (bytes, pattern, expected) in [
            (&b"{\"secret\": "[..], "", "line 1, column 11"),
            (b"[1]", "", "no JSON object"),
            (b"", "", "no JSON"),
            (br#"{"a": {"b": {"c": {"d": []}}}}"#, "", "deeper than 4 levels"),
            (br#"{"a": [[[{}]]]}"#, "", "deeper than 4 levels"),
            (format!("{large} ").as_bytes(), "", "more than 32 KiB"),
            (large.as_bytes(), "freepbx", "with what the name tells, it has more than 32 KiB"),
        ] {
            let recording_metadata = recording_metadata(&[(SIDECAR, bytes)], pattern);
            let [Warning { code, message }] = &recording_metadata.warnings[..] else {
                panic!("{expected}: {recording_metadata:?}")
            };
            assert_eq!(code, "SidecarUnreadable");
            assert!(message.contains(expected) && !message.contains("secret"), "{message}");
            assert_eq!(
                (recording_metadata.metadata.len(), recording_metadata.sidecar.is_some()),
                (if pattern.is_empty() { 0 } else { 5 }, false)
            );
        }
        let recording_metadata = recording_metadata(&[], "");
        assert!(
            recording_metadata.metadata.is_empty()
                && recording_metadata.warnings.is_empty()
                && recording_metadata.sidecar.is_none()
        );
    }
}
