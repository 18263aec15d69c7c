//! Receives what a plugin calls the host functions with, on any thread, and makes the answer to the running event from it.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use hark_sdk::emission::{self, Allowance, File, Rubbish};
use hark_sdk::event::{Body, Event, Kind};
use hark_sdk::{Level, abi};
use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::wire::{self, Answer, Emitted, FromChild, Outcome};

/// Characters that a log line keeps.
const LONGEST_LINE: usize = 1024;
/// Number of mistakes, and of warnings, of `create` that are kept.
const MOST_LINES: usize = 64;
/// Number of refusals whose reasons are reported; further refusals are only counted.
const MOST_REASONS: usize = 4;

/// The host functions of one plugin, and the socket to the daemon.
pub struct Recorder {
    plugin: String,
    socket: Mutex<UnixStream>,
    call: Mutex<Call>,
}

/// The call in progress, and what the plugin emitted in it. Between two calls it collects the lines that the plugin logs.
#[derive(Default)]
struct Call {
    running: bool,
    kind: Option<Kind>,
    /// The event, if the plugin is a transform.
    replaceable: Option<Event>,
    files: Vec<File>,
    allowance: Allowance,
    answer: Answer,
    refusals: u64,
    reasons: Vec<String>,
    replace_refused: bool,
    /// The last line that the plugin logged as an error.
    error: Option<String>,
    /// What the plugin logged as errors, outside of a call.
    errors: Vec<String>,
    /// What the plugin logged as warnings, outside of a call.
    warnings: Vec<String>,
}

impl Recorder {
    /// `plugin` is its configured name.
    pub fn new(plugin: String, socket: UnixStream) -> Self {
        Recorder { plugin, socket: Mutex::new(socket), call: Mutex::default() }
    }

    /// Sends a message to the daemon.
    ///
    /// # Errors
    /// When the message is too long, or the daemon has closed the socket.
    pub fn send(&self, message: &FromChild) -> io::Result<()> {
        self.socket.lock().write_all(&wire::frame(message)?)
    }

    /// A call begins with an event of this kind; `replaceable` is the event if the plugin may replace the text.
    pub fn begin(&self, kind: Option<Kind>, replaceable: Option<Event>) {
        *self.call.lock() = Call { running: true, kind, replaceable, ..Call::default() };
    }

    /// The call has returned `result`; every value other than the results that the ABI defines counts as `HARK_FAILED`. Returns the files
    /// that the plugin handed over, and the answer.
    pub fn end(&self, result: i32) -> (Vec<File>, Answer) {
        let mut call = std::mem::take(&mut *self.call.lock());
        call.answer.refused = (call.refusals > 0)
            .then(|| format!("{} of its emissions were refused: {}", call.refusals, call.reasons.join("; ")));
        let refused = call.answer.refused.clone();
        let why = || call.error.or(refused).unwrap_or_else(|| "it gave no reason".to_owned());
        call.answer.outcome = match result {
            // The replacement may be meant to hide something, so the event counts as failed.
            abi::OK if call.replace_refused => Outcome::Error(why()),
            abi::OK => Outcome::Ok,
            abi::ERROR => Outcome::Error(why()),
            _ => Outcome::Failed(why()),
        };
        match call.answer.outcome {
            Outcome::Ok => (call.files, call.answer),
            _ => (Vec::new(), call.answer),
        }
    }

    /// What the plugin logged as errors in `create`; the first of them.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.call.lock().errors)
    }

    /// What the plugin logged as warnings in `create`; the first of them.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.call.lock().warnings)
    }

    /// `emit`; false: refused.
    pub fn emit(&self, kind: &[u8], json: &[u8]) -> bool {
        let kind = line(kind);
        let body = emission::emitted(&self.plugin, &kind, json);
        self.call.lock().take(body, json.len(), || Ok(Emitted::Emit { json: raw(&kind, json)?, kind }))
    }

    /// `annotate`; false: refused.
    pub fn annotate(&self, name: &[u8], json: &[u8]) -> bool {
        let name = line(name);
        let body = emission::annotated(&self.plugin, &name, json);
        self.call.lock().take(body, json.len(), || Ok(Emitted::Annotate { json: raw(&name, json)?, name }))
    }

    /// `replace`; false: refused.
    pub fn replace(&self, json: &[u8]) -> bool {
        let mut call = self.call.lock();
        let replaced = match call.replaceable.as_ref().filter(|_| call.running) {
            None => Err(Rubbish::NoTransform),
            Some(_) if json.len() > emission::MOST_BYTES => Err(Rubbish::TooLarge {
                what: "replace".into(),
                bytes: json.len(),
                most: emission::MOST_BYTES,
            }),
            Some(event) => emission::replaced(event, json).and_then(|_| raw("replace", json)),
        };
        call.replace_refused = replaced.is_err();
        match replaced {
            Ok(json) => {
                call.answer.replaced = Some(json);
                true
            }
            Err(rubbish) => call.refuse(&rubbish),
        }
    }

    /// `file`; false: refused.
    pub fn file(&self, suffix: &[u8], bytes: &[u8]) -> bool {
        let mut call = self.call.lock();
        let Some(kind) = call.kind.clone().filter(|_| call.running) else { return false };
        match emission::add_file(&mut call.files, &kind, &line(suffix), bytes.to_vec()) {
            Ok(()) => true,
            Err(rubbish) => call.refuse(&rubbish),
        }
    }

    /// `log`.
    pub fn log(&self, level: i32, text: &[u8]) {
        let line = line(text);
        let mut call = self.call.lock();
        if level == Level::Error as i32 {
            if !call.running && call.errors.len() < MOST_LINES {
                call.errors.push(line.clone());
            }
            call.error = Some(line.clone());
        }
        if level == Level::Warn as i32 && !call.running && call.warnings.len() < MOST_LINES {
            call.warnings.push(line.clone());
        }
        drop(call);
        // If the daemon has closed the socket, this process is about to end anyway.
        let _ = self.send(&FromChild::Log { level, line });
    }
}

impl Call {
    fn take(
        &mut self,
        body: Result<Body, Rubbish>,
        bytes: usize,
        said: impl FnOnce() -> Result<Emitted, Rubbish>,
    ) -> bool {
        let taken = body.and_then(|body| match self.running {
            true => self.allowance.take(&body, bytes).and_then(|()| said()),
            false => Err(Rubbish::TooMany),
        });
        match taken {
            Ok(said) => {
                self.answer.said.push(said);
                true
            }
            Err(rubbish) => self.refuse(&rubbish),
        }
    }

    fn refuse(&mut self, rubbish: &Rubbish) -> bool {
        self.refusals += 1;
        if self.reasons.len() < MOST_REASONS {
            self.reasons.push(line(rubbish.to_string().as_bytes()));
        }
        false
    }
}

fn raw(what: &str, json: &[u8]) -> Result<Box<RawValue>, Rubbish> {
    serde_json::from_slice(json).map_err(|error| Rubbish::Shape { what: what.to_owned(), error })
}

/// Text of at most [`LONGEST_LINE`] characters. The daemon escapes control characters, as in everything that it receives from this process.
fn line(text: &[u8]) -> String {
    let text = &text[..text.len().min(4 * LONGEST_LINE)];
    String::from_utf8_lossy(text).chars().take(LONGEST_LINE).collect()
}
