//! Server-sent events, parsed as they arrive: without I/O, over bytes that may be split anywhere.
//!
//! Unlike in an ordinary parser, comments are kept: a service may send information in them.

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

/// An event is longer than any that the service has reason to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Longest event in bytes. Five minutes of speech are some kilobytes; cumulative events repeat them.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    /// `data` or `event` was read: the next empty line ends an event.
    filled: bool,
    has_data: bool,
    after_carriage_return: bool,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new() -> Self {
        Parser::default()
    }

    /// Takes the next bytes and returns the events that they complete.
    ///
    /// # Errors
    /// [`TooLong`]; the stream cannot be used after it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let follows_carriage_return = std::mem::replace(&mut self.after_carriage_return, byte == b'\r');
            match byte {
                // The second half of CRLF.
                b'\n' if follows_carriage_return => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                _ => {
                    if self.line.len() + self.event.data.len() >= MAX_EVENT_BYTES {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    /// The last event, if the body ended before the empty line that completes it.
    pub fn finish(mut self) -> Option<Event> {
        if !self.line.is_empty() {
            self.end_of_line();
        }
        self.end_of_event()
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_of_event();
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (&*line, ""),
        };
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.filled = true;
            }
            "event" => {
                self.event.name = value.to_owned();
                self.filled = true;
            }
            "" => self.event.comment = value.to_owned(),
            _ => {}
        }
        None
    }

    fn end_of_event(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        self.has_data = false;
        std::mem::replace(&mut self.filled, false).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(stream: &[u8]) -> Vec<Event> {
        let mut parser = Parser::new();
        let mut events = parser.push(stream).unwrap();
        events.extend(parser.finish());
        events
    }

    fn event(name: &str, comment: &str, data: &str) -> Event {
        Event { name: name.into(), comment: comment.into(), data: data.into() }
    }

    const STREAM: &str = "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"text\":\"你好 🌍\"}\n\n: keep-alive\n\nid: 2\r\nevent: error\r\n:HTTP_STATUS/429\r\ndata: a\r\ndata:b\r\ndata\r\n\r\nid:3\rdata:last\rretry:5\r\r";

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
        let mut parser = Parser::new();
        let mut events = Vec::new();
        for byte in STREAM.bytes() {
            events.extend(parser.push(&[byte]).unwrap());
        }
        assert_eq!(events, expected());
        assert_eq!(parser.finish(), None);
    }

    #[test]
    fn gives_the_last_event_though_its_empty_line_is_missing() {
        assert_eq!(whole(b"data:a\n\ndata:b"), [event("", "", "a"), event("", "", "b")]);
    }

    #[test]
    fn comments_alone_are_no_event() {
        assert_eq!(whole(b":HTTP_STATUS/200\n\n:\n\n\n\nid:1\n\n"), []);
    }

    #[test]
    fn refuses_an_endless_event() {
        let mut parser = Parser::new();
        assert_eq!(parser.push(b"data:"), Ok(vec![]));
        let kilobyte = [b'x'; 1024];
        let refused = (0..2048).find_map(|_| parser.push(&kilobyte).err());
        assert_eq!(refused, Some(TooLong));
        // The limit also applies to the sum of many short lines.
        let mut parser = Parser::new();
        let refused = (0..2048).find_map(|_| parser.push(&[b"data:", &kilobyte[..], b"\n"].concat()).err());
        assert_eq!(refused, Some(TooLong));
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
            let mut parser = Parser::new();
            let mut events = Vec::new();
            for pair in cuts.windows(2) {
                events.extend(parser.push(&stream[pair[0]..pair[1]]).unwrap());
            }
            events.extend(parser.finish());
            prop_assert_eq!(events, whole(&stream));
        }
    }
}
