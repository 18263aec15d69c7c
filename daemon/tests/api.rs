//! The API: lists, jobs, events, and who may ask.

use crate::support::{Api, CEILING, Emulator, Hark, NatsServer, wait_until, wav};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_recording_is_listed_shown_and_found_by_its_words() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "=cmd.wav", &wav(3.0, 1));
    let done = hark.next_event("job.completed").await;
    let job = done.job().to_owned();
    let events = hark.events_of(&job).await;
    let heard = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
    let text = heard.body["text"].as_str().unwrap();

    let api = hark.api();
    let page = api.json("/api/jobs").await;
    assert_eq!(page["next"], Value::Null);
    let [listed] = &page["jobs"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(
        (&listed["job"], &listed["state"], &listed["source"]),
        (&json!(job), &json!("completed"), &json!("calls"))
    );
    assert_eq!((&listed["cost_usd"], &listed["name"]), (&done.body["cost_usd"], &json!("=cmd.wav")));
    assert!(text.starts_with(listed["text"].as_str().unwrap()), "{listed}");
    let word: String = text.chars().take(6).collect();
    let word: String = url::form_urlencoded::byte_serialize(word.as_bytes()).collect();
    for (filter, found) in [
        (format!("text={word}"), 1),
        ("text=nothing-like-this".to_owned(), 0),
        ("state=completed&source=calls&limit=1".to_owned(), 1),
        ("state=failed".to_owned(), 0),
        (format!("before={job}"), 0),
        ("since=1h".to_owned(), 1),
    ] {
        let page = api.json(&format!("/api/jobs?{filter}")).await;
        assert_eq!(page["jobs"].as_array().unwrap().len(), found, "{filter}");
    }
    for wrong in [
        "state=done",
        "limit=0",
        "limit=9999",
        "before=x",
        "colour=red",
        "colour=",
        "text=a%00b",
        "state=failed&state=failed",
    ] {
        let refused = api.get(&format!("/api/jobs?{wrong}")).await;
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (400, "application/problem+json"),
            "{wrong}"
        );
    }

    let shown = api.json(&format!("/api/jobs/{job}")).await;
    assert_eq!(
        (&shown["job"], &shown["pieces"]),
        (&json!(job), &json!({"total": 1, "heard": 1, "failed": 0}))
    );
    assert_eq!(shown["recording"], heard.body["recording"]);
    let told = api.json(&format!("/api/jobs/{job}/events")).await;
    let bodies: Vec<&Value> = told["events"].as_array().unwrap().iter().map(|event| &event["body"]).collect();
    assert_eq!(bodies, events.iter().map(|event| &event.body).collect::<Vec<_>>(), "as they were published");
    assert_eq!(told["events"][0]["id"], json!(format!("{job}:1")));
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (path, status) in [
        (format!("/api/jobs/{unknown}"), 404),
        (format!("/api/jobs/{unknown}/events"), 404),
        ("/api/jobs/x".into(), 400),
        ("/api/jobs/%ff".into(), 400),
    ] {
        let refused = api.get(&path).await;
        assert_eq!(
            (refused.status, refused.header("content-type")),
            (status, "application/problem+json"),
            "{path}"
        );
    }
    let rescan = api.request(Method::POST, "/api/sources/calls/rescan");
    let shouted =
        Api::send(rescan.header("content-type", "APPLICATION/JSON; charset=utf-8").body("{}")).await;
    assert_eq!(shouted.status, 200, "media types have no case: {}", shouted.text);
    let refused = api.post("/api/sources/%ff/pause").await;
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"));

    let table = Api::send(api.request(Method::GET, "/api/jobs").header("accept", "text/csv")).await;
    assert!(table.header("content-type").starts_with("text/csv"));
    assert!(table.text.contains(",'=cmd.wav,"), "{}", table.text);
    assert_eq!(api.get(&format!("/api/jobs/{job}/audio")).await.status, 403, "http.audio is off");

    let status = api.json("/api/status").await;
    assert_eq!((&status["ready"], &status["jobs"]["completed"]), (&json!(true), &json!(1)), "{status}");
    let spend = api.json("/api/spend?days=2").await;
    assert_eq!(spend["days"].as_array().unwrap().len(), 2);
    assert_eq!(spend["days"][0]["by_source"]["calls"], done.body["cost_usd"]);
    assert_eq!(api.get("/api/spend?days=0").await.status, 400);
}

#[tokio::test]
async fn a_recording_is_played_while_it_is_the_one_that_was_heard() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("http.audio", "true");
    let mut hark = setup.start().await;
    let sound = wav(3.0, 1);
    let path = hark.drop_file("calls", "a.wav", &sound);
    let job = hark.next_event("job.completed").await.job().to_owned();
    let (api, audio) = (hark.api(), format!("/api/jobs/{job}/audio"));
    let part = |method: Method| api.request(method, &audio).header("range", "bytes=0-3");
    let of = async |request: reqwest::RequestBuilder| {
        let answer = Api::send(request).await;
        (answer.status, answer.header("content-length").to_owned())
    };
    let whole = (200, sound.len().to_string());
    assert_eq!(of(part(Method::GET)).await, (206, "4".to_owned()));
    assert_eq!(of(part(Method::HEAD)).await, whole, "a range is of a GET only");
    assert_eq!(of(part(Method::GET).header("if-range", "\"x\"")).await, whole);

    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(of(part(Method::GET)).await.0, 206, "the same bytes");
    std::fs::write(&path, wav(3.0, 2)).unwrap();
    assert_eq!(of(part(Method::GET)).await.0, 404, "other bytes in the same file");
    std::fs::write(&path, sound).unwrap();
    assert_eq!(of(part(Method::GET)).await.0, 206);

    // A library that cannot be loaded may be a transform.
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    let lost = format!("[[plugin]]\nname = \"lost\"\nlibrary = {:?}\n", hark.path("lost.so"));
    std::fs::write(hark.config_file(), format!("{config}{lost}")).unwrap();
    hark.restart().await;
    assert_eq!(of(hark.api().request(Method::GET, &audio)).await.0, 403);
}

#[tokio::test]
async fn events_come_as_they_are_published_and_a_listener_goes_on_where_it_was() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let api = hark.api();
    let mut lines = api.follow("/api/events").await;
    let mut finals = api.follow("/api/events?kind=transcript.final&source=calls").await;
    hark.drop_file("calls", "a.wav", &wav(3.0, 1));
    let (mut kinds, mut first) = (Vec::new(), None);
    while kinds.last().is_none_or(|kind| kind != "job.completed") {
        let (kind, id, body) = lines.next().await;
        assert_eq!(id.is_some(), body.get("sequence").is_some(), "{kind}");
        first = first.or(id);
        kinds.push(kind);
    }
    assert_eq!(kinds[0], "job.accepted");
    assert!(kinds.iter().any(|kind| kind == "transcript.partial"), "{kinds:?}");
    assert_eq!(finals.next().await.0, "transcript.final");

    let stored = kinds.iter().filter(|kind| *kind != "transcript.partial").count();
    let mut later = api.follow(&format!("/api/events?last_event_id={}", first.unwrap())).await;
    for _ in 1..stored {
        let (_, id, _) = later.next().await;
        assert!(id > first, "only what came behind it");
    }
    hark.drop_file("calls", "b.wav", &wav(3.0, 2));
    assert_eq!(later.next().await.0, "job.accepted", "of the second recording");
    assert!(hark.stop().await.success(), "a listener delays no end");
}

#[tokio::test]
async fn listeners_never_keep_a_probe_out() {
    let nats = NatsServer::start().await;
    let hark = Hark::new().nats(&nats).folder("calls").start().await;
    let api = hark.api();
    let mut listeners = Vec::new();
    for _ in 0..128 {
        listeners.push(api.follow("/api/events").await);
    }
    let refused = Api::send(api.request(Method::GET, "/api/events")).await;
    assert_eq!(refused.status, 503);
    assert!(refused.json()["detail"].as_str().unwrap().contains("128 clients"));
    for _ in 0..200 {
        assert_eq!(Api::send(api.bare(Method::GET, "/healthz")).await.status, 200);
    }
    listeners.pop();
    wait_until("the place to be free", CEILING, async || {
        api.request(Method::GET, "/api/events").send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_token_is_asked_for_and_a_foreign_host_is_refused() {
    let nats = NatsServer::start().await;
    let looker = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(looker.path(), "looker\n").unwrap();
    let file = format!("{:?}", looker.path().to_str().unwrap());
    let hark = Hark::new().nats(&nats).folder("calls").set("http.read_token_file", &file).start().await;
    let api = hark.api();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(Api::send(api.bare(Method::GET, path)).await.status, 200, "{path}");
    }
    for path in ["/api/jobs", "/api/status", "/api/events", "/api/jobs/x", "/nothing"] {
        let refused = Api::send(api.bare(Method::GET, path)).await;
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"), "{path}");
        let guessed = Api::send(api.bare(Method::GET, path).bearer_auth("guess")).await;
        assert_eq!(guessed.status, 401, "{path}");
    }
    let foreign = Api::send(api.request(Method::GET, "/api/jobs").header("host", "evil.example")).await;
    assert_eq!(foreign.status, 421);

    let page = Api::send(api.bare(Method::GET, "/").header("accept", "text/html,*/*")).await;
    assert_eq!((page.status, page.header("location")), (303, "/login"));
    let page = Api::send(api.bare(Method::GET, "/jobs?state=failed").header("accept", "text/html")).await;
    assert_eq!(page.header("location"), "/login?next=%2Fjobs%3Fstate%3Dfailed");
    let entered = |token: &str| {
        let form =
            api.bare(Method::POST, "/login").header("content-type", "application/x-www-form-urlencoded");
        form.body(format!("token={token}"))
    };
    assert_eq!(Api::send(entered("guess")).await.status, 401);
    let empty = Api::send(api.bare(Method::POST, "/login")).await;
    assert_eq!((empty.status, empty.header("content-type")), (400, "application/problem+json"));
    let entered = Api::send(entered(&api.token)).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/"));
    let cookie = entered.header("set-cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(&api.token),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let jobs = Api::send(api.bare(Method::GET, "/api/jobs").header("cookie", pair)).await;
    assert_eq!(jobs.status, 200);
    assert!(jobs.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(jobs.header("cache-control"), "no-store");

    let mut read = hark.api();
    read.token = "looker".into();
    assert_eq!(read.get("/api/jobs").await.status, 200);
    assert_eq!(read.json("/api/status").await["rights"], "read");
    assert_eq!(hark.api().json("/api/status").await["rights"], "steer");
    assert_eq!(read.post("/api/sources/calls/pause").await.status, 403, "a reader steers nothing");
    assert_eq!(read.post("/logout").await.status, 303, "every session may end itself");
    assert!(!hark.log().contains(&hark.api().token), "no token in the log");
}

#[tokio::test]
async fn a_daemon_names_the_others_of_its_prefix() {
    let nats = NatsServer::start().await;
    let one = Hark::new().nats(&nats).folder("calls").start().await;
    let other = Hark::new().nats(&nats).folder("desk").start().await;
    let own = other.api().json("/api/status").await["daemon"].clone();
    let others = one.api().json("/api/status").await["others"].clone();
    assert_eq!((others.as_array().unwrap().len(), &others[0]["daemon"]), (1, &own), "{others}");
}
