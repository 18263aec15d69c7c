//! What servers do wrong, and what the daemon does then.

use std::time::Duration;

use serde_json::{Value, json};

use super::{QWEN, WHISPER, final_of, job, retries, setup, stream, verbose};
use crate::support::{CEILING, NatsServer, Reply, SpeechServer, free_address, wait_until, wav};

#[tokio::test]
async fn every_fault_that_passes_is_survived_and_costs_nothing() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(stream()).await;
    let mut hark = setup(&nats, &server.url(), &format!("{QWEN}\ntimeout = \"1s\"")).start().await;
    let error = |code: Value| json!({"error": {"message": "engine died", "type": "InternalServerError", "code": code}});
    let table = [
        (Reply::json(200, &error(json!(500))), "HttpStatus500"),
        (Reply::json(200, &json!({"object": "error", "message": "m", "code": 500})), "HttpStatus500"),
        (Reply::json(500, &json!({"error": "failed to process audio"})), "HttpStatus500"),
        (Reply::events(&[error(Value::Null)]), "HttpStatus500"),
        (Reply::json(503, &json!({"error": {"message": "Loading model", "code": 503}})), "HttpStatus503"),
        (Reply::json(502, &Value::Null), "HttpStatus502"),
        (Reply::json(429, &json!({"error": "busy"})).header("retry-after", "0.2"), "HttpStatus429"),
        (stream().broken().broken(), "ConnectionLost"),
        (Reply::json(200, &json!({"nonsense": true})), "UnreadableAnswer"),
        (stream().after(Duration::from_secs(3)), "TimeOut"),
        (stream().slowly(Duration::from_millis(600)), "TimeOut"),
        (Reply::json(404, &json!({"detail": "Model 'x' is not installed locally."})), "ModelNotFound"),
        (Reply::json(401, &json!({"error": "Unauthorized"})), "HttpStatus401"),
    ];
    for (count, (reply, code)) in (1..).zip(table) {
        server.next([reply]);
        hark.drop_file("calls", &format!("{count}.wav"), &wav(1.0, count as u64));
        let events = job(&mut hark, count).await;
        let last = events.last().unwrap();
        assert_eq!((retries(&events), last.kind()), (vec![code], "job.completed"), "{}", last.body);
        assert_eq!(final_of(&events)["text"], "你好, 再见.");
        assert_eq!(
            (&last.body["possible_duplicate_charge"], &last.body["billed_seconds"]),
            (&Value::Null, &json!(0)),
            "{code}"
        );
    }
}

#[tokio::test]
async fn what_the_server_refuses_for_good_fails_its_recording_alone() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(stream()).await;
    let mut hark = setup(&nats, &server.url(), QWEN).start().await;
    hark.drop_file("calls", "good.wav", &wav(1.0, 1));
    job(&mut hark, 1).await;
    server
        .next([Reply::json(400, &json!({"error": {"message": "Failed to decode the audio", "code": 400}}))]);
    hark.drop_file("calls", "bad.wav", &wav(1.0, 2));
    let events = job(&mut hark, 2).await;
    let last = events.last().unwrap();
    let error = &last.body["error"];
    assert_eq!((last.kind(), retries(&events)), ("job.failed", vec![]));
    assert_eq!(
        [&error["code"], &error["blame"], &error["message"]],
        [&json!("HttpStatus400"), &json!("audio"), &json!("Failed to decode the audio")]
    );
    assert_eq!(server.asked().len(), 2, "a form that has worked is not doubted");
}

#[tokio::test]
async fn recordings_wait_for_a_server_that_is_switched_off() {
    let nats = NatsServer::start().await;
    let away = SpeechServer::start(verbose()).await;
    let address = format!("127.0.0.1:{}", away.port()).parse().unwrap();
    let mut hark = setup(&nats, &away.url(), WHISPER).start().await;
    drop(away);
    for count in 1..=6 {
        hark.drop_file("calls", &format!("{count}.wav"), &wav(1.0, count));
    }
    let retrying = hark.next_event("job.retrying").await;
    let error = &retrying.body["error"];
    assert_eq!([&error["code"], &error["blame"]], [&json!("NotSent"), &json!("service")]);
    let held = |metrics: &str| metrics.contains("hark_recognize_held{engine=\"gpu\"} 1");
    assert!(held(&hark.get("/metrics").await.unwrap().1));
    // Longer than the first probe takes: the server is not asked once for each recording.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let server = SpeechServer::start_at(address, verbose()).await;
    for ended in hark.ended_jobs(6).await {
        assert_eq!(ended.kind(), "job.completed", "{}", ended.body);
    }
    assert_eq!((retries(&hark.events().await).len(), server.asked().len()), (1, 6));
    assert!(!held(&hark.get("/metrics").await.unwrap().1));
}

#[tokio::test]
async fn a_daemon_that_is_killed_again_and_again_asks_again() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(verbose().after(Duration::from_secs(60))).await;
    let mut hark = setup(&nats, &server.url(), WHISPER).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    for requests in 1..=3 {
        wait_until("the request to arrive", CEILING, async || server.asked().len() == requests).await;
        if requests == 3 {
            server.always(verbose());
        }
        hark.restart().await;
    }
    let events = job(&mut hark, 1).await;
    let last = events.last().unwrap();
    assert_eq!((last.kind(), &last.body["possible_duplicate_charge"]), ("job.completed", &Value::Null));
}

#[tokio::test]
async fn audio_goes_to_no_other_address() {
    let nats = NatsServer::start().await;
    let elsewhere = SpeechServer::start(verbose()).await;
    let location = format!("{}/audio/transcriptions", elsewhere.url());
    let server = SpeechServer::start(Reply::json(307, &Value::Null).header("location", &location)).await;
    // An address of this machine that is not loopback, for which HTTP clients use the environment's proxy.
    let url = format!("http://0.0.0.0:{}/v1", server.port());
    let proxy = elsewhere.url().replace("/v1", "");
    let setup = ["http_proxy", "HTTP_PROXY", "ALL_PROXY"]
        .iter()
        .fold(setup(&nats, &url, WHISPER), |setup, name| setup.environment(name, &proxy));
    let mut hark = setup.start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let error = hark.next_event("job.retrying").await.body["error"].clone();
    assert_eq!([&error["code"], &error["blame"]], [&json!("HttpStatus307"), &json!("hark")]);
    assert!(error["message"].as_str().unwrap().contains("does not follow"), "{error}");
    server.always(verbose());
    job(&mut hark, 1).await;
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn recordings_of_a_recognizer_that_was_renamed_are_planned_anew() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(verbose()).await;
    let away = format!("http://{}/v1", free_address());
    let mut hark = setup(&nats, &away, WHISPER).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.next_event("job.retrying").await;
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    let renamed = config.replace("\"gpu\"", "\"box\"").replace(&away, &server.url());
    std::fs::write(hark.config_file(), renamed).unwrap();
    hark.restart().await;
    let events = job(&mut hark, 1).await;
    assert_eq!(
        (events.last().unwrap().kind(), &final_of(&events)["engine"]),
        ("job.completed", &json!("box"))
    );
    assert!(hark.log().contains("the config has no recognizer of this name any more"));
}

#[tokio::test]
async fn a_server_that_charges_is_asked_as_often_as_the_config_allows() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(stream().broken().broken()).await;
    let setup = setup(&nats, &server.url(), &format!("{QWEN}\nusd_per_second = 0.001"));
    let mut hark = setup.start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let events = job(&mut hark, 1).await;
    let last = events.last().unwrap();
    assert_eq!((last.kind(), retries(&events)), ("job.failed", vec!["ConnectionLost"]));
    assert_eq!(
        (&last.body["possible_duplicate_charge"], &last.body["error"]["blame"]),
        (&json!(true), &json!("service"))
    );
    assert_eq!(server.asked().len(), 2);
}
