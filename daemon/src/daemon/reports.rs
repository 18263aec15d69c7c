//! What the daemon reports about itself: to the service manager, to `/readyz`, to `/metrics`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::DaemonError;
use super::budget_gauges::BudgetGauges;
use super::sources::{STARTING, Watched, Watching};
use crate::api::health::{Health, Missing, Part};
use crate::broker::JetStream;
use crate::config::Config;
use crate::job::Duty;
use crate::job::ledger::{Ledger, LedgerError, jobs, outbox, spend};
use crate::telemetry::metrics::Metrics;

/// How often the gauges are read from the ledger.
const GAUGES: Duration = Duration::from_secs(5);

/// How often the daemon checks the connection to the broker; a check costs nothing.
const CONNECTION: Duration = Duration::from_millis(500);

/// A connection without the right to receive answers is made anew after this long: the operator may have granted the right.
const ANEW: Duration = Duration::from_secs(10);

/// Notifies the service manager, and cancels `started`, when every source watches or has reported what it waits for; and keeps `/readyz` up
/// to date. The sources change with the config.
pub(super) async fn tell_ready(
    mut watching: watch::Receiver<Watching>,
    started: CancellationToken,
    health: Health,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut sources = watching.borrow_and_update().clone();
    loop {
        let states: Vec<Result<(), String>> = sources
            .iter_mut()
            .map(|(name, Watched { state, switch })| {
                let state = state.borrow_and_update().clone();
                state.or_else(
                    |reason| if switch.is_paused() { Ok(()) } else { Err(format!("{name}: {reason}")) },
                )
            })
            .collect();
        let mut waiting: Vec<String> = states.into_iter().filter_map(Result::err).collect();
        // A source that a reload has added or changed makes the daemon unready only if it has something to say.
        let is_starting = |reason: &String| reason.ends_with(&format!(": {STARTING}"));
        if !started.is_cancelled() && !waiting.iter().any(is_starting) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            started.cancel();
            info!("started");
        }
        waiting.retain(|reason| !started.is_cancelled() || !is_starting(reason));
        health.set(Part::Sources, if waiting.is_empty() { Ok(()) } else { Err(waiting.join("; ")) });
        let mut changes: FuturesUnordered<_> = sources
            .values_mut()
            .map(async |Watched { state, switch }: &mut Watched| {
                let is_paused = switch.is_paused();
                tokio::select! {
                    _ = state.changed() => {}
                    () = switch.running(), if is_paused => {}
                    () = switch.paused(), if !is_paused => {}
                }
            })
            .collect();
        let others = tokio::select! {
            Some(_) = changes.next() => false,
            Ok(()) = watching.changed() => true,
            () = stop.cancelled() => return Ok(()),
        };
        drop(changes);
        if others {
            sources = watching.borrow_and_update().clone();
        }
    }
}

/// Keeps `/readyz` up to date about the broker: the result of the outbox's last publish, and whether the connection stands. With nothing to
/// publish the outbox has no new result. Logs what `/readyz` reports, when that changes.
pub(super) async fn tell_broker(
    mut state: watch::Receiver<Result<(), String>>,
    connection: JetStream,
    health: Health,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut readiness = Readiness { is_ready: false, was_ready: false, since: Instant::now() };
    loop {
        let heard = state.borrow_and_update().clone();
        let connected = match connection.is_connected() {
            true => Ok(()),
            false => Err(connection.no_connection()),
        };
        health.set(Part::Nats, connected.and(heard));
        if connection.refusals().unanswerable_for().is_some_and(|time| time > ANEW)
            && let Err(error) = connection.client().force_reconnect().await
        {
            debug!(%error, "the connection cannot be made anew");
        }
        readiness.look(&health);
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(CONNECTION) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// The readiness that the log reported last.
struct Readiness {
    is_ready: bool,
    was_ready: bool,
    since: Instant,
}

impl Readiness {
    fn look(&mut self, health: &Health) {
        let missing = health.missing();
        if self.is_ready == missing.is_empty() {
            return;
        }
        let seconds = self.since.elapsed().as_secs_f64();
        match missing.as_slice() {
            [] if self.was_ready => info!(outage_seconds = format!("{seconds:.1}"), "ready"),
            [] => info!(after_seconds = format!("{seconds:.1}"), "ready"),
            missing => {
                let reasons: Vec<String> = missing
                    .iter()
                    .map(|Missing { part, reason }| format!("{}: {reason}", part.as_str()))
                    .collect();
                warn!(reasons = reasons.join("; "), "not ready");
            }
        }
        self.is_ready = missing.is_empty();
        self.was_ready |= self.is_ready;
        self.since = Instant::now();
    }
}

/// Updates the gauges, the ledger's health and the service manager's watchdog, which is notified after each successful read of the ledger.
pub(super) async fn gauges(
    ledger: Ledger,
    metrics: Metrics,
    health: Health,
    config: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut room = ledger.room();
    let mut admission = ledger.admission();
    let mut budget = BudgetGauges::default();
    loop {
        let now = Timestamp::now();
        let (counts, rows, spent) = ledger
            .read(move |connection| {
                Ok((
                    jobs::count_by_duty(connection)?,
                    outbox::count(connection)?,
                    spend::since(connection, now)?,
                ))
            })
            .await?;
        for duty in Duty::ALL {
            let open = counts.iter().find(|(name, _)| name == duty.as_str()).map_or(0, |(_, count)| *count);
            metrics.job_open.with_label_values(&[duty.as_str()]).set(open);
        }
        metrics.publish_outbox_rows.set(rows);
        budget.show(&metrics, &config.borrow(), &spent);
        room.mark_unchanged();
        admission.mark_unchanged();
        health.set(Part::Ledger, ledger.takes_more());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        tokio::select! {
            () = tokio::time::sleep(GAUGES) => {}
            changed = room.changed() => if changed.is_err() { return Err(LedgerError::Closed.into()) },
            _ = admission.changed() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}
