//! The HTTP clients of the daemon.

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// A builder with the settings of all HTTP clients: they repeat no request by themselves, follow no redirect, and send no Referer.
pub fn http_client() -> ClientBuilder {
    // An error means that another part of the program installed the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("harkd/", env!("CARGO_PKG_VERSION")))
        .retry(reqwest::retry::never())
        .redirect(Policy::none())
        .referer(false)
}
