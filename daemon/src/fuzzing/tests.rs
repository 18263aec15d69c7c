//! The seeds of every target, changed at random. What the fuzzer finds becomes a seed, and stays found.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Takes any bytes.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 14] = [
    ("claim", claim),
    ("file_name", file_name),
    ("flash_stream", flash_stream),
    ("message", message),
    ("own_audio", own_audio),
    ("own_server", own_server),
    ("plugin_frames", plugin_frames),
    ("refusal", refusal),
    ("sidecar", sidecar),
    ("sse", sse),
    ("task", task),
    ("url", url),
    ("wav_of_a_folder", wav_of_a_folder),
    ("worker_message", worker_message),
];

/// The most bytes that are kept of a seed: what follows is audio, which the parsers pass over.
const KEPT: usize = 4 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut folders = vec![fuzz().join("seeds").join(target)];
    if target == "own_audio" {
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio"));
    }
    let files = folders.iter().flat_map(|folder| names(folder).into_iter().map(|name| folder.join(name)));
    files.map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn every_target_is_in_the_list_and_has_seeds() {
    let listed = TARGETS.map(|(name, _)| name);
    assert_eq!(names(&fuzz().join("seeds")), listed);
    assert_eq!(names(&fuzz().join("fuzz_targets")), listed.map(|name| format!("{name}.rs")));
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    assert!(
        listed
            .iter()
            .all(|name| manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")))
    );
}

#[test]
fn every_seed_is_parsed() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name}");
        seeds.iter().for_each(|seed| target(seed));
    }
}

/// A change at a place of the input.
#[derive(Debug, Clone)]
enum Change {
    Set(u8),
    Insert(Vec<u8>),
    Remove(usize),
    /// So many bytes from there on once more.
    Repeat(usize),
    End,
}

fn change() -> impl Strategy<Value = Change> {
    // What formats of text and of sizes are sensitive to.
    let odd = prop::sample::select(
        [
            "\0",
            "\n\n",
            "\"",
            "{",
            "[",
            "null",
            "-1",
            "1e999",
            "99999999999999999999",
            "\u{ffff}",
            "%00",
            "\\ud800",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
    );
    let size =
        prop::sample::select(vec![vec![0xff; 4], vec![0x7f, 0xff, 0xff, 0xff], vec![0; 8], vec![0xff; 8]]);
    prop_oneof![
        4 => any::<u8>().prop_map(Change::Set),
        2 => odd.prop_map(Change::Insert),
        1 => size.prop_map(Change::Insert),
        2 => (1..9_usize).prop_map(Change::Remove),
        1 => (1..64_usize).prop_map(Change::Repeat),
        1 => Just(Change::End),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[(Index, Change)]) -> Vec<u8> {
    bytes.truncate(KEPT);
    for (place, change) in changes {
        let at = place.index(bytes.len() + 1);
        let end = |count: usize| (at + count).min(bytes.len());
        match change {
            Change::Set(value) => bytes.get_mut(at).into_iter().for_each(|byte| *byte = *value),
            Change::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Change::Remove(count) => drop(bytes.drain(at..end(*count))),
            Change::Repeat(count) => {
                let again = bytes[at..end(*count)].to_vec();
                drop(bytes.splice(at..at, again));
            }
            Change::End => bytes.truncate(at),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_seeds_are_parsed(
        (name, target) in prop::sample::select(TARGETS.to_vec()),
        seed in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), change()), 1..12),
    ) {
        let bytes = changed(seed.get(&seeds(name)).clone(), &changes);
        let outcome = std::panic::catch_unwind(|| target(&bytes));
        prop_assert!(outcome.is_ok(), "{} of {:?}", name, String::from_utf8_lossy(&bytes));
    }
}
