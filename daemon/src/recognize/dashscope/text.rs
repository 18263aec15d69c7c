//! Text from the pieces of a stream. Incremental streams send each piece once and end with an empty event; cumulative ones send
//! everything so far and repeat the whole at the end. We ask for the first and survive the second.

/// Whether more follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    More,
    /// The event that says that the service is done.
    Last,
}

/// The text so far, under both readings until one is certain.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// Every piece, one after the other.
    joined: String,
    /// The last piece.
    last: String,
    pieces: usize,
    /// How many pieces were longer than the one before and began with the whole of it.
    extensions: usize,
    /// How many were the same as the one before: said twice, or a cumulative stream without news.
    repeats: usize,
}

impl Text {
    /// Takes a piece in; true if there was text in it.
    pub(crate) fn take(&mut self, piece: &str, kind: Piece) -> bool {
        if piece.is_empty() {
            return false;
        }
        if kind == Piece::Last && self.repeats_the_whole(piece) {
            self.joined = piece.to_owned();
            self.pieces = 1;
            (self.extensions, self.repeats) = (0, 0);
        } else {
            self.joined.push_str(piece);
            if self.pieces > 0 && piece.len() > self.last.len() && piece.starts_with(&self.last) {
                self.extensions += 1;
            }
            self.repeats += usize::from(self.pieces > 0 && piece == self.last);
            self.pieces += 1;
        }
        self.last = piece.to_owned();
        true
    }

    /// The best reading at this moment.
    pub(crate) fn so_far(&self) -> &str {
        if self.is_cumulative() { &self.last } else { &self.joined }
    }

    /// The text, when no more comes.
    pub(crate) fn into_whole(self) -> String {
        if self.is_cumulative() { self.last } else { self.joined }
    }

    /// Speech does not say three times in a row all that it said before and then more; a cumulative stream does nothing else.
    fn is_cumulative(&self) -> bool {
        self.extensions >= 2 && self.extensions + self.repeats + 1 == self.pieces
    }

    /// Whether the last event's text is the whole once more, not the last piece.
    fn repeats_the_whole(&self, piece: &str) -> bool {
        // A word that is only said again and again is no cumulative stream.
        let cumulative_so_far =
            self.extensions + self.repeats + 1 == self.pieces && (self.repeats == 0 || self.extensions > 0);
        piece.starts_with(&self.joined) || cumulative_so_far && piece.starts_with(&self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(pieces: &[&str], last: &str) -> String {
        let mut text = Text::default();
        for piece in pieces {
            text.take(piece, Piece::More);
        }
        text.take(last, Piece::Last);
        text.into_whole()
    }

    #[test]
    fn pieces_are_joined_without_adding_anything() {
        assert_eq!(whole(&["Guten", " Tag,", " ", "Welt"], ""), "Guten Tag, Welt");
        assert_eq!(whole(&["你", "好"], ""), "你好");
        assert_eq!(whole(&[], ""), "");
    }

    #[test]
    fn the_whole_text_once_more_at_the_end_is_not_doubled() {
        assert_eq!(whole(&["Guten", " Tag"], "Guten Tag"), "Guten Tag");
        assert_eq!(whole(&["Guten"], "Guten Tag"), "Guten Tag");
        assert_eq!(whole(&[], "Guten Tag"), "Guten Tag");
    }

    #[test]
    fn a_cumulative_stream_is_recognized() {
        assert_eq!(whole(&["Gu", "Guten", "Guten Tag"], "Guten Tag"), "Guten Tag");
        assert_eq!(whole(&["Gu", "Guten"], "Guten Tag"), "Guten Tag");
        assert_eq!(whole(&["Gu", "Guten", "Guten Tag"], ""), "Guten Tag");
        assert_eq!(whole(&["Gu", "Gu", "Guten", "Guten"], "Guten Tag"), "Guten Tag", "events without news");
        assert_eq!(whole(&["Gu", "Gu", "Guten", "Guten Tag"], ""), "Guten Tag");
    }

    #[test]
    fn repeated_words_stay_repeated() {
        assert_eq!(whole(&["ha", "ha", "ha"], ""), "hahaha");
        assert_eq!(whole(&["ha", "ha"], "haha"), "haha");
        assert_eq!(whole(&["ha", "ha", "ha"], "ha"), "hahahaha");
        assert_eq!(whole(&["no", "no, no"], ""), "nono, no");
        assert_eq!(whole(&["eins ", "zwei ", "eins "], ""), "eins zwei eins ");
    }

    #[test]
    fn a_last_piece_in_the_last_event_is_kept() {
        assert_eq!(whole(&["Guten", " "], "Tag"), "Guten Tag");
    }

    proptest! {
        #[test]
        fn an_incremental_stream_gives_its_text_whether_or_not_the_end_repeats_it(
            pieces in prop::collection::vec("[a-c ]{1,3}|你|é", 1..20), repeat in any::<bool>(),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let joined = pieces.concat();
            // Three pieces in a row, each all of the one before and more, are taken for a cumulative stream.
            prop_assume!(!(pieces.len() > 2 && pieces.windows(2).all(|pair| pair[1].len() > pair[0].len() && pair[1].starts_with(pair[0]))));
            prop_assert_eq!(whole(&pieces, if repeat { &joined } else { "" }), joined);
        }

        #[test]
        fn a_cumulative_stream_of_growing_texts_gives_the_last(
            pieces in prop::collection::vec("[a-z ]{1,5}", 1..20),
        ) {
            let growing: Vec<String> = (1..=pieces.len()).map(|count| pieces[..count].concat()).collect();
            let growing: Vec<&str> = growing.iter().map(String::as_str).collect();
            let last = *growing.last().unwrap();
            prop_assert_eq!(whole(&growing, last), last);
        }
    }
}
