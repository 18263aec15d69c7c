//! `harkd plugins new`: creates a plugin's crate. Its files are templates in `new/`.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::cli::{Exit, print, write_json, write_line};

const MANIFEST: &str = include_str!("new/manifest.toml");
const PLUGIN: &str = include_str!("new/plugin.rs");
const NEXT: &str = include_str!("new/next.txt");

/// Names that cargo or the compiler refuse or confuse: Rust's keywords, and the crates that the new crate depends on.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern \
    false final fn for gen hark_sdk if impl in let loop macro match mod move mut override priv \
    proc_macro pub ref return self serde serde_json static std struct super test";

/// What was written.
#[derive(Serialize)]
struct Written<'n> {
    name: &'n str,
    /// The value of `library` in the `[[plugin]]`.
    library: &'n str,
    /// The SDK's path, as written in the manifest.
    sdk: &'n str,
    files: [PathBuf; 2],
}

/// Writes the crate into a folder of its name, which must not exist yet, and prints the next steps. `config`: the daemon's.
///
/// # Errors
/// An invalid name, an SDK that does not exist, a folder that does; and a disk that cannot be written.
pub(super) fn execute(config: &Path, name: &str, sdk: Option<&Path>, json: bool) -> Result<(), Exit> {
    let library = library(name)?;
    let sdk = match sdk {
        Some(given) => from_new_folder(given)?,
        None => nearest_sdk()?,
    };
    let sdk = sdk.to_str().ok_or_else(|| {
        Exit::Usage(format!("a manifest cannot name {}, which is not UTF-8; rename it", sdk.display()))
    })?;
    let folder = Path::new(name);
    let files = [folder.join("Cargo.toml"), folder.join("src/lib.rs")];
    let manifest = MANIFEST.replace("@name@", name).replace("@sdk@", &toml::Value::from(sdk).to_string());
    fs::create_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Exit::Usage(format!(
            "{name} is there already and stays as it is; choose another name, or remove it"
        )),
        _ => Exit::Failed(format!("creating the folder {name}: {error}")),
    })?;
    fs::create_dir(folder.join("src"))
        .and_then(|()| fs::write(&files[0], manifest))
        .and_then(|()| fs::write(&files[1], PLUGIN))
        .map_err(|error| Exit::Failed(format!("writing into {name}: {error}; remove it and try again")))?;
    print(|out| {
        let written = Written { name, library: &library, sdk, files };
        if json {
            return write_json(out, &written);
        }
        for file in &written.files {
            write_line(out, &format!("wrote {}", file.display()))?;
        }
        let config = config.display().to_string();
        let next = NEXT.replace("@library@", &library).replace("@name@", name);
        next.lines().try_for_each(|line| write_line(out, &line.replace("@config@", &config)))
    })?;
    Ok(())
}

/// The name of the crate's library, if `name` is valid for a crate.
fn library(name: &str) -> Result<String, Exit> {
    let is_letter = |letter: char| letter.is_ascii_lowercase();
    let is_more = |letter: char| is_letter(letter) || letter.is_ascii_digit() || "_-".contains(letter);
    if !name.starts_with(is_letter) || !name.chars().all(is_more) {
        let words = "must begin with a-z and be made of a-z, 0-9, _ and -, as in \"keyword_alert\"";
        return Err(Exit::Usage(format!("the name {name:?} {words}")));
    }
    let library = name.replace('-', "_");
    if TAKEN.split_whitespace().any(|taken| taken == library) {
        return Err(Exit::Usage(format!("the name {name:?} means something else in Rust; choose another")));
    }
    Ok(library)
}

/// The path of an SDK that is given from the current folder, as seen from the new folder.
fn from_new_folder(sdk: &Path) -> Result<PathBuf, Exit> {
    if !is_sdk(sdk) {
        return Err(Exit::Usage(format!(
            "{} is not the SDK of plugins; name the folder `sdk` of a checkout of Hark",
            sdk.display()
        )));
    }
    Ok(Path::new("..").join(sdk).components().filter(|part| *part != Component::CurDir).collect())
}

/// The SDK of a checkout named `hark` beside the new folder or further up, or of the checkout around it.
fn nearest_sdk() -> Result<PathBuf, Exit> {
    let here = std::env::current_dir()
        .map_err(|error| Exit::Failed(format!("reading the current folder: {error}")))?;
    let mut up = PathBuf::new();
    for folder in here.ancestors() {
        up.push("..");
        if let Some(sdk) = ["hark/sdk", "sdk"].into_iter().find(|sdk| is_sdk(&folder.join(sdk))) {
            return Ok(up.join(sdk));
        }
    }
    Err(Exit::Usage(
        "no checkout of Hark is here or further up, and its SDK is not on crates.io; clone it beside the new folder as `hark`, or name the folder `sdk` of one with --sdk"
            .into(),
    ))
}

/// Whether a folder holds the crate that plugins are made with.
fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    let manifest = manifest.ok().and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    manifest.get("package").and_then(|package| package.get("name")?.as_str()) == Some("hark-sdk")
}
