//! CPU and memory of a process and everything that it started, as the kernel reports them; and CPU of the whole machine.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

/// A process with its children, children's children and so on, of this moment.
pub(super) struct Tree {
    pub(super) processes: Vec<u32>,
}

impl Tree {
    pub(super) fn of(root: u32) -> anyhow::Result<Tree> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").context("reading /proc")? {
            let name = entry.context("reading /proc")?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may have ended meanwhile.
            let Ok(stat) = Stat::of(id) else { continue };
            children.entry(stat.parent).or_default().push(id);
        }
        let mut processes = vec![root];
        let mut next = 0;
        while let Some(process) = processes.get(next) {
            processes.extend(children.remove(process).unwrap_or_default());
            next += 1;
        }
        Ok(Tree { processes })
    }

    /// CPU time so far, including children that ended and were waited for.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut ticks = 0;
        for (position, id) in self.processes.iter().enumerate() {
            match Stat::of(*id) {
                Ok(stat) => ticks += stat.ticks,
                Err(error) if position == 0 => return Err(error),
                // The process has ended meanwhile, and its parent has its time.
                Err(_) => {}
            }
        }
        Ok(duration(ticks))
    }

    /// Those of its processes that were started with this argument.
    pub(super) fn named(&self, argument: &str) -> Tree {
        let has_argument = |id: &&u32| {
            // A process may have ended meanwhile.
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
        };
        Tree { processes: self.processes.iter().filter(has_argument).copied().collect() }
    }

    /// CPU time of those of its processes that have not ended.
    pub(super) fn cpu_of_each(&self) -> Duration {
        duration(self.processes.iter().flat_map(|id| Stat::of(*id)).map(|stat| stat.ticks).sum())
    }

    /// Memory in bytes. What several processes share, such as the program itself, is counted once.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        self.processes.iter().map(|id| memory_of(*id)).sum()
    }
}

/// A field of `/proc/<id>/stat`.
struct Stat {
    parent: u32,
    ticks: u64,
    ticks_of_ended: u64,
}

impl Stat {
    fn of(id: u32) -> anyhow::Result<Stat> {
        let path = format!("/proc/{id}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // The second field is the name in brackets, and may contain anything.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |number: usize| {
            let field = fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
            field.ok_or_else(|| anyhow!("{path} has no field {number}"))
        };
        // User and system time, of the process (14, 15) and of its children that ended (16, 17).
        let ticks = (14..=17).map(field).sum::<anyhow::Result<u64>>()?;
        Ok(Stat { parent: u32::try_from(field(4)?)?, ticks, ticks_of_ended: field(16)? + field(17)? })
    }
}

fn memory_of(id: u32) -> anyhow::Result<u64> {
    // Only root can read the shares of a process that is not dumpable, as harkd and its children are; for other users everything that it
    // maps is counted.
    let shares = format!("/proc/{id}/smaps_rollup");
    let kib = match fs::read_to_string(&shares) {
        Ok(text) => kib_after("Pss:", &text),
        Err(_) => {
            let path = format!("/proc/{id}/status");
            // A child may have ended since the tree was read: then it takes nothing.
            kib_after("VmRSS:", &fs::read_to_string(path).unwrap_or_default())
        }
    };
    Ok(kib.unwrap_or(0) * 1024)
}

fn kib_after(name: &str, text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// CPU time of the children of this process that ended and were waited for.
pub(super) fn ended_children() -> anyhow::Result<Duration> {
    Ok(duration(Stat::of(std::process::id())?.ticks_of_ended))
}

/// CPU time of all cores, for all processes, since the machine started.
pub(super) fn machine() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let first = text.lines().next().unwrap_or_default();
    let times: Vec<u64> = first.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    let [user, nice, system, _idle, _iowait, interrupts, soft_interrupts, _stolen] = times[..] else {
        bail!("/proc/stat does not begin with the times of all cores")
    };
    Ok(duration(user + nice + system + interrupts + soft_interrupts))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_this_process_takes() {
        let tree = Tree::of(std::process::id()).expect("a tree");
        assert!(tree.processes.contains(&std::process::id()));
        assert!(tree.memory().expect("memory") > 100_000);
        assert!(tree.cpu().expect("time") <= machine().expect("time"));
    }
}
