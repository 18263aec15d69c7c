//! Loads the certificate and key of the HTTP server, for the daemon and for `check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why the two cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} {}: {reason}", .path.display())]
pub struct UnusableTls {
    /// The key of the config.
    pub key: &'static str,
    path: PathBuf,
    reason: String,
}

/// What the server proves itself with.
///
/// # Errors
/// When a file cannot be read, has no certificate or no key, or the two do not belong together.
pub fn server_tls(certificate: &Path, key: &Path) -> Result<rustls::ServerConfig, UnusableTls> {
    let unusable =
        |name, path: &Path, reason: String| UnusableTls { key: name, path: path.to_owned(), reason };
    let of_certificate = |reason: String| unusable("http.tls_cert", certificate, reason);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(of_certificate("it holds no certificate in PEM".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            unusable("http.tls_key", key, "it holds no private key in PEM".into())
        }
        error => unusable("http.tls_key", key, error.to_string()),
    })?;
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| {
            of_certificate(format!("it does not go with http.tls_key {}: {error}", key.display()))
        })
}
