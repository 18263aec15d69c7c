//! What is published: the bytes of a file, or a reference to an address.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use crate::cli::Exit;

/// The server counts headers towards `max_payload`; those of a submitted message are far smaller than this.
const ROOM_FOR_HEADERS: usize = 4096;

/// The largest `max_payload` that a server accepts.
const LARGEST_MESSAGE: u64 = 64 << 20;

/// One message, ready to go.
#[derive(Debug)]
pub struct Message {
    pub name: String,
    /// `Nats-Msg-Id`, new for each message: the stream discards a message that the client library sends again, and stores a file that is
    /// submitted again.
    pub id: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl Message {
    /// A message of a file's bytes, of standard input's bytes (`-`), or of an http(s) address.
    ///
    /// # Errors
    /// 64 when the audio cannot be read, or the address is of another kind.
    pub fn of(audio: &OsStr, meta: &[Meta]) -> Result<Message, Exit> {
        let id = Uuid::now_v7().to_string();
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        for Meta { header, value } in meta {
            headers.insert(header.as_str(), value.as_str());
        }
        let path = Path::new(audio);
        if let Some((scheme, _)) = audio.to_str().and_then(|text| text.split_once("://"))
            && !path.exists()
        {
            return Message::reference(&audio.to_string_lossy(), scheme, id, headers);
        }
        let (name, payload) = if audio == "-" {
            ("standard input".to_owned(), read_whole(std::io::stdin().lock(), "standard input")?)
        } else {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            // A header is one line.
            let name: String = name.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
            headers.insert("Hark-Name", name.as_str());
            if let Some(content_type) = content_type(path) {
                headers.insert("Content-Type", content_type);
            }
            (name, read_file(path)?)
        };
        Ok(Message { name, id, headers, payload: payload.into() })
    }

    /// A message that refers to an address: the service fetches it.
    fn reference(audio: &str, scheme: &str, id: String, mut headers: HeaderMap) -> Result<Message, Exit> {
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(Exit::Usage(format!(
                "{scheme}:// is no address that can be submitted; http and https are"
            )));
        }
        headers.insert("Content-Type", "application/json");
        let payload = Bytes::from(json!({ "url": audio }).to_string());
        let shown = audio.split(['?', '#']).next().unwrap_or_default().to_owned();
        Ok(Message { name: shown, id, headers, payload })
    }

    /// Whether the server takes a message of this size.
    ///
    /// # Errors
    /// 64; the error names the alternatives.
    pub fn fits(&self, max_payload: usize) -> Result<(), Exit> {
        let size = self.payload.len() + ROOM_FOR_HEADERS;
        if size <= max_payload {
            return Ok(());
        }
        Err(Exit::Usage(format!(
            "{} has {} bytes, and the NATS server takes messages of up to {max_payload} (its max_payload); put the file into a \
             watched folder, submit an address of it, or raise max_payload, up to 64 MB",
            self.name,
            self.payload.len()
        )))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Exit> {
    let audio = path.display();
    let reading = |error| Exit::Usage(format!("reading audio file {audio}: {error}"));
    let file = File::open(path).map_err(reading)?;
    if file.metadata().map_err(reading)?.is_dir() {
        return Err(Exit::Usage(format!("{audio} is a folder; name the files in it")));
    }
    read_whole(file, &format!("audio file {audio}"))
}

/// Reads everything, if a message can hold it; errors call it `audio`.
fn read_whole(from: impl Read, audio: &str) -> Result<Vec<u8>, Exit> {
    let mut payload = Vec::new();
    from.take(LARGEST_MESSAGE + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Exit::Usage(format!("reading {audio}: {error}")))?;
    match payload.len() as u64 {
        0 => Err(Exit::Usage(format!("{audio} is empty"))),
        size if size > LARGEST_MESSAGE => Err(Exit::Usage(format!(
            "{audio} has more than {} MB, and no NATS server takes larger messages; put it into a watched folder, or submit an address \
             of it",
            LARGEST_MESSAGE >> 20
        ))),
        _ => Ok(payload),
    }
}

/// Guessed from the name alone: the daemon looks at the bytes.
fn content_type(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "ogg" | "opus" => "audio/ogg",
        "m4a" | "mp4" => "audio/mp4",
        "aac" => "audio/aac",
        "aiff" | "aif" => "audio/aiff",
        "amr" => "audio/amr",
        "webm" => "audio/webm",
        "wma" => "audio/x-ms-wma",
        "mkv" => "audio/x-matroska",
        _ => return None,
    })
}

/// `agent_id=7`, which travels as `Hark-Meta-Agent-Id: 7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    header: String,
    value: String,
}

impl FromStr for Meta {
    type Err = String;

    fn from_str(text: &str) -> Result<Meta, String> {
        let (key, value) = text.split_once('=').ok_or("metadata is written key=value")?;
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if !key.split('_').all(is_word) {
            return Err(format!("{key:?} is no metadata key; it consists of a-z, 0-9 and single _"));
        }
        if value.chars().any(char::is_control) {
            return Err(format!("the value of {key} has line breaks or other control characters"));
        }
        let mut header = String::from("Hark-Meta");
        for word in key.split('_') {
            let (first, rest) = word.split_at(1);
            header.push('-');
            header.push_str(&first.to_ascii_uppercase());
            header.push_str(rest);
        }
        Ok(Meta { header, value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
        message.headers.get(name).map(|value| value.as_str())
    }

    #[test]
    fn metadata_becomes_a_header() {
        let meta: Meta = "agent_id=7".parse().unwrap();
        assert_eq!(meta, Meta { header: "Hark-Meta-Agent-Id".into(), value: "7".into() });
        for wrong in ["agent", "=7", "Agent=7", "agent id=7", "a__b=7", "a=1\n2"] {
            assert!(wrong.parse::<Meta>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_travels_as_its_bytes_with_its_name_and_type() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        std::fs::write(&path, b"RIFF").unwrap();
        let message = Message::of(path.as_os_str(), &["a=b".parse().unwrap()]).unwrap();
        assert_eq!(message.payload, b"RIFF".as_slice());
        assert_eq!(header(&message, "Hark-Name"), Some("call.wav"));
        assert_eq!(header(&message, "Content-Type"), Some("audio/wav"));
        assert_eq!(header(&message, "Hark-Meta-A"), Some("b"));
        assert_eq!(header(&message, "Nats-Msg-Id"), Some(message.id.as_str()));
    }

    #[test]
    fn a_name_that_is_no_text_is_a_name_and_the_case_of_a_scheme_does_not_matter() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsStr::from_bytes(b"caf\xe9.wav"));
        std::fs::write(&path, b"RIFF").unwrap();
        let message = Message::of(path.as_os_str(), &[]).unwrap();
        assert_eq!(header(&message, "Hark-Name"), Some("caf\u{fffd}.wav"));
        assert_eq!(header(&message, "Content-Type"), Some("audio/wav"));
        let message = Message::of(OsStr::new("HTTP://example.com/A.wav"), &[]).unwrap();
        assert_eq!(message.payload, br#"{"url":"HTTP://example.com/A.wav"}"#.as_slice());
    }

    #[test]
    fn an_address_travels_as_a_reference_and_is_shown_without_its_query() {
        let message = Message::of(OsStr::new("https://example.com/a.wav?signature=secret"), &[]).unwrap();
        assert_eq!(message.payload, br#"{"url":"https://example.com/a.wav?signature=secret"}"#.as_slice());
        assert_eq!(header(&message, "Content-Type"), Some("application/json"));
        assert_eq!(message.name, "https://example.com/a.wav");
        assert!(Message::of(OsStr::new("ftp://example.com/a.wav"), &[]).is_err());
    }

    #[test]
    fn a_file_that_the_server_would_refuse_is_refused_before() {
        let message = Message::of(OsStr::new("https://example.com/a.wav"), &[]).unwrap();
        assert!(message.fits(1 << 20).is_ok());
        let error = message.fits(100).unwrap_err().to_string();
        assert!(error.contains("max_payload") && error.contains("watched folder"), "{error}");
    }
}
