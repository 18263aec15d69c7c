//! The daemon as a process: from a recording to the receiver.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{
    CEILING, Delivered, Emulator, Hark, HookReceiver, HookReply, NatsServer, SECRET, python, sha256,
    wait_until, wav,
};

const OTHER: &str = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";

const ALL: &str = "kinds = [\"job.accepted\", \"job.submitted\", \"annotation.language\", \"transcript.final\", \"job.completed\"]";

/// Verifies every request with the package that receivers use, with each of these secrets.
fn verify(asked: &[Delivered], secrets: &[&str]) {
    let mut script = Command::new(python());
    script.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/webhooks/verify.py"));
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = script.stdin.take().unwrap();
    for asked in asked {
        for secret in secrets {
            let body = str::from_utf8(&asked.bytes).unwrap();
            let line = json!({"secret": secret, "headers": asked.headers, "body": body});
            writeln!(input, "{line}").unwrap();
        }
    }
    drop(input);
    let output = script.wait_with_output().unwrap();
    assert!(output.status.success(), "a signature does not verify");
    let count = String::from_utf8(output.stdout).unwrap();
    assert_eq!(count.trim(), (asked.len() * secrets.len()).to_string());
}

#[tokio::test]
async fn events_reach_the_receiver_as_they_are_on_nats_and_signed() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let receiver = HookReceiver::start().await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("log.level", "\"trace\"");
    let setup = setup.webhook("crm", &receiver.url(), ALL);
    // Two secrets: one is about to be replaced.
    std::fs::write(setup.path("crm.secret"), format!("{OTHER}\n{SECRET}\n")).unwrap();
    let mut hark = setup.start().await;
    receiver.next([HookReply::status(503)]);
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let last = hark.next_event("job.completed").await;
    wait_until("the last event", CEILING, async || {
        receiver.asked().iter().any(|asked| asked.kind() == "job.completed")
    })
    .await;
    let stored = hark.events_of(last.job()).await;
    let asked = receiver.asked();
    let taken: Vec<&Delivered> = asked.iter().filter(|asked| asked.is_taken()).collect();
    let kinds: Vec<&str> = taken.iter().map(|asked| asked.kind()).collect();
    assert_eq!(
        kinds,
        ["job.accepted", "job.submitted", "annotation.language", "transcript.final", "job.completed"]
    );
    for asked in &taken {
        let event = stored.iter().find(|event| event.kind() == asked.kind()).unwrap();
        assert_eq!(asked.body, event.body);
        assert!(asked.bytes.starts_with(br#"{"job":"#));
        for (name, values) in event.headers.iter() {
            let name: &str = name.as_ref();
            let expected = match name {
                "ce-datacontenttype" => "",
                _ if name.starts_with("ce-") => values[0].as_str(),
                _ => "",
            };
            assert_eq!(asked.header(&name.to_ascii_lowercase()), expected, "{name}");
        }
        assert_eq!(asked.header("content-type"), "application/json");
        assert_eq!(asked.id(), asked.header("ce-id"));
        assert!(asked.header("user-agent").starts_with("harkd/"));
        assert_eq!(asked.path, "/hook?token=of-the-url");
    }
    verify(&asked, &[SECRET, OTHER]);
    let failed = &asked[0];
    assert_eq!((failed.status, failed.id()), (503, taken[0].id()));
    let times = |asked: &Delivered| asked.header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(times(taken[0]) >= times(failed) + 5, "each attempt has its own time");
    let page = hark.get("/metrics").await.unwrap().1;
    for line in [
        "hark_webhook_paused{webhook=\"crm\"} 0",
        "hark_webhook_requests_total{outcome=\"taken\",webhook=\"crm\"} 5",
        "hark_webhook_requests_total{outcome=\"later\",webhook=\"crm\"} 1",
        "hark_webhook_backlog_events{webhook=\"crm\"} 0",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(hark.stop().await.success());
    let log = hark.log();
    for hidden in [SECRET, OTHER, "of-the-url", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
    assert!(log.contains("the receiver does not take an event"), "{log}");
}

#[tokio::test]
async fn a_final_that_is_too_large_for_nats_has_all_its_segments() {
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let (audio, text) = (wav(1.0, 1), "and so on ".repeat(20_000));
    let manifest = json!({ sha256(&audio): { "text": text } });
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms"]).await;
    let receiver = HookReceiver::start().await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let setup = setup.lines("[[route]]\nname = \"default\"\npartials = false\n");
    let mut hark = setup.webhook("crm", &receiver.url(), "").start().await;
    hark.drop_file("calls", "long.wav", &audio);
    let last = hark.next_event("transcript.final").await;
    assert!(last.body["segments_object"].is_object());
    wait_until("the final", CEILING, async || !receiver.asked().is_empty()).await;
    let asked = receiver.asked();
    assert_eq!(asked[0].body["segments"][0]["text"], text.as_str());
    assert!(asked[0].body.get("segments_object").is_none());
    let (mut expected, mut sent) = (last.body.clone(), asked[0].body.clone());
    expected.as_object_mut().unwrap().remove("segments_object");
    sent.as_object_mut().unwrap().remove("segments");
    assert_eq!(sent, expected, "everything else is as on NATS");
    verify(&asked, &[SECRET]);
}
