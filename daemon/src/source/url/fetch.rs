//! Fetches the audio of a URL onto this machine, for recognizers that take bytes only. Each address is vetted, also of each redirect, and the
//! connection goes to exactly the addresses that were vetted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::{Host, Url};

use super::address::is_public;
use super::{UrlRefused, vet};
use crate::config::{AllowList, plain};
use crate::hex::hex;
use crate::os::private;

/// How long a connection may take, and a host name to resolve.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long a server may send nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The most redirects that are followed: storage behind a short link takes two.
const REDIRECTS: usize = 5;

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Size in bytes.
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

/// Why the audio could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Unfetched {
    /// The URL, or a URL that it redirects to, may not be opened.
    #[error(transparent)]
    Forbidden(#[from] UrlRefused),
    /// The server refuses it.
    #[error("the server of the audio URL answered {0}")]
    Refused(String),
    /// More than `most` bytes.
    #[error("the audio of the URL is larger than what may be fetched")]
    TooLarge,
    /// The server did not answer, or not to the end; it may later.
    #[error("the audio URL could not be fetched: {0}")]
    NotNow(String),
    /// The file could not be written.
    #[error("writing the audio of a URL: {0}")]
    Disk(#[from] io::Error),
}

/// Fetches at most `most` bytes into a file, which is complete afterwards, or absent.
///
/// # Errors
/// See [`Unfetched`]; no text contains the URL's query.
pub async fn fetch(url: &str, allow: &AllowList, into: &Path, most: u64) -> Result<Fetched, Unfetched> {
    let response = follow(url, allow).await?;
    let fetched = write(response, into, most).await;
    if fetched.is_err() {
        // What is left of it would take up space until the next start.
        let _ = tokio::fs::remove_file(into).await;
    }
    fetched
}

/// The answer with the audio, behind the redirects.
async fn follow(url: &str, allow: &AllowList) -> Result<Response, Unfetched> {
    let mut url = vet(url, allow)?;
    for _ in 0..=REDIRECTS {
        let answer = client(&url, allow).await?.get(url.clone()).send().await;
        let response = answer.map_err(|error| Unfetched::NotNow(causes(error)))?;
        let status = response.status();
        match status.as_u16() {
            200 => return Ok(response),
            301 | 302 | 303 | 307 | 308 => {
                let target = location(&url, response.headers());
                url = vet(&target.ok_or_else(|| Unfetched::Refused(format!("{status} to nowhere")))?, allow)?;
            }
            408 | 425 | 429 | 500.. => return Err(Unfetched::NotNow(format!("it answered {status}"))),
            _ => return Err(Unfetched::Refused(status.to_string())),
        }
    }
    Err(Unfetched::Refused("with too many redirects".into()))
}

fn location(url: &Url, headers: &HeaderMap) -> Option<String> {
    let target = headers.get(LOCATION)?.to_str().ok()?;
    Some(url.join(target).ok()?.into())
}

/// A client that connects to the vetted addresses of this host and to no other, without a proxy of the environment.
async fn client(url: &Url, allow: &AllowList) -> Result<Client, Unfetched> {
    // An error means that another part of the daemon installed the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("harkd/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(SILENCE_LIMIT)
        .retry(reqwest::retry::never())
        .referer(false)
        .redirect(Policy::none())
        .no_proxy();
    if let Some(Host::Domain(name)) = url.host() {
        builder = builder.resolve_to_addrs(name, &resolve(name, url, allow).await?);
    }
    let built = builder.build();
    built.map_err(|error| Unfetched::NotNow(causes(error)))
}

/// The addresses of a host, all of them public or allowed.
async fn resolve(name: &str, url: &Url, allow: &AllowList) -> Result<Vec<SocketAddr>, Unfetched> {
    let port = url.port_or_known_default().unwrap_or(443);
    let host = plain(name);
    let lookup = tokio::time::timeout(CONNECT_LIMIT, tokio::net::lookup_host((name, port))).await;
    let addresses: Vec<SocketAddr> = match lookup {
        Ok(Ok(addresses)) => addresses.collect(),
        _ => return Err(Unfetched::NotNow(format!("{host} has no address"))),
    };
    let may_open = |address: IpAddr| allow.names(&host) || allow.contains(address) || is_public(address);
    match addresses.iter().map(SocketAddr::ip).find(|address| !may_open(*address)) {
        Some(address) => Err(UrlRefused::ResolvesInside { host, address }.into()),
        None => Ok(addresses),
    }
}

async fn write(mut response: Response, into: &Path, most: u64) -> Result<Fetched, Unfetched> {
    if response.content_length().is_some_and(|length| length > most) {
        return Err(Unfetched::TooLarge);
    }
    let mut file = tokio::fs::File::from_std(private::create_file(into)?);
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    while let Some(chunk) = response.chunk().await.map_err(|error| Unfetched::NotNow(causes(error)))? {
        bytes += chunk.len() as u64;
        if bytes > most {
            return Err(Unfetched::TooLarge);
        }
        hasher.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.sync_all().await?;
    Ok(Fetched { bytes, sha256: hex(&hasher.finalize()) })
}

/// An HTTP library's error without the URL, whose query may be a signature.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::Router;
    use axum::extract::State;
    use axum::http::Uri;
    use axum::response::{IntoResponse, Redirect, Response};

    use super::*;

    async fn serve(State(pages): State<HashMap<&'static str, String>>, uri: Uri) -> Response {
        match (uri.path(), pages.get(uri.path())) {
            ("/audio", _) => "so many bytes".into_response(),
            (_, Some(target)) => Redirect::temporary(target).into_response(),
            _ => axum::http::StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// A server on loopback; the port of it.
    async fn server(pages: &[(&'static str, String)]) -> u16 {
        let router =
            Router::new().fallback(serve).with_state(pages.iter().cloned().collect::<HashMap<_, _>>());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    fn allowed(entries: &[&str]) -> AllowList {
        AllowList::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[tokio::test]
    async fn the_bytes_are_fetched_behind_redirects_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("job");
        let port = server(&[("/link", "/two".into()), ("/two", "/audio".into())]).await;
        let allow = allowed(&["127.0.0.1/32"]);
        let fetched =
            fetch(&format!("http://127.0.0.1:{port}/link?signature=x"), &allow, &into, 100).await.unwrap();
        assert_eq!((fetched.bytes, fetched.sha256), (13, hex(&Sha256::digest("so many bytes"))));
        assert_eq!(std::fs::read(&into).unwrap(), b"so many bytes");
        let too_large = fetch(&format!("http://127.0.0.1:{port}/audio"), &allow, &into, 12).await;
        assert!(matches!(too_large, Err(Unfetched::TooLarge)));
        let missing =
            fetch(&format!("http://127.0.0.1:{port}/no?signature=x"), &allow, &into, 12).await.unwrap_err();
        assert!(
            matches!(missing, Unfetched::Refused(_)) && !missing.to_string().contains("signature"),
            "{missing}"
        );
        assert!(!into.exists(), "nothing is left of it");
    }

    #[tokio::test]
    async fn a_redirect_leads_to_no_host_that_the_url_itself_might_not_have() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("job");
        let inside = server(&[]).await;
        let targets = [
            ("/address", format!("http://127.0.0.2:{inside}/audio")),
            ("/name", format!("http://localhost:{inside}/audio")),
            ("/file", "file:///etc/passwd".into()),
            ("/loop", "/loop".into()),
        ];
        let port = server(&targets).await;
        let allow = allowed(&["127.0.0.1/32"]);
        for (page, _) in &targets {
            let failed =
                fetch(&format!("http://127.0.0.1:{port}{page}"), &allow, &into, 100).await.unwrap_err();
            assert!(matches!(failed, Unfetched::Forbidden(_)) || *page == "/loop", "{page}: {failed}");
        }
        // A name is resolved here, and the connection made to the addresses that were vetted.
        let named =
            fetch(&format!("http://localhost:{port}/audio"), &allowed(&["localhost"]), &into, 100).await;
        assert_eq!(named.unwrap().bytes, 13);
    }
}
