//! Children that try what the sandbox refuses. The child is this test program itself; it runs one of the ignored tests below, which do
//! nothing unless they were started as a child.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncReadExt;

use super::sandbox::{PluginRights, confine_audio_worker, confine_ffmpeg, confine_plugin};
use super::{ChildCommand, Limits};

/// What was tried, and "ok" or the error.
type Report = BTreeMap<String, String>;

const SOCKETS: [&str; 3] = ["a tcp socket", "a unix socket", "a unix datagram"];

/// The kernel's words where the filter of system calls refuses, and where Landlock does.
const NOT_PERMITTED: &str = "not permitted";
const DENIED: &str = "permission denied";

/// Fails unless each of these was tried, and refused in one of these words.
fn assert_refused(report: &Report, tried: &[&str], words: &[&str]) {
    for what in tried {
        assert!(words.iter().any(|words| report[*what].contains(words)), "{what}: {report:#?}");
    }
}

#[tokio::test]
async fn a_plugin_may_not_start_programs_open_sockets_or_leave_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["state/plugins/mine", "elsewhere"] {
        std::fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("state/ledger"), "secret").unwrap();
    std::fs::write(folder.path().join("elsewhere/rules"), "rules").unwrap();
    let report = report_of("plugin_child", folder.path()).await;
    assert_eq!(report["missing"], "ok");
    for allowed in [
        "a thread",
        "reading elsewhere",
        "writing its folder",
        "/proc/self/status",
        "/dev/null",
        "aborting itself",
    ] {
        assert_eq!(report[allowed], "ok", "{allowed}: {report:#?}");
    }
    assert_refused(&report, &SOCKETS, &[NOT_PERMITTED, DENIED]);
    let others = [
        "a program",
        "signalling the daemon",
        "reading the ledger",
        "the daemon's environment",
        "writing elsewhere",
        "removing elsewhere",
    ];
    assert_refused(&report, &others, &[NOT_PERMITTED, DENIED]);
}

#[tokio::test]
async fn a_plugin_with_the_right_to_it_reaches_the_network_and_no_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let report = report_of("network_child", folder.path()).await;
    // No process listens on that port; the error shows that the connection attempt reached the kernel's network.
    assert!(report["a tcp socket"].contains("refused"), "{report:#?}");
    assert_refused(&report, &["a unix socket", "a unix datagram"], &[NOT_PERMITTED]);
}

#[tokio::test]
async fn the_audio_worker_can_open_nothing_at_all() {
    let folder = folder_with_rules();
    let report = report_of("audio_child", folder.path()).await;
    assert_eq!(report["missing"], "ok");
    assert_refused(&report, &SOCKETS, &[NOT_PERMITTED]);
    assert_refused(&report, &["a program", "reading elsewhere", "writing elsewhere"], &[NOT_PERMITTED]);
}

#[tokio::test]
async fn ffmpeg_reaches_neither_network_nor_files() {
    let folder = folder_with_rules();
    let report = report_of("ffmpeg_child", folder.path()).await;
    assert_eq!(report["missing"], "ok");
    assert_refused(&report, &SOCKETS, &[NOT_PERMITTED, DENIED]);
    let others = ["a program", "reading elsewhere", "writing elsewhere", "removing elsewhere"];
    assert_refused(&report, &others, &[NOT_PERMITTED, DENIED]);
    assert_eq!(report["reading what is installed"], "ok");
}

#[tokio::test]
async fn a_child_has_one_socket_no_environment_and_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    // Without CLOEXEC, as a library may open it.
    let leaked = File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let report = report_of("plain_child", folder.path()).await;
    assert_eq!(report["descriptors"], "0 1 2 3");
    assert_eq!(report["variables"], "");
    assert_eq!((&*report["files"], &*report["tasks"]), ("32", "100"));
    assert_eq!(report["capabilities"], "0000000000000000");
    assert_eq!(report["10 MiB"], "ok");
    assert_eq!(report["1 GiB"], "no memory");
    drop(leaked);
}

#[tokio::test]
async fn dropping_the_handle_kills_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let (child, mut socket) = child("waiting_child", folder.path()).spawn_stream().await.unwrap();
    let mut ready = [0];
    socket.read_exact(&mut ready).await.unwrap();
    drop(child);
    let end = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut ready)).await;
    assert_eq!(end.unwrap().unwrap(), 0, "the socket closes when the child dies");
}

/// A folder with a file that the child must not reach.
fn folder_with_rules() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
    std::fs::write(folder.path().join("elsewhere/rules"), "rules").unwrap();
    folder
}

#[test]
fn children_die_with_the_daemon_that_was_killed() {
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["os::tests::short_lived_daemon", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("HARK_TEST_DAEMON", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let child =
        lines.map_while(Result::ok).find_map(|line| Some(line.split_once("child ")?.1.to_owned())).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    // Gone, or a zombie that no process has collected yet.
    let stat = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    while !stat().is_empty() && !stat().contains(") Z ") {
        assert!(std::time::Instant::now() < end, "{}", stat());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn short_lived_daemon() {
    if std::env::var_os("HARK_TEST_DAEMON").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (started, mut socket) = child("deaf_child", Path::new("/")).spawn_stream().await.unwrap();
        socket.read_exact(&mut [0]).await.unwrap();
        println!("child {}", started.id().unwrap());
        std::future::pending::<()>().await;
    });
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn deaf_child() {
    let Some((mut socket, _)) = entered() else { return };
    socket.write_all(b"!").unwrap();
    // Does not notice that the socket closes; only the kernel can end it.
    std::thread::sleep(Duration::from_secs(60));
}

async fn report_of(test: &str, folder: &Path) -> Report {
    let (_child, mut socket) = child(test, folder).spawn_stream().await.unwrap();
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await.unwrap();
    serde_json::from_slice(&text)
        .unwrap_or_else(|_| panic!("{test} died: {:?}", String::from_utf8_lossy(&text)))
}

fn child(test: &str, folder: &Path) -> ChildCommand {
    let limits =
        Limits { memory: Some(256 << 20), descriptors: Some(32), tasks: Some(100), ..Limits::default() };
    let mut command =
        ChildCommand::new(&std::env::current_exe().unwrap(), &format!("os::tests::{test}")).limits(limits);
    // The test harness reads the folder as a name to skip, and the child finds it last on its command line.
    let harness = ["--exact", "--ignored", "--nocapture", "--test-threads=1", "--skip"];
    command.arguments.extend(harness.map(Into::into));
    command.arguments.push(folder.into());
    command
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn plugin_child() {
    confined_plugin(false);
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn network_child() {
    confined_plugin(true);
}

fn confined_plugin(network: bool) {
    let Some((mut socket, folder)) = entered() else { return };
    let state = folder.join("state");
    let missing = confine_plugin(&PluginRights {
        hidden: vec![state.clone()],
        writable: vec![state.join("plugins/mine")],
        network,
    });
    let mut report = attempts(&folder);
    let mut note = |what: &str, outcome: std::io::Result<()>| report.insert(what.into(), text_of(outcome));
    note("missing", if missing.is_empty() { Ok(()) } else { Err(std::io::Error::other(missing.join("; "))) });
    note("a thread", std::thread::Builder::new().spawn(|| {}).map(|thread| thread.join().unwrap()));
    note("reading the ledger", File::open(state.join("ledger")).map(drop));
    note("writing its folder", std::fs::write(state.join("plugins/mine/notes"), "mine"));
    note("/proc/self/status", File::open("/proc/self/status").map(drop));
    note("/dev/null", std::fs::write("/dev/null", "x"));
    let daemon = rustix::process::getppid().unwrap();
    note(
        "the daemon's environment",
        File::open(format!("/proc/{}/environ", daemon.as_raw_nonzero())).map(drop),
    );
    note("signalling the daemon", Ok(rustix::process::test_kill_process(daemon)).and_then(|sent| Ok(sent?)));
    let me = rustix::process::getpid();
    note("aborting itself", Ok(rustix::process::test_kill_process(me)).and_then(|sent| Ok(sent?)));
    socket.write_all(&serde_json::to_vec(&report).unwrap()).unwrap();
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn audio_child() {
    let Some((mut socket, folder)) = entered() else { return };
    let missing = confine_audio_worker();
    let mut report = attempts(&folder);
    report.insert("missing".into(), if missing.is_empty() { "ok".into() } else { missing.join("; ") });
    socket.write_all(&serde_json::to_vec(&report).unwrap()).unwrap();
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn ffmpeg_child() {
    let Some((mut socket, folder)) = entered() else { return };
    let missing = confine_ffmpeg(Path::new("/bin/true"));
    let mut report = attempts(&folder);
    report.insert("missing".into(), if missing.is_empty() { "ok".into() } else { missing.join("; ") });
    let installed = std::fs::read_dir("/usr/lib").map(drop);
    report.insert("reading what is installed".into(), text_of(installed));
    socket.write_all(&serde_json::to_vec(&report).unwrap()).unwrap();
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn plain_child() {
    let Some((mut socket, _)) = entered() else { return };
    let mut report = Report::new();
    let open = |&number: &i32| Path::new(&format!("/proc/self/fd/{number}")).symlink_metadata().is_ok();
    let numbers: Vec<String> = (0..64).filter(open).map(|number| number.to_string()).collect();
    report.insert("descriptors".into(), numbers.join(" "));
    let names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    report.insert("variables".into(), names.join(" "));
    for (name, resource) in [("files", Resource::Nofile), ("tasks", Resource::Nproc)] {
        let maximum = getrlimit(resource).maximum;
        report.insert(name.into(), maximum.unwrap_or_default().to_string());
    }
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    report.insert("capabilities".into(), effective.into());
    for (name, bytes) in [("10 MiB", 10 << 20), ("1 GiB", 1 << 30)] {
        let taken = Vec::<u8>::new().try_reserve_exact(bytes);
        report.insert(name.into(), taken.map_or("no memory", |()| "ok").into());
    }
    socket.write_all(&serde_json::to_vec(&report).unwrap()).unwrap();
}

#[test]
#[ignore = "runs as a child of the tests above"]
fn waiting_child() {
    let Some((mut socket, _)) = entered() else { return };
    socket.write_all(b"!").unwrap();
    // Waits until the socket closes, which happens only if the test process dies.
    let _ = socket.read(&mut [0]);
}

/// The socket and the folder, if this is a child.
fn entered() -> Option<(File, PathBuf)> {
    std::env::var_os("HARK_CHILD")?;
    let socket = super::enter(c"hark-test").unwrap();
    // A file, since the audio worker may call read and write but not send.
    Some((File::from(socket), std::env::args_os().next_back()?.into()))
}

fn attempts(folder: &Path) -> Report {
    let elsewhere = folder.join("elsewhere");
    [
        ("a program", Command::new("/bin/true").spawn().map(drop)),
        ("a tcp socket", std::net::TcpStream::connect(("127.0.0.1", 1)).map(drop)),
        ("a unix socket", UnixStream::connect(folder.join("socket")).map(drop)),
        (
            "a unix datagram",
            UnixDatagram::pair().and_then(|(one, _)| one.send_to(b"!", folder.join("socket"))).map(drop),
        ),
        ("reading elsewhere", File::open(elsewhere.join("rules")).map(drop)),
        ("writing elsewhere", std::fs::write(elsewhere.join("rules"), "mine")),
        ("removing elsewhere", std::fs::remove_file(elsewhere.join("rules"))),
    ]
    .into_iter()
    .map(|(what, outcome)| (what.to_owned(), text_of(outcome)))
    .collect()
}

fn text_of(outcome: std::io::Result<()>) -> String {
    outcome.map_or_else(|error| error.to_string().to_lowercase(), |()| "ok".into())
}
