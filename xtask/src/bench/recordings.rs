//! Artificial recordings.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Bytes of one second: 16 kHz, 16 bits, one channel.
pub(super) const SECOND: u64 = 32_000;

/// Files that are moved into the watched folders of the contenders, one contender after the other.
pub(super) struct Recordings {
    at: PathBuf,
    names: Vec<String>,
}

impl Recordings {
    /// `count` files of this many seconds below `folder`, no two alike.
    pub(super) fn make(folder: &Path, count: usize, seconds: u64) -> anyhow::Result<Recordings> {
        let at = folder.join("recordings");
        fs::create_dir(&at).with_context(|| format!("making {}", at.display()))?;
        let names: Vec<String> = (0..count).map(|number| format!("bench-{number:04}.wav")).collect();
        for (number, name) in names.iter().enumerate() {
            let mut wave = header(seconds * SECOND).to_vec();
            wave.extend(noise(number as u64 + 1, seconds * SECOND));
            let path = at.join(name);
            fs::write(&path, wave).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(Recordings { at, names })
    }

    /// `count` copies of a WAV file below `folder`, the last bytes of each with its number, so that no two are alike.
    pub(super) fn copies(folder: &Path, count: usize, wave: &Path) -> anyhow::Result<Recordings> {
        let at = folder.join("recordings");
        fs::create_dir(&at).with_context(|| format!("making {}", at.display()))?;
        let mut bytes = fs::read(wave).with_context(|| format!("reading {}", wave.display()))?;
        let names: Vec<String> = (0..count).map(|number| format!("copy-{number:04}.wav")).collect();
        for (number, name) in (0_u32..).zip(&names) {
            let end = bytes.len().saturating_sub(4);
            bytes[end..].copy_from_slice(&number.to_le_bytes());
            let path = at.join(name);
            fs::write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(Recordings { at, names })
    }

    /// Moves them, so that each appears complete.
    pub(super) fn drop_into(&mut self, folder: &Path) -> anyhow::Result<()> {
        for name in &self.names {
            let (from, to) = (self.at.join(name), folder.join(name));
            fs::rename(&from, &to).with_context(|| format!("renaming {}", from.display()))?;
        }
        self.at = folder.to_owned();
        Ok(())
    }
}

/// One silent file of about so many bytes that takes no room on the disk.
pub(super) fn silent(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let header = header(bytes - 44);
        file.write_all(&header)?;
        file.set_len(bytes)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Of a WAVE file with so many bytes of samples.
fn header(bytes: u64) -> [u8; 44] {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX - 36);
    let mut header = [0; 44];
    header[..20].copy_from_slice(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0");
    header[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
    // PCM, one channel.
    header[20..24].copy_from_slice(b"\x01\0\x01\0");
    header[24..28].copy_from_slice(&16_000_u32.to_le_bytes());
    header[28..32].copy_from_slice(&(SECOND as u32).to_le_bytes());
    header[32..40].copy_from_slice(b"\x02\0\x10\0data");
    header[40..].copy_from_slice(&bytes.to_le_bytes());
    header
}

/// Samples that do not repeat (xorshift).
fn noise(seed: u64, bytes: u64) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..bytes / 8).flat_map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
}
