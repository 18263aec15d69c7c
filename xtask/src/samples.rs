//! The sample recordings: spoken by speech synthesizers from `xtask/samples/texts.toml`, so that anyone can read, change and remake them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::workspace::Workspace;

/// Where texts, recordings and manifest are.
pub(crate) const FOLDER: &str = "xtask/samples";
/// The manifest that the emulator is started with.
pub(crate) const MANIFEST: &str = "xtask/samples/manifest.json";
/// The sample rate of telephones; enough for speech, and small enough to commit.
const SAMPLE_RATE: usize = 8_000;
/// The pause between two sentences, where the sample names none.
const PAUSE_MS: usize = 400;

/// The manifest's entries; the key is the sha256 of the recording's bytes.
pub(crate) type Manifest = BTreeMap<String, Entry>;

/// One recording of the manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) language: String,
    pub(crate) emotion: String,
    pub(crate) sentences: Vec<Sentence>,
}

/// A sentence of the manifest; times are milliseconds from the start of the recording.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sentence {
    pub(crate) channel_id: usize,
    pub(crate) begin_time: usize,
    pub(crate) end_time: usize,
    pub(crate) text: String,
    pub(crate) language: String,
    pub(crate) emotion: String,
}

/// The manifest as it is committed.
pub(crate) fn manifest(workspace: &Workspace) -> anyhow::Result<Manifest> {
    let path = workspace.path(MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

impl Entry {
    /// Length of the recording in seconds; the samples end with their last sentence.
    pub(crate) fn seconds(&self) -> f64 {
        let end = self.sentences.iter().map(|sentence| sentence.end_time).max().unwrap_or(0);
        end as f64 / 1000.0
    }
}

/// Speaks every sample of `texts.toml` and writes the manifest.
pub(crate) fn speak_all(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = workspace.path(FOLDER);
    let script_path = folder.join("texts.toml");
    let script =
        fs::read_to_string(&script_path).with_context(|| format!("reading {}", script_path.display()))?;
    let script: Script =
        toml::from_str(&script).with_context(|| format!("reading {}", script_path.display()))?;
    let mut manifest = Manifest::new();
    for sample in &script.sample {
        let (audio, sentences) = script.speak(sample).with_context(|| sample.file.clone())?;
        let path = folder.join(&sample.file);
        encode(&audio, sample.channels.len(), &path)?;
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let entry = sample.entry(sentences);
        println!("{:<18} {:>7} bytes  {:>6.1} s", sample.file, bytes.len(), entry.seconds());
        manifest.insert(hex(&Sha256::digest(&bytes)), entry);
    }
    let path = workspace.path(MANIFEST);
    let text = serde_json::to_string_pretty(&manifest).context("writing the manifest as JSON")?;
    fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

#[derive(Debug, Deserialize)]
struct Script {
    voice: BTreeMap<String, Voice>,
    sample: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Voice {
    Flite { flite: String, stretch: f64 },
    Espeak { espeak: String, pitch: u32, words_per_minute: u32 },
}

#[derive(Debug, Deserialize)]
struct Sample {
    file: String,
    language: String,
    pause_ms: Option<usize>,
    /// Voices by channel; a recording of one channel has any voices.
    #[serde(default = "one_channel")]
    channels: Vec<String>,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    voice: String,
    emotion: String,
    text: String,
    /// The text for the synthesizer, where it cannot read the original text.
    spoken: Option<String>,
}

fn one_channel() -> Vec<String> {
    vec![String::new()]
}

impl Script {
    /// Interleaved samples, and the position of each sentence in them.
    fn speak(&self, sample: &Sample) -> anyhow::Result<(Vec<i16>, Vec<Sentence>)> {
        let channels = sample.channels.len();
        let pause = vec![0; sample.pause_ms.unwrap_or(PAUSE_MS) * SAMPLE_RATE / 1000 * channels];
        let mut audio: Vec<i16> = Vec::new();
        let mut sentences = Vec::new();
        for line in &sample.lines {
            if !audio.is_empty() {
                audio.extend(&pause);
            }
            let voice = self.voice.get(&line.voice).with_context(|| format!("no voice {:?}", line.voice))?;
            let channel = sample.channels.iter().position(|name| *name == line.voice).unwrap_or(0);
            let begin = audio.len();
            for value in voice.say(line.spoken.as_ref().unwrap_or(&line.text))? {
                audio.extend((0..channels).map(|index| if index == channel { value } else { 0 }));
            }
            let milliseconds = |position: usize| position / channels * 1000 / SAMPLE_RATE;
            sentences.push(Sentence {
                channel_id: channel,
                begin_time: milliseconds(begin),
                end_time: milliseconds(audio.len()),
                text: line.text.clone(),
                language: sample.language.clone(),
                emotion: line.emotion.clone(),
            });
        }
        Ok((audio, sentences))
    }
}

impl Sample {
    fn entry(&self, sentences: Vec<Sentence>) -> Entry {
        // Chinese and Japanese put no space between sentences.
        let space = if matches!(self.language.as_str(), "zh" | "ja") { "" } else { " " };
        let texts: Vec<&str> = self.lines.iter().map(|line| line.text.as_str()).collect();
        Entry {
            name: self.file.clone(),
            text: texts.join(space),
            language: self.language.clone(),
            emotion: self.prevailing_emotion(),
            sentences,
        }
    }

    /// The value that most lines have; of several, the first to reach that count.
    fn prevailing_emotion(&self) -> String {
        let count = |emotion: &str| self.lines.iter().filter(|line| line.emotion == emotion).count();
        let mut best = "";
        for line in &self.lines {
            if best.is_empty() || count(&line.emotion) > count(best) {
                best = &line.emotion;
            }
        }
        best.to_owned()
    }
}

impl Voice {
    fn say(&self, text: &str) -> anyhow::Result<Vec<i16>> {
        let spoken = match self {
            Voice::Flite { flite, stretch } => {
                let stretch = format!("duration_stretch={stretch}");
                let mut command = Command::new("flite");
                command.args(["-voice", flite, "--setf", &stretch, "-t", text, "-o", "/dev/stdout"]);
                pipe(&mut command, b"")?
            }
            Voice::Espeak { espeak, pitch, words_per_minute } => {
                let mut command = Command::new("espeak-ng");
                command.args(["-v", espeak]).args(["-p", &pitch.to_string()]);
                command.args(["-s", &words_per_minute.to_string()]).args(["--stdout", "-b", "1", "--stdin"]);
                pipe(&mut command, text.as_bytes())?
            }
        };
        // The length in the header may be wrong: it was written before the length was known. Without dither, the same text is the same
        // bytes.
        let raw = pipe(
            Command::new("sox")
                .args(["-D", "--ignore-length", "-t", "wav", "-", "-t", "raw"])
                .args(RAW)
                .args([
                    "-c", "1", "-", "gain", "-n", "-3", "silence", "1", "0.01", "0.1%", "reverse", "silence",
                    "1", "0.01", "0.1%", "reverse",
                ]),
            &spoken,
        )?;
        ensure!(raw.len() > SAMPLE_RATE / 2, "the voice said nothing for {text:?}");
        Ok(raw.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
    }
}

const RAW: [&str; 6] = ["-r", "8000", "-b", "16", "-e", "signed-integer"];

fn encode(audio: &[i16], channels: usize, path: &Path) -> anyhow::Result<()> {
    let raw: Vec<u8> = audio.iter().flat_map(|value| value.to_le_bytes()).collect();
    let channels = channels.to_string();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let mut command = match extension {
        "wav" | "flac" => {
            let mut sox = Command::new("sox");
            sox.args(["-D", "-t", "raw"])
                .args(RAW)
                .args(["-c", &channels, "-"])
                .args(["--comment", ""])
                .arg(path);
            sox
        }
        "mp3" => {
            let mut lame = Command::new("lame");
            lame.args([
                "--quiet",
                "-r",
                "-s",
                "8",
                "--bitwidth",
                "16",
                "--signed",
                "--little-endian",
                "-m",
                "m",
            ]);
            lame.args(["-b", "16", "--cbr", "-q", "0", "-"]).arg(path);
            lame
        }
        other => bail!("no way to write {other:?}; a sample is wav, flac or mp3"),
    };
    pipe(&mut command, &raw).map(|_| ())
}

/// The output of `command` with this input.
fn pipe(command: &mut Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program} (apt install flite espeak-ng sox lame)"))?;
    let mut stdin = child.stdin.take().context("a pipe to the child")?;
    let output = std::thread::scope(|scope| {
        // Written by another thread: otherwise each side could wait for the other's full pipe. A child that ends early is noticed by its
        // status.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output()
    })
    .with_context(|| format!("reading from {program}"))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(output.stdout)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
