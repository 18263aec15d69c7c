//! Fetches the audio of a URL onto this machine, for recognizers that take bytes only.

use std::path::Path;

use super::guard::{Guard, not_now};
use crate::config::AllowList;
use crate::source::download::{Download, Fetched, Unfetched, whole_or_absent};

/// Fetches at most `most` bytes into a file, which is complete afterwards, or absent.
///
/// # Errors
/// See [`Unfetched`]; no text contains the URL's query.
pub async fn fetch(url: &str, allow: &AllowList, into: &Path, most: u64) -> Result<Fetched, Unfetched> {
    whole_or_absent(into, write(url, allow, into, most).await).await
}

async fn write(url: &str, allow: &AllowList, into: &Path, most: u64) -> Result<Fetched, Unfetched> {
    let mut response = Guard::new(allow).open(url, None).await?;
    if response.content_length().is_some_and(|length| length > most) {
        return Err(Unfetched::TooLarge);
    }
    let mut file = Download::create(into, most)?;
    while let Some(chunk) = response.chunk().await.map_err(not_now)? {
        file.add(&chunk).await?;
    }
    file.finish().await
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::Router;
    use axum::extract::State;
    use axum::http::Uri;
    use axum::response::{IntoResponse, Redirect, Response};

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::hex::hex;

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
