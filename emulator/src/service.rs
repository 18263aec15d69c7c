//! What all requests share: the options, the models of the region, the manifest, the journal, a data directory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tempfile::TempDir;

use crate::faults::Faults;
use crate::filetrans::Tasks;
use crate::journal::Journal;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::options::{Options, Region};
use crate::storage::Storage;

/// State of one running emulator.
pub struct Service {
    pub options: Options,
    pub manifest: Manifest,
    pub journal: Journal,
    pub faults: Faults,
    pub limits: Limits,
    pub tasks: Tasks,
    pub storage: Storage,
    /// Client for the audio URLs that requests name.
    pub http: reqwest::Client,
    directory: PathBuf,
    storage_address: SocketAddr,
    /// Removes the directory when the service ends; `None` if the user chose the directory.
    _temporary: Option<TempDir>,
}

impl Service {
    /// Reads the manifest, opens the journal and makes the data directory. `storage` is the address of the object storage for clients.
    pub fn open(options: Options, storage_address: SocketAddr) -> anyhow::Result<Arc<Service>> {
        let (directory, temporary) = match &options.data {
            Some(directory) => (directory.clone(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("dashscope-emulator-").tempdir()?;
                (temporary.path().to_path_buf(), Some(temporary))
            }
        };
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("creating the data directory {}", directory.display()))?;
        let manifest = match &options.manifest {
            Some(path) => Manifest::read(path)?,
            None => Manifest::default(),
        };
        let journal_path = options.journal.clone().unwrap_or_else(|| directory.join("journal.jsonl"));
        let journal = Journal::open(&journal_path)?;
        // An error means that the process has a provider already, when tests start several emulators: that provider is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().connect_timeout(options.download_timeout).build()?;
        Ok(Arc::new(Service {
            faults: Faults::new(options.faults.clone()),
            limits: Limits::new(&options),
            tasks: Tasks::default(),
            storage: Storage::new(),
            options,
            manifest,
            journal,
            http,
            directory,
            storage_address,
            _temporary: temporary,
        }))
    }

    /// Where uploads, downloads and result files are stored.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Base URL of the object storage.
    pub fn storage_base(&self) -> String {
        format!("http://{}", self.storage_address)
    }

    /// Whether the key is one of this region and account.
    pub fn knows_key(&self, key: &str) -> bool {
        match self.options.api_keys.as_slice() {
            [] => key.starts_with("sk-") && key.len() > 3,
            keys => keys.iter().any(|known| known == key),
        }
    }

    /// The model of this name in this region; `None` if the region has no such model.
    pub fn model(&self, name: &str) -> Option<Model> {
        let is_of = |names: &[&str]| names.contains(&name);
        let model = |engine, family| Some(Model { engine, family });
        match self.options.region {
            Region::Us => {
                is_of(&FLASH_MODELS_US).then_some(Model { engine: Engine::Flash, family: Family::Qwen3 })
            }
            _ if is_of(&FLASH_MODELS) => model(Engine::Flash, Family::Qwen3),
            _ if is_of(&FILETRANS_MODELS) => model(Engine::Filetrans, Family::Qwen3),
            _ if is_of(&AUDIO3_FLASH_MODELS) => model(Engine::Flash, Family::Audio3),
            _ if is_of(&AUDIO3_FILETRANS_MODELS) => model(Engine::Filetrans, Family::Audio3),
            _ => None,
        }
    }
}

/// What a model's name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    pub engine: Engine,
    pub family: Family,
}

/// The families of models: each has its own requests, answers, streams and result files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Qwen3,
    /// `qwen-audio-3.x`, `fun-asr`, `paraformer`.
    Audio3,
}

/// The two ways in which the service recognizes, each with an endpoint and model names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Flash,
    Filetrans,
}

const FLASH_MODELS: [&str; 3] =
    ["qwen3-asr-flash", "qwen3-asr-flash-2025-09-08", "qwen3-asr-flash-2026-02-10"];
const FILETRANS_MODELS: [&str; 2] = ["qwen3-asr-flash-filetrans", "qwen3-asr-flash-filetrans-2025-11-17"];
const AUDIO3_FLASH_MODELS: [&str; 4] =
    ["qwen-audio-3.0-asr-flash", "qwen-audio-3.1-asr-flash", "fun-asr-flash", "fun-asr-flash-2026-06-15"];
const AUDIO3_FILETRANS_MODELS: [&str; 7] = [
    "qwen-audio-3.0-asr-flash-filetrans",
    "qwen-audio-3.1-asr-flash-filetrans",
    "fun-asr",
    "fun-asr-2025-11-07",
    "fun-asr-mtl",
    "fun-asr-mtl-2025-08-25",
    "paraformer-v2",
];
/// Older pages name the models of this region with a suffix, newer ones without; the service knows both.
const FLASH_MODELS_US: [&str; 5] = [
    "qwen3-asr-flash-us",
    "qwen3-asr-flash-2025-09-08-us",
    "qwen3-asr-flash",
    "qwen3-asr-flash-2025-09-08",
    "qwen3-asr-flash-2026-02-10",
];
