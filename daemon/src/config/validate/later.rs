//! Settings that are reserved for later versions. They are refused, because a setting without effect would mislead the operator.

/// What to say of a reserved `kind` of `[[source]]`; `None`: it is not reserved.
pub(in crate::config) fn reserved_kind(array: &str, kind: &str) -> Option<String> {
    let is_reserved = array == "source" && kind == "live";
    is_reserved
        .then(|| format!("kind = {kind:?} of [[source]] is not built yet; leave the source out for now"))
}
