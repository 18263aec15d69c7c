//! Recordings that ffmpeg makes, for tests that need it as well to decode them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::programs;

/// Whether ffmpeg is installed. If not, the caller returns, and the test counts as passed although nothing was tested, which a line says.
/// With `HARK_TESTS_ALL` that is a failure.
pub fn has_ffmpeg(test: &str) -> bool {
    let is_there =
        Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        programs::skip(&format!("{test}: no ffmpeg; install it (Debian, Ubuntu: apt install ffmpeg)"));
    }
    is_there
}

/// Seconds of noise with `channels` channels at 16 kHz, encoded by these options; the last one is the muxer's `-f`.
pub fn encoded(seconds: u32, channels: u32, options: &str) -> Vec<u8> {
    let noise = format!("anoisesrc=r=16000:a=0.3:seed={seconds}:d={seconds}");
    made(&["-f", "lavfi", "-i", &noise, "-ac", &channels.to_string()], options)
}

/// As [`encoded`], with moving pictures.
pub fn with_pictures(seconds: u32, options: &str) -> Vec<u8> {
    let noise = format!("anoisesrc=r=16000:a=0.3:seed={seconds}:d={seconds}");
    let pictures = format!("testsrc=s=64x48:r=25:d={seconds}");
    made(&["-f", "lavfi", "-i", &noise, "-f", "lavfi", "-i", &pictures], options)
}

/// The audio of a file of this muxer in another container, as it is.
pub fn remuxed(bytes: &[u8], from: &str, options: &str) -> Vec<u8> {
    converted(bytes, from, &format!("-c copy {options}"))
}

/// A file of this muxer, encoded anew by these options; the last one is the muxer's `-f`.
pub fn converted(bytes: &[u8], from: &str, options: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, bytes).unwrap();
    made(&["-f", from, "-i", input.to_str().unwrap()], options)
}

fn made(input: &[&str], options: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let output: PathBuf = folder.path().join("output");
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(input)
        .args(options.split_whitespace())
        .arg(&output)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg {input:?} {options}");
    std::fs::read(output).unwrap()
}

/// Seconds of AMR of 12.2 kbit/s, a container of its own: bits that mean noise.
pub fn amr(seconds: usize) -> Vec<u8> {
    let mut bits = bits();
    let mut file = b"#!AMR\n".to_vec();
    for _ in 0..seconds * 50 {
        file.push(0x3c);
        file.extend(bits.by_ref().take(31));
    }
    file
}

/// Seconds of G.729 in a WAV file.
pub fn g729(seconds: u32) -> Vec<u8> {
    let bytes = seconds * 1_000;
    let format = [
        &0x83_u16.to_le_bytes()[..],
        &1_u16.to_le_bytes(),
        &8_000_u32.to_le_bytes(),
        &1_000_u32.to_le_bytes(),
        &10_u16.to_le_bytes(),
        &[0; 4],
    ]
    .concat();
    let mut file =
        [b"RIFF", &(bytes + 38).to_le_bytes()[..], b"WAVEfmt ", &18_u32.to_le_bytes(), &format].concat();
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(bits().take(bytes as usize));
    file
}

fn bits() -> impl Iterator<Item = u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some((state >> 56) as u8)
    })
}
