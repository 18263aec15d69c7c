//! Server-sent events, parsed as they arrive: without I/O, over bytes that may be split anywhere.
//!
//! Unlike in an ordinary parser, comments are kept: a service may send information in them.

use super::error::Error;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `event`, empty if there was none.
    pub name: String,
    /// The last comment before its end, empty if there was none.
    pub comment: String,
    /// The `data` lines, joined by line feeds.
    pub data: String,
}

/// Longest event in bytes. Five minutes of speech are some kilobytes; cumulative events repeat them.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// The state between two reads.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: Event,
    /// The first line has been read.
    is_begun: bool,
}

impl Parser {
    /// Takes the next bytes and returns the events that they complete.
    ///
    /// # Errors
    /// An event is longer than any that a service has reason to send; the stream cannot be used after it.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.line.len() + self.event.data.len() + part.len() > MAX_EVENT_BYTES {
                let message = format!("an event of the stream is longer than {MAX_EVENT_BYTES} bytes");
                return Err(Error::unreadable(&message));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                events.extend(self.end_of_line());
            }
        }
        Ok(events)
    }

    /// Reads a line; an empty one completes an event, if it has data.
    fn end_of_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        // A stream may begin with a byte order mark, which is no part of its first field.
        let line = if std::mem::replace(&mut self.is_begun, true) {
            line
        } else {
            line.trim_start_matches('\u{feff}')
        };
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            _ if line.is_empty() => {
                let mut event = std::mem::take(&mut self.event);
                return event.data.pop().map(|_| event);
            }
            "data" => {
                self.event.data.push_str(value);
                self.event.data.push('\n');
            }
            "event" => value.clone_into(&mut self.event.name),
            "" => value.clone_into(&mut self.event.comment),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(stream: &[u8]) -> Vec<Event> {
        Parser::default().push(stream).unwrap()
    }

    fn event(name: &str, comment: &str, data: &str) -> Event {
        Event { name: name.into(), comment: comment.into(), data: data.into() }
    }

    const STREAM: &str = "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"text\":\"你好 🌍\"}\n\n: keep-alive\n\nid: 2\r\nevent: error\r\n:HTTP_STATUS/429\r\ndata: a\r\ndata:b\r\ndata\r\n\r\nid:3\ndata:last\nretry:5\n\n";

    fn expected() -> Vec<Event> {
        vec![
            event("result", "HTTP_STATUS/200", "{\"text\":\"你好 🌍\"}"),
            event("error", "HTTP_STATUS/429", "a\nb\n"),
            event("", "", "last"),
        ]
    }

    #[test]
    fn reads_every_kind_of_line() {
        assert_eq!(whole(STREAM.as_bytes()), expected());
    }

    #[test]
    fn reads_one_byte_at_a_time() {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for byte in STREAM.bytes() {
            events.extend(parser.push(&[byte]).unwrap());
        }
        assert_eq!(events, expected());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_field() {
        assert_eq!(
            whole("\u{feff}data: a\n\ndata: b\n\n".as_bytes()),
            [event("", "", "a"), event("", "", "b")]
        );
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(whole(b":HTTP_STATUS/200\n\n:\n\n\n\nid:1\n\nevent:done\n\ndata:cut off"), []);
    }

    #[test]
    fn refuses_an_endless_event() {
        let kilobyte = [b'x'; 1024];
        let is_refused = |parts: &[&[u8]]| {
            let mut parser = Parser::default();
            (0..2048).any(|_| parser.push(&parts.concat()).is_err())
        };
        assert!(is_refused(&[&kilobyte]));
        assert!(is_refused(&[b"data:", &kilobyte, b"\n"]), "the sum of many short lines");
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            stream in prop::collection::vec(
                prop_oneof![
                    Just(b"data:".to_vec()), Just(b"data: \xe4\xbd\xa0".to_vec()), Just(b"\n".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"\r".to_vec()), Just(b"\n\n".to_vec()), Just(b":HTTP_STATUS/500".to_vec()), Just(b"event:error".to_vec()),
                    Just(b"id".to_vec()), Just(b"\xef\xbb\xbf".to_vec()), prop::collection::vec(any::<u8>(), 0..6),
                ],
                0..60,
            ).prop_map(|parts| parts.concat()),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for pair in cuts.windows(2) {
                events.extend(parser.push(&stream[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(events, whole(&stream));
        }
    }
}
