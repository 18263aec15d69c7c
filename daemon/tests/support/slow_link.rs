//! A proxy between the daemon and a server that limits the bytes per second.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// Receive buffer of the socket to the server, in bytes; with a larger one the server would send the first messages at full speed.
const BUFFER: u32 = 16 << 10;

/// The proxy; it stops accepting connections on drop.
#[derive(Debug)]
pub struct SlowLink {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl SlowLink {
    /// Forwards to `server` at full speed, and back with so many bytes per second.
    pub async fn start(server: SocketAddr, bytes_a_second: u32) -> SlowLink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let far = TcpSocket::new_v4().unwrap();
                    far.set_recv_buffer_size(BUFFER).unwrap();
                    let Ok(far) = far.connect(server).await else { return };
                    let (from_near, to_near) = near.into_split();
                    let (from_far, to_far) = far.into_split();
                    // When one side closes, both connections are closed.
                    tokio::select! {
                        () = carry(from_near, to_far, None) => {}
                        () = carry(from_far, to_near, Some(bytes_a_second)) => {}
                    }
                });
            }
        });
        SlowLink { address, task }
    }

    /// The proxy's address, for `nats.servers`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, bytes_a_second: Option<u32>) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if let Some(rate) = bytes_a_second {
            tokio::time::sleep(Duration::from_secs(1) * u32::try_from(read).unwrap() / rate).await;
        }
    }
}
