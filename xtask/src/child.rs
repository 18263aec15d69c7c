//! A process that xtask started, and that xtask ends.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child as Process, Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to end after SIGTERM; harkd drains its jobs in 10 s.
const TIME_TO_END: Duration = Duration::from_secs(12);
/// Enough to see why a child ended.
const LINES_KEPT: usize = 40;

/// Where a child's standard output goes. Its standard error is always kept.
pub(crate) enum Output {
    /// Into the kept lines.
    Kept,
    /// To the terminal.
    Terminal,
    /// To a reader.
    Lines(Sender<String>),
}

/// A running process. When dropped, it gets SIGTERM, and is killed if it does not end.
pub(crate) struct Child {
    name: &'static str,
    process: Process,
    kept: Arc<Mutex<VecDeque<String>>>,
}

impl Child {
    pub(crate) fn start(name: &'static str, mut command: Command, output: Output) -> anyhow::Result<Child> {
        let stdout = if matches!(output, Output::Terminal) { Stdio::inherit() } else { Stdio::piped() };
        let mut process = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            // Ctrl-C goes to the terminal's whole foreground group; xtask ends its children itself, in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        let kept = Arc::default();
        if let Some(stderr) = process.stderr.take() {
            keep(stderr, Arc::clone(&kept));
        }
        if let Some(stdout) = process.stdout.take() {
            match output {
                Output::Lines(sender) => pass_on(stdout, sender),
                Output::Kept | Output::Terminal => keep(stdout, Arc::clone(&kept)),
            }
        }
        Ok(Child { name, process, kept })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The newest lines of its output.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// # Errors
    /// When it has ended, with its last output.
    pub(crate) fn runs(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.process.try_wait().with_context(|| format!("looking after {}", self.name))?
        else {
            return Ok(());
        };
        bail!("{} ended with {status}; its last words:\n{}", self.name, self.last_words())
    }

    pub(crate) fn last_words(&self) -> String {
        self.lines().iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }

    /// Waits for the end of a child that ends by itself.
    ///
    /// # Errors
    /// When it ended with an error.
    pub(crate) fn ends_well(mut self) -> anyhow::Result<()> {
        let status = self.process.wait().with_context(|| format!("waiting for {}", self.name))?;
        if status.success() {
            return Ok(());
        }
        bail!("{} ended with {status}:\n{}", self.name, self.last_words())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            // A child that has ended meanwhile needs no signal.
            let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
            let begin = Instant::now();
            while begin.elapsed() < TIME_TO_END {
                if !matches!(self.process.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            eprintln!("{} does not end, killing it", self.name);
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn keep(output: impl Read + Send + 'static, kept: Arc<Mutex<VecDeque<String>>>) {
    each_line(output, move |line| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
        true
    });
}

fn pass_on(output: impl Read + Send + 'static, sender: Sender<String>) {
    each_line(output, move |line| sender.send(line).is_ok());
}

/// Reads on a thread of its own, until the child closes its output or `give` wants no more.
fn each_line(output: impl Read + Send + 'static, mut give: impl FnMut(String) -> bool + Send + 'static) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if !give(String::from_utf8_lossy(&line).into_owned()) {
                break;
            }
        }
    });
}
