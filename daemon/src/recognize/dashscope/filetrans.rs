//! `filetrans`: a task for up to twelve hours of audio. Submit, poll, fetch the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hark_sdk::event::Blame;

use super::answers::{Answer, Submitted};
use super::client::Client;
use super::search::Search;
use super::{audio3, qwen3, task, upload};
use crate::config::{Family, Model};
use crate::job::{Transcript, fault};
use crate::recognize::error::Error;
use crate::recognize::http::{JSON, Outgoing};
use crate::recognize::pacer::Pacer;
use crate::recognize::{
    Audio, Bucket, Content, Delivers, Limits, Listener, Lost, Permit, Polled, Profile, Ready, Recognizer,
    Request, Resolution, Sent, Tasks, Uploaded,
};

/// The asynchronous endpoint.
#[derive(Debug)]
pub(super) struct Filetrans {
    pub(super) client: Arc<Client>,
    /// Of the operator's own.
    pub(super) bucket: Option<Bucket>,
    pub(super) search: Search,
    pub(super) pacer: Arc<Pacer>,
    pub(super) profile: Profile,
}

const FORMATS: [&str; 17] = [
    "aac", "amr", "avi", "flac", "flv", "m4a", "mkv", "mov", "mp3", "mp4", "mpeg", "ogg", "opus", "wav",
    "webm", "wma", "wmv",
];

/// The largest file that the service fetches.
const LARGEST: u64 = 2 << 30;

/// The service's limits (the provider's documentation).
pub(super) fn limits(model: Model, has_bucket: bool, allow_temporary_upload: bool) -> Limits {
    const FORBIDDEN: &str = "dashscope.allow_temporary_upload is false; set it to true, name a bucket in storage.url, or send a URL";
    Limits {
        formats: &FORMATS,
        longest: Some(Duration::from_secs(12 * 3600)),
        inline: Delivers::No,
        upload: match allow_temporary_upload {
            _ if has_bucket => Delivers::UpTo(LARGEST),
            true => Delivers::UpTo(1 << 30),
            false => Delivers::Forbidden(FORBIDDEN),
        },
        url: Delivers::UpTo(LARGEST),
        streams: false,
        selects_channels: true,
        inputs: model.inputs,
        outputs: model.outputs,
        pieces: None,
        tasks: Some(Tasks { kept: Duration::from_secs(24 * 3600), longest: Duration::from_secs(3 * 3600) }),
    }
}

impl Recognizer for Filetrans {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn pacer(&self) -> &Arc<Pacer> {
        &self.pacer
    }

    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        _listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>> {
        Box::pin(async move {
            let submitted = permit.settle(submit(&self.client, &request).await);
            submitted.map(|handle| Sent::Accepted { handle })
        })
    }

    fn object(&self, name: &str) -> Option<String> {
        self.bucket.as_ref().map(|bucket| bucket.object(name))
    }

    fn upload<'a>(
        &'a self,
        model: &'a str,
        content: Content,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Uploaded, Error>> {
        Box::pin(async move {
            if let Some(bucket) = &self.bucket {
                return bucket.upload(content, name).await;
            }
            let permit = self.pacer.admission().await;
            let policy = permit.settle_free(upload::policy(&self.client, model).await)?;
            upload::store(&self.client, policy, content, name).await
        })
    }

    fn discard<'a>(&'a self, object: &'a str) -> Option<BoxFuture<'a, Result<(), Error>>> {
        let bucket = self.bucket.as_ref().filter(|bucket| bucket.has(object))?;
        Some(Box::pin(bucket.discard(object)))
    }

    fn poll<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<Polled, Error>> {
        Box::pin(async move {
            let sent = Instant::now();
            let mut answer = task::query(&self.client, handle).await;
            self.pacer.learn(sent, &mut answer);
            self.client.reread_if_refused(answer).await
        })
    }

    fn fetch(&self, ready: Ready) -> BoxFuture<'_, Result<Transcript, Error>> {
        Box::pin(async move {
            let billed = ready.billed;
            let file = task::result(&self.client, &ready).await;
            let file = file.map_err(|error| Error { billed: Box::new(billed), ..error })?;
            // Remembered, so that no search for another task has to fetch this result again.
            self.search.learn(&ready.handle, &file.file_url);
            Ok(file.into_transcript(billed))
        })
    }

    fn stop<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(task::stop(&self.client, handle))
    }

    fn resolve<'a>(&'a self, lost: Lost<'a>) -> BoxFuture<'a, Result<Resolution, Error>> {
        Box::pin(async move {
            let found = self.search.resolve(&self.client, lost).await;
            self.client.reread_if_refused(found).await
        })
    }
}

const PATH: &str = "/services/audio/asr/transcription";

async fn submit(client: &Client, request: &Request<'_>) -> Result<String, Error> {
    let Audio::Url(file_url) = request.audio else {
        let message = "filetrans fetches the audio from a URL, and was given bytes";
        return Err(Error::give_up(fault("UploadNotAllowed", Blame::Hark, message.into())));
    };
    let body = match Model::of(request.model).map(|model| model.family) {
        Some(Family::Audio3) => audio3::submit_body(request, file_url),
        Some(Family::Qwen3) | None => qwen3::submit_body(request, file_url),
    };
    let mut call = client.post(PATH, JSON).header("X-DashScope-Async", "enable");
    if file_url.starts_with("oss://") {
        call = call.header("X-DashScope-OssResourceResolve", "enable");
    }
    let response =
        client.send(call, Outgoing::bytes(body.to_string().into_bytes(), request.clearance.clone())).await?;
    let answer: Answer<Submitted> = client.answer(response).await?;
    Ok(answer.output.task_id)
}
