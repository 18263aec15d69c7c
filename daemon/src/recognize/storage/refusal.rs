//! What a refusal of the bucket's server leads to.

use std::time::Duration;

use hark_sdk::event::Blame;

use crate::job::{Fate, fault};
use crate::recognize::error::{ALWAYS, Error, When};
use crate::recognize::message::presentable;

/// An operator has to give other keys or rights.
const DENIED: &str = "StorageDenied";
/// An operator has to change `[storage]`, or make the bucket.
pub(super) const MISCONFIGURED: &str = "StorageMisconfigured";
const UNAVAILABLE: &str = "StorageUnavailable";

/// The error for a status that is no success. `xml`: the body; `place`: the bucket and its server, for the message.
pub(in crate::recognize) fn refused(status: u16, xml: &str, hint: Option<Duration>, place: &str) -> Error {
    let code = element(xml, "Code").map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    let words = element(xml, "Message").map(presentable).unwrap_or_default();
    let (name, blame, when, remedy) = judge(status, &code);
    let message = format!("{place} answered {}: {words}", presentable(&code));
    let message = format!("{}. {remedy}", message.trim_end_matches([':', '.', ' ']));
    let when = match when {
        When::Passed { at_most, .. } => When::Passed { hint, at_most },
        when => when,
    };
    Error::new(fault(name, blame, message), Fate::Refused, when)
}

fn judge(status: u16, code: &str) -> (&'static str, Blame, When, &'static str) {
    let passes = When::Passed { hint: None, at_most: ALWAYS };
    let denied = |remedy| (DENIED, Blame::Account, When::HELD, remedy);
    let misconfigured = |remedy| (MISCONFIGURED, Blame::Hark, When::HELD, remedy);
    match (code, status) {
        ("EntityTooLarge", _) | (_, 413) => (
            "TooLargeForUpload",
            Blame::Audio,
            When::Never,
            "Put the recording where a URL reaches it, and send the URL",
        ),
        // S3 answers 400 for an upload that stalled.
        ("RequestTimeout", _) | (_, 408 | 429 | 500..) => {
            (UNAVAILABLE, Blame::Service, passes, "The daemon tries again")
        }
        ("NoSuchBucket", _) => {
            misconfigured("Make the bucket, or correct url, endpoint or region of [storage]")
        }
        ("RequestTimeTooSkewed", _) => misconfigured("Correct the clock of this machine"),
        ("SecondLevelDomainForbidden", _) => misconfigured("Set addressing = \"virtual\" in [storage]"),
        ("ExpiredToken" | "InvalidToken", _) => {
            denied("Write a new session_token into credentials_file of [storage]")
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch", _) => {
            denied("Correct the keys in credentials_file of [storage] or in the AWS_ variables")
        }
        (_, 401 | 403) => denied(
            "Allow the keys of [storage] to put, get and delete objects below its url (s3:PutObject, s3:GetObject, s3:DeleteObject)",
        ),
        _ => misconfigured("Correct url, endpoint or region of [storage]"),
    }
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::{Next, Tries};

    fn of(status: u16, code: &str) -> Error {
        let xml = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>see https://host/x?X-Amz-Signature=canary</Message>\
             <AWSAccessKeyId>AKIACANARY</AWSAccessKeyId><StringToSign>canary</StringToSign></Error>"
        );
        refused(status, &xml, None, "bucket calls at host")
    }

    #[test]
    fn a_refusal_that_needs_an_operator_is_held_and_names_the_remedy() {
        for (status, code, name, blame) in [
            (403, "AccessDenied", DENIED, Blame::Account),
            (403, "InvalidAccessKeyId", DENIED, Blame::Account),
            (403, "SignatureDoesNotMatch", DENIED, Blame::Account),
            (400, "ExpiredToken", DENIED, Blame::Account),
            (404, "NoSuchBucket", MISCONFIGURED, Blame::Hark),
            (301, "PermanentRedirect", MISCONFIGURED, Blame::Hark),
            (400, "AuthorizationHeaderMalformed", MISCONFIGURED, Blame::Hark),
            (403, "RequestTimeTooSkewed", MISCONFIGURED, Blame::Hark),
            (403, "SecondLevelDomainForbidden", MISCONFIGURED, Blame::Hark),
            (405, "MethodNotAllowed", MISCONFIGURED, Blame::Hark),
        ] {
            let error = of(status, code);
            assert_eq!((error.fault.code.as_str(), error.fault.blame), (name, blame), "{code}");
            assert!(matches!(error.next(Tries::default()), Next::Held { .. }), "{code}");
            let message = &error.fault.message;
            assert!(message.starts_with(&format!("bucket calls at host answered {code}: ")), "{message}");
            assert!(!message.to_lowercase().contains("canary"), "{message}");
        }
        assert!(of(403, "AccessDenied").fault.message.contains("[storage]"));
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_too_large_is_not() {
        for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout"), (429, "x")]
        {
            let error = of(status, code);
            assert!(matches!(error.next(Tries { failed: 99, refused: 99 }), Next::After { .. }), "{code}");
            assert_eq!(error.fault.blame, Blame::Service);
        }
        assert_eq!(of(400, "EntityTooLarge").next(Tries::default()), Next::Never);
        assert_eq!(refused(413, "", None, "b").next(Tries::default()), Next::Never);
    }

    #[test]
    fn a_server_that_is_no_object_storage_is_named_with_its_status() {
        let message = refused(404, "<html>not here</html>", None, "bucket calls at host").fault.message;
        assert_eq!(
            message,
            "bucket calls at host answered HTTP status 404. Correct url, endpoint or region of [storage]"
        );
    }
}
