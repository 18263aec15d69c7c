//! Who speaks in a segment, and how the files call them.

use hark_sdk::event::Segment;

/// Who speaks. Two segments of equal speakers are one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Speaker<'a> {
    channel: u32,
    role: Option<&'a str>,
    speaker: Option<&'a str>,
}

impl<'a> Speaker<'a> {
    pub(crate) fn of(segment: &'a Segment) -> Speaker<'a> {
        Speaker {
            channel: segment.channel,
            role: segment.role.as_deref(),
            speaker: segment.speaker.as_deref(),
        }
    }

    /// The role as the route names it, or the recognizer's number, or both; `None` where neither is known.
    pub(crate) fn name(self) -> Option<String> {
        match (self.role, self.speaker) {
            (Some(role), None) => Some(role.to_owned()),
            (None, Some(speaker)) => Some(format!("Speaker {speaker}")),
            (Some(role), Some(speaker)) => Some(format!("{role} {speaker}")),
            (None, None) => None,
        }
    }
}

/// What stands before the words.
pub(crate) fn label(name: &str) -> String {
    format!("{name}: ")
}
