//! What is reserved for later versions.

use super::{mistake, valid};

#[test]
fn what_comes_later_is_refused() {
    let text = "[[source]]\nname = \"calls\"\nkind = \"live\"\nroute = \"default\"\nidle_end = \"30s\"\n";
    assert!(mistake(text).contains("is not built yet"));
    valid("[budget]\ndaily_usd = 0\n[[route]]\nname = \"r\"\nemotion = true\nchannels = \"mix\"\n");
    valid("[nats]\nstore_partials = true\n");
    valid("[state]\nkeep_failed = \"0s\"\n[http]\nread_token_file = \"\"\nhosts = []\naudio = false\n");
}
