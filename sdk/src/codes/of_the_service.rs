//! The codes of the service, grouped by how the daemon reacts.

use crate::event::Blame::{Account, Audio, Hark, Service};

use super::{AGAIN, BUG, CONVERT, Group, OTHER_ENGINE, code};

const SERVE_THE_URL: &str =
    "Let the file server of the URL answer with the audio, and send the recording again.";
const SET_THE_MODEL: &str = "Set `dashscope.flash_model` or `dashscope.filetrans_model` to a model of `dashscope.region`; on a speech server of your own, install \
     the model or correct `model`.";
const SET_THE_ADDRESS: &str =
    "Set `dashscope.base_url` to the service's address, up to and including `/api/v1`.";
const GRANT: &str = "Have the provider grant the account this model, then wait: a probe resumes the queue.";
const PAY: &str = "Settle the account's bills with the provider, then wait: a probe resumes the queue.";
const SLOWER: &str = "No action: the queue of the model waits as long as the service asks. Where it happens often, lower \
                      `dashscope.requests_per_minute`.";

/// The codes of the service that Hark knows, grouped by how the daemon reacts.
pub const OF_THE_SERVICE: &[Group] = &[
    Group {
        title: "Jobs are held, a probe resumes them",
        codes: &[
            code(
                "InvalidApiKey",
                &[Account],
                "The service does not take the key. A key belongs to one region.",
                "Put a key of `dashscope.region` where the config looks for it; the daemon reads its file again.",
            ),
            code("Arrearage", &[Account], "The account is in arrears.", PAY),
            code("PrepaidBillOverdue", &[Account], "A prepaid bill is overdue.", PAY),
            code("PostpaidBillOverdue", &[Account], "A postpaid bill is overdue.", PAY),
            code("CommodityNotPurchased", &[Account], "The account has not bought the service.", PAY),
            code(
                "AccessDenied",
                &[Account, Service, Hark],
                "The account has no right to the model (`account`); the upload policy has expired (`service`); the model does not support \
                 this kind of call (`hark`).",
                "Have the provider grant the model, or correct the model in the config. The daemon fetches a new upload policy by itself.",
            ),
            code("AccessDenied.Unpurchased", &[Account], "The account has not bought the model.", GRANT),
            code("Model.AccessDenied", &[Account], "The key's workspace may not use the model.", GRANT),
            code("Workspace.AccessDenied", &[Account], "The key has no access to the workspace.", GRANT),
            code(
                "AllocationQuota.FreeTierOnly",
                &[Account],
                "The free quota is used up, and the account is set to stop there.",
                "Allow paid use in the provider's console, then wait: a probe resumes the queue.",
            ),
            code("ModelNotFound", &[Hark], "The service has no such model.", SET_THE_MODEL),
            code("Model.NotExist", &[Hark], "The service has no such model.", SET_THE_MODEL),
            code("WorkSpaceNotFound", &[Hark], "The service has no such workspace.", SET_THE_ADDRESS),
            code("NotFound", &[Hark], "The service has no such address.", SET_THE_ADDRESS),
        ],
    },
    Group {
        title: "The queue of the model waits (429)",
        codes: &[
            code("Throttling", &[Service], "Too many requests.", SLOWER),
            code(
                "Throttling.…",
                &[Service],
                "Too many requests, a burst, or too much audio a minute.",
                SLOWER,
            ),
        ],
    },
    Group {
        title: "The daemon tries again",
        codes: &[
            code("InternalError", &[Service], "The service failed.", AGAIN),
            code(
                "InternalError.Algo",
                &[Service, Audio],
                "The service failed; or the file server of the URL sent no Content-Length (`audio`), which fails the job.",
                "No action; or have the file server send the length.",
            ),
            code("InternalError.Timeout", &[Service], "A task brought no result for three hours.", AGAIN),
            code("SystemError", &[Service], "The service failed.", AGAIN),
            code("ModelServiceFailed", &[Service], "The service failed.", AGAIN),
            code("RequestTimeOut", &[Service], "The service took too long.", AGAIN),
            code("ModelServingError", &[Service], "The service has no capacity.", AGAIN),
            code("ModelUnavailable", &[Service], "The model is not available now.", AGAIN),
            code("FILE_SERVER_ERROR", &[Service], "A task could not fetch the file.", AGAIN),
            code("FILE_DOWNLOAD_FAILED", &[Service], "A task could not fetch the file.", AGAIN),
            code("FILE_TRANS_TASK_EXPIRED", &[Service], "A task waited for too long.", AGAIN),
        ],
    },
    Group {
        title: "The job fails",
        codes: &[
            code(
                "InvalidParameter",
                &[Audio, Hark],
                "The service's code for nearly every error; the message tells audio (format, length, download) from the request (language, \
                 model). A download that timed out is tried four times.",
                "Read the message: correct the recording or its URL (`audio`), or `[[route]]` and the models (`hark`).",
            ),
            code(
                "BadRequest.TooLarge",
                &[Audio],
                "The request is larger than the service takes.",
                OTHER_ENGINE,
            ),
            code("InvalidURL", &[Audio], "The service cannot use the audio's URL.", SERVE_THE_URL),
            code(
                "DataInspectionFailed",
                &[Audio],
                "The service's content inspection refused the recording.",
                "No action: another try would be refused as well.",
            ),
            code("BadRequest.EmptyInput", &[Hark], "The service found no input in the request.", BUG),
            code("BadRequest.EmptyModel", &[Hark], "The service found no model in the request.", BUG),
            code(
                "BadRequest.EmptyParameters",
                &[Hark],
                "The service found no parameters in the request.",
                BUG,
            ),
            code("UnsupportedOperation", &[Hark], "The model does not support the request.", SET_THE_MODEL),
            code("FILE_404_NOT_FOUND", &[Audio], "The task found no file at the URL.", SERVE_THE_URL),
            code("FILE_403_FORBIDDEN", &[Audio], "The task was not allowed to fetch the URL.", SERVE_THE_URL),
            code(
                "CONTENT_LENGTH_CHECK_FAILED",
                &[Audio],
                "The file server sent no length, or a wrong one.",
                SERVE_THE_URL,
            ),
            code("REQUEST_INVALID_FILE_URL_VALUE", &[Audio], "The task cannot use the URL.", SERVE_THE_URL),
            code("FILE_CHECK_FAILED", &[Audio], "The task does not take the file.", CONVERT),
            code("FILE_PARSE_FAILED", &[Audio], "The task could not parse the file.", CONVERT),
            code("FILE_NORMALIZE_FAILED", &[Audio], "The task could not convert the audio.", CONVERT),
            code("MKV_PARSE_FAILED", &[Audio], "The task could not parse the Matroska file.", CONVERT),
            code("DECODE_ERROR", &[Audio], "The task could not decode the audio.", CONVERT),
            code("NO_VALID_AUDIO_ERROR", &[Audio], "The task found no audio in the file.", CONVERT),
            code(
                "FILE_TOO_LARGE",
                &[Audio],
                "The file is larger than the service takes.",
                "Compress it, or send it in parts.",
            ),
            code(
                "AUDIO_DURATION_TOO_LONG",
                &[Audio],
                "The recording is longer than the service takes.",
                "Send it in parts.",
            ),
        ],
    },
    Group {
        title: "Nothing was said: the job completes with an empty text",
        codes: &[
            code("SUCCESS_WITH_NO_VALID_FRAGMENT", &[], "The task heard no speech.", "No action."),
            code("ASR_RESPONSE_HAVE_NO_WORDS", &[], "The task heard no words.", "No action."),
        ],
    },
];
