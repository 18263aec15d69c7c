//! An operator pauses sources: nothing new is taken in, also after a restart, and the daemon is ready all the same.

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, all_acknowledged, publish, unacknowledged, wait_until, wav,
};

#[tokio::test]
async fn a_paused_folder_takes_nothing_in_over_a_restart_and_is_scanned_when_it_goes_on() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder_with("calls", "rescan = \"1s\"").folder("other");
    let mut hark = setup.start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.ended_jobs(1).await;

    let paused = hark.json(&["sources", "pause", "calls"]).await;
    assert_eq!((&paused[0]["name"], &paused[0]["state"]), (&"calls".into(), &"paused".into()));
    assert!(paused[0]["paused_since"].is_string());
    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    hark.drop_file("other", "c.wav", &wav(1.0, 3));
    hark.ended_jobs(2).await;
    let (code, _, words) = hark.run(&["sources", "rescan", "calls"]).await;
    assert!(code == 1 && words.contains("is paused"), "{words}");
    hark.ready().await;

    hark.restart().await;
    let list = hark.json(&["sources"]).await;
    let states: Vec<_> =
        list.as_array().unwrap().iter().map(|source| source["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["paused", "running"], "{list}");
    let (_, table, _) = hark.run(&["sources"]).await;
    assert!(table.starts_with("SOURCE") && table.contains("paused") && table.contains(", since "), "{table}");
    // The folder itself may be away meanwhile.
    let (there, away) = (hark.path("calls"), hark.path("away"));
    std::fs::rename(&there, &away).unwrap();
    let reason = || async { hark.json(&["sources"]).await[0]["reason"].clone() };
    wait_until("the folder to be missed", CEILING, async || reason().await.is_string()).await;
    let (status, page) = hark.get("/readyz").await.unwrap();
    assert_eq!(status, 200, "a paused source is not unready: {page}");
    std::fs::rename(&away, &there).unwrap();
    hark.drop_file("other", "d.wav", &wav(1.0, 4));
    let ended = hark.ended_jobs(3).await;
    assert!(ended.iter().all(|end| end.body["recording"]["name"] != "b.wav"), "taken in while paused");

    hark.json(&["sources", "resume", "calls"]).await;
    let ended = hark.ended_jobs(4).await;
    assert_eq!(ended[3].body["recording"]["name"], "b.wav");
    let (code, _, words) = hark.run(&["sources", "pause", "none"]).await;
    assert!(code == 1 && words.contains("no running daemon has the source"), "{words}");
}

#[tokio::test]
async fn requests_at_the_same_time_leave_the_source_as_the_next_start_finds_it() {
    let nats = NatsServer::start().await;
    let mut hark = Hark::new().nats(&nats).folder("calls").start().await;
    let state = async |hark: &Hark| hark.api().json("/api/status").await["sources"][0]["state"].clone();
    for _ in 0..3 {
        let api = hark.api();
        let requests = (0..40).map(|number| {
            let api = api.clone();
            let path = format!("/api/sources/calls/{}", if number % 2 == 0 { "pause" } else { "resume" });
            tokio::spawn(async move { api.post(&path).await.status })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.unwrap(), 200);
        }
        let before = state(&hark).await;
        hark.restart().await;
        assert_eq!(state(&hark).await, before);
    }
}

#[tokio::test]
async fn a_paused_subject_leaves_its_messages_and_jobs_under_way_go_on() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("nats.ack_wait", "\"2s\"").start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let audio = [("Content-Type", "audio/wav")];
    service.pause();
    publish(&context, "hark.audio.inbox", &audio, wav(1.0, 1)).await;
    hark.next_event("job.accepted").await;
    hark.json(&["sources", "pause", "inbox"]).await;
    service.resume();
    hark.next_event("job.completed").await;
    all_acknowledged(&nats, CEILING).await;
    publish(&context, "hark.audio.inbox", &audio, wav(1.0, 2)).await;
    publish(&context, "hark.audio.inbox", &audio, wav(1.0, 3)).await;
    hark.restart().await;
    let (code, _, words) = hark.run(&["sources", "rescan", "inbox"]).await;
    assert!(code == 1 && words.contains("is no folder"), "{words}");
    assert_eq!((unacknowledged(&context).await, hark.ended_jobs(1).await.len()), (2, 1));
    hark.json(&["sources", "resume", "inbox"]).await;
    hark.ended_jobs(3).await;
    all_acknowledged(&nats, CEILING).await;
}

#[tokio::test]
async fn a_rescan_finds_at_once_what_no_event_told() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder_with("calls", "rescan = \"1h\"");
    let mut hark = setup.start().await;
    // A write through a hard link elsewhere raises no event in the folder.
    let outside = hark.path("outside.wav");
    std::fs::write(&outside, b"").unwrap();
    std::fs::hard_link(&outside, hark.path("calls/a.wav")).unwrap();
    // Another recording, of which an event tells: the look at it comes after that at the empty file.
    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    hark.ended_jobs(1).await;
    std::fs::write(&outside, wav(1.0, 1)).unwrap();
    hark.json(&["sources", "rescan", "calls"]).await;
    hark.ended_jobs(2).await;
}
