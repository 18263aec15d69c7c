//! The languages that Whisper and Qwen3-ASR name in English, and their codes.

use std::str::Split;

/// Each code, and the names that stand for it.
const NAMES: &str = "\
    en=english zh=chinese/mandarin de=german es=spanish/castilian ru=russian ko=korean fr=french \
    ja=japanese pt=portuguese tr=turkish pl=polish ca=catalan/valencian nl=dutch/flemish ar=arabic \
    sv=swedish it=italian id=indonesian hi=hindi fi=finnish vi=vietnamese he=hebrew uk=ukrainian el=greek \
    ms=malay cs=czech ro=romanian/moldavian/moldovan da=danish hu=hungarian ta=tamil no=norwegian th=thai \
    ur=urdu hr=croatian bg=bulgarian lt=lithuanian la=latin mi=maori ml=malayalam cy=welsh sk=slovak \
    te=telugu fa=persian lv=latvian bn=bengali sr=serbian az=azerbaijani sl=slovenian kn=kannada \
    et=estonian mk=macedonian br=breton eu=basque is=icelandic hy=armenian ne=nepali mn=mongolian \
    bs=bosnian kk=kazakh sq=albanian sw=swahili gl=galician mr=marathi pa=punjabi/panjabi \
    si=sinhala/sinhalese km=khmer sn=shona yo=yoruba so=somali af=afrikaans oc=occitan ka=georgian \
    be=belarusian tg=tajik sd=sindhi gu=gujarati am=amharic yi=yiddish lo=lao uz=uzbek fo=faroese \
    ht=haitian ps=pashto/pushto tk=turkmen nn=nynorsk mt=maltese sa=sanskrit lb=luxembourgish/letzeburgesch \
    my=myanmar/burmese bo=tibetan tl=tagalog fil=filipino mg=malagasy as=assamese tt=tatar haw=hawaiian \
    ln=lingala ha=hausa ba=bashkir jw=javanese su=sundanese yue=cantonese";

/// The rows of [`NAMES`].
fn languages() -> impl Iterator<Item = (&'static str, Split<'static, char>)> {
    let rows = NAMES.split_whitespace().filter_map(|row| row.split_once('='));
    rows.map(|(code, names)| (code, names.split('/')))
}

/// The code of the language that a server names: by a code, also with a region, or by a name in any case; the first of several. `None`: Hark
/// does not know the language.
pub(super) fn code(told: &str) -> Option<String> {
    let first = told.split(',').next().unwrap_or_default().trim().to_ascii_lowercase();
    let has = |names: &Split<'static, char>, wanted: &str| names.clone().any(|name| name == wanted);
    let by_name = languages().find(|(code, names)| *code == first || has(names, &first));
    // "haitian creole", "chinese (mandarin)"
    let word = first.split(' ').next().unwrap_or_default();
    let by_word = || languages().find(|(_, names)| has(names, word));
    // "zh-CN", "pt_BR"
    let tag = first.split(['-', '_']).next().unwrap_or_default();
    let by_tag = || languages().find(|(code, _)| *code == tag);
    by_name.or_else(by_word).or_else(by_tag).map(|(code, _)| code.to_owned())
}

/// The name of a language by its code, as Qwen3-ASR writes it.
pub(super) fn name(code: &str) -> Option<String> {
    let (_, mut names) = languages().find(|(other, _)| *other == code)?;
    let name = names.next()?;
    Some(name[..1].to_ascii_uppercase() + &name[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_by_code_or_name() {
        for (told, expected) in [
            ("English", Some("en")),
            ("english", Some("en")),
            ("en", Some("en")),
            ("Chinese,English", Some("zh")),
            ("Cantonese", Some("yue")),
            ("haitian creole", Some("ht")),
            ("zh-CN", Some("zh")),
            ("pt_BR", Some("pt")),
            ("None", None),
            ("auto", None),
            ("", None),
            ("Klingon", None),
        ] {
            assert_eq!(code(told).as_deref(), expected, "{told}");
        }
        // The languages of Qwen3-ASR, as its own table names them.
        for name in "Chinese English Cantonese Arabic German French Spanish Portuguese Indonesian Italian Korean Russian Thai Vietnamese \
                     Japanese Turkish Hindi Malay Dutch Swedish Danish Finnish Polish Czech Filipino Persian Greek Romanian Hungarian \
                     Macedonian"
            .split_whitespace()
        {
            let code = code(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(super::name(&code).as_deref(), Some(name));
        }
        assert_eq!(name("tlh"), None);
    }
}
