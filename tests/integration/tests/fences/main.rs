//! The fences between the crates, checked over what cargo resolves with every feature on.
//!
//! A fence is a function from a [`Graph`] to the complaints about it, so that each is also tried on a graph that breaks
//! it. What a complaint asks for is a change of design: in the manifest it names, or in the tables below.

mod broken;
mod graph;

use std::collections::BTreeSet;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand};

use graph::{Crate, Graph, matches};

/// Crates that one member alone may name in its manifest, for whatever use; a name ending in `*` is a prefix.
const OWNERS: &[(&str, &str)] = &[
    ("burn*", "relief-nn"),
    ("cubecl*", "relief-nn"),
    ("k8s-openapi", "relief-cluster"),
    ("kube*", "relief-cluster"),
    ("object_store*", "relief-store"),
    ("zarrs*", "relief-store"),
];

/// What must not be found below a member, at any depth.
const UNREACHABLE: &[(&str, &[&str])] = &[
    ("relief-core", &["tonic*", "tokio", "burn*"]),
    ("relief-graph", &["tonic*", "tokio", "burn*"]),
    ("relief-nn", &["tonic*", "tokio"]),
    ("relief-store", &["tonic*", "burn*"]),
    ("relief-coordinator", &["burn*", "cubecl*"]),
    ("relief-renderer", &["burn*", "cubecl*"]),
];

/// The members that each member under `services/` may build on, without `relief-`.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("graph", &["core"]),
    ("api", &["core", "store"]),
    ("rpc", &["core", "api"]),
    ("runtime", &["core"]),
    ("store", &["core", "graph"]),
    ("nn", &["core", "graph"]),
    ("cluster", &["core", "rpc", "runtime"]),
    ("coordinator", &["core", "graph", "api", "rpc", "runtime", "store", "cluster"]),
    ("evaluator", &["core", "graph", "api", "rpc", "runtime", "store", "nn"]),
    ("trainer", &["core", "graph", "api", "rpc", "runtime", "store", "nn"]),
    ("renderer", &["core", "graph", "api", "rpc", "runtime", "store"]),
];

const SERVICES: &[&str] = &["relief-coordinator", "relief-evaluator", "relief-renderer", "relief-trainer"];

/// What every member takes from the workspace.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "authors", "publish"];

fn crates_named_by_another_than_their_owner(graph: &Graph) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, member) in graph.members() {
        for (named, _) in graph.named_by(member) {
            for (_, owner) in OWNERS.iter().filter(|(pattern, _)| matches(pattern, &named.name)) {
                if member.name != *owner {
                    complaints.push(format!("{} names {}, which is {owner}'s alone", member.name, named.name));
                }
            }
        }
    }
    complaints
}

fn crates_reached_that_must_not_be(graph: &Graph) -> Vec<String> {
    let mut complaints = Vec::new();
    for (id, member) in graph.members() {
        for (_, patterns) in UNREACHABLE.iter().filter(|(name, _)| *name == member.name) {
            let ways = patterns.iter().filter_map(|pattern| graph.way_to(id, pattern));
            complaints
                .extend(ways.map(|way| format!("{} must not be built with it: {}", member.name, way.join(" -> "))));
        }
    }
    complaints
}

fn members_out_of_their_layer(graph: &Graph) -> Vec<String> {
    let mut complaints = Vec::new();
    for (_, member) in graph.members() {
        if !member.folder.as_ref().is_some_and(|folder| folder.starts_with("services/")) {
            continue;
        }
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| member.name.strip_prefix("relief-") == Some(name)) else {
            complaints.push(format!("{} has no layer", member.name));
            continue;
        };
        for (named, kind) in graph.named_by(member).filter(|(named, _)| named.folder.is_some()) {
            let allowed = below.iter().any(|name| named.name.strip_prefix("relief-") == Some(name));
            if kind != DependencyKind::Development && !allowed {
                complaints.push(format!("{} may not build on {}", member.name, named.name));
            }
        }
    }
    complaints
}

/// Not for its tests either: what takes two services is tested in `tests/`.
fn services_that_name_a_service(graph: &Graph) -> Vec<String> {
    let is_service = |member: &Crate| SERVICES.contains(&member.name.as_str());
    let mut complaints = Vec::new();
    for (_, member) in graph.members().filter(|(_, member)| is_service(member)) {
        let services = graph.named_by(member).filter(|(named, _)| is_service(named));
        complaints.extend(services.map(|(named, _)| format!("{} names the service {}", member.name, named.name)));
    }
    complaints
}

fn settings_not_inherited(folder: &str, manifest: &str) -> Vec<String> {
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let mut complaints = Vec::new();
    for setting in INHERITED {
        if !lines.contains(&format!("{setting}.workspace = true").as_str()) {
            complaints.push(format!("{folder} does not inherit `{setting}`"));
        }
    }
    if folder != UNSAFE_MEMBER && !lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]) {
        complaints.push(format!("{folder} does not inherit the lints"));
    }
    complaints
}

const NOTHING: [String; 0] = [];

#[test]
fn a_library_is_named_by_its_owner_alone() -> anyhow::Result<()> {
    assert_eq!(crates_named_by_another_than_their_owner(&Graph::of_workspace()?), NOTHING);
    Ok(())
}

#[test]
fn what_a_crate_must_not_be_built_with_is_not_below_it() -> anyhow::Result<()> {
    assert_eq!(crates_reached_that_must_not_be(&Graph::of_workspace()?), NOTHING);
    Ok(())
}

#[test]
fn members_keep_to_their_layers() -> anyhow::Result<()> {
    assert_eq!(members_out_of_their_layer(&Graph::of_workspace()?), NOTHING);
    Ok(())
}

#[test]
fn a_service_names_no_service() -> anyhow::Result<()> {
    assert_eq!(services_that_name_a_service(&Graph::of_workspace()?), NOTHING);
    Ok(())
}

#[test]
fn every_member_inherits_the_workspace_settings() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    for package in metadata.workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path)?;
        assert_eq!(settings_not_inherited(&package.name, &manifest), NOTHING);
    }
    Ok(())
}

/// The only member that may have unsafe code, and the only module of it that may allow itself any.
const UNSAFE_MEMBER: &str = "relief-nn";
/// The kernels, and what their tests place beside pages that nobody may touch.
const UNSAFE: [&str; 2] = ["services/libs/nn/src/cpu/kernel/mod.rs", "services/libs/nn/src/cpu/tests/memory.rs"];
/// What this member must say of unsafe code, which others do not have.
const UNSAFE_LINT: &str = r#"undocumented_unsafe_blocks = "deny""#;

/// The lines of a manifest's tables of lints.
fn lints(manifest: &str, prefix: &str) -> Vec<String> {
    let (mut lines, mut is_inside) = (Vec::new(), false);
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(table) = line.strip_prefix('[') {
            is_inside = table.starts_with(prefix);
        }
        if is_inside {
            lines.push(line.replace(prefix, ""));
        }
    }
    lines
}

#[test]
fn the_member_with_unsafe_code_has_all_other_lints_of_the_workspace() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let of_workspace = std::fs::read_to_string(metadata.workspace_root.join("Cargo.toml"))?;
    let members = metadata.workspace_packages();
    let member = members.iter().find(|package| package.name.as_str() == UNSAFE_MEMBER);
    let of_member = std::fs::read_to_string(&member.context("no such member")?.manifest_path)?;
    let mut expected = lints(&of_workspace, "workspace.lints");
    let forbidden = expected.iter_mut().find(|line| *line == r#"unsafe_code = "forbid""#).context("not forbidden")?;
    *forbidden = r#"unsafe_code = "deny""#.to_owned();
    let mut found = lints(&of_member, "lints");
    let lint = found.iter().position(|line| line == UNSAFE_LINT).context("blocks without a reason are allowed")?;
    found.remove(lint);
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn unsafe_code_is_allowed_in_the_kernels_and_their_tests_alone() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let root = metadata.workspace_root.as_std_path();
    let mut allowing = Vec::new();
    for folder in ["services", "tests", "tools"] {
        for file in walk(&root.join(folder))? {
            let is_said = |line: &str| line.trim_start().starts_with("#") && line.contains("(unsafe_code");
            if std::fs::read_to_string(&file)?.lines().any(is_said) {
                allowing.push(file.strip_prefix(root)?.display().to_string());
            }
        }
    }
    assert_eq!(allowing, UNSAFE);
    Ok(())
}

/// All Rust files below a folder.
fn walk(folder: &std::path::Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[test]
fn every_table_speaks_of_crates_that_are_there() -> anyhow::Result<()> {
    let graph = Graph::of_workspace()?;
    let names: BTreeSet<&str> = graph.members().map(|(_, member)| member.name.as_str()).collect();
    let spoken_of = UNREACHABLE.iter().map(|(name, _)| *name).chain(SERVICES.iter().copied());
    assert_eq!(spoken_of.filter(|name| !names.contains(name)).collect::<Vec<_>>(), Vec::<&str>::new());
    // The fences look at what the build really has: these are reached today through the one crate that may.
    let reached = |start: &str, pattern| {
        let (id, _) = graph.members().find(|(_, member)| member.name == start)?;
        graph.way_to(id, pattern)
    };
    assert!(reached("relief-evaluator", "burn-cuda").is_some_and(|way| way.contains(&"relief-nn")));
    assert!(reached("relief-coordinator", "zarrs").is_some_and(|way| way.contains(&"relief-store")));
    Ok(())
}
