//! Support for the tests: real processes on free ports of 127.0.0.1, which end with the test.
//!
//! ```ignore
//! let nats = NatsServer::start().await;
//! let service = Emulator::start(&["--token-delay", "20ms"]).await;
//! let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
//! hark.drop_file("calls", "a.wav", &wav(2.0, 1));
//! let done = hark.next_event("transcript.final").await;
//! ```

mod api;
mod audio;
mod chromium;
mod commands;
mod emulator;
mod environment;
mod event_schema;
mod events;
pub mod ffmpeg;
mod files;
mod hark;
mod hook_receiver;
mod ledger_check;
mod messages;
mod nats_server;
mod process;
mod programs;
mod s3_server;
mod setup;
mod slow_link;
mod small_disk;
mod speech_server;
mod stage;
mod wait;
mod whisper_server;

pub use api::Api;
pub use audio::{caf, call, channel, known_call, sample, sentence, sha256, spoken, stereo, wav};
pub use chromium::{has_chromium, tell};
pub use emulator::Emulator;
pub use environment::number_from;
pub use events::{ReceivedEvent, of_kind};
pub use files::FileServer;
pub use hark::Hark;
pub use hook_receiver::{Delivered, HookReceiver, HookReply, SECRET};
pub use ledger_check::{Ends, Footprint, Input, LedgerJob, LedgerRecord, Records, Violation};
pub use messages::{all_acknowledged, publish, unacknowledged};
pub use nats_server::{NatsServer, free_address};
pub use process::Process;
pub use programs::{harkd, plugin_library, promtool, python, say_past_the_capture, skip};
pub use s3_server::S3Server;
pub use setup::Setup;
pub use slow_link::SlowLink;
pub use small_disk::{SmallDisk, has_own_mounts};
pub use speech_server::{Reply, SpeechServer};
pub use stage::Stage;
pub use wait::{CEILING, REDELIVERY, http_get, wait_until};
pub use whisper_server::WhisperServer;
