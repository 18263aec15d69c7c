//! `harkd plugin-host`: the process that a plugin runs in.
//!
//! The process applies its limits and its sandbox, opens the library, and answers one event after the other until the daemon closes the
//! socket. Its checks need not be complete: the daemon checks everything that it receives from this process again.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hark_sdk::Level;
use hark_sdk::emission::{self, Allowance, Rubbish};
use hark_sdk::event::{Body, Event};
use serde_json::value::RawValue;

use super::library::{Instance, Library, Listener};
use super::verify::verify;
use super::wire::{self, Answer, Description, FromChild, Load, MOST_REASONS, Outcome, Said, ToChild};
use crate::os::{self, sandbox};

/// Characters that a log line keeps.
const LONGEST_LINE: usize = 1024;
/// Descriptor number of the socket: not 3, the first number that a misbehaving library would try.
const SOCKET: i32 = 100;

/// Runs until the daemon closes the socket.
///
/// # Errors
/// When the daemon did not start this process, is gone, or sends an unexpected frame.
pub fn run() -> io::Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(os::enter(c"hark-plugin")?, SOCKET)?;
    std::env::set_current_dir("/")?;
    let socket = UnixStream::from(socket);
    let mut reader = BufReader::with_capacity(64 << 10, socket.try_clone()?);
    let mut buffer = Vec::new();
    if !wire::read_frame(&mut reader, &mut buffer)? {
        return Ok(());
    }
    let ToChild::Load(request) = serde_json::from_slice(&buffer)? else {
        return Err(io::Error::other("the first frame must be `load`"));
    };
    // Leaked: a plugin may wrongly keep a pointer to it beyond a call.
    let recorder: &'static Recorder = Box::leak(Box::new(Recorder::new(socket)));
    let (mut instance, description) = match load(request, recorder) {
        Ok(loaded) => loaded,
        Err(error) => return recorder.send(&FromChild::NotLoaded { error }),
    };
    let transform = description.transform;
    recorder.send(&FromChild::Loaded(description))?;
    while wire::read_frame(&mut reader, &mut buffer)? {
        let ToChild::Event { kind, body } = serde_json::from_slice(&buffer)? else {
            return Err(io::Error::other("a second `load` frame; a process loads one plugin only"));
        };
        // An event that cannot be parsed here has no text to replace; the plugin still gets it.
        let parse = || Event::parse(&kind.parse().ok()?, body.get().as_bytes()).ok();
        recorder.begin(if transform { parse() } else { None });
        let result = instance.on_event(&kind, body.get());
        recorder.send(&FromChild::Answer(recorder.end(result)))?;
    }
    instance.destroy();
    Ok(())
}

fn load(request: Load, recorder: &'static Recorder) -> Result<(Instance, Description), String> {
    let Load { name, library: path, sha256, config, hidden, writable, network } = request;
    let verified = verify(&path, &sha256).map_err(|refusal| refusal.to_string())?;
    let missing = sandbox::confine_plugin(&sandbox::PluginRights { hidden, writable, network });
    let library =
        Library::open(&verified.bytes).map_err(|error| format!("library {}: {error}", path.display()))?;
    drop(verified.bytes);
    let description = Description {
        version: library.version(),
        sha256: verified.sha256,
        wants: library.wants(),
        transform: library.is_transform(),
        missing,
    };
    recorder.call().name = name;
    match library.create(&config, recorder) {
        Some(instance) => Ok((instance, description)),
        None => {
            let why = recorder.call().error.take().unwrap_or_else(|| "it gave no reason".to_owned());
            Err(format!("library {}: create refused: {why}", path.display()))
        }
    }
}

/// Receives the plugin's calls of the host functions, on any thread.
struct Recorder {
    socket: Mutex<UnixStream>,
    call: Mutex<Call>,
}

/// State of the running call: what the plugin emitted, and what was refused.
#[derive(Default)]
struct Call {
    name: String,
    running: bool,
    /// The event, if the plugin is a transform.
    replaceable: Option<Event>,
    said: Vec<Said>,
    allowance: Allowance,
    replaced: Option<Box<RawValue>>,
    replace_refused: bool,
    refused: Vec<String>,
    refused_count: u64,
    error: Option<String>,
}

impl Recorder {
    fn new(socket: UnixStream) -> Self {
        Recorder { socket: Mutex::new(socket), call: Mutex::default() }
    }

    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &FromChild) -> io::Result<()> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        wire::write_frame(&mut *socket, message)?;
        socket.flush()
    }

    fn begin(&self, replaceable: Option<Event>) {
        let mut call = self.call();
        let name = std::mem::take(&mut call.name);
        *call = Call { name, running: true, replaceable, ..Call::default() };
    }

    fn end(&self, result: Outcome) -> Answer {
        let mut call = self.call();
        call.running = false;
        let succeeded = result == Outcome::Ok;
        Answer {
            result,
            error: call.error.take().filter(|_| !succeeded),
            // Emissions of a failed call are dropped.
            said: std::mem::take(&mut call.said).into_iter().filter(|_| succeeded).collect(),
            replaced: call.replaced.take().filter(|_| succeeded),
            replace_refused: call.replace_refused,
            refused: std::mem::take(&mut call.refused),
            refused_count: call.refused_count,
        }
    }
}

impl Call {
    fn record(&mut self, bytes: usize, said: Result<(Body, Said), Rubbish>) -> bool {
        let said = said.and_then(|(body, said)| match self.running {
            true => self.allowance.take(&body, bytes).map(|()| said),
            false => Err(Rubbish::TooMany),
        });
        match said {
            Ok(said) => {
                self.said.push(said);
                true
            }
            Err(rubbish) => self.refuse(&rubbish),
        }
    }

    fn refuse(&mut self, rubbish: &Rubbish) -> bool {
        self.refused_count += 1;
        if self.refused.len() < MOST_REASONS {
            self.refused.push(line(rubbish.to_string().as_bytes()));
        }
        false
    }
}

impl Listener for Recorder {
    fn emit(&self, kind: &[u8], json: &[u8]) -> bool {
        let mut call = self.call();
        let kind = line(kind);
        let read = emission::emitted(&call.name, &kind, json)
            .and_then(|body| Ok((body, Said::Emit { json: raw(&kind, json)?, kind })));
        call.record(json.len(), read)
    }

    fn annotate(&self, name: &[u8], json: &[u8]) -> bool {
        let mut call = self.call();
        let name = line(name);
        let read = emission::annotated(&call.name, &name, json)
            .and_then(|body| Ok((body, Said::Annotate { json: raw(&name, json)?, name })));
        call.record(json.len(), read)
    }

    fn replace(&self, json: &[u8]) -> bool {
        let mut call = self.call();
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
                call.replaced = Some(json);
                true
            }
            Err(rubbish) => call.refuse(&rubbish),
        }
    }

    fn log(&self, level: i32, text: &[u8]) {
        let line = line(text);
        if level == Level::Error as i32 {
            self.call().error = Some(line.clone());
        }
        // If the daemon has closed the socket, this process is about to end anyway.
        let _ = self.send(&FromChild::Log { level, line });
    }
}

fn raw(what: &str, json: &[u8]) -> Result<Box<RawValue>, Rubbish> {
    let shape = |error| Rubbish::Shape { what: what.to_owned(), error };
    serde_json::from_slice::<&RawValue>(json).map(ToOwned::to_owned).map_err(shape)
}

/// Text of at most [`LONGEST_LINE`] characters. The daemon escapes control characters, as in everything that it receives from this process.
fn line(text: &[u8]) -> String {
    let text = &text[..text.len().min(4 * LONGEST_LINE)];
    String::from_utf8_lossy(text).chars().take(LONGEST_LINE).collect()
}
