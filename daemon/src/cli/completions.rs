//! `harkd completions`: what a shell needs to complete commands and options.

use clap::{CommandFactory, ValueEnum};
use clap_complete::aot::{Bash, Fish, Generator, Zsh};

use super::{Exit, print};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for a shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn execute(args: &Args) -> Result<(), Exit> {
    let mut script = Vec::new();
    match args.shell {
        Shell::Bash => generate(Bash, &mut script),
        Shell::Zsh => generate(Zsh, &mut script),
        Shell::Fish => generate(Fish, &mut script),
    }
    print(|out| std::io::Write::write_all(out, &script)).map(drop)
}

fn generate(shell: impl Generator, script: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut super::Args::command(), "harkd", script);
}
