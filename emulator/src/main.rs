//! `dashscope-emulator`: parse the options, bind, print the addresses, serve until SIGTERM or SIGINT.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dashscope_emulator::{Emulator, Options};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::new(&options.log))
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let served = runtime.block_on(serve(options));
    // At its end the emulator does not wait for a parser that still reads a large file.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let emulator = Emulator::start(options).await?;
    // The caller may have closed stderr or stdout; the emulator serves nevertheless.
    let _ = writeln!(
        std::io::stderr(),
        "dashscope-emulator: a stand-in for the service. It recognizes nothing: texts come from the manifest, \
         or are made from the hash of the audio."
    );
    let _ = writeln!(std::io::stdout(), "{}", emulator.ready_line());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    emulator.stop().await;
    Ok(())
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "dashscope-emulator: {message}");
    ExitCode::FAILURE
}
