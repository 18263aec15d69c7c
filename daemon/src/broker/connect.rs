//! The one way to a NATS connection: servers, credentials and TLS as the config says.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use percent_encoding::percent_decode_str;
use tracing::{info, warn};

use super::ServerRefusals;
use crate::config::{Nats, Secret};
use crate::telemetry::OnceAMinute;

/// Notices a server that stopped answering within half a minute; the client's own minute is long for a daemon.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Between two rounds over the servers at most; a server that comes back is found within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// While no server answers, every so many failed rounds say so again: with [`LONGEST_WAIT`], about once a minute.
const ROUNDS_BETWEEN_WARNINGS: u32 = 15;

/// What to do while no server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Fail (a command).
    Once,
    /// Return a client at once, which connects when it can and warns meanwhile (`harkd run`).
    Forever,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("nats.servers: {server:?} is not an address; write it as \"nats://host:4222\"")]
    Address { server: String },
    #[error("reading nats.{key} {}: {source}", path.display())]
    Secret { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("nats.user is set, nats.password_file is not; set both or neither")]
    Password,
    #[error("no NATS server at {servers}: {reason}; start one, or set nats.servers")]
    Unreachable { servers: String, reason: String },
}

impl ConnectError {
    /// Whether the config has to change; else a server is missing or refuses.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, ConnectError::Unreachable { .. })
    }
}

/// A connection, and what its server refuses.
#[derive(Debug, Clone)]
pub struct Connection {
    pub client: Client,
    pub refusals: ServerRefusals,
}

/// Connects as `[nats]` says. A connection that breaks later mends itself, for as long as the client lives; what happens to it is
/// logged.
///
/// # Errors
/// When an address or a secret's file cannot be read; with [`Patience::Once`] also when no server answers or lets us in.
pub async fn connect(nats: &Nats, patience: Patience) -> Result<Connection, ConnectError> {
    let refusals = ServerRefusals::default();
    let servers = addresses(&nats.servers)?;
    let names = names(&servers);
    let mut options = with_credentials(with_user_of(ConnectOptions::new(), &servers), nats)
        .await?
        .name("harkd")
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(wait_before_round)
        .event_callback(reporter(names.clone(), refusals.clone()));
    if patience == Patience::Forever {
        options = options.retry_on_initial_connect();
    }
    options
        .connect(servers)
        .await
        .map(|client| Connection { client, refusals })
        .map_err(|error| ConnectError::Unreachable { servers: names, reason: error.to_string() })
}

fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, ConnectError> {
    servers
        .iter()
        .map(|server| server.parse().map_err(|_| ConnectError::Address { server: without_user(server) }))
        .collect()
}

/// Hosts and ports, for people: an address may carry a password.
fn names(servers: &[ServerAddr]) -> String {
    let names: Vec<String> =
        servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
    names.join(", ")
}

fn without_user(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

/// What an address carries of a user; the client reads none of it. What the config's own keys say comes after it, and wins.
fn with_user_of(options: ConnectOptions, servers: &[ServerAddr]) -> ConnectOptions {
    match user_of(servers) {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    }
}

/// User and password of the first address that has them, or the token that stands alone.
fn user_of(servers: &[ServerAddr]) -> Option<(String, Option<String>)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    servers.iter().find_map(|server| Some((decoded(server.username()?), server.password().map(decoded))))
}

async fn with_credentials(mut options: ConnectOptions, nats: &Nats) -> Result<ConnectOptions, ConnectError> {
    if is_set(&nats.credentials_file) {
        options = options.credentials_file(&nats.credentials_file).await.map_err(|source| {
            ConnectError::Secret { key: "credentials_file", path: nats.credentials_file.clone(), source }
        })?;
    }
    if is_set(&nats.password_file) {
        let password = secret("password_file", &nats.password_file).await?;
        options = options.user_and_password(nats.user.clone(), password.reveal().to_owned());
    } else if !nats.user.is_empty() {
        return Err(ConnectError::Password);
    }
    if is_set(&nats.token_file) {
        options = options.token(secret("token_file", &nats.token_file).await?.reveal().to_owned());
    }
    if is_set(&nats.nkey_file) {
        options = options.nkey(secret("nkey_file", &nats.nkey_file).await?.reveal().to_owned());
    }
    if is_set(&nats.tls_ca) {
        options = options.add_root_certificates(nats.tls_ca.clone()).require_tls(true);
    }
    if is_set(&nats.tls_cert) {
        options =
            options.add_client_certificate(nats.tls_cert.clone(), nats.tls_key.clone()).require_tls(true);
    }
    Ok(options)
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

async fn secret(key: &'static str, path: &Path) -> Result<Secret, ConnectError> {
    let text = tokio::fs::read_to_string(path).await.map_err(|source| ConnectError::Secret {
        key,
        path: path.to_owned(),
        source,
    })?;
    Ok(Secret::new(&text))
}

/// 0 for the first try, then 100 ms doubling up to [`LONGEST_WAIT`].
fn wait_before_round(round: usize) -> Duration {
    if round <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(round - 2).unwrap_or(u32::MAX).min(10);
    Duration::from_millis(100 << doublings).min(LONGEST_WAIT)
}

/// Logs what happens to the connection. The client reports every failed round; a log wants the first, and a reminder.
fn reporter(
    servers: String,
    refusals: ServerRefusals,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let failed_rounds = Arc::new(AtomicU32::new(0));
    let refused = Mutex::new(HashMap::new());
    move |event| {
        match event {
            Event::Connected => {
                failed_rounds.store(0, Ordering::Relaxed);
                info!(%servers, "NATS connected");
            }
            Event::Disconnected => warn!(%servers, "NATS disconnected, reconnecting"),
            Event::ClientError(error) => {
                if failed_rounds.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROUNDS_BETWEEN_WARNINGS) {
                    warn!(%servers, %error, "NATS does not answer, trying on");
                }
            }
            Event::ServerError(error) => {
                let words = error.to_string();
                refusals.heard(&words);
                if let Some(times) = times_refused(&refused, &words) {
                    warn!(%servers, error = words, times, "NATS server refused something");
                }
            }
            Event::SlowConsumer(subscription) => {
                warn!(subscription, "messages from NATS arrive faster than they are read")
            }
            Event::LameDuckMode => info!(%servers, "NATS server is about to stop, moving to another"),
            Event::Draining | Event::Closed => info!(%servers, "NATS connection {event}"),
        }
        std::future::ready(())
    }
}

/// How often the server has refused this since that was said last; `None`: not yet time to say it again. What differs in the last token of
/// a subject, a job's id, is the same: partials come by the second.
fn times_refused(refused: &Mutex<HashMap<String, OnceAMinute>>, words: &str) -> Option<u64> {
    const KINDS: usize = 64;
    let kind = words.rsplit_once('.').map_or(words, |(kind, _)| kind);
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    // Subjects are not ours to bound.
    if refused.len() >= KINDS && !refused.contains_key(kind) {
        refused.clear();
    }
    refused.entry(kind.to_owned()).or_default().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_each_job_is_said_once() {
        let refused = Mutex::default();
        let of = |subject: &str| {
            times_refused(&refused, &format!("Permissions Violation for Publish to \"{subject}\""))
        };
        assert_eq!(of("hark.event.transcript.partial.calls.0192"), Some(1));
        assert_eq!(of("hark.event.transcript.partial.calls.0193"), None);
        assert_eq!(of("hark.event.job.accepted.calls.0192"), Some(1));
        for subject in 0..1_000 {
            assert_eq!(of(&format!("{subject}.x")), Some(1));
        }
        assert!(refused.lock().unwrap().len() <= 64);
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(without_user("nats://me:secret@host:4222"), "nats://host:4222");
        assert_eq!(without_user("me:secret@host"), "host");
        let servers = addresses(&["nats://me:secret@host:4223".to_owned()]).unwrap();
        assert_eq!(names(&servers), "host:4223");
    }

    #[test]
    fn waits_longer_from_round_to_round_up_to_a_limit() {
        assert_eq!(wait_before_round(1), Duration::ZERO);
        assert_eq!(wait_before_round(2), Duration::from_millis(100));
        assert_eq!(wait_before_round(4), Duration::from_millis(400));
        assert_eq!(wait_before_round(1_000_000), LONGEST_WAIT);
    }

    #[test]
    fn an_address_may_carry_a_user_or_a_token() {
        let of = |server: &str| user_of(&addresses(&["nats://a:1".to_owned(), server.to_owned()]).unwrap());
        assert_eq!(of("nats://me:se%40cret@host:4222"), Some(("me".into(), Some("se@cret".into()))));
        assert_eq!(of("nats://token@host:4222"), Some(("token".into(), None)));
        assert_eq!(of("nats://host:4222"), None);
    }

    #[tokio::test]
    async fn names_the_server_that_does_not_answer() {
        let nats = Nats { servers: vec!["nats://127.0.0.1:1".into()], ..Nats::default() };
        let error = connect(&nats, Patience::Once).await.unwrap_err();
        assert!(error.to_string().starts_with("no NATS server at 127.0.0.1:1: "), "{error}");
        assert!(!error.is_configuration());
    }

    #[tokio::test]
    async fn names_the_secret_file_that_is_missing() {
        let nats = Nats { token_file: "/nowhere/token".into(), ..Nats::default() };
        let error = connect(&nats, Patience::Once).await.unwrap_err();
        assert!(error.to_string().starts_with("reading nats.token_file /nowhere/token: "), "{error}");
        assert!(error.is_configuration());
    }
}
