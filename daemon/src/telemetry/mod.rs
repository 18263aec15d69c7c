//! Metrics, the log, and warnings that are logged at most once a minute.

mod causes;
pub mod logging;
pub mod metrics;
mod once_a_minute;

pub use causes::causes;
pub use once_a_minute::OnceAMinute;
