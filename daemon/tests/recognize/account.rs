use std::time::Duration;

use hark_sdk::event::Blame;
use harkd::config::Priority;
use harkd::config::{Dashscope, Secret, Storage};
use harkd::recognize::{Content, Timeouts};
use harkd::telemetry::metrics::Metrics;

use super::{FILETRANS, Leads, both, built, flash, job, leads};
use crate::support::{Emulator, wav};

#[tokio::test]
async fn a_bad_key_holds_the_queue_until_its_file_has_a_good_one() {
    let service = Emulator::start(&["--api-key", "sk-good-0123456789"]).await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, "sk-bad-0123456789\n").unwrap();
    let metrics = Metrics::new();
    let config = Dashscope {
        base_url: service.api().into(),
        requests_per_minute: 0,
        api_key_file: key_file.clone(),
        ..Dashscope::default()
    };
    let key = Secret::new("sk-bad-0123456789");
    let built = built(config, Storage::default(), key, &metrics, Timeouts::default());
    let [recognizer, _] = both(&built);
    let held = || metrics.recognize_held.with_label_values(&["flash"]).get();

    let (a, b) = (job(folder.path(), "a.wav", &wav(1.0, 1)), job(folder.path(), "b.wav", &wav(1.0, 2)));
    let (first, second) = tokio::join!(
        flash(&*recognizer, &a, folder.path(), true),
        flash(&*recognizer, &b, folder.path(), true)
    );
    let mut announced = 0;
    for (outcome, _) in [first, second] {
        let error = outcome.unwrap_err();
        assert_eq!((error.fault.code.as_str(), error.fault.blame), ("InvalidApiKey", Blame::Account));
        assert!(!error.fault.message.contains("0123456789"), "{}", error.fault.message);
        let Leads::Hold { announce } = leads(&error) else { panic!("not held") };
        announced += u32::from(announce);
    }
    assert_eq!(announced, 1, "it is said once");
    assert_eq!(held(), 1);

    // No permit is given while the queue is held; the next request is the probe, and reads the key file again.
    let waited = tokio::time::timeout(Duration::from_millis(500), recognizer.permit(Priority::Normal)).await;
    assert!(waited.is_err(), "a permit of a closed queue");
    std::fs::write(&key_file, "sk-good-0123456789\n").unwrap();
    let (outcome, _) = flash(&*recognizer, &a, folder.path(), true).await;
    outcome.unwrap();
    assert_eq!(held(), 0);
    let (outcome, _) = flash(&*recognizer, &b, folder.path(), true).await;
    outcome.unwrap();
}

#[tokio::test]
async fn an_address_that_the_service_does_not_have_holds_the_queues_and_is_named() {
    let service = Emulator::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let [recognizer, filetrans] =
        super::recognizers(&service.api().replace("/api/v1", "/compatible-mode/v1"), 0);
    let job = job(folder.path(), "a.wav", &wav(1.0, 4));
    let flash = flash(&*recognizer, &job, folder.path(), true).await.0.unwrap_err();
    let upload =
        filetrans.upload(FILETRANS, Content::of(&job, folder.path()).unwrap(), "one.wav").await.unwrap_err();
    for error in [flash, upload] {
        assert_eq!((error.fault.code.as_str(), error.fault.blame), ("NotFound", Blame::Hark));
        assert!(error.fault.message.contains("dashscope.base_url"), "{}", error.fault.message);
        assert_eq!(leads(&error), Leads::Hold { announce: true });
    }
}

#[tokio::test]
async fn an_upload_with_a_bad_key_holds_filetrans_and_not_flash() {
    let service = Emulator::start(&["--fault", "bad_key,on=policy,next=1"]).await;
    let folder = tempfile::tempdir().unwrap();
    let [recognizer, filetrans] = super::recognizers(service.api(), 0);
    let job = job(folder.path(), "a.wav", &wav(1.0, 3));
    let content = || Content::of(&job, folder.path()).unwrap();
    let error = filetrans.upload(FILETRANS, content(), "one.wav").await.unwrap_err();
    assert_eq!(leads(&error), Leads::Hold { announce: true });
    flash(&*recognizer, &job, folder.path(), true).await.0.unwrap();
    // The next upload waits until a probe is due, and is the probe.
    let begin = std::time::Instant::now();
    filetrans.upload(FILETRANS, content(), "two.wav").await.unwrap();
    assert!(begin.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn a_daemon_that_only_polls_tasks_finds_the_new_key_and_opens_what_the_old_one_closed() {
    let service = Emulator::start(&["--api-key", "sk-good-0123456789", "--task-delay", "10s"]).await;
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, "sk-good-0123456789\n").unwrap();
    let metrics = Metrics::new();
    let config = Dashscope {
        base_url: service.api().into(),
        requests_per_minute: 0,
        api_key_file: key_file,
        ..Dashscope::default()
    };
    let key = Secret::new("sk-old-0123456789");
    let built = built(config, Storage::default(), key, &metrics, Timeouts::default());
    let [_, recognizer] = both(&built);
    let held = || metrics.recognize_held.with_label_values(&["filetrans"]).get();

    let refused = recognizer.poll("a-task").await.unwrap_err();
    assert_eq!((refused.fault.code.as_str(), held()), ("InvalidApiKey", 1));
    assert_eq!(leads(&refused), Leads::Hold { announce: true });
    recognizer.poll("a-task").await.unwrap();
    assert_eq!(held(), 0, "no submit was needed to find out");
}
