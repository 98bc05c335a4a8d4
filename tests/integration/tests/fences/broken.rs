//! Each fence, broken.

use cargo_metadata::DependencyKind;

use super::graph::{Crate, Graph};
use super::*;

/// A graph of members (in `services/`, and known by their names) and of other crates they depend on.
fn graph(edges: &[(&str, &str, DependencyKind)]) -> Graph {
    let mut graph = Graph::default();
    for (from, to, kind) in edges {
        for name in [from, to] {
            let folder = name.strip_prefix("relief-").map(|folder| format!("services/{folder}"));
            let fresh = Crate { name: (*name).to_owned(), folder, dependencies: Vec::new() };
            graph.0.entry((*name).to_owned()).or_insert(fresh);
        }
        if let Some(from) = graph.0.get_mut(*from) {
            from.dependencies.push(((*to).to_owned(), *kind));
        }
    }
    graph
}

const BUILT_WITH: DependencyKind = DependencyKind::Normal;
const TESTED_WITH: DependencyKind = DependencyKind::Development;

#[test]
fn burn_named_above_nn_is_reported() {
    let graph = graph(&[("relief-nn", "burn", BUILT_WITH), ("relief-evaluator", "burn-cuda", BUILT_WITH)]);
    let complaints = crates_named_by_another_than_their_owner(&graph);
    assert_eq!(complaints, ["relief-evaluator names burn-cuda, which is relief-nn's alone"]);
}

#[test]
fn kubernetes_and_the_store_named_elsewhere_are_reported() {
    let graph = graph(&[
        ("relief-coordinator", "kube-runtime", BUILT_WITH),
        ("relief-renderer", "zarrs", TESTED_WITH),
        ("relief-runtime", "object_store", DependencyKind::Build),
    ]);
    assert_eq!(crates_named_by_another_than_their_owner(&graph).len(), 3);
}

#[test]
fn burn_at_any_depth_below_the_coordinator_is_reported_with_the_way_there() {
    let graph = graph(&[
        ("relief-coordinator", "relief-store", BUILT_WITH),
        ("relief-store", "relief-nn", BUILT_WITH),
        ("relief-nn", "burn", BUILT_WITH),
    ]);
    let complaints = crates_reached_that_must_not_be(&graph);
    let expected =
        "relief-coordinator must not be built with it: relief-coordinator -> relief-store -> relief-nn -> burn";
    assert!(complaints.iter().any(|complaint| complaint == expected), "{complaints:?}");
}

#[test]
fn tonic_below_a_pure_crate_is_reported_even_from_its_build_script() {
    let graph = graph(&[("relief-core", "a", DependencyKind::Build), ("a", "tonic-build", BUILT_WITH)]);
    assert_eq!(crates_reached_that_must_not_be(&graph).len(), 1);
}

#[test]
fn a_way_through_tests_is_no_part_of_the_build() {
    let graph = graph(&[("relief-renderer", "a", TESTED_WITH), ("a", "burn", BUILT_WITH)]);
    assert_eq!(crates_reached_that_must_not_be(&graph), NOTHING);
}

#[test]
fn a_crate_that_builds_on_a_higher_layer_is_reported() {
    let graph = graph(&[("relief-graph", "relief-store", BUILT_WITH), ("relief-store", "relief-core", BUILT_WITH)]);
    assert_eq!(members_out_of_their_layer(&graph), ["relief-graph may not build on relief-store"]);
}

#[test]
fn a_new_crate_without_a_layer_is_reported() {
    let graph = graph(&[("relief-misc", "serde", BUILT_WITH)]);
    assert_eq!(members_out_of_their_layer(&graph), ["relief-misc has no layer"]);
}

#[test]
fn a_service_that_names_a_service_is_reported_even_in_its_tests() {
    let graph = graph(&[("relief-coordinator", "relief-evaluator", TESTED_WITH)]);
    let expected = ["relief-coordinator names the service relief-evaluator"];
    assert_eq!(services_that_name_a_service(&graph), expected);
}

#[test]
fn a_manifest_that_goes_its_own_way_is_reported() {
    let manifest = "[package]\nversion.workspace = true\nedition = \"2021\"\nrust-version.workspace = true\n\
                    authors.workspace = true\npublish.workspace = true\n[lints.rust]\nworkspace = true\n";
    let expected = ["a does not inherit `edition`", "a does not inherit `license`", "a does not inherit the lints"];
    assert_eq!(settings_not_inherited("a", manifest), expected);
}
