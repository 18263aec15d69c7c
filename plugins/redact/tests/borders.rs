//! Values that are split over partials, pieces, segments and turns.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

#[path = "kit/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod kit;

use kit::{ALL, Call};
use proptest::prelude::*;

/// A card in the forms in which recognizers write it, and what is said around it.
const CARDS: &[(&str, &str, &str)] = &[
    ("My card is ", "4242 4242 4242 4242", " thank you."),
    ("My card is ", "4242-4242-4242-4242", " thank you."),
    ("My card is ", "4242424242424242", " thank you."),
    ("My card is ", "4, 2, 4, 2. 4, 2, 4, 2. 4, 2, 4, 2. 4, 2, 4, 2", ". Thank you."),
    ("It is ", "four two four two four two four two four two four two four two four two", " thank you."),
    (
        "It is ",
        "forty-two forty-two forty-two forty-two forty-two forty-two forty-two forty-two",
        " thank you.",
    ),
    (
        "It is ",
        "double four double seven double four double two double four double six double four oh nine",
        " thank you.",
    ),
    ("卡号是", "四二四二四二四二四二四二四二四二", "谢谢。"),
    ("卡号是", "四二四二，四二四二，四二四二，四二四二", "，谢谢。"),
    ("カード番号は", "よん に よん に よん に よん に よん に よん に よん に よん に", "です。"),
    ("カード番号は", "４２４２ ４２４２ ４２４２ ４２４２", "です。"),
];

/// A phone number with pauses in it.
const PHONES: &[(&str, &str, &str)] = &[
    ("My number is ", "020 7946 0958", " thank you."),
    ("My number is ", "020, 7946, um, 0958", " thank you."),
    ("It is ", "555 123 4567", " thank you."),
    ("It is ", "555, 123 4567", " thank you."),
    ("It is ", "555, 123, 4567", " thank you."),
    ("It is ", "5551234567", " thank you."),
    ("My order is late. It is ", "555-123-4567", " thank you."),
    ("It is ", "five five five um one two three, four five six seven", " thank you."),
    ("My number is ", "five five five one two three four", " thank you."),
    ("Call back on ", "201.555.5843", " thank you."),
    ("Reach me on ", "612-34-02-79", " after work."),
    ("我的号码是", "13812345678", "谢谢。"),
    ("我的订单有问题，号码是", "138，12345678", "，谢谢。"),
    ("号码是", "一三八，嗯，一二四四五六七八", "谢谢。"),
    ("番号は", "090-1234-5678", "です。"),
    ("予約の件です。番号は", "090ー1234ー5678", "です。"),
    ("番号は", "090、えっと、1234・5678", "です。"),
    ("電話番号は", "ゼロ九ゼロの一二四四の五六七八", "です。"),
];

const DIGIT_WORDS: &[&str] =
    &["oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "forty"];

/// What is left of a number: digits and words for digits.
fn left(text: &str) -> usize {
    let text: String =
        text.split("[").map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
    let spoken = text.split(|it: char| !it.is_alphabetic()).filter(|word| DIGIT_WORDS.contains(word)).count();
    let kana = text.matches("よん").count();
    let signs = |it: &char| "0123456789０１２３４５６７８９一二四五六七八九〇".contains(*it);
    spoken + kana + text.chars().filter(signs).count()
}

fn cut(text: &str, at: usize) -> (&str, &str) {
    let at = (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.split_at(at)
}

#[test]
fn a_zero_at_a_border_belongs_to_its_number() {
    let mut call = Call::new(ALL);
    let said = call.spoken(&["電話番号はまる", "九まるの", "一二四四の五六まる", "まるです。"]);
    assert_eq!(said, ["電話番号は[PHONE_1]", "[PHONE_1]の", "[PHONE_1]", "[PHONE_1]です。"]);
}

#[test]
fn a_zero_behind_a_pause_belongs_to_its_number() {
    let mut call = Call::new(ALL);
    let said = call.partial("昨日なくしたのは二二二一、えっと、三五九五、えっと、まる");
    assert_eq!(said, "昨日なくしたのは[DIGITS_1]");
}

#[test]
fn what_goes_on_behind_a_partial_waits() {
    let mut call = Call::new(ALL);
    assert_eq!(call.partial("卡号是四二四三个"), "卡号是[DIGITS_1]个");
    assert_eq!(call.partial("john at sign gmail dot co dot"), "");
    assert_eq!(call.partial("メールはtanaka、アットマーク、gmail、ドット"), "メールは");
}

#[test]
fn no_digit_of_a_value_is_in_any_partial() {
    for (config, values) in [(ALL, [CARDS, PHONES].concat()), (r#"{"find": ["card"]}"#, CARDS.to_vec())] {
        for (before, card, after) in values {
            let whole = format!("{before}{card}{after}");
            let mut call = Call::new(config);
            for (at, _) in whole.char_indices().skip(1) {
                // A recognizer's partial ends with a whole word where words have letters.
                let partial = &whole[..at];
                if config != ALL
                    && partial.ends_with(|it: char| it.is_ascii_alphabetic())
                    && whole[at..].starts_with(|it: char| it.is_ascii_alphabetic())
                {
                    continue;
                }
                let made = call.partial(partial);
                assert_eq!(left(&made), 0, "{partial}\n{made}");
            }
        }
    }
}

#[test]
fn growing_digits_keep_their_token() {
    let mut call = Call::new(ALL);
    assert_eq!(call.partial("it is 42"), "it is [DIGITS_1]");
    assert_eq!(call.partial("it is 4242 4"), "it is [DIGITS_1]");
    assert_eq!(call.partial("it is 4242 4 cats now"), "it is 4242 4 cats");
    assert_eq!(call.partial("it is 17"), "it is [DIGITS_2]");
    assert_eq!(call.partial("it is 4242 4242 4242 4"), "it is [CARD_1]");
    assert_eq!(call.partial("it is 4242 4242 4242 4242"), "it is [CARD_1]");
    assert_eq!(
        call.partial("it is 4242 4242 4242 4242, and 3782 822463 10005 too"),
        "it is [CARD_1], and [CARD_2]"
    );
}

#[test]
fn the_last_word_and_what_may_become_an_address_wait() {
    for (partial, left) in [
        ("My email is john", "My email is"),
        ("My email is john dot", "My email is"),
        ("My email is john dot doe at", "My email is"),
        ("My email is john dot doe at exam", "My email is"),
        ("My email is john.doe@", "My email is"),
        ("My email is john.doe@example.com", "My email is"),
        ("My email is john.doe@example.com okay", "My email is [EMAIL_1]"),
        ("我的邮箱是zhang", "我的邮箱是"),
        ("My email is john dot doe a", "My email is"),
        ("My email is john dot doe at example d", "My email is"),
        ("我的邮箱是zhangsan艾", "我的邮箱是"),
        ("我的邮箱是zhangsan艾特qq", "我的邮箱是"),
        ("メールはtanakaアットマ", "メールは"),
        ("メールはtanakaアットマークexampleドッ", "メールは"),
        ("メールはtanakaアットマークexampleドットコ", "メールは"),
        ("你好，我想退款", "你好，我想退款"),
    ] {
        assert_eq!(Call::new(ALL).partial(partial), left, "{partial}");
    }
}

#[test]
fn values_over_segments_and_turns_go_from_each() {
    let card = "[CARD_1]";
    for (said, expected) in [
        (
            &[(0, "It is 4242 4242"), (0, "4242 4242 okay?")][..],
            vec![format!("It is {card}"), format!("{card} okay?")],
        ),
        (
            &[(1, "It is 4242 4242"), (0, "Go on."), (1, "4242 4242 okay?")],
            vec![format!("It is {card}"), "Go on.".into(), format!("{card} okay?")],
        ),
        (
            &[(1, "It is four two"), (0, "Four two?"), (1, "yes, four two")],
            vec!["It is [DIGITS_1]".into(), "[DIGITS_1]?".into(), "yes, [DIGITS_1]".into()],
        ),
        (
            &[(0, "It is 4242 4242"), (0, "Could you repeat that?"), (0, "4242 4242 okay?")],
            vec![format!("It is {card}"), "Could you repeat that?".into(), format!("{card} okay?")],
        ),
        (
            &[(0, "My number is 020 7946"), (0, "0958 thanks.")],
            vec!["My number is [PHONE_1]".into(), "[PHONE_1] thanks.".into()],
        ),
        (
            &[(0, "我的号码是138123"), (0, "45678谢谢。")],
            vec!["我的号码是[PHONE_1]".into(), "[PHONE_1]谢谢。".into()],
        ),
        (
            &[(0, "It is 555 123"), (0, "4567 thanks.")],
            vec!["It is [PHONE_1]".into(), "[PHONE_1] thanks.".into()],
        ),
        (
            &[(1, "It is 4242 4242 sir"), (0, "Uh-huh"), (1, "4242 4242 okay")],
            vec![format!("It is {card} sir"), "Uh-huh".into(), format!("{card} okay")],
        ),
        (
            &[(0, "It is 4242 4242."), (0, "Okay."), (0, "Go ahead."), (0, "4242 4242 it is.")],
            vec![format!("It is {card}."), "Okay.".into(), "Go ahead.".into(), format!("{card} it is.")],
        ),
        (
            &[(0, "4242 4242"), (0, "Could you repeat the last four digits, please?"), (0, "4242 4242")],
            vec![card.into(), "Could you repeat the last four digits, please?".into(), card.into()],
        ),
        (
            &[(0, "4242 4242"), (0, "I see."), (0, "Tell me the rest."), (0, "And it is 4242 4242")],
            vec![card.into(), "I see.".into(), "Tell me the rest.".into(), format!("And it is {card}")],
        ),
        (
            &[(0, "It costs 25000."), (0, "35000 is too much.")],
            vec!["It costs 25000.".into(), "35000 is too much.".into()],
        ),
        (&[(0, "One moment please."), (1, "Yes.")], vec!["One moment please.".into(), "Yes.".into()]),
        (
            &[(0, "Meet me at noon."), (0, "It is late.")],
            vec!["Meet me at noon.".into(), "It is late.".into()],
        ),
        (&[(0, "It costs $500."), (1, "Fine.")], vec!["It costs $500.".into(), "Fine.".into()]),
        (&[(0, "It was 2019."), (0, "We were 20.")], vec!["It was 2019.".into(), "We were 20.".into()]),
        (
            &[(0, "john dot doe at"), (0, "example dot com is it")],
            vec!["[EMAIL_1]".into(), "[EMAIL_1] is it".into()],
        ),
    ] {
        let (_, segments) = Call::new(ALL).said(said);
        assert_eq!(segments.len(), expected.len());
        assert_eq!(segments, expected, "{said:?}");
    }
}

#[test]
fn digits_at_the_border_of_a_piece_go() {
    let mut call = Call::new(ALL);
    assert_eq!(
        call.piece(&["17 it is, and in 2019", "my pin is 4 2"]),
        ["[DIGITS_1] it is, and in 2019", "my pin is [DIGITS_2]"]
    );
    assert_eq!(call.piece(&["一下，我的尾号是四二"]), ["一下，我的尾号是[DIGITS_2]"]);
    // The next process gets the pieces as they left, and numbers on.
    call.restart(ALL);
    call.piece(&["[DIGITS_1] it is", "my pin is [DIGITS_2]"]);
    assert_eq!(call.piece(&["we have 99"]), ["we have [DIGITS_3]"]);
}

#[test]
fn an_address_that_is_cut_by_the_border_of_a_piece_goes_from_each() {
    for (pieces, expected) in [
        (["so mail me at john.doe@", "example.com please"], ["so mail me at [EMAIL_1]@", "[EMAIL_2] please"]),
        (
            ["so mail me at john dot doe", "at example dot com please"],
            ["so mail me at [EMAIL_1]", "[EMAIL_2] please"],
        ),
        (["it is john dot doe at example", "dot com please"], ["it is [EMAIL_1]", "[EMAIL_2] please"]),
        (["it is john dot", "doe at example dot com"], ["it is [EMAIL_1]", "[EMAIL_2]"]),
        (["it is john dot doe at", "example dot com right"], ["it is [EMAIL_1]", "[EMAIL_2] right"]),
        (["my email is john", "at gmail dot com"], ["my email is [EMAIL_1]", "[EMAIL_2]"]),
        (["我的邮箱是zhangsan艾特", "一六三点com"], ["我的邮箱是[EMAIL_1]", "[EMAIL_2]"]),
        (["メールはtanakaアットマーク", "gmail、ドットコムです"], ["メールは[EMAIL_1]", "[EMAIL_2]です"]),
        (["We met at noon.", "It is late."], ["We met at noon.", "It is late."]),
        (
            ["have a look at hark dot io", "Dot the letters."],
            ["have a look at hark dot io", "Dot the letters."],
        ),
        (["state-of-the-art.", "com is a part"], ["state-of-the-art.", "com is a part"]),
    ] {
        let mut call = Call::new(r#"{"find": ["email"]}"#);
        assert_eq!(pieces.map(|piece| call.piece(&[piece]).remove(0)), expected);
    }
}

#[test]
fn a_phrase_that_is_cut_by_the_border_of_a_piece_goes_from_each() {
    let mut call = Call::new(r#"{"find": [], "words": ["blue falcon", "project x one", "plain"]}"#);
    assert_eq!(call.piece(&["Write to the Blue"]), ["Write to the [WORD_1]"]);
    assert_eq!(call.piece(&["falcon team. It is project-x."]), ["[WORD_1] team. It is [WORD_2]."]);
    assert_eq!(call.piece(&["One day, a falcon and blue sky"]), ["[WORD_2] day, a falcon and blue sky"]);
}

#[test]
fn an_address_goes_although_a_listener_speaks_between_its_parts() {
    for said in [
        &[(0, "it is john dot doe"), (0, "uh huh"), (0, "at example dot com yes")][..],
        &[(0, "it is john dot doe"), (1, "Okay."), (0, "at example dot com yes")],
    ] {
        let (_, made) = Call::new(ALL).said(said);
        assert_eq!(made, ["it is [EMAIL_1]", said[1].1, "[EMAIL_1] yes"]);
    }
    let (_, made) = Call::new(ALL).said(&[(0, "it is john dot doe at"), (1, "example dot com right")]);
    assert_eq!(made, ["it is [EMAIL_1]", "[EMAIL_1] right"]);
    assert_eq!(
        Call::new(ALL).spoken(&["mail john dot", "doe at example dot com"]),
        ["mail [EMAIL_1]", "[EMAIL_1]"]
    );
}

#[test]
fn the_final_of_redacted_segments_stays_as_it_is() {
    let said = [
        (0, "My card is [CARD_1], my pin [DIGITS_3]"),
        (1, "Please wait. I write to [EMAIL_1] and **** then"),
        (0, "[DIGITS_4] is the rest, 25 people."),
    ];
    let (_, segments) = Call::new(
        r#"{"find": ["card", "digits", "email"], "words": ["card"], "patterns": ["\\d+", "\\w+_\\d"]}"#,
    )
    .said(&said[..2]);
    assert_eq!(
        segments,
        ["My [WORD_1] is [CARD_1], my pin [DIGITS_3]", "Please wait. I write to [EMAIL_1] and **** then"]
    );
    let (_, segments) = Call::new(ALL).said(&said);
    assert_eq!(segments, said.map(|(_, text)| text));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_that_is_cut_anywhere_leaves_no_digit(card in 0..CARDS.len() + PHONES.len(), cuts in prop::collection::vec(0_usize..120, 1..4), way in 0..4) {
        let (before, value, after) = *CARDS.iter().chain(PHONES).nth(card).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at % value.len()).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let (mut parts, mut rest, mut from) = (Vec::new(), value, 0);
        for at in cuts {
            // Recognizers do not cut inside of a word with letters.
            let (one, next) = cut(rest, at.saturating_sub(from));
            let is_inside = one.ends_with(|it: char| it.is_alphabetic() && it.is_ascii()) && next.starts_with(|it: char| it.is_ascii_alphabetic())
                || one.ends_with('よ') || next.starts_with(['っ', 'と', 'ロ']);
            if one.is_empty() || next.is_empty() || is_inside {
                continue;
            }
            from += one.len();
            parts.push(one);
            rest = next;
        }
        parts.push(rest);
        let last = parts.len() - 1;
        let texts: Vec<String> = parts.iter().enumerate().map(|(place, part)| {
            let (before, after) = (if place == 0 { before } else { "" }, if place == last { after } else { "" });
            format!("{before}{part}{after}")
        }).collect();
        let made: Vec<String> = match way {
            0 => Call::new(ALL).spoken(&texts.iter().map(String::as_str).collect::<Vec<_>>()),
            1 => {
                let mut call = Call::new(ALL);
                texts.iter().flat_map(|text| call.piece(&[text])).collect()
            }
            2 => {
                let said: Vec<(u32, &str)> = texts.iter().flat_map(|text| [(1, text.as_str()), (0, "Uh-huh.")]).collect();
                Call::new(ALL).said(&said).1
            }
            _ => {
                let said: Vec<(u32, &str)> = texts.iter().zip(0..).map(|(text, place)| (place % 2, text.as_str())).collect();
                Call::new(ALL).said(&said).1
            }
        };
        for text in &made {
            prop_assert_eq!(left(text), 0, "{:?}\n{:?}", texts, made);
        }
        let (_, again) = Call::new(ALL).said(&made.iter().map(|text| (0, text.as_str())).collect::<Vec<_>>());
        prop_assert_eq!(&again, &made);
    }

    #[test]
    fn any_text_is_taken_and_nothing_changes_twice(texts in prop::collection::vec("[0-9一四五零よんに ,.\\-+@a-z\\[\\]_()'\n]{0,40}|(one|two|double|forty|hundred|at|dot|com|三个|十| |,){0,12}", 1..5), channels in 1_u32..3) {
        let said: Vec<(u32, &str)> = texts.iter().zip(0..).map(|(text, place)| (place % channels, text.as_str())).collect();
        let (_, once) = Call::new(ALL).said(&said);
        let again: Vec<(u32, &str)> = once.iter().zip(0..).map(|(text, place)| (place % channels, text.as_str())).collect();
        let (_, twice) = Call::new(ALL).said(&again);
        prop_assert_eq!(once, twice);
    }
}
