//! "Did you mean …?"

/// With a lower similarity the nearest candidate is not what the operator meant.
const ALIKE: f64 = 0.5;

/// The candidate that is most similar to `written`, if any is similar enough.
pub(super) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(written, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The end of a sentence about an unknown word: the nearest candidate, else all of them.
pub fn suggestion(written: &str, candidates: &[&str]) -> String {
    match nearest(written, candidates.iter().copied()) {
        Some(candidate) => format!("; did you mean {candidate:?}?"),
        None if candidates.is_empty() => String::new(),
        None => format!("; there {}", list(candidates)),
    }
}

/// `is "a"`, `are "a", "b" and "c"`.
fn list(candidates: &[&str]) -> String {
    let quoted: Vec<String> = candidates.iter().map(|candidate| format!("{candidate:?}")).collect();
    match quoted.split_last() {
        None => "is nothing".into(),
        Some((last, [])) => format!("is {last}"),
        Some((last, others)) => format!("are {} and {last}", others.join(", ")),
    }
}
