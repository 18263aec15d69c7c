//! Compares the ABI's layout, in C and in Rust, with fixed figures. Changing one of them breaks every existing plugin.

use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use hark_sdk::abi::{self, Host, Plugin};

/// The layout on every 64-bit machine.
const LAYOUT: &str = "\
hark_plugin 64
hark_plugin.magic 0
hark_plugin.size 4
hark_plugin.major 8
hark_plugin.minor 12
hark_plugin.wants 16
hark_plugin.flags 20
hark_plugin.version 24
hark_plugin.create 32
hark_plugin.on_event 40
hark_plugin.destroy 48
hark_plugin.schema 56
hark_host 56
hark_host.size 0
hark_host.minor 4
hark_host.user 8
hark_host.emit 16
hark_host.annotate 24
hark_host.replace 32
hark_host.log 40
hark_host.file 48
magic 1263681864
major 1
minor 1
results 0 1 2
";

#[test]
fn rust_lays_it_out_as_written() {
    let mut found = format!("hark_plugin {}\n", size_of::<Plugin>());
    macro_rules! fields {
        ($name:literal, $type:ty: $($field:ident),*) => {
            $(found += &format!(concat!($name, ".", stringify!($field), " {}\n"), offset_of!($type, $field));)*
        };
    }
    fields!("hark_plugin", Plugin: magic, size, major, minor, wants, flags, version, create, on_event, destroy, schema);
    found += &format!("hark_host {}\n", size_of::<Host>());
    fields!("hark_host", Host: size, minor, user, emit, annotate, replace, log, file);
    found += &format!("magic {}\nmajor {}\nminor {}\n", abi::MAGIC, abi::MAJOR, abi::MINOR);
    found += &format!("results {} {} {}\n", abi::OK, abi::ERROR, abi::FAILED);
    assert_eq!(found, LAYOUT);
}

#[test]
fn c_lays_it_out_as_written() {
    let mut program = String::from("#include <stdio.h>\n#include \"hark_plugin.h\"\nint main(void) {\n");
    for name in
        LAYOUT.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with("hark_"))
    {
        let value = match name.split_once('.') {
            Some((structure, field)) => format!("offsetof(struct {structure}, {field})"),
            None => format!("sizeof(struct {name})"),
        };
        program += &format!("    printf(\"{name} %zu\\n\", {value});\n");
    }
    program += "    printf(\"magic %u\\nmajor %u\\nminor %u\\n\", HARK_MAGIC, HARK_MAJOR, HARK_MINOR);\n";
    program += "    printf(\"results %d %d %d\\n\", HARK_OK, HARK_ERROR, HARK_FAILED);\n    return 0;\n}\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("layout.c"), program).unwrap();
    for strictness in [["-std=c99", "-pedantic"], ["-std=c11", "-Wextra"]] {
        let compiled = Command::new("cc")
            .args(["-Wall", "-Werror"])
            .args(strictness)
            .arg("-I")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
            .args(["layout.c", "-o", "layout"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
    let printed = Command::new(folder.path().join("layout")).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), LAYOUT);
}

#[test]
fn the_header_stays_short() {
    let header = include_str!("../include/hark_plugin.h");
    assert!(header.lines().count() < 200);
}
