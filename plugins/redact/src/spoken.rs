//! The words for digits in English and Chinese, and the words that may stand between the groups of a number.

use crate::kana;

/// What a word means in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Digit(&'static str),
    /// A digit only beside other digits.
    WeakDigit(&'static str),
    Teen(&'static str),
    /// A unit may follow.
    Tens(&'static str),
    Multiplier(&'static str),
    Times(usize),
    /// May stand between the groups of a number.
    Between,
}

const NUMBER_WORDS: [(&str, Word); 38] = [
    ("zero", Word::Digit("0")),
    ("nought", Word::Digit("0")),
    ("naught", Word::Digit("0")),
    ("oh", Word::WeakDigit("0")),
    ("o", Word::WeakDigit("0")),
    ("one", Word::Digit("1")),
    ("two", Word::Digit("2")),
    ("three", Word::Digit("3")),
    ("four", Word::Digit("4")),
    ("five", Word::Digit("5")),
    ("six", Word::Digit("6")),
    ("seven", Word::Digit("7")),
    ("eight", Word::Digit("8")),
    ("nine", Word::Digit("9")),
    ("niner", Word::Digit("9")),
    ("ten", Word::Teen("10")),
    ("eleven", Word::Teen("11")),
    ("twelve", Word::Teen("12")),
    ("thirteen", Word::Teen("13")),
    ("fourteen", Word::Teen("14")),
    ("fifteen", Word::Teen("15")),
    ("sixteen", Word::Teen("16")),
    ("seventeen", Word::Teen("17")),
    ("eighteen", Word::Teen("18")),
    ("nineteen", Word::Teen("19")),
    ("twenty", Word::Tens("20")),
    ("thirty", Word::Tens("30")),
    ("forty", Word::Tens("40")),
    ("fourty", Word::Tens("40")),
    ("fifty", Word::Tens("50")),
    ("sixty", Word::Tens("60")),
    ("seventy", Word::Tens("70")),
    ("eighty", Word::Tens("80")),
    ("ninety", Word::Tens("90")),
    ("hundred", Word::Multiplier("00")),
    ("thousand", Word::Multiplier("000")),
    ("double", Word::Times(2)),
    ("triple", Word::Times(3)),
];

/// Punctuation that is said, sounds of hesitation, and what a listener says between two groups.
const BETWEEN: [&str; 42] = [
    "dash", "hyphen", "dot", "space", "slash", "comma", "plus", "minus", "and", "then", "um", "umm", "uh",
    "huh", "uhm", "er", "erm", "hm", "hmm", "mm", "mhm", "ah", "yes", "yeah", "yep", "ok", "okay", "right",
    "sure", "correct", "got", "it", "go", "ahead", "sorry", "well", "so", "wait", "next", "sir", "ma'am",
    "please",
];

/// The same in scripts without spaces.
const BETWEEN_WITHOUT_SPACES: [&str; 39] = [
    "ハイフン",
    "はいふん",
    "ダッシュ",
    "えーっと",
    "えっと",
    "えーと",
    "ええと",
    "それから",
    "ですね",
    "あと",
    "あのう",
    "あのー",
    "あの",
    "そのー",
    "うーん",
    "はい",
    "ええ",
    "うん",
    "えー",
    "で、",
    "然后",
    "接着",
    "再",
    "横杠",
    "空格",
    "の",
    "杠",
    "那个",
    "就是",
    "后面是",
    "嗯",
    "呃",
    "额",
    "啊",
    "哦",
    "噢",
    "唔",
    "对",
    "好",
];

/// What a word in lower case means in a number.
pub(crate) fn word(word: &str) -> Option<Word> {
    if word == "treble" {
        return Some(Word::Times(3));
    }
    let number = NUMBER_WORDS.iter().find(|(name, _)| *name == word).map(|(_, meaning)| *meaning);
    number.or_else(|| BETWEEN.contains(&word).then_some(Word::Between))
}

/// Whether more letters could make a number word of these.
pub(crate) fn begins_number_word(letters: &str) -> bool {
    NUMBER_WORDS.iter().any(|(name, _)| name.len() > letters.len() && name.starts_with(letters))
}

/// The length of a word that may stand between groups, at the beginning of a text.
pub(crate) fn between_without_spaces(text: &str) -> Option<usize> {
    let word = BETWEEN_WITHOUT_SPACES.iter().find(|word| text.starts_with(**word))?;
    // は and いち: a word in kana ends where other signs begin; a particle does not.
    let goes_on = text[word.len()..].chars().next().is_some_and(kana::is_kana);
    let is_kana = word.chars().all(kana::is_kana);
    (!is_kana || !goes_on || *word == "の").then_some(word.len())
}

/// Whether more characters could make such a word of these.
pub(crate) fn begins_between(text: &str) -> bool {
    BETWEEN_WITHOUT_SPACES.iter().any(|word| word.len() > text.len() && word.starts_with(text))
}

/// The digit that a Chinese character stands for; also 幺 of phone numbers, and the forms of contracts.
pub(crate) fn han_digit(character: char) -> Option<char> {
    Some(match character {
        '〇' | '零' | '○' | '◯' => '0',
        '一' | '幺' | '壹' | '壱' => '1',
        '二' | '两' | '兩' | '贰' | '貳' | '弐' => '2',
        '三' | '叁' | '參' | '参' => '3',
        '四' | '肆' => '4',
        '五' | '伍' => '5',
        '六' | '陆' | '陸' => '6',
        '七' | '柒' => '7',
        '八' | '捌' => '8',
        '九' | '玖' => '9',
        _ => return None,
    })
}

/// Whether a single Chinese digit is a part of a word, or counts something, rather than a digit of a number: 一下, 三个, 第一.
pub(crate) fn is_word(before: Option<char>, after: Option<char>) -> bool {
    const AFTER: &str = "个個下个起些样樣直会會定般切共边邊点點方面旦向致位次天年月日分时時刻半块塊元件条條本张張种種道度人名つ番緒応枚回歳";
    const BEFORE: &str = "第统統唯万之周期拜专專同逐";
    after.is_some_and(|it| AFTER.contains(it)) || before.is_some_and(|it| BEFORE.contains(it))
}
