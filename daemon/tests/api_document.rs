//! The OpenAPI document against the running daemon: a fuzzer of others asks for everything that stands in it.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{Emulator, Hark, NatsServer, number_from, python, wav};
use serde_json::Value;
use tokio::process::Command;

/// Requests that the fuzzer makes up for each operation; `HARK_API_EXAMPLES` sets another number.
const EXAMPLES: u64 = 25;

/// What no answer may be: an error of the daemon, a status or a body that the document does not have, a wrong value that is taken.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      negative_data_rejection,ignored_auth,unsupported_method";

#[tokio::test]
async fn the_daemon_answers_as_its_document_says() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "a.wav", &wav(3.0, 1));
    hark.next_event("job.completed").await;
    hark.drop_file("calls", "b.wav", b"no audio");
    hark.next_event("job.failed").await;
    let api = hark.api();
    let document = api.json("/api/openapi.json").await;
    let printed = hark.command(&["schema", "openapi"]).stdout(Stdio::piped()).spawn().unwrap();
    let printed = printed.wait_with_output().unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&printed.stdout).unwrap(),
        document,
        "the command prints the same"
    );

    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), document.to_string()).unwrap();
    let mut fuzzer = Command::new(python().with_file_name("schemathesis"));
    fuzzer
        .arg("run")
        .arg(file.path())
        .args(["--url", &api.base, "--header", &format!("Authorization: Bearer {}", api.token)])
        .args([
            "--checks",
            CHECKS,
            "--max-examples",
            &number_from("HARK_API_EXAMPLES").unwrap_or(EXAMPLES).to_string(),
        ])
        // An answer that never ends.
        .args(["--exclude-operation-id", "followEvents"])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color", "--warnings", "off"])
        .current_dir(hark.path("state"))
        .kill_on_drop(true);
    let ran =
        tokio::time::timeout(Duration::from_secs(120), fuzzer.output()).await.expect("it ends").unwrap();
    let report = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{report}{}", String::from_utf8_lossy(&ran.stderr));
}
