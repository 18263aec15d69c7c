use std::collections::HashMap;
use std::time::Duration;

use hark_sdk::event::Timing;
use harkd::config::Priority;
use harkd::job::Fate;
use harkd::recognize::{Audio, Content, Error, Hints, Lost, Next, Polled, Request, Resolution, Sent, Tries};
use jiff::Timestamp;

use super::{Bench, FILETRANS, Leads, ReceivedEvent, job, leads, request, sha256, text_of};
use crate::support::{CEILING, wav};

impl Bench {
    async fn upload(&self, audio: &[u8], object: &str) -> String {
        let job = job(self.folder.path(), object, audio);
        let content = Content::of(&job, self.folder.path()).unwrap();
        self.filetrans.upload(FILETRANS, content, object).await.unwrap().url.reveal().to_owned()
    }

    async fn submit(&self, file_url: &str) -> Result<String, Error> {
        let hints = Hints { language: Some("en".into()), context: "terms".into(), hotwords: Vec::new() };
        let request = Request { hints: &hints, partials: false, ..request(FILETRANS, Audio::Url(file_url)) };
        let permit = self.filetrans.permit(Priority::Normal).await;
        match self.filetrans.send(permit, request, &mut ReceivedEvent::default()).await? {
            Sent::Accepted { handle } => Ok(handle),
            other => panic!("{other:?}"),
        }
    }

    async fn end_of(&self, task_id: &str) -> Polled {
        let begin = std::time::Instant::now();
        loop {
            match self.filetrans.poll(task_id).await {
                Ok(Polled::Open) => {}
                Ok(polled) => return polled,
                Err(error) => assert_ne!(error.next(Tries::default()), Next::Never, "{error}"),
            }
            assert!(begin.elapsed() < CEILING, "the task does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn reconcile(&self, object: &str, since: Timestamp) -> Result<Resolution, Error> {
        self.reconcile_beside(&HashMap::new(), object, since).await
    }

    async fn reconcile_beside(
        &self,
        known: &HashMap<String, Timestamp>,
        object: &str,
        since: Timestamp,
    ) -> Result<Resolution, Error> {
        let lost = Lost { model: FILETRANS, marker: object, since, until: None, known };
        self.filetrans.resolve(lost).await
    }

    /// Reads the list until it gives a decision.
    async fn listing(&self, object: &str, sent_at: Timestamp) -> Resolution {
        let begin = std::time::Instant::now();
        loop {
            let listing = self.reconcile(object, sent_at).await.unwrap();
            if listing != Resolution::Undecided {
                return listing;
            }
            assert!(begin.elapsed() < CEILING, "never decided");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_long_recording_goes_up_and_comes_back_with_times() {
    let bench = Bench::start(&[]).await;
    let audio = wav(400.0, 1);
    let url = bench.upload(&audio, "a.wav").await;
    let task_id = bench.submit(&url).await.unwrap();
    let Polled::Ready(ready) = bench.end_of(&task_id).await else { panic!("no result") };
    let seconds = ready.billed.seconds;
    let transcript = bench.filetrans.fetch(ready).await.unwrap();
    assert_eq!(transcript.text, text_of(&audio));
    assert_eq!(transcript.billed.seconds, seconds);
    assert!(seconds >= 399);
    assert!(!transcript.segments.is_empty());
    for segment in &transcript.segments {
        assert_eq!(segment.timing, Timing::Service);
        assert!(segment.begin_ms.unwrap() <= segment.end_ms.unwrap());
    }
    assert_eq!(bench.entries("submit")[0]["channels"], serde_json::json!([0]));
    assert_eq!(bench.entries("upload")[0]["sha256"], sha256(&audio));
}

#[tokio::test]
async fn every_end_of_a_task_is_told_apart() {
    let table = [
        ("task_failed,code=FILE_404_NOT_FOUND", "give up"),
        ("task_failed,code=FILE_SERVER_ERROR", "retry"),
        ("task_failed,code=InternalError.Timeout", "retry"),
        ("task_failed,code=SUCCESS_WITH_NO_VALID_FRAGMENT", "nothing said"),
        ("task_failed,code=ASR_RESPONSE_HAVE_NO_WORDS", "nothing said"),
        ("task_canceled", "give up"),
        ("task_unknown,on=submit", "unknown"),
    ];
    for (seed, (fault, expected)) in (10..).zip(table) {
        let bench = Bench::start(&["--fault", fault]).await;
        let url = bench.upload(&wav(1.0, seed), "a.wav").await;
        let task_id = bench.submit(&url).await.unwrap();
        let end = match bench.end_of(&task_id).await {
            Polled::Heard(transcript) => {
                assert!(transcript.text.is_empty());
                "nothing said"
            }
            Polled::Failed(error) => match leads(&error) {
                Leads::GiveUp => "give up",
                Leads::Retry => "retry",
                Leads::Unknown => "unknown",
                other => panic!("{fault}: {other:?}"),
            },
            other => panic!("{fault}: {other:?}"),
        };
        assert_eq!(end, expected, "{fault}");
    }
}

#[tokio::test]
async fn a_query_that_fails_proves_nothing_about_the_task() {
    let faults = [
        "status,on=query,next=2,status=503,html",
        "reset,on=query,skip=2,next=1",
        "garbage,on=query,skip=3,next=1",
    ];
    let flags: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let bench = Bench::start(&flags).await;
    let url = bench.upload(&wav(1.0, 20), "a.wav").await;
    let task_id = bench.submit(&url).await.unwrap();
    for _ in 0..4 {
        let error = bench.filetrans.poll(&task_id).await.unwrap_err();
        assert_ne!(error.next(Tries::default()), Next::Never, "{error}");
        assert!(error.raw.is_none(), "{error}");
    }
    assert!(matches!(bench.end_of(&task_id).await, Polled::Ready(_)));
    assert_eq!(bench.entries("submit").len(), 1);
}

#[tokio::test]
async fn a_result_that_is_gone_is_told_from_one_that_is_late() {
    let bench =
        Bench::start(&["--fault", "status,on=result,next=1,status=500", "--fault", "result_expired"]).await;
    let url = bench.upload(&wav(1.0, 21), "a.wav").await;
    let task_id = bench.submit(&url).await.unwrap();
    let Polled::Ready(ready) = bench.end_of(&task_id).await else { panic!("no result") };
    let late = bench.filetrans.fetch(ready.clone()).await.unwrap_err();
    assert_ne!(late.next(Tries::default()), Next::Never, "{late:?}");
    let gone = bench.filetrans.fetch(ready.clone()).await.unwrap_err();
    assert_eq!((gone.fault.code.as_str(), gone.fate), ("ResultGone", Fate::Taken));
    assert_eq!((gone.next(Tries::default()), gone.billed.seconds), (Next::Never, ready.billed.seconds));
    assert!(!gone.fault.message.contains("Signature"), "{gone}");
}

#[tokio::test]
async fn a_submit_whose_answer_was_lost_is_found_again_by_its_upload_and_by_nothing_else() {
    let bench = Bench::start(&["--fault", "drop_answer,on=submit,skip=1,next=1"]).await;
    let sent_at = Timestamp::now();
    let stranger = bench.upload(&wav(1.0, 30), "stranger.wav").await;
    bench.submit(&stranger).await.unwrap();
    let url = bench.upload(&wav(1.0, 31), "ours.wav").await;
    let error = bench.submit(&url).await.unwrap_err();
    assert_eq!((error.fate, leads(&error)), (Fate::Open, Leads::Unknown));
    let Resolution::Found { handle } = bench.listing("ours.wav", sent_at).await else { panic!("not found") };
    assert!(matches!(bench.end_of(&handle).await, Polled::Ready(_)));
    assert_eq!(bench.listing("nowhere.wav", sent_at).await, Resolution::Absent);
    assert_eq!(
        bench.listing("s.wav", sent_at).await,
        Resolution::Absent,
        "the end of a name is not the name"
    );
    assert_eq!(bench.entries("submit").len(), 2);
}

#[tokio::test]
async fn a_list_that_cannot_be_had_decides_nothing() {
    let bench = Bench::start(&[
        "--fault",
        "status,on=list,next=1,status=503",
        "--fault",
        "status,on=list,skip=1,status=404,html",
    ])
    .await;
    let now = Timestamp::now();
    let error = bench.reconcile("a.wav", now).await.unwrap_err();
    assert_ne!(error.next(Tries::default()), Next::Never);
    assert_eq!(bench.listing("a.wav", now).await, Resolution::Unknown, "a service without a list");
    let yesterday = now - jiff::SignedDuration::from_hours(24);
    assert_eq!(bench.listing("a.wav", yesterday).await, Resolution::Unknown);
}

#[tokio::test]
async fn a_task_that_still_runs_may_be_ours() {
    let bench = Bench::start(&["--fault", "task_stuck,on=submit,next=1"]).await;
    let url = bench.upload(&wav(1.0, 32), "a.wav").await;
    let task_id = bench.submit(&url).await.unwrap();
    let listing = bench.reconcile("b.wav", Timestamp::now()).await.unwrap();
    assert_eq!(listing, Resolution::Undecided);
    let others = HashMap::from([(task_id, Timestamp::now())]);
    let listing = bench.reconcile_beside(&others, "b.wav", Timestamp::now()).await.unwrap();
    assert_eq!(listing, Resolution::Absent, "the task of another recording is none to wait for");
}

#[tokio::test]
async fn a_list_without_a_task_that_is_known_proves_nothing() {
    let bench = Bench::start(&[]).await;
    let ago = |seconds: i64| Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
    let known = |made: Timestamp| HashMap::from([("another-accounts".to_owned(), made)]);
    let listing = async |known: &HashMap<String, Timestamp>, sent_at: Timestamp| {
        bench.reconcile_beside(known, "a.wav", sent_at).await.unwrap()
    };
    // The list may lag behind.
    assert_eq!(listing(&known(ago(10)), ago(20)).await, Resolution::Undecided);
    // After a while the list is known to be incomplete, and the result is unknown.
    assert_eq!(listing(&known(ago(10)), ago(60)).await, Resolution::Unknown);
    for made in [ago(1), ago(3600)] {
        let listing = listing(&known(made), ago(60)).await;
        assert_eq!(listing, Resolution::Absent, "one that need not be listed, or not yet");
    }
}
