//! What the daemon asks of audio workers, and which answers it believes.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, TimeSpan};

use super::analysis::{Analysis, AnalysisPlan};
use super::pool::Pool;
use super::talk::MOST_INTERRUPTIONS;
use super::wire::{Reply, Task};
use super::{MOST_CHANNELS, Probe, ProbeError, Section, ffmpeg};
use crate::config::PieceFormat;
use crate::telemetry::metrics::Metrics;

/// Longest time between two messages of a busy worker: long enough for a gigabyte of frames from a slow disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most parts that all pieces of a recording have together: two days in seconds.
const MOST_PARTS: usize = 48 * 3_600;

/// The longest piece in bytes: an hour of WAV.
const LARGEST_PIECE: usize = 128 << 20;

/// Probes and decodes audio files in child processes. Clones share the children.
///
/// A child is started when it is first needed, and replaced when it crashes, hangs or has served 1,000 files. Any number of callers may
/// wait; a waiting caller costs only its future and the file that it holds open. Dropping a future ends the child that was busy with it.
///
/// Each file must be a regular file open for reading; its position is not changed. `hint_extension` is the extension of its name.
#[derive(Debug, Clone)]
pub struct Workers {
    /// For answers within milliseconds.
    probing: Arc<Pool>,
    /// For analyses and pieces, which must not keep probes waiting.
    decoding: Arc<Pool>,
}

impl Workers {
    /// Two pools of at most `count` children (at least one) of `executable` (see [`crate::os::spawn::this_executable`]): one for probes,
    /// one for analyses and pieces. Starts none yet.
    pub fn start(executable: PathBuf, count: usize, metrics: Metrics) -> Self {
        Workers::with_patience(executable, count, metrics, PATIENCE)
    }

    /// As [`Self::start`], with another limit on the time for one file.
    pub fn with_patience(executable: PathBuf, count: usize, metrics: Metrics, patience: Duration) -> Self {
        let ffmpeg = ffmpeg::find();
        let pool =
            || Arc::new(Pool::new(executable.clone(), ffmpeg.clone(), count, metrics.clone(), patience));
        Workers { probing: pool(), decoding: pool() }
    }

    /// Finds out format, length and channels.
    ///
    /// Waits for a free child, then at most 20 s (40 s if a child crashed or hung and another retries). If only ffmpeg
    /// can read the file, a child decodes all of it to find length and channels, some hundred times faster than the recording plays.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn probe(&self, file: &File, hint_extension: Option<&str>) -> Result<Probe, ProbeError> {
        let answer = |reply| match reply {
            Reply::Probed(answer) => Some(answer),
            _ => None,
        };
        let probe = self.probing.ask(file, hint_extension, Task::Probe, |_, _| None, answer).await?;
        if probe.duration_ms.is_some() && probe.channels.is_some() {
            return Ok(probe);
        }
        let take = |_, reply| matches!(reply, Reply::Until(_)).then_some(());
        match self.decoding.ask(file, hint_extension, Task::Measure, take, answer).await {
            Ok(measured) => Ok(measured),
            Err(error) if error.blame() == Blame::Hark => Err(error),
            // Some recognizers take it as it is.
            Err(error) => Ok(Probe { undecodable: Some(error.to_string()), ..probe }),
        }
    }

    /// Analyzes a recording once, and finds where to cut it if `plan` says so. `found` receives each section as soon as it is found, so that
    /// pieces can be made and sent during the analysis: sections of mixed channels one after another in order of time, sections of single
    /// channels at the end. If a child crashes and another retries, it finds the same sections; `found` receives each only once.
    ///
    /// Decodes some hundred times faster than the recording plays; never waits more than 20 s for a sign of progress.
    ///
    /// # Errors
    /// See [`ProbeError`]; [`ProbeError::Undecodable`] for audio that can only be sent as it is.
    pub async fn analyze(
        &self,
        file: &File,
        hint_extension: Option<&str>,
        plan: AnalysisPlan,
        mut found: impl FnMut(Section) + Send,
    ) -> Result<Analysis, ProbeError> {
        let (mut sections, mut parts, mut interruptions) = (Vec::<Section>::new(), 0_usize, Vec::new());
        let take = |count: usize, reply| match reply {
            Reply::Until(_) => Some(()),
            Reply::Interruptions(first, further) => {
                interruptions.truncate(first);
                interruptions.extend(further);
                (interruptions.len() <= MOST_INTERRUPTIONS).then_some(())
            }
            Reply::Piece(section) => {
                if sections.len() > count {
                    // A retry finds the same ones again.
                    return (sections[count] == section).then_some(());
                }
                parts += section.parts.len();
                if !is_possible(&sections, &section) || parts > MOST_PARTS {
                    return None;
                }
                sections.push(section.clone());
                found(section);
                Some(())
            }
            _ => None,
        };
        let answer = |reply| match reply {
            Reply::Analyzed(answer) => Some(answer),
            _ => None,
        };
        let mut analysis = self.decoding.ask(file, hint_extension, Task::Analyze(plan), take, answer).await?;
        if let Some(talk) = &mut analysis.talk {
            talk.interruptions = interruptions;
        }
        Ok(Analysis { sections, ..analysis })
    }

    /// The bytes of a piece: 16 kHz, one channel, 16 bits. Pieces of one recording and channel that are asked for in order of time are
    /// decoded in one pass; any other place is searched in the file.
    ///
    /// # Errors
    /// As for [`Self::analyze`].
    pub async fn piece(
        &self,
        file: &File,
        hint_extension: Option<&str>,
        section: Section,
        format: PieceFormat,
    ) -> Result<Vec<u8>, ProbeError> {
        let recording = identity(file, section.channel)?;
        let mut bytes: Vec<u8> = Vec::new();
        let take = |count: usize, reply| match reply {
            Reply::Bytes(more) => {
                if count == 0 {
                    bytes.clear();
                }
                bytes.extend_from_slice(&more);
                (bytes.len() <= LARGEST_PIECE).then_some(())
            }
            Reply::Until(_) => Some(()),
            _ => None,
        };
        let answer = |reply| match reply {
            Reply::Made(answer) => Some(answer),
            _ => None,
        };
        let task = Task::Piece { recording, section, format };
        self.decoding.ask(file, hint_extension, task, take, answer).await?;
        Ok(bytes)
    }
}

/// Whether a section may follow those before: none begins before the one before it of its channel ends.
fn is_possible(before: &[Section], section: &Section) -> bool {
    let last = before.iter().rev().find(|other| other.channel == section.channel);
    let mut end = last.map_or(0, Section::end_ms);
    let follows = |part: &TimeSpan| {
        let is_next = end <= part.begin_ms && part.begin_ms < part.end_ms;
        end = part.end_ms;
        is_next
    };
    let is_known = section.channel.is_none_or(|channel| channel < MOST_CHANNELS);
    is_known && !section.parts.is_empty() && section.parts.iter().all(follows)
}

/// Tells recordings, and their channels, apart while a child decodes one.
fn identity(file: &File, channel: Option<u32>) -> io::Result<u64> {
    let status = file.metadata()?;
    let mut hasher = DefaultHasher::new();
    (status.dev(), status.ino(), status.size(), status.mtime(), status.mtime_nsec()).hash(&mut hasher);
    channel.hash(&mut hasher);
    Ok(hasher.finish())
}
