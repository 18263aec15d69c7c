//! Figures that the environment may override.

/// The number in an environment variable; `None` if the variable is absent or empty.
///
/// # Panics
/// If the value is not a number.
pub fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is not a number")))
}
