//! What the service manager hears of a reload.

use std::os::unix::net::UnixDatagram;

use crate::support::{CEILING, Emulator, Hark, NatsServer, wait_until};

/// The socket of a service manager, and what it has heard.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Waits until it has heard this many messages besides those of the watchdog.
    async fn hears(&mut self, count: usize) -> &[String] {
        wait_until(&format!("{count} notifications"), CEILING, async || {
            let mut buffer = [0; 4_096];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
                self.heard.extend(Some(message).filter(|message| message != "WATCHDOG=1"));
            }
            self.heard.len() >= count
        })
        .await;
        &self.heard
    }
}

#[tokio::test]
async fn systemd_hears_of_the_beginning_and_the_end_of_each_reload() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let path = setup.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut manager = Manager { socket, heard: Vec::new() };
    let mut hark = setup.environment("NOTIFY_SOCKET", path.to_str().unwrap()).start().await;
    assert_eq!(manager.hears(1).await, ["READY=1"]);

    hark.reload(|text| text + "[budget]\ndaily_usd = 1.0\n").await;
    hark.reload(|text| text.replace("daily_usd = 1.0", "daily_usd = \"much\"")).await;
    let heard = manager.hears(5).await;
    for (reloading, ready) in [(1, 2), (3, 4)] {
        let microseconds = heard[reloading].strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(microseconds.is_some_and(|time| time.parse::<u64>().is_ok()), "{heard:?}");
        assert_eq!(heard[ready], "READY=1", "{heard:?}");
    }
}
