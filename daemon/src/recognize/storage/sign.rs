//! Signs URLs of a bucket (AWS Signature Version 4). The crate that signs makes no connection.

use std::pin::Pin;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService,
};
use object_store::path::Path;
use object_store::signer::Signer;
use reqwest::Method;

use super::{Bucket, misconfigured};
use crate::recognize::error::Error;

impl Bucket {
    /// The URL of an object with a signature that permits this method for so long. The keys are read for each URL, so new keys need no restart.
    pub(super) async fn sign(&self, method: Method, name: &str, valid: Duration) -> Result<String, Error> {
        let storage = self.storage.clone();
        let read = tokio::task::spawn_blocking(move || storage.credentials()).await;
        let keys =
            read.map_err(|error| misconfigured(&error.to_string()))?.map_err(|text| misconfigured(&text))?;
        let builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket.name)
            .with_region(&self.bucket.region)
            .with_endpoint(self.bucket.endpoint.as_str().trim_end_matches('/'))
            .with_virtual_hosted_style_request(self.bucket.is_virtual)
            .with_access_key_id(keys.access_key_id.reveal())
            .with_secret_access_key(keys.secret_access_key.reveal())
            .with_http_connector(Unconnected);
        let builder = match keys.session_token {
            Some(token) => builder.with_token(token.reveal()),
            None => builder,
        };
        let store = builder.build().map_err(|error| misconfigured(&error.to_string()))?;
        signed(&store, method, &self.key(name), valid).await
    }

    fn key(&self, name: &str) -> String {
        match self.bucket.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }
}

async fn signed(store: &AmazonS3, method: Method, key: &str, valid: Duration) -> Result<String, Error> {
    let url = store.signed_url(method, &Path::from(key), valid).await;
    url.map(String::from).map_err(|error| misconfigured(&error.to_string()))
}

/// Every request of the daemon's goes through its own HTTP client, which streams files and records what left; the crate's builder wants a
/// client all the same.
#[derive(Debug)]
struct Unconnected;

impl HttpConnector for Unconnected {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Unconnected))
    }
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Unconnected {
    fn call<'a, 'b>(&'a self, _request: HttpRequest) -> Called<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let refused = std::io::Error::other("this client only signs");
        Box::pin(async { Err(HttpError::new(HttpErrorKind::Connect, refused)) })
    }
}
