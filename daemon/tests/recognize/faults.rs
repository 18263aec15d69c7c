use std::time::Duration;

use harkd::recognize::{Next, Tries};

use super::{Bench, Leads, flash, job, leads, text_of};
use crate::support::wav;

/// Every fault of the emulator, and what the daemon does after it.
#[tokio::test]
async fn every_fault_of_the_service_leads_where_the_contract_says() {
    let table = [
        ("throttle", Some(Leads::FreeRetry)),
        ("throttle,code=PostpaidBillOverdue", Some(Leads::Hold { announce: true })),
        ("status,status=500,code=InternalError", Some(Leads::Retry)),
        ("status,status=503,html", Some(Leads::Retry)),
        ("status,status=502,html", Some(Leads::Retry)),
        ("status,status=504,html", Some(Leads::Unknown)),
        ("status,status=400,code=DataInspectionFailed", Some(Leads::GiveUp)),
        ("status,status=418,code=Teapot", Some(Leads::GiveUp)),
        ("status,status=404,code=ModelNotFound", Some(Leads::Hold { announce: true })),
        ("status,status=404,html", Some(Leads::Hold { announce: true })),
        ("arrearage", Some(Leads::Hold { announce: true })),
        ("bad_key", Some(Leads::Hold { announce: true })),
        ("drop_answer", Some(Leads::Unknown)),
        ("cut_answer,after_bytes=200", Some(Leads::Unknown)),
        ("stall,ms=60000,after_events=2", Some(Leads::Unknown)),
        ("split_bytes", None),
        ("garbage", Some(Leads::Unknown)),
        ("slow_tokens,ms=50", None),
        ("no_stop,after_events=3", Some(Leads::Unknown)),
        ("no_stop", Some(Leads::Unknown)),
        ("stream_error,after_events=2,status=500,code=InternalError", Some(Leads::Unknown)),
        ("stream_error,after_events=2,status=400,code=DataInspectionFailed", Some(Leads::GiveUp)),
        ("stream_error,status=429,code=Throttling.RateQuota", Some(Leads::Unknown)),
        ("stream_error,status=400,code=Arrearage", Some(Leads::Unknown)),
        ("stream_error,after_events=0,status=500,code=InternalError", Some(Leads::Retry)),
        ("stream_error,after_events=0,status=429,code=Throttling.RateQuota", Some(Leads::FreeRetry)),
        ("length", None),
        ("empty_text", None),
    ];
    for (seed, (fault, expected)) in (100..).zip(table) {
        let bench = Bench::start(&["--fault", &format!("{fault},on=flash,next=1")]).await;
        let audio = wav(1.0, seed);
        let (outcome, _) = bench.flash(&job(bench.folder.path(), "a.wav", &audio)).await;
        let leads = match outcome {
            Ok(transcript) => {
                match fault {
                    "length" => assert!(transcript.truncated && !transcript.text.is_empty()),
                    "empty_text" => assert!(transcript.text.is_empty() && transcript.segments.is_empty()),
                    _ => assert_eq!(transcript.text, text_of(&audio), "{fault}"),
                }
                None
            }
            Err(error) => {
                assert!(!error.fault.message.contains("unrecognized audio"), "a transcript in {error}");
                Some(leads(&error))
            }
        };
        assert_eq!(leads, expected, "{fault}");
        let requests = bench.entries("flash");
        assert_eq!(requests.len(), 1, "{fault}: nothing is resent by itself");
        let charged = requests.iter().any(|request| !request["charged_seconds"].is_null());
        if matches!(leads, Some(Leads::Hold { .. })) {
            assert!(!charged, "{fault}");
        }
    }
}

#[tokio::test]
async fn usage_received_before_a_failure_is_reported() {
    let bench =
        Bench::start(&["--fault", "stream_error,after_events=2,status=400,code=DataInspectionFailed"]).await;
    let (outcome, heard) = bench.flash(&job(bench.folder.path(), "a.wav", &wav(5.0, 7))).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.fault.code, "DataInspectionFailed");
    assert_eq!(heard.texts.len(), 2);
    assert!(error.billed.seconds > 0, "the earlier events carried usage");
}

#[tokio::test]
async fn a_hint_of_429_holds_the_whole_queue_of_the_model() {
    let bench = Bench::start(&["--fault", "throttle,on=flash,next=1,retry_after=1"]).await;
    let first = job(bench.folder.path(), "a.wav", &wav(1.0, 8));
    let (outcome, _) = bench.flash(&first).await;
    let next = outcome.unwrap_err().next(Tries::default());
    let Next::After { wait: after, counts: false } = next else { panic!("{next:?}") };
    assert!(after <= Duration::from_secs(1) && after > Duration::from_millis(900), "{after:?}");
    let begin = std::time::Instant::now();
    let second = job(bench.folder.path(), "b.wav", &wav(1.0, 9));
    bench.flash(&second).await.0.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(900), "the second waited for the first one's hold");
}

#[tokio::test]
async fn requests_are_spread_as_configured() {
    let bench = Bench::start(&[]).await;
    let [recognizer, _] = super::recognizers(bench.service.api(), 600);
    let begin = std::time::Instant::now();
    let jobs: Vec<_> =
        (0..6).map(|seed| job(bench.folder.path(), &format!("{seed}.wav"), &wav(0.5, 20 + seed))).collect();
    let folder = bench.folder.path();
    let all = jobs.iter().map(|job| flash(&*recognizer, job, folder, true));
    for (outcome, _) in futures::future::join_all(all).await {
        outcome.unwrap();
    }
    assert!(
        begin.elapsed() >= Duration::from_millis(500),
        "six requests at ten a second took {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_reset_before_the_whole_request_left_is_free_and_a_later_one_is_of_unknown_fate() {
    let bench = Bench::start(&["--fault", "reset,on=flash,next=1"]).await;
    let (outcome, _) = bench.flash(&job(bench.folder.path(), "a.wav", &wav(1.0, 40))).await;
    // Which of the two depends on how much of the body the emulator had read.
    let leads = leads(&outcome.unwrap_err());
    assert!(matches!(leads, Leads::Retry | Leads::Unknown), "{leads:?}");
}
