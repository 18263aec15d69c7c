//! `[[webhook]]`: its address, its kinds, its secret.

use hark_sdk::event::Kind;
use url::{Host, Url};

use crate::config::nearest::suggestion;
use crate::config::report::Report;
use crate::config::{Config, Webhook, is_loopback_or_private};

/// The kinds that a webhook may name, besides those of plugins.
const STORED: [Kind; 12] = [
    Kind::JobAccepted,
    Kind::JobSubmitted,
    Kind::JobRetrying,
    Kind::JobCompleted,
    Kind::JobFailed,
    Kind::TranscriptSegment,
    Kind::TranscriptFinal,
    Kind::AnnotationLanguage,
    Kind::AnnotationEmotion,
    Kind::AnnotationSpeech,
    Kind::AlertRaised,
    Kind::AlertRetracted,
];

pub(super) fn webhooks(config: &Config, report: &mut Report<'_>) {
    for (index, webhook) in config.webhook.iter().enumerate() {
        let Webhook { name, url, .. } = webhook;
        if !url.is_empty()
            && let Some(reason) = no_receiver(url)
        {
            report.mistake(&format!("webhook.{index}.url"), format!("url of webhook {name:?} {reason}"));
        }
        kinds(webhook, index, report);
        if !webhook.secret_file.as_os_str().is_empty()
            && let Err(text) = webhook.secrets()
        {
            report.mistake(&format!("webhook.{index}.secret_file"), text);
        }
    }
}

/// What is wrong with the address of a receiver, if anything is. The text does not quote it: its path or query may be a secret.
fn no_receiver(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else {
        return Some("is no URL; write it as \"https://crm.example.com/hark\"");
    };
    let may_be_plain = match url.host() {
        Some(Host::Ipv4(address)) => is_loopback_or_private(address.into()),
        Some(Host::Ipv6(address)) => is_loopback_or_private(address.into()),
        // A name is resolved for each connection, and another address refused then.
        Some(Host::Domain(_)) => true,
        None => return Some("has no host; write it as \"https://crm.example.com/hark\""),
    };
    match url.scheme() {
        "https" | "http" if !url.username().is_empty() || url.password().is_some() => {
            Some("carries a user or password; receivers know Hark by its signature, so leave it out")
        }
        "https" => None,
        "http" if may_be_plain => None,
        "http" => Some("is plain http, which is for loopback and private networks only; use https"),
        _ => Some("is not an http or https address"),
    }
}

fn kinds(webhook: &Webhook, index: usize, report: &mut Report<'_>) {
    let name = &webhook.name;
    if webhook.kinds.is_empty() {
        report.mistake(
            &format!("webhook.{index}.kinds"),
            format!("kinds of webhook {name:?} is empty, so nothing would be sent; name some, or leave the key out"),
        );
    }
    for (position, kind) in webhook.kinds.iter().enumerate() {
        let text = match kind.parse::<Kind>() {
            Ok(known) if known.to_string() == *kind && known.is_stored() => continue,
            Ok(Kind::TranscriptPartial) => format!(
                "{kind:?} of webhook {name:?} is not stored, so no webhook can send it; take transcript.segment or transcript.final"
            ),
            _ => {
                let known = STORED.map(|kind| kind.to_string());
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("{kind:?} of webhook {name:?} is no kind of event{}", suggestion(kind, &known))
            }
        };
        report.mistake(&format!("webhook.{index}.kinds.{position}"), text);
    }
}
