//! What the job machine is told.

use std::time::Duration;

use hark_sdk::event::{AnnotationSpeech, Body, Fault, Recording, TranscriptFinal, Usage};

use crate::job::piece_machine::Report;
use crate::job::{Origin, Plan, Saved, Span};

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The recording was probed and has a plan. Each of `spans` becomes one piece.
    Prepared { recording: Box<Recording>, plan: Plan, spans: Vec<Span> },
    /// The analysis has found pieces of the recording, in the order of time; pieces that were found before are ignored. Pieces of single
    /// channels come all at once, together with the `end`. `end`: the analysis has reached the end of the recording. `left`: the state of all
    /// pieces before this.
    Cut { spans: Vec<Span>, end: Option<Box<CutEnd>>, left: Recognized },
    /// The input is no recording that can be recognized. `recording`: what the daemon found out about it.
    Unusable { recording: Box<Recording>, fault: Fault },
    /// The audio of a URL or an object is on this machine now.
    Fetched { recording: Box<Recording>, origin: Origin },
    /// The recording is not at its path; it may have been moved, and the source may not have noticed yet.
    Missing { fault: Fault },
    /// The present config gives the job another plan, and no attempt may have cost anything: the job is planned anew.
    Replanned,
    /// Something happened to an existing piece. `found`: its recording could be opened. `revision`: of its last partial. `left`: the state of
    /// all pieces after this.
    Piece { number: u32, found: bool, reports: Vec<Report>, revision: u64, left: Recognized },
    /// Plugins emitted this about a partial.
    Emitted { emitted: Vec<Body> },
    /// A plugin with `on_failure = "hold"` could not process a transcript. `level`: see [`crate::job::Job::hold_reported`].
    Held { level: u32, fault: Fault, retry_in: Duration },
    /// The plugins have processed the transcript. `event`: the final; `emitted`: the plugins' events that are not stored yet.
    Piped { event: Box<TranscriptFinal>, emitted: Vec<Body> },
    /// The operator has canceled it.
    Canceled { fault: Fault },
    /// JetStream has the last event.
    Stored,
    /// The source is settled. `missed`: the file was not there to be moved or deleted.
    Settled { missed: bool },
}

/// What listening to a whole recording found.
#[derive(Debug, Clone, PartialEq)]
pub struct CutEnd {
    /// The recording as it was measured.
    pub recording: Recording,
    /// Milliseconds of speech; `None`: not measured to the end.
    pub speech_ms: Option<u64>,
    /// What was measured of the speech; `None`: not measured to the end.
    pub speech: Option<AnnotationSpeech>,
    /// What is not sent; `None`: not measured to the end.
    pub saved: Option<Saved>,
}

/// The state of all pieces of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recognized {
    /// Pieces that have not ended.
    pub open: u32,
    /// Pieces that have a transcript.
    pub heard: u32,
    /// All pieces.
    pub pieces: u32,
    /// The fault of the last piece that failed for good.
    pub fault: Option<Fault>,
}

/// Sums over the attempts of all pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tries that failed.
    pub failures: u32,
    /// What was billed.
    pub billed: Usage,
    /// Its price in millionths of a dollar.
    pub cost_micro: u64,
    /// A piece has more than one attempt that may have cost something.
    pub possible_duplicate_charge: bool,
}
