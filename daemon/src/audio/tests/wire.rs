//! Packets between daemon and worker.

use super::super::survey::Survey;
use super::super::wire::{MOST_BYTES, PACKET, Reply, Request, Task, from_packet};
use super::super::{Probe, ProbeError, Span};
use crate::config::PieceFormat;

#[test]
fn each_message_is_read_as_it_was_sent() {
    let span = Span { begin_ms: 1, end_ms: u64::MAX };
    let probe = Probe { format: "wav".into(), duration_ms: Some(1), ..Probe::default() };
    let survey = Survey { probe: probe.clone(), speech_ms: 7, ..Survey::default() };
    for reply in [
        Reply::Piece(span),
        Reply::Until(9),
        Reply::Bytes(vec![0, b'{', 255]),
        Reply::Bytes(vec![7; MOST_BYTES]),
        Reply::Probed(Ok(probe)),
        Reply::Surveyed(Ok(survey)),
        Reply::Surveyed(Err(ProbeError::Undecodable("why".into()))),
        Reply::Made(Ok(())),
    ] {
        let packet = reply.to_packet().unwrap();
        assert!(packet.len() <= PACKET);
        assert_eq!(Reply::of_packet(&packet).unwrap(), reply);
    }
    let task = Task::Piece { recording: u64::MAX, span, format: PieceFormat::Flac };
    let request = Request { extension: Some("wav".into()), task };
    assert_eq!(from_packet::<Request>(&serde_json::to_vec(&request).unwrap()).unwrap(), request);
}

#[test]
fn what_no_worker_sends_is_an_error() {
    for packet in [&b""[..], b"{", b"{\"Bytes\":[1]}", b"{\"Until\":-1}", b"\xff"] {
        assert!(Reply::of_packet(packet).is_err(), "{packet:?}");
    }
}
