//! A web server with recordings, for messages that refer to a URL.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;

/// Serves files on loopback until it is dropped.
#[derive(Debug)]
pub struct FileServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl FileServer {
    /// Starts the server with these paths and their content.
    pub async fn start(files: Vec<(&str, Vec<u8>)>) -> FileServer {
        let files: HashMap<String, Vec<u8>> =
            files.into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
        let router = Router::new().fallback(serve).with_state(Arc::new(files));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        FileServer { address, task }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(files): State<Arc<HashMap<String, Vec<u8>>>>, uri: Uri) -> Response {
    match files.get(uri.path()) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
