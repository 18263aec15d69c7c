//! NATS: the connection, the server, the user's rights; then what `streams` looks at.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::finding::{Finding, Level};
use super::streams;
use crate::broker::rights::Rights;
use crate::broker::{JetStream, Patience, Unanswered, connect};
use crate::config::{Config, http_client};

/// A server that answers takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a nats-server tells about itself, if it is told to (`-m 8222`).
const MONITORING: u16 = 8222;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let jetstream = match tokio::time::timeout(2 * PATIENCE, connect(&config.nats, Patience::Once)).await {
        Ok(Ok(jetstream)) => jetstream.within(PATIENCE),
        Ok(Err(error)) => {
            return vec![Finding::of_sentence(
                "nats",
                Level::Error,
                &error.to_string(),
                "correct the file, or the key of [nats] that names it",
            )];
        }
        Err(_) => {
            // Without the addresses, which may contain a password.
            let message = format!("no server of nats.servers answers within {} s", 2 * PATIENCE.as_secs());
            return vec![Finding::error(
                "nats",
                message,
                "see that nats-server runs there and no firewall is between, or set nats.servers",
            )];
        }
    };
    let mut findings = vec![server(&jetstream).await];
    if findings[0].remedy.is_some() {
        return findings;
    }
    findings.push(rights(config, &jetstream).await);
    findings.extend(synced(config, &jetstream).await);
    findings.extend(streams::examine(config, &jetstream).await);
    findings
}

async fn server(jetstream: &JetStream) -> Finding {
    let info = jetstream.client().server_info();
    if let Err(error) = jetstream.check_server() {
        return Finding::error("nats", error.to_string(), "install a newer nats-server");
    }
    match jetstream.account().await {
        Err(Unanswered::Refused(refused)) => Finding::of_sentence(
            "nats",
            Level::Error,
            &refused.to_string(),
            "see docs/nats.md for the rights that harkd needs",
        ),
        Err(Unanswered::NoAnswer(error)) => {
            Finding::error("nats", format!("JetStream does not answer: {error}"), jetstream.remedy())
        }
        Ok(_) => Finding::ok("nats", format!("nats-server {} with JetStream", info.version)),
    }
}

async fn rights(config: &Config, jetstream: &JetStream) -> Finding {
    match Rights::needed(config).missing(jetstream).await {
        Ok(missing) if missing.is_empty() => {
            Finding::ok("rights", "this user has every right that harkd needs")
        }
        Ok(Rights { publish, subscribe }) => {
            let to = |verb: &str, subjects: &[String]| {
                (!subjects.is_empty()).then(|| format!("{verb} {}", subjects.join(", ")))
            };
            let lacking: Vec<String> =
                [to("publish to", &publish), to("subscribe to", &subscribe)].into_iter().flatten().collect();
            let message = format!("this user may not {}", lacking.join(", nor "));
            let remedy = "allow it in the permissions of nats-server; docs/nats.md has all of them";
            // Without the rights on `.control.` the daemon works, but operators cannot steer it.
            let is_control = |subject: &String| subject.contains(".control.");
            match publish.is_empty() && subscribe.iter().all(is_control) {
                true => Finding::warning("rights", message, remedy),
                false => Finding::error("rights", message, remedy),
            }
        }
        Err(Unanswered::Refused(_)) => Finding::warning(
            "rights",
            "the server does not tell this user its rights",
            "allow it to publish to $SYS.REQ.USER.INFO, so that doctor can check the rights",
        ),
        Err(Unanswered::NoAnswer(reason)) => {
            Finding::warning("rights", reason, "compare them with docs/nats.md")
        }
    }
}

/// How soon the server writes to the disk what it has acknowledged, where its monitoring tells.
async fn synced(config: &Config, jetstream: &JetStream) -> Option<Finding> {
    let id = jetstream.client().server_info().server_id;
    let hosts = config.nats.servers.iter().filter_map(|server| {
        let url = Url::parse(server).or_else(|_| Url::parse(&format!("nats://{server}"))).ok()?;
        Some(url.host_str()?.to_owned())
    });
    for host in hosts {
        let Some(found) = monitoring(&host).await.filter(|found| found["server_id"] == id.as_str()) else {
            continue;
        };
        let settings = &found["config"];
        if settings["sync_always"] == true {
            return Some(Finding::ok("sync", "the server syncs every message (sync_interval: always)"));
        }
        let seconds = settings["sync_interval"].as_u64().unwrap_or_default() / 1_000_000_000;
        if config.nats.replicas >= 3 {
            return Some(Finding::ok(
                "sync",
                format!("the server syncs every {seconds} s, and three servers have what is acknowledged"),
            ));
        }
        return Some(Finding::warning(
            "sync",
            format!("the server syncs every {seconds} s: in a power cut, what it acknowledged since is gone"),
            "set jetstream { sync_interval: always } in its configuration, if that matters",
        ));
    }
    Some(Finding::ok("sync", format!("sync_interval cannot be read (no monitoring on port {MONITORING})")))
}

async fn monitoring(host: &str) -> Option<Value> {
    let client = http_client().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(2)).build().ok()?;
    let answer = client.get(format!("http://{host}:{MONITORING}/jsz?config=true")).send().await.ok()?;
    answer.json().await.ok()
}
