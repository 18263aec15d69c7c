//! The emulator as a process: start, end, memory, errors on the command line.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use axum::body::Bytes;
use dashscope_emulator::journal::Kind;
use futures::stream;
use sha2::{Digest, Sha256};
use support::*;

#[tokio::test]
async fn ends_with_success_on_sigterm() {
    let mut emulator = Emulator::start();
    assert_eq!(emulator.flash(&flash_body(&data_url(&wav(1_000, 1, 1)))).send().await.unwrap().status(), 200);
    let killed = Command::new("kill").args(["-TERM", &emulator.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(emulator.wait_for_end().success());
}

#[test]
fn leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dashscope-emulator"))
        .args(["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let entries = || std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(entries(), 1);
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(entries(), 0);
}

#[tokio::test]
async fn a_large_upload_goes_to_disk_and_not_to_memory() {
    const MIB: usize = 96;
    let emulator = Emulator::start();
    let policy = emulator.policy(FILETRANS).await;
    let before = emulator.resident_mib();
    let block = Bytes::from(vec![7; 1 << 20]);
    let mut hash = Sha256::new();
    (0..MIB).for_each(|_| hash.update(&block));
    let blocks = stream::iter(std::iter::repeat_n(block, MIB).map(Ok::<Bytes, std::io::Error>));
    let body = reqwest::Body::wrap_stream(blocks);
    let file = reqwest::multipart::Part::stream_with_length(body, (MIB << 20) as u64).file_name("long.wav");
    let form = upload_fields(&policy, "long.wav")
        .into_iter()
        .fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value))
        .part("file", file);
    let response = emulator.http.post(&emulator.storage).multipart(form).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let grown = emulator.peak_mib() - before;
    assert!(grown < 32, "{MIB} MiB uploaded, {grown} MiB more memory");
    let expected: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(emulator.journal_of(Kind::Upload)[0].sha256.as_deref(), Some(expected.as_str()));
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dashscope-emulator")).args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&["--fault", "flood"]).contains("flood"));
    assert!(run(&["--task-delay", "soon"]).contains("soon"));
    let free = ["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0"];
    assert!(run(&[&free[..], &["--manifest", "/nowhere.json"]].concat()).contains("/nowhere.json"));
}

impl Emulator {
    fn resident_mib(&self) -> i64 {
        self.status_mib("VmRSS:")
    }

    fn peak_mib(&self) -> i64 {
        self.status_mib("VmHWM:")
    }

    fn status_mib(&self, name: &str) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap() / 1024
    }
}
