//! The panels of a figure: what has to be computed for each, and the picture that it becomes.

use relief_api::catalog::v1::Split as WireSplit;
use relief_api::convert::numerics::numerics_to_wire;
use relief_api::convert::surface::{direction_to_wire, split_to_wire};
use relief_api::convert::trajectory::axes_to_wire;
use relief_api::plot::v1::{PlotKind, RunPlotKind};
use relief_api::surface::v1::{self as wire, SurfaceSpec};
use relief_api::trajectory::v1::{Path, TrajectorySpec};
use relief_core::{DatasetId, DirectionSpec, Ignore, Normalization, TrajectoryAxes};

use super::choice::Chosen;
use super::recipe::{Choices, Entry};
use crate::cli::{FigureArguments, FigureName, Splits};
use crate::error::CommandError;

/// What of the path is not covered by the grid of its surface, on each side.
const MARGIN: f64 = 0.3;
/// How far an enlarged curve reaches to each side.
const ENLARGED: f64 = 0.05;

/// A figure before anything of it is computed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub(super) panels: Vec<Panel>,
    pub(super) n_columns: Option<u32>,
    /// Whether all losses stand on one scale.
    pub(super) is_shared: bool,
    pub(super) title: String,
}

/// A panel of a figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) content: Content,
}

/// What a panel shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A surface or a curve.
    Surface(Box<SurfaceSpec>, PlotKind),
    /// Curves over each other, with their names.
    Overlay(Vec<(String, SurfaceSpec)>),
    /// A path.
    Trajectory(Box<TrajectorySpec>),
    /// Runs, with their names.
    Runs(Vec<(String, String)>, RunPlotKind),
    /// The curvature that a surface around this checkpoint carries.
    Curvature(String),
}

/// Everything that panels are made of.
pub(super) struct Ingredients<'a> {
    pub(super) entry: &'a Entry,
    pub(super) arguments: &'a FigureArguments,
    pub(super) choices: &'a Choices,
    pub(super) dataset: &'a DatasetId,
    /// The runs, in the order of [`Choices::wanted`].
    pub(super) runs: &'a [Chosen],
    /// Whether the runs were evaluated on test samples too.
    pub(super) has_test: bool,
}

impl Ingredients<'_> {
    /// Returns the plan of the figure.
    pub(super) fn plan(&self) -> Result<Plan, CommandError> {
        let name = self.entry.name;
        let panels = match name {
            FigureName::Interpolation => self.interpolations()?,
            FigureName::Minima => self.each(|run| self.curve(run, Normalization::Filter, 1.0, 0)),
            FigureName::Normalizations => self.normalizations(),
            FigureName::MinimaSurfaces | FigureName::Depth | FigureName::Width => {
                self.each(|run| self.surface(run, 0, PlotKind::Contour))
            }
            FigureName::Landscapes => self.each(|run| self.surface(run, 0, PlotKind::Surface)),
            FigureName::Convexity => self.each(|run| Content::Curvature(run.solution())),
            FigureName::Repeats => self.repeats()?,
            FigureName::RepeatedSurfaces => self.repeated_surfaces()?,
            FigureName::Weights => self.weights(),
            FigureName::Training => self.training(),
            FigureName::RandomPlanes => self.random_planes()?,
            FigureName::Paths => {
                self.each(|run| self.path(run, TrajectoryAxes::Pca { centered: false, of_all: false }))
            }
        };
        let is_shared = matches!(
            name,
            FigureName::Minima
                | FigureName::MinimaSurfaces
                | FigureName::Depth
                | FigureName::Width
                | FigureName::Landscapes
                | FigureName::RepeatedSurfaces
        );
        let n_panels = panels.len() as u32;
        let n_in_row = (self.choices.batches.len() * self.choices.networks.len()) as u32;
        let n_columns = match name {
            FigureName::Weights | FigureName::RandomPlanes => Some(2),
            FigureName::Normalizations => Some(n_in_row),
            FigureName::Interpolation | FigureName::Repeats | FigureName::RepeatedSurfaces | FigureName::Training => {
                None
            }
            // One row for each weight decay; where there is but one, two rows of which the second often is without
            // shortcuts.
            _ if self.choices.weight_decays.len() == 1 && n_panels > 3 => Some(n_panels.div_ceil(2)),
            _ => Some(n_in_row),
        };
        Ok(Plan { panels, n_columns: n_columns.filter(|n| (1..=8).contains(n)), is_shared, title: self.title() })
    }

    fn title(&self) -> String {
        let common = self.choices.common();
        let on = self.dataset.as_str();
        if common.is_empty() { format!("on {on}") } else { format!("{common}, on {on}") }
    }

    /// A panel for each run, in its order.
    fn each(&self, content: impl Fn(&Chosen) -> Content) -> Vec<Panel> {
        let panel = |run: &Chosen| Panel { title: self.choices.label(&run.wanted), content: content(run) };
        self.runs.iter().map(panel).collect()
    }

    /// The one run of a figure that is of one.
    fn only(&self) -> Result<&Chosen, CommandError> {
        match self.runs {
            [run] => Ok(run),
            runs => {
                let text = format!(
                    "{} is of one run, not of {}; --networks, --batches and --weight-decays must hold one each",
                    self.entry.word,
                    runs.len()
                );
                Err(CommandError::WrongUse(text))
            }
        }
    }

    fn interpolations(&self) -> Result<Vec<Panel>, CommandError> {
        let refused = |flag: &str, n: usize, right: &str| {
            CommandError::WrongUse(format!("{flag} holds {n}; {} is {right}", self.entry.word))
        };
        if self.choices.batches.len() != 2 {
            return Err(refused("--batches", self.choices.batches.len(), "between two, a small and a large one"));
        }
        if self.choices.networks.len() != 1 {
            return Err(refused("--networks", self.choices.networks.len(), "of one network"));
        }
        let panel = |pair: &[Chosen]| {
            let [small, large] = [&pair[0], &pair[1]];
            let [from, to] = [small.wanted.batch, large.wanted.batch];
            let title = match self.choices.weight_decays.len() {
                1 => format!("batch {from}, at 0, to batch {to}, at 1"),
                _ => format!("batch {from}, at 0, to batch {to}, at 1; weight decay {}", small.wanted.weight_decay),
            };
            let towards = DirectionSpec::Towards { checkpoint: large.solution().parse().ok()? };
            let x = wire::Axis { min: -0.5, max: 1.5, count: self.arguments.points };
            let spec = self.spec(small, (&towards, x), None, self.splits(true));
            Some(Panel { title, content: Content::Surface(Box::new(spec), PlotKind::Curve) })
        };
        Ok(self.runs.chunks_exact(2).filter_map(panel).collect())
    }

    fn normalizations(&self) -> Vec<Panel> {
        let rows = [
            ("not normalised", Normalization::None, 1.0),
            ("not normalised, enlarged", Normalization::None, ENLARGED),
            ("normalised by layer", Normalization::Layer, 1.0),
            ("normalised by filter", Normalization::Filter, 1.0),
        ];
        let panel = |(words, normalization, reach): (&str, Normalization, f64), run: &Chosen| Panel {
            title: format!("{}, {words}", self.choices.label(&run.wanted)),
            content: self.curve(run, normalization, reach, 0),
        };
        rows.into_iter().flat_map(|row| self.runs.iter().map(move |run| panel(row, run))).collect()
    }

    fn repeats(&self) -> Result<Vec<Panel>, CommandError> {
        let run = self.only()?;
        let curve = |seed: u32| {
            let direction = random(u64::from(seed), Normalization::Filter);
            let spec = self.spec(run, (&direction, self.reach(1.0)), None, (self.splits(false).0, None));
            (format!("seed {seed}"), spec)
        };
        let curves = (0..self.arguments.repeats.unwrap_or(10)).map(curve).collect();
        Ok(vec![Panel { title: String::new(), content: Content::Overlay(curves) }])
    }

    fn repeated_surfaces(&self) -> Result<Vec<Panel>, CommandError> {
        let run = self.only()?;
        let panel = |seed: u32| Panel {
            title: format!("seed {seed}"),
            content: self.surface(run, u64::from(seed), PlotKind::Contour),
        };
        Ok((0..self.arguments.repeats.unwrap_or(4)).map(panel).collect())
    }

    fn named(&self, runs: &[Chosen]) -> Vec<(String, String)> {
        runs.iter().map(|run| (self.choices.label(&run.wanted), run.id.to_string())).collect()
    }

    fn weights(&self) -> Vec<Panel> {
        let panel =
            |title: &str, kind| Panel { title: title.to_owned(), content: Content::Runs(self.named(self.runs), kind) };
        vec![
            panel("the norm of the weights", RunPlotKind::WeightNorm),
            panel("the weights", RunPlotKind::WeightHistogram),
        ]
    }

    fn training(&self) -> Vec<Panel> {
        let n_in_row = self.choices.batches.len() * self.choices.networks.len();
        let title = |run: &Chosen| match self.choices.weight_decays.len() {
            1 => String::new(),
            _ => format!("weight decay {}", run.wanted.weight_decay),
        };
        let panel = |runs: &[Chosen]| Panel {
            title: title(&runs[0]),
            content: Content::Runs(self.named(runs), RunPlotKind::Training),
        };
        self.runs.chunks(n_in_row.max(1)).map(panel).collect()
    }

    fn random_planes(&self) -> Result<Vec<Panel>, CommandError> {
        let run = self.only()?;
        let normalization = Normalization::Filter;
        let planes = [
            ("two random directions", TrajectoryAxes::Random { seed: 0, normalization }),
            ("start to end, and a random direction", TrajectoryAxes::StartEnd { seed: 0, normalization }),
        ];
        Ok(planes.map(|(title, axes)| Panel { title: title.to_owned(), content: self.path(run, axes) }).into())
    }

    /// The curve around a run's solution along a random direction, `reach` to each side.
    fn curve(&self, run: &Chosen, normalization: Normalization, reach: f64, seed: u64) -> Content {
        let spec = self.spec(run, (&random(seed, normalization), self.reach(reach)), None, self.splits(true));
        Content::Surface(Box::new(spec), PlotKind::Curve)
    }

    /// The surface around a run's solution.
    fn surface(&self, run: &Chosen, seed: u64, kind: PlotKind) -> Content {
        let grid = self.arguments.grid;
        let direction = random(seed, Normalization::Filter);
        let axis = |count| wire::Axis { min: -1.0, max: 1.0, count };
        let y = Some((&direction, axis(grid.rows)));
        let spec = self.spec(run, (&direction, axis(grid.columns)), y, (self.splits(false).0, None));
        Content::Surface(Box::new(spec), kind)
    }

    fn path(&self, run: &Chosen, axes: TrajectoryAxes) -> Content {
        let grid = self.arguments.grid;
        Content::Trajectory(Box::new(TrajectorySpec {
            network: String::new(),
            paths: vec![Path { run: run.id.to_string(), ..Path::default() }],
            axes: Some(axes_to_wire(&axes)),
            ignore: wire::Ignore::BiasBn.into(),
            margin: Some(MARGIN),
            columns: grid.columns,
            rows: grid.rows,
            data: Some(self.data(self.splits(false).0)),
            also_split: WireSplit::Unspecified.into(),
            numerics: numerics_to_wire(self.arguments.numerics.request()),
            scheduling: None,
        }))
    }

    fn reach(&self, reach: f64) -> wire::Axis {
        wire::Axis { min: -reach, max: reach, count: self.arguments.points }
    }

    /// The splits: of a curve the test samples too where they are there, unless something else is asked for.
    fn splits(&self, is_curve: bool) -> (WireSplit, Option<WireSplit>) {
        match self.arguments.split {
            Some(Splits { main, also }) => (split_to_wire(main), also.filter(|_| is_curve).map(split_to_wire)),
            None => (WireSplit::Train, (is_curve && self.has_test).then_some(WireSplit::Test)),
        }
    }

    fn data(&self, split: WireSplit) -> wire::DatasetSlice {
        wire::DatasetSlice { dataset: self.dataset.to_string(), split: split.into(), limit: self.arguments.limit }
    }

    fn spec(
        &self,
        run: &Chosen,
        x: (&DirectionSpec, wire::Axis),
        y: Option<(&DirectionSpec, wire::Axis)>,
        (split, also): (WireSplit, Option<WireSplit>),
    ) -> SurfaceSpec {
        SurfaceSpec {
            plane: Some(wire::Plane {
                origin: run.solution(),
                x: Some(direction_to_wire(x.0)),
                y: y.as_ref().map(|(direction, _)| direction_to_wire(direction)),
                batch_norm: wire::BatchNormMode::Unspecified.into(),
            }),
            x: Some(x.1),
            y: y.map(|(_, axis)| axis),
            data: Some(self.data(split)),
            also_split: also.unwrap_or(WireSplit::Unspecified).into(),
            numerics: numerics_to_wire(self.arguments.numerics.request()),
            ..SurfaceSpec::default()
        }
    }
}

fn random(seed: u64, normalization: Normalization) -> DirectionSpec {
    DirectionSpec::Random { seed, normalization, ignore: Ignore::BiasBn }
}

impl Content {
    /// What has to be computed for it, or what it is of, in words.
    pub(super) fn described(&self) -> String {
        let of = |spec: &SurfaceSpec| {
            let count = |axis: &Option<wire::Axis>| axis.as_ref().map(|axis| axis.count);
            let origin = spec.plane.as_ref().map_or("", |plane| &plane.origin);
            match (count(&spec.x), count(&spec.y)) {
                (Some(columns), Some(rows)) => format!("{columns} x {rows} points around {origin}"),
                (columns, _) => format!("{} points from {origin}", columns.unwrap_or_default()),
            }
        };
        match self {
            Self::Surface(spec, _) => of(spec),
            Self::Overlay(curves) => {
                format!("{} curves of {}", curves.len(), curves.first().map(|(_, spec)| of(spec)).unwrap_or_default())
            }
            Self::Trajectory(spec) => {
                let run = spec.paths.first().map_or("", |path| &path.run);
                format!("the path of {run}, {} x {} points around it", spec.columns, spec.rows)
            }
            Self::Runs(runs, _) => runs.iter().map(|(_, run)| run.as_str()).collect::<Vec<_>>().join(", "),
            Self::Curvature(origin) => format!("the curvature of a surface around {origin}"),
        }
    }
}
