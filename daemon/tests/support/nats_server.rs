//! A real `nats-server` with JetStream, on a free port of 127.0.0.1, with its own store.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream::{self, Stream};
use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::programs;
use super::small_disk::SmallDisk;
use super::wait::{CEILING, wait_until};

/// A running server; on drop it is killed and its store is removed.
#[derive(Debug)]
pub struct NatsServer {
    // Declared before the folder, so that the process is killed first.
    process: Process,
    // Declared between the process and the folder: unmounted after the process is killed and before the folder is removed.
    disk: Option<SmallDisk>,
    folder: TempDir,
    port: u16,
}

impl NatsServer {
    /// Starts a server and waits until it answers.
    pub async fn start() -> NatsServer {
        NatsServer::configured("").await
    }

    /// Starts a server with additional lines of configuration, e.g. `max_payload: 65536`.
    pub async fn configured(configuration: &str) -> NatsServer {
        NatsServer::in_folder(tempfile::tempdir().unwrap(), None, configuration).await
    }

    /// Starts a server whose store is on a disk of this size in bytes; see [`super::has_own_mounts`].
    pub async fn on_small_disk(bytes: u64) -> NatsServer {
        let folder = tempfile::tempdir().unwrap();
        let disk = SmallDisk::over(&folder.path().join("jetstream"), bytes);
        NatsServer::in_folder(folder, Some(disk), "").await
    }

    async fn in_folder(folder: TempDir, disk: Option<SmallDisk>, configuration: &str) -> NatsServer {
        std::fs::write(folder.path().join("nats.conf"), configuration).unwrap();
        let mut process = launch(folder.path(), "-1");
        let ports = folder.path().join(format!("nats-server_{}.ports", process.id()));
        wait_until("nats-server to name its port", CEILING, async || {
            assert!(process.is_running(), "nats-server ended: {}", process.log());
            port_of(&ports).is_some()
        })
        .await;
        let port = port_of(&ports).unwrap();
        let server = NatsServer { process, disk, folder, port };
        server.answers().await;
        server
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The folder of the store.
    pub fn store(&self) -> &Path {
        self.folder.path()
    }

    /// The disk of the store.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("started with on_small_disk")
    }

    /// The server's log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A new client for the test.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    /// Sends SIGKILL. The store remains for [`NatsServer::restart`].
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills the server if it runs, and starts it again on the same port and store.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = launch(self.folder.path(), &self.port.to_string());
        self.answers().await;
    }

    /// Creates the stream of audio with a deduplication window so short that the server stores nearly every repeated `Nats-Msg-Id`.
    pub async fn forgetful_audio_stream(&self) -> Stream {
        let config = stream::Config {
            name: "HARK_AUDIO".into(),
            subjects: vec!["hark.audio.>".into()],
            retention: stream::RetentionPolicy::WorkQueue,
            duplicate_window: Duration::from_millis(100),
            ..stream::Config::default()
        };
        async_nats::jetstream::new(self.client().await).create_stream(config).await.unwrap()
    }

    /// Reloads the running server with another configuration; the server disconnects clients whose login that changes.
    pub fn reconfigure(&self, configuration: &str) {
        std::fs::write(self.folder.path().join("nats.conf"), configuration).unwrap();
        self.process.reload();
    }

    /// Sends SIGSTOP: connections stay open and no request is answered.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }

    async fn answers(&self) {
        let url = self.url();
        wait_until("nats-server to answer", CEILING, async || {
            let Ok(client) = async_nats::connect(&url).await else { return false };
            async_nats::jetstream::new(client).query_account().await.is_ok()
        })
        .await;
    }
}

fn launch(folder: &Path, port: &str) -> Process {
    let program = programs::nats_server();
    let mut command = Command::new(&program);
    command
        .args(["--addr", "127.0.0.1", "--port", port, "--jetstream"])
        .arg("--store_dir")
        .arg(folder)
        .arg("--ports_file_dir")
        .arg(folder)
        .arg("--config")
        .arg(folder.join("nats.conf"));
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(&program).exists());
    assert!(found || program.exists(), "no nats-server; run: cargo xtask tools");
    Process::start("nats-server", &mut command, folder)
}

fn port_of(ports: &PathBuf) -> Option<u16> {
    let ports: Value = serde_json::from_str(&std::fs::read_to_string(ports).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

/// A port that was free a moment ago. It is below those that Linux gives to outgoing connections and to listeners that name none, and each
/// process begins at its own place: so hardly any other test takes the port before the server listens on it.
pub fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        // At most 32,000: the cast does not truncate.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, (FIRST + number) as u16));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
