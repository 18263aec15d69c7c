//! What the daemon tells over HTTP: metrics and health.

pub mod metrics;
