//! The crates of a build and what each is built with.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Context as _;
use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

/// All crates of a build by their id (a name can be there in several versions).
#[derive(Default)]
pub struct Graph(pub BTreeMap<String, Crate>);

/// A crate of the graph.
pub struct Crate {
    /// Its name, as in its manifest.
    pub name: String,
    /// The folder of a workspace member, relative to the workspace.
    pub folder: Option<String>,
    /// The id of each crate depended on, and what for.
    pub dependencies: Vec<(String, DependencyKind)>,
}

impl Graph {
    /// What cargo resolves for the images, with every feature on.
    pub fn of_workspace() -> anyhow::Result<Self> {
        let options = ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned);
        let metadata = MetadataCommand::new().features(CargoOpt::AllFeatures).other_options(options).exec()?;
        let resolve = metadata.resolve.context("cargo metadata resolved nothing")?;
        let mut dependencies: BTreeMap<String, Vec<(String, DependencyKind)>> = resolve
            .nodes
            .into_iter()
            .map(|node| {
                let edges = node.deps.into_iter().flat_map(|dep| {
                    let id = dep.pkg.repr;
                    dep.dep_kinds.into_iter().map(move |kind| (id.clone(), kind.kind))
                });
                (node.id.repr, edges.collect())
            })
            .collect();
        let crates = metadata.packages.into_iter().map(|package| {
            let folder = package.manifest_path.parent().filter(|_| metadata.workspace_members.contains(&package.id));
            let folder = folder.and_then(|path| path.strip_prefix(&metadata.workspace_root).ok());
            let member = Crate {
                name: package.name.to_string(),
                folder: folder.map(ToString::to_string),
                dependencies: dependencies.remove(&package.id.repr).unwrap_or_default(),
            };
            (package.id.repr, member)
        });
        Ok(Self(crates.collect()))
    }

    /// The members of the workspace, with their ids.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Crate)> {
        self.0.iter().filter(|(_, member)| member.folder.is_some()).map(|(id, member)| (id.as_str(), member))
    }

    /// The crates that `member` names in its manifest.
    pub fn named_by(&self, member: &Crate) -> impl Iterator<Item = (&Crate, DependencyKind)> {
        member.dependencies.iter().filter_map(|(id, kind)| Some((self.0.get(id)?, *kind)))
    }

    /// The names from the crate `start` down to the nearest match of `pattern` that it is built with.
    pub fn way_to(&self, start: &str, pattern: &str) -> Option<Vec<&str>> {
        let mut seen = BTreeSet::from([start]);
        let mut ways = VecDeque::from([vec![start]]);
        while let Some(way) = ways.pop_front() {
            let last = self.0.get(*way.last()?)?;
            if way.len() > 1 && matches(pattern, &last.name) {
                return Some(way.into_iter().filter_map(|id| Some(self.0.get(id)?.name.as_str())).collect());
            }
            for (id, kind) in &last.dependencies {
                if *kind != DependencyKind::Development && seen.insert(id) {
                    ways.push_back([way.as_slice(), &[id]].concat());
                }
            }
        }
        None
    }
}

/// Whether `name` is `pattern`, or starts with it where it ends in `*`.
pub fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}
