//! Packets between daemon and worker.

use hark_sdk::event::TimeSpan;

use super::super::analysis::Analysis;
use super::super::wire::{MOST_BYTES, MOST_INTERRUPTIONS, PACKET, Reply, Request, Task, from_packet};
use super::super::{ChannelSound, MOST_CHANNELS, Probe, ProbeError, Section, Talk, Turns};
use crate::config::PieceFormat;

#[test]
fn each_message_is_read_as_it_was_sent() {
    // As long as they may get: two days in milliseconds.
    const LAST: u64 = 172_800_000;
    let span = TimeSpan { begin_ms: LAST, end_ms: LAST };
    let section = Section { channel: Some(MOST_CHANNELS - 1), parts: vec![span; 512] };
    let probe = Probe { format: "wav".into(), duration_ms: Some(1), ..Probe::default() };
    let sounding =
        ChannelSound { level_dbfs: Some(-23.4), clipped: 0.123_456, doubles: Some(1), is_silent: false };
    let mut analysis = Analysis { probe: probe.clone(), speech_ms: LAST, ..Analysis::default() };
    analysis.channels = vec![sounding; MOST_CHANNELS as usize];
    let turns = vec![Turns { speech_ms: LAST, count: 99_999, longest_ms: LAST }; MOST_CHANNELS as usize];
    analysis.talk = Some(Talk { turns, ..Talk::default() });
    for reply in [
        Reply::Piece(section.clone()),
        Reply::Interruptions(9_000, vec![(15, LAST); MOST_INTERRUPTIONS]),
        Reply::Until(9),
        Reply::Bytes(vec![0, b'{', 255]),
        Reply::Bytes(vec![7; MOST_BYTES]),
        Reply::Probed(Ok(probe)),
        Reply::Analyzed(Ok(analysis)),
        Reply::Analyzed(Err(ProbeError::Undecodable("why".into()))),
        Reply::Made(Ok(())),
    ] {
        let packet = reply.to_packet().unwrap();
        assert!(packet.len() <= PACKET);
        assert_eq!(Reply::of_packet(&packet).unwrap(), reply);
    }
    let task = Task::Piece { recording: u64::MAX, section, format: PieceFormat::Flac };
    let request = Request { extension: Some("wav".into()), task };
    let packet = serde_json::to_vec(&request).unwrap();
    assert!(packet.len() <= PACKET);
    assert_eq!(from_packet::<Request>(&packet).unwrap(), request);
}

#[test]
fn what_no_worker_sends_is_an_error() {
    for packet in [&b""[..], b"{", b"{\"Bytes\":[1]}", b"{\"Until\":-1}", b"\xff"] {
        assert!(Reply::of_packet(packet).is_err(), "{packet:?}");
    }
}
