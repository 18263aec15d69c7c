//! Processes a task: PENDING, RUNNING, its end. The journal line is written before a client can see the end.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempPath;
use tokio::time::Instant;

use crate::faults::FaultKind;
use crate::journal::{Entry, Kind};
use crate::media::MediaError;
use crate::service::{Engine, Service};
use crate::source::{self, Received, SourceError, Wanted};

use super::submit::Order;
use super::{State, result};

/// Processes one task to its end.
pub(super) async fn work_on(service: Arc<Service>, order: Order) {
    let stuck = order.fired.get(FaultKind::TaskStuck);
    if order.fired.has(FaultKind::TaskUnknown) {
        end(&service, &order, Entry::new(Kind::Task, &order.request_id), State::Unknown);
        return;
    }
    if stuck.is_some_and(|fault| !fault.running) {
        return;
    }
    let half = service.options.task_delay / 2;
    tokio::time::sleep(half).await;
    if order.fired.has(FaultKind::TaskCanceled) {
        end(&service, &order, Entry::new(Kind::Task, &order.request_id), State::Canceled);
        return;
    }
    // The semaphore is never closed; without a permit the task would only start earlier.
    let worker = service.tasks.workers.acquire().await;
    let begun = service.tasks.change(&order.task_id, |task| {
        let begins = task.state == State::Pending;
        if begins {
            task.state = State::Running;
            task.scheduled = Some(Timestamp::now());
        }
        begins
    });
    if !begun || stuck.is_some() {
        return;
    }
    let done_at = Instant::now() + half;
    let mut entry = Entry::new(Kind::Task, &order.request_id);
    let outcome = recognize(&service, &order, &mut entry).await;
    drop(worker);
    tokio::time::sleep_until(done_at).await;
    let state = match outcome {
        Ok((file, seconds)) => {
            let ttl = service.options.result_ttl;
            let url = service.storage.publish_result(&order.task_id, file, ttl);
            entry.charged_seconds = Some(seconds);
            State::Succeeded { url: format!("{}{url}", service.storage_base()), seconds }
        }
        Err(code) => State::Failed { message: code.clone(), code },
    };
    end(&service, &order, entry, state);
}

fn end(service: &Service, order: &Order, mut entry: Entry, state: State) {
    entry.time = Timestamp::now().to_string();
    entry.key = order.key.clone();
    entry.model = Some(order.model.clone());
    entry.task_id = Some(order.task_id.clone());
    entry.file_url = Some(order.file_url.clone());
    entry.channels = Some(order.channels.clone());
    entry.task_status = Some(state.word().to_owned());
    if let State::Failed { code, .. } = &state {
        entry.outcome = code.clone();
    }
    service.tasks.change(&order.task_id, |task| {
        let open = matches!(task.state, State::Pending | State::Running);
        if open {
            service.journal.write(&entry);
            task.state = state;
            task.ended = Some(Timestamp::now());
        }
        open
    });
}

/// The result file and the seconds to charge, or the code with which the task fails.
async fn recognize(
    service: &Arc<Service>,
    order: &Order,
    entry: &mut Entry,
) -> Result<(TempPath, u64), String> {
    let fails = |code: &str| Err(code.to_owned());
    if let Some(fault) = order.fired.get(FaultKind::TaskFailed) {
        return fails(fault.code.as_deref().unwrap_or("FILE_DOWNLOAD_FAILED"));
    }
    if !order.has_parameters {
        return fails("InvalidParameter");
    }
    let received = receive(service, order).await.map_err(|error| code_of_source(&error).to_owned())?;
    entry.sha256 = Some(received.sha256.clone());
    entry.bytes = Some(received.bytes);
    let media = received.probe().await.map_err(|error| code_of_media(&error).to_owned())?;
    if !media.container.is_taken_by(Engine::Filetrans, media.has_video) {
        return fails("FILE_CHECK_FAILED");
    }
    if media.duration > LONGEST {
        return fails("AUDIO_DURATION_TOO_LONG");
    }
    if order.channels.iter().any(|channel| *channel >= media.channels) {
        return fails("FILE_CHECK_FAILED");
    }
    let seconds = media.duration.as_secs() * order.channels.len() as u64;
    let Some(result) = result::result(service, order, &received.sha256, &media) else {
        return fails("SUCCESS_WITH_NO_VALID_FRAGMENT");
    };
    match store(service, &result) {
        Ok(file) => Ok((file, seconds)),
        Err(error) => {
            tracing::error!(%error, "a result file could not be written");
            fails("InternalError")
        }
    }
}

async fn receive(service: &Service, order: &Order) -> Result<Received, SourceError> {
    let wanted = Wanted {
        url: &order.file_url,
        model: &order.model,
        resolve_oss: order.resolve_oss,
        require_content_length: order.fired.has(FaultKind::RequireContentLength),
        limit_bytes: LARGEST_BYTES,
    };
    source::from_url(service, wanted).await
}

fn store(service: &Service, result: &Value) -> std::io::Result<TempPath> {
    let mut file = tempfile::Builder::new().prefix("result-").tempfile_in(service.directory())?;
    file.write_all(result.to_string().as_bytes())?;
    Ok(file.into_temp_path())
}

fn code_of_source(error: &SourceError) -> &'static str {
    match error {
        SourceError::Status(status) if status.as_u16() == 404 => "FILE_404_NOT_FOUND",
        SourceError::Status(status) if status.as_u16() == 403 => "FILE_403_FORBIDDEN",
        SourceError::Status(status) if status.is_server_error() => "FILE_SERVER_ERROR",
        SourceError::Status(_) | SourceError::Timeout | SourceError::Download(_) => "FILE_DOWNLOAD_FAILED",
        SourceError::MalformedUrl(_) => "REQUEST_INVALID_FILE_URL_VALUE",
        SourceError::NoContentLength => "CONTENT_LENGTH_CHECK_FAILED",
        SourceError::TooLarge(_) => "FILE_TOO_LARGE",
        SourceError::MalformedDataUrl | SourceError::DataUrlTooLarge(_) => "REQUEST_INVALID_FILE_URL_VALUE",
        SourceError::Io(_) => "InternalError",
    }
}

fn code_of_media(error: &MediaError) -> &'static str {
    match error {
        MediaError::Io(_) => "InternalError",
        MediaError::UnknownContainer => "FILE_PARSE_FAILED",
        MediaError::Broken(_) => "DECODE_ERROR",
        MediaError::NoAudio => "NO_VALID_AUDIO_ERROR",
    }
}

/// The service's limits for one task.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
const LARGEST_BYTES: u64 = 2 << 30;
