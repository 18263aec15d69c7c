//! `harkd config` and the first steps of a newcomer.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{
    CEILING, Emulator, NatsServer, Process, ReceivedEvent, free_address, harkd, http_get, wait_until, wav,
};
use serde_json::Value;

fn config(file: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(harkd());
    command.arg("--config").arg(file).arg("config").args(arguments).env_clear();
    command.envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn default_prints_the_manual_byte_for_byte_and_reads_no_file() {
    let output = config(Path::new("/nowhere/harkd.toml"), &["default"], &[("HARK_NATS__NONSENSE", "1")]);
    assert!(output.status.success());
    assert_eq!(output.stdout, include_bytes!("../../config/harkd.toml"));
}

#[test]
fn effective_names_the_layer_of_each_value_and_is_toml_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    let text = "[dashscope]\nregion = \"us\"\n[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv/calls\"\n\
                metadata_from_name = '^(?<agent>[a-z\"]+)-\\d'\n[[route]]\nname = \"default\"\ncontext = \"\"\"\ntwo\nlines\"\"\"\n";
    std::fs::write(&file, text).unwrap();
    let variables = [("HARK_NATS__REPLICAS", "3"), ("HARK_DASHSCOPE__CONCURRENCY", "8")];
    let output = config(&file, &["effective"], &variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let layer = |line: &str| {
        let found = printed.lines().find(|printed| printed.starts_with(line));
        found.unwrap_or_else(|| panic!("{line} in {printed}")).rsplit_once("# ").unwrap().1.to_owned()
    };
    let line = |number: u32| format!("{}:{number}", file.display());
    assert_eq!(layer("region = \"us\" "), line(2));
    assert_eq!(layer("path = \"/srv/calls\" "), line(6));
    assert_eq!(layer("context = \"two\\nlines\" "), line(10));
    assert_eq!(layer("replicas = 3 "), "HARK_NATS__REPLICAS");
    assert_eq!(layer("concurrency = 8 "), "HARK_DASHSCOPE__CONCURRENCY");
    assert_eq!(layer("workspace = \"\" "), "default");
    assert_eq!(layer("settle = \"2s\" "), "default");

    // What was printed is a config that makes the same.
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &printed).unwrap();
    let values = |output: &Output| -> BTreeMap<String, Value> {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let values = report["values"].as_array().unwrap().iter();
        values.map(|value| (value["key"].as_str().unwrap().to_owned(), value["value"].clone())).collect()
    };
    let (first, second) =
        (config(&file, &["effective", "--json"], &variables), config(&again, &["effective", "--json"], &[]));
    assert_eq!(values(&first), values(&second));
    assert!(values(&first).len() > 80);
    let report: Value = serde_json::from_slice(&first.stdout).unwrap();
    let region =
        report["values"].as_array().unwrap().iter().find(|value| value["key"] == "dashscope.region").unwrap();
    assert_eq!(
        (&region["layer"], &region["line"], &region["variable"]),
        (&"file".into(), &2.into(), &Value::Null)
    );
}

#[test]
fn effective_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    let text = "[nats]\nservers = [\"nats://me:canary@a:4222\", \"nats://canary@b:4222\", \"me:canary@127.0.0.1:4222\", \"canary@c:4222\"]\n[[plugin]]\nname = \"post\"\nlibrary = \"post\"\n\
                [plugin.config]\napi_token = \"canary\"\nurl = \"https://example.com/hook?sig=canary\"\ninner = { password = [\"canary\"] }\n";
    std::fs::write(&file, text).unwrap();
    for arguments in [&["effective"][..], &["effective", "--json"]] {
        let output = config(&file, arguments, &[("DASHSCOPE_API_KEY", "sk-canary")]);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("***") && !printed.contains("canary"), "{printed}");
        assert!(
            printed.contains("\"me:***@127.0.0.1:4222\"") && printed.contains("\"***@c:4222\""),
            "{printed}"
        );
    }
}

#[test]
fn effective_of_a_config_with_mistakes_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    std::fs::write(&file, "[dashscope]\nregion = \"mars\"\n").unwrap();
    let output = config(&file, &["effective"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains(":2:10: region = \"mars\""));
}

/// What only the test differs in, an installation has at the defaults: the addresses, the state directory.
#[tokio::test]
async fn the_manual_and_a_source_of_three_lines_make_a_working_daemon() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let folder = tempfile::tempdir().unwrap();
    let (file, calls) = (folder.path().join("harkd.toml"), folder.path().join("calls"));
    let mut text = config(&file, &["default"], &[]).stdout;
    let three_lines =
        format!("\n[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"{}\"\n", calls.display());
    text.extend(three_lines.bytes());
    std::fs::write(&file, text).unwrap();
    std::fs::create_dir(&calls).unwrap();
    let listen = free_address();
    let mut command = Command::new(harkd());
    command.arg("--config").arg(&file).arg("run").env("DASHSCOPE_API_KEY", "sk-of-the-tests");
    command.env("HARK_NATS__SERVERS", nats.url()).env("HARK_DASHSCOPE__BASE_URL", service.api());
    command
        .env("HARK_STATE__DIRECTORY", folder.path().join("state"))
        .env("HARK_HTTP__LISTEN", listen.to_string());
    let mut process = Process::start("harkd", &mut command, folder.path());
    wait_until("the daemon to be ready", CEILING, async || {
        assert!(process.is_running(), "{}", process.log());
        matches!(http_get(listen, "/readyz").await, Some((200, _)))
    })
    .await;
    std::fs::write(calls.join("call.wav"), wav(1.0, 1)).unwrap();
    let context = async_nats::jetstream::new(nats.client().await);
    wait_until("the transcript", CEILING, async || {
        let heard = ReceivedEvent::everything(&context, "HARK_EVENTS").await;
        heard.iter().any(|event| event.kind() == "job.completed")
    })
    .await;
    assert!(process.terminate(CEILING).await.success());
}

/// An operator who starts the daemon for the first time may have no broker yet.
#[tokio::test]
async fn without_a_broker_the_log_says_in_a_line_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("harkd.toml");
    std::fs::write(&file, "").unwrap();
    let mut command = Command::new(harkd());
    command.arg("--config").arg(&file).arg("run").env("DASHSCOPE_API_KEY", "sk-of-the-tests");
    command.env("HARK_NATS__SERVERS", format!("nats://{}", free_address())).env("HARK_HTTP__LISTEN", "");
    command.env("HARK_STATE__DIRECTORY", folder.path().join("state"));
    let mut process = Process::start("harkd", &mut command, folder.path());
    wait_until("the hint", CEILING, async || {
        assert!(process.is_running(), "{}", process.log());
        let log = process.log();
        log.lines().any(|line| {
            line.contains("no connection to NATS") && line.contains("docker run") && line.contains("-js")
        })
    })
    .await;
    assert!(process.terminate(CEILING).await.success());
}
