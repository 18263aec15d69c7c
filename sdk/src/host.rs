//! The daemon's functions that a plugin may call during a call of its own.
#![allow(unsafe_code, reason = "calls through the host's C functions")]

use std::ffi::c_char;
use std::marker::PhantomData;

use serde::Serialize;
use serde_json::json;

use crate::event::Alert;
use crate::{Error, abi};

/// The daemon's functions, valid during one call of the plugin. A `Host` cannot outlive the call or move to another thread; its methods
/// never block for long.
///
/// The daemon publishes what the plugin emitted only if the call returns `Ok`.
pub struct Host<'call> {
    raw: &'call abi::Host,
    // A raw pointer is neither Send nor Sync: so the compiler enforces the header's "on that call's thread".
    here: PhantomData<*const ()>,
}

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The operator has to act; the last line at this level is the reason of a failed call.
    Error = 1,
    /// The operator should look at it.
    Warn = 2,
    /// Information for the operator.
    Info = 3,
    /// For the plugin's author.
    Debug = 4,
    /// For the plugin's author, and the only level at which transcript text may be logged.
    Trace = 5,
}

impl Level {
    /// Converts a level of the ABI; a number that this version does not know becomes [`Level::Trace`].
    pub fn from_abi(level: i32) -> Level {
        match level {
            1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            _ => Level::Trace,
        }
    }
}

impl<'call> Host<'call> {
    /// Wraps the host that the daemon passes to a call.
    ///
    /// # Safety
    /// `raw` is a `hark_host` as the header describes it, valid on this thread for as long as `'call`.
    pub unsafe fn from_raw(raw: *const abi::Host) -> Host<'call> {
        // SAFETY: the caller guarantees it.
        Host { raw: unsafe { &*raw }, here: PhantomData }
    }

    /// Publishes data of the plugin as `plugin.<name>`, after the event of the current call.
    ///
    /// # Errors
    /// When the daemon refuses: more than 1 MiB of JSON, or for one event more than 20,000 emissions, or 8 MiB or 65,536 JSON values in all of
    /// them.
    pub fn emit(&self, data: &impl Serialize) -> Result<(), Error> {
        self.emit_as("plugin", data)
    }

    /// Raises an alert; `alert.raised`. The field `plugin` may be left empty: the daemon fills in the configured name.
    ///
    /// # Errors
    /// As for [`Host::emit`].
    pub fn alert(&self, alert: &Alert) -> Result<(), Error> {
        self.emit_as("alert.raised", alert)
    }

    /// Retracts an alert of this job that was raised with the same `alert`; `alert.retracted`.
    ///
    /// # Errors
    /// As for [`Host::emit`].
    pub fn retract(&self, alert: &Alert) -> Result<(), Error> {
        self.emit_as("alert.retracted", alert)
    }

    /// Annotates the transcript: `language` and `emotion` (an [`Annotation`](crate::event::Annotation)) become `annotation.…`, any other
    /// name becomes `plugin.<name>` with `data` `{name: value}`.
    ///
    /// # Errors
    /// As for [`Host::emit`].
    pub fn annotate(&self, name: &str, value: impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_vec(&value)?;
        // SAFETY: both texts outlive the call, and the host copies what it keeps.
        let result = unsafe {
            (self.raw.annotate)(self.raw.user, chars(name.as_bytes()), name.len(), chars(&json), json.len())
        };
        accepted(result, "annotate")
    }

    /// Replaces the text of a transcript, and the text of each segment, in order. Times, roles and all other fields stay. A partial has no
    /// segments; of a `transcript.segment` only the segments' texts count.
    ///
    /// # Errors
    /// When the plugin is not a transform, the event is no transcript, or the number of segments differs.
    pub fn replace(&self, text: &str, segments: &[String]) -> Result<(), Error> {
        let json = serde_json::to_vec(&json!({ "text": text, "segments": segments }))?;
        // SAFETY: the text outlives the call, and the host copies what it keeps.
        let result = unsafe { (self.raw.replace)(self.raw.user, chars(&json), json.len()) };
        accepted(result, "replace")
    }

    /// Writes a line to the daemon's log. Never transcript text above [`Level::Trace`].
    pub fn log(&self, level: Level, line: &str) {
        // SAFETY: the text outlives the call, and the host copies what it keeps.
        unsafe { (self.raw.log)(self.raw.user, level as i32, chars(line.as_bytes()), line.len()) }
    }

    /// Hands a file to the daemon, which writes it beside the recording as `<base><suffix>`, or into the folder `files` of the plugin's
    /// configuration, and publishes its path. Only for a `transcript.final`; the last file of a suffix counts.
    ///
    /// # Errors
    /// When the daemon is older than version 1.1 of the ABI, or refuses: the suffix begins with a dot and has at most 32 letters, digits,
    /// dots, `_` and `-`; a file has at most 16 MiB; an event has at most 8 files and 32 MiB.
    pub fn file(&self, suffix: &str, bytes: &[u8]) -> Result<(), Error> {
        if (self.raw.size as usize) < size_of::<abi::Host>() {
            return Err(Error::new("this daemon writes no files; use a newer harkd"));
        }
        // SAFETY: both texts outlive the call, and the host copies what it keeps.
        let result = unsafe {
            (self.raw.file)(self.raw.user, chars(suffix.as_bytes()), suffix.len(), chars(bytes), bytes.len())
        };
        accepted(result, suffix)
    }

    fn emit_as(&self, kind: &str, body: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_vec(body)?;
        // SAFETY: both texts outlive the call, and the host copies what it keeps.
        let result = unsafe {
            (self.raw.emit)(self.raw.user, chars(kind.as_bytes()), kind.len(), chars(&json), json.len())
        };
        accepted(result, kind)
    }
}

fn chars(bytes: &[u8]) -> *const c_char {
    bytes.as_ptr().cast()
}

fn accepted(result: i32, what: &str) -> Result<(), Error> {
    if result == abi::OK {
        return Ok(());
    }
    Err(Error::new(format_args!("the daemon refused {what}; its log has the reason")))
}
