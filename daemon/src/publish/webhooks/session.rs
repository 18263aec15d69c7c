//! Delivers one webhook for as long as this daemon holds its lease and nothing pauses it.
//!
//! A session begins by gathering what an earlier one was handed and did not acknowledge: until all of it is back, nothing is sent, because
//! the server hands out newer events meanwhile. A consumer counts its deliveries; one that is missing ends the session, and the next one
//! gathers it.

mod gather;
mod sending;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, AckKind};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use self::gather::{GATHERED, Gathering};
use self::sending::{FinishedRequest, RequestOutcome};
use super::deliveries::{BacklogStep, Deliveries, Effect, Event, why};
use super::delivery::Delivery;
use super::event_reader::{EventReader, Fed};
use super::lease::Lease;
use super::record::Paused;
use super::schedule::RequestResult;
use super::{Command, Refusal, Reply};
use crate::counted::counted;

/// How many jobs have a request under way at a time.
const AT_A_TIME: usize = 16;

/// How many acknowledged events are remembered, in case an acknowledgement is lost; more than may be unacknowledged at a time.
const REMEMBERED: usize = 2_048;

/// How long after a failed write of the record the next one is tried.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// How long a daemon that stops waits for answers.
const PARTING: Duration = Duration::from_secs(1);

/// Why a session ended.
pub enum SessionEnd {
    /// The daemon stops, or the webhook is changed or removed.
    Stop,
    /// The webhook is paused; the record has the reason.
    Paused,
    /// Of a pause: an operator has ended it.
    Resumed,
    /// Another daemon has the lease.
    Lost,
    /// The consumer has to be looked at anew.
    Anew(String),
}

/// What came of writing the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Yes,
    /// It is tried again.
    NotYet,
    /// Another daemon has the lease.
    Lost,
}

type HeldEvent = Event<jetstream::Message>;

pub struct Session<'a> {
    delivery: &'a mut Delivery,
    lease: &'a mut Lease,
    reader: EventReader,
    deliveries: Deliveries<jetstream::Message>,
    running: JoinSet<FinishedRequest>,
    /// The number of the next delivery of the consumer.
    expected: u64,
    gathering: Option<Gathering>,
    /// Stream sequences of acknowledged events.
    done: BTreeSet<u64>,
    paused: Option<Paused>,
    store_at: Instant,
}

impl<'a> Session<'a> {
    /// # Errors
    /// A sentence, when the server does not answer or refuses.
    pub async fn open(delivery: &'a mut Delivery, lease: &'a mut Lease) -> Result<Session<'a>, String> {
        let handles = &delivery.handles;
        let reader =
            EventReader::open(&handles.jetstream, &handles.nats, &delivery.webhook, delivery.began).await?;
        let state = reader.state().await?;
        let deliveries = Deliveries::new(handles.schedule.clone(), lease.record.backlogs.clone());
        let session = Session {
            expected: state.consumer.delivered.consumer_sequence + 1,
            gathering: (state.consumer.num_ack_pending > 0).then(|| Gathering::of(&state.consumer)),
            delivery,
            lease,
            reader,
            deliveries,
            running: JoinSet::new(),
            done: BTreeSet::new(),
            paused: None,
            store_at: Instant::now(),
        };
        session.delivery.look(&state, session.lease);
        Ok(session)
    }

    /// Delivers until it ends, and gives back what was not delivered.
    pub async fn run(mut self) -> SessionEnd {
        let end = self.pump().await;
        let grace = match end {
            SessionEnd::Stop if self.delivery.ends.is_cancelled() => PARTING,
            _ => self.delivery.handles.schedule.timeout,
        };
        let deadline = Instant::now() + grace;
        while let Ok(Some(answered)) = tokio::time::timeout_at(deadline, self.running.join_next()).await {
            self.answered(answered).await;
        }
        if !matches!(end, SessionEnd::Lost) {
            self.store().await;
        }
        self.reader.close().await;
        // In the order of the stream, in which the server hands them out again.
        let mut held: Vec<&HeldEvent> = self.deliveries.held().collect();
        held.extend(self.gathering.iter().flat_map(|gathering| gathering.events.values()));
        held.sort_by_key(|event| event.sequence);
        for event in held {
            answer_with(&event.message, AckKind::Nak(None)).await;
        }
        self.show();
        end
    }

    async fn pump(&mut self) -> SessionEnd {
        let mut ticks = interval(self.delivery.handles.nats.ack_wait / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            if self.deliveries.to_store().is_some()
                && Instant::now() >= self.store_at
                && self.store().await == Stored::Lost
            {
                return SessionEnd::Lost;
            }
            if self.paused.is_some() && self.running.is_empty() && self.deliveries.to_store().is_none() {
                return SessionEnd::Paused;
            }
            self.start();
            let room = match &self.gathering {
                _ if self.paused.is_some() => 0,
                Some(gathering) if gathering.eager => GATHERED,
                Some(_) => 0,
                None => self.deliveries.room(self.reader.largest()),
            };
            if let Err(reason) = self.reader.ask(room).await {
                return SessionEnd::Anew(reason);
            }
            self.show();
            let wake = self.wakes_at();
            tokio::select! {
                fed = self.reader.next() => match fed {
                    Fed::Event(message) => if let Err(reason) = self.fed(*message).await { return SessionEnd::Anew(reason) },
                    Fed::End => {}
                    Fed::Failed(reason) => return SessionEnd::Anew(reason),
                },
                Some(answered) = self.running.join_next() => self.answered(answered).await,
                _ = ticks.tick() => match self.tick().await {
                    Ok(Stored::Lost) => return SessionEnd::Lost,
                    Ok(_) => {}
                    Err(reason) => return SessionEnd::Anew(reason),
                },
                Some(command) = self.delivery.commands.recv() => if self.heard(command).await == Stored::Lost {
                    return SessionEnd::Lost;
                },
                () = sleep_until(wake) => {}
                () = self.delivery.stop.cancelled() => return SessionEnd::Stop,
            }
        }
    }

    fn may_send(&self) -> bool {
        self.gathering.is_none() && self.paused.is_none() && self.lease.is_fresh()
    }

    /// Starts requests, as many as may be under way.
    fn start(&mut self) {
        while self.may_send() && self.running.len() < AT_A_TIME {
            let Some(work) = self.deliveries.start(Timestamp::now()) else { return };
            let (receiver, reader) = (Arc::clone(&self.delivery.receiver), self.reader.reader.clone());
            self.running.spawn(async move { sending::send(&receiver, &reader, work).await });
        }
    }

    /// When a backlog is due, or the record is to be written again.
    fn wakes_at(&self) -> Instant {
        let mut wait = Duration::from_secs(3_600);
        if self.running.len() < AT_A_TIME
            && self.may_send()
            && let Some(due) = self.deliveries.next_due()
        {
            wait = wait.min(Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default());
        }
        let now = Instant::now();
        let wake = now + wait.max(Duration::from_millis(5));
        if self.deliveries.to_store().is_some() { wake.min(self.store_at.max(now)) } else { wake }
    }

    async fn answered(&mut self, sent: Result<FinishedRequest, tokio::task::JoinError>) {
        let now = Timestamp::now();
        let FinishedRequest { job, answered, lacks_segments } = match sent {
            Ok(sent) => sent,
            Err(error) => {
                // The job stays busy until the next session.
                warn!(webhook = self.delivery.webhook.name, %error, "a request ended without an answer");
                return;
            }
        };
        let (outcome, answer) = match answered {
            RequestOutcome::Held(answer) => (self.deliveries.held_answered(job, &answer, now), answer),
            RequestOutcome::Backlog(found) => {
                let answer = match &found {
                    BacklogStep::Event(_, answer) => answer.clone(),
                    BacklogStep::Nothing { .. } => RequestResult::Unsent("the stream has removed it".into()),
                    BacklogStep::Unknown(reason) => RequestResult::Unsent(reason.clone()),
                };
                (self.deliveries.line_answered(job, found, now), answer)
            }
        };
        self.delivery.count(&answer);
        if lacks_segments && answer == RequestResult::Taken {
            self.delivery.lacked_segments(job);
        }
        let Effect { taken, pause, set_aside, removed } = outcome;
        if let Some(event) = taken {
            self.acknowledge(&event).await;
        }
        if removed > 0 {
            self.delivery.removed(removed, &format!("{} of the job {job}", counted(removed, "event")));
        }
        if set_aside {
            let (webhook, answer) = (&self.delivery.webhook.name, why(&answer));
            warn!(webhook, %job, answer, "an event is set aside; send it again with harkd webhooks retry");
        }
        if let Some(why) = pause
            && self.paused.is_none()
        {
            self.paused = Some(Paused { at: now, why });
        }
    }

    async fn acknowledge(&mut self, event: &HeldEvent) {
        self.done.insert(event.sequence);
        if self.done.len() > REMEMBERED {
            self.done.pop_first();
        }
        answer_with(&event.message, AckKind::Ack).await;
    }

    /// Writes the record, and acknowledges the events that are in it now.
    async fn store(&mut self) -> Stored {
        self.lease.record.backlogs = self.deliveries.backlogs();
        self.lease.record.paused.clone_from(&self.paused);
        match self.lease.store().await {
            Ok(true) => {}
            Ok(false) => return Stored::Lost,
            Err(unconfirmed) => {
                self.store_at = Instant::now() + STORE_AGAIN;
                self.delivery.trouble(&unconfirmed.to_string());
                return Stored::NotYet;
            }
        }
        for event in self.deliveries.stored() {
            self.acknowledge(&event).await;
        }
        self.delivery.show_lines(&self.lease.record);
        Stored::Yes
    }

    /// Renews the lease and the deliveries in memory.
    ///
    /// # Errors
    /// Why the session has to begin anew.
    async fn tick(&mut self) -> Result<Stored, String> {
        let gathered = self.gathering.iter().flat_map(|gathering| gathering.events.values());
        for event in self.deliveries.held().chain(gathered) {
            answer_with(&event.message, AckKind::Progress).await;
        }
        let state = self.reader.state().await?;
        self.delivery.look(&state, self.lease);
        if let Some(gathering) = &mut self.gathering {
            gathering.eager = true;
            self.gather().await?;
        }
        Ok(self.store().await)
    }

    /// Carries an operator's request out. What it changes is in the record before it is answered: the next session, or another daemon, goes on
    /// with that.
    async fn heard(&mut self, command: Command) -> Stored {
        let now = Timestamp::now();
        match command {
            Command::Test(answer) => {
                self.delivery.test(answer);
                Stored::Yes
            }
            Command::Retry(answer) => {
                let events = self.deliveries.retry(now);
                info!(webhook = self.delivery.webhook.name, events, "what was set aside is sent again");
                self.store_and_answer(answer, events).await
            }
            Command::Resume(answer) => {
                // A pause that waits for the last requests.
                let was_paused = self.paused.take().is_some();
                self.deliveries.resume(now);
                self.store_and_answer(answer, was_paused).await
            }
            Command::Forget(job, answer) => {
                let events = self.deliveries.forget(job);
                self.store_and_answer(answer, events).await
            }
        }
    }

    async fn store_and_answer<T>(&mut self, answer: Reply<T>, outcome: T) -> Stored {
        let stored = self.store().await;
        // The caller may have gone.
        let _ = answer.send(if stored == Stored::Yes { Ok(outcome) } else { Err(Refusal::NotNow) });
        stored
    }

    fn show(&self) {
        self.delivery.show_waiting(self.deliveries.waiting());
    }
}

/// An acknowledgement that is lost makes the server deliver the event again.
async fn answer_with(message: &jetstream::Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        debug!(%error, subject = %message.subject, "an acknowledgement did not leave");
    }
}
