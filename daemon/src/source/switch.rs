//! How an operator pauses a source, and has a folder scanned at once.

use std::sync::Arc;

use tokio::sync::watch;

/// The switch of one source; clones share it.
#[derive(Debug, Clone)]
pub struct Switch(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_paused: bool,
    /// How often a scan was asked for.
    scans: u64,
}

impl Switch {
    /// As it was left.
    pub fn new(is_paused: bool) -> Switch {
        Switch(Arc::new(watch::Sender::new(State { is_paused, scans: 0 })))
    }

    /// Whether the source takes nothing new in.
    pub fn is_paused(&self) -> bool {
        self.0.borrow().is_paused
    }

    /// Pauses the source, or has it take recordings in again.
    pub fn pause(&self, is_paused: bool) {
        self.0.send_if_modified(|state| std::mem::replace(&mut state.is_paused, is_paused) != is_paused);
    }

    /// Asks for a scan.
    pub fn scan(&self) {
        self.0.send_modify(|state| state.scans += 1);
    }

    /// Waits while the source is paused.
    pub async fn running(&self) {
        // The sender lives as long as this handle: waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|state| !state.is_paused).await;
    }

    /// Waits until the source is paused.
    pub async fn paused(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.is_paused).await;
    }

    /// Waits until more than `scans` scans were asked for; returns how many were.
    pub async fn scan_wanted(&self, scans: u64) -> u64 {
        let wanted = self.0.subscribe().wait_for(|state| state.scans > scans).await.map(|state| state.scans);
        wanted.unwrap_or(scans)
    }
}

impl Default for Switch {
    fn default() -> Self {
        Switch::new(false)
    }
}
