//! What an author writes.

use std::fmt;
use std::ops::Deref;

use crate::Host;
use crate::event::{Body, Event, Kind, TranscriptFinal, TranscriptPartial};

/// A plugin. The daemon makes one instance in a process of its own, hands it one event after the other, and drops it at the end:
///
/// ```text
/// create(config)  ->  on_event(…), on_event(…), …  ->  drop
/// ```
///
/// Calls never overlap and stay in order within a job. Each has the configured `timeout`. A panic ends the instance: the process is
/// replaced, and the next event meets a fresh one.
pub trait Plugin: Sized + 'static {
    /// The events that it is called with; finals unless said otherwise. The daemon calls plugins with finals and partials only so far, and
    /// publishes nothing of what they say about a partial; the other kinds are reserved, and `harkd check` warns of them.
    const WANTS: Wants = Wants::FINALS;
    /// Whether it replaces text ([`Host::replace`]). A transform runs before anything of a transcript leaves the daemon.
    const TRANSFORM: bool = false;

    /// Makes the instance from `[plugin.config]`, as a JSON object.
    ///
    /// # Errors
    /// When the config cannot mean anything; the message names the key and says what to do. The plugin then counts as failed.
    fn create(config: &str) -> Result<Self, Error>;

    /// Looks at an event of a kind in [`Plugin::WANTS`]. Hands finals and partials on to their own functions, unless overridden.
    ///
    /// # Errors
    /// The event counts as not looked at, and what was emitted for it is dropped.
    fn on_event(&mut self, event: &Event, host: &Host) -> Result<(), Error> {
        match &event.body {
            Body::TranscriptFinal(fields) => self.on_final(&Transcript { event, fields }, host),
            Body::TranscriptPartial(fields) => self.on_partial(event, fields, host),
            _ => Ok(()),
        }
    }

    /// Looks at the transcript of a job: once per job, except that a process that dies over it hands it to the next.
    ///
    /// # Errors
    /// As for [`Plugin::on_event`].
    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let _ = (transcript, host);
        Ok(())
    }

    /// Looks at text that still grows; needs [`Wants::PARTIALS`]. Partials are left out when the plugin is behind, and what is emitted
    /// about them is not published yet.
    ///
    /// # Errors
    /// As for [`Plugin::on_event`].
    fn on_partial(&mut self, event: &Event, partial: &TranscriptPartial, host: &Host) -> Result<(), Error> {
        let _ = (event, partial, host);
        Ok(())
    }
}

/// A `transcript.final`: its own fields (by dereference), and the event with recording and metadata.
#[derive(Debug, Clone, Copy)]
pub struct Transcript<'a> {
    /// The whole event.
    pub event: &'a Event,
    /// What was said.
    pub fields: &'a TranscriptFinal,
}

impl Deref for Transcript<'_> {
    type Target = TranscriptFinal;

    fn deref(&self) -> &TranscriptFinal {
        self.fields
    }
}

/// Families of events that a plugin is called with; `HARK_WANTS_…` of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants(u32);

impl Wants {
    /// `transcript.final`.
    pub const FINALS: Wants = Wants(1);
    /// `transcript.partial`.
    pub const PARTIALS: Wants = Wants(2);
    /// `job.*`.
    pub const JOBS: Wants = Wants(4);
    /// `annotation.*`.
    pub const ANNOTATIONS: Wants = Wants(8);

    /// Both.
    pub const fn and(self, other: Wants) -> Wants {
        Wants(self.0 | other.0)
    }

    /// As the ABI has them. Bits that this version does not know want nothing.
    pub const fn from_bits(bits: u32) -> Wants {
        Wants(bits)
    }

    /// As the ABI has them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether events of a kind are wanted. What plugins emit is given to no plugin.
    pub fn include(self, kind: &Kind) -> bool {
        let family = match kind {
            Kind::TranscriptFinal => Wants::FINALS,
            Kind::TranscriptPartial => Wants::PARTIALS,
            Kind::AnnotationLanguage | Kind::AnnotationEmotion => Wants::ANNOTATIONS,
            Kind::AlertRaised | Kind::AlertRetracted | Kind::Plugin(_) => return false,
            _ => Wants::JOBS,
        };
        self.0 & family.0 != 0
    }
}

/// Why a plugin could not do what it should. Made from any error with `?`, or from words with [`Error::new`].
///
/// The words appear in the daemon's log and in a `plugin.<name>` event: never put transcript text into them.
pub struct Error {
    message: String,
    fatal: bool,
}

impl Error {
    /// This event could not be looked at; the next one comes as usual.
    pub fn new(message: impl fmt::Display) -> Self {
        Error { message: message.to_string(), fatal: false }
    }

    /// The instance is beyond repair: the daemon replaces its process.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Error { message: message.to_string(), fatal: true }
    }

    /// Whether the instance is beyond repair.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

// No `std::error::Error` for this type: it would collide with this comfort (as in anyhow).
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Error::new(error)
    }
}
