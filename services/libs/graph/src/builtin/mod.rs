//! The networks generated here, for any input shape and number of classes.

mod builder;
mod lenet;
mod resnet;

use crate::graph::Graph;
use crate::inference::GraphError;
use crate::shape::InputShape;

/// Why a network is not generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuiltinError {
    /// No network of that name.
    #[error("there is no built-in network `{name}`; there are {}", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// No classes.
    #[error("a network needs at least 1 class, got 0")]
    NoClasses,
    /// The images are smaller than the network's windows.
    #[error("`{name}` needs images of at least {least} x {least}, got {input}")]
    TooSmall {
        /// The network.
        name: &'static str,
        /// The least height and width.
        least: usize,
        /// The input shape asked for.
        input: InputShape,
    },
    /// The network would be too large.
    #[error("`{name}` cannot be built for input {input} and {n_classes} classes")]
    Build {
        /// The network.
        name: &'static str,
        /// The input shape asked for.
        input: InputShape,
        /// The number of classes asked for.
        n_classes: usize,
        /// What is wrong.
        source: Box<GraphError>,
    },
}

/// What a built-in network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The name it is asked for by.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub text: &'static str,
    /// Channels, height and width of the input it was designed for.
    pub input: [usize; 3],
    /// The number of classes it was designed for.
    pub n_classes: usize,
    /// The least height and width of an input.
    pub least_side: usize,
    architecture: Architecture,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    LeNet5,
    ResNet { depth: usize, has_shortcuts: bool },
}

const fn resnet(name: &'static str, text: &'static str, depth: usize, has_shortcuts: bool) -> Description {
    let architecture = Architecture::ResNet { depth, has_shortcuts };
    Description { name, text, input: [3, 32, 32], n_classes: 10, least_side: 1, architecture }
}

const NETWORKS: [Description; 11] = [
    Description {
        name: "lenet5",
        text: "LeNet-5 with ReLU and max-pooling: 2 convolutions, 3 linear layers",
        input: [1, 28, 28],
        n_classes: 10,
        least_side: lenet::LEAST_SIDE,
        architecture: Architecture::LeNet5,
    },
    resnet("resnet20", "CIFAR ResNet of 20 layers, 16 to 64 channels, projected shortcuts", 20, true),
    resnet("resnet20_noshort", "resnet20 without its shortcuts", 20, false),
    resnet("resnet32", "CIFAR ResNet of 32 layers, 16 to 64 channels, projected shortcuts", 32, true),
    resnet("resnet32_noshort", "resnet32 without its shortcuts", 32, false),
    resnet("resnet44", "CIFAR ResNet of 44 layers, 16 to 64 channels, projected shortcuts", 44, true),
    resnet("resnet44_noshort", "resnet44 without its shortcuts", 44, false),
    resnet("resnet56", "CIFAR ResNet of 56 layers, 16 to 64 channels, projected shortcuts", 56, true),
    resnet("resnet56_noshort", "resnet56 without its shortcuts", 56, false),
    resnet("resnet110", "CIFAR ResNet of 110 layers, 16 to 64 channels, projected shortcuts", 110, true),
    resnet("resnet110_noshort", "resnet110 without its shortcuts", 110, false),
];

/// The names of the built-in networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|network| network.name)
}

/// Returns what the network `name` is.
///
/// # Errors
/// When there is none of that name.
pub fn describe(name: &str) -> Result<Description, BuiltinError> {
    NETWORKS
        .iter()
        .find(|network| network.name == name)
        .copied()
        .ok_or_else(|| BuiltinError::Unknown { name: name.to_owned() })
}

/// Returns the network `name` for images of `input` and `n_classes` classes.
///
/// # Errors
/// When there is no such network, the images are too small for it, or there is no class.
pub fn build(name: &str, input: InputShape, n_classes: usize) -> Result<Graph, BuiltinError> {
    let Description { name, least_side, architecture, .. } = describe(name)?;
    if n_classes == 0 {
        return Err(BuiltinError::NoClasses);
    }
    if input.height() < least_side || input.width() < least_side {
        return Err(BuiltinError::TooSmall { name, least: least_side, input });
    }
    match architecture {
        Architecture::LeNet5 => lenet::lenet5(name, input, n_classes),
        Architecture::ResNet { depth, has_shortcuts } => resnet::resnet(name, input, n_classes, depth, has_shortcuts),
    }
    .map_err(|source| BuiltinError::Build { name, input, n_classes, source: Box::new(source) })
}

/// Returns the network `name` for the images and classes it was designed for.
///
/// # Errors
/// When there is none of that name.
pub fn build_default(name: &str) -> Result<Graph, BuiltinError> {
    let Description { name, input: [channels, height, width], n_classes, .. } = describe(name)?;
    let input =
        InputShape::new(channels, height, width).map_err(|_| BuiltinError::Unknown { name: name.to_owned() })?;
    build(name, input, n_classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> InputShape {
        text.parse().expect("a good shape")
    }

    #[test]
    fn networks_have_the_published_numbers_of_parameters() {
        let expected = [
            ("lenet5", 61_706),
            ("resnet20", 272_474),
            ("resnet32", 466_906),
            ("resnet44", 661_338),
            ("resnet56", 855_770),
            ("resnet110", 1_730_714),
            ("resnet20_noshort", 269_722),
            ("resnet32_noshort", 464_154),
            ("resnet44_noshort", 658_586),
            ("resnet56_noshort", 853_018),
            ("resnet110_noshort", 1_727_962),
        ];
        for (name, n_parameters) in expected {
            assert_eq!(build_default(name).expect("a known network").n_parameters(), n_parameters, "{name}");
        }
        assert_eq!(names().count(), expected.len());
    }

    #[test]
    fn parameters_have_the_names_of_pytorch() {
        let graph = build_default("resnet20").expect("a known network");
        let shape_of = |name: &str| {
            let parameter = graph.parameters().iter().find(|parameter| parameter.name == name);
            parameter.map(|parameter| parameter.shape.clone())
        };
        assert_eq!(shape_of("conv1.weight"), Some(vec![16, 3, 3, 3]));
        assert_eq!(shape_of("layer1.0.conv1.weight"), Some(vec![16, 16, 3, 3]));
        assert_eq!(shape_of("layer1.0.shortcut.0.weight"), None);
        assert_eq!(shape_of("layer2.0.shortcut.0.weight"), Some(vec![32, 16, 1, 1]));
        assert_eq!(shape_of("layer3.0.shortcut.1.running_var"), Some(vec![64]));
        assert_eq!(shape_of("linear.weight"), Some(vec![10, 64]));
        assert_eq!(graph.parameters().len(), 107);
    }

    #[test]
    fn networks_fit_any_input_and_number_of_classes() {
        for name in names() {
            for (input, n_classes) in [("1x12x12", 2), ("3x32x32", 100), ("4x57x31", 7)] {
                let graph = build(name, shape(input), n_classes).expect("large enough");
                assert_eq!((graph.input_shape(), graph.n_classes()), (shape(input), n_classes));
            }
        }
        assert_eq!(build("resnet56", shape("1x1x1"), 3).expect("any size will do").n_classes(), 3);
    }

    #[test]
    fn impossible_networks_are_refused_with_their_reason() {
        let message =
            |name, input, n_classes| build(name, shape(input), n_classes).expect_err("impossible").to_string();
        assert_eq!(message("lenet5", "1x28x11", 10), "`lenet5` needs images of at least 12 x 12, got 1x28x11");
        assert_eq!(message("lenet5", "1x28x28", 0), "a network needs at least 1 class, got 0");
        assert!(
            message("lenet", "1x28x28", 10).starts_with("there is no built-in network `lenet`; there are lenet5, ")
        );
        let huge = build("resnet20", shape("3x32x32"), usize::MAX).expect_err("no room");
        assert!(matches!(huge, BuiltinError::Build { source, .. } if matches!(*source, GraphError::TooLarge { .. })));
    }

    #[test]
    fn shapes_follow_the_strides() {
        let graph = build_default("resnet20").expect("a known network");
        assert_eq!(graph.shapes()["layer1.2.relu2"].dims, [16, 32, 32]);
        assert_eq!(graph.shapes()["layer2.0.conv1"].dims, [32, 16, 16]);
        assert_eq!(graph.shapes()["layer3.2.relu2"].dims, [64, 8, 8]);
        assert_eq!(graph.shapes()[graph.output_name()].dims, [10]);
    }
}
