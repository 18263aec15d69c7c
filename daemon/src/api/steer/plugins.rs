//! Plugins: the end of a quarantine.

use super::{Named, Refusal, Steer};
use crate::pipeline::Enabled;

/// Ends a plugin's quarantine, or has it loaded again at once. Takes some ten seconds for a library that hangs.
///
/// # Errors
/// [`Refusal::Unknown`] where this daemon runs no plugin of that name.
pub async fn enable(steer: Steer, Named { name }: Named) -> Result<Enabled, Refusal> {
    let unknown =
        || Refusal::Unknown(format!("there is no plugin {name:?} here; a reload reads the config again"));
    steer.pipeline.enable(&name).await.ok_or_else(unknown)
}
