//! Plugins in real processes, broken ones above all: whatever a plugin does, the transcript and the other plugins' events flow on.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

#[path = "plugins/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod plugins;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use hark_sdk::event::{Body, Event, JobAccepted};
use hark_sdk::testing::{event, partial, transcript};

use harkd::pipeline::{PluginState, Processed};

use plugins::{Plugins, data};

/// The word that decides what `moody` does.
fn told(what: &str) -> Event {
    transcript(&[&format!("do {what}")])
}

fn error_of(processed: &Processed, plugin: &str) -> String {
    let error = data(processed, plugin).find_map(|data| Some(data["error"].as_str()?.to_owned()));
    error.unwrap_or_else(|| panic!("no error of {plugin} in {:?}", processed.emitted))
}

fn greeted(processed: &Processed, plugin: &str) -> bool {
    data(processed, plugin).any(|data| data.get("greeting").is_some())
}

/// What a variable of the environment makes larger.
fn count_of(variable: &str, otherwise: usize) -> usize {
    let given = std::env::var(variable).ok().filter(|count| !count.is_empty());
    given.map_or(otherwise, |count| count.parse().unwrap())
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{:?} (median), {:?} (worst)", times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_in_rust_and_in_c_greet_every_transcript() {
    let plugins = Plugins::new().rust("hello").c_file("hello_c", "../plugins/hello-c/hello.c").start().await;
    for status in plugins.statuses() {
        assert_eq!(status.state, PluginState::Running, "{:?}", status.reason);
    }
    let said = transcript(&["good morning"]);
    let processed = plugins.process(said.clone()).await;
    assert_eq!(processed.event, said);
    assert!(processed.held.is_none());
    let greetings: Vec<_> =
        processed.emitted.iter().map(|body| serde_json::to_value(body).unwrap()).collect();
    assert_eq!(
        greetings,
        [
            serde_json::json!({ "plugin": "hello", "data": { "greeting": "hello" } }),
            serde_json::json!({ "plugin": "hello_c", "data": { "greeting": "hello from C" } }),
        ]
    );
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_no_plugin_is_named_and_the_others_run() {
    let expected = [
        ("no_symbol", "exports no symbol \"hark_plugin\""),
        ("wrong_magic", "not with HARK_MAGIC"),
        ("wrong_major", "major version 7 of the plugin ABI, this daemon speaks 1"),
        ("too_small", "says size 24, less than the 56 bytes"),
        ("no_function", "has no function `on_event`"),
        ("create_fails", "create refused: key \"model\" is missing; name a file"),
        ("create_aborts", "its process was ended by signal 6 (SIGABRT"),
    ];
    let mut plugins = Plugins::new();
    for (name, _) in expected {
        plugins = plugins.c(name);
    }
    let plugins = plugins.missing("not_there").c("moody").start().await;
    let processed = plugins.process(told("nothing")).await;
    for (name, words) in expected.into_iter().chain([("not_there", "does not exist; install it there")]) {
        let status = plugins.status(name);
        assert_eq!(status.state, PluginState::Failed);
        let reason = status.reason.unwrap();
        assert!(reason.contains(words) && reason.contains(&format!("{name}.so")), "{name}: {reason}");
        assert_eq!(error_of(&processed, name), reason);
    }
    assert!(greeted(&processed, "moody"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_an_event_of_that_plugin_and_the_next_call_finds_a_new_process() {
    for (what, words) in [
        ("segfault", "signal 11 (SIGSEGV)"),
        ("abort", "signal 6 (SIGABRT"),
        ("exit", "exited with status 3"),
        ("overflow", "signal 6 (SIGABRT"),
        ("devour", "signal 11 (SIGSEGV)"),
        ("fail", "it failed: beyond repair"),
        ("nonsense", "it failed: it did not say why"),
    ] {
        let patient = Duration::from_secs(20);
        let mut back = Vec::new();
        // A third death would be a quarantine.
        for _ in 0..count_of("HARK_DEATHS", 1).div_ceil(2) {
            let plugins = Plugins::new().c("moody").timeout(patient).rust("hello").start().await;
            let began = Instant::now();
            let processed = plugins.process(told(what)).await;
            let error = error_of(&processed, "moody");
            assert!(error.contains(words), "{what}: {error}");
            assert!(greeted(&processed, "hello"), "{what}");
            assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
            assert!(began.elapsed() < patient, "{what}: {:?}", began.elapsed());
            back.push(began.elapsed());
            plugins.stop().await;
        }
        println!("{what}: two deaths, two replacements and two answers took {}", spread(back));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_grows_to_the_memory_limit_and_no_further() {
    let plugins = Plugins::new();
    let path = plugins.path().join("state/plugins/writes/notes").display().to_string();
    let plugins = plugins.c("writes").with(|plugin| {
        plugin.config.insert("path".into(), path.into());
        plugin.memory_limit = 16 << 20;
    });
    let plugins = plugins.start().await;
    let processed = plugins.process(told("fill")).await;
    assert!(error_of(&processed, "writes").contains("signal 25 (SIGXFSZ"), "{processed:?}");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_costs_its_own_deadline_and_those_who_waited_get_their_turn() {
    let timeout = Duration::from_millis(300);
    for what in ["hang", "spin"] {
        let mut beyond = Vec::new();
        for _ in 0..count_of("HARK_DEATHS", 1) {
            let plugins = Plugins::new().c("moody").timeout(timeout).rust("hello").start().await;
            let began = Instant::now();
            let (first, second, third) = tokio::join!(
                plugins.process(told(what)),
                plugins.process(told("nothing")),
                plugins.process(told("nothing")),
            );
            let elapsed = began.elapsed();
            assert_eq!(error_of(&first, "moody"), "no answer within 300ms (`timeout`)");
            assert!(greeted(&first, "hello") && greeted(&second, "moody") && greeted(&third, "moody"));
            assert!(elapsed >= timeout && elapsed < timeout + Duration::from_secs(1), "{elapsed:?}");
            assert_eq!(plugins.failures("moody", "timeout"), 1);
            beyond.push(elapsed - timeout);
            plugins.stop().await;
        }
        println!("{what}: those behind it were through {} after the deadline", spread(beyond));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_closes_its_socket_and_lives_on_has_no_more_time_than_one_that_is_silent() {
    let timeout = Duration::from_millis(100);
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let plugins = Plugins::new().c("moody").timeout(timeout).start().await;
        let began = Instant::now();
        let error = error_of(&plugins.process(told("close")).await, "moody");
        assert_eq!(error, "its process closed its socket and lived on");
        quickest = quickest.min(began.elapsed());
        plugins.stop().await;
    }
    assert!(quickest >= timeout && quickest < 4 * timeout, "{quickest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_be_collected_is_not_waited_for() {
    let plugins = Plugins::new().c("moody").timeout(Duration::from_millis(100)).start().await;
    // A debugger is told of the death first, and its process stays a zombie until it has looked.
    const HOLD: &str = "import ctypes, sys\n\
        PTRACE_SEIZE, pid = 0x4206, int(sys.argv[1])\n\
        print(ctypes.CDLL(None).ptrace(PTRACE_SEIZE, pid, None, None), flush=True)\n\
        sys.stdin.read()";
    let python = std::env::var_os("HARK_PYTHON").unwrap_or_else(|| "python3".into());
    let mut debugger = std::process::Command::new(python)
        .args(["-c", HOLD, &plugins.status("moody").pid.unwrap().to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = String::new();
    BufReader::new(debugger.stdout.take().unwrap()).read_line(&mut held).unwrap();
    if held.trim() == "0" {
        let answered = tokio::time::timeout(Duration::from_secs(10), plugins.process(told("hang"))).await;
        assert_eq!(error_of(&answered.unwrap(), "moody"), "no answer within 100ms (`timeout`)");
        assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    } else {
        println!("skipped: plugins are not dumpable, so it takes CAP_SYS_PTRACE to hold one");
    }
    drop(debugger.stdin.take());
    debugger.wait().unwrap();
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_always_hangs_delays_nobody_beyond_three_deadlines() {
    let timeout = Duration::from_millis(300);
    let plugins = Plugins::new().c("moody").timeout(timeout).rust("hello").start().await;
    let began = Instant::now();
    let all = futures::future::join_all((0..100).map(|_| plugins.process(told("hang")))).await;
    let elapsed = began.elapsed();
    println!("100 events for a plugin that always hangs took {elapsed:?} with a timeout of {timeout:?}");
    assert!(all.iter().all(|processed| greeted(processed, "hello")));
    assert_eq!(plugins.failures("moody", "timeout"), 3);
    assert!(elapsed < 3 * timeout + Duration::from_secs(2), "{elapsed:?}");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_stops_talking_is_ended_by_its_deadline() {
    let timeout = Duration::from_millis(500);
    for what in ["chatter", "flood"] {
        let plugins = Plugins::new().c("floods").timeout(timeout).rust("hello").start().await;
        let began = Instant::now();
        let talking = plugins.process(told(what));
        let processed = tokio::time::timeout(Duration::from_secs(20), talking).await.expect(what);
        let elapsed = began.elapsed();
        println!("{what}: it took {elapsed:?} with a timeout of {timeout:?}");
        assert!(elapsed < timeout + Duration::from_secs(2), "{what}: {elapsed:?}");
        assert_eq!(error_of(&processed, "floods"), "no answer within 500ms (`timeout`)");
        assert!(greeted(&processed, "hello") && greeted(&plugins.process(told("nothing")).await, "floods"));
        plugins.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_talks_between_events_is_asked_and_ended_all_the_same() {
    let plugins = Plugins::new().c("floods").timeout(Duration::from_secs(5)).start().await;
    assert!(greeted(&plugins.process(told("start talking")).await, "floods"));
    let asked = async {
        assert!(greeted(&plugins.process(told("nothing")).await, "floods"));
        plugins.stop().await;
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_talks_between_events_is_heard_at_the_pace_of_the_log() {
    let plugins = Plugins::new().c("floods").timeout(Duration::from_secs(5)).start().await;
    let lines = |processed: &Processed| data(processed, "floods").next().unwrap()["lines"].as_u64().unwrap();
    plugins.process(told("start talking")).await;
    // It has a second to fill the socket, and more of it while it is asked.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = lines(&plugins.process(told("nothing")).await);
    assert!(said < 5_000, "{said} lines");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_a_queue_hits_the_culprit_and_nobody_else() {
    let plugins = Plugins::new().c("moody").start().await;
    let events = (0..40).map(|number| told(if number == 17 { "abort" } else { "nothing" }));
    let all = futures::future::join_all(events.map(|event| plugins.process(event))).await;
    for (number, processed) in all.iter().enumerate() {
        assert_eq!(processed.emitted.len(), 1);
        assert_eq!(greeted(processed, "moody"), number != 17, "event {number}");
    }
    assert_eq!(plugins.failures("moody", "crash"), 2, "once, and once more when it was tried again");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_of_one_event_and_costs_no_process() {
    let plugins = Plugins::new().c("moody").start().await;
    let before = plugins.status("moody").pid;
    for _ in 0..5 {
        assert_eq!(error_of(&plugins.process(told("error")).await, "moody"), "I do not like this one");
    }
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    assert_eq!(plugins.status("moody").pid, before);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_deaths_are_a_quarantine_that_every_transcript_says_and_a_new_library_ends() {
    let plugins = Plugins::new().c("moody").rust("hello").start().await;
    for death in 1..=3 {
        let processed = plugins.process(told("segfault")).await;
        let said: Vec<_> = data(&processed, "moody").collect();
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].get("quarantined").is_some(), death == 3, "{said:?}");
        assert!(greeted(&processed, "hello"));
    }
    assert_eq!(plugins.status("moody").state, PluginState::Quarantined);
    let processed = plugins.process(told("nothing")).await;
    let said = data(&processed, "moody").next().unwrap();
    assert_eq!(said["quarantined"], true);
    assert!(said["error"].as_str().unwrap().contains("three failures within ten minutes"), "{said}");
    assert!(greeted(&processed, "hello"));
    let page = plugins.metrics.page();
    assert!(page.contains("hark_plugin_state{plugin=\"moody\",state=\"quarantined\"} 1"), "{page}");
    assert!(page.contains("hark_plugin_state{plugin=\"moody\",state=\"running\"} 0"), "{page}");

    plugins.replace("moody", "listens.c", 2);
    plugins.until("moody", |status| status.state == PluginState::Running).await;
    assert!(plugins.process(told("nothing")).await.emitted.len() == 2);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_looked_at_is_held_where_the_config_says_so() {
    let plugins = Plugins::new().rust("hello").c("moody").holding().start().await;
    let event = told("error");
    let processed = plugins.process(event.clone()).await;
    let held = processed.held.unwrap();
    assert_eq!((held.plugin.as_str(), held.reason.as_str()), ("moody", "I do not like this one"));
    assert_eq!(processed.event, event);
    assert!(processed.emitted.is_empty(), "a greeting now would come twice");
    assert!(plugins.process(told("segfault")).await.held.is_some());
    assert!(plugins.process(told("nothing")).await.held.is_none());
    plugins.stop().await;

    let plugins = Plugins::new().missing("redact").holding().start().await;
    let held = plugins.process(told("nothing")).await.held.unwrap();
    assert!(held.reason.contains("does not exist"), "{held:?}");
    assert!(plugins.pipeline().withholds_partials("calls"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_is_seen_by_those_after_it() {
    let plugins = Plugins::new().c("shout").c("moody").start().await;
    let processed = plugins.process(told("segfault")).await;
    let Body::TranscriptFinal(transcript) = &processed.event.body else { panic!("{processed:?}") };
    assert_eq!(transcript.text, "SHOUTED");
    assert_eq!(transcript.segments.as_ref().unwrap()[0].text, "SHOUTED");
    assert!(greeted(&processed, "moody"), "it read the new text, which tells it nothing: {processed:?}");
    assert!(plugins.pipeline().withholds_partials("calls"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_that_leaves_a_segment_as_it_was_has_failed() {
    let forgetful = transcript(&["forget"]);
    let plugins = Plugins::new().c("shout").start().await;
    let processed = plugins.process(forgetful.clone()).await;
    assert_eq!(processed.event, forgetful);
    assert!(error_of(&processed, "shout").contains("0 segment texts for 1 segments"));
    let processed = plugins.process(transcript(&["endless"])).await;
    let error = error_of(&processed, "shout");
    assert!(error.contains("replace of 9437184 bytes; at most 8388608 are forwarded"), "{error}");
    plugins.stop().await;

    let plugins = Plugins::new().c("shout").holding().start().await;
    assert!(plugins.process(forgetful).await.held.is_some());
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_refused_and_named_and_the_plugin_lives() {
    let plugins = Plugins::new().c("rubbish").timeout(Duration::from_secs(20)).rust("hello").start().await;
    let pid = plugins.status("rubbish").pid;
    for (what, count, words) in [
        ("nothing", "9 of what it said", "a plugin cannot emit \"job.completed\""),
        ("a flood", "9744 of what it said", "more than 256 events for one"),
        ("a gigabyte", "11 of what it said", "at most 1048576 are forwarded"),
    ] {
        let processed = plugins.process(transcript(&[what])).await;
        let error = error_of(&processed, "rubbish");
        assert!(error.starts_with(count) && error.contains(words), "{what}: {error}");
        assert!(greeted(&processed, "hello"));
        let forwarded = data(&processed, "rubbish").filter(|data| data.get("error").is_none()).count();
        assert_eq!(forwarded, if what == "a flood" { 256 } else { 0 }, "{what}");
    }
    assert_eq!(plugins.status("rubbish").pid, pid);
    assert_eq!(plugins.failures("rubbish", "rubbish"), 3);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_start_threads_and_has_no_processes_connections_or_environment() {
    let plugins = Plugins::new().c("moody").c("threads").start().await;
    let refused = [
        "fork",
        "system",
        "getenv",
        "connect",
        "chmod",
        "touch",
        "truncate",
        "own",
        "lease",
        "renice",
        "share",
        "anonymous",
        "memfd",
    ];
    for what in refused {
        let processed = plugins.process(told(what)).await;
        assert_eq!(data(&processed, "moody").next().unwrap()[what], "refused", "{:?}", processed.emitted);
        assert_eq!(data(&processed, "threads").next().unwrap()["thread"], "done");
    }
    plugins.stop().await;

    let plugins = Plugins::new().c("moody").with(|plugin| plugin.network = true).start().await;
    assert_eq!(data(&plugins.process(told("connect")).await, "moody").next().unwrap()["connect"], "done");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_leaks_bombs_and_scribbles_stay_inside() {
    // Room for some hundred threads.
    let little = |plugin: &mut harkd::config::Plugin| plugin.memory_limit = 16 << 20;
    for what in ["print", "leak", "babble", "bomb"] {
        for _ in 0..count_of("HARK_DEATHS", 1) {
            let plugins = Plugins::new().c("moody").with(little).rust("hello").start().await;
            for word in [what, "nothing"] {
                let processed = plugins.process(told(word)).await;
                assert!(
                    greeted(&processed, "moody") && greeted(&processed, "hello"),
                    "{what}: {processed:?}"
                );
            }
            assert_eq!(
                plugins.failures("moody", "crash"),
                0,
                "{what} costs the plugin's own process nothing"
            );
            plugins.stop().await;
        }
    }
    let plugins = Plugins::new().c("moody").rust("hello").start().await;
    // Into every descriptor that it has, the daemon's socket among them: that frame is read as rubbish and the process replaced.
    let processed = plugins.process(told("scribble")).await;
    assert!(error_of(&processed, "moody").contains("it wrote into the daemon's socket"), "{processed:?}");
    assert!(greeted(&processed, "hello"));
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_writes_to_its_own_folder_and_to_those_it_was_granted_only() {
    let granted = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let opened = async |path: std::path::PathBuf, what: &str| {
        let plugins = Plugins::new();
        let path = if path.is_relative() { plugins.path().join(path) } else { path };
        let plugins = plugins.c("writes").with(|plugin| {
            plugin.config.insert("path".into(), path.display().to_string().into());
            plugin.write.push(granted.path().into());
        });
        std::fs::create_dir_all(plugins.path().join("state")).unwrap();
        std::fs::write(plugins.path().join("state/ledger"), "texts").unwrap();
        let plugins = plugins.start().await;
        let processed = plugins.process(told(what)).await;
        let opened = data(&processed, "writes").next().unwrap()["opened"].as_bool().unwrap();
        plugins.stop().await;
        opened
    };
    assert!(opened(granted.path().join("call.srt"), "write").await);
    assert!(opened("state/plugins/writes/notes".into(), "write").await);
    assert!(!opened(elsewhere.path().join("call.srt"), "write").await);
    assert!(!opened("state/ledger".into(), "write").await);
    assert!(!opened("state/ledger".into(), "read").await);
    assert!(opened("/etc/hostname".into(), "read").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_library_takes_over_between_two_events_and_none_is_skipped_or_doubled() {
    let reloads = count_of("HARK_RELOADS", 3);
    let plugins = Plugins::new().c("listens").start().await;
    let built: Vec<_> = (1..=2)
        .map(|version| {
            let library = plugins.folder.path().join(format!("version-{version}"));
            plugins::compile(Path::new("tests/plugins/listens.c"), &library, version);
            library
        })
        .collect();
    let (mut version, mut count, mut events) = (1, 0, 0);
    let mut taken_over = Vec::new();
    for reload in 1..=reloads {
        let next = 1 + reload as u64 % 2;
        plugins.put("listens", &built[next as usize - 1]);
        let began = Instant::now();
        while version != next {
            assert!(began.elapsed() < Duration::from_secs(10), "reload {reload} does not take over");
            let processed = plugins.process(told("nothing")).await;
            let said: Vec<_> = data(&processed, "listens").collect();
            assert_eq!(said.len(), 1, "{said:?}");
            if said[0]["version"] != version {
                (version, count) = (said[0]["version"].as_u64().unwrap(), 0);
            }
            (count, events) = (count + 1, events + 1);
            assert_eq!(said[0]["count"], count, "calls come one after the other, none twice");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        taken_over.push(began.elapsed());
    }
    assert_eq!(plugins.failures("listens", "crash"), 0);
    println!("{reloads} reloads under {events} events took {} each", spread(taken_over));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_replacement_is_refused_and_the_old_one_goes_on() {
    let plugins = Plugins::new().c("moody").start().await;
    let pid = plugins.status("moody").pid;
    plugins.replace("moody", "no_symbol.c", 2);
    let status = plugins.until("moody", |status| status.reason.is_some()).await;
    assert_eq!((status.state, status.pid), (PluginState::Running, pid));
    let reason = status.reason.unwrap();
    assert!(
        reason.starts_with("the new library was refused") && reason.contains("exports no symbol"),
        "{reason}"
    );
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));

    plugins.replace("moody", "moody.c", 3);
    let status = plugins.until("moody", |status| status.pid != pid).await;
    assert_eq!(status.reason, None);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_was_refused_for_its_mode_is_taken_when_that_is_mended() {
    use std::os::unix::fs::PermissionsExt;
    let plugins = Plugins::new().c("listens").start().await;
    let library = plugins.folder.path().join("listens.so");
    let beside = library.with_extension("new");
    plugins::compile(Path::new("tests/plugins/listens.c"), &beside, 2);
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::rename(&beside, &library).unwrap();
    let status = plugins.until("listens", |status| status.reason.is_some()).await;
    assert!(status.reason.unwrap().contains("mode"));
    let pid = status.pid;
    std::fs::set_permissions(&library, std::fs::Permissions::from_mode(0o644)).unwrap();
    plugins.until("listens", |status| status.pid != pid && status.reason.is_none()).await;
    let processed = plugins.process(told("nothing")).await;
    assert_eq!(data(&processed, "listens").next().unwrap()["version"], 2);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_comes_late_is_loaded_when_it_is_there() {
    let plugins = Plugins::new().missing("moody").start().await;
    assert_eq!(plugins.status("moody").state, PluginState::Failed);
    plugins.replace("moody", "moody.c", 1);
    plugins.until("moody", |status| status.state == PluginState::Running).await;
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_or_a_mode_that_does_not_fit_keeps_a_library_out() {
    let plugins = Plugins::new().c("moody").with(|plugin| plugin.sha256 = "00".repeat(32)).c("listens");
    let library = plugins.path().join("listens.so");
    std::fs::set_permissions(&library, std::os::unix::fs::PermissionsExt::from_mode(0o757)).unwrap();
    let plugins = plugins.start().await;
    let reason = plugins.status("moody").reason.unwrap();
    assert!(reason.contains("but the config pins 0000"), "{reason}");
    let reason = plugins.status("listens").reason.unwrap();
    assert!(reason.contains("has mode 0757") && reason.contains("chmod go-w"), "{reason}");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_hear_the_sources_and_kinds_that_are_theirs() {
    let plugins = Plugins::new()
        .c("listens")
        .rust("hello")
        .c("moody")
        .with(|plugin| plugin.sources = vec!["inbox".into()])
        .start()
        .await;
    let heard = plugins.process(told("nothing")).await;
    assert_eq!(data(&heard, "listens").next().unwrap()["heard"], "transcript.final");
    assert!(greeted(&heard, "hello") && data(&heard, "moody").next().is_none());
    let accepted = event(Body::JobAccepted(JobAccepted { route: "default".into() }));
    let heard = plugins.process(accepted).await;
    assert_eq!(data(&heard, "listens").next().unwrap()["heard"], "job.accepted");
    assert_eq!(heard.emitted.len(), 1, "hello wants finals only");

    let mut observations = plugins.pipeline().observations().unwrap();
    plugins.pipeline().observe(partial(1, "good"));
    let observation = observations.recv().await.unwrap();
    let Body::Plugin(said) = observation.body else { panic!("{observation:?}") };
    assert_eq!(
        (said.data["heard"].as_str(), said.data["count"].as_u64()),
        (Some("transcript.partial"), Some(3))
    );
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partials_never_wait_and_finals_are_not_lost_behind_them() {
    let plugins = Plugins::new().c("listens").start().await;
    let began = Instant::now();
    for revision in 0..20_000 {
        plugins.pipeline().observe(partial(revision, "and so on"));
    }
    println!("20,000 partials were shown in {:?}", began.elapsed());
    let heard = plugins.process(told("nothing")).await;
    assert_eq!(data(&heard, "listens").next().unwrap()["heard"], "transcript.final");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_orderly_and_leaves_no_process() {
    let plugins = Plugins::new().c("moody").timeout(Duration::from_millis(300)).rust("hello").start().await;
    let pids: Vec<_> = plugins.statuses().into_iter().filter_map(|status| status.pid).collect();
    assert_eq!(pids.len(), 2);
    let began = Instant::now();
    plugins.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_microseconds() {
    let plugins = Plugins::new().rust("hello").start().await;
    let mut single = Vec::new();
    for _ in 0..2_000 {
        let began = Instant::now();
        plugins.process(told("nothing")).await;
        single.push(began.elapsed());
    }
    single.sort();
    let began = Instant::now();
    let events: Vec<_> = (0..5_000).map(|_| told("nothing")).collect();
    let made = began.elapsed();
    let began = Instant::now();
    futures::future::join_all(events.into_iter().map(|event| plugins.process(event))).await;
    let many = began.elapsed() / 5_000;
    println!(
        "one call: median {:?}, p99 {:?}; of 5,000 at once: {many:?} each ({made:?} to make them)",
        single[1_000], single[1_980]
    );
    assert!(single[1_000] < Duration::from_millis(20));
    plugins.stop().await;
}
