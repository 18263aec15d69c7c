//! Recordings whose channels are recognized each by itself, and silence that is left out, through the service.

use std::time::Duration;

use crate::support::{
    Emulator, FileServer, Hark, NatsServer, ReceivedEvent, Setup, call, channel, of_kind, publish, sample,
    sentence, stereo, wait_until,
};
use serde_json::{Value, json};

/// Splits channels; `lines` are further keys of the route.
fn setup(nats: &NatsServer, service: &Emulator, lines: &str) -> Setup {
    let route = format!(
        "[[route]]\nname = \"split\"\nchannels = \"split\"\nroles = [\"agent\", \"customer\"]\n{lines}\n"
    );
    Hark::new().nats(nats).asr(service).folder_with("calls", "route = \"split\"\n").lines(&route)
}

async fn heard(hark: &mut Hark, name: &str, audio: &[u8], ended: usize) -> Vec<ReceivedEvent> {
    hark.drop_file("calls", name, audio);
    let job = hark.ended_jobs(ended).await[ended - 1].job().to_owned();
    hark.events_of(&job).await
}

fn one<'e>(events: &'e [ReceivedEvent], kind: &str) -> &'e Value {
    let found = of_kind(events, kind);
    let [one] = found[..] else { panic!("{} events {kind}", found.len()) };
    one
}

#[tokio::test]
async fn each_channel_goes_through_flash_with_its_role() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "20ms"]).await);
    let mut hark = setup(&nats, &service, "").start().await;
    let events = heard(&mut hark, "call.wav", &call(), 1).await;
    let charged: Vec<u64> =
        service.journal_of("flash").iter().map(|line| line["charged_seconds"].as_u64().unwrap()).collect();
    assert_eq!(charged, [12, 12], "one request a channel, each whole");
    assert_eq!(of_kind(&events, "job.submitted").len(), 1);
    let made = one(&events, "transcript.final");
    let segments = made["segments"].as_array().unwrap();
    let shape: Vec<[&Value; 4]> = segments
        .iter()
        .map(|segment| ["channel", "role", "begin_ms", "end_ms"].map(|field| &segment[field]))
        .collect();
    let expected = [("agent", 0), ("customer", 1)]
        .map(|(role, channel)| [json!(channel), json!(role), json!(0), json!(12_000)]);
    assert_eq!(shape, expected.each_ref().map(|segment| segment.each_ref()));
    let texts: Vec<&str> = segments.iter().map(|segment| segment["text"].as_str().unwrap()).collect();
    assert_eq!(made["text"], texts.join("\n"));
    assert_ne!(texts[0], texts[1], "they are two sounds");
    let partials = hark.partials();
    for (channel, role) in [(0, "agent"), (1, "customer")] {
        let is_of = |body: &Value| body["channel"] == channel && body["role"] == role;
        assert!(partials.iter().any(|partial| is_of(&partial.body)), "{role}");
        for kind in ["annotation.language", "annotation.emotion"] {
            assert_eq!(
                of_kind(&events, kind).into_iter().filter(|body| is_of(body)).count(),
                1,
                "{kind} {role}"
            );
        }
    }
    let speech = one(&events, "annotation.speech");
    let measured: Vec<(&Value, &Value, bool)> = speech["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|channel| (&channel["role"], &channel["turns"], channel["doubles"].is_null()))
        .collect();
    assert_eq!(measured, [(&json!("agent"), &json!(1), true), (&json!("customer"), &json!(1), true)]);
    assert_eq!((&speech["overlap_ms"], &speech["interruptions"]), (&json!(0), &json!([])));
    let both: u64 =
        speech["channels"].as_array().unwrap().iter().map(|it| it["speech_ms"].as_u64().unwrap()).sum();
    assert_eq!(made["quality"]["speech_ms"], both);
    assert_eq!(speech["silence_ms"], 12_000 - both);
    let kinds: Vec<&str> = events.iter().map(ReceivedEvent::kind).collect();
    let place = |wanted: &str| kinds.iter().position(|kind| *kind == wanted);
    assert!(place("annotation.speech") < place("transcript.final"), "{kinds:?}");
    let last = &events.last().unwrap().body;
    assert_eq!((&last["billed_seconds"], last.get("saved_seconds")), (&json!(24), None));
}

#[tokio::test]
async fn filetrans_is_asked_for_each_channel_in_one_task() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/samples/manifest.json");
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--manifest", manifest]).await);
    let mut hark = setup(&nats, &service, "engine = \"filetrans\"").start().await;
    let events = heard(&mut hark, "stereo.flac", &sample("stereo.flac"), 1).await;
    let submits = service.journal_of("submit");
    assert_eq!(submits.iter().map(|line| &line["channels"]).collect::<Vec<_>>(), [&json!([0, 1])]);
    let made = one(&events, "transcript.final");
    let dialogue = "Good morning, how can I help you?\nI was charged twice for the same order.\nI am sorry. I will send the money back.";
    assert_eq!(made["text"], dialogue);
    let roles: Vec<&Value> =
        made["segments"].as_array().unwrap().iter().map(|segment| &segment["role"]).collect();
    assert_eq!(
        (roles[0], roles[1], *roles.last().unwrap()),
        (&json!("agent"), &json!("customer"), &json!("agent"))
    );
    assert!(made["segments"].as_array().unwrap().iter().all(|segment| segment["timing"] == "service"));
    let turns: Vec<&Value> = one(&events, "annotation.speech")["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["turns"])
        .collect();
    assert_eq!(turns, [&json!(2), &json!(1)]);
    assert!(of_kind(&events, "transcript.segment").is_empty(), "one piece of two channels");
}

#[tokio::test]
async fn what_a_channel_only_repeats_and_silence_are_not_paid() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let talk = channel(12, &[(0.5, &sentence("thanks.wav")), (5.0, &sentence("cancel.wav"))]);
    let quieter = talk.iter().map(|sample| sample / 2).collect();
    let (doubled, silent) = (stereo(&[talk.clone(), quieter]), stereo(&[vec![0; talk.len()], talk.clone()]));
    let nothing = stereo(&[vec![0; talk.len()], vec![3; talk.len()]]);
    for engine in ["flash", "filetrans"] {
        let mut hark = setup(&nats, &service, &format!("engine = \"{engine}\"")).start().await;
        let before = hark.events().await.iter().filter(|event| event.kind() == "job.completed").count();
        for (count, name, audio, sent) in [
            (1, "doubled.wav", &doubled, Some(0)),
            (2, "silent.wav", &silent, Some(1)),
            (3, "nothing.wav", &nothing, None),
        ] {
            let asked = service.journal_of(engine).len() + service.journal_of("submit").len();
            let events = heard(&mut hark, name, audio, before + count).await;
            let (made, last) = (one(&events, "transcript.final"), events.last().unwrap());
            assert_eq!(last.kind(), "job.completed", "{engine} {name}");
            let channels: Vec<u64> = made["segments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|segment| segment["channel"].as_u64().unwrap())
                .collect();
            assert!(!channels.is_empty() || sent.is_none(), "{engine} {name}");
            assert!(channels.iter().all(|channel| Some(*channel) == sent), "{engine} {name}: {channels:?}");
            let (billed, saved) = if sent.is_some() { (12, 12.0) } else { (0, 24.0) };
            let body = &last.body;
            assert_eq!(
                (&body["billed_seconds"], &body["saved_seconds"]),
                (&json!(billed), &json!(saved)),
                "{engine} {name}"
            );
            let usd = (saved * 35.0_f64).round() / 1e6;
            assert_eq!(body["saved_usd"], usd, "{engine} {name}");
            let asked = service.journal_of(engine).len() + service.journal_of("submit").len() - asked;
            assert_eq!(asked, usize::from(sent.is_some()), "{engine} {name}");
            let measured = &one(&events, "annotation.speech")["channels"];
            let doubles = if name == "doubled.wav" { json!(0) } else { Value::Null };
            assert_eq!(
                (&measured[0]["doubles"], &measured[1]["doubles"]),
                (&Value::Null, &doubles),
                "{engine} {name}"
            );
        }
        hark.stop().await;
    }
}

#[tokio::test]
async fn only_speech_is_paid_where_silence_is_left_out() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = setup(&nats, &service, "skip_silence = true").start().await;
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let agent = channel(60, &[(2.0, &cancel), (13.0, &thanks), (30.0, &cancel), (45.0, &cancel)]);
    let customer = channel(60, &[(7.5, &cancel), (20.0, &thanks), (36.0, &cancel)]);
    let spoken = 5.0 * cancel.len() as f64 / 8_000.0 + 2.0 * thanks.len() as f64 / 8_000.0;
    let events = heard(&mut hark, "call.wav", &stereo(&[agent, customer]), 1).await;
    let last = &events.last().unwrap().body;
    let (billed, saved) = (last["billed_seconds"].as_f64().unwrap(), last["saved_seconds"].as_f64().unwrap());
    assert!(billed <= 1.05 * spoken, "{billed} s paid for {spoken} s of speech");
    // The service bills whole seconds of each of the two pieces.
    let sent = 120.0 - saved;
    assert!((billed..billed + 2.0).contains(&sent), "{sent} s sent, {billed} s billed");
    let made = one(&events, "transcript.final");
    let times: Vec<(u64, u64)> = made["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| (segment["begin_ms"].as_u64().unwrap(), segment["end_ms"].as_u64().unwrap()))
        .collect();
    let [agent, customer] = times[..] else { panic!("{times:?}") };
    assert!((1_900..2_400).contains(&agent.0) && (49_000..50_000).contains(&agent.1), "{times:?}");
    assert!((7_400..7_900).contains(&customer.0) && (40_000..41_000).contains(&customer.1), "{times:?}");
}

#[tokio::test]
async fn a_kill_within_a_split_job_pays_for_nothing_twice_that_was_heard() {
    let nats = NatsServer::start().await;
    // Each word takes a while, so that some pieces are heard, some under way and some waiting when the daemon is killed.
    let service = Emulator::start(&["--token-delay", "20ms"]).await;
    let lines = "engine = \"flash\"\npiece = \"5s\"";
    // A piece may be under way at each kill.
    let setup = setup(&nats, &service, lines).set("dashscope.ambiguous_retries", "3");
    let mut hark = setup.set("dashscope.concurrency", "2").start().await;
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let many = |first: f64, sound: &[i16]| {
        let sounds: Vec<(f64, &[i16])> =
            (0..10).map(|number| (first + 6.0 * f64::from(number), sound)).collect();
        channel(60, &sounds)
    };
    hark.drop_file("calls", "call.wav", &stereo(&[many(0.2, &cancel), many(2.5, &thanks)]));
    for kills in 1..=3 {
        wait_until("further pieces to be sent", Duration::from_secs(60), async || {
            service.journal_of("flash").len() >= 3 * kills
        })
        .await;
        hark.kill_and_launch();
    }
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    let mut segments = of_kind(&events, "transcript.segment");
    segments.sort_by_key(|segment| segment["piece"].as_u64());
    let numbers: Vec<u64> = segments.iter().map(|segment| segment["piece"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "each piece is heard once");
    assert!(numbers.len() >= 20, "{numbers:?}");
    one(&events, "annotation.speech");
    let heard: Vec<&Value> =
        segments.iter().flat_map(|segment| segment["segments"].as_array().unwrap()).collect();
    let made = one(&events, "transcript.final");
    let mut expected = heard.clone();
    expected.sort_by_key(|segment| (segment["begin_ms"].as_u64(), segment["channel"].as_u64()));
    assert_eq!(made["segments"].as_array().unwrap().iter().collect::<Vec<_>>(), expected);
    for channel in [0, 1] {
        let mut end = 0;
        for segment in expected.iter().filter(|segment| segment["channel"] == channel) {
            assert_eq!(segment["begin_ms"], end, "nothing of channel {channel} is left out");
            end = segment["end_ms"].as_u64().unwrap();
        }
        assert_eq!(end, 60_000);
    }
    // A kill meets at most the two requests that are under way; each is marked.
    let again = service.journal_of("flash").len() - numbers.len();
    assert!(again <= 6, "{again} of {} pieces were sent again", numbers.len());
    assert_eq!(events.last().unwrap().body["possible_duplicate_charge"] == true, again > 0);
}

#[tokio::test]
async fn a_recording_with_one_channel_is_recognized_as_it_is() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = setup(&nats, &service, "").start().await;
    let audio = sample("cancel.wav");
    let events = heard(&mut hark, "cancel.wav", &audio, 1).await;
    let [asked] = &service.journal_of("flash")[..] else { panic!("one request") };
    assert_eq!(asked["sha256"], crate::support::sha256(&audio), "its own bytes");
    let segment = &one(&events, "transcript.final")["segments"][0];
    assert_eq!((&segment["channel"], segment.get("role")), (&json!(0), None));
    assert!(of_kind(&events, "annotation.speech").is_empty(), "it was not decoded here");
}

#[tokio::test]
async fn a_url_is_fetched_and_listened_to_before_any_channel_is_paid() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let talk = channel(12, &[(0.5, &sentence("thanks.wav"))]);
    let files = FileServer::start(vec![("/call.wav", stereo(&[talk.clone(), talk]))]).await;
    let inbox =
        "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"split\"\n";
    let setup = setup(&nats, &service, "engine = \"filetrans\"").lines(inbox);
    let mut hark = setup.set("security.allow_urls", "[\"127.0.0.1/32\"]").start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let reference = json!({"url": files.url("/call.wav")}).to_string().into_bytes();
    publish(&context, "hark.audio.inbox", &[("Content-Type", "application/json")], reference).await;
    let job = hark.ended_jobs(1).await[0].job().to_owned();
    let events = hark.events_of(&job).await;
    let last = events.last().unwrap();
    assert_eq!((last.kind(), &last.body["billed_seconds"]), ("job.completed", &json!(12)));
    assert_eq!(one(&events, "annotation.speech")["channels"][1]["doubles"], 0);
    let [submit] = &service.journal_of("submit")[..] else { panic!("one task") };
    assert_eq!(submit["channels"], json!([0]));
    assert!(submit["file_url"].as_str().unwrap().starts_with("oss://"), "{submit}");
}
