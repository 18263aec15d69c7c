//! The error table: what an answer with a code leads to (CONTRACT.md 4, "What faults lead to").
//!
//! The code decides; where there is none, or an unknown one, the HTTP status does.

use std::time::Duration;

use hark_sdk::event::Blame;

use crate::job::Fate;
use crate::recognize::error::{ALWAYS, Error, When, fault};
use crate::recognize::http::RetryAfter;
use crate::recognize::message::{bounded, presentable};

/// A refusal of the service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refusal<'a> {
    /// HTTP status, or the status in an SSE comment; `None` for a task, and for a stream without such a comment.
    pub status: Option<u16>,
    /// The service's code; `None` where a gateway answered in its place.
    pub code: Option<&'a str>,
    /// The service's message.
    pub message: &'a str,
    /// When, and whether, the service wants the request to be retried.
    pub retry: RetryAfter,
}

/// What a code or a status leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    /// Another attempt would fail in the same way.
    GiveUp,
    /// Refused for a temporary reason.
    Again,
    /// The same, but the reason passes within a few attempts or never.
    Few,
    Throttled,
    /// Key, arrears, rights, quota.
    Account,
    /// The service may have taken the request and charged for it.
    Unknown,
}

/// Attempts after which a URL that could not be downloaded in time is given up.
const DOWNLOAD_TRIES: u32 = 4;

/// Replaced by the pacer, which knows how long the queue is held.
const UNSET: Duration = Duration::from_secs(2);

impl Refusal<'_> {
    /// The error that this refusal leads to.
    pub fn into_error(self) -> Error {
        let (leads, blame) = self.judge();
        let code = match (self.code, self.status) {
            (Some(code), _) => bounded(code, 64),
            (None, Some(status)) => format!("HttpStatus{status}"),
            (None, None) => "NoCode".into(),
        };
        let message = match self.message.trim() {
            "" => "the service refused the request and said nothing more".to_owned(),
            message => presentable(message),
        };
        let message = match leads {
            Leads::Account => format!("{}; {}", message.trim_end_matches('.'), advice(&code)),
            _ => message,
        };
        let hint = self.retry.hint;
        let when = match leads {
            Leads::GiveUp => When::Never,
            Leads::Again => When::Passed { hint, at_most: ALWAYS },
            Leads::Few => When::Passed { hint, at_most: DOWNLOAD_TRIES },
            Leads::Throttled => When::Throttled { wait: hint },
            Leads::Account => When::Held { wait: UNSET, announce: false },
            Leads::Unknown => When::PASSED,
        };
        // The gateway sends 503 without a code when it reached no service; any other status may follow after it reached one.
        let by_gateway =
            self.code.is_none() && self.status.is_some_and(|status| status >= 500 && status != 503);
        let fate = match leads {
            Leads::Unknown => Fate::Open,
            _ if by_gateway => Fate::MaybeForwarded,
            _ => Fate::Refused,
        };
        Error { answered: true, ..Error::new(fault(&code, blame, message), fate, when) }
    }

    /// What the refusal leads to, and who has to act.
    fn judge(&self) -> (Leads, Blame) {
        let by_code = self.code.and_then(|code| by_code(code, &self.message.to_ascii_lowercase()));
        let (leads, blame) = by_code.unwrap_or_else(|| by_status(self));
        let leads = match (leads, self.retry.should_retry) {
            (Leads::Again | Leads::Few | Leads::Throttled, Some(false)) => Leads::GiveUp,
            (Leads::GiveUp, Some(true)) => Leads::Again,
            (leads, _) => leads,
        };
        (leads, blame)
    }
}

/// What the operator can do about the refusal of an account; the service seldom explains that.
fn advice(code: &str) -> &'static str {
    match code {
        "InvalidApiKey" => "put a key of dashscope.region where the config looks for it",
        "Arrearage" | "PrepaidBillOverdue" | "PostpaidBillOverdue" | "CommodityNotPurchased" => {
            "settle the account's bills with the provider"
        }
        _ => "have the provider grant the account this model",
    }
}

/// Whether this code of a FAILED task means that no speech was recognized.
pub(super) fn means_silence(code: &str) -> bool {
    matches!(code, "SUCCESS_WITH_NO_VALID_FRAGMENT" | "ASR_RESPONSE_HAVE_NO_WORDS")
}

/// The outcome of a call whose address or model the service does not have: the queue is held, because otherwise every recording would fail
/// for it. Free calls outside the queue do not use this, because the refusal may concern only them: not every service has a list of tasks.
pub(super) fn hold_if_misdirected<T>(outcome: Result<T, Error>) -> Result<T, Error> {
    outcome.map_err(|mut error| {
        if error.when == When::Never
            && let Some(advice) = misdirected(&error.fault.code)
        {
            error.when = When::Held { wait: Duration::ZERO, announce: false };
            error.fault.message = format!("{}; {advice}", error.fault.message.trim_end_matches(['.', '?']));
        }
        error
    })
}

/// The remedy for a code that means that the service has no such address or model: every other recording would be refused too.
fn misdirected(code: &str) -> Option<&'static str> {
    match code {
        "ModelNotFound" | "Model.NotExist" | "model_not_found" => {
            Some("set dashscope.flash_model or dashscope.filetrans_model to a model of dashscope.region")
        }
        // A redirect as well: the daemon does not send the key to its target.
        "NotFound" | "WorkSpaceNotFound" | "HttpStatus301" | "HttpStatus302" | "HttpStatus307"
        | "HttpStatus308" | "HttpStatus404" | "HttpStatus405" | "HttpStatus410" | "HttpStatus421" => {
            Some("set dashscope.base_url to the service's address up to and including /api/v1")
        }
        _ => None,
    }
}

fn by_code(code: &str, message: &str) -> Option<(Leads, Blame)> {
    let give_up = |blame| Some((Leads::GiveUp, blame));
    match code {
        "InvalidApiKey" | "Arrearage" | "AccessDenied.Unpurchased" | "Model.AccessDenied"
        | "Workspace.AccessDenied" | "AllocationQuota.FreeTierOnly"
        // These are about billing, although their status is 429.
        | "CommodityNotPurchased" | "PrepaidBillOverdue" | "PostpaidBillOverdue" => Some((Leads::Account, Blame::Account)),

        // This code has three meanings; only the last is about the account.
        "AccessDenied" if message.contains("policy expired") => Some((Leads::Again, Blame::Service)),
        "AccessDenied" if message.contains("does not support") => give_up(Blame::Hark),
        "AccessDenied" => Some((Leads::Account, Blame::Account)),

        "InvalidParameter" => invalid(message),
        "BadRequest.TooLarge" | "InvalidURL" | "DataInspectionFailed" => give_up(Blame::Audio),
        "BadRequest.EmptyInput" | "BadRequest.EmptyModel" | "BadRequest.EmptyParameters" | "UnsupportedOperation"
        | "ModelNotFound" | "Model.NotExist" | "WorkSpaceNotFound" | "NotFound" => give_up(Blame::Hark),

        // A retry does not help: the file server behind the URL sends no Content-Length.
        "InternalError.Algo" if message.contains("content-length") => give_up(Blame::Audio),
        "InternalError" | "InternalError.Algo" | "InternalError.Timeout" | "SystemError" | "ModelServiceFailed"
        | "RequestTimeOut" | "ModelServingError" | "ModelUnavailable"
        // The code of a task: a new task may succeed.
        | "FILE_SERVER_ERROR" | "FILE_DOWNLOAD_FAILED" | "FILE_TRANS_TASK_EXPIRED" => Some((Leads::Again, Blame::Service)),

        "FILE_404_NOT_FOUND" | "FILE_403_FORBIDDEN" | "CONTENT_LENGTH_CHECK_FAILED" | "REQUEST_INVALID_FILE_URL_VALUE"
        | "FILE_CHECK_FAILED" | "FILE_PARSE_FAILED" | "FILE_NORMALIZE_FAILED" | "MKV_PARSE_FAILED" | "DECODE_ERROR"
        | "NO_VALID_AUDIO_ERROR" | "FILE_TOO_LARGE" | "AUDIO_DURATION_TOO_LONG" => give_up(Blame::Audio),

        _ if code == "Throttling" || code.starts_with("Throttling.") => {
            Some((Leads::Throttled, Blame::Service))
        }
        _ => None,
    }
}

/// The service uses `InvalidParameter` for nearly every fault; its message distinguishes faults of the audio from Hark's.
fn invalid(message: &str) -> Option<(Leads, Blame)> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["download"]) && says(&["time out", "timed out", "timeout", "time-out"]) {
        return Some((Leads::Few, Blame::Audio));
    }
    // "url error" means that the model is not available at this endpoint.
    let ours = says(&["url error", "language", "model", "parameters"]);
    let audios =
        says(&["audio", "file", "media", "format", "decod", "duration", "download", "url", "inspection"]);
    Some((Leads::GiveUp, if audios && !ours { Blame::Audio } else { Blame::Hark }))
}

fn by_status(refusal: &Refusal<'_>) -> (Leads, Blame) {
    match refusal.status {
        Some(401..=403) => (Leads::Account, Blame::Account),
        Some(429) => (Leads::Throttled, Blame::Service),
        Some(413 | 415) => (Leads::GiveUp, Blame::Audio),
        Some(408 | 409 | 425) => (Leads::Again, Blame::Service),
        // The gateway reached a service, which may still be processing the request.
        Some(504) if refusal.code.is_none() => (Leads::Unknown, Blame::Service),
        Some(500..) => (Leads::Again, Blame::Service),
        // An unknown code is a deliberate refusal, and does not ask for a retry.
        _ if refusal.code.is_some() => (Leads::GiveUp, Blame::Service),
        // An answer without a code is not the service's: most likely another server listens at `dashscope.base_url`.
        _ => (Leads::GiveUp, Blame::Hark),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(status: &str, code: &str, message: &str) -> String {
        let code = Some(code).filter(|code| *code != "-");
        let (leads, blame) =
            Refusal { status: status.parse().ok(), code, message, ..Refusal::default() }.judge();
        format!("{leads:?} {blame:?}")
    }

    /// Status (`-`: in a task), what it leads to, who has to act: codes (`-`: an answer of a gateway).
    const TABLE: &str = "
        400 GiveUp Hark: BadRequest.EmptyInput BadRequest.EmptyModel BadRequest.EmptyParameters UnsupportedOperation
        404 GiveUp Hark: ModelNotFound Model.NotExist WorkSpaceNotFound NotFound
        400 GiveUp Audio: BadRequest.TooLarge InvalidURL DataInspectionFailed
        400 Account Account: Arrearage
        401 Account Account: InvalidApiKey Teapot
        402 Account Account: Teapot -
        403 Account Account: AccessDenied AccessDenied.Unpurchased Model.AccessDenied Workspace.AccessDenied -
        403 Account Account: AllocationQuota.FreeTierOnly
        429 Account Account: CommodityNotPurchased PrepaidBillOverdue PostpaidBillOverdue
        429 Throttled Service: Throttling.RateQuota Throttling.BurstRate Throttling.AllocationQuota Throttling Teapot -
        500 Again Service: InternalError InternalError.Algo SystemError ModelServiceFailed RequestTimeOut Teapot -
        500 Again Service: InternalError.Timeout ModelServingError
        502 Again Service: -
        503 Again Service: ModelServingError ModelUnavailable -
        504 Again Service: Teapot
        504 Unknown Service: -
        408 Again Service: Teapot
        418 GiveUp Service: Teapot
        404 GiveUp Hark: -
        302 GiveUp Hark: -
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
    fn the_services_own_word_on_retrying_is_obeyed_except_about_the_account() {
        let told = |status: u16, code, should_retry: bool| {
            let retry = RetryAfter { should_retry: Some(should_retry), ..RetryAfter::default() };
            Refusal { status: Some(status), code: Some(code), retry, ..Refusal::default() }.judge().0
        };
        assert_eq!(told(503, "ModelUnavailable", false), Leads::GiveUp);
        assert_eq!(told(400, "Teapot", true), Leads::Again);
        assert_eq!(told(401, "InvalidApiKey", true), Leads::Account);
    }

    #[test]
    fn a_refused_account_is_told_what_to_do() {
        let message = "Invalid API-key provided.";
        let refusal =
            Refusal { status: Some(401), code: Some("InvalidApiKey"), message, ..Refusal::default() };
        assert_eq!(
            refusal.into_error().fault.message,
            "Invalid API-key provided; put a key of dashscope.region where the config looks for it"
        );
    }

    #[test]
    fn only_a_gateway_may_have_handed_on_what_it_refused() {
        let fate =
            |status, code| Refusal { status: Some(status), code, ..Refusal::default() }.into_error().fate;
        assert_eq!([502, 500].map(|status| fate(status, None)), [Fate::MaybeForwarded; 2]);
        assert_eq!(fate(504, None), Fate::Open);
        assert_eq!([fate(503, None), fate(429, None), fate(500, Some("InternalError"))], [Fate::Refused; 3]);
    }
}
