//! The error table: what an answer with a code leads to (CONTRACT.md 4, "What faults lead to").
//!
//! The code decides; where there is none, or one that nobody has heard of, the HTTP status does. Some codes come in two spellings.

use std::time::Duration;

use hark_sdk::event::Blame;

use super::error::Verdict;

/// An answer that refuses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refusal<'a> {
    /// HTTP status, or the one that an SSE comment named; `None` inside a task or a stream that did not say.
    pub status: Option<u16>,
    /// The service's code; `None` where a gateway answered in its place.
    pub code: Option<&'a str>,
    /// The service's message.
    pub message: &'a str,
    /// `Retry-After` and its kin.
    pub hint: Option<Duration>,
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
}

/// Tries after which a URL that could not be downloaded in time never will be.
const DOWNLOAD_TRIES: u32 = 4;

/// Until the queue says how long it is held.
const UNSET: Duration = Duration::from_secs(2);

/// What follows, and whose fault it is.
pub(crate) fn judge(refusal: &Refusal<'_>) -> (Verdict, Blame) {
    let by_code = refusal.code.and_then(|code| by_code(code, &refusal.message.to_ascii_lowercase()));
    let (verdict, blame) = by_code.unwrap_or_else(|| by_status(refusal));
    let verdict = match (verdict, refusal.should_retry) {
        (account @ Verdict::Account { .. }, _) => account,
        (Verdict::Again { .. } | Verdict::Throttled { .. }, Some(false)) => Verdict::GiveUp,
        (Verdict::GiveUp, Some(true)) => again(),
        (verdict, _) => verdict,
    };
    let verdict = match verdict {
        Verdict::Again { at_most, .. } => Verdict::Again { hint: refusal.hint, at_most },
        Verdict::Throttled { after, .. } => {
            Verdict::Throttled { hint: refusal.hint, after: refusal.hint.unwrap_or(after) }
        }
        verdict => verdict,
    };
    (verdict, blame)
}

/// Codes of a FAILED task that mean: nothing was said.
pub(crate) fn means_silence(code: &str) -> bool {
    matches!(code, "SUCCESS_WITH_NO_VALID_FRAGMENT" | "ASR_RESPONSE_HAVE_NO_WORDS")
}

/// What to do about a code that says that the service has no such address or model: every other recording would be refused alike.
pub(crate) fn misdirected(code: &str) -> Option<&'static str> {
    match code {
        "ModelNotFound" | "Model.NotExist" | "model_not_found" => {
            Some("set dashscope.flash_model or dashscope.filetrans_model to a model of dashscope.region")
        }
        // A redirect as well: the key is not sent after it.
        "NotFound" | "WorkSpaceNotFound" | "HttpStatus301" | "HttpStatus302" | "HttpStatus307"
        | "HttpStatus308" | "HttpStatus404" | "HttpStatus405" | "HttpStatus410" | "HttpStatus421" => {
            Some("set dashscope.base_url to the service's address up to and including /api/v1")
        }
        _ => None,
    }
}

/// Words that services put where a refusal has its code, though nothing is refused.
pub(crate) fn means_success(code: &str) -> bool {
    ["", "0", "200", "ok", "success"].iter().any(|word| code.eq_ignore_ascii_case(word))
}

fn by_code(code: &str, message: &str) -> Option<(Verdict, Blame)> {
    let give_up = |blame| Some((Verdict::GiveUp, blame));
    match code {
        "InvalidApiKey" | "invalid_api_key" | "Arrearage" | "AccessDenied.Unpurchased" | "Model.AccessDenied"
        | "Workspace.AccessDenied" | "WorkSpace.AccessDenied" | "AllocationQuota.FreeTierOnly"
        // Billing, although their status is 429.
        | "CommodityNotPurchased" | "PrepaidBillOverdue" | "PostpaidBillOverdue" => Some((account(), Blame::Account)),

        // The same code says three things; only the first is about the account.
        "AccessDenied" if message.contains("policy expired") => Some((again(), Blame::Service)),
        "AccessDenied" if message.contains("does not support") => give_up(Blame::Hark),
        "AccessDenied" => Some((account(), Blame::Account)),

        "InvalidParameter" | "invalid_parameter_error" | "InvalidParameter.DataInspection" => invalid(message),
        "BadRequest.TooLarge" | "InvalidURL" | "DataInspectionFailed" | "data_inspection_failed" => give_up(Blame::Audio),
        "BadRequest.EmptyInput" | "BadRequest.EmptyModel" | "BadRequest.EmptyParameters" | "UnsupportedOperation"
        | "ModelNotFound" | "Model.NotExist" | "model_not_found" | "WorkSpaceNotFound" | "NotFound" => give_up(Blame::Hark),

        // The file server behind the URL will not grow a Content-Length by itself.
        "InternalError.Algo" if message.contains("content-length") => give_up(Blame::Audio),
        "InternalError" | "InternalError.Algo" | "InternalError.Timeout" | "SystemError" | "ModelServiceFailed"
        | "RequestTimeOut" | "ModelServingError" | "ModelUnavailable"
        // Inside a task: a new task may fare better.
        | "FILE_SERVER_ERROR" | "FILE_DOWNLOAD_FAILED" | "FILE_TRANS_TASK_EXPIRED" => Some((again(), Blame::Service)),

        "FILE_404_NOT_FOUND" | "FILE_403_FORBIDDEN" | "CONTENT_LENGTH_CHECK_FAILED" | "REQUEST_INVALID_FILE_URL_VALUE"
        | "FILE_CHECK_FAILED" | "FILE_PARSE_FAILED" | "FILE_NORMALIZE_FAILED" | "MKV_PARSE_FAILED" | "DECODE_ERROR"
        | "NO_VALID_AUDIO_ERROR" | "FILE_TOO_LARGE" | "AUDIO_DURATION_TOO_LONG" => give_up(Blame::Audio),

        _ if code == "Throttling" || code.starts_with("Throttling.") || code == "limit_requests" => {
            Some((throttled(), Blame::Service))
        }
        _ => None,
    }
}

/// `InvalidParameter` is the service's word for nearly everything; its message tells the audio's faults from ours.
fn invalid(message: &str) -> Option<(Verdict, Blame)> {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["download"]) && says(&["time out", "timed out", "timeout", "time-out"]) {
        let verdict = Verdict::Again { hint: None, at_most: Some(DOWNLOAD_TRIES) };
        return Some((verdict, Blame::Audio));
    }
    // "url error" is how it names a model on the wrong endpoint.
    let ours = says(&["url error", "language", "model", "parameters"]);
    let audios =
        says(&["audio", "file", "media", "format", "decod", "duration", "download", "url", "inspection"]);
    Some((Verdict::GiveUp, if audios && !ours { Blame::Audio } else { Blame::Hark }))
}

fn by_status(refusal: &Refusal<'_>) -> (Verdict, Blame) {
    match refusal.status {
        Some(401..=403) => (account(), Blame::Account),
        Some(429) => (throttled(), Blame::Service),
        Some(413 | 415) => (Verdict::GiveUp, Blame::Audio),
        Some(408 | 409 | 425) => (again(), Blame::Service),
        // Somebody behind the gateway was reached and may be at work.
        Some(504) if refusal.code.is_none() => (Verdict::Unknown, Blame::Service),
        Some(500..) => (again(), Blame::Service),
        // A code that nobody has heard of: the service means something by it, and it is not "again".
        _ if refusal.code.is_some() => (Verdict::GiveUp, Blame::Service),
        // No code, no service: most likely something else listens at `dashscope.base_url`.
        _ => (Verdict::GiveUp, Blame::Hark),
    }
}

fn again() -> Verdict {
    Verdict::Again { hint: None, at_most: None }
}

fn throttled() -> Verdict {
    Verdict::Throttled { hint: None, after: UNSET }
}

/// The queue is closed.
pub(crate) fn account() -> Verdict {
    Verdict::Account { after: UNSET, announce: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Leads {
        GiveUp,
        Again,
        Few,
        Throttled,
        Account,
        Unknown,
    }

    fn leads(refusal: &Refusal<'_>) -> (Leads, Blame) {
        let (verdict, blame) = judge(refusal);
        let leads = match verdict {
            Verdict::GiveUp => Leads::GiveUp,
            Verdict::Again { at_most: None, .. } => Leads::Again,
            Verdict::Again { at_most: Some(_), .. } => Leads::Few,
            Verdict::Throttled { .. } => Leads::Throttled,
            Verdict::Account { .. } => Leads::Account,
            Verdict::Unknown | Verdict::NotSent => Leads::Unknown,
        };
        (leads, blame)
    }

    #[test]
    fn every_row_of_the_services_table_leads_where_it_should() {
        use Blame::{Account as A, Audio, Hark, Service};
        let table = [
            (400, "InvalidParameter", "language is not supported", Leads::GiveUp, Hark),
            (400, "InvalidParameter", "url error, please check url!", Leads::GiveUp, Hark),
            (400, "InvalidParameter", "The audio is too long", Leads::GiveUp, Audio),
            (400, "InvalidParameter", "Failed to decode the media", Leads::GiveUp, Audio),
            (400, "InvalidParameter", "Download the media resource timed out", Leads::Few, Audio),
            (400, "BadRequest.EmptyInput", "", Leads::GiveUp, Hark),
            (400, "BadRequest.EmptyModel", "", Leads::GiveUp, Hark),
            (400, "BadRequest.EmptyParameters", "", Leads::GiveUp, Hark),
            (400, "BadRequest.TooLarge", "", Leads::GiveUp, Audio),
            (400, "InvalidURL", "", Leads::GiveUp, Audio),
            (400, "DataInspectionFailed", "", Leads::GiveUp, Audio),
            (400, "Arrearage", "", Leads::Account, A),
            (400, "UnsupportedOperation", "", Leads::GiveUp, Hark),
            (401, "InvalidApiKey", "", Leads::Account, A),
            (403, "AccessDenied", "no rights", Leads::Account, A),
            (403, "AccessDenied", "current user api does not support synchronous calls", Leads::GiveUp, Hark),
            (403, "AccessDenied", "Invalid according to Policy: Policy expired.", Leads::Again, Service),
            (403, "AccessDenied.Unpurchased", "", Leads::Account, A),
            (403, "Model.AccessDenied", "", Leads::Account, A),
            (403, "Workspace.AccessDenied", "", Leads::Account, A),
            (403, "AllocationQuota.FreeTierOnly", "", Leads::Account, A),
            (404, "ModelNotFound", "", Leads::GiveUp, Hark),
            (404, "Model.NotExist", "", Leads::GiveUp, Hark),
            (404, "WorkSpaceNotFound", "", Leads::GiveUp, Hark),
            (404, "NotFound", "", Leads::GiveUp, Hark),
            (429, "Throttling.RateQuota", "", Leads::Throttled, Service),
            (429, "Throttling.BurstRate", "", Leads::Throttled, Service),
            (429, "Throttling.AllocationQuota", "", Leads::Throttled, Service),
            (429, "Throttling", "", Leads::Throttled, Service),
            (429, "CommodityNotPurchased", "", Leads::Account, A),
            (429, "PrepaidBillOverdue", "", Leads::Account, A),
            (429, "PostpaidBillOverdue", "", Leads::Account, A),
            (500, "InternalError", "", Leads::Again, Service),
            (500, "InternalError.Algo", "", Leads::Again, Service),
            (500, "InternalError.Algo", "Missing Content-Length of multimodal url", Leads::GiveUp, Audio),
            (500, "SystemError", "", Leads::Again, Service),
            (500, "ModelServiceFailed", "", Leads::Again, Service),
            (500, "RequestTimeOut", "", Leads::Again, Service),
            (500, "InternalError.Timeout", "", Leads::Again, Service),
            (500, "ModelServingError", "", Leads::Again, Service),
            (503, "ModelServingError", "", Leads::Again, Service),
            (503, "ModelUnavailable", "", Leads::Again, Service),
            // Codes and statuses that nobody has heard of.
            (418, "Teapot", "", Leads::GiveUp, Service),
            (429, "Teapot", "", Leads::Throttled, Service),
            (500, "Teapot", "", Leads::Again, Service),
            (504, "Teapot", "", Leads::Again, Service),
            (408, "Teapot", "", Leads::Again, Service),
            (401, "Teapot", "", Leads::Account, A),
            (402, "Teapot", "", Leads::Account, A),
        ];
        for (status, code, message, expected, blame) in table {
            let refusal = Refusal { status: Some(status), code: Some(code), message, ..Refusal::default() };
            assert_eq!(leads(&refusal), (expected, blame), "{status} {code} {message:?}");
        }
    }

    #[test]
    fn every_code_inside_a_failed_task_leads_where_it_should() {
        let again = ["FILE_SERVER_ERROR", "FILE_DOWNLOAD_FAILED", "FILE_TRANS_TASK_EXPIRED"];
        let never = [
            "FILE_404_NOT_FOUND",
            "FILE_403_FORBIDDEN",
            "CONTENT_LENGTH_CHECK_FAILED",
            "REQUEST_INVALID_FILE_URL_VALUE",
            "FILE_CHECK_FAILED",
            "FILE_PARSE_FAILED",
            "FILE_NORMALIZE_FAILED",
            "MKV_PARSE_FAILED",
            "DECODE_ERROR",
            "NO_VALID_AUDIO_ERROR",
            "FILE_TOO_LARGE",
            "AUDIO_DURATION_TOO_LONG",
        ];
        let of_task = |code| leads(&Refusal { code: Some(code), ..Refusal::default() });
        for code in again {
            assert_eq!(of_task(code), (Leads::Again, Blame::Service), "{code}");
        }
        for code in never {
            assert_eq!(of_task(code), (Leads::GiveUp, Blame::Audio), "{code}");
        }
        assert_eq!(of_task("SOMETHING_NEW"), (Leads::GiveUp, Blame::Service));
        assert!(
            means_silence("SUCCESS_WITH_NO_VALID_FRAGMENT") && means_silence("ASR_RESPONSE_HAVE_NO_WORDS")
        );
    }

    #[test]
    fn a_gateway_without_a_code_is_judged_by_its_status() {
        for (status, expected) in [
            (500, Leads::Again),
            (502, Leads::Again),
            (503, Leads::Again),
            (504, Leads::Unknown),
            (429, Leads::Throttled),
            (402, Leads::Account),
            (403, Leads::Account),
            (404, Leads::GiveUp),
            (302, Leads::GiveUp),
        ] {
            let refusal = Refusal { status: Some(status), message: "<html>", ..Refusal::default() };
            assert_eq!(leads(&refusal).0, expected, "{status}");
        }
    }

    #[test]
    fn the_services_own_word_on_retrying_is_obeyed_except_about_the_account() {
        let busy = Refusal { status: Some(503), code: Some("ModelUnavailable"), ..Refusal::default() };
        assert_eq!(leads(&Refusal { should_retry: Some(false), ..busy }).0, Leads::GiveUp);
        let odd = Refusal { status: Some(400), code: Some("Teapot"), ..Refusal::default() };
        assert_eq!(leads(&Refusal { should_retry: Some(true), ..odd }).0, Leads::Again);
        let key = Refusal { status: Some(401), code: Some("InvalidApiKey"), ..Refusal::default() };
        assert_eq!(leads(&Refusal { should_retry: Some(true), ..key }).0, Leads::Account);
    }
}
