//! The account's rates: requests per minute and second for each model, task calls per second.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::options::Options;
use crate::refusal::Refusal;

/// Counts requests; refuses nothing unless `--enforce-limits` is given.
pub struct Limits {
    enforced: bool,
    requests_per_minute: usize,
    task_queries_per_second: usize,
    models: Mutex<HashMap<String, VecDeque<Instant>>>,
    task_calls: Mutex<VecDeque<Instant>>,
}

impl Limits {
    pub fn new(options: &Options) -> Limits {
        Limits {
            enforced: options.enforce_limits,
            requests_per_minute: options.requests_per_minute,
            task_queries_per_second: options.task_queries_per_second,
            models: Mutex::default(),
            task_calls: Mutex::default(),
        }
    }

    /// Counts a recognition or a submit. 429 beyond the minute's quota, and beyond its 60th part in one second. Refused requests do not
    /// count.
    pub fn take_request(&self, model: &str) -> Result<(), Refusal> {
        if !self.enforced {
            return Ok(());
        }
        let now = Instant::now();
        let mut models = self.models.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let taken = models.entry(model.to_owned()).or_default();
        forget(taken, now, Duration::from_secs(60));
        if taken.len() >= self.requests_per_minute {
            return Err(throttled("Throttling.RateQuota"));
        }
        let in_last_second =
            taken.iter().rev().take_while(|then| now - **then < Duration::from_secs(1)).count();
        if in_last_second >= self.requests_per_minute.div_ceil(60) {
            return Err(throttled("Throttling.BurstRate"));
        }
        taken.push_back(now);
        Ok(())
    }

    /// Counts a query, list or cancel.
    pub fn take_task_call(&self) -> Result<(), Refusal> {
        if !self.enforced {
            return Ok(());
        }
        let now = Instant::now();
        let mut taken = self.task_calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        forget(&mut taken, now, Duration::from_secs(1));
        if taken.len() >= self.task_queries_per_second {
            return Err(throttled("Throttling.RateQuota"));
        }
        taken.push_back(now);
        Ok(())
    }
}

fn forget(taken: &mut VecDeque<Instant>, now: Instant, window: Duration) {
    while taken.front().is_some_and(|then| now - *then >= window) {
        taken.pop_front();
    }
}

fn throttled(code: &str) -> Refusal {
    let message = "Requests rate limit exceeded, please try again later.";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, code, message)
}
