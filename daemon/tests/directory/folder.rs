//! A folder that does not exist, or that the daemon may not read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use harkd::config::Existing;
use rustix::thread::CapabilitySet;

use super::watched::{BEFORE, Watched, write};

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
async fn a_folder_that_may_not_be_read_is_reported_and_taken_in_as_soon_as_it_may() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let calls = watched.path("");
    let mut state = watched.launch();
    // The daemon may neither list nor search the folder; may search it; may list it.
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
async fn a_subfolder_that_may_not_be_read_is_reported_and_the_others_are_taken_in() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let shut = watched.path("shut");
    write(&shut.join("a.wav"), "behind a door");
    chmod(&shut, 0o000);
    watched.config.existing = Existing::Process;
    let mut state = watched.launch();
    let is_said = |state: &Result<(), String>| {
        let reason = state.as_ref().err();
        reason.is_some_and(|reason| {
            [shut.to_str().unwrap(), "Permission denied", "`exclude`"]
                .iter()
                .all(|word| reason.contains(word))
        })
    };
    state.wait_for(is_said).await.unwrap();
    write(&watched.path("b.wav"), "beside it");
    watched.jobs_become(1).await;
    assert!(is_said(&state.borrow()), "{:?}", state.borrow());
    chmod(&shut, 0o700);
    state.wait_for(Result::is_ok).await.unwrap();
    watched.jobs_become(2).await;

    chmod(&shut, 0o000);
    state.wait_for(is_said).await.unwrap();
    watched.stop().await;
    watched.config.exclude = vec!["shut".into()];
    watched.start().await;
    watched.jobs_become(2).await;
    chmod(&shut, 0o700);
}

#[tokio::test]
async fn files_of_a_subfolder_that_could_not_be_read_at_the_first_start_are_skipped() {
    obey_modes();
    let mut watched = Watched::new(|config| config.rescan = Some(Duration::from_millis(200)));
    let shut = watched.path("shut");
    write(&shut.join("old.wav"), "behind a door");
    tokio::time::sleep(BEFORE).await;
    chmod(&shut, 0o000);
    let mut state = watched.launch();
    state.wait_for(|state| state.as_ref().is_err_and(|reason| reason.contains("shut"))).await.unwrap();
    chmod(&shut, 0o700);
    state.wait_for(Result::is_ok).await.unwrap();
    write(&shut.join("new.wav"), "after that");
    let jobs = watched.jobs_become(1).await;
    assert_eq!(jobs[0].recording.name.as_deref(), Some("new.wav"));
}

/// Drops the capabilities by which root ignores file modes, for this thread and the threads that it starts afterwards.
fn obey_modes() {
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rustix::thread::set_capabilities(None, sets).unwrap();
}

fn chmod(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}
