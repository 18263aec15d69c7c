//! docs/errors.md has a row for every code that the daemon's sources name. `HARK_BLESS=1` writes the page's tables anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hark_sdk::codes::{Group, OF_HARK, OF_THE_SERVICE, tables};

/// Literals that look like codes and appear in no event.
const NO_CODES: [(&str, &str); 28] = [
    ("OwnershipCheck", "a type, as it is printed"),
    ("SourceState", "a name in the OpenAPI document"),
    ("KiB", "a unit"),
    ("MiB", "a unit"),
    ("GiB", "a unit"),
    ("TiB", "a unit"),
    ("OggS", "the first bytes of Ogg"),
    ("OSSAccessKeyId", "a field of an upload"),
    ("EntityTooLarge", "a code of the object storage, told as TooLargeForUpload"),
    ("RequestTimeout", "a code of S3, told as StorageUnavailable"),
    ("NoSuchBucket", "a code of S3, told as StorageMisconfigured"),
    ("RequestTimeTooSkewed", "a code of S3, told as StorageMisconfigured"),
    ("SecondLevelDomainForbidden", "a code of S3, told as StorageMisconfigured"),
    ("ExpiredToken", "a code of S3, told as StorageDenied"),
    ("InvalidToken", "a code of S3, told as StorageDenied"),
    ("InvalidAccessKeyId", "a code of S3, told as StorageDenied"),
    ("SignatureDoesNotMatch", "a code of S3, told as StorageDenied"),
    ("NoAudioWorker", "the job waits; the log has it"),
    ("MThd", "the first bytes of MIDI"),
    ("BadRequestError", "a type of error of speech servers, told as HttpStatus400"),
    ("NotFoundError", "a type of error of speech servers, told as HttpStatus404"),
    ("Code", "of random histories, which are tests"),
    ("RssAnon", "a line of /proc/self/status"),
    ("RssShmem", "a line of /proc/self/status"),
    ("VmSwap", "a line of /proc/self/status"),
    ("BadRange", "a response in the OpenAPI document"),
    ("NoToken", "a response in the OpenAPI document"),
    ("NotNow", "a response in the OpenAPI document"),
];

/// The text before a one-word literal that makes it a code. CamelCase literals of several words are codes wherever they stand.
const BEFORE_A_CODE: [&str; 7] = ["code: ", "fault(", "bad(", "again(", "unknown(", "lost(", "misfit("];

#[test]
fn the_page_has_the_tables_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let kept = std::fs::read_to_string(&page).unwrap();
    let mut expected = kept.clone();
    for (name, groups) in [("hark", OF_HARK), ("service", OF_THE_SERVICE)] {
        let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
        let (before, rest) = expected.split_once(&begin).unwrap_or_else(|| panic!("{begin:?} is missing"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{end:?} is missing"));
        expected = format!("{before}{begin}\n{}{end}{after}", tables(groups));
    }
    if std::env::var_os("HARK_BLESS").is_some() {
        std::fs::write(&page, &expected).unwrap();
    } else {
        assert_eq!(kept, expected, "if the change is meant, run the test again with HARK_BLESS=1");
    }
}

#[test]
fn every_code_of_the_sources_is_listed() {
    let listed: BTreeSet<&str> = codes().collect();
    let exempt: BTreeSet<&str> = NO_CODES.iter().map(|(word, _)| *word).collect();
    let unlisted: Vec<String> = literals()
        .into_iter()
        .filter(|(word, found)| found.is_code && !is_listed(&listed, word) && !exempt.contains(word.as_str()))
        .map(|(word, found)| format!("{word}  ({})", found.place))
        .collect();
    assert!(unlisted.is_empty(), "add to sdk/src/codes:\n{}", unlisted.join("\n"));
}

#[test]
fn every_listed_code_is_named_in_the_sources_and_once_in_the_list() {
    let literals = literals();
    let mut seen = BTreeSet::new();
    for code in codes() {
        assert!(seen.insert(code), "{code} is listed twice");
        let is_named = match code.strip_suffix('…') {
            Some(beginning) => literals.keys().any(|word| word.starts_with(beginning)),
            None => literals.contains_key(code),
        };
        assert!(is_named, "the sources do not name {code} any more; remove it from sdk/src/codes");
    }
}

fn codes() -> impl Iterator<Item = &'static str> {
    let groups: [&[Group]; 2] = [OF_HARK, OF_THE_SERVICE];
    groups.into_iter().flatten().flat_map(|group| group.codes).map(|code| code.code)
}

/// Whether the list has a code, in full or by a prefix.
fn is_listed(listed: &BTreeSet<&str>, word: &str) -> bool {
    listed.contains(word)
        || listed
            .iter()
            .any(|code| code.strip_suffix('…').is_some_and(|beginning| word.starts_with(beginning)))
}

struct Found {
    place: String,
    is_code: bool,
}

/// The string literals of the daemon's sources that may be codes; tests and comments are left out.
fn literals() -> BTreeMap<String, Found> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut literals = BTreeMap::new();
    for file in rust_files(&sources) {
        let place = file.strip_prefix(&sources).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        let names_blame = text.contains("Blame::");
        for (before, word) in quoted(text.split("mod tests {").next().unwrap()) {
            let is_code = is_camel_case(&word)
                || (names_blame && is_screaming(&word))
                || (is_word(&word) && BEFORE_A_CODE.iter().any(|lead| before.ends_with(lead)));
            let found = literals.entry(word).or_insert_with(|| Found { place: place.clone(), is_code });
            found.is_code |= is_code;
        }
    }
    literals
}

/// Each literal of one line, with the text before it on that line, or at the end of the previous line.
fn quoted(text: &str) -> Vec<(String, String)> {
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut literals = Vec::new();
    let mut before_line = "";
    for line in code {
        let parts: Vec<&str> = line.split('"').collect();
        for (place, word) in parts.iter().enumerate().skip(1).step_by(2) {
            let before =
                if parts[place - 1].is_empty() && place == 1 { before_line } else { parts[place - 1] };
            literals.push((before.to_owned(), (*word).to_owned()));
        }
        before_line = line;
    }
    literals
}

/// `NoAnswer`, `Model.AccessDenied`.
fn is_camel_case(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let is_part = |part: &&str| {
        part.starts_with(|letter: char| letter.is_ascii_uppercase())
            && part.contains(|letter: char| letter.is_ascii_lowercase())
            && part.chars().all(|letter| letter.is_ascii_alphabetic())
    };
    let humps = word.chars().filter(char::is_ascii_uppercase).count();
    humps > 1 && parts.iter().all(is_part) && (parts.len() > 1 || !is_word(word))
}

/// `DECODE_ERROR`.
fn is_screaming(word: &str) -> bool {
    word.contains('_')
        && word.starts_with(|letter: char| letter.is_ascii_uppercase())
        && word.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}

/// `Interrupted`.
fn is_word(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|first| first.is_ascii_uppercase())
        && letters.all(|letter| letter.is_ascii_lowercase())
        && word.len() > 1
}

/// Every Rust source below a folder, without tests.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

#[test]
fn what_is_written_like_a_code_is_told_from_other_words() {
    let text = "code: \"Interrupted\".into(),\n// \"NotThis\"\nfault(\n    \"NoAnswer\", \"Reset\", a)\n";
    let found: Vec<(String, String)> = quoted(text);
    let words: Vec<&str> = found.iter().map(|(_, word)| word.as_str()).collect();
    assert_eq!(words, ["Interrupted", "NoAnswer", "Reset"]);
    assert_eq!(found[1].0, "fault(");
    for (word, expected) in
        [("NoAnswer", true), ("Model.AccessDenied", true), ("Reset", false), ("KEY", false), ("A b", false)]
    {
        assert_eq!(is_camel_case(word), expected, "{word}");
    }
    assert!(is_screaming("DECODE_ERROR") && !is_screaming("DECODE") && !is_screaming("{A_B}"));
}
