//! Many reloads while recordings come, each of which changes something else: nothing is lost, doubled or delayed.
//!
//! A short run is part of every test run. A long one:
//! `HARK_RELOADS=1000 cargo nextest run --workspace --test stories reload::load --no-capture`

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures::StreamExt;
use jiff::Timestamp;

use crate::support::{
    CEILING, Emulator, Footprint, Hark, Input, LedgerRecord, NatsServer, REDELIVERY, ReceivedEvent, Records,
    number_from, publish, wait_until, wav,
};

const RELOADS: u64 = 20;

/// Between two recordings, at least.
const PACE: Duration = Duration::from_millis(50);

/// The most recordings under way: more come only as fast as an unoptimized daemon on a busy machine recognizes them.
const UNDER_WAY: usize = 24;

/// From a recording's arrival to its `job.accepted` in the stream, for sources that no reload removes. A message that a stopped source lost
/// would come again after 30 s, a folder that is not watched would wait for as long.
const LATEST: Duration = Duration::from_secs(15);

/// The arrays of tables of a config, by its number. Folders `calls` and `archive` stay as they are; all else changes, comes and goes.
fn arrays(hark: &Hark, number: u64) -> String {
    let every = |count: u64| number.is_multiple_of(count);
    let folder = |name: &str, lines: &str| {
        let path = hark.path(name);
        format!("[[source]]\nname = \"{name}\"\nkind = \"directory\"\npath = '{}'\n{lines}\n", path.display())
    };
    let subject = |name: &str, lines: &str| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"nats\"\nsubject = \"hark.audio.{name}\"\n{lines}\n")
    };
    let plugin = |name: &str, library: &str, lines: &str| {
        let path = hark.path(&format!("plugins/lib{library}.so"));
        format!("[[plugin]]\nname = \"{name}\"\nlibrary = '{}'\n{lines}\n", path.display())
    };
    let language = ["en", "de", "fr"][(number % 3) as usize];
    let mut tables = vec![
        format!("[[route]]\nname = \"default\"\nlanguage = \"{language}\"\n"),
        format!("[[route]]\nname = \"long\"\nengine = \"filetrans\"\nitn = {}\n", every(2)),
        folder("calls", "settle = \"100ms\""),
        folder("archive", "settle = \"100ms\"\nroute = \"long\""),
        subject(
            "inbox",
            &format!(
                "allow_routes = [\"{}\"]\npriority = \"{}\"",
                ["default", "long"][(number % 2) as usize],
                ["live", "normal"][(number / 2 % 2) as usize]
            ),
        ),
    ];
    if !every(3) {
        let done = hark.path("done");
        let moved = format!(
            "when_done = \"move\"\ndone_directory = '{}'\nsettle = \"{}ms\"",
            done.display(),
            100 + number % 2 * 50
        );
        tables.push(folder("guests", &moved));
    }
    if !every(4) {
        tables.push(subject("second", if every(2) { "route = \"long\"" } else { "" }));
    }
    if !every(5) {
        tables.push("[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"whisper-1\"\n".to_owned());
        tables.push(format!(
            "[[price]]\nmodel = \"{}-*\"\nusd_per_second = 0.01\n",
            ["other", "some"][(number % 2) as usize]
        ));
    }
    let hello = plugin("hello", "hello", &format!("memory_limit = \"{}MiB\"", 128 + number / 3 % 2));
    let rule = format!("[[plugin.config.rules]]\nname = \"rule{number}\"\nany = [\"nobody says this\"]");
    let keywords = plugin("keywords", "keyword_alert", &rule);
    match number % 7 {
        0 => tables.push(hello),
        1..4 => tables.extend([hello, keywords]),
        _ => tables.extend([keywords, hello]),
    }
    tables.concat()
}

/// Changes the file to the config of this number.
fn edit(text: &str, arrays: &str, number: u64) -> String {
    let values = [
        ("daily_usd", format!("{}.0", 1_000 + number % 5)),
        ("requests_per_minute", ["0", "60000"][(number % 2) as usize].to_owned()),
        ("concurrency", (8 + number % 4 * 4).to_string()),
        ("filetrans_concurrency", (20 + number % 3 * 20).to_string()),
        ("poll_interval", format!("\"{}ms\"", 100 + number % 2 * 100)),
        ("level", ["\"info\"", "\"info,harkd=debug\""][(number % 2) as usize].to_owned()),
        ("allow_urls", ["[]", "[\"127.0.0.1/32\"]"][(number % 2) as usize].to_owned()),
        ("keep", format!("\"{}d\"", 30 + number % 2)),
    ];
    let of_tables = &text[..text.find("[[").unwrap()];
    let changed = of_tables.lines().map(|line| {
        let key = line.split(" = ").next().unwrap_or_default();
        match values.iter().find(|(name, _)| *name == key) {
            Some((_, value)) => format!("{key} = {value}\n"),
            None => format!("{line}\n"),
        }
    });
    changed.collect::<String>() + arrays
}

/// Delivers recordings until it is told to stop; returns each with the time of its arrival.
async fn feed(folders: [PathBuf; 3], url: String, stop: Arc<AtomicBool>) -> Vec<(Input, Timestamp)> {
    let client = async_nats::connect(url).await.unwrap();
    let mut completed = client.subscribe("hark.event.job.completed.>").await.unwrap();
    let context = jetstream::new(client);
    let (mut inputs, mut ended) = (Vec::new(), 0);
    for number in 1_u64.. {
        while inputs.len() >= ended + UNDER_WAY && !stop.load(Ordering::Relaxed) {
            let event = tokio::time::timeout(Duration::from_millis(100), completed.next());
            ended += usize::from(event.await.is_ok());
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(PACE).await;
        let (audio, name) = (wav(1.0 + (number % 3) as f64 / 2.0, number), format!("{number}.wav"));
        let source =
            ["calls", "inbox", "guests", "calls", "second", "inbox", "calls", "archive", "inbox", "calls"]
                [(number % 10) as usize];
        let at = Timestamp::now();
        match folders.iter().find(|folder| folder.ends_with(source)) {
            Some(folder) => {
                let part = folder.join(format!(".{name}.part"));
                std::fs::write(&part, &audio).unwrap();
                std::fs::rename(&part, folder.join(&name)).unwrap();
            }
            None => {
                let headers = [("Content-Type", "audio/wav"), ("Hark-Name", name.as_str())];
                publish(&context, &format!("hark.audio.{source}"), &headers, audio.clone()).await;
            }
        }
        inputs.push((Input::recognized(source, &name, &audio), at));
    }
    inputs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_come_on_as_if_nothing_was_reloaded() {
    let reloads = number_from("HARK_RELOADS").unwrap_or(RELOADS);
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "2ms", "--task-delay", "400ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").folder("archive").folder("guests");
    let setup = setup.inbox("inbox", "hark.audio.inbox").inbox("second", "hark.audio.second");
    let setup = setup.plugin("hello", "hello", "").plugin(
        "keywords",
        "keyword_alert",
        "[[plugin.config.rules]]\nname = \"rule\"\nany = [\"nobody says this\"]",
    );
    let setup = setup.set("budget.daily_usd", "1000.0").set("dashscope.concurrency", "8");
    let setup = setup
        .set("dashscope.filetrans_concurrency", "20")
        .set("security.allow_urls", "[]")
        .set("state.keep", "\"30d\"");
    let mut hark = setup.start().await;
    // The sources whose changes are counted are as all configs have them.
    let all = arrays(&hark, 1);
    hark.reload(|text| edit(&text, &all, 1)).await;
    let first = wav(1.0, 0);
    hark.drop_file("calls", "first.wav", &first);
    hark.ended_jobs(1).await;
    let before = Footprint::of(hark.process().id());
    let watched = |hark: &Hark, source: &str| {
        hark.log().lines().filter(|line| line.contains(" watching path=") && line.contains(source)).count()
    };
    let stays = ["source=\"calls\"", "source=\"archive\""].map(|source| (source, watched(&hark, source)));

    let stop = Arc::new(AtomicBool::new(false));
    let folders = ["calls", "archive", "guests"].map(|name| hark.path(name));
    let feeding = tokio::spawn(feed(folders, nats.url(), Arc::clone(&stop)));
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for number in 2..reloads + 2 {
        let arrays = arrays(&hark, number);
        let one = Instant::now();
        let log = hark.reload(|text| edit(&text, &arrays, number)).await;
        longest = longest.max(one.elapsed());
        assert!(log.contains("the config was reloaded"), "{log}");
        // Of a reload and what it changes, not of one alone.
        tokio::time::sleep(Duration::from_millis(number % 4 * 50)).await;
    }
    hark.reload(|text| edit(&text, &all, 1)).await;
    let lasted = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (mut inputs, arrived): (Vec<Input>, Vec<Timestamp>) = feeding.await.unwrap().into_iter().unzip();
    let fed = inputs.len();
    inputs.push(Input::recognized("calls", "first.wav", &first));
    let (context, state) = (jetstream::new(nats.client().await), hark.path("state"));
    let ended = Instant::now();
    wait_until("every recording to be settled", REDELIVERY, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ledger = LedgerRecord::read(&state);
        ledger.jobs.len() >= inputs.len()
            && ledger.open().next().is_none()
            && ledger.outbox_rows == 0
            && crate::support::unacknowledged(&context).await == 0
    })
    .await;

    let mut records = Records::gather(&inputs, &hark, &service, &nats).await;
    (records.ended_after, records.bound) = (ended.elapsed(), CEILING);
    records.outputs = [("plugin.hello".to_owned(), 1)].into();
    records.footprints = vec![Footprint::before_and_after(before, hark.process().id()).await];
    let accepted = records.events.iter().filter(|event| event.kind() == "job.accepted");
    let name =
        |event: &ReceivedEvent| event.body["recording"]["name"].as_str().unwrap_or_default().to_owned();
    let accepted: HashMap<String, Timestamp> =
        accepted.map(|event| (name(event), event.stored.unwrap())).collect();
    let stays_on = |input: &Input| !["guests", "second"].contains(&input.source.as_str());
    let delays = inputs.iter().zip(&arrived).filter(|(input, _)| stays_on(input));
    let delays = delays.map(|(input, at)| accepted[&input.name].duration_since(*at));
    let latest = Duration::try_from(delays.max().unwrap()).unwrap();
    println!(
        "| reloads | {reloads} |\n| recordings | {fed} |\n| lasted | {lasted:?} |\n| longest reload | {longest:?} |\n| latest job.accepted of a source that stayed | {latest:?} |\n| violations of L1 to L9 | {} |",
        records.violations().len()
    );
    records.assert_kept();
    assert!(latest < LATEST, "{latest:?}");
    for (source, count) in stays {
        assert_eq!(watched(&hark, source), count, "{source} was not touched");
    }
    for consumer in ["hark_inbox", "hark_second"] {
        let stream = context.get_stream("HARK_AUDIO").await.unwrap();
        let mut consumer: jetstream::consumer::PullConsumer = stream.get_consumer(consumer).await.unwrap();
        assert_eq!(consumer.info().await.unwrap().num_redelivered, 0, "no message was lost on its way");
    }
    wait_until("the processes of plugins that nothing has any more to end", CEILING, async || {
        hark.process().children_named("hark-plugin").len() == 2
    })
    .await;
    assert!(hark.stop().await.success());
}
