//! Hark listens: audio from folders and NATS subjects goes in, transcripts come out as NATS events. This page is the architecture.
//!
//! # The flow
//!
//! ```text
//! source  ->  job  ->  recognize  ->  pipeline  ->  publish
//! folder      ledger   route          plugin hosts  outbox
//! NATS        lanes    flash          (a process    JetStream
//!                      filetrans       per plugin)
//! ```
//!
//! A recording enters at the left and leaves at the right as events. A module may use the types of modules to its left; [`daemon`]
//! alone knows all of them and wires them in that order. `source` and `job` know each other: a source's last act is to write a job.
//! Backpressure runs the other way: every hand-over is a bounded channel or a row in the ledger, so a stalled consumer ends as a
//! slower source, not as memory.
//!
//! What moves a job is its row. [`job::machine`] is a pure function from a job and a fact to the job's next state and the events that
//! this causes; [`job::ledger`] stores both in one SQLite transaction; the state says what is owed next ([`job::Duty`]), and for each
//! duty one lane ([`job::lane`]) takes jobs from the ledger as they fall due. So a crash loses nothing but the work at hand, and a
//! restart needs no plan of its own: it looks at what is owed.
//!
//! # The rooms
//!
//! | module | what it is |
//! |---|---|
//! | [`source`] | folders ([`source::directory`]: an event is a hint, the scan is the truth), NATS subjects ([`source::nats`]), the gate for URLs in messages ([`source::url`]) |
//! | [`job`] | the job, its machine, its ledger with the outbox, the lanes |
//! | [`audio`] | what a recording is; parsed in a child process that can do nothing else |
//! | [`recognize`] | recognizers, one folder each; the trait that they implement, what chooses among them, how requests are paced |
//! | [`pipeline`] | plugins, each in a supervised process |
//! | [`publish`] | subjects, headers, the outbox to JetStream, partials |
//! | [`config`], [`http`], [`cli`], [`logging`], [`os`] | what surrounds the flow |
//!
//! # Invariants
//!
//! - Every accepted recording gets exactly one of `job.completed` and `job.failed`.
//! - Intent is on disk before a request that costs. Only [`recognize`] decides whether a try may be repeated; a request of unknown
//!   fate is repeated within its budget only, and the events say so.
//! - A stored event keeps its id over every retry and names its predecessor; JetStream itself refuses what does not follow.
//! - A file is not moved or deleted, a message not acknowledged, before the job's last event is in JetStream.
//! - What is below a watched folder is listed, opened, moved and deleted through the folder's descriptor ([`os::beneath`]), never by a path:
//!   another user may put a link in the place of a folder.
//! - Only `pipeline::library`, the plugin ABI of the SDK and [`os`] contain `unsafe`; only `publish::subject` knows subjects; nothing
//!   after [`recognize`] knows which service made a text; plugins never see audio, keys or the state directory.
//! - Transcripts, keys and the queries of URLs are in no log line above `trace`.
//! - Memory is bounded by the config: queues by their length, the outbox by a window over rows on disk, recordings by streaming.
//!
//! # Recipes
//!
//! *A source*: a module in [`source`] with `run(watching, stop)` and `settle(job)`, a variant of [`config::Source`], two lines in
//! `daemon.rs`. *A recognizer*: a folder in [`recognize`] that implements [`recognize::Recognizer`], and a line in
//! [`recognize::Recognizers::build`].
#![allow(unreachable_pub, reason = "one binary and its tests; `pub` in a module means: for its neighbours")]

pub mod api;
pub mod audio;
pub mod broker;
pub mod cli;
pub mod config;
pub mod daemon;
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
