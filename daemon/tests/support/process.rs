//! A child process whose output goes to a file, and which is killed at the end of the test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_until;

/// A child process; on drop it is killed and reaped, also if it is stopped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts the process; stdout and stderr are appended to `<folder>/<name>.log`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Process {
        let output = folder.join(format!("{name}.log"));
        let log = OpenOptions::new().create(true).append(true).open(&output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(File::try_clone(&log).unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {:?}: {error}", command.get_program()));
        Process { name: name.to_owned(), child, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The output so far, including that of earlier processes of the same name.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM, waits, and returns the exit status.
    pub async fn terminate(&mut self, ceiling: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(ceiling).await
    }

    /// Waits and returns the exit status; panics if the process runs longer than the ceiling.
    pub async fn ended(&mut self, ceiling: Duration) -> ExitStatus {
        let name = format!("the end of {}", self.name);
        let child = &mut self.child;
        wait_until(&name, ceiling, async || child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap()
    }

    /// Sends SIGKILL; returns when the process is reaped.
    pub fn kill(&mut self) {
        // The process may have ended by itself: then there is nothing to kill, and wait() returns the status.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Sends SIGSTOP. Returns when every thread is stopped, which takes the kernel a moment.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        while !self.stands_still() {
            std::thread::yield_now();
        }
    }

    /// Sends SIGHUP.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGCONT, after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Resident memory of the process and its descendants, in bytes, without what they mapped from files: those are mostly the programs
    /// themselves, which all of them share and which are large without optimization.
    pub fn resident(&self) -> u64 {
        resident(self.id())
    }

    /// The children that have this name (`/proc/PID/comm`).
    pub fn children_named(&self, name: &str) -> Vec<u32> {
        let comm =
            |process: &u32| std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        children(self.id()).into_iter().filter(|process| comm(process).trim_end() == name).collect()
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.flatten().all(|thread| {
            // "1234 (its name) T …"; a thread that has ended meanwhile counts as stopped.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('T'))
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

fn resident(process: u32) -> u64 {
    // "RssAnon:     1234 kB"; 0 if the process has ended meanwhile.
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse().ok());
    let own: u64 = own.unwrap_or(0) * 1024;
    own + children(process).into_iter().map(resident).sum::<u64>()
}

fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children: String = threads
        .map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default())
        .collect();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}---- end of {} ----", self.name, self.log(), self.name);
        }
    }
}
