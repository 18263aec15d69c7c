//! What an author of plugins uses: `harkd plugins new`, `harkd plugins check`, and the page that leads through both.

#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::plugins::Plugins;
use serde_json::Value;

const HARKD: &str = env!("CARGO_BIN_EXE_harkd");

fn harkd(arguments: &[&str]) -> Output {
    Command::new(HARKD).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn check(file: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let output = harkd(&[&["plugins", "check", "--json", &file.display().to_string()], more].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The steps of a trial with a verdict: name, message, remedy.
fn steps<'t>(trial: &'t Value, verdict: &str) -> Vec<(&'t str, &'t str, Option<&'t str>)> {
    let steps = trial["steps"].as_array().unwrap().iter().filter(|step| step["verdict"] == verdict);
    let text = |step: &'t Value, key: &str| step[key].as_str().unwrap();
    steps.map(|step| (text(step, "name"), text(step, "message"), step["remedy"].as_str())).collect()
}

#[test]
fn a_good_plugin_passes_every_step() {
    let plugins = Plugins::new().rust("hello").rust("keyword_alert").c("listens").c("of_1_0");
    let rules = r#"{"rules":[{"name":"churn","any":["cancel"],"regex":["退款"]}]}"#;
    for (name, config, kinds) in [
        ("keyword_alert", rules, &["a final of silence", "a segment", "a partial"][..]),
        ("listens", "{}", &["a very long final", "a partial"]),
        ("of_1_0", "{}", &["a final"]),
    ] {
        let (code, trial) =
            check(&plugins.path().join(format!("{name}.so")), &["--with", config, "--events", "500"]);
        assert_eq!((code, trial["verdict"].as_str()), (Some(0), Some("passed")), "{trial:#}");
        let passed = steps(&trial, "passed");
        let rest = ["unusable bodies", "many events", "memory", "descriptors", "threads", "destroy"];
        for kind in kinds.iter().chain(&rest) {
            assert!(passed.iter().any(|(name, ..)| name == kind), "{kind}: {trial:#}");
        }
        assert!(passed.iter().any(|(_, message, _)| message.starts_with("500 events, p99 ")), "{trial:#}");
    }
    let output = harkd(&["plugins", "check", &plugins.path().join("hello.so").display().to_string()]);
    let table = stdout(&output);
    assert!(table.starts_with("0.1.0, receives finals\nsha256 "), "{table}");
    assert!(table.contains("ok       load and create"), "{table}");
    assert!(table.contains("10000 events, p99 "), "{table}");
    assert!(table.ends_with("ended in good order\npassed\n"), "{table}");
}

#[test]
fn a_plugin_that_misbehaves_is_told_how() {
    let plugins = Plugins::new()
        .c("wrong_major")
        .c("shout")
        .c("rubbish")
        .c("gives_up")
        .c("bad_schema")
        .rust("keyword_alert");
    for (name, step, words) in [
        ("wrong_major", "load and create", "major version 7"),
        ("shout", "a final", "segment texts for 2 segments"),
        ("rubbish", "a final", "9 of its emissions were refused"),
        ("keyword_alert", "load and create", "rules: is missing or empty"),
        ("gives_up", "a final", "1 of its emissions were refused: unknown event kind"),
        ("bad_schema", "load and create", "its schema is no JSON Schema"),
        ("not_there", "load and create", "does not exist"),
    ] {
        let (code, trial) = check(&plugins.path().join(format!("{name}.so")), &[]);
        assert_eq!((code, trial["verdict"].as_str()), (Some(1), Some("failed")), "{trial:#}");
        let (found, message, _) = steps(&trial, "failed")[0];
        assert!(found == step && message.contains(words), "{trial:#}");
    }
    let bad_rules = r#"{"rules": [{"nam": "a", "severity": "warn"}]}"#;
    let (code, trial) = check(&plugins.path().join("keyword_alert.so"), &["--with", bad_rules]);
    assert_eq!(code, Some(1));
    let (_, message, _) = steps(&trial, "failed")[0];
    let both = ["rules.0.nam: unknown key; did you mean \"name\"?", "did you mean \"warning\"?"];
    assert!(both.iter().all(|words| message.contains(words)), "{message}");
    for wrong in [["--with", "[]"], ["--with", "word = \"refund\""], ["--events", "0"]] {
        assert_eq!(
            harkd(&[&["plugins", "check", "x.so"][..], &wrong].concat()).status.code(),
            Some(64),
            "{wrong:?}"
        );
    }
}

#[test]
fn what_a_plugin_keeps_of_its_events_is_measured() {
    let library = Plugins::new().c("keeps");
    let file = library.path().join("keeps.so");
    for (keep, events, verdict, step, words) in [
        ("memory", "10000", "failed", "memory", " bytes an event"),
        ("descriptors", "500", "failed", "descriptors", " before the first event"),
        ("threads", "500", "failed", "threads", " before the first event"),
        ("many descriptors", "500", "failed", "descriptors", "256 descriptors, 5 before the first event"),
        ("many threads", "500", "failed", "threads", " threads, 1 before the first event"),
        ("time", "20", "warnings", "many events", "it is slow"),
        ("order", "20", "warnings", "an unknown kind", "it returned an error"),
    ] {
        let config = format!("{{\"keep\": \"{keep}\"}}");
        let (code, trial) = check(&file, &["--with", &config, "--events", events]);
        let expected = if verdict == "failed" { 1 } else { 0 };
        assert_eq!((code, trial["verdict"].as_str()), (Some(expected), Some(verdict)), "{trial:#}");
        let found = steps(&trial, verdict);
        let found = found.iter().find(|(name, ..)| *name == step);
        assert!(found.is_some_and(|(_, said, remedy)| said.contains(words) && remedy.is_some()), "{trial:#}");
        let loose = steps(&trial, "warnings");
        let loose = loose.iter().find(|(name, ..)| *name == "schema of the config");
        assert!(loose.is_some_and(|(_, said, _)| said.contains("unknown key is accepted")), "{trial:#}");
    }
}

#[test]
fn a_new_plugin_overwrites_nothing_and_finds_the_sdk() {
    let folder = tempfile::tempdir().unwrap();
    let new = |place: &str, arguments: &[&str]| {
        let output = Command::new(HARKD)
            .args(["plugins", "new"])
            .args(arguments)
            .current_dir(folder.path().join(place))
            .output()
            .unwrap();
        (output.status.code(), stdout(&output) + &String::from_utf8(output.stderr).unwrap())
    };
    let refused = |arguments: &[&str], words: &str| {
        let (code, said) = new("", arguments);
        assert!(code == Some(64) && said.contains(words), "{code:?} {said}");
    };
    refused(&["counts"], "clone it beside the new folder as `hark`");
    refused(&["counts"], "a plugin in C (--lang c) needs none");
    let sdk = folder.path().join("hark/sdk");
    fs::create_dir_all(&sdk).unwrap();
    refused(&["counts", "--sdk", "hark/sdk"], "hark/sdk is not the SDK of plugins");
    fs::write(sdk.join("Cargo.toml"), "[package]\nname = \"hark-sdk\"\n").unwrap();
    for name in ["Counts", "../counts", "1st", "", "zähler"] {
        refused(&[name], "must begin with a-z");
    }
    refused(&["match"], "means something else in Rust");
    refused(&["counts", "--lang", "c", "--sdk", "sdk"], "--sdk is for --lang rust");
    fs::write(folder.path().join("counts"), "mine").unwrap();
    refused(&["counts"], "counts is there already");
    assert_eq!(fs::read_to_string(folder.path().join("counts")).unwrap(), "mine");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "what is refused leaves nothing behind");

    fs::create_dir_all(folder.path().join("hark/plugins")).unwrap();
    for (place, arguments, sdk) in [
        ("", &["beside", "--json"][..], "../hark/sdk"),
        ("hark/plugins", &["within", "--json"], "../../sdk"),
        ("hark", &["named", "--json", "--sdk", "./sdk"], "../sdk"),
    ] {
        let (code, said) = new(place, arguments);
        assert_eq!(code, Some(0), "{said}");
        let written: serde_json::Value = serde_json::from_str(&said).unwrap();
        let files = [0, 1].map(|file| written["files"][file].as_str().unwrap());
        assert!(files.iter().all(|file| folder.path().join(place).join(file).is_file()), "{said}");
        let manifest = fs::read_to_string(folder.path().join(place).join(files[0])).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["dependencies"]["hark-sdk"]["path"].as_str(), Some(sdk));
        assert_eq!(written["sdk"], sdk);
    }
}

/// The commands of a chapter of the page, as one script, and its blocks of TOML and of text.
fn page(chapter: &str) -> (String, Vec<String>) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins/write-one.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, chapter) = page.split_once(&format!("\n## {chapter}\n")).unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let blocks = |fence: &str| -> Vec<String> {
        let fence = format!("```{fence}\n");
        let blocks = chapter.split(&fence).skip(1);
        blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
    };
    (blocks("sh").concat(), [blocks("toml"), blocks("text")].concat())
}

/// A shell with `harkd`, and `cargo` as it is in a fresh checkout but for this workspace's `Cargo.lock`, profile and target folder: so nothing
/// is downloaded and little is compiled again.
fn shell(folder: &Path, script: &str) -> (Option<i32>, String) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(HARKD).ancestors().nth(2).unwrap();
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    if !bin.join("harkd").exists() {
        std::os::unix::fs::symlink(HARKD, bin.join("harkd")).unwrap();
    }
    let cargo = format!(
        "#!/bin/sh\nset -e\ncp {lock} .\nmkdir -p target\nln -sfn {target}/debug target/release\n\
         task=$1; [ \"$2\" = --release ] || [ -z \"$2\" ]\n\
         CARGO_TARGET_DIR={target} exec {cargo} $task --quiet --offline --config 'profile.dev.debug=\"line-tables-only\"' \
         --config 'profile.dev.package.\"*\".debug=false'\n",
        lock = workspace.join("Cargo.lock").display(),
        target = target.display(),
        cargo = env!("CARGO"),
    );
    fs::write(bin.join("cargo"), cargo).unwrap();
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let script = script
        .replace("hark/sdk", &workspace.join("sdk").display().to_string())
        .replace("/usr/lib/hark/plugins", &folder.join("installed").display().to_string());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    // The umask of users on many systems.
    bash.args(["-euxc", &format!("exec 2>&1\numask 002\n{script}")]).current_dir(folder).env("PATH", path);
    let output = bash.env("DASHSCOPE_API_KEY", "sk-test").output().unwrap();
    (output.status.code(), stdout(&output))
}

/// Follows the page for a language to its end, and returns what was printed and the folder of the plugin.
fn ten_minutes(folder: &Path, chapter: &str) -> (String, PathBuf) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let (commands, _) = page(chapter);
    let (code, said) = shell(folder, &commands);
    assert_eq!(code, Some(0), "{said}");
    let (load, blocks) = page("Load it");
    let [config, mistake] = &blocks[..] else { panic!("a config and a mistake: {blocks:?}") };
    let installed = format!("[plugins]\ndirectory = {:?}\n", folder.join("installed"));
    let at = load.replace("harkd check", "harkd check --config harkd.toml");
    fs::write(folder.join("harkd.toml"), format!("{config}{installed}")).unwrap();
    let (code, loaded) = shell(folder, &at);
    assert_eq!(code, Some(0), "{loaded}");
    let wrong = config.replace("\nword =", "\nwrod =");
    fs::write(folder.join("harkd.toml"), format!("{wrong}{installed}")).unwrap();
    let (code, refused) = shell(folder, &at);
    assert!(code == Some(78) && refused.contains(mistake.trim_end()), "{refused}");
    (said, folder.join("word-count"))
}

#[test]
fn a_plugin_in_rust_takes_ten_minutes() {
    let folder = tempfile::tempdir().unwrap();
    let (said, plugin) = ten_minutes(folder.path(), "In Rust");
    assert!(said.contains("wrote word-count/Cargo.toml\nwrote word-count/src/lib.rs\n"), "{said}");
    assert!(said.contains("\n  name = \"word-count\"\n  library = \"word_count\"\n"), "{said}");
    assert!(!said.contains('@'), "every gap is filled: {said}");
    assert!(said.contains("3 passed") && said.contains("\npassed\n") && !said.contains("warning"), "{said}");
    let formatted = Command::new(env!("CARGO")).args(["fmt", "--check"]).current_dir(&plugin).output();
    assert!(formatted.as_ref().unwrap().status.success(), "{formatted:?}");
}

#[test]
fn a_plugin_in_c_takes_ten_minutes() {
    let folder = tempfile::tempdir().unwrap();
    let (said, plugin) = ten_minutes(folder.path(), "In C");
    assert!(said.contains("\npassed\n") && !said.contains("warning"), "{said}");
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/include/hark_plugin.h");
    assert_eq!(fs::read(plugin.join("hark_plugin.h")).unwrap(), fs::read(header).unwrap());
    let strict = "make clean && make CC='cc -std=c99 -pedantic -Werror -fsanitize=undefined'";
    let (code, said) = shell(&plugin, strict);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn the_plugin_in_c_counts_words_of_the_transcript_only() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = shell(folder.path(), "harkd plugins new word-count --lang c\nmake -C word-count");
    assert_eq!(code, Some(0), "{said}");
    let plugins = Plugins::new().missing("count").with(|plugin| {
        plugin.library = folder.path().join("word-count/libword_count.so").display().to_string();
        plugin.config = serde_json::from_str(r#"{"word": "Refund"}"#).unwrap();
    });
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let plugins = plugins.start().await;
    for (texts, count) in [
        (&["A refund, please.", "REFUND? Refunded!"][..], 2),
        (&["\"refund\"\nrefund\\"], 2),
        (&["refünd"], 0),
        (&[], 0),
    ] {
        let mut event = hark_sdk::testing::transcript(texts);
        event.metadata.insert("text".to_owned(), "refund refund refund".into());
        let processed = plugins.process(event).await;
        let said: Vec<_> = crate::plugins::data(&processed, "count").collect();
        assert_eq!(said, [&serde_json::json!({ "count": count })], "{texts:?}");
    }
    plugins.stop().await;
}
