//! `harkd plugin-host`: the process that a plugin runs in.
//!
//! It takes its limits and its sandbox, opens the library, and answers one event after the other until the daemon closes the socket. It is
//! as simple as it can be: the daemon checks everything that it hears from here once more.

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

/// Characters of a log line that are kept.
const LONGEST_LINE: usize = 1024;
/// Where the socket is put: not at descriptor 3, where a library with wrong ideas would find it first.
const SOCKET: i32 = 100;

/// Runs until the daemon closes the socket.
///
/// # Errors
/// When the daemon did not start this process, or is gone.
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
        return Err(io::Error::other("the first frame says what to load"));
    };
    // For the whole life of the process: a plugin may keep a pointer to it longer than it may.
    let ears: &'static Ears = Box::leak(Box::new(Ears::new(socket)));
    let (mut instance, description) = match load(request, ears) {
        Ok(loaded) => loaded,
        Err(error) => return ears.send(&FromChild::NotLoaded { error }),
    };
    let transform = description.transform;
    ears.send(&FromChild::Loaded(description))?;
    while wire::read_frame(&mut reader, &mut buffer)? {
        let ToChild::Event { kind, body } = serde_json::from_slice(&buffer)? else {
            return Err(io::Error::other("a process loads one plugin in its life"));
        };
        // An event that this cannot read has nothing to replace; the plugin may have its own opinion of it.
        let parse = || Event::parse(&kind.parse().ok()?, body.get().as_bytes()).ok();
        ears.begin(if transform { parse() } else { None });
        let result = instance.on_event(&kind, body.get());
        ears.send(&FromChild::Answer(ears.end(result)))?;
    }
    instance.destroy();
    Ok(())
}

fn load(request: Load, ears: &'static Ears) -> Result<(Instance, Description), String> {
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
    ears.call().name = name;
    match library.create(&config, ears) {
        Some(instance) => Ok((instance, description)),
        None => {
            let why = ears.call().error.take().unwrap_or_else(|| "it did not say why".to_owned());
            Err(format!("library {}: create refused: {why}", path.display()))
        }
    }
}

/// Hears what the plugin says, from whichever thread.
struct Ears {
    socket: Mutex<UnixStream>,
    call: Mutex<Call>,
}

/// What was said during the call that is running.
#[derive(Default)]
struct Call {
    name: String,
    running: bool,
    /// The event, in a transform.
    replaceable: Option<Event>,
    said: Vec<Said>,
    allowance: Allowance,
    replaced: Option<Box<RawValue>>,
    replace_refused: bool,
    refused: Vec<String>,
    refused_count: u64,
    error: Option<String>,
}

impl Ears {
    fn new(socket: UnixStream) -> Self {
        Ears { socket: Mutex::new(socket), call: Mutex::default() }
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
        let well = result == Outcome::Ok;
        Answer {
            result,
            error: call.error.take().filter(|_| !well),
            // A call that did not end well said nothing that counts.
            said: std::mem::take(&mut call.said).into_iter().filter(|_| well).collect(),
            replaced: call.replaced.take().filter(|_| well),
            replace_refused: call.replace_refused,
            refused: std::mem::take(&mut call.refused),
            refused_count: call.refused_count,
        }
    }
}

impl Call {
    fn hear(&mut self, bytes: usize, said: Result<(Body, Said), Rubbish>) -> bool {
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

impl Listener for Ears {
    fn emit(&self, kind: &[u8], json: &[u8]) -> bool {
        let mut call = self.call();
        let kind = line(kind);
        let read = emission::emitted(&call.name, &kind, json)
            .and_then(|body| Ok((body, Said::Emit { json: raw(&kind, json)?, kind })));
        call.hear(json.len(), read)
    }

    fn annotate(&self, name: &[u8], json: &[u8]) -> bool {
        let mut call = self.call();
        let name = line(name);
        let read = emission::annotated(&call.name, &name, json)
            .and_then(|body| Ok((body, Said::Annotate { json: raw(&name, json)?, name })));
        call.hear(json.len(), read)
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
        // Nobody listens any more: then the process ends anyway.
        let _ = self.send(&FromChild::Log { level, line });
    }
}

fn raw(what: &str, json: &[u8]) -> Result<Box<RawValue>, Rubbish> {
    let shape = |error| Rubbish::Shape { what: what.to_owned(), error };
    serde_json::from_slice::<&RawValue>(json).map(ToOwned::to_owned).map_err(shape)
}

/// Not longer than a line. The daemon makes it readable, as it does with whatever it hears from here.
fn line(text: &[u8]) -> String {
    let text = &text[..text.len().min(4 * LONGEST_LINE)];
    String::from_utf8_lossy(text).chars().take(LONGEST_LINE).collect()
}
