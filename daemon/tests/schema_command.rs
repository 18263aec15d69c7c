//! `harkd schema`: documents for programs and editors.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{harkd, plugin_library, say_past_the_capture, skip};
use serde_json::Value;

fn schema(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(harkd());
    command.arg("--config").arg(config).arg("schema").args(arguments).env_clear();
    command.output().unwrap()
}

fn document(config: &Path, arguments: &[&str]) -> Value {
    let output = schema(config, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const NOWHERE: &str = "/nowhere/harkd.toml";

#[test]
fn one_document_has_the_events_of_all_kinds() {
    let events = document(Path::new(NOWHERE), &["events"]);
    assert_eq!(events["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::meta::is_valid(&events));
    let any: BTreeSet<&str> =
        events["anyOf"].as_array().unwrap().iter().map(|one| one["$ref"].as_str().unwrap()).collect();
    assert_eq!(any.len(), 14);
    for reference in any {
        let kind = reference.strip_prefix("#/$defs/").unwrap();
        assert_eq!(events["$defs"][kind]["title"], format!("hark.{kind}"));
    }
    let validator = jsonschema::options().offline().build(&events).unwrap();
    let body = serde_json::to_value(hark_sdk::testing::transcript(&["hello"])).unwrap();
    assert!(validator.is_valid(&body));
    let mut without = body.clone();
    without.as_object_mut().unwrap().remove("job");
    assert!(!validator.is_valid(&without));
}

#[test]
fn the_config_has_a_schema_and_a_plugin_its_own() {
    let config = document(Path::new(NOWHERE), &["config"]);
    assert!(jsonschema::meta::is_valid(&config));
    assert_eq!(config["properties"]["dashscope"]["properties"]["region"]["default"], "singapore");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    let library = folder.path().join("libkeyword_alert.so");
    std::fs::copy(plugin_library("keyword_alert"), &library).unwrap();
    // Its config does not fit yet: the schema is asked for to write it.
    let text = format!(
        "[[plugin]]\nname = \"keywords\"\nlibrary = '{}'\nconfig = {{ rulse = [] }}\n",
        library.display()
    );
    std::fs::write(&file, text).unwrap();
    let of_plugin = document(&file, &["config", "--plugin", "keywords"]);
    assert!(of_plugin["properties"]["rules"].is_object(), "{of_plugin}");

    let by_name = format!("[plugins]\ndirectory = '{}'\n", folder.path().display());
    std::fs::write(&file, by_name).unwrap();
    assert_eq!(document(&file, &["config", "--plugin", "keyword_alert"]), of_plugin);
    let absent = schema(&file, &["config", "--plugin", "absent"]);
    assert_eq!(absent.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("libabsent.so"));
}

#[test]
fn the_subjects_are_those_of_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    std::fs::write(
        &file,
        "[nats]\nsubject_prefix = \"lab\"\nservers = [\"nats://me:canary@example.com:4223\"]\n",
    )
    .unwrap();
    let text = String::from_utf8(schema(&file, &["asyncapi"]).stdout).unwrap();
    assert!(!text.contains("canary"));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
    assert_eq!(document["channels"]["job.completed"]["address"], "lab.event.job.completed.{source}.{job}");
    assert_eq!(document["channels"]["plugin"]["address"], "lab.event.plugin.{plugin}.{source}.{job}");
    assert_eq!(document["channels"]["audio"]["address"], "lab.audio.{inbox}");
    assert_eq!(document["channels"]["control.plugins.enable"]["address"], "lab.control.plugins.enable");
    assert_eq!(document["servers"]["nats1"]["host"], "example.com:4223");
}

/// The public parser of AsyncAPI, of npm. Where npm or its registry is missing, this says so and checks nothing.
#[test]
fn the_public_parser_accepts_the_subjects() {
    let folder = tempfile::tempdir().unwrap();
    let npm = |arguments: &[&str]| Command::new("npm").args(arguments).current_dir(folder.path()).output();
    let Ok(installed) = npm(&["install", "--no-audit", "--no-fund", "--silent", "@asyncapi/parser@3"]) else {
        return skip("the AsyncAPI document: no npm; install it (Debian, Ubuntu: apt install npm)");
    };
    if !installed.status.success() {
        // The registry may be out of reach, which is no fault of the document.
        return say_past_the_capture(&format!(
            "SKIPPED the AsyncAPI document: npm has no @asyncapi/parser: {installed:?}"
        ));
    }
    std::fs::write(folder.path().join("document.json"), schema(Path::new(NOWHERE), &["asyncapi"]).stdout)
        .unwrap();
    let script = "const { Parser } = require('@asyncapi/parser');\
        new Parser().parse(require('fs').readFileSync('document.json', 'utf8')).then(({ document, diagnostics }) => {\
          for (const { severity, message, path } of diagnostics) if (severity < 2) console.log(severity, message, path.join('.'));\
          console.log(document ? document.allChannels().has('job.completed') : 'no document'); });";
    let parsed = Command::new("node").args(["-e", script]).current_dir(folder.path()).output().unwrap();
    let said =
        String::from_utf8_lossy(&parsed.stdout).into_owned() + &String::from_utf8_lossy(&parsed.stderr);
    assert_eq!(said.trim(), "true", "{said}");
}
