//! Keys that are reserved for later versions.

use super::{mistake, valid};

#[test]
fn what_comes_later_is_accepted_only_at_its_default() {
    for text in [
        "[http]\ntoken_file = \"/dev/null\"\n",
        "[http]\ntls_cert = \"/dev/null\"\n",
        "[http]\nread_token_file = \"/dev/null\"\n",
        "[http]\nhosts = [\"hark.example.com\"]\n",
        "[http]\naudio = true\n",
        "[state]\nkeep_failed = \"7d\"\n",
        "[[source]]\nname = \"calls\"\nkind = \"live\"\nroute = \"default\"\nidle_end = \"30s\"\n",
    ] {
        assert!(mistake(text).contains("is not built yet"), "{text}");
    }
    valid("[budget]\ndaily_usd = 0\n[[route]]\nname = \"r\"\nemotion = true\nchannels = \"mix\"\n");
    valid("[nats]\nstore_partials = true\n");
    valid("[state]\nkeep_failed = \"72h\"\n[http]\nread_token_file = \"\"\nhosts = []\naudio = false\n");
}
