//! What programs need of the machine's dynamic loader.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use super::run_program;

/// Debian 12's. A program that needs a newer one does not start there.
const NEWEST_ALLOWED: Libc = Libc(2, 36);

/// The libraries that every server with glibc has.
const EVERYWHERE: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

/// Major, minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Libc(u32, u32);

impl std::fmt::Display for Libc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The oldest glibc with which all of them start.
///
/// # Errors
/// When one needs another library than those of every server, or a glibc that is newer than Debian 12's.
pub(super) fn newest_libc(programs: &[PathBuf]) -> anyhow::Result<Libc> {
    let mut newest = Libc(2, 0);
    for program in programs {
        let headers = run_program(Command::new("objdump").arg("-p").arg(program))?;
        let strange: Vec<&str> = needed(&headers).filter(|name| !EVERYWHERE.contains(name)).collect();
        ensure!(
            strange.is_empty(),
            "{} needs {}, which a server may lack",
            program.display(),
            strange.join(", ")
        );
        let symbols = run_program(Command::new("objdump").arg("-T").arg(program))?;
        let (version, symbol) = newest_symbol(&symbols)
            .with_context(|| format!("{} uses no symbol of glibc", program.display()))?;
        ensure!(
            version <= NEWEST_ALLOWED,
            "{} uses {symbol} of glibc {version}; Debian 12 has {NEWEST_ALLOWED}",
            program.display()
        );
        newest = newest.max(version);
    }
    Ok(newest)
}

/// The libraries that `objdump -p` names.
fn needed(headers: &str) -> impl Iterator<Item = &str> {
    headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim)
}

/// The symbol with the newest version of glibc in the output of `objdump -T`.
fn newest_symbol(symbols: &str) -> Option<(Libc, &str)> {
    symbols.lines().filter_map(symbol).max_by_key(|(version, _)| *version)
}

/// Reads `0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) pthread_join`.
fn symbol(line: &str) -> Option<(Libc, &str)> {
    let (_, versioned) = line.split_once("GLIBC_")?;
    let mut words = versioned.split_whitespace();
    let mut numbers = words.next()?.trim_end_matches(')').split('.').map(str::parse);
    let version = Libc(numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((version, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_libraries_and_the_newest_symbol() {
        let headers = "Dynamic Section:\n  NEEDED               libgcc_s.so.1\n  NEEDED               libc.so.6\n  INIT  0x1";
        assert_eq!(needed(headers).collect::<Vec<_>>(), ["libgcc_s.so.1", "libc.so.6"]);
        let symbols = "0000000000000000      DF *UND*\t0000000000000000 (GLIBC_2.2.5) memcpy\n\
                       0000000000000000      DF *UND*\t0000000000000000 (GLIBC_2.34) pthread_join\n\
                       0000000000000000      DF *UND*\t0000000000000000 (GLIBC_2.9)  epoll_create1\n\
                       0000000000001000 g    DF .text\t0000000000000010  Base        hark_plugin";
        assert_eq!(newest_symbol(symbols), Some((Libc(2, 34), "pthread_join")));
    }
}
