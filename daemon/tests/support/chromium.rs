//! Stories that a script tells in a real browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::hark::Hark;
use super::programs;

/// Whether Chromium is installed. If not, the caller returns, and the test counts as passed although nothing was tested, which a line says.
/// With `HARK_TESTS_ALL` that is a failure.
pub fn has_chromium(test: &str) -> bool {
    let is_there = Command::new(CHROMIUM)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_there {
        let skipped =
            format!("SKIPPED {test}: no chromium; install it (Debian, Ubuntu: apt install chromium)");
        assert!(std::env::var_os("HARK_TESTS_ALL").is_none(), "{skipped}");
        programs::say_past_the_capture(&skipped);
    }
    is_there
}

const CHROMIUM: &str = "/usr/bin/chromium";

/// Tells stories of `tests/page/stories.py` against a daemon, and returns what the script prints. `recordings`: files that the stories drop
/// into the daemon's folders.
///
/// # Panics
/// If a story fails; with what the script said.
pub async fn tell(stories: &[&str], hark: &Hark, recordings: &Path) -> String {
    let api = hark.api();
    let mut command = Command::new(programs::python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/stories.py"))
        .args(stories)
        .env("HARK_PAGE", &api.base)
        .env("HARK_TOKEN", &api.token)
        .env("HARK_FOLDERS", hark.path(""))
        .env("HARK_RECORDINGS", recordings)
        .env("HARK_SCREENSHOTS", screenshots())
        .env("HARK_CHROMIUM", CHROMIUM)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stories:?} ended with {}\n{said}\n{complained}", output.status);
    said
}

/// Where the pages' pictures are left, for a person to look at.
fn screenshots() -> PathBuf {
    programs::target().join("screenshots")
}
