//! The address that HTTP listens on.

use std::net::SocketAddr;

/// Parses `http.listen`: an IP address and a port, `localhost` for 127.0.0.1. Port 0 stands for any free port.
///
/// # Errors
/// A sentence that shows the form.
pub fn listen_address(listen: &str) -> Result<SocketAddr, String> {
    let numeric = match listen.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => listen.to_owned(),
    };
    numeric.parse().map_err(|_| {
        format!("http.listen = {listen:?} is not an address with a port; write it as \"127.0.0.1:9464\", or \"\" for off")
    })
}
