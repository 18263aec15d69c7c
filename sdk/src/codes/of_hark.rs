//! The codes that Hark itself assigns.

use crate::event::Blame::{Account, Audio, Hark, Operator, Plugin, Service};

use super::{AGAIN, BUG, CONVERT, Group, OTHER_ENGINE, code};

const UNKNOWN_FATE: &str = "No action: the fate is unknown, and the daemon repeats within [`ambiguous_retries`](#how-often-the-daemon-retries).";

/// Every code that Hark assigns.
pub const OF_HARK: &[Group] = &[
    Group {
        title: "The recording",
        codes: &[
            code("EmptyFile", &[Audio], "The recording has no bytes.", "Send it again with its audio."),
            code(
                "NotAudio",
                &[Audio],
                "The content is not an audio container that Hark knows; the file's name does not matter.",
                CONVERT,
            ),
            code(
                "TruncatedAudio",
                &[Audio],
                "The file ends before any audio, or its structure is damaged.",
                "Copy it again from where it was recorded.",
            ),
            code(
                "UndecodableAudio",
                &[Audio],
                "The audio had to be decoded here, to be cut into pieces or to tell its channels apart, and has a codec that Hark does not decode, or decodes only with ffmpeg, which is not installed.",
                "Install ffmpeg if the message says so; or convert the recording to wav, flac or mp3 with another program.",
            ),
            code(
                "ParserFailed",
                &[Audio],
                "The process that parses audio ran out of memory over the file, or crashed or hung twice.",
                CONVERT,
            ),
            code(
                "UnreadableFile",
                &[Audio],
                "Reading the file failed while the daemon examined it.",
                "Check the disk or file server that holds the recording.",
            ),
            code(
                "RecordingGone",
                &[Audio],
                "The file was removed before it could be recognized.",
                "Leave files in the folder until their job has ended.",
            ),
            code(
                "RecordingChanged",
                &[Audio],
                "The file changed after the daemon took it in. Its new content is a new recording with a job of its own.",
                "Write recordings under another name and rename them, or raise `settle`.",
            ),
            code(
                "RecordingUnreadable",
                &[Hark],
                "The daemon may not open the file, or reading it failed while it was sent.",
                "Give the daemon's user read permission on the file and its folders; check the disk.",
            ),
            code(
                "NoLocalAudio",
                &[Hark],
                "The plan needs the audio's bytes, and this job has none here.",
                BUG,
            ),
        ],
    },
    Group {
        title: "Warnings of `job.accepted`",
        codes: &[
            code(
                "SidecarUnreadable",
                &[Audio],
                "The `.json` beside the recording is no JSON object of at most 32 KiB and four levels, or cannot be opened. The job goes on \
                 without its fields.",
                "Read the message; write the sidecar whole, and before the recording.",
            ),
            code(
                "ContextUnused",
                &[Audio],
                "The message has a context, and a model that the route may use takes none. The job goes on without it.",
                "Leave the context out, or choose a route whose models take it.",
            ),
            code(
                "LanguageUnused",
                &[Audio],
                "The message has a language, and the model ignores it where it tells speakers apart. The job goes on without it.",
                "Leave the language out, or choose a route without `speakers`.",
            ),
        ],
    },
    Group {
        title: "The message",
        codes: &[
            code(
                "BadReference",
                &[Audio],
                "The JSON message is no reference: it is not JSON, has no `url` and no `object`, or too much in it, or is larger than 1 MiB.",
                "Send `{\"url\": \"https://…\"}`, or audio with an audio Content-Type.",
            ),
            code(
                "ForbiddenURL",
                &[Audio],
                "The URL, or one that it redirects to, is not public https, and `security.allow_urls` does not name its host.",
                "Send a public https URL, or list the host in `security.allow_urls`.",
            ),
            code(
                "DownloadFailed",
                &[Audio],
                "The recognizer takes bytes only, and the daemon could not fetch the audio's URL. For a reason that may pass, it tried four times.",
                "See whether the URL answers this machine with 200; send the audio itself.",
            ),
            code(
                "ObjectUnavailable",
                &[Audio],
                "The object of the message, or its bucket, is not there, is a link, or does not have its digest.",
                "Put the object into its bucket before the message is sent, under a name of its own, and send the message again.",
            ),
            code(
                "ForbiddenRoute",
                &[Audio],
                "The message names a route that is neither its source's own nor in `allow_routes` of its source.",
                "Leave `route` out, or add the route to `allow_routes`, and send the recording again.",
            ),
            code(
                "ForbiddenBucket",
                &[Audio],
                "The message refers to an object bucket that is not in `allow_buckets` of its source.",
                "Send the audio itself, or add the bucket to `allow_buckets`, and send the recording again.",
            ),
            code("NameTooLong", &[Audio], "The name has more than 1 KiB.", "Shorten the name."),
            code("MessageIdTooLong", &[Audio], "`Nats-Msg-Id` has more than 1 KiB.", "Shorten the id."),
            code(
                "ContextTooLong",
                &[Audio],
                "The context has more than 64 KiB, or more than the model takes.",
                "Shorten the context.",
            ),
            code(
                "LanguageTooLong",
                &[Audio],
                "The language has more than 64 bytes.",
                "Send a code such as `en`.",
            ),
            code(
                "UnknownLanguage",
                &[Audio],
                "The language is none that the model takes.",
                "Send one of the codes that the message lists, or none to have the language detected.",
            ),
            code(
                "MetadataTooLarge",
                &[Audio],
                "The metadata has more than 32 KiB as JSON.",
                "Send less metadata.",
            ),
            code(
                "UnreadableHeaders",
                &[Audio],
                "A header's name has a space in it, or its value is not UTF-8.",
                "Send header names of printable ASCII without spaces, and values in UTF-8 on one line.",
            ),
        ],
    },
    Group {
        title: "The route",
        codes: &[
            code(
                "TooManyChannels",
                &[Audio],
                "The route splits the channels, and the recording has more than 16.",
                "Send it on a route with `channels = \"mix\"`.",
            ),
            code(
                "UnknownRoute",
                &[Hark],
                "The job's route was removed from the config.",
                "Put the route back, and send the recording again.",
            ),
            code(
                "FormatNotSupported",
                &[Audio],
                "The engine does not read this container, or gets the file as it is and may misread its WAV header.",
                CONVERT,
            ),
            code(
                "TooLong",
                &[Audio],
                "The recording is longer than the engine takes; the message names the limit (filetrans 12 hours). Flash and a speech server of your own get a long recording in pieces.",
                OTHER_ENGINE,
            ),
            code(
                "TooLarge",
                &[Audio],
                "The recording is larger than the engine takes; the message names the limit (flash 10 MB as base64 where it cannot be decoded here, filetrans 2 GB).",
                OTHER_ENGINE,
            ),
            code(
                "UnknownRecognizer",
                &[Hark],
                "The route names an engine that the config does not have.",
                "Correct `engine` of the route.",
            ),
            code(
                "TooLargeForUpload",
                &[Audio],
                "The service's temporary storage takes up to 1 GB, or less where it says so; the bucket of `[storage]` has a limit of its own.",
                "Put the recording where a URL reaches it, and send the URL.",
            ),
            code(
                "UploadNotAllowed",
                &[Hark],
                "Filetrans fetches the audio from a URL, and `dashscope.allow_temporary_upload` is false.",
                "Set it to true, name a bucket in `storage.url`, or send a URL.",
            ),
            code(
                "FiletransNotInRegion",
                &[Hark],
                "The region has no filetrans model (`us` has none).",
                "Use another region, or name a model in `dashscope.filetrans_model`.",
            ),
            code(
                "OverBudget",
                &[Account],
                "The request does not fit into the rest of `budget.daily_usd` or of the source's `daily_usd`, and the job waits for the next UTC day. Where the request alone costs more than a whole day's budget, the job fails; the message names the estimate.",
                "No action, or raise the budget.",
            ),
        ],
    },
    Group {
        title: "The request",
        codes: &[
            code(
                "NotSent",
                &[Service],
                "The service cannot have had the whole request: no connection, or it broke on the way.",
                "Check the network where it lasts. The daemon tries again, at least once a minute.",
            ),
            code(
                "NoAnswer",
                &[Service],
                "The request left and no answer came, or a free call (an upload policy, a task query, a result) was not answered.",
                UNKNOWN_FATE,
            ),
            code("ConnectionLost", &[Service], "The connection broke during the answer.", UNKNOWN_FATE),
            code(
                "TimeOut",
                &[Service],
                "No data of the answer came for too long, or no text for five minutes.",
                UNKNOWN_FATE,
            ),
            code(
                "EndedWithoutStop",
                &[Service],
                "The stream ended before the service said that it was done.",
                UNKNOWN_FATE,
            ),
            code(
                "UnreadableAnswer",
                &[Service],
                "The service answered with success, and the answer is not what it documents.",
                UNKNOWN_FATE,
            ),
            code(
                "Interrupted",
                &[Service],
                "The daemon ended between sending a request and receiving its answer. A filetrans request is looked for in the task list \
                 first.",
                UNKNOWN_FATE,
            ),
            code(
                "UploadRefused",
                &[Service],
                "The service's temporary storage refused the file.",
                "No action at first: the daemon tries again with a new upload policy. Where it lasts, read the message.",
            ),
            code(
                "StorageDenied",
                &[Account],
                "The bucket of `[storage]` refuses the keys, or does not allow them what the daemon does. Recordings that need no upload go on.",
                "Correct the keys, or allow them `s3:PutObject`, `s3:GetObject` and `s3:DeleteObject` below `storage.url`. The daemon reads the keys and tries again once a minute.",
            ),
            code(
                "StorageMisconfigured",
                &[Hark],
                "There is no such bucket at `storage.endpoint`, its region is another, the keys cannot be read, or this machine's clock is wrong; the message says which.",
                "Make the bucket, or correct `[storage]` and reload. The daemon tries again once a minute.",
            ),
            code(
                "StorageUnavailable",
                &[Service],
                "The server of the bucket of `[storage]` is out of order, or throttles.",
                "No action at first: the daemon tries again. Where it lasts, look after the server.",
            ),
            code(
                "HttpStatus…",
                &[Account, Audio, Service, Hark],
                "The answer had this status and no code: a gateway, or a speech server of your own, refused the request. 401 to 403 are \
                 read as `account`, 413 and 415 as `audio`, 408, 409, 425, 429 and 5xx as `service`, others as `hark`.",
                "Check what listens at `base_url`, the proxy and the key. The daemon tries again what may pass.",
            ),
        ],
    },
    Group {
        title: "The task (filetrans)",
        codes: &[
            code(
                "TaskFailed",
                &[Service],
                "A task failed and the service gave no code.",
                "Send the recording again; read the message.",
            ),
            code(
                "TaskCanceled",
                &[Account],
                "The task was canceled at the service, by a person or program with access to the account.",
                "Send the recording again.",
            ),
            code(
                "TaskUnknown",
                &[Service],
                "The service does not know the task any more, or does not report its state. Results are kept for 24 hours.",
                UNKNOWN_FATE,
            ),
            code("NoResult", &[Service], "The host of the result answered with an error.", AGAIN),
            code(
                "ResultGone",
                &[Service],
                "The host of the result answered that it is not there (403, 404, 410). The message of `ResultLost` quotes it.",
                "No action: the daemon asks again for five minutes before it believes it.",
            ),
            code(
                "UnreadableResult",
                &[Service],
                "The result is not the JSON that the service documents. The message of `ResultLost` quotes it.",
                "No action: the daemon asks again for five minutes before it believes it.",
            ),
            code(
                "ResultExpiring",
                &[Service],
                "The result of a finished task could not be fetched for 12, 18, 21, 22 or 23 hours. The service deletes it after 24.",
                "Repair the way to the service (network, DNS, proxy, key). Else the recording has to be paid for again.",
            ),
            code(
                "ResultLost",
                &[Service],
                "The task succeeded and was paid for, and its result cannot be fetched.",
                UNKNOWN_FATE,
            ),
        ],
    },
    Group {
        title: "Daemons and plugins",
        codes: &[
            code(
                "TakenOver",
                &[Hark],
                "The daemon that had the job gave no sign of life for `nats.ack_wait`. This daemon goes on with it.",
                "No action for this job. Look at the other daemon.",
            ),
            code(
                "PluginHolds",
                &[Plugin],
                "A plugin with `on_failure = \"hold\"` failed on the transcript. The job waits.",
                "Read the daemon's log and the events `plugin.<name>`; replace the library, or run `harkd plugins enable NAME`.",
            ),
            code(
                "Canceled",
                &[Operator],
                "An operator canceled the job. The message says whether a request was under way, which the recognizer may bill.",
                "No action. `harkd jobs retry ID` has the recording recognized after all.",
            ),
        ],
    },
];
