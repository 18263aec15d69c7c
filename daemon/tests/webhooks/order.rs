//! What receivers answer, and what follows.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::stage::{WebhookStage, assert_in_order};
use crate::support::{CEILING, HookReply, wait_until};

#[tokio::test]
async fn later_events_of_a_job_wait_for_the_earlier_one_and_other_jobs_go_on() {
    let stage = WebhookStage::set().await;
    let (slow, quick) = (Uuid::now_v7(), Uuid::now_v7());
    let first = format!("{slow}:1");
    stage.receiver.rule(move |asked| (asked.id() == first).then(|| HookReply::status(503)));
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    stage.store_job(slow).await;
    stage.store_job(quick).await;
    stage.taken(3).await;
    assert!(stage.receiver.taken().iter().all(|id| id.starts_with(&quick.to_string())));
    let view = daemon.shows("the job that waits", |view| !view.waiting.is_empty() && view.backlog == 3).await;
    let waiting = &view.waiting[0];
    assert_eq!((waiting.job, waiting.source.as_str(), waiting.events), (slow, "calls", 3));
    assert_eq!(waiting.answer, "503 Service Unavailable");
    stage.receiver.take_all();
    stage.taken(6).await;
    assert_in_order(&stage.receiver.taken(), &[slow, quick], 3);
    daemon.shows("nothing to wait", |view| view.waiting.is_empty() && view.backlog == 0).await;
    daemon.stop().await;
}

#[tokio::test]
async fn each_answer_that_may_change_is_asked_for_again() {
    let stage = WebhookStage::set().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    let slow = HookReply::status(204).after(Duration::from_secs(2));
    stage.receiver.next([408, 425, 429, 500, 503].map(HookReply::status).into_iter().chain([slow]));
    let job = Uuid::now_v7();
    stage.store_job(job).await;
    wait_until("the end of the job", CEILING, async || stage.receiver.taken().contains(&format!("{job}:3")))
        .await;
    assert_in_order(&stage.receiver.taken(), &[job], 3);
    let first: Vec<_> =
        stage.receiver.asked().into_iter().filter(|asked| asked.id().ends_with(":1")).collect();
    assert!(first.len() >= 7, "five answers, one that came too late, and one in time: {}", first.len());
    assert!(first.iter().all(|asked| asked.bytes == first[0].bytes));
    daemon.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_down_or_answers_rubbish_gets_everything_later() {
    let mut stage = WebhookStage::set().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rubbish = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 100];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\x00\xff").await;
        }
    });
    let mut webhook = stage.webhook();
    webhook.url = format!("http://{address}/hook");
    let daemon = stage.daemon().await;
    daemon.webhooks.configure(&[webhook]).unwrap();
    let jobs: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for job in &jobs {
        stage.store_job(*job).await;
    }
    let failed = daemon.shows("the failure", |view| view.waiting.len() == 3).await.last_failure.unwrap();
    assert!(!failed.answer.contains("/hook"), "{failed:?}");
    // Now nothing listens at all.
    rubbish.abort();
    let _ = rubbish.await;
    daemon
        .shows("the next failure", |view| {
            view.last_failure.as_ref().is_some_and(|failure| failure.answer.contains("refused"))
        })
        .await;
    stage.receiver = crate::support::HookReceiver::start_at(address).await;
    stage.taken(9).await;
    assert_in_order(&stage.receiver.taken(), &jobs, 3);
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_refused_three_times_is_set_aside_with_its_job_until_it_is_retried() {
    let stage = WebhookStage::set().await;
    let (bad, good) = (Uuid::now_v7(), Uuid::now_v7());
    let of_bad = format!("{bad}:2");
    stage.receiver.rule(move |asked| (asked.id() == of_bad).then(|| HookReply::status(422)));
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    stage.store_job(bad).await;
    stage.store_job(good).await;
    let view = daemon.shows("what is set aside", |view| !view.set_aside.is_empty()).await;
    stage.taken(4).await;
    let aside = &view.set_aside[0];
    assert_eq!((aside.job, aside.tries, aside.due), (bad, 3, None));
    assert_eq!(aside.answer, "422 Unprocessable Entity");
    let tries = |id: &str| stage.receiver.asked().iter().filter(|asked| asked.id() == id).count();
    assert_eq!(tries(&format!("{bad}:2")), 3);
    // An event that comes later waits with its job, over a restart too.
    stage.store(bad, 4, "job.completed").await;
    daemon.shows("the later event", |view| view.set_aside[0].events == 3).await;
    assert!(daemon.metrics.page().contains("hark_webhook_set_aside_events{webhook=\"crm\"} 3"));
    daemon.stop().await;
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    daemon.shows("what is set aside", |view| view.set_aside.len() == 1).await;
    assert_eq!(tries(&format!("{bad}:2")), 3);

    stage.receiver.take_all();
    assert_eq!(daemon.webhooks.retry("crm").await, Ok(3));
    stage.taken(7).await;
    daemon.shows("nothing set aside", |view| view.set_aside.is_empty() && view.backlog == 0).await;
    let taken = stage.receiver.taken();
    let of_bad: Vec<&String> = taken.iter().filter(|id| id.starts_with(&bad.to_string())).collect();
    assert_eq!(of_bad, [1, 2, 3, 4].map(|sequence| format!("{bad}:{sequence}")).iter().collect::<Vec<_>>());
    daemon.stop().await;
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_not_followed() {
    let stage = WebhookStage::set().await;
    let elsewhere = crate::support::HookReceiver::start().await;
    let to = elsewhere.url();
    stage.receiver.rule(move |_| Some(HookReply::redirect(&to)));
    let daemon = stage.daemon().await;
    daemon.delivers().await;
    stage.store_job(Uuid::now_v7()).await;
    let view = daemon.shows("what is set aside", |view| !view.set_aside.is_empty()).await;
    assert_eq!(view.set_aside[0].answer, "307 Temporary Redirect");
    assert!(elsewhere.asked().is_empty());
    daemon.stop().await;
}
