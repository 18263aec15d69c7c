//! The environment of a plugin's process: its program, paths that it must not read, folders that it may write to.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::process::Launch;
use super::wire::Load;
use crate::config::{self, Config, Source};
use crate::job::ledger::retention::PLUGINS;
use crate::os::spawn::this_executable;

/// The environment that all plugins share.
#[derive(Debug, Clone)]
pub struct PluginEnvironment {
    /// The program whose subcommand `plugin-host` is started.
    pub executable: PathBuf,
    /// Each plugin may access its own `plugins/<name>` below it, and nothing else of it.
    pub state_directory: PathBuf,
    /// Further paths that plugins may not read: key files, the config, context files of routes, recordings.
    pub hidden: Vec<PathBuf>,
}

impl PluginEnvironment {
    /// The environment with this program and a state directory; systemd's credentials and `/etc/hark` are hidden from plugins.
    pub fn new(state_directory: &Path) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        PluginEnvironment {
            executable: this_executable(),
            state_directory: state_directory.to_owned(),
            hidden: credentials.into_iter().chain([PathBuf::from("/etc/hark")]).collect(),
        }
    }

    /// The environment for a daemon with this config. In addition to the paths of [`Self::new`], plugins may not read: the config; the secret
    /// files that it names; the `context_file` of a route, which describes customers and products; and recordings, in watched folders and in the
    /// folders that finished recordings are moved to.
    pub fn of(config: &Config, config_file: &Path) -> Self {
        let mut environment = PluginEnvironment::new(&config.state.directory);
        let contexts = config.route.iter().map(|route| &route.context_file);
        let folders = config.source.iter().filter_map(Source::folder);
        let recordings =
            folders.flat_map(|source| [&source.path, &source.done_directory, &source.failed_directory]);
        environment.hidden.extend(config.secret_files());
        environment.hidden.push(config_file.to_owned());
        environment.hidden.extend(contexts.chain(recordings).cloned());
        // Sorted, so that two configs with the same paths in another order give equal environments.
        environment.hidden.sort();
        environment.hidden.dedup();
        environment
    }

    pub(super) fn launch(&self, plugin: &config::Plugin, folders: &config::Plugins) -> Launch {
        let own = self.own_folder(&plugin.name);
        let hidden = self.hidden.iter().chain([&self.state_directory]);
        Launch {
            executable: self.executable.clone(),
            load: Load {
                name: plugin.name.clone(),
                library: plugin.library_path(folders),
                sha256: plugin.sha256.clone(),
                config: json!(plugin.config).to_string(),
                // Empty paths are keys that are not set.
                hidden: hidden.filter(|path| !path.as_os_str().is_empty()).cloned().collect(),
                writable: plugin.write.iter().chain([&own]).cloned().collect(),
                network: plugin.network,
                schema_only: false,
            },
            memory_limit: plugin.memory_limit,
            own_folder: own,
        }
    }

    pub(super) fn own_folder(&self, plugin: &str) -> PathBuf {
        self.state_directory.join(PLUGINS).join(plugin)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::Route;

    /// Keys of files that every user may read.
    const PUBLIC: [&str; 3] = ["/nats.tls_ca", "/nats.tls_cert", "/http.tls_cert"];

    /// Sets every key that names a file to a path of its own, and adds those paths to `named`.
    fn name_files(table: &str, keys: &mut Value, named: &mut Vec<String>) {
        for (key, value) in keys.as_object_mut().unwrap() {
            match value {
                Value::Object(_) => name_files(key, value, named),
                Value::String(file) if key.ends_with("_file") || key.starts_with("tls_") => {
                    *file = format!("/{table}.{key}");
                    named.push(file.clone());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_file_that_the_config_names_is_hidden_unless_it_is_public() {
        let mut files = Vec::new();
        let mut config = serde_json::to_value(Config::default()).unwrap();
        name_files("", &mut config, &mut files);
        let mut route = serde_json::to_value(Route::named("default")).unwrap();
        name_files("route", &mut route, &mut files);
        config["route"] = Value::Array(vec![route]);
        let config: Config = serde_json::from_value(config).unwrap();
        let hidden = PluginEnvironment::of(&config, Path::new("harkd.toml")).hidden;
        for file in ["/dashscope.api_key_file", "/nats.nkey_file", "/nats.tls_key", "/route.context_file"] {
            assert!(files.contains(&file.to_owned()), "{file} is looked for: {files:?}");
        }
        for file in files {
            let is_public = PUBLIC.contains(&file.as_str());
            assert_eq!(hidden.contains(&PathBuf::from(&file)), !is_public, "{file}");
        }
    }

    #[test]
    fn keys_config_and_recordings_are_hidden() {
        let text = "[dashscope]\napi_key_file = \"key\"\n[nats]\ntoken_file = \"/etc/token\"\n[state]\ndirectory = \"state\"\n\
             [[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv/calls\"\nwhen_done = \"move\"\n\
             done_directory = \"/srv/done\"\nfailed_directory = \"/srv/failed\"\n\
             [[plugin]]\nname = \"p\"\nlibrary = \"p\"\nwrite = [\"/srv/done\"]\n";
        let config = config::inspect_text("harkd.toml", text, &Default::default()).config;
        let environment = PluginEnvironment::of(&config, Path::new("harkd.toml"));
        let load = environment.launch(&config.plugin[0], &config.plugins).load;
        for path in ["key", "/etc/token", "harkd.toml", "/srv/calls", "/srv/done", "/srv/failed", "state"] {
            assert!(load.hidden.contains(&PathBuf::from(path)), "{path}: {load:?}");
        }
        assert!(load.hidden.iter().all(|path| !path.as_os_str().is_empty()), "{load:?}");
        assert_eq!(load.writable, [PathBuf::from("/srv/done"), PathBuf::from("state/plugins/p")]);
    }
}
