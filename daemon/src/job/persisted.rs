//! The forms in which jobs, pieces and claims are persisted: JSON objects with the number of their version in `v`. Golden files hold them.
//!
//! A form of a newer version was written by a newer daemon. It is named as such and left alone; it is not damage.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of every persisted form. A change that an older daemon cannot read raises it.
pub const VERSION: u64 = 1;

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A newer daemon wrote it.
    #[error("it has version {found}, and this harkd reads {VERSION}; a newer harkd wrote it")]
    Newer { found: u64 },
    /// It is not what any daemon writes.
    #[error("{0}")]
    Damaged(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    form: &'a T,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    v: u64,
}

/// The form as JSON.
///
/// # Errors
/// When `form` cannot be a JSON object.
pub fn to_json(form: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Versioned { v: VERSION, form })
}

/// A form from JSON.
///
/// # Errors
/// [`Unreadable`]: a newer version is told from damage by its number, whatever else it holds.
pub fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    let Head { v } = serde_json::from_slice(text)?;
    if v > VERSION {
        return Err(Unreadable::Newer { found: v });
    }
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Span;

    #[test]
    fn a_newer_form_is_told_from_damage() {
        let span = Span::whole(Some(7));
        let text = to_json(&span).unwrap();
        assert!(text.starts_with(r#"{"v":1,"#), "{text}");
        assert_eq!(from_json::<Span>(text.as_bytes()).unwrap(), span);
        let newer = from_json::<Span>(br#"{"v":2,"spans":[]}"#);
        assert!(matches!(newer, Err(Unreadable::Newer { found: 2 })), "{newer:?}");
        let damaged = from_json::<Span>(br#"{"v":1,"channels":7}"#);
        assert!(matches!(damaged, Err(Unreadable::Damaged(_))), "{damaged:?}");
    }
}
