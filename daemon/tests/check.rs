//! `harkd check` as operators and scripts call it.

use std::path::Path;
use std::process::{Command, Output};

const GOOD: &str = "[dashscope]\nregion = \"us\"\n[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/nowhere/calls\"\n";

fn check(config: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harkd"));
    command.arg("check").args(arguments).arg("--config").arg(config).env_clear();
    command.envs(variables.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const KEY: (&str, &str) = ("DASHSCOPE_API_KEY", "sk-test");

#[test]
fn reports_what_a_good_config_does_and_warns_of_a_missing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    std::fs::write(&file, GOOD).unwrap();
    let output = check(&file, &[], &[KEY]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).ends_with(
            ": ok; sources: calls watches /nowhere/calls; routes: default; region: us; plugins: none\n"
        ),
        "{}",
        stdout(&output)
    );
    assert!(stderr(&output).contains("warning: source \"calls\""), "{}", stderr(&output));
}

#[test]
fn lists_mistakes_of_file_environment_and_key_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    std::fs::write(&file, "[dashscope]\nconcurency = 3\n[nats]\nreplicas = 9\n").unwrap();
    let output = check(&file, &[], &[("HARK_NATS__SERVER", "nats://a")]);
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    let name = file.display();
    assert!(said.contains(&format!(
        "{name}:2:1: unknown key \"concurency\" in [dashscope]; did you mean \"concurrency\"?\n"
    )));
    assert!(said.contains(&format!("{name}:4:12: nats.replicas")), "{said}");
    assert!(said.contains("did you mean HARK_NATS__SERVERS?"), "{said}");
    assert!(said.contains("there is no API key"), "{said}");
    assert!(said.contains("harkd: 4 mistakes in the configuration"), "{said}");
    assert!(!said.contains('\x1b'), "no colour where no terminal is");
}

#[test]
fn a_plugin_that_does_not_load_is_a_mistake_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    let rubbish = folder.path().join("librubbish.so");
    std::fs::write(&rubbish, "not a library").unwrap();
    let text = format!(
        "[[plugin]]\nname = \"absent\"\nlibrary = \"absent\"\n[[plugin]]\nname = \"rubbish\"\nlibrary = {rubbish:?}\n[[plugin]]\nname = \"lame\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = check(&file, &[], &[KEY]);
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    let name = file.display();
    assert!(said.contains(&format!("{name}:3:11: plugin \"absent\" does not load: ")), "{said}");
    assert!(said.contains(&format!("{name}:6:11: plugin \"rubbish\" does not load: ")), "{said}");
    assert!(said.contains(&format!("{name}:7:1: [[plugin]] lacks \"library\"")), "{said}");
    assert!(said.contains("harkd: 3 mistakes"), "{said}");
}

#[test]
fn tells_a_script_the_same_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    std::fs::write(&file, "[log]\nlevle = \"info\"\n").unwrap();
    let output = check(&file, &["--json"], &[KEY]);
    assert_eq!(output.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["mistakes"][0]["line"], 2);
    assert_eq!(report["mistakes"][0]["column"], 1);

    std::fs::write(&file, GOOD).unwrap();
    let report: serde_json::Value =
        serde_json::from_str(&stdout(&check(&file, &["--json"], &[KEY]))).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["sources"][0], "calls");
}

/// `check` must not report a missing key or a missing source when the config cannot be read: the file may name both.
#[test]
fn a_config_that_cannot_be_read_is_reported_as_the_only_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("harkd.toml");
    std::fs::write(&broken, "[[source]]\nname = \"calls\"\ninclude = [\"*.wav\"\n[[plugin]]\nname = \"k\"\n")
        .unwrap();
    let absent = Path::new("/nowhere/harkd.toml");
    for (file, words) in
        [(absent, ": the configuration file cannot be read"), (&broken, ":4:1: this is not TOML")]
    {
        let output = check(file, &[], &[]);
        assert_eq!(output.status.code(), Some(78));
        let said = stderr(&output);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with(&format!("{}{words}", file.display())), "{said}");
        assert_eq!(
            lines[1],
            "harkd: 1 mistake in the configuration; more may show when the file can be read"
        );
        assert_eq!(lines.len(), 2, "{said}");
    }
}
