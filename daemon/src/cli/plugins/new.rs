//! `harkd plugins new`: creates a plugin in Rust or C. Its files are templates in `new/`.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::Language;
use crate::cli::{Exit, print, write_json, write_line};

/// The files of a new plugin, and the next steps. In the texts `@name@`, `@library@` and `@sdk@` stand for what is chosen.
struct Template {
    files: &'static [(&'static str, &'static str)],
    next: &'static str,
}

const RUST: Template = Template {
    files: &[
        ("Cargo.toml", include_str!("new/rust/manifest.toml")),
        ("src/lib.rs", include_str!("new/rust/plugin.rs")),
    ],
    next: include_str!("new/rust/next.txt"),
};
const C: Template = Template {
    files: &[
        ("Makefile", include_str!("new/c/Makefile")),
        ("plugin.c", include_str!("new/c/plugin.c")),
        ("hark_plugin.h", include_str!("../../../../sdk/include/hark_plugin.h")),
    ],
    next: include_str!("new/c/next.txt"),
};

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
    /// The SDK's path, as written in the manifest; null in C, which needs no more than the header.
    sdk: Option<&'n str>,
    files: Vec<PathBuf>,
}

/// Writes the plugin into a folder of its name, which must not exist yet, and prints the next steps. `config`: the daemon's.
///
/// # Errors
/// An invalid name, an SDK that does not exist, a folder that does; and a disk that cannot be written.
pub(super) fn execute(
    config: &Path,
    name: &str,
    language: Language,
    sdk: Option<&Path>,
    json: bool,
) -> Result<(), Exit> {
    let library = library(name, language)?;
    let (template, sdk) = match language {
        Language::Rust => (&RUST, Some(path_of_sdk(sdk)?)),
        Language::C if sdk.is_some() => {
            return Err(Exit::Usage(
                "--sdk is for --lang rust; a plugin in C brings the header along".into(),
            ));
        }
        Language::C => (&C, None),
    };
    let sdk = sdk.as_deref();
    let quoted = sdk.map(|sdk| toml::Value::from(sdk).to_string()).unwrap_or_default();
    let fill =
        |text: &str| text.replace("@name@", name).replace("@library@", &library).replace("@sdk@", &quoted);
    let folder = Path::new(name);
    let write = |(path, text): &(&str, &str)| {
        let file = folder.join(path);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&file, fill(text)).map(|()| file)
    };
    // Where a group may write to the folder, as with the umask of many systems, the daemon does not load a library from it.
    fs::DirBuilder::new().mode(0o755).create(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Exit::Usage(format!(
            "{name} is there already and stays as it is; choose another name, or remove it"
        )),
        _ => Exit::Failed(format!("creating the folder {name}: {error}")),
    })?;
    let files: io::Result<Vec<PathBuf>> = template.files.iter().map(write).collect();
    let files = files
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
        fill(template.next).lines().try_for_each(|line| write_line(out, &line.replace("@config@", &config)))
    })?;
    Ok(())
}

/// The path of the SDK as the new folder's manifest names it.
fn path_of_sdk(given: Option<&Path>) -> Result<String, Exit> {
    let sdk = match given {
        Some(given) => from_new_folder(given)?,
        None => nearest_sdk()?,
    };
    let not_utf8 =
        |sdk: PathBuf| format!("a manifest cannot name {}, which is not UTF-8; rename it", sdk.display());
    sdk.into_os_string().into_string().map_err(|sdk| Exit::Usage(not_utf8(sdk.into())))
}

/// The name of the library, if `name` is valid for a plugin and, in Rust, for a crate.
fn library(name: &str, language: Language) -> Result<String, Exit> {
    let is_letter = |letter: char| letter.is_ascii_lowercase();
    let is_more = |letter: char| is_letter(letter) || letter.is_ascii_digit() || "_-".contains(letter);
    if !name.starts_with(is_letter) || !name.chars().all(is_more) {
        let words = "must begin with a-z and be made of a-z, 0-9, _ and -, as in \"keyword_alert\"";
        return Err(Exit::Usage(format!("the name {name:?} {words}")));
    }
    let library = name.replace('-', "_");
    if language == Language::Rust && TAKEN.split_whitespace().any(|taken| taken == library) {
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
        "no checkout of Hark is here or further up, and its SDK is not on crates.io; clone it beside the new folder as `hark`, or name the folder `sdk` of one with --sdk; a plugin in C (--lang c) needs none"
            .into(),
    ))
}

/// Whether a folder holds the crate that plugins are made with.
fn is_sdk(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    let manifest = manifest.ok().and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    manifest.get("package").and_then(|package| package.get("name")?.as_str()) == Some("hark-sdk")
}
