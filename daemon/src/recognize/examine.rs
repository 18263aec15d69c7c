//! Free questions to the services, for `harkd doctor`: whether they would recognize.

use hark_sdk::codes::{OF_HARK, OF_THE_SERVICE};
use jiff::{SignedDuration, Timestamp};
use reqwest::Response;
use reqwest::header::DATE;

use super::error::{Error, When};

/// What a question showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// `key`, `flash`, `filetrans`; of a server of the operator's own its name.
    pub about: String,
    /// What is well, or what is wrong.
    pub outcome: Result<String, Trouble>,
    /// How far this machine's clock is ahead of the service's, to a second, where its answer tells.
    pub ahead: Option<SignedDuration>,
}

/// Why a service would not recognize now.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// It may pass by itself.
    pub passes: bool,
    /// What the service, or the network, says.
    pub message: String,
    /// What the operator can do.
    pub remedy: String,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let remedy = remedy(&error.fault.code);
        // A refusal's message ends with the remedy already.
        let message = error.fault.message.trim_end_matches(&remedy).trim_end_matches([' ', '.']);
        Trouble {
            passes: !matches!(error.when, When::Held { .. } | When::Reachable | When::Never),
            message: format!("{message} ({})", error.fault.code),
            remedy,
        }
    }
}

/// What the operator can do about a code, in the words of docs/errors.md; the service seldom explains that.
pub(super) fn remedy(code: &str) -> String {
    let mut codes = OF_THE_SERVICE.iter().chain(OF_HARK).flat_map(|group| group.codes);
    let known = codes.find(|known| match known.code.strip_suffix('…') {
        Some(beginning) => code.starts_with(beginning),
        None => code == known.code,
    });
    known.map_or("Ask the provider.", |known| known.remedy).replace('`', "")
}

/// The difference of this machine's clock to that of the server, by the header `Date`.
pub(super) fn ahead(response: &Response) -> Option<SignedDuration> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(Timestamp::now().duration_since(theirs))
}
