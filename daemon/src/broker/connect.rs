//! Opens every NATS connection: servers, credentials and TLS as in the config.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, Event, Server, ServerAddr};
use percent_encoding::percent_decode_str;
use tracing::{info, warn};

use super::{JetStream, ServerRefusals};
use crate::config::{Nats, Secret};

/// A server that stopped answering is noticed within half a minute; the client's default of a minute is long for a daemon.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// The longest wait between two rounds over the servers; a server that comes back is found within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// While no server answers, a warning is logged every so many failed rounds: with [`LONGEST_WAIT`], about once a minute.
const ROUNDS_BETWEEN_WARNINGS: u32 = 15;

/// What `connect` does while no server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Fail (a command).
    Once,
    /// Return a client at once, which connects when it can and logs warnings until then (`harkd run`).
    Forever,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("nats.servers: {server:?} is not an address; write it as \"nats://host:4222\"")]
    Address { server: String },
    #[error("reading nats.{key} {}: {source}", path.display())]
    Secret { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("no connection to NATS at {0}")]
    Server(String),
}

impl ConnectError {
    /// Whether the operator has to change the config; else a server is missing or refuses.
    pub fn is_configuration(&self) -> bool {
        !matches!(self, ConnectError::Server(_))
    }
}

/// Connects as `[nats]` configures it. A connection that breaks later is restored, for as long as the client lives; its events are logged.
///
/// # Errors
/// When an address or a secret's file cannot be read; with [`Patience::Once`] also when no server answers or accepts the connection.
pub async fn connect(nats: &Nats, patience: Patience) -> Result<JetStream, ConnectError> {
    let refusals = ServerRefusals::new(&nats.subject_prefix);
    let servers = addresses(&nats.servers)?;
    let names = names(&servers);
    let rounds = Rounds { servers: names.clone(), refusals: refusals.clone(), begun: AtomicU32::new(0) };
    let rounds = Arc::new(rounds);
    let mut options = with_credentials(&servers, nats)
        .await?
        .name("harkd")
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(wait_before_round)
        .reconnect_to_server_callback({
            let rounds = Arc::clone(&rounds);
            move |servers, _| {
                rounds.begins(&servers);
                // The client's own choice.
                std::future::ready(None)
            }
        })
        .event_callback(reporter(rounds));
    if patience == Patience::Forever {
        options = options.retry_on_initial_connect();
    }
    match options.connect(servers).await {
        Ok(client) => Ok(JetStream::new(client, refusals, nats.jetstream_domain.clone())),
        Err(error) => {
            let reason = server_text(&error.to_string());
            Err(ConnectError::Server(format!("{names}: {reason}; {}", remedy(&reason))))
        }
    }
}

/// What the operator does about a connection that fails for this reason.
fn remedy(reason: &str) -> &'static str {
    match reason.to_lowercase().contains("auth") {
        true => {
            "set nats.user and nats.password_file (or credentials_file, token_file, nkey_file) to the name and secret of a user that the server has"
        }
        // Without a semicolon, behind which a message has its remedy.
        false => {
            "see that nats-server runs there, or set nats.servers (to get one: docker run -d -p 127.0.0.1:4222:4222 -v nats:/data nats:2 -js -sd \
             /data, or see docs/nats.md)"
        }
    }
}

/// The server's own text, which the client changes to small letters and puts behind a text of its own.
fn server_text(error: &str) -> String {
    let error = error.strip_prefix("nats: ").unwrap_or(error);
    if error.contains("authorization violation") {
        "Authorization Violation".to_owned()
    } else {
        error.to_owned()
    }
}

fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, ConnectError> {
    servers
        .iter()
        .map(|server| server.parse().map_err(|_| ConnectError::Address { server: without_user(server) }))
        .collect()
}

/// Hosts and ports for messages: an address may contain a password.
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

/// User and password of the first address that has them, or the token that an address has in place of both.
fn user_of(servers: &[ServerAddr]) -> Option<(String, Option<String>)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    servers.iter().find_map(|server| Some((decoded(server.username()?), server.password().map(decoded))))
}

/// The user that an address contains, which the client ignores; the config's own keys win.
async fn with_credentials(servers: &[ServerAddr], nats: &Nats) -> Result<ConnectOptions, ConnectError> {
    let mut options = match user_of(servers) {
        Some((user, Some(password))) => ConnectOptions::new().user_and_password(user, password),
        Some((token, None)) => ConnectOptions::new().token(token),
        None => ConnectOptions::new(),
    };
    if is_set(&nats.credentials_file) {
        options = options.credentials_file(&nats.credentials_file).await.map_err(|source| {
            ConnectError::Secret { key: "credentials_file", path: nats.credentials_file.clone(), source }
        })?;
    }
    if is_set(&nats.password_file) {
        let password = secret("password_file", &nats.password_file).await?;
        options = options.user_and_password(nats.user.clone(), password.reveal().to_owned());
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

/// Rounds over the servers since the connection was lost.
struct Rounds {
    servers: String,
    refusals: ServerRefusals,
    begun: AtomicU32,
}

impl Rounds {
    /// The client calls this when a round begins, and reports nowhere else why the round before failed. The daemon logs the first failed
    /// round, and a reminder.
    fn begins(&self, tried: &[Server]) {
        let failed = self.begun.fetch_add(1, Ordering::Relaxed);
        if failed == 0 {
            return;
        }
        let mut reasons: Vec<String> =
            tried.iter().filter_map(|server| server.last_error.as_deref().map(server_text)).collect();
        reasons.dedup();
        let servers = &self.servers;
        // The client records no error for a host name without an address.
        let reason =
            if reasons.is_empty() { "the name has no address".to_owned() } else { reasons.join("; ") };
        let remedy = remedy(&reason);
        if (failed - 1).is_multiple_of(ROUNDS_BETWEEN_WARNINGS) {
            warn!(%servers, reason, remedy, "no connection to NATS; trying again");
        }
        self.refusals.failed(&format!("{servers}: {reason}; {remedy}"));
    }
}

/// Logs the events of the connection.
fn reporter(rounds: Arc<Rounds>) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    move |event| {
        let Rounds { servers, refusals, begun } = &*rounds;
        match event {
            Event::Connected => {
                begun.store(0, Ordering::Relaxed);
                refusals.connected();
                info!(%servers, "NATS connected");
            }
            Event::Disconnected => warn!(%servers, "NATS disconnected, reconnecting"),
            // The reason is logged before the next round.
            Event::ClientError(_) => {}
            Event::ServerError(error) => {
                if let Some((right, times)) = refusals.receive(&error.to_string()) {
                    warn!(%servers, %error, right, times, "NATS server refused something");
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(error.to_string().starts_with("no connection to NATS at 127.0.0.1:1: "), "{error}");
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
