//! The error table: what an answer with a code leads to (docs/errors.md).
//!
//! The code decides; where there is none, or an unknown one, the HTTP status does.

use std::time::Duration;

use hark_sdk::event::Blame;

use crate::job::{Fate, fault};
use crate::recognize::error::{Error, When};
use crate::recognize::examine::remedy;
use crate::recognize::message::{bounded, presentable};

/// A refusal of the service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusal<'a> {
    /// HTTP status, or the status in an SSE comment; `None` for a task, and for an answer or an event without one.
    pub(super) status: Option<u16>,
    /// The service's code; `None` where a gateway answered in its place.
    pub(super) code: Option<&'a str>,
    /// The service's message.
    pub(super) message: &'a str,
    /// How long the service wants the next request to wait.
    pub(super) hint: Option<Duration>,
}

/// Refused for a reason that passes within a few attempts or never, such as a URL that could not be downloaded in time.
const FEW: When = When::Passed { hint: None, at_most: 4 };
const THROTTLED: When = When::Throttled { wait: None };
/// Key, arrears, rights, quota; or an address or a model that the service does not have: every other request would be refused too.
const HELD: When = When::Held { wait: Duration::ZERO, announce: false };

impl Refusal<'_> {
    /// The error that this refusal leads to.
    pub(super) fn into_error(self) -> Error {
        let (when, blame) = self.judge();
        let code = match self.code {
            Some(code) => bounded(code, 64),
            None => format!("HttpStatus{}", self.status.unwrap_or_default()),
        };
        let mut message = presentable(self.message);
        if message.is_empty() {
            message.push_str("the service refused the request and gave no reason");
        }
        let when = match when {
            When::Passed { at_most, .. } => When::Passed { hint: self.hint, at_most },
            When::Throttled { .. } => When::Throttled { wait: self.hint },
            When::Held { .. } => {
                // The remedy of a status alone is that of a gateway, and of a server of any kind.
                let remedy = if self.code.is_none() && blame == Blame::Hark {
                    remedy("NotFound")
                } else {
                    remedy(&code)
                };
                message = format!("{}. {remedy}", message.trim_end_matches('.'));
                HELD
            }
            other => other,
        };
        let fate = match (self.code, self.status) {
            // The gateway reached a service, which may still be processing the request.
            (None, Some(504)) => Fate::Open,
            // The gateway sends 503 when it reached no service; any other status may follow after it reached one.
            (None, Some(500..=502 | 505..)) => Fate::MaybeForwarded,
            _ => Fate::Refused,
        };
        Error { answered: true, ..Error::new(fault(&code, blame, message), fate, when) }
    }

    /// When another attempt may follow, and who has to act.
    fn judge(&self) -> (When, Blame) {
        let by_code = self.code.and_then(|code| by_code(code, &self.message.to_ascii_lowercase()));
        by_code.unwrap_or_else(|| by_status(self))
    }
}

/// Whether this code of a FAILED task means that no speech was recognized.
pub(super) fn means_silence(code: &str) -> bool {
    matches!(code, "SUCCESS_WITH_NO_VALID_FRAGMENT" | "ASR_RESPONSE_HAVE_NO_WORDS")
}

fn by_code(code: &str, message: &str) -> Option<(When, Blame)> {
    Some(match code {
        "InvalidApiKey" | "Arrearage" | "AccessDenied.Unpurchased" | "Model.AccessDenied"
        | "Workspace.AccessDenied" | "AllocationQuota.FreeTierOnly"
        // These are about billing, although their status is 429.
        | "CommodityNotPurchased" | "PrepaidBillOverdue" | "PostpaidBillOverdue" => (HELD, Blame::Account),

        // This code has three meanings; only the last is about the account.
        "AccessDenied" if message.contains("policy expired") => (When::PASSED, Blame::Service),
        "AccessDenied" if message.contains("does not support") => (When::Never, Blame::Hark),
        "AccessDenied" => (HELD, Blame::Account),

        "ModelNotFound" | "Model.NotExist" | "WorkSpaceNotFound" | "NotFound" => (HELD, Blame::Hark),

        "InvalidParameter" => invalid(message),
        "BadRequest.EmptyInput" | "BadRequest.EmptyModel" | "BadRequest.EmptyParameters"
        | "UnsupportedOperation" => (When::Never, Blame::Hark),

        // A retry does not help: the file server behind the URL sends no Content-Length.
        "InternalError.Algo" if message.contains("content-length") => (When::Never, Blame::Audio),
        "InternalError" | "InternalError.Algo" | "InternalError.Timeout" | "SystemError" | "ModelServiceFailed"
        | "RequestTimeOut" | "ModelServingError" | "ModelUnavailable"
        // The code of a task: a new task may succeed.
        | "FILE_SERVER_ERROR" | "FILE_DOWNLOAD_FAILED" | "FILE_TRANS_TASK_EXPIRED" => (When::PASSED, Blame::Service),

        "BadRequest.TooLarge" | "InvalidURL" | "DataInspectionFailed" | "FILE_404_NOT_FOUND" | "FILE_403_FORBIDDEN"
        | "CONTENT_LENGTH_CHECK_FAILED" | "REQUEST_INVALID_FILE_URL_VALUE" | "FILE_CHECK_FAILED"
        | "FILE_PARSE_FAILED" | "FILE_NORMALIZE_FAILED" | "MKV_PARSE_FAILED" | "DECODE_ERROR" | "NO_VALID_AUDIO_ERROR"
        | "FILE_TOO_LARGE" | "AUDIO_DURATION_TOO_LONG" => (When::Never, Blame::Audio),

        _ if code == "Throttling" || code.starts_with("Throttling.") => (THROTTLED, Blame::Service),
        _ => return None,
    })
}

/// The service uses `InvalidParameter` for nearly every fault; its message distinguishes faults of the audio from Hark's.
fn invalid(message: &str) -> (When, Blame) {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["download"]) && says(&["time out", "timed out", "timeout", "time-out"]) {
        return (FEW, Blame::Audio);
    }
    // "url error" means that the model is not available at this endpoint.
    let ours = says(&["url error", "language", "model", "parameters"]);
    let audios =
        says(&["audio", "file", "media", "format", "decod", "duration", "download", "url", "inspection"]);
    (When::Never, if audios && !ours { Blame::Audio } else { Blame::Hark })
}

fn by_status(refusal: &Refusal<'_>) -> (When, Blame) {
    match refusal.status {
        Some(401..=403) => (HELD, Blame::Account),
        Some(429) => (THROTTLED, Blame::Service),
        Some(413 | 415) => (When::Never, Blame::Audio),
        Some(408 | 409 | 425 | 500..) => (When::PASSED, Blame::Service),
        // An unknown code is a deliberate refusal, and does not ask for a retry.
        _ if refusal.code.is_some() => (When::Never, Blame::Service),
        // Another server listens at `dashscope.base_url`, or sends the daemon elsewhere, where the key must not go.
        Some(300..=399 | 404 | 405) => (HELD, Blame::Hark),
        _ => (When::Never, Blame::Hark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(status: &str, code: &str, message: &str) -> String {
        let code = Some(code).filter(|code| *code != "-");
        let (when, blame) =
            Refusal { status: status.parse().ok(), code, message, ..Refusal::default() }.judge();
        let when = match when {
            When::Never => "GiveUp",
            FEW => "Few",
            When::Passed { .. } => "Again",
            When::Throttled { .. } => "Throttled",
            When::Held { .. } => "Held",
            When::Reachable => "Reachable",
        };
        format!("{when} {blame:?}")
    }

    /// Status (`-`: in a task), what it leads to, who has to act: codes (`-`: an answer of a gateway).
    const TABLE: &str = "
        400 GiveUp Hark: BadRequest.EmptyInput BadRequest.EmptyModel BadRequest.EmptyParameters UnsupportedOperation
        404 Held Hark: ModelNotFound Model.NotExist WorkSpaceNotFound NotFound
        400 GiveUp Audio: BadRequest.TooLarge InvalidURL DataInspectionFailed
        400 Held Account: Arrearage
        401 Held Account: InvalidApiKey Teapot
        402 Held Account: Teapot -
        403 Held Account: AccessDenied AccessDenied.Unpurchased Model.AccessDenied Workspace.AccessDenied -
        403 Held Account: AllocationQuota.FreeTierOnly
        429 Held Account: CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue
        429 Throttled Service: Throttling.RateQuota Throttling.BurstRate Throttling.AllocationQuota Throttling Teapot -
        500 Again Service: InternalError InternalError.Algo SystemError ModelServiceFailed RequestTimeOut Teapot -
        500 Again Service: InternalError.Timeout ModelServingError
        502 Again Service: -
        503 Again Service: ModelServingError ModelUnavailable -
        504 Again Service: Teapot
        504 Again Service: -
        408 Again Service: Teapot
        418 GiveUp Service: Teapot
        404 Held Hark: -
        302 Held Hark: -
        400 GiveUp Hark: -
        - Again Service: FILE_SERVER_ERROR FILE_DOWNLOAD_FAILED FILE_TRANS_TASK_EXPIRED
        - GiveUp Audio: FILE_404_NOT_FOUND FILE_403_FORBIDDEN CONTENT_LENGTH_CHECK_FAILED FILE_CHECK_FAILED
        - GiveUp Audio: REQUEST_INVALID_FILE_URL_VALUE FILE_PARSE_FAILED FILE_NORMALIZE_FAILED MKV_PARSE_FAILED
        - GiveUp Audio: DECODE_ERROR NO_VALID_AUDIO_ERROR FILE_TOO_LARGE AUDIO_DURATION_TOO_LONG
        - GiveUp Service: SOMETHING_NEW
    ";

    #[test]
    fn every_row_of_the_services_table_leads_where_it_should() {
        for row in TABLE.trim().lines() {
            let (head, codes) = row.trim().split_once(": ").unwrap();
            let (status, expected) = head.split_once(' ').unwrap();
            for code in codes.split(' ') {
                assert_eq!(leads(status, code, ""), expected, "{status} {code}");
            }
        }
        assert!(
            ["SUCCESS_WITH_NO_VALID_FRAGMENT", "ASR_RESPONSE_HAVE_NO_WORDS"].into_iter().all(means_silence)
        );
    }

    #[test]
    fn a_message_tells_apart_what_has_one_code() {
        for (code, message, expected) in [
            ("InvalidParameter", "language is not supported", "GiveUp Hark"),
            ("InvalidParameter", "url error, please check url!", "GiveUp Hark"),
            ("InvalidParameter", "The audio is too long", "GiveUp Audio"),
            ("InvalidParameter", "Failed to decode the media", "GiveUp Audio"),
            ("InvalidParameter", "Download the media resource timed out", "Few Audio"),
            ("AccessDenied", "current user api does not support synchronous calls", "GiveUp Hark"),
            ("AccessDenied", "Invalid according to Policy: Policy expired.", "Again Service"),
            ("InternalError.Algo", "Missing Content-Length of multimodal url", "GiveUp Audio"),
        ] {
            assert_eq!(leads("400", code, message), expected, "{code} {message:?}");
        }
    }

    #[test]
    fn what_holds_the_queue_has_a_remedy() {
        let message = "Invalid API-key provided.";
        let refusal =
            Refusal { status: Some(401), code: Some("InvalidApiKey"), message, ..Refusal::default() };
        assert_eq!(
            refusal.into_error().fault.message,
            "Invalid API-key provided. Put a key of dashscope.region where the config looks for it; the daemon reads its file again."
        );
    }

    #[test]
    fn an_address_where_no_service_answers_is_named_by_its_key() {
        for status in [302, 404, 405] {
            let message = Refusal { status: Some(status), ..Refusal::default() }.into_error().fault.message;
            assert!(message.contains("Set dashscope.base_url to"), "{message}");
        }
    }

    #[test]
    fn only_a_gateway_may_have_forwarded_what_it_refused() {
        let fate =
            |status, code| Refusal { status: Some(status), code, ..Refusal::default() }.into_error().fate;
        assert_eq!([502, 500].map(|status| fate(status, None)), [Fate::MaybeForwarded; 2]);
        assert_eq!(fate(504, None), Fate::Open);
        assert_eq!([fate(503, None), fate(429, None), fate(500, Some("InternalError"))], [Fate::Refused; 3]);
    }
}
