//! An operator has jobs forgotten: afterwards neither the state directory nor the files of the nats-server have a word of them, and other jobs
//! have everything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, all_acknowledged, publish, sha256, wait_until, wav,
};
use async_nats::jetstream::{self, stream};
use serde_json::{Value, json};

/// Stands in names, metadata and texts of the job that is forgotten, and nowhere else.
const WORD: &str = "zebrafinch";

/// An emulator that recognizes these texts.
async fn service_that_hears(texts: &[(&[u8], &str)]) -> Emulator {
    let entries = texts.iter().map(|(audio, text)| (sha256(audio), json!({ "text": text })));
    Emulator::knowing(Value::Object(entries.collect()), &["--token-delay", "0ms"]).await
}

/// The files below a folder in which these bytes stand.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path)
            .is_ok_and(|content| content.windows(bytes.len()).any(|part| part == bytes))
        {
            found.push(path);
        }
    }
    found
}

/// The files of daemon and server that have these bytes. The server's log, and the test's own config, are not among them.
fn traces(hark: &Hark, nats: &NatsServer, bytes: &[u8]) -> Vec<PathBuf> {
    [files_with(&hark.path("state"), bytes), files_with(&nats.store().join("jetstream"), bytes)].concat()
}

async fn forget(hark: &Hark, arguments: &[&str]) -> Value {
    hark.json(&[&["forget"], arguments].concat()).await
}

/// What the only daemon says of the only job.
fn of_one(answer: &Value) -> &Value {
    assert_eq!(answer["jobs"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["jobs"][0]["state"], "erased", "{answer}");
    &answer["jobs"][0]["by"][0]
}

fn not_reached(erased: &Value, what: &str) -> Vec<String> {
    let all = erased["not_reached"].as_array().unwrap();
    let details = all.iter().filter(|entry| entry["what"] == what);
    details.map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn of_a_forgotten_file_only_the_recording_is_left_and_it_is_not_heard_again() {
    let nats = NatsServer::start().await;
    let (audio, other) = (wav(1.0, 1), wav(1.0, 2));
    let text = format!("{WORD} wants to cancel");
    let service = service_that_hears(&[(&audio, &text), (&other, "the starling wants to cancel")]).await;
    let rules = "[[plugin.config.rules]]\nname = \"churn\"\nany = [\"cancel\"]\n";
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("nats.store_partials", "true");
    let setup = setup.plugin("keywords", "keyword_alert", rules).plugin("subtitles", "subtitles", "");
    let mut hark = setup.start().await;
    hark.drop_file("calls", "starling.wav", &other);
    let kept = hark.next_event("job.completed").await.job().to_owned();
    let sidecar = hark.path(&format!("calls/{WORD}.json"));
    std::fs::write(&sidecar, json!({ "customer": WORD }).to_string()).unwrap();
    hark.drop_file("calls", &format!("{WORD}.wav"), &audio);
    let job = hark.next_event("job.completed").await.job().to_owned();
    let before = hark.events_of(&job).await;
    // What was stored before is erased also where no more is stored.
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    assert!(config.contains("store_partials = true"));
    let config = config.replace("store_partials = true", "store_partials = false");
    std::fs::write(hark.config_file(), config).unwrap();
    hark.restart().await;
    let subtitles = hark.path(&format!("calls/{WORD}.srt"));
    wait_until("the job to be settled", CEILING, async || subtitles.exists()).await;
    // The daemon may move the ledger's log into the file between the reads of the two.
    wait_until("the word to be where it is erased from", CEILING, async || {
        let places = traces(&hark, &nats, WORD.as_bytes());
        let is_in = |part: &&str| places.iter().any(|path| path.to_str().unwrap().contains(part));
        ["ledger.sqlite3", "HARK_EVENTS", "HARK_PARTIALS"].iter().all(is_in)
    })
    .await;

    let answer = forget(&hark, &[&job]).await;
    let erased = of_one(&answer);
    assert_eq!((&erased["ledger"], &erased["events"]), (&json!(true), &json!(before.len())), "{erased}");
    assert!(erased["partials"].as_u64().unwrap() > 0, "{erased}");
    assert!(erased["files"].as_array().unwrap().contains(&json!(subtitles)), "{erased}");
    let recording = hark.path(&format!("calls/{WORD}.wav"));
    let told = [not_reached(erased, "audio"), not_reached(erased, "file")].concat().join("\n");
    for path in [&recording, &sidecar] {
        assert!(told.contains(path.to_str().unwrap()), "{told}");
    }
    assert_eq!(not_reached(erased, "recognizer").len(), 1, "{erased}");
    assert_eq!(traces(&hark, &nats, WORD.as_bytes()), Vec::<PathBuf>::new());
    assert!(recording.exists() && sidecar.exists() && !subtitles.exists());

    let (code, _, words) = hark.run(&["jobs", "show", &job]).await;
    assert!(code == 1 && words.contains("no running daemon has job"), "{words}");
    let (code, out, _) = hark.run(&["forget", &job]).await;
    assert!(code == 1 && out.contains("no running daemon and no stream has data of it"), "{out}");
    let shown = hark.json(&["jobs", "show", &kept]).await;
    assert!(shown["text"].as_str().unwrap().contains("starling"), "{shown}");
    assert!(hark.path("calls/starling.srt").exists());
    let context = jetstream::new(nats.client().await);
    let events = context.get_stream("HARK_EVENTS").await.unwrap();
    let of_kept = events.cached_info().state.messages;
    assert_eq!(of_kept as usize, hark.events_of(&kept).await.len());

    // Known without its name: over a restart, a scan, a touch and a new name.
    hark.restart().await;
    hark.json(&["sources", "rescan", "calls"]).await;
    let again = std::fs::File::options().append(true).open(&recording).unwrap();
    again.set_modified(SystemTime::now() - Duration::from_secs(3_600)).unwrap();
    drop(again);
    hark.json(&["sources", "rescan", "calls"]).await;
    wait_until("the touched file to be read", CEILING, async || {
        hark.log().contains("have the bytes of a recording")
    })
    .await;
    std::fs::rename(&recording, hark.path("calls/renamed.wav")).unwrap();
    hark.drop_file("calls", "later.wav", &wav(1.0, 3));
    hark.next_event("job.completed").await;
    hark.json(&["sources", "rescan", "calls"]).await;
    let list = hark.json(&["jobs", "list"]).await;
    assert_eq!(list["jobs"].as_array().unwrap().len(), 2, "{list}");
    assert_eq!(files_with(&hark.path("state"), WORD.as_bytes()), Vec::<PathBuf>::new());
    // Another recording under the old name is a recording.
    hark.drop_file("calls", "renamed.wav", &wav(1.0, 4));
    hark.next_event("job.completed").await;
}

#[tokio::test]
async fn the_object_of_a_large_final_is_erased_and_that_of_another_job_stays() {
    let nats = NatsServer::configured("max_payload: 72KB").await;
    let (audio, other) = (wav(1.0, 1), wav(1.0, 2));
    let long = |word: &str| format!("{word} and so on ").repeat(5_000);
    let service = service_that_hears(&[(&audio, &long(WORD)), (&other, &long("starling"))]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines("[[route]]\nname = \"default\"\npartials = false\n").start().await;
    hark.drop_file("calls", "a.wav", &audio);
    let job = hark.next_event("job.completed").await.job().to_owned();
    hark.drop_file("calls", "b.wav", &other);
    let kept = hark.next_event("job.completed").await.job().to_owned();
    let places = traces(&hark, &nats, WORD.as_bytes());
    assert!(places.iter().any(|path| path.to_str().unwrap().contains("OBJ_HARK_TRANSCRIPTS")), "{places:?}");

    let answer = forget(&hark, &[&job]).await;
    assert_eq!(of_one(&answer)["objects"], 1, "{answer}");
    assert_eq!(traces(&hark, &nats, WORD.as_bytes()), Vec::<PathBuf>::new());
    let store = jetstream::new(nats.client().await).get_object_store("HARK_TRANSCRIPTS").await.unwrap();
    assert!(store.info(&job).await.is_err());
    assert!(store.info(&kept).await.unwrap().size > 50_000);
}

#[tokio::test]
async fn a_message_its_kept_audio_and_its_claim_are_erased() {
    let nats = NatsServer::start().await;
    let context = jetstream::new(nats.client().await);
    // A stream of the operator's own keeps messages that are acknowledged.
    let own = stream::Config {
        name: "CALLS".into(),
        subjects: vec!["calls.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(own).await.unwrap();
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    service
        .set_faults(json!([{ "kind": "status", "status": 400, "code": "InvalidParameter", "on": ["flash"] }]))
        .await;
    let source =
        "[[source]]\nname = \"calls\"\nkind = \"nats\"\nsubject = \"calls.in\"\nstream = \"CALLS\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(source).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    let (id, name) = (format!("{WORD}-1"), format!("{WORD}.wav"));
    let headers = [
        ("Content-Type", "audio/wav"),
        ("Hark-Meta-Customer", WORD),
        ("Hark-Name", &name),
        ("Nats-Msg-Id", &id),
    ];
    let audio = wav(1.0, 1);
    publish(&context, "calls.in", &headers, audio.clone()).await;
    let job = hark.next_event("job.failed").await.job().to_owned();
    let claims = async || context.get_stream("KV_HARK_JOBS").await.unwrap().cached_info().state.messages;
    assert_eq!(claims().await, 1);
    let sample = &audio[audio.len() / 2..][..64];
    assert_eq!(traces(&hark, &nats, sample).len(), 2, "in the spool, and in the stream");

    let answer = forget(&hark, &[&job]).await;
    let erased = of_one(&answer);
    let counts = ["messages", "claims"].map(|what| erased[what].as_u64().unwrap());
    assert_eq!((counts, &erased["audio"]), ([1, 1], &json!(true)), "{erased}");
    assert_eq!(traces(&hark, &nats, sample), Vec::<PathBuf>::new());
    assert_eq!(traces(&hark, &nats, WORD.as_bytes()), Vec::<PathBuf>::new());
    assert_eq!(claims().await, 0);

    // Of a work queue the server has removed the message itself; what it keeps in its files is said.
    publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, 2)).await;
    let job = hark.next_event("job.failed").await.job().to_owned();
    all_acknowledged(&nats, CEILING).await;
    let answer = forget(&hark, &[&job]).await;
    let kept = not_reached(of_one(&answer), "message");
    assert!(kept[0].contains("acknowledged message in HARK_AUDIO"), "{kept:?}");
    hark.restart().await;
    let list = hark.json(&["jobs", "list"]).await;
    assert_eq!(list["jobs"], json!([]), "nothing is heard again");
}

#[tokio::test]
async fn a_job_under_way_is_refused_until_it_has_ended() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60s"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let job = hark.next_event("job.submitted").await.job().to_owned();
    let (code, out, _) = hark.run(&["forget", &job]).await;
    assert!(
        code == 1 && out.contains("NOT erased") && out.contains("has not ended; cancel it first"),
        "{out}"
    );
    assert!(hark.events_of(&job).await.len() >= 2);
    hark.json(&["jobs", "cancel", &job]).await;
    let (code, out, _) = hark.run(&["forget", &job]).await;
    assert!(code == 0 && out.contains("erased by") && out.contains("not reached: audio: "), "{out}");
    for arguments in
        [&["forget"][..], &["forget", "x"], &["forget", &job, "--meta", "a=b"], &["forget", "--meta", "a"]]
    {
        assert_eq!(hark.run(arguments).await.0, 64, "{arguments:?}");
    }
}

#[tokio::test]
async fn jobs_are_found_by_metadata_on_every_daemon() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let daemon = || Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut one = daemon().start().await;
    let two = daemon().start().await;
    let context = jetstream::new(nats.client().await);
    // More than are erased at one request.
    for seed in 0..60 {
        let customer = if seed % 3 == 0 { WORD } else { "starling" };
        let headers =
            [("Content-Type", "audio/wav"), ("Hark-Meta-Customer", customer), ("Hark-Meta-Tenant", "7")];
        publish(&context, "hark.audio.inbox", &headers, wav(0.2, seed)).await;
    }
    let ends = one.ended_jobs(60).await;
    all_acknowledged(&nats, CEILING).await;
    let of = |customer: &str| -> BTreeSet<String> {
        let of_customer = ends.iter().filter(|end| end.body["metadata"]["customer"] == customer);
        of_customer.map(|end| end.job().to_owned()).collect()
    };
    let answer = forget(&one, &["--meta", &format!("customer={WORD}"), "--meta", "tenant=7"]).await;
    let jobs = answer["jobs"].as_array().unwrap();
    let erased: BTreeSet<String> = jobs.iter().map(|job| job["job"].as_str().unwrap().to_owned()).collect();
    assert_eq!(erased, of(WORD));
    let daemons: BTreeSet<&str> = jobs.iter().filter_map(|job| job["by"][0]["daemon"].as_str()).collect();
    assert_eq!(daemons.len(), 2, "each daemon had some");
    let by = jobs.iter().flat_map(|job| job["by"].as_array().unwrap());
    assert!(by.flat_map(|erased| not_reached(erased, "ledger")).next().is_none(), "{answer}");
    let state =
        [files_with(&one.path("state"), WORD.as_bytes()), files_with(&two.path("state"), WORD.as_bytes())];
    assert_eq!(state.concat(), Vec::<PathBuf>::new());
    let events = nats.store().join("jetstream/$G/streams/HARK_EVENTS");
    assert_eq!(files_with(&events, WORD.as_bytes()), Vec::<PathBuf>::new());
    let listed = one.json(&["jobs", "list", "--limit", "100"]).await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), of("starling").len());
    let (code, _, words) = one.run(&["forget", "--meta", &format!("customer={WORD}")]).await;
    assert!(code == 1 && words.contains("no running daemon has a job"), "{words}");

    // A daemon that is away: the others erase what the streams have, and it erases the rest when it is asked again.
    let job = of("starling").into_iter().next().unwrap();
    let is_of_one = one.json(&["jobs", "show", &job]).await["daemon"] == one_id(&one).await;
    let (mut owner, asked) = if is_of_one { (one, &two) } else { (two, &one) };
    owner.stop().await;
    let answer = forget(asked, &[&job]).await;
    assert_eq!(
        (&of_one(&answer)["ledger"], of_one(&answer)["events"].as_u64() > Some(0)),
        (&json!(false), true)
    );
    let told = not_reached(of_one(&answer), "ledger");
    assert!(told[0].contains("run it again when that daemon is back"), "{told:?}");
    for what in ["recognizer", "backup"] {
        assert_eq!(not_reached(of_one(&answer), what).len(), 1, "{what}: {answer}");
    }
    owner.restart().await;
    let answer = forget(asked, &[&job]).await;
    assert_eq!(
        (&of_one(&answer)["ledger"], &of_one(&answer)["events"]),
        (&json!(true), &json!(0)),
        "{answer}"
    );
}

/// The id of a daemon, by one of its own jobs.
async fn one_id(hark: &Hark) -> Value {
    let connection = rusqlite::Connection::open(hark.path("state/ledger.sqlite3")).unwrap();
    let id: uuid::Uuid = connection.query_row("SELECT id FROM daemon", [], |row| row.get(0)).unwrap();
    json!(id)
}

#[tokio::test]
async fn a_daemon_that_was_killed_in_between_erases_the_rest_when_it_is_asked_again() {
    let nats = NatsServer::start().await;
    let audio = wav(1.0, 1);
    let service = service_that_hears(&[(&audio, WORD)]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").set("nats.store_partials", "true");
    let mut hark = setup.start().await;
    hark.drop_file("calls", "a.wav", &audio);
    let job = hark.next_event("job.completed").await.job().to_owned();
    // So many partials that the daemon is seen at work.
    let context = jetstream::new(nats.client().await);
    let subject = format!("hark.event.transcript.partial.calls.{job}");
    for _ in 0..5_000 {
        context.client().publish(subject.clone(), WORD.into()).await.unwrap();
    }
    let partials = async || context.get_stream("HARK_PARTIALS").await.unwrap().cached_info().state.messages;
    wait_until("the partials to be stored", CEILING, async || partials().await > 5_000).await;
    let mut command = hark.command(&["forget", &job]).spawn().unwrap();
    wait_until("some of them to be erased", CEILING, async || partials().await < 4_900).await;
    hark.kill();
    assert!(partials().await > 0, "the kill came too late");
    command.kill().unwrap();
    command.wait().unwrap();

    hark.restart().await;
    let answer = forget(&hark, &[&job]).await;
    let erased = of_one(&answer);
    assert!(erased["ledger"] == true && erased["partials"].as_u64() > Some(0), "{erased}");
    assert_eq!(traces(&hark, &nats, WORD.as_bytes()), Vec::<PathBuf>::new());
}
