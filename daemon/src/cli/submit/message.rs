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

use crate::broker::JetStream;
use crate::cli::Exit;
use crate::config::{Nats, NatsSource, UPLOADS};

/// The server counts headers towards `max_payload`; those of a submitted message are far smaller than this.
const ROOM_FOR_HEADERS: u64 = 4096;

/// The most that the daemon fetches of an object.
const LARGEST_UPLOAD: u64 = 2 << 30;

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
    pub payload: Payload,
}

/// The audio, or a reference to it.
#[derive(Debug)]
pub enum Payload {
    Bytes(Bytes),
    /// A file that no message can hold, with its size.
    File(File, u64),
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
            let audio = read_whole(std::io::stdin().lock(), "standard input")?;
            ("standard input".to_owned(), Payload::Bytes(audio.into()))
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
        Ok(Message { name, id, headers, payload })
    }

    /// A message that refers to an address: the service fetches it.
    fn reference(audio: &str, scheme: &str, id: String, mut headers: HeaderMap) -> Result<Message, Exit> {
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(Exit::Usage(format!(
                "{scheme}:// is no address that can be submitted; http and https are"
            )));
        }
        headers.insert("Content-Type", "application/json");
        let payload = Payload::Bytes(json!({ "url": audio }).to_string().into());
        let shown = audio.split(['?', '#']).next().unwrap_or_default().to_owned();
        Ok(Message { name: shown, id, headers, payload })
    }

    /// Whether the server takes a message of this size.
    pub fn fits(&self, max_payload: usize) -> bool {
        self.size() + ROOM_FOR_HEADERS <= max_payload as u64
    }

    fn size(&self) -> u64 {
        match &self.payload {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File(_, size) => *size,
        }
    }

    /// Whether audio that no message can hold may go through the bucket of uploads.
    ///
    /// # Errors
    /// 64; the error names the alternatives.
    pub fn may_be_uploaded(&self, source: &NatsSource, max_payload: usize) -> Result<(), Exit> {
        let (name, size) = (&self.name, self.size());
        if size > LARGEST_UPLOAD {
            return Err(Exit::Usage(format!(
                "{name} has {size} bytes, and the daemon takes {LARGEST_UPLOAD} at most; send it in parts"
            )));
        }
        if source.allow_buckets.iter().any(|bucket| bucket == UPLOADS) {
            return Ok(());
        }
        Err(Exit::Usage(format!(
            "{name} has {size} bytes, the NATS server takes messages of up to {max_payload} (its max_payload), and allow_buckets of source \
             {:?} does not have {UPLOADS}; add it there, put the file into a watched folder, or submit an address of it",
            source.name
        )))
    }

    /// The message that refers to its audio in the bucket of uploads, after it was put there.
    ///
    /// # Errors
    /// 69, when the server does not take it.
    pub async fn uploaded(mut self, jetstream: &JetStream, nats: &Nats) -> Result<Message, Exit> {
        let put = match self.payload {
            Payload::Bytes(bytes) => jetstream.upload(nats, &self.id, &mut &bytes[..]).await,
            Payload::File(file, _) => {
                jetstream.upload(nats, &self.id, &mut tokio::fs::File::from_std(file)).await
            }
        };
        let object = put.map_err(|error| Exit::Unavailable(format!("{}: {error}", self.name)))?;
        self.headers.insert("Content-Type", "application/json");
        self.payload = Payload::Bytes(json!({ "object": object }).to_string().into());
        Ok(self)
    }
}

fn read_file(path: &Path) -> Result<Payload, Exit> {
    let audio = path.display();
    let reading = |error| Exit::Usage(format!("reading audio file {audio}: {error}"));
    let file = File::open(path).map_err(reading)?;
    let found = file.metadata().map_err(reading)?;
    if found.is_dir() {
        return Err(Exit::Usage(format!("{audio} is a folder; name the files in it")));
    }
    if found.len() > LARGEST_MESSAGE {
        return Ok(Payload::File(file, found.len()));
    }
    Ok(Payload::Bytes(read_whole(file, &format!("audio file {audio}"))?.into()))
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
            "{audio} has more than {} MB, which no message holds; submit it as a file",
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
        "gsm" => "audio/gsm",
        "g729" => "audio/g729",
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

    fn bytes(message: &Message) -> &[u8] {
        match &message.payload {
            Payload::Bytes(bytes) => bytes,
            Payload::File(..) => panic!("it is no small file"),
        }
    }

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
        assert_eq!(bytes(&message), b"RIFF");
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
        assert_eq!(bytes(&message), br#"{"url":"HTTP://example.com/A.wav"}"#);
    }

    #[test]
    fn an_address_travels_as_a_reference_and_is_shown_without_its_query() {
        let message = Message::of(OsStr::new("https://example.com/a.wav?signature=secret"), &[]).unwrap();
        assert_eq!(bytes(&message), br#"{"url":"https://example.com/a.wav?signature=secret"}"#);
        assert_eq!(header(&message, "Content-Type"), Some("application/json"));
        assert_eq!(message.name, "https://example.com/a.wav");
        assert!(Message::of(OsStr::new("ftp://example.com/a.wav"), &[]).is_err());
    }

    #[test]
    fn what_no_message_holds_goes_through_the_bucket_where_the_source_allows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        let file = File::create(&path).unwrap();
        file.set_len(LARGEST_MESSAGE + 1).unwrap();
        let message = Message::of(path.as_os_str(), &[]).unwrap();
        assert!(matches!(message.payload, Payload::File(_, size) if size == LARGEST_MESSAGE + 1));
        assert!(!message.fits(64 << 20));
        let mut source = NatsSource { name: "inbox".into(), ..NatsSource::default() };
        message.may_be_uploaded(&source, 1 << 20).unwrap();
        source.allow_buckets.clear();
        let error = message.may_be_uploaded(&source, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("max_payload") && error.contains("allow_buckets"), "{error}");
        file.set_len(LARGEST_UPLOAD + 1).unwrap();
        let message = Message::of(path.as_os_str(), &[]).unwrap();
        assert!(message.may_be_uploaded(&NatsSource::default(), 1 << 20).is_err());
    }
}
