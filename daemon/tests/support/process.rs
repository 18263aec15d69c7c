//! A child process whose output is kept, and which does not outlive the test.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_until;

/// A running child. Dropped, it is killed and reaped; a stopped one too.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts it; stdout and stderr are appended to `<folder>/<name>.log`.
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

    /// Everything it has written so far, earlier runs of the same name included.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self, ceiling: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(ceiling).await
    }

    /// How it ended; panics if it goes on.
    pub async fn ended(&mut self, ceiling: Duration) -> ExitStatus {
        let name = format!("the end of {}", self.name);
        let child = &mut self.child;
        wait_until(&name, ceiling, async || child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and wait() gives the status that is kept.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// SIGSTOP: it is there and does not answer. Returns when every thread stands still, which takes the kernel a moment.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        while !self.stands_still() {
            std::thread::yield_now();
        }
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGCONT, after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Resident memory of it and of everything that it started, in bytes.
    pub fn resident(&self) -> u64 {
        resident(self.id())
    }

    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.flatten().all(|thread| {
            // "1234 (its name) T …"; a thread that is gone meanwhile stands still too.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('T'))
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

fn resident(process: u32) -> u64 {
    // "VmRSS:     1234 kB"; gone meanwhile: nothing.
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let own =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let own: u64 = own.unwrap_or(0) * 1024;
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children: String = threads
        .map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default())
        .collect();
    own + children.split_whitespace().map(|child| resident(child.parse().unwrap())).sum::<u64>()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}---- end of {} ----", self.name, self.log(), self.name);
        }
    }
}
