//! What folds to the same, what stays apart, and the way back to the text.

use proptest::prelude::*;

use super::*;

fn folded(text: &str) -> String {
    Words::new(text, Folding::Folded).as_str().trim().to_owned()
}

#[test]
fn what_is_the_same_folds_to_the_same() {
    for (one, other) in [
        ("café", "cafe\u{301}"),
        ("Café", "CAFE"),
        ("İptal", "iptal"),
        ("İPTAL", "iptal"),
        ("kız", "KIZ"),
        ("straße", "STRASSE"),
        ("STRAẞE", "strasse"),
        ("ΟΔΟΣ", "οδος"),
        ("ὀδός", "οδος"),
        ("ﬁne", "fine"),
        ("ＶＩＰ１２３", "vip123"),
        ("キャンセル", "きゃんせる"),
        ("ｷｬﾝｾﾙ", "キャンセル"),
        ("ｶﾞｽ", "がす"),
        ("カ\u{3099}ス", "ガス"),
        ("한글", "한글"),
        ("don’t", "don't"),
        ("No, thank you.", "no thank-you"),
        ("我要，退款", "我要退款"),
        ("can\u{AD}cel", "cancel"),
        ("ёлка", "Елка"),
        ("مُحَمَّد", "محمد"),
        ("c＋＋", "C++"),
    ] {
        assert_eq!(folded(one), folded(other), "{one} and {other}");
    }
}

#[test]
fn what_differs_stays_apart() {
    for (one, other) in [
        ("か", "が"),
        ("ハ", "パ"),
        ("cancel", "cancels"),
        ("c", "c++"),
        ("कर", "कर्"),
        ("कि", "क"),
        ("가", "각"),
        ("退款", "退貨"),
        ("100 €", "100 $"),
    ] {
        assert_ne!(folded(one), folded(other), "{one} and {other}");
    }
}

#[test]
fn words_are_split_by_script() {
    for (text, words) in [
        ("Well-known: it's 5€.", "well known it s 5 €"),
        ("我是VIP客户", "我 是 vip 客 户"),
        ("ขอยกเลิกครับ", "ข อ ย ก เ ลิ ก ค รั บ"),
        ("환불을 원합니다", "환 불 을 원 합 니 다"),
        ("یہ می\u{200c}خواهم", "یہ میخواهم"),
        ("कर्ज और", "कर्ज और"),
        (" … — ", ""),
        ("iPhone™", "iphone ™"),
    ] {
        assert_eq!(folded(text), words, "{text}");
    }
}

#[test]
fn as_written_only_composition_is_the_same() {
    let written = |text| Words::new(text, Folding::Written).as_str().to_owned();
    assert_eq!(written("café"), written("cafe\u{301}"));
    assert_eq!(written("No, thank"), " No thank ");
    for (one, other) in [("Café", "café"), ("cafe", "café"), ("キ", "き"), ("Ａ", "A"), ("ｶﾞ", "ガ")]
    {
        assert_ne!(written(one), written(other), "{one} and {other}");
    }
}

#[test]
fn a_part_of_the_words_leads_back_to_the_text() {
    let text = "Please, CLOSE my «account» now";
    let words = Words::new(text, Folding::Folded);
    let found = words.as_str().find(" close my account ").unwrap();
    let range = words.at(found..found + " close my account ".len());
    assert_eq!(range, 1..4);
    assert_eq!(&text[words.origin(range)], "CLOSE my «account");
    assert_eq!(words.tail(2).as_str(), " account now ");
    assert_eq!(words.head(1).as_str(), " please ");
    assert_eq!(words.tail(9), words);
    assert_eq!(words.head(0), Words::default());
    assert_eq!(&text[words.tail(2).origin(0..1)], "account");
}

proptest! {
    #[test]
    fn every_word_leads_back_to_a_part_of_the_text(text in "(?s).{0,60}|[a-zé가-각ア-ンｱ-ﾝ้ิ我،'’ \u{300}-\u{304}]{0,40}") {
        for form in [Folding::Folded, Folding::Written] {
            let words = Words::new(&text, form);
            let mut last = 0;
            for index in 0..words.len() {
                let origin = words.origin(index..index + 1);
                prop_assert!(text.is_char_boundary(origin.start) && text.is_char_boundary(origin.end));
                prop_assert!(!origin.is_empty() && last <= origin.start);
                last = origin.start;
            }
            prop_assert_eq!(words.as_str().split(' ').filter(|word| !word.is_empty()).count(), words.len());
        }
    }

    #[test]
    fn folding_twice_changes_nothing(text in "(?s).{0,60}") {
        let once = folded(&text);
        prop_assert_eq!(folded(&once), once);
    }
}
