//! Errors of the system's dynamic loader, and where the loader finds the libraries that a plugin needs.

use std::path::Path;

use harkd::pipeline::PluginState;

use super::told;
use crate::plugins::{Plugins, compile, compile_with, data};

/// The folder of `libneeded.so` when `needs.c` is linked: another folder than at load time.
fn compile_pair(plugin: &Path, elsewhere: &Path) {
    let needed = elsewhere.join("libneeded.so");
    compile(Path::new("tests/plugins/needed.c"), &needed, 1);
    let folder = format!("-L{}", elsewhere.display());
    compile_with(Path::new("tests/plugins/needs.c"), plugin, &[&folder, "-lneeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_the_loader_is_in_the_reason() {
    let elsewhere = tempfile::tempdir().unwrap();
    let plugins = Plugins::new().missing("needs").missing("undefined").missing("foreign");
    compile_pair(&plugins.path().join("needs.so"), elsewhere.path());
    compile(Path::new("tests/plugins/needs.c"), &plugins.path().join("undefined.so"), 1);
    let foreign = plugins.path().join("foreign.so");
    compile(Path::new("tests/plugins/listens.c"), &foreign, 1);
    let mut bytes = std::fs::read(&foreign).unwrap();
    bytes[18] = if bytes[18] == 183 { 62 } else { 183 };
    std::fs::write(&foreign, bytes).unwrap();

    let plugins = plugins.start().await;
    for (name, words) in [
        ("needs", "libneeded.so: cannot open shared object file: No such file or directory; `ldd -r`"),
        ("undefined", "it cannot be opened: undefined symbol: needed; `ldd -r` lists what it lacks"),
        ("foreign", "was built for "),
    ] {
        let status = plugins.status(name);
        assert_eq!(status.state, PluginState::Failed);
        let reason = status.reason.unwrap();
        assert!(reason.contains(words) && reason.contains(&format!("{name}.so")), "{reason}");
        assert!(!reason.contains("/proc/self"), "{reason}");
    }
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_beside_a_plugin_are_found_through_a_link_too() {
    let elsewhere = tempfile::tempdir().unwrap();
    let said = async |plugins: Plugins| {
        let plugins = plugins.start().await;
        let status = plugins.status("needs");
        assert_eq!(status.state, PluginState::Running, "{:?}", status.reason);
        let processed = plugins.process(told("nothing")).await;
        let said = data(&processed, "needs").next().unwrap()["greeting"].clone();
        plugins.stop().await;
        said
    };
    let plugins = Plugins::new().missing("needs");
    compile_pair(&plugins.path().join("needs.so"), elsewhere.path());
    std::fs::copy(elsewhere.path().join("libneeded.so"), plugins.path().join("libneeded.so")).unwrap();
    assert_eq!(said(plugins).await, "from beside");

    let linked = Plugins::new().missing("needs");
    compile_pair(&elsewhere.path().join("needs-1.0.so"), elsewhere.path());
    std::os::unix::fs::symlink(elsewhere.path().join("needs-1.0.so"), linked.path().join("needs.so"))
        .unwrap();
    assert_eq!(said(linked).await, "from beside");
}
