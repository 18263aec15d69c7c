use std::time::Duration;

use harkd::job::Consequence;
use harkd::recognize::Tries;

use crate::support::wav;
use crate::{Bench, flash, job, text_of};

#[derive(Debug, PartialEq)]
enum Leads {
    Heard,
    GiveUp,
    Retry,
    FreeRetry,
    Hold,
    Unknown,
}

/// Every fault of the stand-in, what it leads to, and whether the journal may show a charge.
#[tokio::test]
async fn every_fault_of_the_service_leads_where_the_contract_says() {
    let table = [
        ("throttle", Leads::FreeRetry),
        ("throttle,code=PostpaidBillOverdue", Leads::Hold),
        ("status,status=500,code=InternalError", Leads::Retry),
        ("status,status=503,html", Leads::Retry),
        ("status,status=502,html", Leads::Retry),
        ("status,status=504,html", Leads::Unknown),
        ("status,status=400,code=DataInspectionFailed", Leads::GiveUp),
        ("status,status=418,code=Teapot", Leads::GiveUp),
        ("status,status=404,code=ModelNotFound", Leads::Hold),
        ("status,status=404,html", Leads::Hold),
        ("arrearage", Leads::Hold),
        ("bad_key", Leads::Hold),
        ("drop_answer", Leads::Unknown),
        ("cut_answer,after_bytes=200", Leads::Unknown),
        ("stall,ms=60000,after_events=2", Leads::Unknown),
        ("split_bytes", Leads::Heard),
        ("garbage", Leads::Unknown),
        ("slow_tokens,ms=50", Leads::Heard),
        ("no_stop,after_events=3", Leads::Unknown),
        ("no_stop", Leads::Unknown),
        ("stream_error,after_events=2,status=500,code=InternalError", Leads::Unknown),
        ("stream_error,after_events=2,status=400,code=DataInspectionFailed", Leads::GiveUp),
        ("stream_error,status=429,code=Throttling.RateQuota", Leads::Unknown),
        ("stream_error,status=400,code=Arrearage", Leads::Unknown),
        ("stream_error,after_events=0,status=500,code=InternalError", Leads::Retry),
        ("stream_error,after_events=0,status=429,code=Throttling.RateQuota", Leads::FreeRetry),
        ("length", Leads::Heard),
        ("empty_text", Leads::Heard),
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
                Leads::Heard
            }
            Err(error) => {
                assert!(!error.fault.message.contains("unrecognized audio"), "a transcript in {error}");
                match error.into_failure(Tries::default()).consequence {
                    Consequence::GiveUp => Leads::GiveUp,
                    Consequence::Retry { counts: true, .. } => Leads::Retry,
                    Consequence::Retry { counts: false, .. } => Leads::FreeRetry,
                    Consequence::Hold { .. } => Leads::Hold,
                    Consequence::Unknown => Leads::Unknown,
                }
            }
        };
        assert_eq!(leads, expected, "{fault}");
        let requests = bench.entries("flash");
        assert_eq!(requests.len(), 1, "{fault}: nothing is resent by itself");
        let charged = requests.iter().any(|request| !request["charged_seconds"].is_null());
        if charged {
            assert!(
                matches!(
                    leads,
                    Leads::Heard | Leads::Unknown | Leads::Retry | Leads::GiveUp | Leads::FreeRetry
                ),
                "{fault}"
            );
        }
        if matches!(leads, Leads::Hold) {
            assert!(!charged, "{fault}");
        }
    }
}

#[tokio::test]
async fn what_was_heard_of_the_bill_before_a_failure_is_told() {
    let bench =
        Bench::start(&["--fault", "stream_error,after_events=2,status=400,code=DataInspectionFailed"]).await;
    let (outcome, heard) = bench.flash(&job(bench.folder.path(), "a.wav", &wav(5.0, 7))).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.fault.code, "DataInspectionFailed");
    assert_eq!(heard.texts.len(), 2);
    assert!(error.billed_seconds > 0, "usage stood in the events before");
}

#[tokio::test]
async fn a_hint_of_429_holds_the_whole_queue_of_the_model() {
    let bench = Bench::start(&["--fault", "throttle,on=flash,next=1,retry_after=1"]).await;
    let first = job(bench.folder.path(), "a.wav", &wav(1.0, 8));
    let (outcome, _) = bench.flash(&first).await;
    let consequence = outcome.unwrap_err().into_failure(Tries::default()).consequence;
    let Consequence::Retry { after, counts: false } = consequence else { panic!("{consequence:?}") };
    assert!(after <= Duration::from_secs(1) && after > Duration::from_millis(900), "{after:?}");
    let begin = std::time::Instant::now();
    let second = job(bench.folder.path(), "b.wav", &wav(1.0, 9));
    bench.flash(&second).await.0.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(900), "the second waited for the first one's hold");
}

#[tokio::test]
async fn requests_are_spread_as_configured() {
    let bench = Bench::start(&[]).await;
    let recognizer = crate::recognizer(bench.service.api(), 600);
    let begin = std::time::Instant::now();
    let jobs: Vec<_> =
        (0..6).map(|seed| job(bench.folder.path(), &format!("{seed}.wav"), &wav(0.5, 20 + seed))).collect();
    let folder = bench.folder.path();
    let all = jobs.iter().map(|job| flash(&recognizer, job, folder, true));
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
    // Which of the two it is depends on how far the body had come.
    match outcome.unwrap_err().into_failure(Tries::default()).consequence {
        Consequence::Retry { counts: true, .. } | Consequence::Unknown => {}
        other => panic!("{other:?}"),
    }
}
