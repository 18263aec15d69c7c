//! A pipeline with plugins that are built for the test: C with the system's compiler, Rust with cargo.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hark_sdk::event::{Body, Event};
use harkd::config::{self, OnFailure};
use harkd::pipeline::{Pipeline, PluginEnvironment, PluginStatus, Processed};
use harkd::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Plugins that will be started, in this order.
pub struct Plugins {
    folder: TempDir,
    plugins: Vec<config::Plugin>,
}

/// The running pipeline, with the folder of its plugins.
pub struct Running {
    pub folder: TempDir,
    pub metrics: Metrics,
    pipeline: Pipeline,
}

impl Plugins {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Plugins { folder, plugins: Vec::new() }
    }

    /// Adds `tests/plugins/<name>.c` as the plugin `name`.
    pub fn c(self, name: &str) -> Self {
        let file = format!("tests/plugins/{name}.c");
        self.c_file(name, &file)
    }

    /// Adds a C file, by its path relative to the daemon's crate.
    pub fn c_file(self, name: &str, file: &str) -> Self {
        let library = self.folder.path().join(format!("{name}.so"));
        compile(Path::new(file), &library, 1);
        self.plugin(name, library)
    }

    /// Adds a plugin crate of the workspace.
    pub fn rust(self, name: &str) -> Self {
        let library = self.folder.path().join(format!("{name}.so"));
        std::fs::copy(build(name), &library).unwrap();
        self.plugin(name, library)
    }

    /// Adds a plugin whose library does not exist.
    pub fn missing(self, name: &str) -> Self {
        let library = self.folder.path().join(format!("{name}.so"));
        self.plugin(name, library)
    }

    /// Changes the config of the plugin that was added last.
    pub fn with(mut self, change: impl FnOnce(&mut config::Plugin)) -> Self {
        change(self.plugins.last_mut().unwrap());
        self
    }

    pub fn holding(self) -> Self {
        self.with(|plugin| plugin.on_failure = OnFailure::Hold)
    }

    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|plugin| plugin.timeout = timeout)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub async fn start(self) -> Running {
        let environment = PluginEnvironment {
            executable: env!("CARGO_BIN_EXE_harkd").into(),
            ..PluginEnvironment::new(&self.folder.path().join("state"))
        };
        let metrics = Metrics::new();
        let folders = config::Plugins::default();
        let pipeline = Pipeline::start_in(&environment, &self.plugins, &folders, metrics.clone());
        pipeline.loaded().await;
        Running { folder: self.folder, metrics, pipeline }
    }

    fn plugin(mut self, name: &str, library: PathBuf) -> Self {
        let plugin = json!({ "name": name, "library": library });
        self.plugins.push(serde_json::from_value(plugin).unwrap());
        self
    }
}

impl Running {
    pub async fn process(&self, event: Event) -> Processed {
        self.pipeline.process(event, || std::future::ready(Vec::new())).await
    }

    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.pipeline.statuses()
    }

    pub fn status(&self, name: &str) -> PluginStatus {
        self.statuses().into_iter().find(|status| status.name == name).unwrap()
    }

    /// Waits until `right` holds for a plugin's status, for at most ten seconds.
    pub async fn until(&self, name: &str, right: impl Fn(&PluginStatus) -> bool) -> PluginStatus {
        for _ in 0..1_000 {
            let status = self.status(name);
            if right(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} stays {:?}", self.status(name));
    }

    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Replaces a plugin's library with a copy of another library, by rename.
    pub fn put(&self, name: &str, library: &Path) {
        let place = self.folder.path().join(format!("{name}.so"));
        let beside = place.with_extension("new");
        std::fs::copy(library, &beside).unwrap();
        std::fs::rename(&beside, &place).unwrap();
    }

    /// Replaces a C plugin's library with a new version, by rename.
    pub fn replace(&self, name: &str, file: &str, version: u32) {
        let library = self.folder.path().join(format!("{name}.so"));
        let beside = library.with_extension("new");
        compile(&Path::new("tests/plugins").join(file), &beside, version);
        std::fs::rename(&beside, &library).unwrap();
    }

    pub fn failures(&self, plugin: &str, reason: &str) -> u64 {
        self.metrics.plugin_failures.with_label_values(&[plugin, reason]).get()
    }

    pub async fn stop(self) {
        self.pipeline.stop().await;
    }
}

/// The `data` of a plugin's own events.
pub fn data<'a>(processed: &'a Processed, plugin: &'a str) -> impl Iterator<Item = &'a Value> {
    processed.emitted.iter().filter_map(move |body| match body {
        Body::Plugin(event) if event.plugin == plugin => Some(&event.data),
        _ => None,
    })
}

/// Compiles a C file, by its path relative to the daemon's crate, into `library`.
pub fn compile(file: &Path, library: &Path, version: u32) {
    compile_with(file, library, &[&format!("-DVERSION={version}")]);
}

/// As `compile`, with more compiler arguments; libraries to link with come last.
pub fn compile_with(file: &Path, library: &Path, more: &[&str]) {
    let daemon = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compiled = Command::new("cc")
        .args([
            "-D_GNU_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-infinite-recursion",
            "-shared",
            "-fPIC",
            "-pthread",
        ])
        .arg("-I")
        .arg(daemon.join("../sdk/include"))
        .arg("-o")
        .arg(library)
        .arg(daemon.join(file))
        .args(more)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    std::fs::set_permissions(library, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Builds a plugin crate of the workspace and returns its library.
fn build(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    build_with(Command::new(env!("CARGO")).args(["build", "-p", name]).current_dir(workspace), name)
}

/// Runs a `cargo build` and returns the library of that name. One build at a time: cargo's lock would make the others wait anyway.
pub fn build_with(cargo: &mut Command, name: &str) -> PathBuf {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let built = cargo.args(["--quiet", "--message-format=json"]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout).unwrap();
    let libraries = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let library = libraries
        .filter(|message| message["target"]["name"] == name)
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .find_map(|file| file.as_str().filter(|file| file.ends_with(".so")).map(PathBuf::from));
    library.unwrap_or_else(|| panic!("cargo names no library of {name}"))
}
