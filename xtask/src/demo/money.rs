//! What the real service will cost, printed before anything is spent.

use std::io::IsTerminal;
use std::time::Duration;

use super::Region;
use crate::interrupt::Interrupt;
use crate::terminal::bold;

/// Without a terminal, the time to read the sum in a log and stop the demo.
const GRACE: Duration = Duration::from_secs(5);

/// Prints the cost; waits for Enter on a terminal, else continues after some seconds.
///
/// # Errors
/// When the operator interrupts.
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
    // Read on a thread of its own, which is left blocked when an interrupt comes.
    let asked = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    while !asked.is_finished() {
        interrupt.sleep(Duration::from_millis(50))?;
    }
    Ok(())
}

/// The price as `[price]` of the config names it.
fn price_per_second(region: Region) -> f64 {
    match region {
        Region::Singapore => 0.000_035,
        Region::Us | Region::Beijing => 0.000_032,
    }
}

impl Region {
    /// The region as `dashscope.region` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Region::Singapore => "singapore",
            Region::Us => "us",
            Region::Beijing => "beijing",
        }
    }
}
