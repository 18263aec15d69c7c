//! The HTTP clients of the daemon.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// What all of them have in common: they send nothing twice by themselves, follow no redirect, and tell no server where they come from.
pub fn http_client() -> ClientBuilder {
    // An error means that another part of the program installed the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("harkd/", env!("CARGO_PKG_VERSION")))
        .retry(reqwest::retry::never())
        .redirect(Policy::none())
        .referer(false)
}
