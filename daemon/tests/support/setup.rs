//! The config of a daemon, in its own folder, until the daemon is started.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::emulator::Emulator;
use super::events::Ear;
use super::hark::Hark;
use super::nats_server::{NatsServer, free_address};
use super::programs;
use super::small_disk::SmallDisk;

/// The config of a daemon that is not started yet. Keys without their own method are set with [`Setup::set`].
#[derive(Debug)]
pub struct Setup {
    // Declared before the folder, so that disks are unmounted before the folder is removed.
    disks: HashMap<String, SmallDisk>,
    folder: TempDir,
    nats: Option<String>,
    http: SocketAddr,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    arrays: String,
    environment: HashMap<String, String>,
}

impl Setup {
    /// As [`Hark::new`].
    pub(super) fn new() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let http = free_address();
        let setup = Setup {
            disks: HashMap::new(),
            http,
            nats: None,
            tables: BTreeMap::new(),
            arrays: String::new(),
            environment: HashMap::from([("DASHSCOPE_API_KEY".to_owned(), "sk-of-the-tests".to_owned())]),
            folder,
        };
        let state = toml_text(&setup.folder.path().join("state"));
        setup
            .set("state.directory", &state)
            .set("http.listen", &format!("\"{http}\""))
            .set("log.format", "\"human\"")
            .set("log.level", "\"info,harkd=debug\"")
            .set("dashscope.requests_per_minute", "0")
            .set("dashscope.poll_interval", "\"100ms\"")
            // Long enough for a daemon on a busy machine to confirm its messages in time.
            .set("nats.ack_wait", "\"8s\"")
    }

    pub fn nats(mut self, server: &NatsServer) -> Setup {
        self.nats = Some(server.url());
        self.set("nats.servers", &format!("[\"{}\"]", server.url()))
    }

    pub fn asr(self, emulator: &Emulator) -> Setup {
        self.set("dashscope.base_url", &format!("\"{}\"", emulator.api()))
    }

    /// Adds a directory source of this name; its folder is beside the config.
    pub fn folder(self, name: &str) -> Setup {
        self.folder_with(name, "")
    }

    /// As [`Setup::folder`], with more lines of its `[[source]]`, e.g. `existing = "process"`; of the lines that this method writes they
    /// may replace only `settle`.
    pub fn folder_with(mut self, name: &str, lines: &str) -> Setup {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let settle = if lines.contains("settle") { "" } else { "settle = \"100ms\"\n" };
        writeln!(
            self.arrays,
            "[[source]]\nname = \"{name}\"\nkind = \"directory\"\npath = {}\n{settle}{lines}\n",
            toml_text(&path)
        )
        .unwrap();
        self
    }

    /// Adds a NATS source of this name.
    pub fn inbox(mut self, name: &str, subject: &str) -> Setup {
        writeln!(self.arrays, "[[source]]\nname = \"{name}\"\nkind = \"nats\"\nsubject = \"{subject}\"\n")
            .unwrap();
        self
    }

    /// Adds a plugin of this workspace, copied to a folder that only the daemon's user may write to; `lines` are added to its `[[plugin]]`.
    pub fn plugin(mut self, name: &str, library: &str, lines: &str) -> Setup {
        let plugins = self.folder.path().join("plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        let path = plugins.join(format!("lib{library}.so"));
        std::fs::copy(programs::plugin_library(library), &path).unwrap();
        for path in [&plugins, &path] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        writeln!(self.arrays, "[[plugin]]\nname = \"{name}\"\nlibrary = {}\n{lines}\n", toml_text(&path))
            .unwrap();
        self
    }

    /// Adds a webhook of this name to an address, signed with [`super::SECRET`]; `lines` are added to its `[[webhook]]`.
    pub fn webhook(mut self, name: &str, url: &str, lines: &str) -> Setup {
        let secret = self.folder.path().join(format!("{name}.secret"));
        std::fs::write(&secret, format!("{}\n", super::SECRET)).unwrap();
        writeln!(
            self.arrays,
            "[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = {}\n{lines}\n",
            toml_text(&secret)
        )
        .unwrap();
        self
    }

    /// Adds any other lines of TOML, such as an array of tables.
    pub fn lines(mut self, toml: &str) -> Setup {
        self.arrays.push_str(toml);
        self.arrays.push('\n');
        self
    }

    /// Sets a key of a table, `"dashscope.concurrency"`, to a value in TOML, `"2"`.
    pub fn set(mut self, key: &str, value: &str) -> Setup {
        let (table, key) = key.split_once('.').expect("table.key");
        self.tables.entry(table.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Puts a folder of the daemon (`state`, or another) on a disk of this size in bytes; see [`super::has_own_mounts`].
    pub fn small_disk(mut self, folder: &str, bytes: u64) -> Setup {
        let disk = SmallDisk::over(&self.path(folder), bytes);
        self.disks.insert(folder.to_owned(), disk);
        self
    }

    /// Sets a variable of the daemon's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a variable out of the daemon's environment, e.g. the key that [`Hark::new`] sets.
    pub fn without(mut self, name: &str) -> Setup {
        self.environment.remove(name);
        self
    }

    /// A path in the daemon's folder, for files that must be there before it starts.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes the config and returns its path, for commands that need no daemon; the file is removed with the setup.
    pub fn write_config(&self) -> PathBuf {
        let mut text = String::new();
        for (table, keys) in &self.tables {
            writeln!(text, "[{table}]").unwrap();
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").unwrap();
            }
            text.push('\n');
        }
        text.push_str(&self.arrays);
        let path = self.path("harkd.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The disk of a folder, before the daemon is started.
    pub fn disk(&self, folder: &str) -> &SmallDisk {
        &self.disks[folder]
    }

    /// Starts the daemon and waits until `/readyz` answers 200.
    pub async fn start(self) -> Hark {
        let mut hark = self.launch().await;
        hark.ready().await;
        hark
    }

    /// Starts the daemon and does not wait until it is ready; see [`Hark::ready`].
    pub async fn launch(self) -> Hark {
        self.write_config();
        let url = self.nats.expect("a daemon that is waited for needs .nats(…)");
        let ear = Ear::open(async_nats::connect(url).await.unwrap()).await;
        Hark::launched(self.folder, self.disks, self.http, self.environment, ear)
    }
}

/// A path as a TOML string; test folders have no quotes in their names.
fn toml_text(path: &Path) -> String {
    format!("'{}'", path.display())
}
