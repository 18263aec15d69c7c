//! `/api/jobs/<id>/audio`: plays a recording that still lies in its folder, where the operator allows it.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::extract::InPath;
use super::jobs::{job_id, unknown};
use super::problem::Problem;
use super::state::{Api, Handles};
use crate::job::audio::{self, Unopened};
use crate::job::{Job, Origin};
use crate::source::directory::is_heard;

/// Whether the daemon plays a job's recording: `http.audio` is set, the recording came from a folder, and no transform works for its source.
/// With a transform it does not play: the audio still holds the words that the transform removes from the text.
pub(super) fn is_playable(handles: &Handles, job: &Job) -> bool {
    let is_file = matches!(job.origin, Origin::File { .. });
    handles.config().http.audio && is_file && !handles.steer.pipeline.transforms(job.id, &job.source)
}

/// `GET /api/jobs/<id>/audio`, with Range.
pub(super) async fn play(
    State(api): State<Api>,
    InPath(id): InPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (handles, id) = (api.handles()?, job_id(&id)?);
    let job = handles.ledger.find(id).await?.ok_or_else(|| unknown(id))?;
    if !is_playable(handles, &job) {
        let detail = "the daemon plays a recording only if http.audio is set, it came from a folder, and its source has no transform";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let format = job.recording.format.clone();
    let opened = tokio::task::spawn_blocking(move || open(&job)).await;
    let (file, length) = opened.map_err(|error| unopened(error.to_string()))??;
    let kind = content_type(format.as_deref());
    // Only a GET may have a range. A condition on a range (If-Range) never holds, because the recording has no validator.
    let is_ranged = method == Method::GET && !headers.contains_key(header::IF_RANGE);
    let wanted = headers.get(header::RANGE).filter(|_| is_ranged).and_then(|range| range.to_str().ok());
    match wanted.map_or(Range::Whole, |range| Range::of(range, length)) {
        Range::Whole => Ok(answer(StatusCode::OK, file, 0, length, kind, None)),
        Range::Part(first, last) => {
            let range = format!("bytes {first}-{last}/{length}");
            Ok(answer(StatusCode::PARTIAL_CONTENT, file, first, last - first + 1, kind, Some(range)))
        }
        Range::Outside => {
            let mut response =
                Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("the recording has {length} bytes"))
                    .into_response();
            if let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
            Ok(response)
        }
    }
}

/// Opens the file that a job recognized, and returns it with its length. Blocking.
fn open(job: &Job) -> Result<(File, u64), Problem> {
    let other = || Problem::unknown("the file at the recording's path is not the file that was recognized");
    let (Origin::File { root, below, identity }, Some(sha256)) = (&job.origin, &job.recording.sha256) else {
        return Err(other());
    };
    let file = audio::open_below(root, below).map_err(|error| match error {
        Unopened::Fault(_) | Unopened::Missing(_) => {
            Problem::unknown("the recording is no longer at the path where the daemon found it")
        }
        Unopened::NotNow(error) => unopened(error.to_string()),
    })?;
    let not_now = |error: std::io::Error| unopened(error.to_string());
    if !is_heard(&file, identity, sha256).map_err(not_now)? {
        return Err(other());
    }
    let length = file.metadata().map_err(not_now)?.len();
    Ok((file, length))
}

fn unopened(reason: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the recording cannot be opened now: {reason}"))
}

fn answer(
    status: StatusCode,
    mut file: File,
    first: u64,
    bytes: u64,
    kind: &'static str,
    range: Option<String>,
) -> Response {
    if let Err(error) = file.seek(SeekFrom::Start(first)) {
        return unopened(error.to_string()).into_response();
    }
    let body = Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file).take(bytes)));
    let mut response =
        (status, [(header::CONTENT_TYPE, kind), (header::ACCEPT_RANGES, "bytes")], body).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

/// Which bytes of a recording a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    Outside,
}

impl Range {
    /// Reads a Range header. A header that asks for several ranges, or cannot be parsed, is ignored, as RFC 9110 permits.
    fn of(header: &str, length: u64) -> Range {
        let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
        else {
            return Range::Whole;
        };
        let (first, last) = match (first.trim(), last.trim()) {
            ("", suffix) => match suffix.parse::<u64>() {
                Ok(0) => return Range::Outside,
                Ok(suffix) => (length.saturating_sub(suffix), length.saturating_sub(1)),
                Err(_) => return Range::Whole,
            },
            (first, last) => {
                let last = if last.is_empty() { Ok(u64::MAX) } else { last.parse::<u64>() };
                let (Ok(first), Ok(last)) = (first.parse::<u64>(), last) else { return Range::Whole };
                if last < first {
                    return Range::Whole;
                }
                (first, last.min(length.saturating_sub(1)))
            }
        };
        if first >= length || first > last { Range::Outside } else { Range::Part(first, last) }
    }
}

fn content_type(format: Option<&str>) -> &'static str {
    match format.unwrap_or_default() {
        "wav" | "w64" => "audio/wav",
        "mp3" | "mpeg" => "audio/mpeg",
        "m4a" | "mp4" | "mov" | "3gp" => "audio/mp4",
        "ogg" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "webm" | "mkv" => "audio/webm",
        "aac" => "audio/aac",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_players_write_them() {
        for (header, expected) in [
            ("bytes=0-", Range::Part(0, 99)),
            ("bytes=10-19", Range::Part(10, 19)),
            ("bytes=90-1000", Range::Part(90, 99)),
            ("bytes=-10", Range::Part(90, 99)),
            ("bytes=-1000", Range::Part(0, 99)),
            ("bytes=100-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=5-2", Range::Whole),
            ("lines=0-1", Range::Whole),
        ] {
            assert_eq!(Range::of(header, 100), expected, "{header}");
        }
        assert_eq!(Range::of("bytes=0-", 0), Range::Outside);
    }
}
