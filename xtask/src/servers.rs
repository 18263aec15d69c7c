//! NATS and the emulator as processes on free ports, for the demo and the benchmarks.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::child::{Child, Output};
use crate::interrupt::Interrupt;

/// Far more than a start takes, also right after a build on a busy machine.
pub(crate) const TIME_TO_START: Duration = Duration::from_secs(30);

/// A key that only harkd receives.
pub(crate) const KEY: &str = "DASHSCOPE_API_KEY";

/// The plugin that ships.
pub(crate) const PLUGIN: &str = "libkeyword_alert.so";

/// Starts a server that keeps its streams below `folder`; returns its URL too.
pub(crate) fn start_nats(
    program: &Path,
    folder: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(program);
    command.env_remove(KEY).args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream"]);
    command.arg("--store_dir").arg(folder.join("nats")).arg("--ports_file_dir").arg(folder);
    let mut nats = Child::start("nats-server", command, Output::Kept)?;
    let ports = folder.join(format!("nats-server_{}.ports", nats.id()));
    let url = interrupt.wait_for(TIME_TO_START, || {
        nats.runs()?;
        // The file is absent at first, then half written, then complete.
        let text = fs::read_to_string(&ports).unwrap_or_default();
        let ports: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(ports["nats"][0].as_str().map(str::to_owned))
    })?;
    let Some(url) = url else {
        bail!("nats-server named no port within {TIME_TO_START:?}:\n{}", nats.last_words())
    };
    Ok((nats, url))
}

/// Starts an emulator; `command` has the program and its options. Returns the API's base too.
pub(crate) fn start_emulator(mut command: Command, interrupt: &Interrupt) -> anyhow::Result<(Child, String)> {
    command.env_remove(KEY).args(["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0"]);
    let mut emulator = Child::start("dashscope-emulator", command, Output::Kept)?;
    let api = interrupt.wait_for(TIME_TO_START, || {
        emulator.runs()?;
        let ready = emulator.lines().iter().find_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(ready.and_then(|ready| ready["api"].as_str().map(str::to_owned)))
    })?;
    let Some(api) = api else { bail!("the emulator named no address:\n{}", emulator.last_words()) };
    Ok((emulator, api))
}

/// Copies the plugin into a folder that no other user may write to: harkd loads no library from any other folder.
pub(crate) fn lay_out_plugin(built: &Path, folder: &Path) -> anyhow::Result<()> {
    let library = folder.join(PLUGIN);
    fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::copy(built, &library).with_context(|| format!("copying {}", built.display()))?;
    for path in [folder, &library] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, mode).with_context(|| format!("setting rights of {}", path.display()))?;
    }
    Ok(())
}

/// A port of the loopback that is free at this moment.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    listener.local_addr().context("looking for a free port")
}

/// The answer of `/readyz`: status line and reasons; empty while there is no answer.
pub(crate) fn readiness(http: SocketAddr) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    // Until harkd listens, and while it is starting, there is no answer; the caller waits for that.
    ask().unwrap_or_default()
}
