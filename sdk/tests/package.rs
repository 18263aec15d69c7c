//! What `cargo package` takes along, so that a plugin outside of this repository has all of it.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_package_has_the_header_and_every_schema() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--package", "hark-sdk", "--no-verify", "--list", "--offline", "--allow-dirty"]);
    let output = cargo.current_dir(here).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = list.lines().collect();
    let schemas = std::fs::read_dir(here.join("schemas")).unwrap();
    let schemas =
        schemas.map(|entry| format!("schemas/{}", entry.unwrap().file_name().into_string().unwrap()));
    let needed = ["README.md", "Cargo.toml", "include/hark_plugin.h", "src/lib.rs"].map(str::to_owned);
    for file in needed.into_iter().chain(schemas) {
        assert!(listed.contains(&file.as_str()), "{file} is not in {list}");
    }
}
