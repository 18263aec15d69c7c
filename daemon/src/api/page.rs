//! The live page: files that are part of the program. Nothing is built and nothing is loaded from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::extract::InPath;
use super::problem::Problem;

/// Where the page's files are. They show no job, so they need no token.
pub(super) const ASSETS_PATH: &str = "/assets/";

const LOGIN: &str = include_str!("page/login.html");
/// The same for every path: `app.js` builds what the path names.
const SHELL: &str = include_str!("page/shell.html");

macro_rules! assets {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("page/", $name)))),*] };
}

/// Each file with its name.
const ASSETS: [(&str, &str); 29] = assets![
    "alerts.js"
    "api.js"
    "app.js"
    "call.css"
    "call.js"
    "components.js"
    "dialogue.js"
    "dom.js"
    "events.js"
    "facts.js"
    "filters.js"
    "format.js"
    "frame.js"
    "icon.svg"
    "job.js"
    "list.js"
    "lists.css"
    "login.js"
    "overview.js"
    "parts.js"
    "player.js"
    "running.js"
    "spend.js"
    "style.css"
    "talk.js"
    "timeline.js"
    "wall.css"
    "wall.js"
    "words.js"
];

const HTML: &str = "text/html; charset=utf-8";

/// A file with its type. Browsers ask for it each time (`no-cache`): the files are small, and change only with the program.
fn file(kind: &'static str, text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text.into()).into_response()
}

/// The form for the token. `wrong`: the last token was wrong.
pub(super) fn login_page(wrong: bool) -> Response {
    let hidden = if wrong { "" } else { " hidden" };
    file(HTML, LOGIN.replace("{hidden}", hidden))
}

/// `GET /`, `/jobs` and `/jobs/<id>`.
pub(super) async fn shell() -> Response {
    file(HTML, SHELL)
}

/// `GET /assets/<name>`.
pub(super) async fn asset(InPath(name): InPath) -> Result<Response, Problem> {
    let (_, text) = ASSETS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Problem::unknown(format!("the page has no file {name:?}")))?;
    let kind = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    Ok(file(kind, *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/page");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let is_page = name.ends_with(".html");
            assert!(is_page || ASSETS.iter().any(|(known, _)| *known == name), "{name} is not in ASSETS");
        }
    }

    #[test]
    fn the_shell_has_every_module_loaded_at_once() {
        let modules = ASSETS.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".js"));
        for name in modules.filter(|name| *name != "login.js") {
            assert!(SHELL.contains(&format!("\"/assets/{name}\"")), "{name}");
        }
    }

    #[test]
    fn no_file_asks_for_anything_elsewhere_or_writes_markup_from_data() {
        for (name, text) in ASSETS.iter().chain(&[("login.html", LOGIN), ("shell.html", SHELL)]) {
            // The names of XML's vocabularies are no addresses.
            let text = text.replace("http://www.w3.org/", "");
            for foreign in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
                assert!(!text.contains(foreign), "{name} has {foreign}");
            }
        }
    }
}
