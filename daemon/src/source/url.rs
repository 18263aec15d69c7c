//! Decides whether an audio URL that a sender put into a message may be used.
//!
//! DashScope fetches the URLs itself, [`look`] looks into them before, and [`fetch`] fetches them where bytes are needed; no sender may use Hark
//! or the service to reach hosts of a private network (SSRF). Public https URLs are allowed, and hosts that the operator lists in
//! `security.allow_urls`. Every check uses the parsed URL, never the text: `http://0x7f.1/` and `https://①②⑦.0.0.1/` are 127.0.0.1. Errors name
//! the host and never the query, because presigned URLs carry their secret there.

#[cfg(test)]
mod cases;
pub mod fetch;
mod guard;
pub mod look;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use crate::config::{AllowList, is_inside, is_public, plain};

/// How long a host name may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

/// Why a URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// The text is not a URL.
    #[error("the audio URL cannot be read ({0}); give an absolute https URL")]
    Invalid(String),
    /// The scheme is neither http nor https.
    #[error("the audio URL has the scheme {0:?}; give an https URL")]
    Scheme(String),
    /// The scheme is http, and the operator has not listed the host.
    #[error(
        "the audio URL of {0} is not https; give an https URL, or have the host listed in security.allow_urls"
    )]
    NotHttps(String),
    /// The URL has a user name or password.
    #[error("the audio URL of {0} carries a user name or password; give a presigned URL instead")]
    Credentials(String),
    /// The host is an address or name that is not public.
    #[error(
        "the audio URL points to {0}, which is not public; give a public URL, or have the host listed in security.allow_urls"
    )]
    NotPublic(String),
    /// The host name resolves to an address that is not public.
    #[error(
        "the audio URL points to {host}, which is at {address} and so not public; give a public URL, or have the host listed in security.allow_urls"
    )]
    ResolvesInside { host: String, address: IpAddr },
}

/// Decides on a URL without resolving its host name. Callers use the returned URL, not the text.
///
/// # Errors
/// Why the URL is refused; the error's text has no secrets and may go into an event.
pub fn vet(url: &str, allow: &AllowList) -> Result<Url, UrlRefused> {
    let url = Url::parse(url).map_err(|error| UrlRefused::Invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlRefused::Scheme(url.scheme().to_owned()));
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => Ok(plain(name)),
        Some(Host::Ipv4(address)) => Err(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Err(IpAddr::V6(address)),
        None => return Err(UrlRefused::Invalid("it has no host".into())),
    };
    let shown = host.as_ref().map_or_else(IpAddr::to_string, Clone::clone);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefused::Credentials(shown));
    }
    let is_allowed = host.as_ref().map_or_else(|address| allow.contains(*address), |name| allow.names(name));
    if is_allowed {
        return Ok(url);
    }
    match host {
        Ok(name) if is_inside(&name) => Err(UrlRefused::NotPublic(shown)),
        Err(address) if !is_public(address) => Err(UrlRefused::NotPublic(shown)),
        _ if url.scheme() != "https" => Err(UrlRefused::NotHttps(shown)),
        _ => Ok(url),
    }
}

/// Decides as [`vet`] does, and also refuses a host name if any of its addresses is not public. A name that this machine cannot resolve
/// within two seconds is allowed: the service may be able to resolve it.
///
/// # Errors
/// As of [`vet`].
pub async fn vet_resolved(url: &str, allow: &AllowList) -> Result<Url, UrlRefused> {
    let url = vet(url, allow)?;
    let Some(Host::Domain(name)) = url.host() else { return Ok(url) };
    let host = plain(name);
    if allow.names(&host) {
        return Ok(url);
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let lookup = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((name, port)));
    let Ok(Ok(addresses)) = lookup.await else { return Ok(url) };
    let addresses: Vec<_> = addresses.collect();
    let inside = addresses.into_iter().map(|it| it.ip()).find(|ip| !is_public(*ip) && !allow.contains(*ip));
    match inside {
        Some(address) => Err(UrlRefused::ResolvesInside { host, address }),
        None => Ok(url),
    }
}

/// The URL without query, fragment, user name and password, for logs and events. If the text is not a URL, the same parts are cut off by
/// their delimiters (`?`, `#`, `@`).
pub fn without_query(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        let front = url.split(['?', '#']).next().unwrap_or_default();
        return front.rsplit_once('@').map_or(front, |(_, rest)| rest).to_owned();
    };
    parsed.set_query(None);
    parsed.set_fragment(None);
    // The setters fail only for URLs that cannot have a user name or password.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.into()
}
