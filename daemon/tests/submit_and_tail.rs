//! `harkd submit` and `harkd tail`, against a real server.

mod support;

use support::NatsServer;

#[tokio::test]
async fn smoke() {
    let nats = NatsServer::start().await;
    nats.client().await.flush().await.unwrap();
}
