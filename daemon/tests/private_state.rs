//! The state directory has texts and audio: only the daemon's user may read it.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::plugins::Plugins;
use crate::support::{CEILING, Hark, Setup, Stage, harkd, wait_until};

fn make(folder: &Path, mode: u32) {
    std::fs::create_dir_all(folder).unwrap();
    set_permissions(folder, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

/// The paths below a folder, the folder included, that grant rights to the group or to others.
fn open_paths(path: &Path) -> Vec<PathBuf> {
    let below = path.read_dir().into_iter().flatten().flatten().flat_map(|entry| open_paths(&entry.path()));
    let own = Some(path.to_owned()).filter(|path| mode(path) & 0o077 != 0);
    own.into_iter().chain(below).collect()
}

fn names(path: &Path) -> Vec<String> {
    let entries = path.read_dir().unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn run(mut command: Command, setup: &Setup, arguments: &[&str]) -> Output {
    command
        .arg("--config")
        .arg(setup.write_config())
        .args(arguments)
        .env("DASHSCOPE_API_KEY", "sk-of-the-tests");
    command.output().unwrap()
}

/// harkd as another user, from a copy: the checkout may lie in a folder that only its owner may enter.
fn harkd_of_another_user(setup: &Setup) -> Command {
    let copy = setup.path("harkd");
    std::fs::copy(harkd(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.uid(65_534);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_state_directory_that_others_may_look_into_is_closed_with_what_is_in_it() {
    let plugins = Plugins::new().c("listens");
    let library = plugins.path().join("listens.so");
    let mut stage = Stage::set(&["--flash-delay", "1s"], |setup| {
        make(&setup.path("state/spool"), 0o755);
        make(&setup.path("state"), 0o755);
        let plugin = format!("[[plugin]]\nname = \"listens\"\nlibrary = {library:?}\n");
        let setup = setup.lines(&plugin).inbox("inbox", "hark.audio.inbox");
        let checked = run(Command::new(harkd()), &setup, &["check"]);
        assert!(stderr(&checked).contains("state is open to others (mode 0755)"), "{}", stderr(&checked));
        setup
    })
    .await;
    let state = stage.hark.path("state");
    stage.publish(1, 1.0).await;
    wait_until("the message in the spool", CEILING, async || !names(&state.join("spool")).is_empty()).await;
    let open = open_paths(&state);
    assert!(open.is_empty(), "{open:?}");
    for name in ["lock", "ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "plugins"] {
        assert!(names(&state).contains(&name.to_owned()), "{name} is looked at: {:?}", names(&state));
    }
    assert_eq!(names(&state.join("plugins")), ["listens"]);
    let log = stage.hark.log();
    assert!(log.contains("the state directory was open to others"), "{log}");
    stage.hark.ended_jobs(1).await;

    // The modes that a restore from a backup may leave.
    assert!(stage.hark.stop().await.success());
    for path in ["", "ledger.sqlite3", "lock"] {
        let path = state.join(path);
        set_permissions(&path, Permissions::from_mode(mode(&path) | 0o055)).unwrap();
    }
    stage.hark.restart().await;
    let open = open_paths(&state);
    assert!(open.is_empty(), "{open:?}");
    stage.check().await;
}

#[test]
fn a_folder_with_other_things_in_it_is_not_closed_but_refused() {
    let setup = Hark::new().set("http.listen", "\"\"");
    let state = setup.path("state");
    make(&state, 0o755);
    std::fs::write(state.join("passwd"), "somebody's").unwrap();
    let output = run(Command::new(harkd()), &setup, &["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("holds other things than harkd's, such as \"passwd\""),
        "{}",
        stderr(&output)
    );
    assert_eq!((mode(&state), names(&state)), (0o755, vec!["passwd".to_owned()]));
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED a_folder_of_another_user_is_refused: it takes root to run harkd as another user");
        return;
    }
    let setup = Hark::new().set("http.listen", "\"\"");
    let state = setup.path("state");
    make(&state, 0o777);
    make(&setup.path(""), 0o755);
    let output = run(harkd_of_another_user(&setup), &setup, &["run"]);
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("open to others (mode 0777)"), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot be closed: Operation not permitted"), "{}", stderr(&output));
}
