//! Annotates every transcript with a greeting: a minimal plugin.

use hark_sdk::{Error, Host, Plugin, Transcript};

struct Hello;

impl Plugin for Hello {
    fn create(_config: &str) -> Result<Self, Error> {
        Ok(Hello)
    }

    fn on_final(&mut self, _transcript: &Transcript, host: &Host) -> Result<(), Error> {
        host.annotate("greeting", "hello")
    }
}

hark_sdk::export!(Hello);
