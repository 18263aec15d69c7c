//! The pages of docs/recipes: their configs and programs run as they stand there, with the test's own folders, addresses and keys, and do what
//! the pages promise.

use std::fs::read_to_string;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, Process, Reply, SECRET, Setup, SpeechServer, call, free_address,
    harkd, http_get, known_call, of_kind, plugin_library, python, sample, wait_until,
};
use regex::Regex;
use serde_json::{Value, json};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/samples/manifest.json");
const WORDS: &str = "I want to cancel my contract, and I want a refund today.";

#[tokio::test]
async fn a_folder_becomes_subtitles() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--manifest", SAMPLES]).await;
    let setup = recipe("subtitles", &[]);
    // The page says: also files that are there before the first start.
    std::fs::write(setup.path("srv/films/talk.wav"), sample("cancel.wav")).unwrap();
    let mut hark = setup.nats(&nats).asr(&service).start().await;
    hark.next_event("job.completed").await;
    let film = |name: &str| read_to_string(hark.path("srv/films").join(name)).unwrap();
    let srt = film("talk.srt").replace("\r\n", "\n");
    assert_eq!(srt, format!("{}\n", block("subtitles", "text", 0)), "the page shows what is written");
    assert!(film("talk.vtt").starts_with("WEBVTT") && film("talk.txt").contains(WORDS));
}

#[tokio::test]
async fn a_call_becomes_a_dialogue_with_alerts_and_without_its_card_number() {
    let manifest = known_call([
        ("Good morning, how may I help you?", "happy"),
        ("I want to cancel. My card is 4242 4242 4242 4242.", "angry"),
        ("This is a disgrace.", "sad"),
    ]);
    let nats = NatsServer::start().await;
    let service = Emulator::knowing(manifest, &[]).await;
    let mut hark = recipe("call-centre", &[]).nats(&nats).asr(&service).start().await;
    hark.drop_file("srv/calls", "kim-4711-20261130.wav", &call());
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["metadata"], json!({ "agent": "kim", "customer": "4711" }));

    let events = hark.events_of(done.job()).await;
    let segments = of_kind(&events, "transcript.final")[0]["segments"].as_array().unwrap();
    let lines: Vec<(&str, &str, &Value)> = segments
        .iter()
        .map(|segment| {
            let text = |key: &str| segment[key].as_str().unwrap();
            (text("role"), text("text"), &segment["emotion"])
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("agent", "Good morning, how may I help you?", &Value::Null),
            ("customer", "I want to cancel. My card is [CARD_1].", &json!("angry")),
            ("customer", "This is a disgrace.", &json!("sad")),
        ]
    );
    let mut rules: Vec<&str> =
        of_kind(&events, "alert.raised").iter().map(|alert| alert["rule"].as_str().unwrap()).collect();
    rules.sort_unstable();
    assert_eq!(rules, ["churn", "streak"], "the agent has greeted");
    assert!(events.iter().all(|event| !event.body.to_string().contains("4242")), "{events:?}");
    wait_until("the call to be put away", CEILING, async || {
        hark.path("srv/heard/kim-4711-20261130.wav").exists()
    })
    .await;
}

#[tokio::test]
async fn a_message_becomes_a_request_to_a_receiver() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--manifest", SAMPLES]).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let address = free_address();
    let own = [
        ("/etc/hark/crm.secret", secret.to_str().unwrap()),
        ("127.0.0.1:8080", &address.to_string()),
        ("8080", &address.port().to_string()),
    ];
    let program = folder.path().join("receiver.py");
    std::fs::write(&program, replaced(block("nats-in-webhooks-out", "python", 0), &own)).unwrap();
    let receiver = Process::start("receiver", Command::new(python()).arg(&program), folder.path());
    let hark = recipe("nats-in-webhooks-out", &own).nats(&nats).asr(&service).start().await;
    wait_until("the receiver to take the test", CEILING, async || {
        hark.command(&["webhooks", "test", "crm"]).output().unwrap().status.success()
    })
    .await;

    let audio = folder.path().join("call.wav");
    std::fs::write(&audio, sample("cancel.wav")).unwrap();
    let submitted =
        hark.command(&["submit", "--meta", "customer=4711", audio.to_str().unwrap()]).status().unwrap();
    assert!(submitted.success());
    let line = block("nats-in-webhooks-out", "text", 0);
    wait_until("what the page shows", CEILING, async || receiver.log().contains(line.trim())).await;
}

#[tokio::test]
async fn without_a_key_a_server_of_ones_own_hears_everything() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(Reply::verbose("english", WORDS, &[(0.0, 4.75, WORDS)])).await;
    let own = [("http://127.0.0.1:8000/v1", server.url())];
    let own = own.each_ref().map(|(from, to)| (*from, to.as_str()));
    let mut hark = recipe("own-server", &own).without("DASHSCOPE_API_KEY").nats(&nats).start().await;
    hark.drop_file("srv/notes", "monday.wav", &sample("cancel.wav"));
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["cost_usd"], json!(0.0));
    assert_eq!(read_to_string(hark.path("srv/texts/monday.txt")).unwrap(), format!("{WORDS}\n"));
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()) && asked.len() == 1, "{asked:?}");
    let effective = hark.command(&["config", "effective"]).output().unwrap();
    assert!(effective.status.success());
}

/// Of the README: the manual as a config, with a source. The environment has what is the test's own.
#[tokio::test]
async fn the_manual_and_a_source_make_a_working_daemon() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let folder = tempfile::tempdir().unwrap();
    let (config, calls) = (folder.path().join("harkd.toml"), folder.path().join("calls"));
    std::fs::create_dir(&calls).unwrap();
    let manual = Command::new(harkd()).args(["config", "default"]).output().unwrap().stdout;
    let source =
        format!("[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = '{}'\n", calls.display());
    std::fs::write(&config, [manual, source.into_bytes()].concat()).unwrap();
    let http = free_address();
    let mut run = Command::new(harkd());
    run.arg("--config").arg(&config).arg("run").env("DASHSCOPE_API_KEY", "sk-of-the-tests");
    run.env("HARK_DASHSCOPE__BASE_URL", service.api()).env("HARK_NATS__SERVERS", nats.url());
    run.env("HARK_STATE__DIRECTORY", folder.path().join("state")).env("HARK_HTTP__LISTEN", http.to_string());
    let _daemon = Process::start("harkd", &mut run, folder.path());
    wait_until("the daemon to be ready", CEILING, async || {
        matches!(http_get(http, "/readyz").await, Some((200, _)))
    })
    .await;
    std::fs::write(calls.join("a.wav"), sample("cancel.wav")).unwrap();
    let done = "hark_job_ended_total{outcome=\"completed\",source=\"calls\"} 1";
    wait_until("the recording to be heard", CEILING, async || {
        http_get(http, "/metrics").await.is_some_and(|(_, page)| page.contains(done))
    })
    .await;
}

#[test]
fn every_recipe_is_in_the_readme_and_in_this_file() {
    let (readme, tests) = (read("../README.md"), read("tests/recipes.rs"));
    let mut pages = 0;
    for page in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recipes")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("(docs/recipes/{name})")), "README.md does not link {name}");
        let name = name.trim_end_matches(".md");
        assert!(tests.contains(&format!("recipe(\"{name}\"")), "no test runs {name}");
        pages += 1;
    }
    assert!(pages >= 4);
}

/// A daemon with the config of this page; what lies below `/srv` lies in the daemon's folder. `own`: what else is replaced.
fn recipe(page: &str, own: &[(&str, &str)]) -> Setup {
    let mut setup = Hark::new();
    let folder = setup.path("");
    let below = format!("{}srv/", folder.display());
    let config = block(page, "toml", 0);
    let srv = Regex::new("/srv/[a-z]+").unwrap();
    for path in srv.find_iter(&config) {
        std::fs::create_dir_all(folder.join(&path.as_str()[1..])).unwrap();
    }
    let table: toml::Table = replaced(config.replace("/srv/", &below), own).parse().unwrap();
    for (key, value) in table {
        setup = match value {
            toml::Value::Table(keys) => keys
                .iter()
                .fold(setup, |setup, (name, value)| setup.set(&format!("{key}.{name}"), &value.to_string())),
            list => setup.lines(&toml::to_string(&toml::Table::from_iter([(key, list)])).unwrap()),
        };
    }
    let plugins = setup.path("plugins");
    install_plugins(&plugins);
    setup.set("plugins.directory", &format!("'{}'", plugins.display()))
}

/// The plugins that ship, in a folder that only this user may write to.
fn install_plugins(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for plugin in ["subtitles", "redact", "keyword_alert", "emotion_watch"] {
        let copy = folder.join(format!("lib{plugin}.so"));
        std::fs::copy(plugin_library(plugin), &copy).unwrap();
        std::fs::set_permissions(copy, PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A block of a page, by its language and its place among those.
fn block(page: &str, language: &str, place: usize) -> String {
    let text = read(&format!("../docs/recipes/{page}.md"));
    let begin = format!("\n```{language}\n");
    let block = text.split(&begin).nth(place + 1).unwrap_or_else(|| panic!("{page} has no {begin} {place}"));
    block.split("```").next().unwrap().to_owned()
}

fn replaced(mut text: String, own: &[(&str, &str)]) -> String {
    for (from, to) in own {
        text = text.replace(from, to);
    }
    text
}

fn read(relative: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
