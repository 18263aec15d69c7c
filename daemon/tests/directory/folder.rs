//! A folder that is not there, or may not be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use harkd::config::Existing;
use rustix::thread::CapabilitySet;

use crate::watched::{Watched, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_does_not_exist_yet_is_waited_for() {
    let mut watched = Watched::new(|_| {});
    fs::remove_dir(watched.path("")).unwrap();
    let mut state = watched.launch();
    let waiting = state.wait_for(|state| state.as_ref().is_err_and(|reason| reason.contains("calls"))).await;
    waiting.unwrap();
    write(&watched.path("a.wav"), "came with the folder");
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_goes_away_and_comes_back_costs_nothing() {
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let mut state = watched.launch();
    state.wait_for(Result::is_ok).await.unwrap();
    write(&watched.path("deep/a.wav"), "a");
    watched.jobs_become(1).await;
    let aside = watched.disk.path().join("aside");
    fs::rename(watched.path(""), &aside).unwrap();
    state.wait_for(Result::is_err).await.unwrap();
    fs::rename(&aside, watched.path("")).unwrap();
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(1).await;
}

#[tokio::test]
async fn a_folder_that_may_not_be_read_is_said_and_heard_as_soon_as_it_may() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let calls = watched.path("");
    let mut state = watched.launch();
    // Neither listed nor searched, searched but not listed, listed but not searched.
    for (mode, jobs) in [(0o000, 1), (0o300, 2), (0o600, 3)] {
        state.wait_for(Result::is_ok).await.unwrap();
        chmod(&calls, mode);
        let reason = state.wait_for(Result::is_err).await.unwrap().clone().unwrap_err();
        for word in [calls.to_str().unwrap().trim_end_matches('/'), "Permission denied", "give harkd's user"]
        {
            assert!(reason.contains(word), "{mode:o}: {reason}");
        }
        chmod(&calls, 0o300);
        write(&watched.path(&format!("{mode:o}.wav")), &format!("came unseen at {mode:o}"));
        assert!(state.borrow().is_err());
        chmod(&calls, 0o700);
        state.wait_for(Result::is_ok).await.unwrap();
        watched.jobs_become(jobs).await;
    }
    watched.stop().await;
    chmod(&calls, 0o000);
    let mut state = watched.launch();
    let said =
        state.wait_for(|state| state.as_ref().is_err_and(|reason| reason.contains("give harkd's user")));
    said.await.unwrap();
    chmod(&calls, 0o700);
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(3).await;
}

#[tokio::test]
async fn a_folder_below_that_may_not_be_read_keeps_nobody_else_waiting() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    write(&watched.path("shut/a.wav"), "behind a door");
    chmod(&watched.path("shut"), 0o000);
    watched.config.existing = Existing::Process;
    let mut state = watched.launch();
    state.wait_for(Result::is_ok).await.unwrap();
    write(&watched.path("b.wav"), "beside it");
    watched.jobs_become(1).await;
    assert!(!state.has_changed().unwrap(), "{:?}", state.borrow());
    chmod(&watched.path("shut"), 0o700);
    watched.jobs_become(2).await;
}

/// Gives away what lets root read everything. Of this thread, and of those that it begins from now on.
fn obey_modes() {
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rustix::thread::set_capabilities(None, sets).unwrap();
}

fn chmod(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}
