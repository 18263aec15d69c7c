//! The trait that a plugin's author implements, and its types.

use std::fmt;
use std::ops::Deref;

use schemars::Schema;

use crate::Host;
use crate::event::{Body, Event, Kind, TranscriptFinal, TranscriptPartial, TranscriptSegment};

/// A plugin. The daemon makes one instance in a process of its own, hands it one event after the other, and drops it at the end:
///
/// ```text
/// create(config)  ->  on_event(…), on_event(…), …  ->  drop
/// ```
///
/// Calls never overlap and stay in order within a job. Each has the configured `timeout`. A panic ends the instance: the daemon replaces
/// the process, and the next event goes to a new instance.
pub trait Plugin: Sized + 'static {
    /// The events that the daemon calls the plugin with; finals by default. `job.*` is reserved, and `harkd check` warns of it.
    const WANTS: Wants = Wants::FINALS;
    /// Whether the plugin replaces text ([`Host::replace`]). Transforms run first, in the order of the config, before any part of a transcript
    /// leaves the daemon. A source whose transforms do not want partials or segments publishes none.
    const TRANSFORM: bool = false;

    /// The JSON Schema of `[plugin.config]`. The daemon holds the config against it before [`Plugin::create`], and `harkd check` prints each
    /// mistake with its line and the nearest key. [`schema::of_config`](crate::schema::of_config) makes it from the type that `create`
    /// reads; the default accepts every config.
    fn schema() -> Schema {
        Schema::default()
    }

    /// Creates the instance from `[plugin.config]`, a JSON object.
    ///
    /// # Errors
    /// When the config is invalid; the message names the key and what to do. The plugin then counts as failed.
    fn create(config: &str) -> Result<Self, Error>;

    /// Warnings about the config: keys that are valid but probably a mistake, one sentence each, with the key. `harkd check` prints them, and
    /// the daemon logs them when it loads the plugin. Called once, after [`Plugin::create`].
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Processes an event of a kind in [`Plugin::WANTS`]. The default passes transcripts to the functions below, and ignores annotations.
    ///
    /// # Errors
    /// The event counts as failed for this plugin, and the daemon drops what the plugin emitted for it.
    fn on_event(&mut self, event: &Event, host: &Host) -> Result<(), Error> {
        match &event.body {
            Body::TranscriptFinal(fields) => self.on_final(&Transcript { event, fields }, host),
            Body::TranscriptSegment(fields) => self.on_segment(event, fields, host),
            Body::TranscriptPartial(fields) => self.on_partial(event, fields, host),
            _ => Ok(()),
        }
    }

    /// Processes the transcript of a job: once per job, except that after the death of a process the next process may get the same
    /// transcript.
    ///
    /// # Errors
    /// As for [`Plugin::on_event`].
    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let _ = (transcript, host);
        Ok(())
    }

    /// Processes a piece that is heard, of a recording that is sent in several; needs [`Wants::SEGMENTS`]. Pieces come in the order of
    /// hearing. A new process gets the earlier ones again before the next event of their job; what it emits about them is dropped.
    ///
    /// # Errors
    /// As for [`Plugin::on_event`].
    fn on_segment(&mut self, event: &Event, segment: &TranscriptSegment, host: &Host) -> Result<(), Error> {
        let _ = (event, segment, host);
        Ok(())
    }

    /// Processes a partial text; needs [`Wants::PARTIALS`]. When the plugin is behind, the newest partial of each piece replaces the waiting
    /// one.
    ///
    /// # Errors
    /// As for [`Plugin::on_event`].
    fn on_partial(&mut self, event: &Event, partial: &TranscriptPartial, host: &Host) -> Result<(), Error> {
        let _ = (event, partial, host);
        Ok(())
    }
}

/// A `transcript.final`: the kind's own fields (by dereference), and the event with recording and metadata.
#[derive(Debug, Clone, Copy)]
pub struct Transcript<'a> {
    /// The whole event.
    pub event: &'a Event,
    /// The fields of the kind.
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
    /// `annotation.*`, before the final.
    pub const ANNOTATIONS: Wants = Wants(8);
    /// `transcript.segment`.
    pub const SEGMENTS: Wants = Wants(16);

    /// The union of both.
    pub const fn and(self, other: Wants) -> Wants {
        Wants(self.0 | other.0)
    }

    /// From the bits of the ABI. Bits that this version does not know have no effect.
    pub const fn from_bits(bits: u32) -> Wants {
        Wants(bits)
    }

    /// The bits of the ABI.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether events of a kind are wanted. Events that plugins emit go to no plugin.
    pub fn include(self, kind: &Kind) -> bool {
        let family = match kind {
            Kind::TranscriptFinal => Wants::FINALS,
            Kind::TranscriptPartial => Wants::PARTIALS,
            Kind::AnnotationLanguage | Kind::AnnotationEmotion | Kind::AnnotationSpeech => Wants::ANNOTATIONS,
            Kind::TranscriptSegment => Wants::SEGMENTS,
            Kind::AlertRaised | Kind::AlertRetracted | Kind::Plugin(_) => return false,
            _ => Wants::JOBS,
        };
        self.0 & family.0 != 0
    }
}

/// Why a plugin failed. Converted from any error with `?`, or created from a message with [`Error::new`].
///
/// The message appears in the daemon's log and in a `plugin.<name>` event: never put transcript text into it.
pub struct Error {
    message: String,
    fatal: bool,
    /// Further mistakes of the config.
    more: Vec<String>,
}

impl Error {
    /// This event failed; the next one comes as usual.
    pub fn new(message: impl fmt::Display) -> Self {
        Error { message: message.to_string(), fatal: false, more: Vec::new() }
    }

    /// `create` refuses its config for several mistakes, each of which begins with its key: `harkd check` prints them all.
    pub fn mistakes(mistakes: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        let mut all = mistakes.into_iter().map(|mistake| mistake.to_string());
        let message = all.next().unwrap_or_default();
        Error { message, fatal: false, more: all.collect() }
    }

    /// The instance is beyond repair: the daemon replaces its process.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Error { message: message.to_string(), fatal: true, more: Vec::new() }
    }

    /// Whether the instance is beyond repair.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// Further mistakes of the config.
    pub(crate) fn more(&self) -> &[String] {
        &self.more
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

// This type does not implement `std::error::Error`: that would conflict with this conversion (as in anyhow).
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Error::new(error)
    }
}
