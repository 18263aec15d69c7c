//! A real folder and a real ledger: which files become jobs, and which do not.

mod done;
mod folder;
mod known;
mod moved;
mod restarted;
mod taken;
mod watched;
