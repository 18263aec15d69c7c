//! Every metric of the daemon, declared once. Labels come from closed sets (configured names, enums): never a path, subject or text.

use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

/// The handles; clones share the same values.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// 1, by version of harkd.
    pub build_info: IntGaugeVec,
    /// Readiness as `/readyz` reports it, by part (sources, nats, ledger).
    pub ready: IntGaugeVec,
    /// Reloads of the config, by outcome (applied, refused).
    pub config_reloads: IntCounterVec,
    /// When the config that is in force was read, in seconds since the epoch.
    pub config_loaded: IntGauge,
    /// Recordings taken into the ledger, by source.
    pub source_accepted: IntCounterVec,
    /// Files seen that are not ready yet (still growing, still open), by source.
    pub source_unsettled: IntGaugeVec,
    /// Times that a file could not be read, by source; it is tried again.
    pub source_unreadable: IntCounterVec,
    /// Times that a recording could not be moved or deleted when its job was over, by source; it is tried again.
    pub source_not_put_away: IntCounterVec,
    /// Jobs that ended, by source and outcome (completed, failed).
    pub job_ended: IntCounterVec,
    /// Jobs in the ledger that have not ended, by state.
    pub job_open: IntGaugeVec,
    /// Requests to the service, by engine and outcome (ok, refused, throttled, unsent, unknown).
    pub recognize_requests: IntCounterVec,
    /// Seconds of audio that the service charged, by engine.
    pub recognize_billed_seconds: IntCounterVec,
    /// Dollars that recognition cost, by source and model.
    pub cost_usd: CounterVec,
    /// Dollars that may be spent in a UTC day, by source, or `[daemon]` for all sources. No value if there is no limit.
    pub budget_usd: GaugeVec,
    /// Dollars of this budget that are spent or reserved today, with the same label.
    pub budget_spent_usd: GaugeVec,
    /// 1 while a model's queue is held (bad key, arrears, rights), by engine.
    pub recognize_held: IntGaugeVec,
    /// Tasks that may have ended half a day ago and whose result has not come.
    pub recognize_results_expiring: IntGauge,
    /// Results of tasks that are gone at the service.
    pub recognize_results_lost: IntCounter,
    /// Plugin state, by plugin and state: 1 for the one it is in (loading, running, failed, quarantined).
    pub plugin_state: IntGaugeVec,
    /// Events that a plugin received and failed on, by plugin and reason (error, crash, timeout, rubbish, folder), libraries that did not
    /// load (load), and processes that took a core without an event (cpu).
    pub plugin_failures: IntCounterVec,
    /// Child processes started, by plugin.
    pub plugin_starts: IntCounterVec,
    /// Child processes that parse audio, started.
    pub audio_worker_starts: IntCounter,
    /// Rows in the outbox: stored events that JetStream has not acknowledged.
    pub publish_outbox_rows: IntGauge,
    /// Events that JetStream has acknowledged.
    pub publish_stored: IntCounter,
    /// Partials published.
    pub publish_partials: IntCounter,
    /// Partials replaced by a newer one before they could leave.
    pub publish_partials_merged: IntCounter,
    /// 1 while a webhook is paused, by webhook; every daemon shows it.
    pub webhook_paused: IntGaugeVec,
    /// Requests to receivers of webhooks, by webhook and outcome (taken, later, refused, gone).
    pub webhook_requests: IntCounterVec,
    /// Events of jobs with an event that was set aside, by webhook.
    pub webhook_set_aside: IntGaugeVec,
    /// Events that the receiver has not taken yet, by webhook; the daemon that delivers it shows it.
    pub webhook_backlog: IntGaugeVec,
    /// Events that the stream has removed before they were sent, by webhook (an upper bound), and finals whose segments were removed.
    pub webhook_removed: IntCounterVec,
    /// Seconds from a recording's acceptance to its last event.
    pub job_elapsed_seconds: Histogram,
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| keep(&registry, IntCounter::new(name, help));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            keep(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str| keep(&registry, IntGauge::new(name, help));
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            keep(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let dollars = |name: &str, help: &str, label: &str| {
            keep(&registry, GaugeVec::new(Opts::new(name, help), &[label]))
        };
        // From a second to three hours in factors of three: a flash answer, a queue, a day's backlog.
        let elapsed =
            HistogramOpts::new("hark_job_elapsed_seconds", "Seconds from acceptance to the last event")
                .buckets(vec![0.3, 1.0, 3.0, 10.0, 30.0, 90.0, 300.0, 900.0, 2_700.0, 10_800.0]);
        let build_info = gauges("hark_build_info", "1 for the version of harkd that runs", &["version"]);
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Metrics {
            build_info,
            ready: gauges("hark_ready", "1 while this part is ready; else /readyz says why not", &["part"]),
            config_reloads: counters(
                "hark_config_reloads_total",
                "Reloads of the config; a refused one changes nothing",
                &["outcome"],
            ),
            config_loaded: gauge(
                "hark_config_loaded_timestamp_seconds",
                "When the config in force was read: at the start, or by the last reload that was applied",
            ),
            source_accepted: counters(
                "hark_source_accepted_total",
                "Recordings taken into the ledger",
                &["source"],
            ),
            source_unsettled: gauges(
                "hark_source_unsettled_files",
                "Files seen that are not ready yet",
                &["source"],
            ),
            source_unreadable: counters(
                "hark_source_unreadable_total",
                "Times that a file could not be read",
                &["source"],
            ),
            source_not_put_away: counters(
                "hark_source_not_put_away_total",
                "Times that a recording could not be moved or deleted when its job was over",
                &["source"],
            ),
            job_ended: counters("hark_job_ended_total", "Jobs that ended", &["source", "outcome"]),
            job_open: gauges(
                "hark_job_open",
                "What is owed to jobs and their pieces, by duty: prepare (probe and plan), send (a request), resolve (find a lost request), await \
                 (a task at the service), pipe (plugins), publish (the last event), settle (tell the source)",
                &["state"],
            ),
            recognize_requests: counters(
                "hark_recognize_requests_total",
                "Requests to the service",
                &["engine", "outcome"],
            ),
            recognize_billed_seconds: counters(
                "hark_recognize_billed_seconds_total",
                "Seconds of audio charged by the service",
                &["engine"],
            ),
            cost_usd: keep(
                &registry,
                CounterVec::new(
                    Opts::new("hark_cost_usd_total", "Dollars that recognition cost"),
                    &["source", "model"],
                ),
            ),
            budget_usd: dollars(
                "hark_budget_usd",
                "Dollars that may be spent in a UTC day, by source; source=\"[daemon]\": by all of them",
                "source",
            ),
            budget_spent_usd: dollars(
                "hark_budget_spent_usd",
                "Dollars of the budget that are spent or reserved since midnight (UTC)",
                "source",
            ),
            recognize_held: gauges(
                "hark_recognize_held",
                "1 while a recognizer's queue is held: key, arrears, rights or quota need a person, or the server is away",
                &["engine"],
            ),
            recognize_results_expiring: gauge(
                "hark_recognize_results_expiring",
                "Tasks whose result has not come for half a day; the service deletes it after one",
            ),
            recognize_results_lost: counter(
                "hark_recognize_results_lost_total",
                "Results of tasks that are gone at the service",
            ),
            plugin_state: gauges(
                "hark_plugin_state",
                "1 for the state that a plugin is in",
                &["plugin", "state"],
            ),
            plugin_failures: counters(
                "hark_plugin_failures_total",
                "Events that a plugin failed on",
                &["plugin", "reason"],
            ),
            plugin_starts: counters(
                "hark_plugin_starts_total",
                "Child processes started for a plugin",
                &["plugin"],
            ),
            audio_worker_starts: counter(
                "hark_audio_worker_starts_total",
                "Child processes started to parse audio",
            ),
            publish_outbox_rows: gauge(
                "hark_publish_outbox_rows",
                "Stored events that JetStream has not acknowledged",
            ),
            publish_stored: counter("hark_publish_stored_total", "Events acknowledged by JetStream"),
            publish_partials: counter("hark_publish_partials_total", "Partials published"),
            publish_partials_merged: counter(
                "hark_publish_partials_merged_total",
                "Partials replaced by a newer one before they left",
            ),
            webhook_paused: gauges("hark_webhook_paused", "1 while a webhook is paused", &["webhook"]),
            webhook_requests: counters(
                "hark_webhook_requests_total",
                "Requests to receivers of webhooks, by what was answered: taken (2xx), later (no answer, 408, 425, 429, 5xx), refused (3xx, 4xx), \
                 gone (410)",
                &["webhook", "outcome"],
            ),
            webhook_set_aside: gauges(
                "hark_webhook_set_aside_events",
                "Events of jobs of which one was refused three times; sent again by harkd webhooks retry",
                &["webhook"],
            ),
            webhook_backlog: gauges(
                "hark_webhook_backlog_events",
                "Events that the receiver has not taken yet",
                &["webhook"],
            ),
            webhook_removed: counters(
                "hark_webhook_removed_events_total",
                "Events that the limits of the stream have removed before they were sent (an upper bound), and finals that were sent without their segments because those were removed",
                &["webhook"],
            ),
            job_elapsed_seconds: keep(&registry, Histogram::with_opts(elapsed)),
            registry,
        }
    }

    /// Removes the gauges of a webhook that this daemon does not deliver any more.
    pub fn forget_webhook(&self, name: &str) {
        for gauge in [&self.webhook_paused, &self.webhook_set_aside, &self.webhook_backlog] {
            // A gauge that was never set for this webhook has no value to remove.
            let _ = gauge.remove_label_values(&[name]);
        }
    }

    /// The page in Prometheus' text format.
    pub fn page(&self) -> String {
        // Encoding into a String fails only on a metric family without metrics, which gather() leaves out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

#[allow(
    clippy::expect_used,
    reason = "names and labels are literals of this file; the golden test runs them all"
)]
fn keep<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("a valid metric");
    registry.register(Box::new(metric.clone())).expect("a metric of its own name");
    metric
}
