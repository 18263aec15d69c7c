//! The time that a long call takes.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

#[path = "kit/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod kit;

use std::time::{Duration, Instant};

use kit::Call;

#[test]
fn ten_thousand_segments_take_a_second() {
    const TEXTS: [&str; 5] = [
        "I called about the invoice of the 31st of May, and I was told it costs 19.99 a month.",
        "My card is four two four two 4242, um, and then 4242 4242 thank you very much for the help.",
        "我的手机是幺三八幺二三四五六七八，邮箱是zhangsan@qq.com，谢谢你的帮助。",
        "電話番号はゼロ九ゼロの一二三四の五六七八です。お客さんにご案内いたします。",
        "One moment please, I am looking at the page right now, john dot doe at example dot com is it?",
    ];
    let words: Vec<String> = (0..1_000).map(|word| format!("\"secret word {word}\"")).collect();
    let config = format!(
        r#"{{"find": ["card", "phone", "email", "iban", "digits"], "words": [{}], "patterns": ["case [a-z]\\d+"], "fillers": true}}"#,
        words.join(", ")
    );
    let said: Vec<(u32, &str)> = (0..10_000).map(|place| (place as u32 % 2, TEXTS[place % 5])).collect();
    let mut call = Call::new(&config);
    let began = Instant::now();
    let (_, segments) = call.said(&said);
    let took = began.elapsed();
    assert_eq!(segments.len(), 10_000);
    // The dev profile does not optimize.
    let most = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(took < Duration::from_secs(most), "{took:?}");
}

#[test]
fn a_text_of_nothing_but_values_takes_no_longer() {
    let config = r#"{"find": ["card", "phone", "email", "iban", "digits"]}"#;
    let texts = ["555-123-4567, ", "4 2 ", "[CARD_1] 4242 x ", "a at b dot com ", "DE89 "];
    for text in texts {
        let text = text.repeat(50_000 / text.len());
        let began = Instant::now();
        Call::new(config).spoken(&[&text]);
        let took = began.elapsed();
        let most = if cfg!(debug_assertions) { 10 } else { 1 };
        assert!(took < Duration::from_secs(most), "{:?}: {took:?}", &text[..20]);
    }
}
