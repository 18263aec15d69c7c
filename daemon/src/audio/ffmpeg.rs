//! ffmpeg, for audio that symphonia cannot decode: in a child of its own, which is given the open file and the end of a pipe and no path.
//!
//! The worker that reads the recording has no right to start a program. It asks the daemon, which starts `harkd ffmpeg`; that process gives
//! its rights up ([`crate::os::sandbox::confine_ffmpeg`]) and becomes ffmpeg. The worker is sent the other end of the pipe, and reads the
//! decoded audio as a WAV file without an end. ffmpeg ends when the worker closes the pipe, and is killed with its handle.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;

use super::index_first::index_first;
use crate::os::{ChildCommand, Limits, packet, sandbox};

/// The demuxers that ffmpeg may be started with, by the formats that [`super::signature`] names.
const DEMUXERS: [(&str, &str); 25] = [
    ("3gp", "mov"),
    ("aac", "aac"),
    ("aiff", "aiff"),
    ("amr", "amr"),
    ("ape", "ape"),
    ("au", "au"),
    ("avi", "avi"),
    ("caf", "caf"),
    ("flv", "flv"),
    ("g729", "g729"),
    ("gsm", "gsm"),
    ("m4a", "mov"),
    ("mkv", "matroska"),
    ("mov", "mov"),
    ("mp2", "mp3"),
    ("mp4", "mov"),
    ("mpeg", "mpeg"),
    ("ogg", "ogg"),
    ("ts", "mpegts"),
    ("w64", "w64"),
    ("wav", "wav"),
    ("webm", "matroska"),
    ("wma", "asf"),
    ("wmv", "asf"),
    ("wv", "wv"),
];

/// ISO media of up to this many bytes whose index comes last is put in order in memory first ([`index_first`]).
const PUT_IN_ORDER: u64 = 64 << 20;

/// Bytes that are read at once.
const BLOCK: u64 = 1 << 20;

/// ffmpeg keeps twice of what it reads at once, and maps 100 MB of libraries.
const LIMITS: Limits = Limits {
    memory: Some(512 << 20),
    // Twelve hours take five minutes on a slow machine.
    cpu_seconds: Some(1_200),
    // The standard three, the socket, and the libraries one by one.
    descriptors: Some(32),
    // Memory in which a file is put in order; none is left when the process becomes ffmpeg.
    file_bytes: Some(PUT_IN_ORDER),
    tasks: None,
};

/// The longest packet between daemon and child, in bytes.
const PACKET: usize = 8 << 10;

/// The demuxer for a format.
pub(super) fn demuxer(format: &str) -> Option<&'static str> {
    DEMUXERS.iter().find(|(name, _)| *name == format).map(|(_, demuxer)| *demuxer)
}

/// Where ffmpeg is installed, by the variable `PATH`.
pub fn find() -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.is_absolute() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join("ffmpeg")).find(is_program)
}

/// A process that decodes a file. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Decoding {
    process: tokio::process::Child,
}

impl Decoding {
    /// How the process was killed, if it was, and whether by SIGKILL, which neither the file nor the limits cause; waits at most a second for
    /// its end. What came through the pipe is then not the whole recording.
    pub(super) async fn was_killed(mut self) -> Option<(String, bool)> {
        let status = timeout(Duration::from_secs(1), self.process.wait()).await.ok()?.ok()?;
        // ffmpeg catches the signal of the CPU limit, and ends with this status.
        let is_killed = status.signal().is_some() || status.code() == Some(255);
        is_killed.then(|| (format!("ffmpeg: {status}"), status.signal() == Some(libc::SIGKILL)))
    }
}

/// What the daemon tells the child, with the file's descriptor. The end of the pipe comes with the packet after it.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    program: PathBuf,
    demuxer: String,
}

/// What the child answers before it becomes ffmpeg, and again if it could not.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// With the parts of the sandbox that the kernel does not provide.
    Confined(sandbox::Missing),
    Failed(String),
}

/// Starts decoding a file from its begin on, in a child of `executable` (see [`crate::os::spawn::this_executable`]). Returns the end of the
/// pipe from which a WAV file is read; it is empty if ffmpeg cannot decode the file.
///
/// # Errors
/// When the demuxer is none that the sniffer names, no process can be started, or ffmpeg cannot be run.
pub(super) async fn start(
    executable: &Path,
    program: &Path,
    file: &File,
    demuxer: &str,
) -> io::Result<(Decoding, OwnedFd)> {
    if !DEMUXERS.iter().any(|(_, known)| *known == demuxer) {
        return Err(io::Error::other("no such demuxer"));
    }
    // A descriptor with an offset of its own: the daemon and the worker read the file too.
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let (end, begin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (process, socket) = ChildCommand::new(executable, "ffmpeg").limits(LIMITS).spawn_packets().await?;
    let decoding = Decoding { process };
    let order = Order { program: program.to_owned(), demuxer: demuxer.to_owned() };
    socket.send(&serde_json::to_vec(&order)?, Some(file.as_fd())).await?;
    socket.send(b"pipe", Some(begin.as_fd())).await?;
    drop(begin);
    let mut buffer = vec![0; PACKET];
    let mut is_confined = false;
    // The socket closes when the child has become ffmpeg.
    while let Some(packet) = socket.receive(&mut buffer).await? {
        match serde_json::from_slice(&buffer[..packet.length])? {
            Answer::Confined(missing) => {
                is_confined = true;
                for missing in missing {
                    debug!(missing, "the sandbox of ffmpeg is not complete");
                }
            }
            Answer::Failed(why) => {
                return Err(io::Error::other(format!("{} cannot be run: {why}", program.display())));
            }
        }
    }
    if !is_confined {
        return Err(io::Error::other("the process that becomes ffmpeg ended at once"));
    }
    Ok((decoding, end))
}

/// Becomes ffmpeg, as the daemon at the other end of `socket` orders.
///
/// # Errors
/// When the socket fails, or ffmpeg cannot be run; the daemon is told.
pub fn run(socket: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; PACKET];
    let mut receive = || {
        let packet = packet::receive(socket.as_fd(), &mut buffer)?;
        let packet = packet.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let descriptor = packet.descriptor.ok_or_else(|| io::Error::other("a packet came without a file"))?;
        io::Result::Ok((buffer[..packet.length].to_vec(), descriptor))
    };
    let (order, file) = receive()?;
    let (_, pipe) = receive()?;
    let order: Order = serde_json::from_slice(&order)?;
    let input = if order.demuxer == "mov" { in_order(File::from(file))? } else { File::from(file) };
    setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: Some(0) })?;
    let mut command = Command::new(&order.program);
    command.args(arguments(&order.demuxer)).env_clear().stdin(input).stdout(pipe).stderr(Stdio::null());
    let tell = |answer: &Answer| packet::send(socket.as_fd(), &serde_json::to_vec(answer)?, None);
    tell(&Answer::Confined(sandbox::confine_ffmpeg(&order.program)))?;
    let error = command.exec();
    tell(&Answer::Failed(error.to_string()))?;
    Err(error)
}

/// ISO media as ffmpeg can read it from standard input: with its index first.
fn in_order(file: File) -> io::Result<File> {
    let length = file.metadata()?.len();
    if length > PUT_IN_ORDER {
        return Ok(file);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let Some(ordered) = index_first(&bytes) else { return Ok(file) };
    let mut memory = File::from(memfd_create("hark-ordered", MemfdFlags::CLOEXEC)?);
    memory.write_all(&ordered)?;
    memory.rewind()?;
    Ok(memory)
}

/// Decode the first sound track of standard input with this demuxer alone; gaps of more than a tenth of a second become silence. AVI has no
/// times: ffmpeg makes them of the sizes of chunks, and if those are larger than the header says, there is a gap behind each.
fn arguments(demuxer: &str) -> Vec<OsString> {
    let input = format!(
        "-nostdin -hide_banner -loglevel quiet -threads 1 -protocol_whitelist pipe,fd -format_whitelist {demuxer} -blocksize {BLOCK} \
         -f {demuxer} -i pipe:0"
    );
    let gaps = if demuxer == "avi" { "" } else { "-af aresample=async=1" };
    let output = format!("-map 0:a:0 -map_metadata -1 {gaps} -fflags +bitexact -c:a pcm_s16le -f wav pipe:1");
    input.split_whitespace().chain(output.split_whitespace()).map(OsString::from).collect()
}
