//! Who speaks in a segment, and how the files call them.

use hark_sdk::event::Segment;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// The same in at most half a line of this many columns: a longer name is cut.
pub(crate) fn short_label(name: &str, max_chars: u32) -> String {
    // The colon and the space.
    let room = (max_chars / 2) as usize - 2;
    if name.width() <= room {
        return label(name);
    }
    let mut width = 1;
    let is_room = |character: &char| {
        width += character.width().unwrap_or(0);
        width <= room
    };
    let begin: String = name.chars().take_while(is_room).collect();
    label(&format!("{}…", begin.trim_end()))
}
