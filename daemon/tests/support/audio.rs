//! Generated and sample recordings, and the hash by which they are recognized.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A WAV file, 8 kHz, mono, 16 bit: quiet noise that depends on the seed, so that no two recordings have the same sha256.
pub fn wav(seconds: f64, seed: u64) -> Vec<u8> {
    const RATE: u32 = 8_000;
    let samples = (seconds * f64::from(RATE)) as u32;
    let bytes = samples * 2;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend(1_u16.to_le_bytes()); // PCM
    file.extend(1_u16.to_le_bytes()); // channels
    file.extend(RATE.to_le_bytes());
    file.extend((RATE * 2).to_le_bytes());
    file.extend(2_u16.to_le_bytes());
    file.extend(16_u16.to_le_bytes());
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    // xorshift; the state must not be 0, which it would keep.
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..samples {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.extend(((state >> 52) as i16 - 2048).to_le_bytes());
    }
    file
}

/// A manifest in which these recordings, of so many seconds, have so many words a second; a person says two or three.
pub fn spoken(recordings: &[(&[u8], f64, f64)]) -> Value {
    let entry = |(audio, seconds, pace): &(&[u8], f64, f64)| {
        (sha256(audio), json!({"text": vec!["word"; (seconds * pace) as usize].join(" ")}))
    };
    Value::Object(recordings.iter().map(entry).collect())
}

/// An agent and a customer in twelve seconds.
pub fn call() -> Vec<u8> {
    stereo(&[channel(12, &[(0.5, &sentence("thanks.wav"))]), channel(12, &[(5.0, &sentence("cancel.wav"))])])
}

/// A manifest with [`call`], in which the agent says the first of these texts, in this mood, and the customer the others.
pub fn known_call([greeting, wish, complaint]: [(&str, &str); 3]) -> Value {
    let said = |channel: u32, begin: u64, end: u64, (text, emotion): (&str, &str)| json!({ "channel_id": channel, "begin_time": begin, "end_time": end, "text": text, "emotion": emotion });
    let sentences =
        [said(0, 500, 3_500, greeting), said(1, 5_000, 7_000, wish), said(1, 7_000, 9_000, complaint)];
    json!({ sha256(&call()): { "text": "", "language": "en", "emotion": "neutral", "sentences": sentences } })
}

/// The same noise in a container that flash does not take, so that it is decoded and cut into pieces.
pub fn caf(seconds: f64, seed: u64) -> Vec<u8> {
    let samples = wav(seconds, seed).split_off(44);
    let mut file = b"caff\x00\x01\x00\x00desc".to_vec();
    file.extend(32_u64.to_be_bytes());
    file.extend(8_000.0_f64.to_be_bytes());
    file.extend(b"lpcm");
    // Little endian, two bytes a packet, one frame a packet, one channel, 16 bits.
    file.extend([2_u32, 2, 1, 1, 16].map(u32::to_be_bytes).concat());
    file.extend(b"data");
    file.extend((samples.len() as u64 + 4).to_be_bytes());
    file.extend(0_u32.to_be_bytes());
    file.extend(samples);
    file
}

/// A sample recording of the demo, e.g. `cancel.wav`; `xtask/samples/texts.toml` has its words.
pub fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/samples").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The samples of a sample recording with one channel: 8 kHz, 16 bit.
pub fn sentence(name: &str) -> Vec<i16> {
    sample(name)[44..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
}

/// A channel of so many seconds, 8 kHz: silence with sounds that begin at these seconds.
pub fn channel(seconds: usize, sounds: &[(f64, &[i16])]) -> Vec<i16> {
    let mut samples = vec![0; seconds * 8_000];
    for (begin, sound) in sounds {
        let begin = (begin * 8_000.0) as usize;
        samples[begin..begin + sound.len()].copy_from_slice(sound);
    }
    samples
}

/// A WAV file of these channels, 8 kHz, 16 bit.
pub fn stereo(channels: &[Vec<i16>]) -> Vec<u8> {
    let count = channels.len() as u16;
    let bytes = (channels[0].len() * channels.len() * 2) as u32;
    let mut file = wav(0.0, 0);
    file[4..8].copy_from_slice(&(36 + bytes).to_le_bytes());
    file[22..24].copy_from_slice(&count.to_le_bytes());
    file[28..32].copy_from_slice(&(16_000 * u32::from(count)).to_le_bytes());
    file[32..34].copy_from_slice(&(2 * count).to_le_bytes());
    file[40..44].copy_from_slice(&bytes.to_le_bytes());
    let frames = (0..channels[0].len()).flat_map(|at| channels.iter().map(move |channel| channel[at]));
    file.extend(frames.flat_map(i16::to_le_bytes));
    file
}

/// SHA-256 in lower-case hex, as the events and the emulator's journal have it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
