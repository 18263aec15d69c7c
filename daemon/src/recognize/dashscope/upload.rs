//! The service's temporary storage: gives a local file a URL that filetrans can fetch, for 48 hours.

use hark_sdk::event::Blame;
use reqwest::multipart::{Form, Part};

use super::answers::{Policy, PolicyAnswer};
use super::client::Client;
use crate::recognize::error::{ALWAYS, Error, When, fault};
use crate::recognize::http::{Content, Outgoing};

/// Attempts of an upload whose form the storage refuses for no known reason.
const TRIES: u32 = 4;

pub(super) async fn policy(client: &Client, model: &str) -> Result<Policy, Error> {
    let call = client.get(&["uploads"]).query(&[("action", "getPolicy"), ("model", model)]);
    client.policies.free(client.free(call)).await.map(|PolicyAnswer { data }| data)
}

/// Streams a file to the storage. Returns its `oss://` URL once the storage has the whole file and the file has proved to be unchanged.
pub(super) async fn store(
    client: &Client,
    policy: Policy,
    content: Content,
    name: &str,
) -> Result<String, Error> {
    let bytes = content.bytes();
    if let Some(limit) = policy.max_file_size_mb.filter(|limit| *limit > 0 && bytes > limit << 20) {
        let message = format!(
            "the service's temporary storage takes up to {limit} MB, this has {}; put it where a URL reaches it and send that",
            bytes >> 20
        );
        return Err(Error::give_up(fault("TooLargeForUpload", Blame::Audio, message)));
    }
    let key = format!("{}/{name}", policy.upload_dir.trim_end_matches('/'));
    let form = Form::new()
        .text("OSSAccessKeyId", policy.oss_access_key_id)
        .text("Signature", policy.signature)
        .text("policy", policy.policy)
        .text("key", key.clone())
        .text("x-oss-object-acl", policy.x_oss_object_acl)
        .text("x-oss-forbid-overwrite", policy.x_oss_forbid_overwrite)
        .text("success_action_status", "200");
    let (body, mut departure) = Outgoing::raw(content);
    let file = Part::stream_with_length(reqwest::Body::wrap(body), bytes).file_name(name.to_owned());
    let call = client.http.fresh.post(&policy.upload_host).multipart(form.part("file", file));
    let mut response = client.http.watch(call, &mut departure).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(format!("oss://{key}"));
    }
    let refused_with = client.http.refusal(&mut response).await.body;
    Err(refused(status.as_u16(), &String::from_utf8_lossy(&refused_with)))
}

/// The storage is separate from the API: its 403 is about the form, not about the account.
fn refused(status: u16, body: &str) -> Error {
    let code = element(body, "Code").unwrap_or("Unreadable");
    let message = element(body, "Message").unwrap_or_default();
    let said = format!("the temporary storage refused the file with HTTP status {status}, {code}: {message}");
    if code == "EntityTooLarge" || status == 413 {
        return Error::give_up(fault("TooLargeForUpload", Blame::Audio, said));
    }
    let passes = status >= 500 || message.to_ascii_lowercase().contains("expired");
    let when = When::Passed { hint: None, at_most: if passes { ALWAYS } else { TRIES } };
    Error { when, ..Error::open("UploadRefused", &said) }
}

/// The text of the first element of this name; the storage's errors are not nested.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let after = xml.split_once(&format!("<{name}>"))?.1;
    Some(after.split_once(&format!("</{name}>"))?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::{Next, Tries};

    #[test]
    fn an_expired_policy_leads_to_a_new_one_and_other_refusals_to_an_end() {
        let after = |refusals: u32| Tries { failed: refusals, refused: refusals };
        let xml = |code: &str, message: &str| {
            format!("<Error>\n  <Code>{code}</Code>\n <Message>{message}</Message></Error>")
        };
        let expired = refused(403, &xml("AccessDenied", "Invalid according to Policy: Policy expired."));
        assert!(matches!(expired.next(after(100)), Next::After { counts: true, .. }));
        let denied = refused(403, &xml("AccessDenied", "by bucket policy"));
        assert!(matches!(denied.next(after(0)), Next::After { .. }));
        assert_eq!(denied.next(after(3)), Next::Never);
        assert_eq!(refused(400, &xml("EntityTooLarge", "")).next(after(0)), Next::Never);
        assert!(matches!(refused(500, "").next(after(9)), Next::After { .. }));
    }
}
