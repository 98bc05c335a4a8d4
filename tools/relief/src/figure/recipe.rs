//! What each figure shows, and of which runs.

use relief_core::NetworkId;

use crate::cli::{FigureArguments, FigureName};

/// The batch sizes of the paper's vgg9.
const BATCHES: [u32; 2] = [128, 8192];
/// The weight decays of the paper.
const WEIGHT_DECAYS: [f64; 2] = [0.0, 5e-4];

/// A figure and what it is.
pub(super) struct Entry {
    pub(super) name: FigureName,
    /// The word that asks for it.
    pub(super) word: &'static str,
    /// The number that asks for it too.
    pub(super) number: u32,
    /// What it shows.
    pub(super) shows: &'static str,
    networks: &'static [&'static str],
    batches: &'static [u32],
    weight_decays: &'static [f64],
}

/// All figures, by their number.
pub(super) const CATALOGUE: [Entry; 14] = [
    Entry {
        name: FigureName::Landscapes,
        word: "landscapes",
        number: 1,
        shows: "surfaces in three dimensions, without and with shortcuts",
        networks: &["resnet56_noshort", "resnet56"],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::Convexity,
        word: "convexity",
        number: 7,
        shows: "where surfaces are how far from convex, of surfaces that carry eigenvalues",
        networks: &["resnet56", "densenet121", "resnet56_noshort", "resnet110_noshort"],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::Interpolation,
        word: "interpolation",
        number: 8,
        shows: "loss and accuracy between the solutions of small and large batches",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &WEIGHT_DECAYS,
    },
    Entry {
        name: FigureName::Minima,
        word: "minima",
        number: 9,
        shows: "the same solutions along a filter-normalised random direction each",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &WEIGHT_DECAYS,
    },
    Entry {
        name: FigureName::Normalizations,
        word: "normalizations",
        number: 10,
        shows: "the same along directions without normalisation, enlarged, and normalised by layer and by filter",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::MinimaSurfaces,
        word: "minima-2d",
        number: 11,
        shows: "contours around the same solutions",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &WEIGHT_DECAYS,
    },
    Entry {
        name: FigureName::Depth,
        word: "depth",
        number: 12,
        shows: "contours of deeper and deeper networks, with and without shortcuts",
        networks: &["resnet20", "resnet56", "resnet110", "resnet20_noshort", "resnet56_noshort", "resnet110_noshort"],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::Width,
        word: "width",
        number: 13,
        shows: "contours of wider and wider networks, with and without shortcuts",
        networks: &[
            "resnet56",
            "wrn56_2",
            "wrn56_4",
            "wrn56_8",
            "resnet56_noshort",
            "wrn56_2_noshort",
            "wrn56_4_noshort",
            "wrn56_8_noshort",
        ],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::Repeats,
        word: "repeats",
        number: 14,
        shows: "one solution along ten random directions",
        networks: &["vgg9"],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::RepeatedSurfaces,
        word: "repeats-2d",
        number: 15,
        shows: "contours around one solution along several pairs of random directions",
        networks: &["resnet56_noshort"],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::Weights,
        word: "weights",
        number: 16,
        shows: "the norm of the weights by epoch and by iteration, and how the last weights are distributed",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &WEIGHT_DECAYS,
    },
    Entry {
        name: FigureName::Training,
        word: "training",
        number: 17,
        shows: "loss and error over epochs, on the training samples solid, on the test samples dashed",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &WEIGHT_DECAYS,
    },
    Entry {
        name: FigureName::RandomPlanes,
        word: "random-planes",
        number: 18,
        shows: "a path in the plane of two random directions, and of start, end and a random direction",
        networks: &["vgg9"],
        batches: &[128],
        weight_decays: &[5e-4],
    },
    Entry {
        name: FigureName::Paths,
        word: "paths",
        number: 19,
        shows: "paths of small and large batches in the planes of their principal components",
        networks: &["vgg9"],
        batches: &BATCHES,
        weight_decays: &WEIGHT_DECAYS,
    },
];

/// A run that a figure draws.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) network: NetworkId,
    pub(super) batch: u32,
    pub(super) weight_decay: f64,
}

/// What differs among the runs of a figure, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choices {
    pub(super) networks: Vec<NetworkId>,
    pub(super) batches: Vec<u32>,
    pub(super) weight_decays: Vec<f64>,
}

impl Entry {
    pub(super) fn of(name: FigureName) -> Option<&'static Self> {
        CATALOGUE.iter().find(|entry| entry.name == name)
    }

    /// The runs of the figure: the paper's, but for what `arguments` choose.
    pub(super) fn choices(&self, arguments: &FigureArguments) -> anyhow::Result<Choices> {
        let networks = match arguments.networks.is_empty() {
            true => self.networks.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
            false => arguments.networks.clone(),
        };
        let batches = if arguments.batches.is_empty() { self.batches } else { &arguments.batches };
        let weight_decays =
            if arguments.weight_decays.is_empty() { self.weight_decays } else { &arguments.weight_decays };
        Ok(Choices { networks, batches: batches.to_vec(), weight_decays: weight_decays.to_vec() })
    }
}

impl Choices {
    /// Every run, row by row of a matrix: a row for each weight decay, in it all batch sizes, in each all networks.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for weight_decay in &self.weight_decays {
            for batch in &self.batches {
                for network in &self.networks {
                    wanted.push(Wanted { network: network.clone(), batch: *batch, weight_decay: *weight_decay });
                }
            }
        }
        wanted
    }

    /// What a run is called among the others: what they have in common is left out.
    pub(super) fn label(&self, run: &Wanted) -> String {
        let mut parts = Vec::new();
        if self.networks.len() > 1 || self.batches.len() + self.weight_decays.len() == 2 {
            parts.push(run.network.as_str().to_owned());
        }
        if self.batches.len() > 1 {
            parts.push(format!("batch {}", run.batch));
        }
        if self.weight_decays.len() > 1 {
            parts.push(format!("weight decay {}", run.weight_decay));
        }
        parts.join(", ")
    }

    /// What all runs have in common, where that is worth saying.
    pub(super) fn common(&self) -> String {
        let mut parts = Vec::new();
        if let [network] = &self.networks[..] {
            parts.push(network.as_str().to_owned());
        }
        if let [batch] = self.batches[..] {
            parts.push(format!("batch {batch}"));
        }
        if let [weight_decay] = self.weight_decays[..] {
            parts.push(format!("weight decay {weight_decay}"));
        }
        parts.join(", ")
    }
}
