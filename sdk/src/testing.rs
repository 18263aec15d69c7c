//! Runs a plugin in a test, without a daemon: through the same C functions, with the same checks of what it emits.
//!
//! ```
//! use hark_sdk::testing::{Bench, transcript};
//! # use hark_sdk::{Error, Host, Plugin, Transcript};
//! # struct Hello;
//! # impl Plugin for Hello {
//! #     fn create(_: &str) -> Result<Self, Error> { Ok(Hello) }
//! #     fn on_final(&mut self, _: &Transcript, host: &Host) -> Result<(), Error> { host.annotate("greeting", "hello") }
//! # }
//! let mut bench = Bench::<Hello>::create("{}").unwrap();
//! let heard = bench.hand(&transcript(&["good morning"])).unwrap();
//! assert_eq!(heard.emitted.len(), 1);
//! ```
#![allow(unsafe_code, reason = "implements the host's side of hark_plugin.h")]

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::marker::PhantomData;

use jiff::Timestamp;
use serde_json::Map;
use uuid::Uuid;

use crate::emission::{self, Allowance, Rubbish};
use crate::event::{
    Body, Engine, Event, Kind, Quality, Recording, Segment, Timing, TranscriptFinal, TranscriptPartial, Usage,
};
use crate::{Level, Plugin, abi, export};

/// The name under which the bench runs a plugin.
pub const NAME: &str = "under_test";

/// One instance of a plugin, and a host that records what it emits.
pub struct Bench<P: Plugin> {
    table: abi::Plugin,
    instance: *mut c_void,
    created: Vec<(Level, String)>,
    plugin: PhantomData<P>,
}

/// What a plugin emitted and logged during one call.
#[derive(Debug, Default)]
pub struct CallOutput {
    /// What the daemon would publish, in order.
    pub emitted: Vec<Body>,
    /// The event with its text replaced, by a transform.
    pub replaced: Option<Event>,
    /// The files that the daemon would write.
    pub files: Vec<emission::File>,
    /// Emissions and files that the daemon would refuse, with the reasons.
    pub refused: Vec<Rubbish>,
    /// Log lines.
    pub log: Vec<(Level, String)>,
}

/// A failed call.
#[derive(Debug)]
pub struct Failure {
    /// The last line that was logged at [`Level::Error`].
    pub message: String,
    /// Whether the daemon would replace the process.
    pub fatal: bool,
}

impl<P: Plugin> Bench<P> {
    /// Creates an instance from `[plugin.config]` as JSON.
    ///
    /// # Errors
    /// When `create` refuses or panics: the messages that the operator would read, a line each.
    pub fn create(config: &str) -> Result<Self, String> {
        let table = export::table::<P>("0.0.0\0");
        let notes = Notes::new(None, false);
        let host = notes.host();
        let create = table.create.unwrap_or_else(|| unreachable!("the table of this crate is complete"));
        // SAFETY: `host` and `config` outlive the call.
        let instance = unsafe { create(&host, config.as_ptr().cast(), config.len()) };
        if instance.is_null() {
            let heard = notes.heard.borrow();
            let lines = heard.log.iter().filter(|(level, _)| *level == Level::Error);
            let lines: Vec<&str> = lines.map(|(_, line)| line.as_str()).collect();
            return Err(if lines.is_empty() { notes.failure(true).message } else { lines.join("\n") });
        }
        Ok(Bench { table, instance, created: notes.heard.into_inner().log, plugin: PhantomData })
    }

    /// What the plugin logged while it was created; `harkd check` prints what is at [`Level::Warn`].
    pub fn created(&self) -> &[(Level, String)] {
        &self.created
    }

    /// Calls the plugin with an event, if the plugin wants its kind.
    ///
    /// # Errors
    /// When the call fails; what the plugin emitted until then is dropped.
    pub fn hand(&mut self, event: &Event) -> Result<CallOutput, Failure> {
        if !P::WANTS.include(&event.kind()) {
            return Ok(CallOutput::default());
        }
        let body = serde_json::to_string(event)
            .map_err(|error| Failure { message: error.to_string(), fatal: false })?;
        self.call(&event.kind().to_string(), &body, Some(event))
    }

    /// Calls the plugin with a kind and a body as they are, such as those of a daemon that is newer than this crate.
    ///
    /// # Errors
    /// As for [`Bench::hand`].
    pub fn hand_raw(&mut self, kind: &str, body: &str) -> Result<CallOutput, Failure> {
        self.call(kind, body, None)
    }

    fn call(&mut self, kind: &str, body: &str, event: Option<&Event>) -> Result<CallOutput, Failure> {
        let notes = Notes::new(event, P::TRANSFORM);
        let host = notes.host();
        let on_event =
            self.table.on_event.unwrap_or_else(|| unreachable!("the table of this crate is complete"));
        // SAFETY: the instance came from `create` and is not destroyed before Drop; everything else outlives the call.
        let result = unsafe {
            on_event(self.instance, &host, kind.as_ptr().cast(), kind.len(), body.as_ptr().cast(), body.len())
        };
        match result {
            abi::OK => Ok(notes.heard.into_inner()),
            other => Err(notes.failure(other == abi::FAILED)),
        }
    }
}

impl<P: Plugin> Drop for Bench<P> {
    fn drop(&mut self) {
        let notes = Notes::new(None, false);
        if let Some(destroy) = self.table.destroy {
            // SAFETY: the instance came from `create`, and this is the last call.
            unsafe { destroy(self.instance, &notes.host()) }
        }
    }
}

/// A `transcript.final` of a stereo call from the source `calls`: one segment per text, ten seconds each, on alternating channels, with the
/// roles `agent` and `customer`.
pub fn transcript(texts: &[&str]) -> Event {
    let segments = texts.iter().zip(0_u64..).map(|(text, index)| Segment {
        channel: (index % 2) as u32,
        role: Some(if index % 2 == 0 { "agent" } else { "customer" }.to_owned()),
        begin_ms: Some(index * 10_000),
        end_ms: Some((index + 1) * 10_000),
        timing: Timing::Service,
        text: (*text).to_owned(),
        language: Some("en".to_owned()),
        emotion: Some("neutral".to_owned()),
        ..Segment::default()
    });
    event(Body::TranscriptFinal(TranscriptFinal {
        engine: Engine::FLASH,
        model: "qwen3-asr-flash".to_owned(),
        text: texts.join(" "),
        language: Some("en".to_owned()),
        emotion: Some("neutral".to_owned()),
        speech: Some(!texts.is_empty()),
        truncated: false,
        segments: Some(segments.collect()),
        segments_object: None,
        usage: Usage::seconds(10 * texts.len() as u64),
        quality: Quality::default(),
    }))
}

/// A `transcript.partial` of channel 0.
pub fn partial(revision: u64, text: &str) -> Event {
    event(Body::TranscriptPartial(TranscriptPartial {
        revision,
        channel: 0,
        role: None,
        piece: None,
        begin_ms: 0,
        text: text.to_owned(),
        echo: false,
    }))
}

/// An event of a new job with any body.
pub fn event(body: Body) -> Event {
    Event {
        job: Uuid::now_v7(),
        source: "calls".to_owned(),
        sequence: None,
        time: Timestamp::now(),
        recording: Recording {
            uri: "file:///srv/calls/call.wav".to_owned(),
            name: Some("call.wav".to_owned()),
            ..Recording::default()
        },
        metadata: Map::new(),
        body,
    }
}

/// The host's side of one call.
struct Notes<'call> {
    event: Option<&'call Event>,
    transform: bool,
    heard: RefCell<CallOutput>,
    allowance: RefCell<Allowance>,
}

impl<'call> Notes<'call> {
    fn new(event: Option<&'call Event>, transform: bool) -> Self {
        Notes { event, transform, heard: RefCell::default(), allowance: RefCell::default() }
    }

    fn host(&self) -> abi::Host {
        abi::Host {
            size: size_of::<abi::Host>() as u32,
            minor: abi::MINOR,
            user: std::ptr::from_ref(self).cast_mut().cast(),
            emit,
            annotate,
            replace,
            log,
            file,
        }
    }

    fn failure(&self, fatal: bool) -> Failure {
        let heard = self.heard.borrow();
        let line = heard.log.iter().rev().find(|(level, _)| *level == Level::Error);
        let message = line.map_or_else(|| "it gave no reason".to_owned(), |(_, line)| line.clone());
        Failure { message, fatal }
    }

    fn record(&self, bytes: usize, emission: Result<Body, Rubbish>) -> i32 {
        let mut heard = self.heard.borrow_mut();
        let mut allowance = self.allowance.borrow_mut();
        match emission.and_then(|body| allowance.take(&body, bytes).map(|()| body)) {
            Ok(body) => {
                heard.emitted.push(body);
                return abi::OK;
            }
            Err(rubbish) => heard.refused.push(rubbish),
        }
        abi::ERROR
    }
}

unsafe extern "C" fn emit(
    user: *mut c_void,
    kind: *const c_char,
    kind_length: usize,
    json: *const c_char,
    json_length: usize,
) -> i32 {
    // SAFETY: `user` is the Notes of `host()`, which outlive the call; the texts are lent for it.
    let (notes, kind, json) =
        unsafe { (notes(user), abi::borrow(kind, kind_length), abi::borrow(json, json_length)) };
    notes.record(json.len(), emission::emitted(NAME, &String::from_utf8_lossy(kind), json))
}

unsafe extern "C" fn annotate(
    user: *mut c_void,
    name: *const c_char,
    name_length: usize,
    json: *const c_char,
    json_length: usize,
) -> i32 {
    // SAFETY: `user` is the Notes of `host()`, which outlive the call; the texts are lent for it.
    let (notes, name, json) =
        unsafe { (notes(user), abi::borrow(name, name_length), abi::borrow(json, json_length)) };
    notes.record(json.len(), emission::annotated(NAME, &String::from_utf8_lossy(name), json))
}

unsafe extern "C" fn replace(user: *mut c_void, json: *const c_char, length: usize) -> i32 {
    // SAFETY: `user` is the Notes of `host()`, which outlive the call; the text is lent for it.
    let (notes, json) = unsafe { (notes(user), abi::borrow(json, length)) };
    let replaced = match notes.event {
        _ if !notes.transform => Err(Rubbish::NoTransform),
        Some(event) => emission::replaced(event, json),
        None => Err(Rubbish::NothingToReplace(Kind::Plugin(NAME.to_owned()))),
    };
    let mut heard = notes.heard.borrow_mut();
    match replaced {
        Ok(event) => {
            heard.replaced = Some(event);
            abi::OK
        }
        Err(rubbish) => {
            heard.refused.push(rubbish);
            abi::ERROR
        }
    }
}

unsafe extern "C" fn file(
    user: *mut c_void,
    suffix: *const c_char,
    suffix_length: usize,
    bytes: *const c_char,
    length: usize,
) -> i32 {
    // SAFETY: `user` is the Notes of `host()`, which outlive the call; the texts are lent for it.
    let (notes, suffix, bytes) =
        unsafe { (notes(user), abi::borrow(suffix, suffix_length), abi::borrow(bytes, length)) };
    let kind = notes.event.map_or_else(|| Kind::Plugin(NAME.to_owned()), Event::kind);
    let mut heard = notes.heard.borrow_mut();
    let suffix = String::from_utf8_lossy(suffix);
    match emission::add_file(&mut heard.files, &kind, &suffix, bytes.to_vec()) {
        Ok(()) => abi::OK,
        Err(rubbish) => {
            heard.refused.push(rubbish);
            abi::ERROR
        }
    }
}

unsafe extern "C" fn log(user: *mut c_void, level: i32, text: *const c_char, length: usize) {
    // SAFETY: `user` is the Notes of `host()`, which outlive the call; the text is lent for it.
    let (notes, text) = unsafe { (notes(user), abi::borrow(text, length)) };
    notes.heard.borrow_mut().log.push((Level::from_abi(level), String::from_utf8_lossy(text).into_owned()));
}

/// # Safety
/// `user` is the `user` of a [`Notes::host`] whose notes still live.
unsafe fn notes<'a>(user: *mut c_void) -> &'a Notes<'a> {
    // SAFETY: the caller guarantees it.
    unsafe { &*user.cast::<Notes>() }
}
