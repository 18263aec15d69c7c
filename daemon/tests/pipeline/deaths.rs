//! A plugin that dies or hangs loses its own event and uses up only its own deadline.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use harkd::pipeline::PluginState;

use super::{error_of, greeted, number_from, spread, told};
use crate::plugins::{Plugins, data};

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_an_event_of_that_plugin_and_the_next_call_finds_a_new_process() {
    for (what, words) in [
        ("segfault", "its process ended (signal: 11 (SIGSEGV)"),
        ("abort", "signal: 6 (SIGABRT)"),
        ("exit", "its process ended (exit status: 3)"),
        ("overflow", "signal: 6 (SIGABRT)"),
        ("devour", "signal: 11 (SIGSEGV)"),
        ("fail", "it failed: beyond repair"),
        ("nonsense", "it failed: it gave no reason"),
    ] {
        let patient = Duration::from_secs(20);
        let mut back = Vec::new();
        // Two deaths per start: the third death would put the plugin into quarantine.
        for _ in 0..number_from("HARK_DEATHS").unwrap_or(1).div_ceil(2) {
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
async fn a_crash_in_a_queue_fails_only_the_event_that_caused_it() {
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
async fn three_deaths_are_a_quarantine_that_every_transcript_reports_and_a_new_library_ends() {
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
async fn a_hang_costs_one_deadline_and_the_waiting_events_are_processed() {
    let timeout = Duration::from_millis(300);
    for what in ["hang", "spin"] {
        let mut beyond = Vec::new();
        for _ in 0..number_from("HARK_DEATHS").unwrap_or(1) {
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
async fn a_plugin_that_always_hangs_delays_no_event_beyond_three_deadlines() {
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
async fn a_plugin_that_closes_its_socket_and_lives_on_has_no_more_time_than_one_that_is_silent() {
    let timeout = Duration::from_millis(100);
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let plugins = Plugins::new().c("moody").timeout(timeout).start().await;
        let began = Instant::now();
        let error = error_of(&plugins.process(told("close")).await, "moody");
        assert_eq!(error, "its process closed its socket but did not exit");
        quickest = quickest.min(began.elapsed());
        plugins.stop().await;
    }
    assert!(quickest >= timeout && quickest < 4 * timeout, "{quickest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_be_collected_is_not_waited_for() {
    let plugins = Plugins::new().c("moody").timeout(Duration::from_millis(100)).start().await;
    // A debugger is notified of the death first, and the process stays a zombie until the debugger has waited for it.
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
async fn threads_that_are_left_behind_take_no_core_for_longer_than_the_timeout() {
    let plugins = Plugins::new().c("spins").timeout(Duration::from_millis(500)).start().await;
    let before = plugins.status("spins").pid;
    assert!(greeted(&plugins.process(told("spin")).await, "spins"));
    let replaced = plugins.until("spins", |status| status.pid.is_some() && status.pid != before).await;
    assert_eq!(plugins.failures("spins", "cpu"), 1, "{replaced:?}");
    assert!(greeted(&plugins.process(told("nothing")).await, "spins"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_keep_coming_hide_no_thread_that_takes_a_core() {
    let plugins = Plugins::new().c("spins").timeout(Duration::from_millis(500)).start().await;
    assert!(greeted(&plugins.process(told("spin")).await, "spins"));
    let flow = async {
        while plugins.failures("spins", "cpu") == 0 {
            assert!(greeted(&plugins.process(told("nothing")).await, "spins"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), flow).await.unwrap();
    plugins.stop().await;
}
