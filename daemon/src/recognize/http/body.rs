//! Request bodies that are read from disk while they are sent, and that are never completed if the bytes are not the ones that were hashed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use hark_sdk::event::{Blame, Fault};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::hex::hex;
use crate::job::audio::{self, CHANGED, Unopened};
use crate::job::{Job, fault};
use crate::recognize::Clearance;
use crate::recognize::error::{Error, When};

/// Bytes read at once; a multiple of three, so that base64 needs no padding before the end. Ten seconds of speech are read at once: each
/// read costs a change of threads.
const CHUNK: usize = 384 * 1024;

/// With the processor's vector instructions: without them, encoding takes as long as hashing.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

/// A recording's bytes on this machine, and the hash that proves that they are unchanged.
#[derive(Debug, Clone)]
pub struct Content {
    file: Arc<File>,
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

    /// The bytes of a piece that the daemon has made: no other program can change them.
    ///
    /// # Errors
    /// When the file's size cannot be read.
    pub fn of_piece(file: File) -> io::Result<Content> {
        let bytes = file.metadata()?.len();
        Ok(Content { file: Arc::new(file), bytes, sha256: None })
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
        Ok(Content { file: Arc::new(file), bytes, sha256: job.recording.sha256.clone() })
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A body of a known length.
pub(crate) struct Outgoing {
    pub(crate) body: reqwest::Body,
    pub(crate) departure: Departure,
}

impl Outgoing {
    /// A body that is in memory.
    pub(crate) fn bytes(bytes: Vec<u8>, clearance: Option<Arc<dyn Clearance>>) -> Outgoing {
        let length = bytes.len() as u64;
        Outgoing::new(length, clearance, |_| once(bytes))
    }

    /// `before`, the content as base64, `after`. `after` is sent only once the content has proved to be unchanged.
    pub(crate) fn base64(
        before: String,
        content: Content,
        after: String,
        clearance: Option<Arc<dyn Clearance>>,
    ) -> Outgoing {
        let length = before.len() as u64 + content.bytes.div_ceil(3) * 4 + after.len() as u64;
        Outgoing::new(length, clearance, |progress| {
            once(before.into_bytes()).chain(read(content, true, progress)).chain(once(after.into_bytes()))
        })
    }

    /// The content as it is. Its last part is sent only once the content has proved to be unchanged.
    pub(crate) fn raw(content: Content, clearance: Option<Arc<dyn Clearance>>) -> Outgoing {
        Outgoing::new(content.bytes, clearance, |progress| read(content, false, progress))
    }

    fn new<S>(
        length: u64,
        clearance: Option<Arc<dyn Clearance>>,
        parts: impl FnOnce(watch::Sender<Progress>) -> S,
    ) -> Outgoing
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let (sender, progress) = watch::channel(Progress::default());
        let passed = parts(sender.clone()).and_then(move |part| {
            let sent = sender.borrow().sent + part.len() as u64;
            let (sender, clearance) = (sender.clone(), clearance.clone().filter(|_| sent == length));
            async move {
                if let Some(clearance) = clearance
                    && !clearance.is_given().await
                {
                    let error = Error::not_sent("another daemon may own the job by now");
                    // The service is not away: its queue goes on.
                    let error = Error { when: When::PASSED, ..error };
                    sender.send_modify(|progress| progress.cut_off = Some(error));
                    return Err(io::Error::other("the request was not cleared"));
                }
                sender.send_modify(|progress| progress.sent = sent);
                Ok(part)
            }
        });
        Outgoing { body: reqwest::Body::wrap_stream(passed), departure: Departure { progress, length } }
    }
}

#[derive(Debug, Default)]
struct Progress {
    /// Bytes that were passed to the connection.
    sent: u64,
    /// Why the daemon cut the body off.
    cut_off: Option<Error>,
}

/// Reports how much of a body was sent.
#[derive(Debug)]
pub(crate) struct Departure {
    progress: watch::Receiver<Progress>,
    length: u64,
}

impl Departure {
    /// The length of the whole body.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that were passed to the connection.
    pub(crate) fn sent(&self) -> u64 {
        self.progress.borrow().sent
    }

    /// Why the daemon cut the body off, if it did.
    pub(crate) fn cut_off(&self) -> Option<Error> {
        self.progress.borrow().cut_off.clone()
    }

    /// Waits until more of the body was sent; false: nothing more will be sent.
    pub(crate) async fn moved(&mut self) -> bool {
        self.progress.changed().await.is_ok()
    }
}

fn once(bytes: Vec<u8>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::iter([Ok(Bytes::from(bytes))])
}

/// Reads a recording on blocking threads, one chunk a call, so that a slow network holds no thread.
fn read(
    content: Content,
    encode: bool,
    progress: watch::Sender<Progress>,
) -> impl Stream<Item = io::Result<Bytes>> {
    let reader = Reader { content, encode, hasher: Sha256::new(), offset: 0 };
    stream::try_unfold(Some(reader), move |reader| {
        let progress = progress.clone();
        async move {
            let Some(mut reader) = reader else { return Ok(None) };
            let read = tokio::task::spawn_blocking(move || reader.next().map(|chunk| (reader, chunk))).await;
            match read.map_err(io::Error::other)? {
                Ok((reader, chunk)) => Ok(Some((chunk, Some(reader).filter(|reader| !reader.is_done())))),
                Err(fault) => {
                    let message = fault.code.clone();
                    progress.send_modify(|progress| progress.cut_off = Some(Error::give_up(fault)));
                    Err(io::Error::other(message))
                }
            }
        }
    })
}

struct Reader {
    content: Content,
    encode: bool,
    hasher: Sha256,
    offset: u64,
}

impl Reader {
    fn is_done(&self) -> bool {
        self.offset == self.content.bytes
    }

    fn next(&mut self) -> Result<Bytes, Fault> {
        let wanted = (self.content.bytes - self.offset).min(CHUNK as u64);
        // At most a chunk: the cast does not truncate.
        let mut chunk = Vec::with_capacity(wanted as usize);
        while chunk.len() < chunk.capacity() {
            let at = self.offset + chunk.len() as u64;
            match pread(&self.content.file, spare_capacity(&mut chunk), at) {
                Ok(0) => return Err(changed()),
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(error) => return Err(unreadable(&error.into())),
            }
        }
        self.hasher.update(&chunk);
        self.offset += wanted;
        if self.is_done() {
            self.verify()?;
        }
        Ok(if self.encode { BASE64.encode(chunk).into() } else { chunk.into() })
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

fn unreadable(error: &io::Error) -> Fault {
    fault("RecordingUnreadable", Blame::Hark, format!("reading the recording: {error}"))
}

fn changed() -> Fault {
    let message = "the recording changed after it was taken in; its new content is a new recording";
    fault(CHANGED, Blame::Audio, message.into())
}
