//! Looks into the audio of a URL that the service is to fetch, so that its length and format decide its engine.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::time::timeout;

use super::guard::{Guard, not_now};
use crate::config::AllowList;
use crate::source::download::Unfetched;

/// How long a look may take. A slower server's audio is sent by URL unseen.
const LIMIT: Duration = Duration::from_secs(20);

/// What is read of audio that is larger than `most`: enough to tell the container.
const HEAD: usize = 64 << 10;

/// What a look found.
#[derive(Debug)]
pub struct Looked {
    /// The audio, or its first bytes.
    pub file: File,
    /// Size of the audio in bytes; `None`: the server does not tell it.
    pub bytes: Option<u64>,
    /// Whether the file has all of it.
    pub is_whole: bool,
}

/// Reads the audio of a URL into `file` if it has at most `most` bytes, else its first bytes. Takes 20 seconds at most; memory is one chunk.
///
/// # Errors
/// See [`Unfetched`]; no text contains the URL's query.
pub async fn look(url: &str, allow: &AllowList, file: File, most: u64) -> Result<Looked, Unfetched> {
    match timeout(LIMIT, read(Guard::new(allow), url, file, most)).await {
        Ok(looked) => looked,
        Err(_) => Err(Unfetched::NotNow(format!(
            "the audio URL could not be looked into within {} s",
            LIMIT.as_secs()
        ))),
    }
}

async fn read(guard: Guard<'_>, url: &str, mut file: File, most: u64) -> Result<Looked, Unfetched> {
    let mut response = guard.open(url, Some(most)).await?;
    let bytes = match response.status() {
        StatusCode::PARTIAL_CONTENT => total(response.headers().get(CONTENT_RANGE)),
        _ => response.content_length(),
    };
    let wanted = if bytes.is_some_and(|bytes| bytes > most) { HEAD as u64 } else { most };
    let mut read = 0;
    while read < wanted
        && let Some(chunk) = response.chunk().await.map_err(not_now)?
    {
        file.write_all(&chunk)?;
        read += chunk.len() as u64;
    }
    io::Seek::rewind(&mut file)?;
    let is_whole = match bytes {
        Some(bytes) => read == bytes,
        // The server ends the answer where the audio ends; less than what was asked for is all of it.
        None => read < wanted,
    };
    Ok(Looked { file, bytes: bytes.or(is_whole.then_some(read)), is_whole })
}

/// The length behind the slash of `bytes 0-99/1234`.
fn total(range: Option<&reqwest::header::HeaderValue>) -> Option<u64> {
    range?.to_str().ok()?.rsplit_once('/')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use axum::Router;
    use axum::body::Body;
    use axum::http::{HeaderMap, Uri};
    use axum::response::{IntoResponse, Response};

    use super::*;

    const AUDIO: usize = 300 << 10;

    async fn serve(uri: Uri, headers: HeaderMap) -> Response {
        let asked = headers["range"].to_str().unwrap();
        let most: usize = asked.strip_prefix("bytes=0-").unwrap().parse::<usize>().unwrap() + 1;
        let part = "a".repeat(AUDIO.min(most));
        let range = |total: &str| [("content-range", format!("bytes 0-{}/{total}", part.len() - 1))];
        match uri.path() {
            "/ranges" => (StatusCode::PARTIAL_CONTENT, range(&AUDIO.to_string()), part).into_response(),
            "/unknown" => (StatusCode::PARTIAL_CONTENT, range("*"), part).into_response(),
            "/whole" => "a".repeat(AUDIO).into_response(),
            "/streamed" => {
                let chunks = (0..AUDIO / 1024).map(|_| Ok::<_, io::Error>("a".repeat(1024)));
                Body::from_stream(futures::stream::iter(chunks)).into_response()
            }
            _ => StatusCode::FORBIDDEN.into_response(),
        }
    }

    #[tokio::test]
    async fn audio_that_is_small_is_read_whole_and_of_a_large_one_the_head() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
        let allow = AllowList::parse(&["127.0.0.1/32".into()]).unwrap();
        let look = async |path: &str, most: u64| {
            let url = format!("http://127.0.0.1:{port}{path}?signature=secret");
            look(&url, &allow, tempfile::tempfile().unwrap(), most).await
        };
        let size = AUDIO as u64;
        for (path, most, bytes, is_whole) in [
            ("/ranges", size, Some(size), true),
            ("/ranges", size - 1, Some(size), false),
            ("/unknown", size + 1, Some(size), true),
            ("/unknown", size, None, false),
            ("/whole", size, Some(size), true),
            ("/whole", size - 1, Some(size), false),
            ("/streamed", size + 1, Some(size), true),
            ("/streamed", size / 2, None, false),
        ] {
            let mut looked = look(path, most).await.unwrap();
            assert_eq!((looked.bytes, looked.is_whole), (bytes, is_whole), "{path} up to {most}");
            let mut read = Vec::new();
            looked.file.read_to_end(&mut read).unwrap();
            assert!(
                if is_whole { read.len() == AUDIO } else { read.len() >= HEAD },
                "{path}: {}",
                read.len()
            );
        }
        let refused = look("/no", size).await.unwrap_err();
        assert!(matches!(&refused, Unfetched::Refused(status) if status.starts_with("403")), "{refused}");
        server.abort();
    }
}
