//! The two listeners and their routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faults::wire::{Wire, WireListener};
use crate::filetrans::{list, query, submit};
use crate::options::Options;
use crate::refusal::Refusal;
use crate::service::Service;
use crate::storage::{policy, results, upload};
use crate::{admin, body, flash};

/// A running emulator. Dropped without [`Emulator::stop`], it serves on until its runtime ends.
pub struct Emulator {
    api: SocketAddr,
    storage: SocketAddr,
    stop: CancellationToken,
    servers: Vec<JoinHandle<()>>,
}

impl Emulator {
    /// Binds both listeners and serves. Errors: an address in use, a manifest with a mistake, an unwritable journal.
    pub async fn start(options: Options) -> anyhow::Result<Emulator> {
        let api_listener = bind("--listen", options.listen).await?;
        let storage_listener = bind("--storage-listen", options.storage_listen).await?;
        let (api, storage) = (api_listener.local_addr()?, storage_listener.local_addr()?);
        let service = Service::open(options, storage)?;
        let stop = CancellationToken::new();
        let servers = vec![
            tokio::spawn(serve(api_listener, api_routes(Arc::clone(&service)), stop.clone())),
            tokio::spawn(serve(storage_listener, storage_routes(Arc::clone(&service)), stop.clone())),
            tokio::spawn(sweep(service, stop.clone())),
        ];
        Ok(Emulator { api, storage, stop, servers })
    }

    /// Base of the API, in the form that clients' base URLs have.
    pub fn api(&self) -> String {
        format!("http://{}/api/v1", self.api)
    }

    /// Base of the object storage.
    pub fn storage(&self) -> String {
        format!("http://{}", self.storage)
    }

    /// The line of JSON that names the addresses for a parent process.
    pub fn ready_line(&self) -> String {
        json!({"api": self.api(), "storage": self.storage()}).to_string()
    }

    /// Accepts no new connection, lets answers under way finish for a second, then drops them.
    pub async fn stop(self) {
        self.stop.cancel();
        for mut server in self.servers {
            if tokio::time::timeout(GRACE, &mut server).await.is_err() {
                server.abort();
            }
        }
    }
}

fn api_routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/api/v1/services/aigc/multimodal-generation/generation", post(flash::recognize))
        .route("/api/v1/services/audio/asr/transcription", post(submit::submit))
        .route("/api/v1/tasks", get(list::list))
        .route("/api/v1/tasks/", get(list::list))
        .route("/api/v1/tasks/{id}", get(query::query))
        .route("/api/v1/tasks/{id}/cancel", post(query::cancel))
        .route("/api/v1/uploads", get(policy::get_policy))
        .route("/emulator/faults", get(admin::faults).put(admin::set_faults))
        .route("/emulator/journal", get(admin::journal))
        .fallback(unknown_url)
        .method_not_allowed_fallback(unknown_url)
        .with_state(service)
}

fn storage_routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/", post(upload::post_object).fallback(results::get_object))
        .route("/{*path}", any(results::get_object))
        .with_state(service)
}

async fn unknown_url() -> Response {
    let refusal = Refusal::new(StatusCode::NOT_FOUND, "NotFound", "The requested resource does not exist.");
    refusal.respond(&uuid::Uuid::now_v7().to_string(), false)
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("binding {address}; choose another with {flag}"))
}

async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let routes = routes.layer(axum::middleware::map_request(body::read_on));
    let service = routes.into_make_service_with_connect_info::<Wire>();
    let served = axum::serve(WireListener(listener), service).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = IntoFuture::into_future(served).await {
        tracing::error!(%error, "a listener ended");
    }
}

/// Deletes what has expired, so that a long run does not fill the disk.
async fn sweep(service: Arc<Service>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
        service.tasks.sweep(service.options.result_ttl);
        service.storage.sweep(std::time::Instant::now());
    }
}

/// Long enough for an answer that is being written, too short to be noticed at the end of a test.
const GRACE: Duration = Duration::from_secs(1);
/// Expiry is decided at each request; sweeping only frees memory and disk.
const SWEEP: Duration = Duration::from_secs(60);
