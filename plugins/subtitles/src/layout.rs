//! Puts the parts of a cue into lines.

use crate::text::{Cut, Part, Text};

/// The room that a cue has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Columns of a line.
    pub(crate) columns: u32,
    /// Columns of the first line, which may begin with a name.
    pub(crate) first: u32,
    /// Most lines.
    pub(crate) lines: u32,
}

impl Room {
    fn of_line(&self, number: u32) -> u32 {
        if number == 0 { self.first } else { self.columns }
    }
}

/// Fills lines one part after the other, each as far as it goes: so the number of lines is the least possible.
#[derive(Debug)]
pub(crate) struct Filler {
    room: Room,
    /// Lines that are begun.
    lines: u32,
    used: u32,
    is_spaced: bool,
}

impl Filler {
    pub(crate) fn new(room: Room) -> Filler {
        Filler { room, lines: 0, used: 0, is_spaced: false }
    }

    /// Adds a part. False: it takes a line more than there is room for.
    pub(crate) fn add(&mut self, part: &Part) -> bool {
        let with_space = self.used + u32::from(self.is_spaced) + part.width;
        if self.lines > 0 && with_space <= self.room.of_line(self.lines - 1) {
            self.used = with_space;
        } else {
            self.lines += 1;
            self.used = part.width;
        }
        self.is_spaced = part.is_spaced;
        self.lines <= self.room.lines
    }
}

/// What the end of the first line costs the reader, for cues that begin with the same part and end later and later. Only cues of one and two
/// lines have a cost: to try all lines of longer ones would take too long in a recording of many hours.
#[derive(Debug)]
pub(crate) struct FirstLine<'a> {
    text: &'a Text,
    room: Room,
    begin: usize,
    /// For each part at which the second line can begin, the least cost of it and the later ones.
    least: Vec<f64>,
    /// The first part at which the second line of the last cue can begin.
    earliest: usize,
}

/// What it costs that a sentence ends within a line.
const SENTENCE_IN_LINE: f64 = 16.0;

impl<'a> FirstLine<'a> {
    pub(crate) fn new(text: &'a Text, begin: usize, room: Room) -> FirstLine<'a> {
        let fits = |end: &usize| text.width(begin, *end) <= room.first;
        let cut = |end: usize| match text.parts[end - 1].cut {
            // It does not end within a line then.
            Cut::Sentence => -SENTENCE_IN_LINE,
            cut => 0.6 * cost(cut),
        };
        let mut least: Vec<f64> = (begin + 1..=text.parts.len()).take_while(fits).map(cut).collect();
        for place in (1..least.len()).rev() {
            least[place - 1] = least[place - 1].min(least[place]);
        }
        FirstLine { text, room, begin, least, earliest: begin + 1 }
    }

    /// The cost for a cue that ends before the part `end`, with so many ends of sentences within.
    pub(crate) fn cost(&mut self, end: usize, sentences: u32) -> f64 {
        let sentences = f64::from(sentences);
        if end - self.begin <= self.least.len() {
            return sentences * SENTENCE_IN_LINE / 4.0;
        }
        while self.earliest < end && self.text.width(self.earliest, end) > self.room.columns {
            self.earliest += 1;
        }
        let least = self.least.get(self.earliest - self.begin - 1);
        sentences * SENTENCE_IN_LINE + least.copied().unwrap_or(0.0)
    }
}

/// Where the lines of a cue end, as numbers of parts: as few lines as possible, of about the same length, cut where it reads well.
pub(crate) fn lines(parts: &[Part], room: Room) -> Vec<usize> {
    let mut filler = Filler::new(room);
    parts.iter().for_each(|part| {
        filler.add(part);
    });
    let count = filler.lines;
    let total: u32 = parts.iter().map(|part| part.width + u32::from(part.is_spaced)).sum();
    let even = f64::from(total) / f64::from(count.max(1));
    // best[line][end]: the least cost of the parts before `end` in this many lines, and where the last of these lines begins.
    let mut best = vec![vec![None; parts.len() + 1]; count as usize + 1];
    best[0][0] = Some((0.0, 0));
    for line in 1..=count as usize {
        for begin in 0..parts.len() {
            let Some((before, _)) = best[line - 1][begin] else { continue };
            let mut width = 0;
            for (end, part) in (begin + 1..).zip(&parts[begin..]) {
                width += part.width;
                // A single part may be wider than the line: then there is no better place for it.
                if width > room.of_line(line as u32 - 1) && end > begin + 1 {
                    break;
                }
                let cost = before
                    + (f64::from(width) - even).powi(2) / 8.0
                    + if end < parts.len() { cost(part.cut) } else { 0.0 };
                if best[line][end].is_none_or(|(least, _)| cost < least) {
                    best[line][end] = Some((cost, begin));
                }
                width += u32::from(part.is_spaced);
            }
        }
    }
    let mut ends = Vec::new();
    let mut end = parts.len();
    for line in (1..=count as usize).rev() {
        ends.push(end);
        end = best[line][end].map_or(0, |(_, begin)| begin);
    }
    ends.reverse();
    ends
}

/// What it costs to cut, in the reader's attention.
pub(crate) fn cost(cut: Cut) -> f64 {
    match cut {
        Cut::Sentence => 0.0,
        Cut::Clause => 8.0,
        Cut::Word => 25.0,
        Cut::Ending => 45.0,
        Cut::Inside => 80.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Cutter;

    fn laid_out(text: &str, room: Room) -> Vec<String> {
        let text = Cutter::new().text(text, room.columns);
        let mut begin = 0;
        let ends = lines(&text.parts, room).into_iter();
        let line = |end: usize| {
            let line = &text.line[text.parts[begin].bytes.start..text.parts[end - 1].bytes.end];
            begin = end;
            line.to_owned()
        };
        ends.map(line).collect()
    }

    #[test]
    fn lines_are_even_and_end_where_it_reads_well() {
        let room = Room { columns: 42, first: 42, lines: 2 };
        for (text, expected) in [
            ("A short one.", &["A short one."][..]),
            (
                "I would like to cancel my contract as of next month.",
                &["I would like to cancel my", "contract as of next month."],
            ),
            (
                "If that is all right with you, I would like to cancel now.",
                &["If that is all right with you,", "I would like to cancel now."],
            ),
            (
                "お電話ありがとうございます、ご用件をお伺いいたします。",
                &["お電話ありがとうございます、", "ご用件をお伺いいたします。"],
            ),
        ] {
            assert_eq!(laid_out(text, room), expected);
        }
    }

    #[test]
    fn a_name_takes_its_room_from_the_first_line() {
        let room = Room { columns: 20, first: 10, lines: 2 };
        assert_eq!(laid_out("one two three four five", room), ["one two", "three four five"]);
    }
}
