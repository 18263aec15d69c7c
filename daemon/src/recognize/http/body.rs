//! Request bodies that are read from disk while they are sent, and that are never completed if the bytes are not the ones that were hashed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use hark_sdk::event::{Blame, Fault};
use http_body::{Frame, SizeHint};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::hex::hex;
use crate::job::Job;
use crate::job::audio::{self, CHANGED, Unopened};
use crate::recognize::error::{Error, fault};
use crate::recognize::limits::encoded_length;

/// Bytes read at once; a multiple of three, so that base64 needs no padding before the end.
const CHUNK: usize = 192 * 1024;

/// A recording's bytes on this machine, and the hash that proves that they are unchanged.
#[derive(Debug)]
pub struct Content {
    file: File,
    bytes: u64,
    sha256: Option<String>,
}

impl Content {
    /// The bytes of a job. Does not read them yet.
    ///
    /// # Errors
    /// See [`Unopened`].
    pub fn of(job: &Job, state_directory: &Path) -> Result<Content, Unopened> {
        Content::from_open(job, audio::open(job, state_directory)?)
    }

    /// The bytes of a job whose recording is open already.
    ///
    /// # Errors
    /// See [`Unopened`].
    pub fn from_open(job: &Job, file: File) -> Result<Content, Unopened> {
        let bytes = file.metadata().map_err(|error| unreadable(&error))?.len();
        if job.recording.bytes.is_some_and(|expected| expected != bytes) {
            return Err(Unopened::Missing(changed()));
        }
        Ok(Content { file, bytes, sha256: job.recording.sha256.clone() })
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Reports how much of a body was sent.
#[derive(Debug)]
pub(crate) struct Departure {
    sent: watch::Receiver<u64>,
    length: u64,
    fault: Arc<OnceLock<Fault>>,
}

impl Departure {
    /// Bytes that were passed to the connection.
    pub(crate) fn sent(&self) -> u64 {
        *self.sent.borrow()
    }

    /// Whether the service may have the whole request.
    pub(crate) fn is_whole(&self) -> bool {
        self.sent() >= self.length
    }

    /// Why the daemon cut the body off, if it did.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.fault.get().cloned().map(Error::give_up)
    }

    /// Waits until more of the body was sent; false: nothing more will be sent.
    pub(crate) async fn moved(&mut self) -> bool {
        self.sent.changed().await.is_ok()
    }
}

/// A body of a known length.
pub(crate) struct Outgoing {
    stream: Mutex<BoxStream<'static, io::Result<Bytes>>>,
    length: u64,
    sent: watch::Sender<u64>,
}

impl Outgoing {
    /// A body that is in memory.
    pub(crate) fn bytes(bytes: Vec<u8>) -> (Outgoing, Departure) {
        let length = bytes.len() as u64;
        Outgoing::new(stream::iter([Ok(Bytes::from(bytes))]).boxed(), length, Arc::default())
    }

    /// `before`, the content as base64, `after`. The last part is sent only once the content has proved to be unchanged.
    pub(crate) fn base64(before: String, content: Content, after: String) -> (Outgoing, Departure) {
        let length = before.len() as u64 + encoded_length(content.bytes) + after.len() as u64;
        Outgoing::read(Reader { encode: true, ..Reader::new(before, content, after) }, length)
    }

    /// The content as it is. The last part is sent only once the content has proved to be unchanged.
    pub(crate) fn raw(content: Content) -> (Outgoing, Departure) {
        let length = content.bytes;
        Outgoing::read(Reader::new(String::new(), content, String::new()), length)
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    fn remaining(&self) -> u64 {
        self.length.saturating_sub(*self.sent.borrow())
    }

    fn read(reader: Reader, length: u64) -> (Outgoing, Departure) {
        let fault = Arc::new(OnceLock::new());
        let told = Arc::clone(&fault);
        let stream = stream::try_unfold(Some(reader), move |reader| {
            let told = Arc::clone(&told);
            async move {
                let Some(mut reader) = reader else { return Ok(None) };
                let read =
                    tokio::task::spawn_blocking(move || reader.next().map(|chunk| (reader, chunk))).await;
                match read.map_err(io::Error::other)? {
                    Ok((reader, chunk)) => {
                        let rest = (!reader.done).then_some(reader);
                        Ok(Some((chunk, rest)))
                    }
                    Err(fault) => {
                        let message = fault.code.clone();
                        // The stream ends at its first fault, so a fault is never set twice.
                        let _ = told.set(fault);
                        Err(io::Error::other(message))
                    }
                }
            }
        });
        Outgoing::new(stream.boxed(), length, fault)
    }

    fn new(
        stream: BoxStream<'static, io::Result<Bytes>>,
        length: u64,
        fault: Arc<OnceLock<Fault>>,
    ) -> (Outgoing, Departure) {
        let (sender, sent) = watch::channel(0);
        let outgoing = Outgoing { stream: Mutex::new(stream), length, sent: sender };
        (outgoing, Departure { sent, length, fault })
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let stream = self.stream.get_mut().map_err(|_| io::Error::other("a reader of this body panicked"))?;
        let chunk = std::task::ready!(Pin::new(stream).poll_next(context));
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk?;
            self.sent.send_modify(|sent| *sent += chunk.len() as u64);
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

/// Reads on a blocking thread, one chunk a call, so that a slow network holds no thread.
struct Reader {
    content: Content,
    before: String,
    after: String,
    encode: bool,
    hasher: Sha256,
    offset: u64,
    done: bool,
}

impl Reader {
    fn new(before: String, content: Content, after: String) -> Self {
        Reader { content, before, after, encode: false, hasher: Sha256::new(), offset: 0, done: false }
    }

    fn next(&mut self) -> Result<Bytes, Fault> {
        let wanted = (self.content.bytes - self.offset).min(CHUNK as u64);
        // At most a chunk: the cast does not truncate.
        let mut read = vec![0; wanted as usize];
        self.content.file.read_exact_at(&mut read, self.offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => unreadable(&error),
        })?;
        self.hasher.update(&read);
        self.offset += wanted;
        self.done = self.offset == self.content.bytes;
        if !self.encode {
            if self.done {
                self.verify()?;
            }
            return Ok(Bytes::from(read));
        }
        let mut chunk = std::mem::take(&mut self.before).into_bytes();
        append_base64(&read, &mut chunk, self.after.len());
        if self.done {
            self.verify()?;
            chunk.extend(self.after.as_bytes());
        }
        Ok(Bytes::from(chunk))
    }

    /// Checks that the bytes read are the ones that were hashed, and all of them: a file that has grown since is another recording.
    fn verify(&mut self) -> Result<(), Fault> {
        if self.content.file.metadata().map_err(|error| unreadable(&error))?.len() != self.content.bytes {
            return Err(changed());
        }
        let hash = hex(&std::mem::take(&mut self.hasher).finalize());
        match &self.content.sha256 {
            Some(expected) if !expected.eq_ignore_ascii_case(&hash) => Err(changed()),
            _ => Ok(()),
        }
    }
}

/// Appends in one piece, with capacity for `more` bytes behind it; a String would grow in steps, and check for UTF-8 what is ASCII anyway.
fn append_base64(bytes: &[u8], text: &mut Vec<u8>, more: usize) {
    let begin = text.len();
    // At most a chunk: the cast does not truncate.
    let length = encoded_length(bytes.len() as u64) as usize;
    text.reserve_exact(length + more);
    text.resize(begin + length, 0);
    // The space is the length of the base64. If it were too small, the body would be too short and the request would fail.
    let written = STANDARD.encode_slice(bytes, &mut text[begin..]).unwrap_or(0);
    text.truncate(begin + written);
}

fn unreadable(error: &io::Error) -> Fault {
    fault("RecordingUnreadable", Blame::Hark, format!("reading the recording: {error}"))
}

fn changed() -> Fault {
    let message = "the recording changed after it was taken in; its new content is a new recording";
    fault(CHANGED, Blame::Audio, message.into())
}
