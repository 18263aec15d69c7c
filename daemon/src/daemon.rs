//! Wires the modules in the order of the flow. `build` is the architecture read from top to bottom; `run` starts it and stops it from
//! the front: first no new recordings, then no new requests, then what is under way is finished, published and acknowledged.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::Event;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::audio::Workers;
use crate::config::{self, Config, Route, Source};
use crate::http::metrics::Metrics;
use crate::http::{self, Health, Part};
use crate::job::ledger::{Ledger, LedgerError, jobs, outbox, retention};
use crate::job::machine::{Fact, Policy};
use crate::job::{Duty, Job, State, lane};
use crate::os;
use crate::pipeline::{self, Pipeline};
use crate::publish::{self, ConnectError, Outbox, Outlet, Partials, Patience, Subjects};
use crate::recognize::Recognizer;
use crate::recognize::lanes::{self, Surroundings};
use crate::recognize::route::Offer;
use crate::source::directory::Directory;
use crate::source::nats::{self, Claims, Standing, StepIn, Subject};
use crate::source::url::AllowList;

/// From the signal to the last word. The unit's `TimeoutStopSec` is longer; what has not ended by then is named and left to the
/// next start, which finds it in the ledger.
const DRAIN: Duration = Duration::from_secs(10);

/// Recordings that are looked into at a time: the audio workers bound what that costs.
const PREPARING: usize = 8;

/// Uploads under way at a time; each streams from disk.
const UPLOADING: usize = 8;

/// Transcripts at the plugins at a time: enough to fill their queues.
const PIPING: usize = 64;

/// Sources told of the end of a job at a time.
const SETTLING: usize = 32;

/// How often the size of the state directory is looked at: sources can overshoot by what they take in this time.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// How often gauges look into the ledger.
const GAUGES: Duration = Duration::from_secs(5);

/// How often the connection to the broker is looked at; a look costs nothing.
const CONNECTION: Duration = Duration::from_millis(500);
const DISCONNECTED: &str = "the connection is lost, reconnecting; see that nats-server runs";

/// Why the daemon cannot start, or has ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The config, or what it names, has to change.
    #[error("{0}")]
    Config(String),
    /// A bug, a damaged file, a machine that does not do what machines do.
    #[error("{0}")]
    Software(String),
}

impl From<LedgerError> for DaemonError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Directory { .. } | LedgerError::InUse { .. } | LedgerError::Open { .. } => {
                DaemonError::Config(error.to_string())
            }
            _ => DaemonError::Software(error.to_string()),
        }
    }
}

/// Everything that is built and does not run yet.
pub struct Daemon {
    config: Config,
    metrics: Metrics,
    health: Health,
    listener: Option<TcpListener>,
    ledger: Ledger,
    claims: Claims,
    client: async_nats::Client,
    sources: Sources,
    recognition: Surroundings,
    pipeline: Arc<Pipeline>,
    outbox: Outbox,
    broker: watch::Receiver<Result<(), String>>,
    outlet: Outlet,
    policy: Policy,
}

/// The sources by name, for their end of a job.
#[derive(Clone, Default)]
struct Sources {
    directories: Arc<HashMap<String, Arc<Directory>>>,
    subjects: Arc<HashMap<String, Arc<Subject>>>,
}

impl Daemon {
    /// Opens, binds, loads and connects, in the order of the flow; no work is started. NATS may be away: it is waited for later.
    ///
    /// # Errors
    /// What the operator has to change, or a machine that cannot run Hark.
    pub async fn build(config: Config, config_file: &Path) -> Result<Daemon, DaemonError> {
        let configuration = |error: &dyn std::fmt::Display| DaemonError::Config(error.to_string());
        // Before the key is read: children of the same user could find it in our memory.
        if let Err(error) = os::keep_memory_private() {
            warn!(%error, "other processes of this user may read the daemon's memory");
        }
        os::raise_nofile_limit()
            .map_err(|error| warn!(%error, "the limit of open files stays as it is"))
            .ok();
        let metrics = Metrics::new();
        let health = Health::default();
        let listener = match config.http.listen.as_str() {
            "" => None,
            listen => Some(http::bind(listen).await.map_err(|error| configuration(&error))?),
        };
        let key = config.dashscope.api_key().map_err(DaemonError::Config)?;
        let policy = Policy {
            ambiguous_retries: config.dashscope.ambiguous_retries,
            price: config.price.of(config.dashscope.region),
        };

        // job
        let ledger = {
            let directory = config.state.directory.clone();
            tokio::task::spawn_blocking(move || Ledger::open(&directory))
                .await
                .map_err(|error| DaemonError::Software(error.to_string()))??
        };

        // source
        let client =
            publish::connect(&config.nats, Patience::Forever).await.map_err(|error| match error {
                ConnectError::Unreachable { .. } => DaemonError::Software(error.to_string()),
                _ => configuration(&error),
            })?;
        let claims = Claims::new(
            client.clone(),
            &config.nats,
            config.state.keep,
            ledger.clone(),
            &config.state.directory,
        )
        .await?;
        let tasks = Arc::new(Semaphore::new(config.dashscope.filetrans_concurrency));
        let sources = Sources::build(&config, &ledger, &claims, &client, &tasks, policy, &metrics)?;

        // recognize
        let (partials, outlet) = publish::partials(metrics.clone());
        let recognizer =
            Recognizer::new(&config.dashscope, key, config.dashscope.api_key_path(), metrics.clone())
                .map_err(|error| configuration(&error))?;
        let pipeline = Pipeline::start_in(
            &plugin_surroundings(&config, config_file),
            &config.plugin,
            &config.plugins,
            metrics.clone(),
        )
        .await;
        let pipeline = Arc::new(pipeline);
        let recognition = Surroundings {
            ledger: ledger.clone(),
            claims: claims.clone(),
            recognizer,
            workers: Workers::start(
                os::spawn::this_executable(),
                std::thread::available_parallelism().map_or(2, usize::from).min(4),
                metrics.clone(),
            ),
            state_directory: Arc::new(config.state.directory.clone()),
            routes: Arc::new(routes(&config)?),
            offer: Arc::new(Offer::of(&config.dashscope)),
            policy,
            tasks,
            on_partial: on_partial(&pipeline, partials),
            stop: CancellationToken::new(),
        };

        // publish
        let (ready, broker) = watch::channel(Err("not connected yet".to_owned()));
        let outbox = Outbox::new(
            ledger.clone(),
            claims.clone(),
            client.clone(),
            config.nats.clone(),
            policy,
            metrics.clone(),
            ready,
        );
        Ok(Daemon {
            config,
            metrics,
            health,
            listener,
            ledger,
            claims,
            client,
            sources,
            recognition,
            pipeline,
            outbox,
            broker,
            outlet,
            policy,
        })
    }
}

impl Daemon {
    /// Runs until `stop` resolves or an essential part ends; then drains, from the front.
    ///
    /// # Errors
    /// Why an essential part ended.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DaemonError> {
        self.recover().await?;
        let stages = Stages::default();
        let mut crew = Crew::default();
        let watching = self.start_sources(&mut crew, &stages);
        self.start_lanes(&mut crew, &stages);
        let listener = self.listener.take();
        self.start_http(listener, &mut crew, &stages);
        crew.essential(
            "housekeeping",
            housekeeping(self.ledger.clone(), self.config.state.clone(), stages.publish.clone()),
        );
        crew.essential(
            "gauges",
            gauges(self.ledger.clone(), self.metrics.clone(), self.health.clone(), stages.publish.clone()),
        );
        let subjects = Subjects::new(&self.config.nats.subject_prefix);
        let outlet = self.outlet.run(self.client.clone(), subjects, stages.publish.clone());
        crew.essential("partials", async {
            outlet.await;
            Ok(())
        });
        crew.essential(
            "broker",
            tell_broker(self.broker, self.client.clone(), self.health.clone(), stages.publish.clone()),
        );
        let (outbox, publish) = (self.outbox, stages.publish.clone());
        crew.essential("outbox", async move { Ok(outbox.run(publish).await?) });
        crew.essential("ready", tell_ready(watching, self.health.clone(), stages.sources.clone()));

        let outcome = tokio::select! {
            () = stop => {
                info!("stopping: no new recordings; what is under way is finished");
                Ok(())
            }
            failure = crew.first_failure() => Err(failure),
        };
        // The service manager is gone or absent: nothing to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let drained = tokio::time::timeout(DRAIN, drain(&stages, &mut crew, &self.ledger)).await;
        if drained.is_err() {
            warn!(unfinished = ?crew.names(), "not everything ended in time; the next start goes on with it");
            crew.abort();
        }
        // Whoever held it last is gone with the crew; a plugin that is still held by an aborted task dies with us.
        if let Ok(pipeline) = Arc::try_unwrap(self.pipeline) {
            let _ = tokio::time::timeout(Duration::from_secs(1), pipeline.stop()).await;
        }
        if let Err(error) = self.client.flush().await {
            warn!(%error, "the last words to NATS may be lost; they are in the outbox");
        }
        outcome
    }

    /// Nobody is at work on anything: requests that were under way are of unknown fate now.
    async fn recover(&self) -> Result<(), DaemonError> {
        let interrupted = self.ledger.read(jobs::interrupted).await?;
        // Before the sources start: what they spool has no job for a moment.
        nats::spool::sweep(&self.config.state.directory, &self.ledger).await?;
        for id in interrupted {
            warn!(job = %id, "a request was under way when the daemon ended");
            self.ledger.advance(id, Fact::Restarted, self.policy).await?;
        }
        Ok(())
    }

    fn start_sources(
        &self,
        crew: &mut Crew,
        stages: &Stages,
    ) -> Vec<(String, watch::Receiver<Result<(), String>>)> {
        let mut watching = Vec::new();
        let mut report = |name: &str| {
            let (sender, receiver) = watch::channel(Err("starting".to_owned()));
            watching.push((name.to_owned(), receiver));
            sender
        };
        for (name, directory) in self.sources.directories.iter() {
            let (directory, sender, stop) = (Arc::clone(directory), report(name), stages.sources.clone());
            crew.essential(&format!("source {name}"), async move {
                directory.run(sender, stop).await;
                Ok(())
            });
        }
        for (name, subject) in self.sources.subjects.iter() {
            let (subject, sender, stop) = (Arc::clone(subject), report(name), stages.sources.clone());
            let name = name.clone();
            crew.essential(&format!("source {name}"), async move {
                subject.run(sender, stop).await.map_err(|error| match error {
                    nats::SourceError::Ledger(error) => error.into(),
                    error => DaemonError::Config(format!("source {name}: {error}")),
                })
            });
        }
        watching
    }

    fn start_lanes(&self, crew: &mut Crew, stages: &Stages) {
        let around = Surroundings { stop: stages.requests.clone(), ..self.recognition.clone() };
        let width = self.config.dashscope.concurrency;
        let poll = self.config.dashscope.poll_interval;
        let ledger = &self.ledger;

        let prepare = around.clone();
        crew.lane(ledger, Duty::Prepare, PREPARING, &stages.requests, move |job| {
            lanes::prepare::prepare(job, prepare.clone())
        });
        let flash = around.clone();
        crew.lane(ledger, Duty::Flash, width, &stages.requests, move |job| {
            lanes::flash::flash(job, flash.clone())
        });
        let submit = around.clone();
        crew.lane(ledger, Duty::Submit, UPLOADING, &stages.requests, move |job| {
            lanes::submit::submit(job, submit.clone())
        });
        let reconcile = around.clone();
        crew.lane(ledger, Duty::Reconcile, 1, &stages.requests, move |job| {
            lanes::submit::reconcile(job, reconcile.clone())
        });
        crew.essential("follow", async move { Ok(lanes::follow::follow(around, poll).await?) });
        let (to_plugins, pipeline, policy) = (ledger.clone(), Arc::clone(&self.pipeline), self.policy);
        crew.lane(ledger, Duty::Pipe, PIPING, &stages.pipe, move |job| {
            pipeline::lane::pipe(job, to_plugins.clone(), Arc::clone(&pipeline), policy)
        });
        let (settled, sources, metrics) = (ledger.clone(), self.sources.clone(), self.metrics.clone());
        let claims = self.claims.clone();
        crew.lane(ledger, Duty::Settle, SETTLING, &stages.settle, move |job| {
            sources.clone().settle(job, settled.clone(), claims.clone(), policy, metrics.clone())
        });
    }

    fn start_http(&self, listener: Option<TcpListener>, crew: &mut Crew, stages: &Stages) {
        let Some(listener) = listener else { return };
        let (health, metrics, stop) = (self.health.clone(), self.metrics.clone(), stages.publish.clone());
        crew.essential("http", async move {
            http::serve(listener, health, metrics, stop.cancelled_owned())
                .await
                .map_err(|error| DaemonError::Software(format!("serving http: {error}")))
        });
    }
}

impl Sources {
    fn build(
        config: &Config,
        ledger: &Ledger,
        claims: &Claims,
        client: &async_nats::Client,
        tasks: &Arc<Semaphore>,
        policy: Policy,
        metrics: &Metrics,
    ) -> Result<Sources, DaemonError> {
        let mut directories = HashMap::new();
        let mut subjects = HashMap::new();
        let routes: Vec<String> = config.route.iter().map(|route| route.name.clone()).collect();
        for source in &config.source {
            match source {
                Source::Directory(source) => {
                    let directory = Directory::new(source.clone(), ledger.clone(), metrics.clone())
                        .map_err(|error| DaemonError::Config(format!("source {}: {error}", source.name)))?;
                    directories.insert(source.name.clone(), Arc::new(directory));
                }
                Source::Nats(source) => {
                    let around = nats::Surroundings {
                        nats: config.nats.clone(),
                        context: async_nats::jetstream::new(client.clone()),
                        ledger: ledger.clone(),
                        claims: claims.clone(),
                        step_in: step_in(publish::Fence::new(client.clone(), &config.nats)),
                        tasks: Arc::clone(tasks),
                        state_directory: config.state.directory.clone(),
                        routes: routes.clone(),
                        allow: AllowList::parse(&config.security.allow_urls).map_err(DaemonError::Config)?,
                        slots: 2 * config.dashscope.concurrency + config.dashscope.filetrans_concurrency,
                        policy,
                        metrics: metrics.clone(),
                    };
                    subjects.insert(source.name.clone(), Arc::new(Subject::new(source.clone(), around)));
                }
            }
        }
        Ok(Sources { directories: Arc::new(directories), subjects: Arc::new(subjects) })
    }

    /// Carries out `Duty::Settle`. A job of a source that is not configured any more is settled by forgetting it.
    async fn settle(
        self,
        job: Job,
        ledger: Ledger,
        claims: Claims,
        policy: Policy,
        metrics: Metrics,
    ) -> Result<(), LedgerError> {
        let State::Stored { failed, bad_input } = job.state else { return Ok(()) };
        if let Some(directory) = self.directories.get(&job.source)
            && let Err(error) = directory.settle(&job, failed).await
        {
            warn!(job = %job.id, %error, "the recording could not be put away; trying again");
            return ledger.postpone(job.id, jiff::Timestamp::now() + Duration::from_secs(10)).await;
        }
        match claims.write(&job).await {
            Ok(Standing::Ours) => {}
            // It will find the last event stored, and acknowledge.
            Ok(Standing::Lost) => return claims.let_go(job.id).await,
            Err(unconfirmed) => {
                warn!(job = %job.id, %unconfirmed, "the job is over and other daemons cannot be told; trying again");
                return ledger.postpone(job.id, jiff::Timestamp::now() + Duration::from_secs(2)).await;
            }
        }
        ledger.advance(job.id, Fact::Settled, policy).await?;
        // Acknowledged last: a crash in between finds the job settled and acknowledges at the next delivery.
        if let Some(subject) = self.subjects.get(&job.source) {
            subject.settle(job.id, bad_input).await;
        }
        metrics
            .job_ended
            .with_label_values(&[job.source.as_str(), if failed { "failed" } else { "completed" }])
            .inc();
        let elapsed = jiff::Timestamp::now().duration_since(job.accepted_at);
        metrics.job_elapsed_seconds.observe(elapsed.as_secs_f64());
        info!(job = %job.id, source = job.source, failed, "done");
        Ok(())
    }
}

/// How a source goes on with what another daemon had.
fn step_in(fence: publish::Fence) -> StepIn {
    Arc::new(move |job| Box::pin(fence.clone().step_in(job)))
}

/// A partial goes to the plugins that want it, and out, unless a transform has to see its text first.
fn on_partial(pipeline: &Arc<Pipeline>, partials: Partials) -> lanes::OnPartial {
    let pipeline = Arc::clone(pipeline);
    Arc::new(move |event: Event| {
        pipeline.observe(event.clone());
        if !pipeline.withholds_partials(&event.source) {
            partials.offer(event);
        }
    })
}

/// What is stopped together, from the front.
#[derive(Default)]
struct Stages {
    sources: CancellationToken,
    requests: CancellationToken,
    pipe: CancellationToken,
    publish: CancellationToken,
    settle: CancellationToken,
}

/// Named tasks. Each is essential: its end, by error or panic or otherwise, is the daemon's.
#[derive(Default)]
struct Crew {
    tasks: JoinSet<(String, Result<(), DaemonError>)>,
    names: HashMap<tokio::task::Id, String>,
}

impl Crew {
    fn essential(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<(), DaemonError>> + Send + 'static,
    ) {
        let named = name.to_owned();
        let handle = self.tasks.spawn(async move { (named, task.await) });
        self.names.insert(handle.id(), name.to_owned());
    }

    fn lane<W, F>(&mut self, ledger: &Ledger, duty: Duty, width: usize, stop: &CancellationToken, work: W)
    where
        W: Fn(Job) -> F + Send + 'static,
        F: Future<Output = lane::Worked> + Send + 'static,
    {
        let run = lane::run(ledger.clone(), duty, width, stop.clone(), work);
        self.essential(duty.as_str(), async { Ok(run.await?) });
    }

    /// Waits for the first part that fails. Parts that end well (`ready`, http switched off) are let go.
    async fn first_failure(&mut self) -> DaemonError {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(Ok((id, (_, Ok(()))))) => {
                    self.names.remove(&id);
                }
                Some(Ok((id, (name, Err(failure))))) => {
                    self.names.remove(&id);
                    error!(part = name, error = %failure, "an essential part has ended");
                    return failure;
                }
                Some(Err(panic)) => {
                    let name = self.names.remove(&panic.id()).unwrap_or_default();
                    return DaemonError::Software(format!("{name} panicked: {panic}"));
                }
                None => return DaemonError::Software("nothing is left to do".into()),
            }
        }
    }

    /// Waits until the named parts have ended.
    async fn wait_for(&mut self, names: &[&str]) {
        while self.names.values().any(|name| names.iter().any(|part| name.starts_with(part))) {
            let Some(ended) = self.tasks.join_next_with_id().await else { return };
            let id = match &ended {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            let name = self.names.remove(&id).unwrap_or_default();
            match ended {
                Ok((_, (_, Err(error)))) => warn!(part = name, %error, "ended badly"),
                Err(error) => warn!(part = name, %error, "ended badly"),
                Ok(_) => {}
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.names.values().map(String::as_str).collect()
    }

    fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

async fn drain(stages: &Stages, crew: &mut Crew, ledger: &Ledger) {
    stages.sources.cancel();
    crew.wait_for(&["source "]).await;
    stages.requests.cancel();
    crew.wait_for(&[
        Duty::Prepare.as_str(),
        Duty::Flash.as_str(),
        Duty::Submit.as_str(),
        Duty::Reconcile.as_str(),
        "follow",
    ])
    .await;
    until_nothing_is_due(ledger, Duty::Pipe).await;
    stages.pipe.cancel();
    crew.wait_for(&[Duty::Pipe.as_str()]).await;
    until_nothing_is_due(ledger, Duty::Publish).await;
    until_nothing_is_due(ledger, Duty::Settle).await;
    stages.settle.cancel();
    crew.wait_for(&[Duty::Settle.as_str()]).await;
    stages.publish.cancel();
    crew.wait_for(&[""]).await;
}

/// Jobs that came this far are carried to the end before the lane stops.
async fn until_nothing_is_due(ledger: &Ledger, duty: Duty) {
    loop {
        let due = ledger.read(move |connection| jobs::due(connection, duty, jiff::Timestamp::now(), 1)).await;
        match due {
            Ok(due) if !due.ids.is_empty() => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => return,
        }
    }
}

/// Tells the service manager when every source watches or has said what it waits for; and keeps `/readyz` informed.
async fn tell_ready(
    mut watching: Vec<(String, watch::Receiver<Result<(), String>>)>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut told = false;
    loop {
        let states: Vec<Result<(), String>> = watching
            .iter_mut()
            .map(|(name, state)| {
                state.borrow_and_update().clone().map_err(|reason| format!("{name}: {reason}"))
            })
            .collect();
        let waiting: Vec<String> = states.into_iter().filter_map(Result::err).collect();
        if !told && !waiting.iter().any(|reason| reason.ends_with(": starting")) {
            told = true;
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            info!("ready");
        }
        health.set(Part::Sources, if waiting.is_empty() { Ok(()) } else { Err(waiting.join("; ")) });
        if watching.is_empty() {
            return Ok(());
        }
        let changes = watching.iter_mut().map(|(_, state)| Box::pin(state.changed()));
        tokio::select! {
            _ = futures::future::select_all(changes) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Forgets what is old enough, and closes the door while the state directory is as large as it may be.
async fn housekeeping(
    ledger: Ledger,
    state: config::State,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    loop {
        let directory = state.directory.clone();
        let size = tokio::task::spawn_blocking(move || retention::size(&directory)).await.unwrap_or(0);
        ledger.admit(size < state.max_size);
        let before = jiff::Timestamp::now() - state.keep;
        while ledger.write(move |connection| retention::forget(connection, before)).await? > 0 {}
        tokio::select! {
            () = tokio::time::sleep(HOUSEKEEPING) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// What plugins may not read, besides the state directory: the config and every file of secrets that it names.
fn plugin_surroundings(config: &Config, config_file: &Path) -> pipeline::Surroundings {
    let mut around = pipeline::Surroundings::new(&config.state.directory);
    let nats = &config.nats;
    let secrets =
        [&nats.credentials_file, &nats.password_file, &nats.token_file, &nats.nkey_file, &nats.tls_key];
    around.hidden.extend(config.dashscope.api_key_path());
    around.hidden.push(config_file.to_owned());
    around.hidden.extend(secrets.into_iter().filter(|path| !path.as_os_str().is_empty()).cloned());
    around
}

/// The routes by name, the text of their context files read.
fn routes(config: &Config) -> Result<HashMap<String, Route>, DaemonError> {
    let with_context = |route: &Route| {
        let context = route.context_text().map_err(DaemonError::Config)?;
        Ok((route.name.clone(), Route { context, ..route.clone() }))
    };
    config.route.iter().map(with_context).collect()
}

/// Keeps `/readyz` informed of the broker: what the outbox last heard from it, and whether the connection stands. With nothing to
/// publish the outbox hears nothing.
async fn tell_broker(
    mut state: watch::Receiver<Result<(), String>>,
    client: async_nats::Client,
    health: Health,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    loop {
        let heard = state.borrow_and_update().clone();
        let is_connected = client.connection_state() == async_nats::connection::State::Connected;
        health.set(
            Part::Nats,
            heard.and_then(|()| is_connected.then_some(()).ok_or_else(|| DISCONNECTED.to_owned())),
        );
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(CONNECTION) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Keeps gauges, the ledger's health and the service manager's watchdog informed: a sign of life is a look into the ledger that worked.
async fn gauges(
    ledger: Ledger,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut room = ledger.room();
    loop {
        let (counts, rows) = ledger
            .read(|connection| Ok((jobs::count_by_duty(connection)?, outbox::count(connection)?)))
            .await?;
        for duty in Duty::ALL.iter().filter(|duty| **duty != Duty::Nothing) {
            let open = counts.iter().find(|(name, _)| name == duty.as_str()).map_or(0, |(_, count)| *count);
            metrics.job_open.with_label_values(&[duty.as_str()]).set(open);
        }
        metrics.publish_outbox_rows.set(rows);
        health.set(Part::Ledger, room.borrow_and_update().clone());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        tokio::select! {
            () = tokio::time::sleep(GAUGES) => {}
            changed = room.changed() => if changed.is_err() { return Err(LedgerError::Closed.into()) },
            () = stop.cancelled() => return Ok(()),
        }
    }
}
