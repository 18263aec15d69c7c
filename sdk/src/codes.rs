//! The codes of [`Fault`](crate::event::Fault) and their meaning: Hark's own codes, and the codes of the service that decide how the daemon
//! reacts.
//!
//! `docs/errors.md` contains these tables ([`tables`]). A test compares the tables with the page, and with the codes in the daemon's
//! sources.

mod of_hark;
mod of_the_service;

use std::fmt::Write as _;

use crate::event::Blame;

pub use self::of_hark::OF_HARK;
pub use self::of_the_service::OF_THE_SERVICE;

/// One code, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The value of `error.code`.
    pub code: &'static str,
    /// Who has to act; several entries if the service uses the code for several causes.
    pub blames: &'static [Blame],
    /// What has happened.
    pub meaning: &'static str,
    /// What the operator or the sender does, or what the daemon does by itself.
    pub remedy: &'static str,
}

/// Codes of one kind; one table of the page.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Its heading.
    pub title: &'static str,
    /// Its rows.
    pub codes: &'static [Code],
}

const fn code(
    code: &'static str,
    blames: &'static [Blame],
    meaning: &'static str,
    remedy: &'static str,
) -> Code {
    Code { code, blames, meaning, remedy }
}

// Remedies that both lists use.
const AGAIN: &str = "No action: the daemon tries again, with growing pauses.";
const BUG: &str = "Report it as a bug of Hark.";
const CONVERT: &str = "Convert the recording to wav, flac or mp3 with another program.";
const OTHER_ENGINE: &str = "Send it in parts, or set `engine = \"auto\"` on its route.";

/// Tables in Markdown, one per group.
pub fn tables(groups: &[Group]) -> String {
    let mut page = String::new();
    for Group { title, codes } in groups {
        // Writing into a String cannot fail.
        let _ =
            write!(page, "### {title}\n\n| code | blame | what it means | what to do |\n|---|---|---|---|\n");
        for Code { code, blames, meaning, remedy } in *codes {
            let blames: Vec<&str> = blames.iter().map(|blame| blame.as_str()).collect();
            let _ = writeln!(page, "| `{code}` | {} | {meaning} | {remedy} |", blames.join(", "));
        }
        page.push('\n');
    }
    page
}
