//! Rules over transcripts: which words, phrases and patterns, said by whom, when and how, make an alert.
//!
//! [`Config`] is what `[plugin.config]` holds, [`Rules`] the same ready to judge. [`Rules::judge`] judges a whole call at once, for
//! `harkd rules test` and for score sheets; [`Call`] follows a call while it is heard and says which alerts to raise and to retract.
#![warn(missing_docs)]

mod call;
mod config;
mod fixture;
mod fold;
mod judge;
mod lint;
mod patterns;
mod phrases;
mod rules;
mod unit;
mod window;

pub use call::{Call, Change};
pub use config::{Config, Mistake, Near, Rule, Scope, parse_value};
pub use fixture::{Case, CaseResult, Expected, Fixture, Got, Line};
pub use fold::{Folding, Words};
pub use judge::Match;
pub use rules::Rules;
pub use unit::Unit;
pub use window::{Duration, Window};
