//! The service's language codes, and what operators write for them.

/// The codes that the service's manual lists, each with its three-letter codes, its name, and other codes of the same language.
const LANGUAGES: [(&str, &[&str]); 27] = [
    ("zh", &["zho", "chi", "chinese", "cmn", "mandarin", "nan", "wuu"]),
    ("yue", &["cantonese"]),
    ("en", &["eng", "english"]),
    ("ja", &["jpn", "japanese"]),
    ("de", &["deu", "ger", "german"]),
    ("ko", &["kor", "korean"]),
    ("ru", &["rus", "russian"]),
    ("fr", &["fra", "fre", "french"]),
    ("pt", &["por", "portuguese"]),
    ("ar", &["ara", "arabic"]),
    ("it", &["ita", "italian"]),
    ("es", &["spa", "spanish"]),
    ("hi", &["hin", "hindi"]),
    ("id", &["ind", "indonesian", "in"]),
    ("th", &["tha", "thai"]),
    ("tr", &["tur", "turkish"]),
    ("uk", &["ukr", "ukrainian"]),
    ("vi", &["vie", "vietnamese"]),
    ("cs", &["ces", "cze", "czech"]),
    ("da", &["dan", "danish"]),
    ("fil", &["filipino", "tl", "tgl", "tagalog"]),
    ("fi", &["fin", "finnish"]),
    ("is", &["isl", "ice", "icelandic"]),
    ("ms", &["msa", "may", "malay"]),
    ("no", &["nor", "norwegian", "nb", "nob", "nn", "nno"]),
    ("pl", &["pol", "polish"]),
    ("sv", &["swe", "swedish"]),
];

/// Values that mean: detect the language.
const DETECT: [&str; 5] = ["", "auto", "detect", "und", "mul"];

/// The service's code for a language as operators write it (`en`, `en-US`, `zh_Hant_TW`, `English`), empty for `auto`. `None`: the
/// service's manual lists no such language.
pub fn language_code(written: &str) -> Option<&'static str> {
    let small = written.trim().to_ascii_lowercase();
    if DETECT.contains(&small.as_str()) {
        return Some("");
    }
    let mut parts = small.split(['-', '_']);
    let language = parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let is_subtag =
        |part: &&str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !rest.iter().all(is_subtag) {
        return None;
    }
    let (code, _) =
        LANGUAGES.iter().find(|(code, others)| *code == language || others.contains(&language))?;
    // Speech of Hong Kong and Macau is Cantonese.
    if *code == "zh" && rest.iter().any(|part| matches!(*part, "yue" | "hk" | "mo")) {
        return Some("yue");
    }
    Some(code)
}

/// The codes that the service's manual lists.
pub fn language_codes() -> impl Iterator<Item = &'static str> {
    LANGUAGES.iter().map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_the_services_code() {
        for (written, code) in [
            ("en", "en"),
            ("en-US", "en"),
            ("EN_us", "en"),
            ("zh-CN", "zh"),
            ("zh-Hant-TW", "zh"),
            ("cmn-Hans-CN", "zh"),
            ("zh-HK", "yue"),
            ("yue-Hant-HK", "yue"),
            ("nb-NO", "no"),
            ("tl", "fil"),
            ("deu", "de"),
            ("English", "en"),
            (" pt-BR ", "pt"),
            ("es-419", "es"),
            ("auto", ""),
            ("AUTO", ""),
            ("", ""),
        ] {
            assert_eq!(language_code(written), Some(code), "{written}");
        }
        for written in ["he", "klingon", "en;q=0.9", "en,de", "en-", "e n", "-en"] {
            assert_eq!(language_code(written), None, "{written}");
        }
        for code in language_codes() {
            assert_eq!(language_code(code), Some(code));
        }
    }
}
