//! What the config decides about the work on jobs. A reload puts other settings in force: a task keeps those that it began with, the next
//! task has the new ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{PieceTask, Priorities, Tools};
use crate::config::{AllowList, Config, Route, Secret};
use crate::job::ledger::Ledger;
use crate::job::piece_machine::Policy;
use crate::job::{Budget, Prices};
use crate::recognize::{Recognizer, Recognizers, Timeouts};
use crate::source::plugin_files::PluginFiles;
use crate::telemetry::metrics::Metrics;

/// The settings of one config.
#[derive(Debug)]
pub struct Settings {
    pub recognizers: Arc<Recognizers>,
    /// By name. Each route's `context` already contains the text of its `context_file`. Routes that the config does not have any more stay for
    /// the jobs that have them.
    pub routes: HashMap<String, Route>,
    pub policy: Policy,
    /// Of the sources.
    pub priorities: Priorities,
    pub plugin_files: PluginFiles,
    /// `security.allow_urls`.
    pub allow_urls: AllowList,
    /// `dashscope.poll_interval`.
    pub poll_interval: Duration,
    /// `dashscope.filetrans_concurrency`.
    pub most_tasks: usize,
}

impl Settings {
    /// The settings of a config. `before`: those in force, if the daemon runs already. `daemon`: its id.
    ///
    /// # Errors
    /// Every part that cannot be built, a sentence each.
    pub fn of_config(
        config: &Config,
        before: Option<&Settings>,
        daemon: Uuid,
        ledger: &Ledger,
        metrics: &Metrics,
    ) -> Result<Settings, Vec<String>> {
        let mut mistakes = Vec::new();
        let none = Recognizers::default();
        let recognizers = config.dashscope_key().and_then(|key: Option<Secret>| {
            let before = before.map_or(&none, |before| &before.recognizers);
            Recognizers::of_config(config, key, before, metrics, Timeouts::default())
        });
        let recognizers = ok_or_note(recognizers, &mut mistakes);
        let routes = ok_or_note(routes(config), &mut mistakes);
        let plugin_files = ok_or_note(PluginFiles::new(config, ledger), &mut mistakes);
        let allow_urls = ok_or_note(AllowList::parse(&config.security.allow_urls), &mut mistakes);
        let (Some(recognizers), Some(mut routes), Some(plugin_files), Some(allow_urls)) =
            (recognizers, routes, plugin_files, allow_urls)
        else {
            return Err(mistakes);
        };
        for (name, route) in before.iter().flat_map(|before| &before.routes) {
            if !routes.contains_key(name) {
                routes.insert(name.clone(), route.clone());
            }
        }
        Ok(Settings {
            recognizers: Arc::new(recognizers),
            routes,
            policy: Policy {
                ambiguous_retries: config.dashscope.ambiguous_retries,
                prices: Prices::of_config(config),
                budget: Budget::of_config(config),
                daemon,
            },
            priorities: Priorities::of_config(config),
            plugin_files,
            allow_urls,
            poll_interval: config.dashscope.poll_interval,
            most_tasks: config.dashscope.filetrans_concurrency,
        })
    }
}

fn ok_or_note<T>(built: Result<T, String>, mistakes: &mut Vec<String>) -> Option<T> {
    built.map_err(|mistake| mistakes.push(mistake)).ok()
}

/// The routes by name; their context files are read here.
fn routes(config: &Config) -> Result<HashMap<String, Route>, String> {
    let with_context =
        |route: &Route| Ok((route.name.clone(), Route { context: route.context_text()?, ..route.clone() }));
    config.route.iter().map(with_context).collect()
}

impl Tools {
    /// The tools with the settings that are in force now, for the next task.
    pub fn renewed(&self) -> Tools {
        let settings = Arc::clone(&self.in_force.borrow());
        Tools { settings, ..self.clone() }
    }

    /// Waits until a reload puts settings in force that concern the piece. Then its task stops waiting, and the daemon reads the piece again.
    pub(super) async fn outdated(&self, task: &PieceTask, recognizer: &Arc<dyn Recognizer>) {
        let mut in_force = self.in_force.clone();
        // The daemon that puts settings in force is gone only when nothing has to be looked at any more.
        if in_force.wait_for(|settings| self.is_outdated_by(settings, task, recognizer)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether other settings are in force that concern the piece.
    pub(super) fn is_outdated(&self, task: &PieceTask, recognizer: &Arc<dyn Recognizer>) -> bool {
        self.is_outdated_by(&self.in_force.borrow(), task, recognizer)
    }

    fn is_outdated_by(
        &self,
        settings: &Settings,
        task: &PieceTask,
        recognizer: &Arc<dyn Recognizer>,
    ) -> bool {
        let route = &task.job.route;
        settings.routes.get(route) != self.settings.routes.get(route)
            || settings
                .recognizers
                .get(&recognizer.profile().engine)
                .is_none_or(|present| !Arc::ptr_eq(present, recognizer))
    }
}
