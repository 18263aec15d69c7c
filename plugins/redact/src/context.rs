//! What the words before a number tell of it.

use std::sync::LazyLock;

use regex::Regex;

use crate::lex::is_latin;

/// How far before a number the words are that tell what it is, in bytes: some ten words.
const FAR: usize = 64;
/// How much may stand between a word like "order" and its number: a word counts two, a character of a script without spaces one.
const NEAR: usize = 7;

/// What a number is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    Phone,
    Order,
    None,
}

const PHONE: [&str; 50] = [
    "phone",
    "phones",
    "telephone",
    "cellphone",
    "call",
    "calls",
    "called",
    "calling",
    "mobile",
    "cell",
    "tel",
    "contact",
    "fax",
    "whatsapp",
    "reach",
    "reached",
    "text me",
    "dial",
    "dialed",
    "dialled",
    "dialing",
    "dialling",
    "landline",
    "ring",
    "电话",
    "手机",
    "座机",
    "联系",
    "拨打",
    "致电",
    "请打",
    "打给",
    "打到",
    "打这个",
    "就打",
    "回拨",
    "短信",
    "微信",
    "传真",
    "電話",
    "携帯",
    "連絡",
    "折り返し",
    "ショートメール",
    "つなが",
    "繋が",
    "ファックス",
    "番通報",
    "ケータイ",
    "ファクス",
];
const ORDER: [&str; 62] = [
    "order",
    "orders",
    "invoice",
    "invoices",
    "ticket",
    "tickets",
    "case",
    "reference",
    "ref",
    "tracking",
    "confirmation",
    "booking",
    "reservation",
    "policy",
    "item",
    "items",
    "product",
    "part number",
    "serial",
    "model",
    "article",
    "sku",
    "batch",
    "shipment",
    "parcel",
    "claim",
    "contract",
    "receipt",
    "version",
    "isbn",
    "zip",
    "postcode",
    "postal code",
    "订单",
    "訂單",
    "单号",
    "編號",
    "编号",
    "工单",
    "票号",
    "快递",
    "运单",
    "发票",
    "序列",
    "型号",
    "注文",
    "伝票",
    "受付",
    "予約",
    "請求",
    "商品",
    "管理",
    "追跡",
    "オーダー",
    "問い合わせ番号",
    "预约",
    "预订",
    "合同",
    "保单",
    "邮编",
    "郵便番号",
    "〒",
];

/// What the words before a place tell of the number there; the nearest word counts.
pub(crate) fn context(text: &str, at: usize) -> Context {
    let begin = (at.saturating_sub(FAR)..=at).find(|place| text.is_char_boundary(*place)).unwrap_or(at);
    let before = &text[begin..at];
    let phone = PHONE.iter().filter_map(|word| last(before, word)).max().max(own_number(before));
    let order = ORDER.iter().filter_map(|word| last(before, word)).max();
    match (phone, order.filter(|end| is_near(&before[*end..]))) {
        (Some(phone), order) if order.is_none_or(|order| phone > order) => Context::Phone,
        (_, Some(_)) => Context::Order,
        _ => Context::None,
    }
}

/// Whether the words behind a number say that it is a phone's: "5550199 is my number", 21236838にお電話ください.
pub(crate) fn is_called(after: &str) -> bool {
    static CALLED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let spaced = r"(?:is|that['’]s|that is) (?:my|his|her|their|our|the) (?:(?:phone|cell|mobile|home|work|office) )?(?:number|phone|cell|mobile|landline)(?-u:\b)";
        let chinese = "是[我他她]的?(?:电话|手机|号码)";
        let japanese = "(?:に|まで|へ|から)[おご]?(?:電話|連絡|かけ|掛け)";
        // In kana a に at the end is read as a digit.
        Regex::new(&format!(r"^(?:[おご](?:電話|連絡)|[\s,，、]*(?:{spaced}|{chinese}|{japanese}))")).ok()
    });
    CALLED.as_ref().is_some_and(|called| called.is_match(after))
}

/// Where a word ends that is in a text, as a whole word where words have spaces; the last one of several.
fn last(text: &str, word: &str) -> Option<usize> {
    let is_letter = |it: Option<char>| it.is_some_and(|it| is_latin(it) || it == '\'');
    let ends = text.rmatch_indices(word).filter(|(begin, _)| {
        let (before, after) = (&text[..*begin], &text[begin + word.len()..]);
        let is_whole = !word.is_ascii()
            || !is_letter(before.chars().next_back())
                && !is_letter(after.strip_prefix("'s").unwrap_or(after).chars().next());
        // "just in case", "in any case".
        let is_phrase = word == "case"
            && ["in", "any", "that", "this"]
                .contains(&before.split_whitespace().next_back().unwrap_or_default());
        is_whole && !is_phrase
    });
    ends.map(|(begin, _)| begin + word.len()).next()
}

/// Where "my number" ends, 我的号码, 番号; not that of an order, an account, a member.
fn own_number(text: &str) -> Option<usize> {
    static OWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let whose = "my|the|his|her|their|our|your|this|that|new|old|home|work|office|best|direct|other";
        let spaced =
            format!(r"(?:(?-u:\b)(?:{whose})\s+|(?:^|[.!?,\n])\s*)number(?:\s+(?:is|was|to)|'s|:|,|\s*$)");
        let unspaced = r"(?:^|[^\p{Han}\p{Hiragana}\p{Katakana}]|[的のは我你您他她个個])(?:号码|號碼|番号)";
        Regex::new(&format!("{spaced}|{unspaced}")).ok()
    });
    let found = OWN.as_ref()?.find_iter(text).last()?;
    let before = text[..found.start()].trim_end_matches(['的', 'の']);
    let is_of_order = ORDER.iter().any(|word| before.ends_with(word));
    (!is_of_order).then_some(found.end())
}

/// Whether little stands between a word and its number, and no end of a sentence.
fn is_near(between: &str) -> bool {
    let mut weight = 0;
    let mut word = String::new();
    for character in between.chars().chain([' ']) {
        if is_latin(character) {
            word.push(character);
            continue;
        }
        // "Order no. 4839201746".
        let is_short = matches!(&word[..], "no" | "nr");
        weight += if word.is_empty() { 0 } else { 2 };
        word.clear();
        match character {
            '!' | '?' | '。' => return false,
            '.' if !is_short => return false,
            _ => weight += usize::from(character.is_alphabetic()),
        }
    }
    weight <= NEAR
}
