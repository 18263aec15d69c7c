//! Opens URLs that senders chose. Each address is vetted, also of each redirect, when the connection is made: it goes to exactly the
//! addresses that were vetted, so a host name that has other addresses a moment later (rebinding) leads nowhere else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, LOCATION, RANGE};
use reqwest::{Client, Response};
use url::{Host, Url};

use super::{UrlRefused, vet};
use crate::config::{AllowList, http_client, is_public, plain};
use crate::source::download::Unfetched;

/// How long a connection may take, and a host name to resolve.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a server may send nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The most redirects that are followed: storage behind a short link takes two.
const REDIRECTS: usize = 5;

/// The addresses of a host name, asked for once for each connection.
type Lookup = dyn Fn(&str, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Which hosts may be connected to, and where their names are looked up.
#[derive(Clone, Copy)]
pub(super) struct Guard<'a> {
    pub allow: &'a AllowList,
    pub lookup: &'a Lookup,
}

impl<'a> Guard<'a> {
    /// With this machine's own look-up of names.
    pub fn new(allow: &'a AllowList) -> Guard<'a> {
        Guard { allow, lookup: &system }
    }

    /// The answer behind the redirects, with its body still to come: 200, or 206 if the first bytes up to `most` are asked for and the server
    /// sends them alone.
    ///
    /// # Errors
    /// [`Unfetched::Forbidden`], [`Unfetched::Refused`], [`Unfetched::NotNow`]; no text contains the URL's query.
    pub async fn open(self, url: &str, most: Option<u64>) -> Result<Response, Unfetched> {
        let mut url = vet(url, self.allow)?;
        for _ in 0..=REDIRECTS {
            let mut request = self.client(&url).await?.get(url.clone());
            if let Some(most) = most {
                request = request.header(RANGE, format!("bytes=0-{}", most.saturating_sub(1)));
            }
            let response = request.send().await.map_err(not_now)?;
            let status = response.status();
            match status.as_u16() {
                200 | 206 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => {
                    let target = location(&url, response.headers());
                    let target = target.ok_or_else(|| Unfetched::Refused(format!("{status} to nowhere")))?;
                    url = vet(&target, self.allow)?;
                }
                408 | 425 | 429 | 500.. => {
                    return Err(Unfetched::NotNow(format!("the server of the audio URL answered {status}")));
                }
                _ => return Err(Unfetched::Refused(status.to_string())),
            }
        }
        Err(Unfetched::Refused("with too many redirects".into()))
    }

    /// A client that connects to the vetted addresses of this host and to no other, without a proxy of the environment.
    async fn client(self, url: &Url) -> Result<Client, Unfetched> {
        let mut builder = http_client().connect_timeout(CONNECT_LIMIT).read_timeout(SILENCE_LIMIT).no_proxy();
        if let Some(Host::Domain(name)) = url.host() {
            builder = builder.resolve_to_addrs(name, &self.addresses(name, url).await?);
        }
        builder.build().map_err(not_now)
    }

    /// The addresses of a host, all of them public or allowed.
    async fn addresses(self, name: &str, url: &Url) -> Result<Vec<SocketAddr>, Unfetched> {
        let port = url.port_or_known_default().unwrap_or(443);
        let host = plain(name);
        let addresses = match tokio::time::timeout(CONNECT_LIMIT, (self.lookup)(name, port)).await {
            Ok(Ok(addresses)) => addresses,
            _ => {
                return Err(Unfetched::NotNow(format!(
                    "the audio URL could not be fetched: {host} has no address"
                )));
            }
        };
        let may_open =
            |address: IpAddr| self.allow.names(&host) || self.allow.contains(address) || is_public(address);
        match addresses.iter().map(SocketAddr::ip).find(|address| !may_open(*address)) {
            Some(address) => Err(UrlRefused::ResolvesInside { host, address }.into()),
            None => Ok(addresses),
        }
    }
}

fn system(name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    let name = name.to_owned();
    Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
}

fn location(url: &Url, headers: &HeaderMap) -> Option<String> {
    let target = headers.get(LOCATION)?.to_str().ok()?;
    Some(url.join(target).ok()?.into())
}

/// An HTTP library's error without the URL, whose query may be a signature.
pub(super) fn not_now(error: reqwest::Error) -> Unfetched {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Unfetched::NotNow(format!("the audio URL could not be fetched: {error}{}", cause.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
