//! The service's language codes, and what operators write for them.

use std::str::Split;

/// The codes that the service's manuals list, each with its three-letter codes, its name, and other codes of the same language.
const LANGUAGES: &str = "\
    zh=zho/chi/chinese/cmn/mandarin/nan/wuu yue=cantonese en=eng/english ja=jpn/japanese de=deu/ger/german \
    ko=kor/korean ru=rus/russian fr=fra/fre/french pt=por/portuguese ar=ara/arabic it=ita/italian \
    es=spa/spanish hi=hin/hindi id=ind/indonesian/in th=tha/thai tr=tur/turkish uk=ukr/ukrainian \
    vi=vie/vietnamese cs=ces/cze/czech da=dan/danish fil=filipino/tl/tgl/tagalog fi=fin/finnish \
    is=isl/ice/icelandic ms=msa/may/malay no=nor/norwegian/nb/nob/nn/nno pl=pol/polish sv=swe/swedish \
    nl=nld/dut/dutch el=ell/gre/greek hu=hun/hungarian ro=ron/rum/romanian bg=bul/bulgarian hr=hrv/croatian \
    sk=slk/slo/slovak";

/// The rows of [`LANGUAGES`].
fn languages() -> impl Iterator<Item = (&'static str, Split<'static, char>)> {
    let rows = LANGUAGES.split_whitespace().filter_map(|row| row.split_once('='));
    rows.map(|(code, others)| (code, others.split('/')))
}

/// The languages that a recognizer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Languages {
    /// The languages of `qwen3-asr-…` (the provider's documentation).
    Qwen3,
    /// The languages of `language_hints` (the provider's documentation).
    Audio3,
    /// The languages of a speech server of the operator's own, which Hark does not know.
    OfTheServer,
}

impl Languages {
    /// The recognizer's own code for a language; `None`: the recognizer does not support it. A code that Hark does not know is passed on if the
    /// recognizer's languages grow: the operator may know more than the manuals.
    pub fn code(self, language: &str) -> Option<&str> {
        match self {
            Languages::OfTheServer => Some(language),
            Languages::Qwen3 => {
                let is_new = ["nl", "el", "hu", "ro", "bg", "hr", "sk"].contains(&language);
                (!is_new).then_some(language)
            }
            Languages::Audio3 => match language {
                "fil" => Some("tl"),
                "yue" | "tr" | "uk" | "is" => None,
                _ => language_codes().any(|code| code == language).then_some(language),
            },
        }
    }

    /// The codes that it is known to take, as Hark writes them.
    pub fn codes(self) -> impl Iterator<Item = &'static str> {
        language_codes().filter(move |code| self.code(code).is_some())
    }
}

/// Values that mean: detect the language.
const DETECT: [&str; 5] = ["", "auto", "detect", "und", "mul"];

/// The service's code for a language as operators write it (`en`, `en-US`, `zh_Hant_TW`, `English`), empty for `auto`. `None`: the
/// service's manuals list no such language.
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
    let (code, _) = languages()
        .find(|(code, others)| *code == language || others.clone().any(|other| other == language))?;
    // Speech of Hong Kong and Macau is Cantonese.
    if code == "zh" && rest.iter().any(|part| matches!(*part, "yue" | "hk" | "mo")) {
        return Some("yue");
    }
    Some(code)
}

/// The codes that the service's manuals list.
pub fn language_codes() -> impl Iterator<Item = &'static str> {
    languages().map(|(code, _)| code)
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
        assert_eq!(language_code("Dutch"), Some("nl"));
        for written in ["he", "klingon", "en;q=0.9", "en,de", "en-", "e n", "-en"] {
            assert_eq!(language_code(written), None, "{written}");
        }
        for code in language_codes() {
            assert_eq!(language_code(code), Some(code));
        }
    }

    #[test]
    fn a_language_is_mapped_to_the_models_code_or_refused() {
        assert_eq!(Languages::Qwen3.code("fil"), Some("fil"));
        assert_eq!(Languages::Qwen3.code("nl"), None);
        assert_eq!(Languages::Qwen3.code("xx"), Some("xx"), "unknown to Hark");
        assert_eq!(Languages::Qwen3.codes().count(), 27);
        assert_eq!(Languages::Audio3.code("fil"), Some("tl"));
        for refused in ["yue", "tr", "uk", "is", "xx"] {
            assert_eq!(Languages::Audio3.code(refused), None, "{refused}");
        }
        assert_eq!(Languages::Audio3.codes().count(), 30);
    }
}
