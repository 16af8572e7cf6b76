//! Rules about the sources that no compiler checks: who may depend on whom, one TLS
//! stack, module docs, and that the project speaks of itself alone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{Metadata, MetadataCommand, PackageId};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the workspace root")
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(
            [
                "--locked",
                "--offline",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ]
            .map(String::from)
            .to_vec(),
        )
        .exec()
        .expect("cargo metadata of this workspace")
}

/// Names of everything that `package` links in a product build: no dev dependencies.
fn links(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let graph = metadata.resolve.as_ref().expect("metadata resolves");
    let name = |id: &PackageId| metadata[id].name.to_string();
    let mut todo: Vec<&PackageId> = graph
        .nodes
        .iter()
        .map(|node| &node.id)
        .filter(|id| name(id) == package)
        .collect();
    assert_eq!(todo.len(), 1, "one package {package}");
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        let node = graph
            .nodes
            .iter()
            .find(|node| &node.id == id)
            .expect("resolved");
        for dep in &node.deps {
            let product = dep
                .dep_kinds
                .iter()
                .any(|kind| kind.kind != cargo_metadata::DependencyKind::Development);
            if product && seen.insert(name(&dep.pkg)) {
                todo.push(&dep.pkg);
            }
        }
    }
    seen
}

#[test]
fn core_knows_no_sdk_no_http_no_kubernetes() {
    let linked = links(&metadata(), "castlink-core");
    for forbidden in [
        "aws-config",
        "aws-smithy-types",
        "hyper",
        "reqwest",
        "http",
        "kube",
        "oci-client",
        "rustls",
    ] {
        assert!(
            !linked.contains(forbidden),
            "castlink-core links {forbidden}"
        );
    }
}

#[test]
fn only_the_network_commands_link_aws_sdk_ec2() {
    let metadata = metadata();
    for package in [
        "castlink-aws",
        "castlink-registry",
        "castlink-mirror",
        "castlink-upgrade",
        "castlink",
        "xtask",
        "castlink-tests",
    ] {
        assert!(
            !links(&metadata, package).contains("aws-sdk-ec2"),
            "{package} links aws-sdk-ec2"
        );
    }
    for package in metadata.workspace_packages() {
        let direct = package
            .dependencies
            .iter()
            .any(|dep| dep.name == "aws-sdk-ec2");
        assert_eq!(
            direct,
            package.name.as_str() == "castlink-ec2",
            "{}",
            package.name
        );
    }
}

#[test]
fn the_registry_crate_is_for_those_who_ask_registries() {
    let metadata = metadata();
    let linked = links(&metadata, "castlink-registry");
    for forbidden in ["kube", "castlink-ec2"] {
        assert!(!linked.contains(forbidden), "it links {forbidden}");
    }
    for package in metadata.workspace_packages() {
        let mut direct = package.dependencies.iter();
        if direct.any(|dep| dep.name == "aws-sdk-ecr") {
            let name = package.name.as_str();
            assert!(
                ["castlink-registry", "castlink-tests"].contains(&name),
                "{name} speaks to ECR by itself"
            );
        }
    }
    for package in ["castlink", "castlink-tag", "castlink-endpoints", "xtask"] {
        let linked = links(&metadata, package);
        for forbidden in ["castlink-registry", "aws-sdk-ecr"] {
            assert!(!linked.contains(forbidden), "{package} links {forbidden}");
        }
    }
}

#[test]
fn binaries_meet_only_as_processes_and_the_door_is_thin() {
    let metadata = metadata();
    let binaries = [
        "castlink",
        "castlink-tag",
        "castlink-endpoints",
        "castlink-mirror",
        "castlink-upgrade",
    ];
    for package in metadata.workspace_packages() {
        for dep in &package.dependencies {
            assert!(
                !binaries.contains(&dep.name.as_str()),
                "{} depends on the binary {}",
                package.name,
                dep.name
            );
        }
    }
    let xtask = links(&metadata, "xtask");
    assert!(
        !xtask.iter().any(|name| name.starts_with("castlink")),
        "xtask links a workspace crate"
    );
    assert!(xtask.len() < 60, "xtask links {} crates", xtask.len());
}

#[test]
fn one_tls_stack() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let versions = |name: &str| lock.matches(&format!("name = \"{name}\"\n")).count();
    for name in ["rustls", "aws-lc-rs", "hyper", "hyper-rustls", "reqwest"] {
        assert_eq!(versions(name), 1, "{name}: two versions are two TLS stacks");
    }
    let metadata = metadata();
    let graph = metadata.resolve.as_ref().expect("metadata resolves");
    for node in &graph.nodes {
        let name = metadata[&node.id].name.to_string();
        // By features: the graph lists `ring` even where only a weak feature names it.
        let on = |feature: &str| node.features.iter().any(|f| **f == *feature);
        if ["rustls", "rustls-webpki", "tokio-rustls", "hyper-rustls"].contains(&name.as_str()) {
            assert!(!on("ring"), "{name} is built with ring");
        }
        assert!(
            !["openssl", "native-tls", "openssl-sys"].contains(&name.as_str()),
            "{name}"
        );
        if name == "rustls" {
            assert!(on("aws_lc_rs"), "rustls has no provider");
        }
    }
}

/// Files of the project, by the version control's own list of what is ignored.
fn sources(extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![root().to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() && !["target", ".git", "dist"].contains(&name) {
                dirs.push(path);
            } else if path
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| extensions.contains(&e))
            {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty());
    files
}

#[test]
fn every_module_says_what_it_is() {
    for path in sources(&["rs"]) {
        let text = fs::read_to_string(&path).expect("readable");
        assert!(
            text.starts_with("//!"),
            "{} has no module documentation",
            path.display()
        );
    }
}

#[test]
fn no_public_signature_shows_an_sdk_type() {
    for path in sources(&["rs"]) {
        let text = fs::read_to_string(&path).expect("readable");
        if !path.starts_with(root().join("crates/ec2")) {
            continue;
        }
        for line in text.lines().filter(|line| {
            line.trim_start().starts_with("pub fn") || line.trim_start().starts_with("pub async fn")
        }) {
            assert!(
                !line.contains("aws_sdk") && !line.contains("types::"),
                "{}: {line}",
                path.display()
            );
        }
    }
}

#[test]
fn workspace_lints_are_on_everywhere() {
    for path in sources(&["toml"]) {
        if path.file_name().is_some_and(|name| name == "Cargo.toml")
            && path != root().join("Cargo.toml")
        {
            let text = fs::read_to_string(&path).expect("readable");
            assert!(
                text.contains("[lints]\nworkspace = true"),
                "{}",
                path.display()
            );
        }
    }
}
