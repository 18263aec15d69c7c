//! The rules that types cannot express. Each mistake names its key, and both keys where two contradict each other.

mod folders;
mod globs;
pub(super) mod later;
mod limits;
mod models;
mod names;
mod prices;
mod recognizers;
mod routes;
mod services;
mod storage;
mod subjects;
mod webhooks;

use super::Config;
use super::report::Report;

/// Applies every rule.
pub(super) fn validate(config: &Config, report: &mut Report<'_>) {
    // First, because a key that is missing would cause further mistakes.
    names::names(config, report);
    services::dashscope(config, report);
    models::models(config, report);
    recognizers::recognizers(config, report);
    services::nats(config, report);
    services::http(config, report);
    services::state(config, report);
    services::log(config, report);
    limits::limits(config, report);
    prices::prices(config, report);
    storage::storage(config, report);
    webhooks::webhooks(config, report);
    names::references(config, report);
    routes::routes(config, report);
    subjects::subjects(config, report);
    folders::folders(config, report);
    globs::globs(config, report);
}

/// The directory sources, each with its path in the file.
fn directories(config: &Config) -> impl Iterator<Item = (String, &super::DirectorySource)> {
    let sources = config.source.iter().enumerate();
    sources.filter_map(|(index, source)| Some((format!("source.{index}"), source.folder()?)))
}

/// The NATS sources, each with its path in the file.
fn intakes(config: &Config) -> impl Iterator<Item = (String, &super::NatsSource)> {
    let sources = config.source.iter().enumerate();
    sources.filter_map(|(index, source)| Some((format!("source.{index}"), source.intake()?)))
}
