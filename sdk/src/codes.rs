//! The codes of [`Fault`](crate::event::Fault) with what they mean: Hark's own, and those of the service that decide what follows.
//!
//! `docs/errors.md` has these tables ([`tables`]). A test compares the page with them, and the codes that the daemon's sources name.

mod of_hark;
mod of_the_service;

use std::fmt::Write as _;

use crate::event::Blame;

pub use self::of_hark::OF_HARK;
pub use self::of_the_service::OF_THE_SERVICE;

/// One code, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// As it stands in `error.code`.
    pub code: &'static str,
    /// Who has to act. More than one where the service uses a code for several things.
    pub blames: &'static [Blame],
    /// What has happened.
    pub meaning: &'static str,
    /// What the person who is blamed does, or what the daemon does by itself.
    pub remedy: &'static str,
}

/// Codes of one kind, a table of the page.
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

// What both lists advise.
const AGAIN: &str = "No action: the daemon tries again, with growing pauses.";
const BUG: &str = "Report it as a bug of Hark.";
const CONVERT: &str = "Convert the recording to wav, flac or mp3 with another program.";
const OTHER_ENGINE: &str = "Send it in parts, or set `engine = \"auto\"` on its route.";

/// Tables in Markdown, one a group.
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
