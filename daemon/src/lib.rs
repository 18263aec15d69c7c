//! Hark listens: audio from folders and NATS subjects goes in, transcripts come out as NATS events. This page is the architecture.
//!
//! # The flow
//!
//! ```text
//! source  ->  job  ->  recognize  ->  pipeline  ->  publish
//! folder      pieces   a folder       plugin hosts  outbox
//! NATS        attempts a recognizer   (a process    JetStream
//!             (SQLite)                 per plugin)
//! ```
//!
//! A recording enters at the left and leaves at the right as events. Its row in the ledger drives it. The rooms of the flow do not call each
//! other: each carries out a duty and reports a fact to the ledger. The state of a row names the next duty ([`job::Duty`]); for each duty the
//! room [`work`] has one lane, which takes rows as they fall due and calls the room that can do the work. A crash loses only the work in
//! progress. A restart needs no recovery plan: the lanes read from the ledger what is owed.
//!
//! Backpressure runs the other way: every hand-over is a bounded channel or a row in the ledger, so a stalled receiver slows its sender
//! down and does not fill the memory.
//!
//! # Job, piece, attempt, fate
//!
//! - A *recording* is audio with an identity (sha256) and an origin. A *job* is one recording on one route.
//! - A *piece* is what one request carries: a span of time on some channels of the recording. A job has one piece, the whole recording, or
//!   several; the first ones are recognized while the others are still being cut.
//! - An *attempt* is one request that may cost. The daemon writes it before the request leaves, and its *fate* ([`job::Fate`]) after: open,
//!   not sent, refused, maybe forwarded, absent, taken, unknown. The fate is stored, not inferred from counters.
//! - `possible_duplicate_charge` is true for a job with a piece of more than one attempt that may have cost. Refusals, retries and billed
//!   seconds are counts over attempts.
//!
//! Two pure machines change their states: [`job::job_machine`] from (job, fact) to (job, events), [`job::piece_machine`] from (piece, fact)
//! to (piece, what the events report). The ledger stores the new state and the events that it causes in one SQLite transaction. The order
//! of events, their gap-free numbers and the behaviour after a restart follow from that one rule.
//!
//! # The rooms
//!
//! | room | what it is |
//! |---|---|
//! | [`api`] | the daemon's interfaces while it runs: the live page and the HTTP API, metrics and health, the NATS service; what an operator steers |
//! | [`audio`] | measures, decodes and cuts recordings, in sandboxed child processes that can do nothing else; ffmpeg decodes the rest, in a child of its own |
//! | [`broker`] | everything that knows NATS as such: connection, streams, appending in order, large events. Only this room knows subjects. |
//! | [`cli`] | one file for each subcommand |
//! | [`config`] | types, layers, one `validate()` |
//! | [`daemon`] | `build()` wires all rooms in the order of the flow; `run()` starts them and drains them from the front |
//! | [`job`] | job, piece, attempt, and their two machines |
//! | [`job::ledger`] | one writer that commits in groups, a pool of readers, a change feed; tables, outbox, retention |
//! | [`os`] | leases, folders through descriptors, sandboxes, children, limits; with `pipeline::library` the only `unsafe` |
//! | [`pipeline`] | plugins, each in a supervised process |
//! | [`publish`] | the outbox to JetStream, partials, webhooks, and the feed of what was published |
//! | [`recognize`] | recognizers: limits, the choice among them, pacing, requests, what each answer means |
//! | [`share`] | which daemon owns which job: bucket, claims, takeover, the fence against a former owner that resumes |
//! | [`source`] | folders ([`source::directory`]: an event is a hint, only the scan decides), NATS subjects ([`source::nats`]), the check of URLs ([`source::url`]) |
//! | [`telemetry`] | metrics, log lines, warnings limited to one a minute |
//! | [`work`] | the lanes: prepare, send, resolve, await, pipe |
//!
//! # The permitted arrows
//!
//! A room uses the rooms of the lines above its own, and no others. Rooms of one line do not use each other. A test reads the sources and
//! fails on any other dependency (`tests/architecture.rs`).
//!
//! ```text
//! os, telemetry
//! config
//! broker
//! job
//! share
//! audio, source, recognize, pipeline, publish
//! work, api
//! daemon
//! cli
//! ```
//!
//! # Invariants
//!
//! - Every accepted recording gets exactly one of `job.completed` and `job.failed`.
//! - The intent is on disk before a request that costs is sent. Only [`recognize`] decides what became of a request and when another may
//!   follow. A request of unknown fate is retried within its budget only (`ambiguous_retries`, in [`job::piece_machine`]), and the events
//!   report it.
//! - A stored event keeps its id over every retry and names its predecessor; JetStream itself refuses an event that names another one.
//! - A file is not moved or deleted, a message not acknowledged, before the job's last event is in JetStream.
//! - Everything below a watched folder is listed, opened, moved and deleted through the folder's descriptor ([`os::beneath`]), never by a
//!   path: another user may put a link in the place of a folder.
//! - Only `pipeline::library`, the plugin ABI of the SDK and [`os`] contain `unsafe`. Only [`broker`] knows subjects. Nothing after
//!   [`recognize`] knows which service made a text. Plugins never see audio, keys or the state directory.
//! - No transcript, key or query of a URL is in a log line above `trace`.
//! - No failure of a plugin delays other plugins or the transcript beyond that plugin's time limit, unless the operator chose `hold`.
//! - The config bounds the memory, not the input: queues have a length, the outbox is a window over rows on disk, recordings are streamed.
//! - A row of a newer version is left alone and reported as newer, never as damage. Persisted forms have golden files.
//!
//! # Two recipes
//!
//! *Add a source.* Write a module in [`source`] with `run(watching, stop)`, which writes jobs into the ledger, and `settle(job)`, which
//! acknowledges or puts away. Add a variant of [`config::Source`] with its rules in `config/validate/`. Add both to `daemon/sources.rs`.
//!
//! *Add a recognizer.* Write one folder under `recognize/` that implements the trait `Recognizer`: profile, pacer, key, `send`,
//! and where it has tasks `poll`, `fetch` and `resolve`. Its errors answer two questions: the fate of this attempt, and when another may
//! follow. Add it where [`recognize`] builds its recognizers, its codes to `hark_sdk::codes`, and its key to the config. No other room changes.
#![allow(unreachable_pub, reason = "one binary and its tests; `pub` in a module means: for its neighbours")]

pub mod api;
pub mod audio;
pub mod broker;
pub mod cli;
pub mod config;
mod counted;
pub mod daemon;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hex;
pub mod job;
pub mod os;
pub mod pipeline;
pub mod publish;
pub mod recognize;
pub mod share;
pub mod source;
pub mod telemetry;
pub mod work;
