//! The service's temporary storage: gives a local file a URL that filetrans can fetch, for 48 hours.

use std::time::Duration;

use hark_sdk::event::Blame;
use reqwest::multipart::{Form, Part};

use super::answers::{Policy, PolicyAnswer};
use super::client::Client;
use crate::config::Secret;
use crate::job::fault;
use crate::recognize::Uploaded;
use crate::recognize::error::{Error, When};
use crate::recognize::http::{Content, Outgoing};
use crate::recognize::message::presentable;

/// How old an upload may be when it is submitted. While an account is held, a request may wait for days. The service keeps an upload for
/// 48 h, and a task whose file is gone fails like a task with bad audio.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Attempts of an upload whose form the storage refuses.
const TRIES: u32 = 4;

/// The most bytes of a refusal that are read.
const MAX_REFUSAL_BYTES: usize = 1 << 20;

pub(super) async fn policy(client: &Client, model: &str) -> Result<Policy, Error> {
    let call = client.get("/uploads").query(&[("action", "getPolicy"), ("model", model)]);
    client.policies.free(client.free(call)).await.map(|PolicyAnswer { data }| data)
}

/// Streams a file to the storage. Returns its `oss://` URL once the storage has the whole file and the file has proved to be unchanged.
pub(super) async fn store(
    client: &Client,
    policy: Policy,
    content: Content,
    name: &str,
) -> Result<Uploaded, Error> {
    let key = format!("{}/{name}", policy.upload_dir.trim_end_matches('/'));
    let form = Form::new()
        .text("OSSAccessKeyId", policy.oss_access_key_id)
        .text("Signature", policy.signature)
        .text("policy", policy.policy)
        .text("key", key.clone())
        .text("x-oss-object-acl", policy.x_oss_object_acl)
        .text("x-oss-forbid-overwrite", policy.x_oss_forbid_overwrite)
        .text("success_action_status", "200");
    let Outgoing { body, mut departure } = Outgoing::raw(content, None);
    let file = Part::stream_with_length(body, departure.length()).file_name(name.to_owned());
    let call = client.http.fresh.post(&policy.upload_host).multipart(form.part("file", file));
    let mut response = client.http.watch(call, &mut departure).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(Uploaded { url: Secret::new(&format!("oss://{key}")), fresh_for: FRESH });
    }
    let mut body = Vec::new();
    client.http.body(&mut response, &mut body, MAX_REFUSAL_BYTES).await?;
    Err(refused(status.as_u16(), &String::from_utf8_lossy(&body)))
}

/// The storage is separate from the API: its 403 is about the form, or the policy has expired, and another attempt gets a new one.
fn refused(status: u16, xml: &str) -> Error {
    let message = format!("the temporary storage refused the file with HTTP status {status}: {xml}");
    if xml.contains("EntityTooLarge") || status == 413 {
        return Error::give_up(fault("TooLargeForUpload", Blame::Audio, presentable(&message)));
    }
    let when = if status >= 500 { When::PASSED } else { When::Passed { hint: None, at_most: TRIES } };
    Error { when, ..Error::open("UploadRefused", &message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::{Next, Tries};

    #[test]
    fn a_storage_that_fails_is_asked_again_and_a_form_that_it_refuses_a_few_times() {
        let after = |refusals: u32| Tries { failed: refusals, refused: refusals };
        let expired = "<Error><Code>AccessDenied</Code><Message>Policy expired.</Message></Error>";
        let expired = refused(403, expired);
        assert!(matches!(expired.next(after(0)), Next::After { counts: true, .. }));
        assert_eq!(expired.next(after(3)), Next::Never);
        assert_eq!(refused(400, "<Code>EntityTooLarge</Code>").next(after(0)), Next::Never);
        assert!(matches!(refused(500, "").next(after(9)), Next::After { .. }));
    }
}
