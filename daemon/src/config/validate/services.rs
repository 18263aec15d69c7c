//! Addresses and credentials of the services that the daemon connects to, and the address that it listens on.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use async_nats::{ConnectOptions, ServerAddr};
use url::Url;

use crate::config::lookup::nats_files;
use crate::config::report::Report;
use crate::config::{AllowList, Config, Secret, listen_address, server_tls};
use crate::telemetry::logging;

pub(super) fn dashscope(config: &Config, report: &mut Report<'_>) {
    let base_url = &config.dashscope.base_url;
    if !base_url.is_empty()
        && let Some(reason) = no_address(base_url, "https://dashscope-intl.aliyuncs.com/api/v1")
    {
        report.mistake("dashscope.base_url", format!("dashscope.base_url {reason}"));
    }
    for (position, entry) in config.security.allow_urls.iter().enumerate() {
        // Checked with the parser that the daemon itself uses for the allow list.
        if let Err(reason) = AllowList::parse(std::slice::from_ref(entry)) {
            let text = format!("security.allow_urls: {reason}");
            report.mistake(&format!("security.allow_urls.{position}"), text);
        }
    }
}

/// What is wrong with the address of an API, if anything is. `sample`: one that is right.
pub(super) fn no_address(text: &str, sample: &str) -> Option<String> {
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Some("is not an http or https address".into())
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            Some("carries a user, password or query; the key belongs into a file of its own".into())
        }
        Ok(_) => None,
        Err(error) => Some(format!("is no URL ({error}); write it as {sample:?}")),
    }
}

pub(super) fn nats(config: &Config, report: &mut Report<'_>) {
    let nats = &config.nats;
    if nats.servers.is_empty() {
        report.mistake(
            "nats.servers",
            "nats.servers is empty; name one server at least, as in \"nats://127.0.0.1:4222\"",
        );
    }
    for (position, server) in nats.servers.iter().enumerate() {
        // An address may contain a password, so the mistake does not quote it.
        let text = match server.parse::<ServerAddr>() {
            Ok(address) if address.is_websocket() => {
                "an address in nats.servers is of a WebSocket, which Hark does not speak with NATS; write the server's own, as in \
                 \"nats://host:4222\" or \"tls://host:4222\""
            }
            Ok(_) if !server.trim().is_empty() => continue,
            _ => "an address in nats.servers cannot be read; write it as \"nats://host:4222\"",
        };
        report.mistake(&format!("nats.servers.{position}"), text);
    }
    let is_set = |path: &str| match path {
        "nats.user" => !nats.user.is_empty(),
        path => nats_files(nats).any(|(key, _)| key == path),
    };
    for (one, other) in [("nats.user", "nats.password_file"), ("nats.tls_cert", "nats.tls_key")] {
        if is_set(one) != is_set(other) {
            let (path, missing) = if is_set(one) { (one, other) } else { (other, one) };
            report.mistake(path, format!("{path} is set and {missing} is not; set both or neither"));
        }
    }
    let proofs = ["nats.credentials_file", "nats.password_file", "nats.token_file", "nats.nkey_file"];
    let mut ways = proofs.into_iter().filter(|path| is_set(path));
    if let (Some(first), Some(second)) = (ways.next(), ways.next()) {
        report.mistake(
            second,
            format!("{second} and {first} are both set; NATS accepts one kind of credentials"),
        );
    }
    for (path, file) in nats_files(nats) {
        let shown = file.display();
        if let Err(reason) = File::open(file) {
            report.mistake(path, format!("{path} {shown} cannot be read: {reason}"));
        } else if path == "nats.credentials_file"
            && let Err(reason) = credentials_in(file)
        {
            report.mistake(path, format!("{path} {shown} is no .creds file of NATS: {reason}"));
        }
    }
}

/// Reads a .creds file as the client will.
fn credentials_in(file: &Path) -> io::Result<ConnectOptions> {
    ConnectOptions::with_credentials(&fs::read_to_string(file)?)
}

pub(super) fn http(config: &Config, report: &mut Report<'_>) {
    let http = &config.http;
    if http.listen.is_empty() {
        return;
    }
    let has = |path: &Path| !path.as_os_str().is_empty();
    match listen_address(&http.listen) {
        Ok(address) if !address.ip().is_loopback() && !has(&http.tls_cert) => report.mistake(
            "http.listen",
            format!(
                "http.listen = {:?} reaches beyond loopback, which needs http.tls_cert and http.tls_key; or listen on 127.0.0.1 and put a \
                 proxy in front",
                http.listen
            ),
        ),
        Ok(_) => {}
        Err(text) => report.mistake("http.listen", text),
    }
    for (set, one, other) in [
        (has(&http.tls_cert) && !has(&http.tls_key), "http.tls_cert", "http.tls_key"),
        (has(&http.tls_key) && !has(&http.tls_cert), "http.tls_key", "http.tls_cert"),
    ] {
        if set {
            report.mistake(one, format!("{one} is set and {other} is not; TLS takes both"));
        }
    }
    for (path, file) in
        [("http.token_file", &http.token_file), ("http.read_token_file", &http.read_token_file)]
    {
        if has(file)
            && let Err(text) = Secret::token_in(file, path)
        {
            report.mistake(path, text);
        }
    }
    let mut are_readable = true;
    for (path, file) in [("http.tls_cert", &http.tls_cert), ("http.tls_key", &http.tls_key)] {
        if has(file)
            && let Err(reason) = File::open(file)
        {
            are_readable = false;
            report.mistake(path, format!("{path} {} cannot be read: {reason}", file.display()));
        }
    }
    if are_readable
        && has(&http.tls_cert)
        && has(&http.tls_key)
        && let Err(unusable) = server_tls(&http.tls_cert, &http.tls_key)
    {
        report.mistake(unusable.key, unusable.to_string());
    }
}

pub(super) fn state(config: &Config, report: &mut Report<'_>) {
    let directory = &config.state.directory;
    if directory.exists() && !directory.is_dir() {
        report.mistake(
            "state.directory",
            format!("state.directory {} is no directory; name one, which harkd makes", directory.display()),
        );
    }
}

pub(super) fn log(config: &Config, report: &mut Report<'_>) {
    if let Err(text) = logging::filter(&config.log.level) {
        report.mistake("log.level", text);
    }
}
