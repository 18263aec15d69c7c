//! What the real service will cost, named before it is spent.

use std::io::IsTerminal;
use std::time::Duration;

use super::Region;
use crate::interrupt::Interrupt;
use crate::terminal::bold;

/// Without a person to ask, time to read the sum in a log and stop it.
const GRACE: Duration = Duration::from_secs(5);

/// Names the cost; asks for Enter on a terminal, else goes on after some seconds.
///
/// # Errors
/// When the person interrupts.
pub(crate) fn agree(region: Region, seconds: f64, once: bool, interrupt: &Interrupt) -> anyhow::Result<()> {
    println!(
        "{}",
        bold("DASHSCOPE_API_KEY is set: the recordings go to the real service, which charges for them.")
    );
    println!(
        "{seconds:.0} s of audio at {} USD a second in region {}: about {:.4} USD",
        price_per_second(region),
        region.name(),
        seconds * price_per_second(region)
    );
    if once || !std::io::stdin().is_terminal() {
        println!(
            "going on in {} s; Ctrl-C ends it before anything is sent (--emulator: without cost)",
            GRACE.as_secs()
        );
        return interrupt.sleep(GRACE);
    }
    println!("Enter goes on, Ctrl-C ends it before anything is sent (--emulator: without cost)");
    // A thread of its own, which an interrupt leaves behind at its read.
    let asked = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    while !asked.is_finished() {
        interrupt.sleep(Duration::from_millis(50))?;
    }
    Ok(())
}

/// As `[price]` of the config has it.
fn price_per_second(region: Region) -> f64 {
    match region {
        Region::Singapore => 0.000_035,
        Region::Us | Region::Beijing => 0.000_032,
    }
}

impl Region {
    /// As `dashscope.region` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Region::Singapore => "singapore",
            Region::Us => "us",
            Region::Beijing => "beijing",
        }
    }
}
