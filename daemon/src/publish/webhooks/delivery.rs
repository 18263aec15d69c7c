//! The task of one webhook: waits for the lease, delivers while it holds it, and answers the operator all the while.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::event_reader::{EventReader, State};
use super::lease::{Candidate, Lease, Look};
use super::record::Record;
use super::request::{Receiver, Tested};
use super::schedule::RequestResult;
use super::session::{Session, SessionEnd};
use super::view::View;
use super::{Command, Handles, Refusal, Reply};
use crate::broker::large;
use crate::config::Webhook;
use crate::telemetry::OnceAMinute;

/// How long a daemon waits before it looks at a consumer anew.
const ANEW: Duration = Duration::from_millis(500);

/// One webhook of the config.
pub struct Delivery {
    pub handles: Arc<Handles>,
    pub webhook: Webhook,
    pub receiver: Arc<Receiver>,
    pub view: Arc<Mutex<View>>,
    pub commands: mpsc::Receiver<Command>,
    /// When this daemon began to deliver it.
    pub began: SystemTime,
    /// The webhook is changed or removed, or the daemon stops.
    pub stop: CancellationToken,
    /// The daemon stops.
    pub ends: CancellationToken,
    pub troubled: OnceAMinute,
    pub unreachable: OnceAMinute,
}

impl Delivery {
    /// Delivers until `stop`.
    pub async fn run(mut self) {
        while let Some(mut lease) = self.lease().await {
            self.view.lock().delivering = true;
            info!(
                webhook = self.webhook.name,
                receiver = self.receiver.origin(),
                "this daemon delivers the webhook"
            );
            let is_over = self.deliver(&mut lease).await;
            self.view.lock().delivering = false;
            if is_over {
                lease.release().await;
                return;
            }
            warn!(webhook = self.webhook.name, "another daemon delivers the webhook now");
        }
    }

    /// Waits for the lease. `None`: `stop` was cancelled.
    async fn lease(&mut self) -> Option<Lease> {
        let handles = Arc::clone(&self.handles);
        let length = handles.nats.ack_wait;
        let key = format!("{}.{}", handles.nats.events_stream, self.webhook.name);
        let mut candidate = Candidate::new(Arc::clone(&handles.bucket), key, handles.daemon, length);
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            match candidate.look().await {
                Ok(Look::Ours(lease)) => return Some(lease),
                Ok(Look::Others(record)) => self.show_lines(&record),
                Err(unconfirmed) => self.trouble(&unconfirmed.to_string()),
            }
            self.wait(length / 6, |_, command| command.refuse(Refusal::Elsewhere)).await;
        }
    }

    /// Delivers for as long as the lease lasts. `true`: `stop` was cancelled; `false`: another daemon has the lease.
    async fn deliver(&mut self, lease: &mut Lease) -> bool {
        loop {
            self.show_lines(&lease.record);
            let end = match lease.record.paused {
                Some(_) => self.pause(lease).await,
                None => match Session::open(self, lease).await {
                    Ok(session) => session.run().await,
                    Err(reason) => {
                        self.trouble(&reason);
                        SessionEnd::Anew(reason)
                    }
                },
            };
            match end {
                SessionEnd::Stop => return true,
                SessionEnd::Lost => return false,
                SessionEnd::Resumed => {}
                SessionEnd::Paused => {
                    let why = lease.record.paused.as_ref().map(|paused| paused.why.as_str());
                    let webhook = &self.webhook.name;
                    warn!(
                        webhook,
                        why,
                        "the webhook is paused and loses nothing; once its receiver takes events again, run harkd webhooks resume"
                    );
                }
                SessionEnd::Anew(reason) => {
                    debug!(webhook = self.webhook.name, reason, "the deliveries begin anew");
                    if self.stop.is_cancelled() {
                        return true;
                    }
                    let mut forgotten = None;
                    self.wait(ANEW, |delivery, command| match command {
                        Command::Test(answer) => delivery.test(answer),
                        // What is to be forgotten does not depend on the consumer, which may be out of reach for long.
                        Command::Forget(job, answer) => forgotten = Some((job, answer)),
                        command => command.refuse(Refusal::NotNow),
                    })
                    .await;
                    let forgotten = forgotten.map(|(job, answer)| (lease.record.forget(job), answer));
                    let stored = lease.store().await;
                    if let Some((events, answer)) = forgotten {
                        // The caller may have gone.
                        let _ = answer.send(if matches!(stored, Ok(true)) {
                            Ok(events)
                        } else {
                            Err(Refusal::NotNow)
                        });
                    }
                    match stored {
                        Ok(true) => {}
                        Ok(false) => return false,
                        Err(unconfirmed) => self.trouble(&unconfirmed.to_string()),
                    }
                }
            }
        }
    }

    /// Holds the lease until an operator resumes the webhook.
    async fn pause(&mut self, lease: &mut Lease) -> SessionEnd {
        let mut reader = None;
        loop {
            if self.stop.is_cancelled() {
                return SessionEnd::Stop;
            }
            if reader.is_none() {
                let handles = &self.handles;
                reader = EventReader::open(&handles.jetstream, &handles.nats, &self.webhook, self.began)
                    .await
                    .ok();
            }
            if let Some(open) = &reader {
                match open.state().await {
                    Ok(state) => {
                        self.look(&state, lease);
                        // No event is in memory during a pause: what was handed out before it and is not acknowledged waits at the server, too.
                        self.view.lock().pending += state.consumer.num_ack_pending as u64;
                    }
                    Err(_) => reader = None,
                }
            }
            let (mut resumed, mut retried, mut forgotten) = (None, None, None);
            self.wait(self.handles.nats.ack_wait / 3, |delivery, command| match command {
                Command::Test(answer) => delivery.test(answer),
                Command::Resume(answer) => resumed = Some(answer),
                Command::Retry(answer) => retried = Some(answer),
                Command::Forget(job, answer) => forgotten = Some((job, answer)),
            })
            .await;
            if resumed.is_some() {
                lease.record.resume(Timestamp::now());
            }
            let events = if retried.is_some() { lease.record.retry(Timestamp::now()) } else { 0 };
            let forgotten = forgotten.map(|(job, answer)| (lease.record.forget(job), answer));
            let stored = lease.store().await;
            let is_stored = matches!(stored, Ok(true));
            // The callers may have gone.
            if let Some(answer) = resumed {
                let _ = answer.send(if is_stored { Ok(true) } else { Err(Refusal::NotNow) });
            }
            if let Some(answer) = retried {
                let _ = answer.send(if is_stored { Ok(events) } else { Err(Refusal::NotNow) });
            }
            if let Some((events, answer)) = forgotten {
                let _ = answer.send(if is_stored { Ok(events) } else { Err(Refusal::NotNow) });
            }
            match stored {
                Ok(true) => {}
                Ok(false) => return SessionEnd::Lost,
                Err(unconfirmed) => self.trouble(&unconfirmed.to_string()),
            }
            if lease.record.paused.is_none() {
                info!(webhook = self.webhook.name, "an operator has resumed the webhook");
                return SessionEnd::Resumed;
            }
        }
    }

    /// Waits for so long, or for `stop`, or until a command was heard.
    async fn wait(&mut self, time: Duration, heard: impl FnOnce(&Delivery, Command)) {
        let stop = self.stop.clone();
        tokio::select! {
            Some(command) = self.commands.recv() => heard(self, command),
            () = tokio::time::sleep(time) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Sends a test event, and the outcome to the caller.
    pub fn test(&self, answer: Reply<Tested>) {
        let (receiver, webhook) = (Arc::clone(&self.receiver), self.webhook.name.clone());
        let daemon = self.handles.daemon;
        tokio::spawn(async move {
            // The caller may have gone.
            let _ = answer.send(Ok(receiver.test(&webhook, daemon).await));
        });
    }

    /// Records how far the stream and the consumer are, and reports events that the stream has removed before the consumer handed them out.
    pub fn look(&self, state: &State, lease: &mut Lease) {
        let delivered = state.consumer.delivered.stream_sequence;
        // A stream that was lost and made again counts from one.
        let reached =
            if lease.record.handed > state.last { delivered } else { delivered.max(lease.record.handed) };
        lease.record.handed = reached;
        if state.first > reached + 1 {
            let removed = state.first - 1 - reached;
            self.removed(
                removed,
                &format!("the events from {} to {} of the stream", reached + 1, state.first - 1),
            );
            lease.record.handed = state.first - 1;
        }
        if state.consumer.num_pending == 0 {
            lease.record.handed = lease.record.handed.max(state.last);
        }
        self.view.lock().pending = state.consumer.num_pending;
    }

    /// Says that the limits of the stream have removed events.
    pub fn removed(&self, events: u64, which: &str) {
        let webhook = &self.webhook.name;
        warn!(
            webhook,
            removed = which,
            stream = self.handles.nats.events_stream,
            "the limits of the stream have removed events; the webhook cannot send those that it had not sent yet; raise the limits"
        );
        self.count_removed(events);
    }

    /// Says that a final was sent whose segments were removed.
    pub fn lacked_segments(&self, job: Uuid) {
        warn!(
            webhook = self.webhook.name,
            %job,
            bucket = large::BUCKET,
            "a final was sent without its segments: their object is gone, with the bucket or by its limits"
        );
        self.count_removed(1);
    }

    fn count_removed(&self, events: u64) {
        self.handles.metrics.webhook_removed.with_label_values(&[&self.webhook.name]).inc_by(events);
        self.view.lock().removed += events;
    }

    /// Reports why deliveries wait for a reason other than the receiver.
    pub fn trouble(&self, reason: &str) {
        if self.troubled.is_time() {
            warn!(webhook = self.webhook.name, reason, "the webhook waits; trying again");
        }
    }

    /// Counts an answer, and says when a receiver stops or begins to take events.
    pub fn count(&self, answer: &RequestResult) {
        let webhook = &self.webhook.name;
        let outcome = match answer {
            RequestResult::Taken => "taken",
            RequestResult::Later(_) => "later",
            RequestResult::Refused(_) => "refused",
            RequestResult::Gone => "gone",
            RequestResult::Unsent(reason) => return self.trouble(reason),
        };
        self.handles.metrics.webhook_requests.with_label_values(&[webhook, outcome]).inc();
        let mut view = self.view.lock();
        let (now, answer) = (Timestamp::now(), super::deliveries::why(answer));
        if outcome == "taken" {
            view.last_taken = Some(now);
        } else {
            if let Some(times) = self.unreachable.count() {
                warn!(
                    webhook,
                    receiver = self.receiver.origin(),
                    answer,
                    times,
                    "the receiver does not take an event"
                );
            }
            view.last_failure = Some(super::view::Failure { at: now, answer });
        }
    }

    pub fn show_lines(&self, record: &Record) {
        let mut view = self.view.lock();
        view.follow(record);
        let webhook = &self.webhook.name;
        let metrics = &self.handles.metrics;
        metrics.webhook_paused.with_label_values(&[webhook]).set(i64::from(record.paused.is_some()));
        let aside = i64::try_from(view.set_aside.iter().map(|backlog| backlog.events).sum::<u64>())
            .unwrap_or(i64::MAX);
        metrics.webhook_set_aside.with_label_values(&[webhook]).set(aside);
        // So that its first removed event is an increase.
        metrics.webhook_removed.with_label_values(&[webhook]).inc_by(0);
    }

    pub fn show_waiting(&self, waiting: u64) {
        let mut view = self.view.lock();
        view.held = waiting;
        let backlog = i64::try_from(view.backlog()).unwrap_or(i64::MAX);
        self.handles.metrics.webhook_backlog.with_label_values(&[&self.webhook.name]).set(backlog);
    }
}
