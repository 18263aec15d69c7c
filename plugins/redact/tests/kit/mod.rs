//! Calls the plugin as the daemon does.

use hark_sdk::event::{Body, Engine, Event, Segment, Timing, TranscriptSegment};
use hark_sdk::testing::{Bench, event, transcript};
use redact::Redact;
use uuid::Uuid;

pub const ALL: &str = r#"{"find": ["card", "phone", "email", "iban"]}"#;

pub struct Call {
    bench: Bench<Redact>,
    job: Uuid,
    revision: u64,
}

impl Call {
    pub fn new(config: &str) -> Call {
        Call { bench: Bench::create(config).unwrap(), job: Uuid::now_v7(), revision: 0 }
    }

    /// Another process of the plugin gets the rest of the call.
    pub fn restart(&mut self, config: &str) {
        self.bench = Bench::create(config).unwrap();
    }

    fn replaced(&mut self, mut event: Event) -> Event {
        event.job = self.job;
        let heard = self.bench.hand(&event).unwrap();
        assert!(heard.refused.is_empty() && heard.log.is_empty(), "{heard:?}");
        heard.replaced.unwrap()
    }

    /// A partial of the only piece of a recording.
    pub fn partial(&mut self, text: &str) -> String {
        self.revision += 1;
        match self.replaced(hark_sdk::testing::partial(self.revision, text)).body {
            Body::TranscriptPartial(partial) => partial.text,
            other => panic!("{other:?}"),
        }
    }

    /// A piece in the middle of a recording, of one channel.
    pub fn piece(&mut self, texts: &[&str]) -> Vec<String> {
        let segment = TranscriptSegment {
            engine: Engine::FLASH,
            model: "model".to_owned(),
            piece: 2,
            pieces: None,
            begin_ms: 20_000,
            end_ms: 40_000,
            truncated: false,
            segments: texts.iter().map(|text| segment(0, 20_000, text)).collect(),
        };
        match self.replaced(event(Body::TranscriptSegment(segment))).body {
            Body::TranscriptSegment(segment) => segment.segments.into_iter().map(|it| it.text).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The final of a recording with these segments: its text, and theirs.
    pub fn said(&mut self, said: &[(u32, &str)]) -> (String, Vec<String>) {
        let Body::TranscriptFinal(mut made) = transcript(&[]).body else { unreachable!() };
        let segments = said.iter().zip(0..);
        made.segments =
            Some(segments.map(|((channel, text), place)| segment(*channel, place * 1_000, text)).collect());
        made.text = hark_sdk::joined::dialogue(said.iter().copied());
        match self.replaced(event(Body::TranscriptFinal(made))).body {
            Body::TranscriptFinal(made) => {
                let segments = made.segments.unwrap();
                let composed = segments.iter().map(|it| (it.channel, it.text.as_str()));
                assert_eq!(made.text, hark_sdk::joined::dialogue(composed));
                (made.text.clone(), segments.into_iter().map(|it| it.text).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    /// The final of a recording of one channel.
    pub fn spoken(&mut self, texts: &[&str]) -> Vec<String> {
        self.said(&texts.iter().map(|text| (0, *text)).collect::<Vec<_>>()).1
    }
}

/// A final of one text.
pub fn redacted(config: &str, text: &str) -> String {
    Call::new(config).spoken(&[text]).remove(0)
}

pub fn segment(channel: u32, begin_ms: u64, text: &str) -> Segment {
    Segment {
        channel,
        begin_ms: Some(begin_ms),
        end_ms: Some(begin_ms + 900),
        timing: Timing::Service,
        text: text.to_owned(),
        ..Segment::default()
    }
}
