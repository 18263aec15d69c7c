//! The services that recognize, and the clock, which their answers tell.

use jiff::SignedDuration;

use super::finding::{Finding, Level};
use crate::config::Config;
use crate::recognize::{Examined, Trouble, examine_own, examine_service};

/// A clock that is further off than this may have requests to a bucket refused, and counts spending on the wrong day.
const OFF: SignedDuration = SignedDuration::from_secs(60);

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (of_service, of_own) = tokio::join!(
        of_dashscope(config),
        futures::future::join_all(config.recognizer.iter().map(examine_own))
    );
    let mut examined = of_service.unwrap_or_default();
    let mut findings: Vec<Finding> = Vec::new();
    match config.dashscope_key() {
        Err(reason) => findings.push(Finding::of_sentence(
            "key",
            Level::Error,
            &reason,
            "put the key where the config looks for it",
        )),
        Ok(None) => findings.push(Finding::ok(
            "key",
            "every route names a speech server of your own, so none of DashScope is needed",
        )),
        Ok(Some(_)) => {}
    }
    findings.extend(examined.iter().map(|examined| finding(examined.about.clone(), examined)));
    findings
        .extend(of_own.iter().map(|examined| finding(format!("recognizer {}", examined.about), examined)));
    examined.extend(of_own);
    findings.extend(clock(&examined));
    findings
}

async fn of_dashscope(config: &Config) -> Option<Vec<Examined>> {
    let key = config.dashscope_key().ok()??;
    Some(examine_service(&config.dashscope, key).await)
}

fn finding(check: String, examined: &Examined) -> Finding {
    match &examined.outcome {
        Ok(message) => Finding::ok(check, message),
        Err(Trouble { passes: true, message, remedy }) => Finding::warning(check, message, remedy),
        Err(Trouble { passes: false, message, remedy }) => Finding::error(check, message, remedy),
    }
}

/// Compares the clock with that of the first service that tells its own.
fn clock(examined: &[Examined]) -> Option<Finding> {
    let ahead = examined.iter().find_map(|examined| examined.ahead)?;
    let seconds = ahead.abs().as_secs();
    if ahead.abs() <= OFF {
        return Some(Finding::ok("clock", "agrees with the service's to the minute"));
    }
    let which = if ahead.is_positive() { "ahead of" } else { "behind" };
    let message = format!("is {seconds} s {which} the service's");
    Some(Finding::warning(
        "clock",
        message,
        "have a time service set it (systemd-timesyncd, chrony): signed URLs and the budget's day depend on it",
    ))
}
