//! The service's official Python SDK works with the emulator as with the service.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use std::path::PathBuf;

use dashscope_emulator::text_for;
use serde_json::json;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_works_against_the_emulator() {
    let python = python();
    let audio = wav(2_400, 1, 1);
    let files = FileServer::start(audio.clone()).await;
    let emulator = Emulator::start_with(&["--task-delay", "50ms"]);
    let path = emulator.directory.path().join("recording.wav");
    std::fs::write(&path, &audio).unwrap();
    let case = json!({
        "api": emulator.api,
        "url": files.url("/ok.wav"),
        "path": path,
        "text": text_for(&sha256_hex(&audio)),
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/official_sdk.py");
    let mut run = tokio::process::Command::new(&python);
    run.arg("-B").arg(script).arg(case.to_string()).kill_on_drop(true);
    // The SDK logs below its home directory; a proxy of the machine must not be used.
    run.env("HOME", emulator.directory.path()).env_remove("http_proxy").env_remove("HTTP_PROXY");
    let output = run.output().await.unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stdout));
    assert!(report.contains("\nOK\n"), "no test was skipped: {report}");
    println!("{report}");
}

/// `HARK_PYTHON`, else the interpreter that xtask installs below the target directory of this test.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("HARK_PYTHON") {
        return PathBuf::from(python);
    }
    let test = std::env::current_exe().unwrap();
    let installed = test.ancestors().map(|directory| directory.join("tools/venv/bin/python"));
    installed.into_iter().find(|python| python.is_file()).expect(
        "no Python with the official SDK: run cargo xtask test, or `python3 -m venv target/tools/venv && \
         target/tools/venv/bin/pip install dashscope nats-py`",
    )
}
