//! What the daemon does for a plugin, during a call.
#![allow(unsafe_code, reason = "calls through the host's C functions")]

use std::ffi::c_char;
use std::marker::PhantomData;

use serde::Serialize;
use serde_json::json;

use crate::event::Alert;
use crate::{Error, abi};

/// The daemon, as a plugin sees it during a call. It cannot be kept, nor used from another thread; its methods never block for long.
///
/// What is emitted counts only if the call returns `Ok`.
pub struct Host<'call> {
    raw: &'call abi::Host,
    // Raw pointers are neither Send nor Sync: so the header's "on that call's thread" is checked by the compiler.
    here: PhantomData<*const ()>,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody has to act; the last line at this level explains a call that failed.
    Error = 1,
    /// Somebody should look.
    Warn = 2,
    /// To know.
    Info = 3,
    /// For the author.
    Debug = 4,
    /// For the author, and the only level that transcript text may be logged at.
    Trace = 5,
}

impl Level {
    /// Reads a level of the ABI; what this version does not know is the least of them.
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
    /// Wraps what the daemon passed to a call.
    ///
    /// # Safety
    /// `raw` is a `hark_host` as the header describes it, valid on this thread for as long as `'call`.
    pub unsafe fn from_raw(raw: *const abi::Host) -> Host<'call> {
        // SAFETY: the caller's promise.
        Host { raw: unsafe { &*raw }, here: PhantomData }
    }

    /// Publishes data of the plugin's own as `plugin.<name>`, after the event that it was called with.
    ///
    /// # Errors
    /// When the daemon refuses: more than 1 MiB, or more than 256 events for one, 8 MiB or 65,536 JSON values in all of them.
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

    /// Takes back an alert of this job that was raised under the same `alert`; `alert.retracted`.
    ///
    /// # Errors
    /// As for [`Host::emit`].
    pub fn retract(&self, alert: &Alert) -> Result<(), Error> {
        self.emit_as("alert.retracted", alert)
    }

    /// Says something about the transcript: `language` and `emotion` (an [`Annotation`](crate::event::Annotation)) become
    /// `annotation.…`, any other name becomes `plugin.<name>` with `data` `{name: value}`.
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

    /// Replaces the transcript's text, and that of each segment, in order. Times, roles and the rest stay.
    ///
    /// # Errors
    /// When the plugin is no transform, the event no final, or the number of segments another.
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
    Err(Error::new(format_args!("the daemon refused {what}; its log says why")))
}
