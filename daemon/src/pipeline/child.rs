//! `harkd plugin-host`: the process that a plugin runs in.
//!
//! The process applies its limits and its sandbox, opens the library, and answers one event after the other until the daemon closes the
//! socket. Its checks need not be complete: the daemon checks everything that it receives from this process again.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hark_sdk::emission::File;
use hark_sdk::event::Event;
use serde_json::value::RawValue;

use super::library::{Instance, Library};
use super::recorder::Recorder;
use super::schema::ConfigSchema;
use super::verify::verify;
use super::wire::{self, Description, FromChild, Load, Refusal, ToChild};
use crate::config::REFUSED;
use crate::os::resource_use::resource_use;
use crate::os::{self, sandbox};

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
    let ToChild::<&RawValue>::Load(request) = serde_json::from_slice(&buffer)? else {
        return Err(io::Error::other("the first frame must be `load`"));
    };
    // Leaked: a plugin may wrongly keep a pointer to it beyond a call.
    let recorder: &'static Recorder = Box::leak(Box::new(Recorder::new(request.name.clone(), socket)));
    let (mut instance, description) = match load(request, recorder) {
        Ok(Loaded::Plugin(instance, description)) => (instance, description),
        Ok(Loaded::Schema(schema)) => return recorder.send(&FromChild::Schema(schema)),
        Err(error) => return recorder.send(&FromChild::NotLoaded(error)),
    };
    let transform = description.transform;
    recorder.send(&FromChild::Loaded(description))?;
    while wire::read_frame(&mut reader, &mut buffer)? {
        let (kind, body) = match serde_json::from_slice(&buffer)? {
            ToChild::<&RawValue>::Event { kind, body } => (kind, body),
            ToChild::Measure => {
                recorder.send(&FromChild::Measured(resource_use()?))?;
                continue;
            }
            ToChild::Load(_) => {
                return Err(io::Error::other("a second `load` frame; a process loads one plugin only"));
            }
        };
        // An event that cannot be parsed here has no text to replace; the plugin still gets it.
        let parse = || Event::parse(&kind.parse().ok()?, body.get().as_bytes()).ok();
        recorder.begin(kind.parse().ok(), if transform { parse() } else { None });
        let result = instance.on_event(&kind, body.get());
        let (files, answer) = recorder.end(result);
        for File { suffix, bytes } in files {
            recorder.send(&FromChild::File { suffix, base64: BASE64_STANDARD.encode(bytes) })?;
        }
        recorder.send(&FromChild::Answer(answer))?;
    }
    instance.destroy();
    Ok(())
}

/// What the process has loaded: a plugin, or only the schema of its config.
enum Loaded {
    Plugin(Instance, Description),
    Schema(Option<String>),
}

fn load(request: Load, recorder: &'static Recorder) -> Result<Loaded, Refusal> {
    let Load { library: path, sha256, config, hidden, writable, network, schema_only, .. } = request;
    let verified = verify(&path, &sha256)?;
    let missing = sandbox::confine_plugin(&sandbox::PluginRights { hidden, writable, network });
    let library = Library::open(&verified.bytes)?;
    drop(verified.bytes);
    let text = library.schema()?;
    let schema = text.as_deref().map(ConfigSchema::read).transpose()?;
    if schema_only {
        return Ok(Loaded::Schema(text));
    }
    if let Some(schema) = &schema {
        let config =
            serde_json::from_str(&config).map_err(|error| format!("[plugin.config] is not JSON: {error}"))?;
        refuse(schema.mistakes(&config))?;
    }
    let description = Description {
        version: library.version(),
        sha256: verified.sha256,
        wants: library.wants(),
        transform: library.is_transform(),
        schema: schema.is_some_and(|schema| schema.has_rules()),
        missing,
        warnings: Vec::new(),
    };
    match library.create(&config, recorder) {
        Some(instance) => {
            Ok(Loaded::Plugin(instance, Description { warnings: recorder.warnings(), ..description }))
        }
        None => {
            let mistakes = recorder.errors();
            let why = mistakes.first().map_or("it gave no reason", String::as_str);
            let error = format!("{REFUSED}{why}{}", and_more(&mistakes));
            // A single mistake needs no list: the message has it, together with the library's name.
            Err(Refusal { error, mistakes: if mistakes.len() > 1 { mistakes } else { Vec::new() } })
        }
    }
}

/// Refuses a config that does not fit the plugin's schema.
fn refuse(mistakes: Vec<String>) -> Result<(), Refusal> {
    let Some(first) = mistakes.first() else { return Ok(()) };
    let more = and_more(&mistakes);
    Err(Refusal {
        error: format!("[plugin.config] does not fit the plugin's schema: {first}{more}"),
        mistakes,
    })
}

fn and_more(mistakes: &[String]) -> String {
    match mistakes.len() {
        0 | 1 => String::new(),
        all => format!("; and {} more, which `harkd check` lists", all - 1),
    }
}
