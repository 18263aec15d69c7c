//! What every room reports through: metrics, the log, and warnings that are repeated once a minute.

pub mod logging;
pub mod metrics;
mod once_a_minute;

pub use once_a_minute::OnceAMinute;
