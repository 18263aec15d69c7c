//! Paths of the programs that the tests start.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon under test; `$HARK_DAEMON` names another build, for measurements.
pub fn harkd() -> PathBuf {
    let other = std::env::var_os("HARK_DAEMON").filter(|path| !path.is_empty());
    other.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_harkd")), PathBuf::from)
}

/// `dashscope-emulator` of this workspace, built from the current sources.
pub fn emulator() -> PathBuf {
    built("dashscope-emulator")
}

/// The shared library of a plugin of this workspace, built from the current sources, e.g. `keyword_alert`.
pub fn plugin_library(name: &str) -> PathBuf {
    built(&format!("lib{name}.so"))
}

/// `$HARK_NATS_SERVER`, else the server that `cargo xtask tools` installed, else the one on the PATH.
pub fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("HARK_NATS_SERVER").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let installed = installed("nats-server");
    if installed.exists() { installed } else { "nats-server".into() }
}

/// `$HARK_PYTHON`, else the interpreter that `cargo xtask tools` installed; it has the packages of the tests' requirement files.
pub fn python() -> PathBuf {
    std::env::var_os("HARK_PYTHON").map_or_else(|| installed("python"), PathBuf::from)
}

/// `promtool` of Prometheus: `$HARK_PROMTOOL`, else the one that `cargo xtask test` unpacked, else the one on the PATH. If it is nowhere, the
/// caller returns, and the test counts as passed although nothing was checked, which a line says; see [`skip`].
pub fn promtool(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("HARK_PROMTOOL").filter(|path| !path.is_empty()).map(PathBuf::from);
    let candidates = named.into_iter().chain([tools().join("promtool"), "promtool".into()]);
    let answers = |program: &PathBuf| Command::new(program).arg("--version").output().is_ok();
    let found = candidates.into_iter().find(answers);
    if found.is_none() {
        skip(&format!("{test}: no promtool; install it (Debian, Ubuntu: the package prometheus has it)"));
    }
    found
}

/// The start script of the speech server that `cargo xtask tools` installed.
pub fn whisper_server() -> PathBuf {
    tools().join("speech/serve")
}

/// Says that a check is not made, or fails where every check has to be made (`HARK_TESTS_ALL`).
pub fn skip(why: &str) {
    let skipped = format!("SKIPPED {why}");
    assert!(std::env::var_os("HARK_TESTS_ALL").is_none(), "{skipped}");
    say_past_the_capture(&skipped);
}

/// Prints although the test passes: the test harness captures only what the print macros write.
pub fn say_past_the_capture(line: &str) {
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

fn installed(program: &str) -> PathBuf {
    tools().join("venv/bin").join(program)
}

fn tools() -> PathBuf {
    target().join("tools")
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    results().parent().unwrap().to_owned()
}

/// `target/debug`, or the folder of this test's profile.
fn results() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_harkd")).parent().unwrap().to_owned()
}

/// Cargo builds `harkd` for these tests, but not the other crates' programs and libraries. `cargo xtask test` builds them and sets
/// `HARK_TESTS_BUILT`; otherwise they are built here, once, so that no test runs against an old build.
fn built(file: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        if std::env::var_os("HARK_TESTS_BUILT").is_some() {
            return;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--exclude", "harkd", "--exclude", "xtask"]);
        if results().ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(
            status.success(),
            "building the emulator and the plugins failed; try: cargo build --workspace"
        );
    });
    let path = results().join(file);
    assert!(path.exists(), "no {}; try: cargo build --workspace", path.display());
    path
}
