//! The software bill of materials: every crate in harkd and its plugins, as CycloneDX. Made of what cargo says of the workspace: that is
//! simpler than a tool to install, and tells the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PLUGINS, VERSION, run_program};
use crate::workspace::Workspace;

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `None`: linked in; else `dev` or `build`.
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The document. `epoch`: its time.
///
/// # Errors
/// When cargo cannot be asked.
pub(super) fn of_materials(workspace: &Workspace, epoch: &str) -> anyhow::Result<String> {
    let mut cargo = workspace.cargo(&["metadata", "--format-version", "1", "--locked"]);
    let told = run_program(cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]))?;
    let metadata: Metadata = serde_json::from_str(&told).context("reading cargo metadata")?;
    let lock = fs::read_to_string(workspace.path("Cargo.lock"))?;
    let lock: Lock = toml::from_str(&lock).context("reading Cargo.lock")?;
    let time = run_program(Command::new("date").args([
        "--utc",
        "+%Y-%m-%dT%H:%M:%SZ",
        "--date",
        &format!("@{epoch}"),
    ]))?;
    let document = document(&metadata, &lock, time.trim());
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

fn document(metadata: &Metadata, lock: &Lock, time: &str) -> Value {
    let linked = linked(metadata);
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let checksums: BTreeMap<(&str, &str), &str> = lock
        .package
        .iter()
        .filter_map(|locked| {
            Some(((locked.name.as_str(), locked.version.as_str()), locked.checksum.as_deref()?))
        })
        .collect();
    let mut components: Vec<Value> = Vec::new();
    for id in linked.keys() {
        let Some(package) = packages.get(id) else { continue };
        let mut component = json!({
            "type": if package.name == "harkd" { "application" } else { "library" },
            "bom-ref": purl(package),
            "name": package.name,
            "version": package.version,
            "purl": purl(package),
        });
        if let Some(license) = &package.license {
            // A slash is the old manner of writing "or".
            let alternatives: Vec<&str> = license.split('/').map(str::trim).collect();
            component["licenses"] = json!([{ "expression": alternatives.join(" OR ") }]);
        }
        if let Some(description) = &package.description {
            component["description"] = json!(description.trim());
        }
        if let Some(checksum) = checksums.get(&(package.name.as_str(), package.version.as_str())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if let Some(repository) = &package.repository {
            component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
        }
        components.push(component);
    }
    let reference = |id: &&str| packages.get(id).map(|package| purl(package));
    let mut dependencies: Vec<Value> = vec![json!({
        "ref": "hark",
        "dependsOn": roots(metadata).iter().filter_map(|package| reference(&package.id.as_str())).collect::<BTreeSet<_>>(),
    })];
    dependencies.extend(linked.iter().filter_map(|(id, on)| {
        Some(json!({ "ref": reference(id)?, "dependsOn": on.iter().filter_map(reference).collect::<BTreeSet<_>>() }))
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "component": { "type": "application", "bom-ref": "hark", "name": "hark", "version": VERSION,
                           "licenses": [{ "expression": "Apache-2.0" }] },
        },
        "components": components,
        "dependencies": dependencies,
    })
}

/// What is linked into harkd and the plugins that ship, by id, with what each links.
fn linked(metadata: &Metadata) -> BTreeMap<&str, BTreeSet<&str>> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut found = BTreeMap::new();
    let mut open: Vec<&str> = roots(metadata).iter().map(|package| package.id.as_str()).collect();
    while let Some(id) = open.pop() {
        if found.contains_key(id) {
            continue;
        }
        let of_node = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let linked = of_node.filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        let on: BTreeSet<&str> = linked.map(|dependency| dependency.pkg.as_str()).collect();
        open.extend(on.iter().copied());
        found.insert(id, on);
    }
    found
}

fn roots(metadata: &Metadata) -> Vec<&Package> {
    let ships = |package: &&Package| package.name == "harkd" || PLUGINS.contains(&package.name.as_str());
    metadata.packages.iter().filter(ships).collect()
}

fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_linked_and_not_what_builds_or_tests_it() {
        let package = |name: &str| {
            json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                                           "description": null, "repository": null })
        };
        let dependency = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let packages = ["harkd", "serde", "itoa", "cc", "proptest", "xtask"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": { "nodes": [
                { "id": "harkd", "deps": [dependency("serde", Value::Null), dependency("cc", json!("build")),
                                          dependency("proptest", json!("dev"))] },
                { "id": "serde", "deps": [dependency("itoa", Value::Null)] },
                { "id": "itoa", "deps": [] },
                { "id": "xtask", "deps": [] },
            ] },
        });
        let lock = json!({ "package": [{ "name": "serde", "version": "1.0.0", "checksum": "abcd" }] });
        let (metadata, lock) =
            (serde_json::from_value(metadata).unwrap(), serde_json::from_value(lock).unwrap());
        let document = document(&metadata, &lock, "2026-11-30T00:00:00Z");
        let components = document["components"].as_array().unwrap();
        let names: Vec<&str> =
            components.iter().map(|component| component["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["harkd", "itoa", "serde"]);
        assert_eq!(components[2]["hashes"][0]["content"], "abcd");
        assert_eq!(components[2]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(
            document["dependencies"][1],
            json!({ "ref": "pkg:cargo/harkd@1.0.0", "dependsOn": ["pkg:cargo/serde@1.0.0"] })
        );
    }
}
