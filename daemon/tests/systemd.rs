//! The unit as systemd reads it. On a machine without `systemd-analyze` (a container, a Mac) the test prints that and is skipped; no other
//! test may be skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The exposure that the project promises, as `systemd-analyze security` prints it.
const WORST_EXPOSURE: f64 = 1.3;

#[test]
fn the_unit_is_accepted_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let Some(output) = analyze(&["verify"], &unit_for_this_machine(folder.path())) else { return };
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_unit_is_as_little_exposed_as_we_promise() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_for_this_machine(folder.path());
    let Some(output) = analyze(&["security", "--offline=true", "--no-pager"], &unit) else { return };
    let report = text(&output.stdout);
    let exposure: f64 = report
        .lines()
        .find_map(|line| {
            line.split("exposure level for harkd.service: ").nth(1)?.split(' ').next()?.parse().ok()
        })
        .unwrap_or_else(|| panic!("no exposure in {report} {}", text(&output.stderr)));
    assert!(exposure <= WORST_EXPOSURE, "exposure {exposure}\n{report}");
}

#[test]
fn the_unit_has_the_lines_that_the_daemon_relies_on() {
    let unit = std::fs::read_to_string(installed_unit()).unwrap();
    for line in [
        "Type=notify",
        "ExecReload=/bin/sh -c \"kill -HUP $MAINPID\"",
        "RestartPreventExitStatus=64 78",
        "LoadCredential=dashscope_api_key",
        "AmbientCapabilities=CAP_LEASE",
        "CapabilityBoundingSet=CAP_LEASE",
        "StateDirectoryMode=0700",
        "MemoryDenyWriteExecute=yes",
    ] {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
    assert!(!unit.lines().any(|line| line.starts_with("PrivateUsers=")), "it would void CAP_LEASE");
}

fn installed_unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/harkd.service")
}

/// `verify` looks for the program of the unit, which is not installed where tests run.
fn unit_for_this_machine(folder: &Path) -> PathBuf {
    let unit = std::fs::read_to_string(installed_unit()).unwrap();
    let copy = folder.join("harkd.service");
    std::fs::write(&copy, unit.replace("/usr/bin/harkd", env!("CARGO_BIN_EXE_harkd"))).unwrap();
    copy
}

fn analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).arg(unit).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("PASSED OVER: systemd-analyze is not on this machine (apt install systemd)");
            None
        }
        Err(error) => panic!("starting systemd-analyze: {error}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
