//! The permitted dependencies between the daemon's rooms (its top-level modules): a room uses only what this list names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lowest layer first: a room may use the rooms of every line above its own, and no others. Rooms of one line do not use each other.
const LAYERS: [&[&str]; 9] = [
    &["counted", "hex", "os", "telemetry"],
    &["config"],
    &["broker"],
    &["job"],
    &["share"],
    &["audio", "source", "recognize", "pipeline", "publish"],
    &["work", "api"],
    &["daemon"],
    &["cli"],
];

/// Files that may use every room.
const ABOVE_ALL: [&str; 3] = ["fuzzing", "lib", "main"];

#[test]
fn rooms_use_only_rooms_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut forbidden = BTreeSet::new();
    for file in rust_files(&source) {
        let below = file.strip_prefix(&source).unwrap();
        let room = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ABOVE_ALL.contains(&room.as_str()) {
            continue;
        }
        let own =
            layer(&room).unwrap_or_else(|| panic!("the room {room} is in no layer; add it to the list"));
        for used in rooms_named_in(&std::fs::read_to_string(&file).unwrap()) {
            let is_permitted = used == room || layer(&used).is_some_and(|layer| layer < own);
            if !is_permitted {
                forbidden.insert(format!("{room} -> {used}  ({})", below.display()));
            }
        }
    }
    assert!(
        forbidden.is_empty(),
        "arrows that the list does not permit:\n{}",
        Vec::from_iter(forbidden).join("\n")
    );
}

/// `1 event`, not `1 events`: `counted` writes numbers with their nouns.
#[test]
fn sentences_with_a_number_know_the_singular() {
    let nouns = [
        "event",
        "job",
        "file",
        "message",
        "case",
        "warning",
        "mistake",
        "source",
        "plugin",
        "recording",
        "final",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&source) {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.contains("panic!") && !line.contains("assert")) {
            let numbers =
                nouns.iter().filter_map(|noun| line.split_once(&format!("}} {noun}s"))?.0.rsplit('{').next());
            // A constant is not one.
            let numbers: Vec<&str> = numbers.filter(|name| !name.starts_with(char::is_uppercase)).collect();
            assert!(numbers.is_empty(), "{}: {line}", file.display());
        }
    }
}

#[test]
fn every_room_of_the_list_exists() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for room in LAYERS.concat() {
        let exists = source.join(room).is_dir() || source.join(format!("{room}.rs")).is_file();
        assert!(exists, "the room {room} is on the list and not in the house");
    }
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// Names of NATS that only the broker's room spells out: the server's own subjects, and those of events.
const SUBJECTS: [&str; 4] = ["$JS", "}.event.", "\".event.", "hark.event."];

#[test]
fn only_the_broker_spells_subjects_out() {
    // The config is below the broker, and has to refuse a source that would hear the daemon's own events.
    const BELOW_THE_BROKER: &str = "config/validate/subjects.rs";
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&source) {
        let below = file.strip_prefix(&source).unwrap();
        let is_test = below.iter().any(|part| part == "tests" || part == "tests.rs");
        if below.starts_with("broker") || below == Path::new(BELOW_THE_BROKER) || is_test {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = code_of(text.split("#[cfg(test)]\nmod tests {").next().unwrap());
        let spelled = SUBJECTS.iter().find(|name| code.contains(**name));
        assert_eq!(spelled, None, "{} spells out a subject; let crate::broker make it", below.display());
    }
}

/// A file without its comments.
fn code_of(text: &str) -> String {
    text.lines().flat_map(|line| [line.split("//").next().unwrap_or_default(), "\n"]).collect()
}

/// The rooms that a file names as `crate::<room>`, in a `use` or in a path. Comments do not count.
fn rooms_named_in(text: &str) -> BTreeSet<String> {
    let code = code_of(text);
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            // `use crate::{a::{x, y}, b::z};` names its rooms inside the outer braces, maybe over several lines.
            Some(group) => rooms.extend(members(group).into_iter().map(first_word)),
            None => {
                rooms.insert(first_word(rest));
            }
        }
    }
    rooms.remove("");
    rooms
}

/// The members of a group, up to the brace that ends it.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut begin) = (0, 0);
    let mut members = Vec::new();
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                members.push(&group[begin..at]);
                begin = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    members
}

fn first_word(text: &str) -> String {
    text.trim().chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_reader_of_arrows_sees_groups_paths_and_no_comments() {
    let text = "use crate::{\n    job::{Job, pieces},\n    config,\n};\n// crate::cli\nlet x = crate::audio::probe(y);\nuse crate::os;\nuse other::publish;";
    let seen = rooms_named_in(text);
    assert_eq!(Vec::from_iter(seen), ["audio", "config", "job", "os"]);
}
