//! What the server refuses on a connection, for the sources that asked.

use tokio::sync::broadcast::{Receiver, Sender};

/// ServerRefusals by the server: of a request without the right to make it, this is all that is heard. Clones share them.
#[derive(Debug, Clone)]
pub struct ServerRefusals(Sender<String>);

impl Default for ServerRefusals {
    fn default() -> Self {
        // Whoever misses some finds out by waiting in vain.
        ServerRefusals(Sender::new(64))
    }
}

impl ServerRefusals {
    /// The server has said so.
    pub fn heard(&self, words: &str) {
        // Nobody may be asking for anything.
        let _ = self.0.send(words.to_owned());
    }

    /// The server's words from now on.
    pub fn listen(&self) -> Receiver<String> {
        self.0.subscribe()
    }
}
