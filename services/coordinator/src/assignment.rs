//! Which tensor of a checkpoint's file is which parameter of a network: by name, then by name without a wrapper's
//! prefix, then by shape where that leaves no choice. Whatever is not by name is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use relief_core::TensorMap;
use relief_graph::{CheckpointMismatch, Graph, MisshapenTensor, Parameter, ParameterKind};
use relief_store::{DecodedCheckpoint, SkippedTensor};

/// How a parameter's tensor was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Name,
    Prefix,
    Shape,
}

/// A parameter and the tensor of the file that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) parameter: String,
    pub(crate) tensor: String,
    pub(crate) by: Match,
}

/// What became of every tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// In the network's order.
    pub(crate) applied: Vec<Applied>,
    /// The tensors that the network does not take, in order.
    pub(crate) unused: Vec<String>,
    pub(crate) skipped: Vec<SkippedTensor>,
    pub(crate) format: &'static str,
    /// The key under which the tensors lay.
    pub(crate) key: Option<String>,
}

/// The most names that a message lists.
const N_NAMED: usize = 8;

/// What wrappers put in front of a name: `DataParallel`, and a module that holds the network.
const PREFIXES: [&str; 2] = ["module.", "model."];

/// Gives every parameter of `graph` its tensor, under the parameter's name.
///
/// # Errors
/// With everything that is missing or misshapen, and what the file has instead.
pub(crate) fn assign(graph: &Graph, decoded: DecodedCheckpoint) -> Result<(TensorMap, Report), String> {
    let DecodedCheckpoint { mut tensors, mut skipped, format, order, key } = decoded;
    let mut taken = BTreeMap::<&str, (String, Match)>::new();
    for parameter in graph.parameters() {
        if tensors.contains_key(&parameter.name) {
            taken.insert(&parameter.name, (parameter.name.clone(), Match::Name));
        }
    }
    let left = |taken: &BTreeMap<&str, (String, Match)>| {
        let used: BTreeSet<&str> = taken.values().map(|(name, _)| name.as_str()).collect();
        let parameters: Vec<&Parameter> =
            graph.parameters().iter().filter(|parameter| !taken.contains_key(parameter.name.as_str())).collect();
        let names = if order.is_empty() { tensors.keys().collect::<Vec<_>>() } else { order.iter().collect() };
        let names: Vec<String> = names.into_iter().filter(|name| !used.contains(name.as_str())).cloned().collect();
        (parameters, names)
    };
    let (parameters, names) = left(&taken);
    for (parameter, name) in by_prefix(&parameters, &names) {
        taken.insert(parameter, (name, Match::Prefix));
    }
    let (parameters, names) = left(&taken);
    for (parameter, name) in by_shape(&parameters, &names, &tensors, !order.is_empty()) {
        taken.insert(parameter, (name, Match::Shape));
    }
    let (_, unused) = left(&taken);

    let mut mismatch = CheckpointMismatch { missing: Vec::new(), misshapen: Vec::new() };
    for parameter in graph.parameters() {
        match taken.get(parameter.name.as_str()).and_then(|(name, _)| tensors.get(name)) {
            None => mismatch.missing.push(parameter.name.clone()),
            Some(tensor) if tensor.shape() != parameter.shape => mismatch.misshapen.push(MisshapenTensor {
                name: parameter.name.clone(),
                expected: parameter.shape.clone(),
                found: tensor.shape().to_vec(),
            }),
            Some(_) => {}
        }
    }
    skipped.sort_unstable();
    if !mismatch.missing.is_empty() || !mismatch.misshapen.is_empty() {
        return Err(refusal(graph, &mismatch, &unused, &skipped));
    }
    let mut applied = Vec::with_capacity(taken.len());
    let mut assigned = TensorMap::new();
    for parameter in graph.parameters() {
        let Some((tensor, by)) = taken.remove(parameter.name.as_str()) else { continue };
        if let Some(values) = tensors.remove(&tensor) {
            assigned.insert(parameter.name.clone(), values);
        }
        applied.push(Applied { parameter: parameter.name.clone(), tensor, by });
    }
    let mut unused = unused;
    unused.sort_unstable();
    Ok((assigned, Report { applied, unused, skipped, format: format.as_str(), key }))
}

fn refusal(graph: &Graph, mismatch: &CheckpointMismatch, unused: &[String], skipped: &[SkippedTensor]) -> String {
    let n_wrong = mismatch.missing.len() + mismatch.misshapen.len();
    let n_parameters = graph.parameters().len();
    let mut text = format!("{mismatch}; {} of {n_parameters} tensors fit", n_parameters - n_wrong);
    let mut list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            let more =
                if names.len() > N_NAMED { format!(" and {} more", names.len() - N_NAMED) } else { String::new() };
            let shown = names.iter().take(N_NAMED).cloned().collect::<Vec<_>>().join(", ");
            // Writing to a string does not fail.
            let _ = write!(text, "; {what} {shown}{more}");
        }
    };
    list("the network does not have", &unused.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>());
    let skipped = skipped.iter().map(|skipped| format!("`{}` ({})", skipped.name, skipped.dtype));
    list("not read, being no floating-point tensors:", &skipped.collect::<Vec<_>>());
    text
}

/// A name without the prefixes of wrappers.
fn bare(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// Pairs that have the same bare name, where no other of either side has it.
fn by_prefix<'a>(parameters: &[&'a Parameter], names: &[String]) -> Vec<(&'a str, String)> {
    let mut of_bare = BTreeMap::<&str, Vec<&String>>::new();
    for name in names {
        of_bare.entry(bare(name)).or_default().push(name);
    }
    let mut n_of_bare = BTreeMap::<&str, usize>::new();
    for parameter in parameters {
        *n_of_bare.entry(bare(&parameter.name)).or_default() += 1;
    }
    let pair = |parameter: &&'a Parameter| {
        let bare = bare(&parameter.name);
        match of_bare.get(bare).map(Vec::as_slice) {
            Some([name]) if n_of_bare.get(bare) == Some(&1) => Some((parameter.name.as_str(), (*name).clone())),
            _ => None,
        }
    };
    parameters.iter().filter_map(pair).collect()
}

/// What a tensor is to its layer, as far as names and ranks tell; a bias and a normalisation's shift are called the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Weight,
    Scale,
    Shift,
    Mean,
    Variance,
}

impl Role {
    fn of_parameter(kind: ParameterKind) -> Option<Self> {
        match kind {
            ParameterKind::Weight => Some(Self::Weight),
            ParameterKind::NormScale => Some(Self::Scale),
            ParameterKind::Bias | ParameterKind::NormShift => Some(Self::Shift),
            ParameterKind::RunningMean => Some(Self::Mean),
            ParameterKind::RunningVariance => Some(Self::Variance),
        }
    }

    fn of_tensor(name: &str, rank: usize) -> Option<Self> {
        match name.rsplit('.').next()? {
            "weight" | "kernel" if rank >= 2 => Some(Self::Weight),
            "weight" | "gamma" | "scale" => Some(Self::Scale),
            "bias" | "beta" => Some(Self::Shift),
            "running_mean" => Some(Self::Mean),
            "running_var" => Some(Self::Variance),
            _ => None,
        }
    }
}

/// Pairs by role and shape: everything that is left on either side, or nothing. Within a role the shapes must be the
/// same one after the other where the file has an order, else each shape must be there once.
fn by_shape<'a>(
    parameters: &[&'a Parameter],
    names: &[String],
    tensors: &TensorMap,
    is_ordered: bool,
) -> Vec<(&'a str, String)> {
    if parameters.is_empty() || parameters.len() != names.len() {
        return Vec::new();
    }
    let mut left = BTreeMap::<Role, (Vec<&'a Parameter>, Vec<&String>)>::new();
    for parameter in parameters {
        let Some(role) = Role::of_parameter(parameter.kind) else { return Vec::new() };
        left.entry(role).or_default().0.push(parameter);
    }
    for name in names {
        let rank = tensors.get(name).map_or(0, |tensor| tensor.shape().len());
        let Some(role) = Role::of_tensor(name, rank) else { return Vec::new() };
        left.entry(role).or_default().1.push(name);
    }
    let mut pairs = Vec::new();
    for (mut parameters, mut names) in left.into_values() {
        let shape = |name: &str| tensors.get(name).map(|tensor| tensor.shape()).unwrap_or_default();
        if !is_ordered {
            parameters.sort_by(|left, right| left.shape.cmp(&right.shape));
            names.sort_by(|left, right| shape(left).cmp(shape(right)));
            if parameters.windows(2).any(|pair| pair[0].shape == pair[1].shape) {
                return Vec::new();
            }
        }
        let fits = parameters.iter().zip(&names).all(|(parameter, name)| parameter.shape == shape(name));
        if parameters.len() != names.len() || !fits {
            return Vec::new();
        }
        let matched = parameters.into_iter().zip(names);
        pairs.extend(matched.map(|(parameter, name)| (parameter.name.as_str(), name.clone())));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use relief_core::Tensor;
    use relief_graph::{builtin, initialize};
    use relief_store::{CheckpointFormat, decode_checkpoint, encode_checkpoint};

    use super::*;

    fn network() -> (Graph, TensorMap) {
        let graph = builtin::build_default("resnet20").expect("built in");
        let tensors = initialize(&graph, 3);
        (graph, tensors)
    }

    fn decoded(tensors: TensorMap) -> DecodedCheckpoint {
        decode_checkpoint(&encode_checkpoint(&tensors).expect("a file")).expect("a checkpoint")
    }

    fn renamed(tensors: &TensorMap, rename: impl Fn(&str) -> String) -> TensorMap {
        tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
    }

    fn all_by(report: &Report, by: Match) -> bool {
        report.applied.iter().all(|applied| applied.by == by)
    }

    #[test]
    fn names_come_first_and_the_rest_is_unused() {
        let (graph, tensors) = network();
        let mut more = tensors.clone();
        more.insert("ema.conv1.weight".to_owned(), Tensor::filled([2], 1.0));
        let (assigned, report) = assign(&graph, decoded(more)).expect("it fits");
        assert_eq!(assigned, tensors);
        assert!(all_by(&report, Match::Name) && report.applied.len() == graph.parameters().len());
        assert_eq!(report.unused, ["ema.conv1.weight"]);
    }

    #[test]
    fn prefixes_of_wrappers_are_seen_through() {
        let (graph, tensors) = network();
        for prefix in ["module.", "model.", "module.model."] {
            let wrapped = renamed(&tensors, |name| format!("{prefix}{name}"));
            let (assigned, report) = assign(&graph, decoded(wrapped)).expect("it fits");
            assert_eq!(assigned, tensors);
            assert!(all_by(&report, Match::Prefix));
            assert_eq!(report.applied[0].tensor, format!("{prefix}{}", report.applied[0].parameter));
        }
        let mut twice = renamed(&tensors, |name| format!("module.{name}"));
        twice.extend(renamed(&tensors, |name| format!("model.{name}")));
        assert!(assign(&graph, decoded(twice)).expect_err("two of each").contains("missing"));
    }

    #[test]
    fn an_order_of_shapes_is_followed_only_where_the_file_has_one_and_all_of_it_fits() {
        let (graph, tensors) = network();
        let other = |name: &str| format!("features.{name}");
        let mut file = decoded(renamed(&tensors, other));
        assert!(assign(&graph, file.clone()).is_err());

        file.format = CheckpointFormat::PytorchZip;
        file.order = graph.parameters().iter().map(|parameter| other(&parameter.name)).collect();
        let (assigned, report) = assign(&graph, file.clone()).expect("it fits");
        assert_eq!(assigned, tensors);
        assert!(all_by(&report, Match::Shape));

        let last = file.order.len() - 1;
        file.order.swap(0, last - 1);
        assert!(assign(&graph, file).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_there_is_instead() {
        let (graph, mut tensors) = network();
        tensors.remove("conv1.weight");
        let last = graph.parameters().last().expect("a bias").name.clone();
        tensors.insert(last.clone(), Tensor::filled([7], 0.0));
        tensors.insert("stem.weight".to_owned(), Tensor::filled([3], 0.0));
        let mut file = decoded(tensors);
        file.skipped.push(SkippedTensor { name: "steps".to_owned(), dtype: "I64".to_owned() });
        let text = assign(&graph, file).expect_err("it does not fit");
        let misshapen = format!("`{last}` has shape [7], expected [10]");
        for part in ["missing `conv1.weight`", misshapen.as_str(), "`stem.weight`", "`steps` (I64)"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
