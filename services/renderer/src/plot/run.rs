//! Runs: loss and error over epochs, and the norm of the weights over epochs and iterations, as in Li et al. 2018; the
//! lines of several runs in one picture.

use super::colormap::{Color, MOST_DISTINCT, distinct};
use super::curve::{draw_legend, draw_line};
use super::field::Range;
use super::frame::{self, Frame, Side, WIDTH};
use super::note::{self, Note, Sign};
use super::number::short;
use super::scene::{Drawing, Point, Rect, Scene, Size, Spot, Stroke};
use super::tick::{self, Tick, Ticks};
use super::trajectory::drop_color;
use crate::plot::{LossScale, PlotError, PlotFormat, PlotSpec};

const LINE_WIDTH: f64 = 1.6;
const DASH: (f64, f64) = (5.0, 3.0);
const DROP_DASH: (f64, f64) = (2.0, 2.5);
const LEGEND_SIZE: f64 = 12.5;
const PADDING: f64 = 0.04;
/// The height of the areas where there is one, and of each where there are two.
const HEIGHTS: [f64; 2] = [340.0, 205.0];
/// What lies between two areas.
const BETWEEN: f64 = 16.0;
/// A rate that falls more often than this follows a curve, and is not lowered at epochs that could be marked.
const MOST_DROPS: usize = 12;
/// More points of a line than this are not seen apart.
const MOST_STEPS: usize = 2000;

/// What is drawn of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// Loss, and below it the error, over epochs.
    Training,
    /// The Euclidean norm of the trainable tensors over epochs, and below it over steps where they are known.
    WeightNorm,
}

/// How a run stood after an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunEpoch {
    /// The number of epochs trained; 0 is the initialisation.
    pub epoch: f64,
    /// The learning rate of the epoch.
    pub rate: f64,
    /// The mean loss on the training split, in nats; may be NaN or infinite, as may all that follow.
    pub train_loss: f64,
    /// The accuracy on the training split, in percent.
    pub train_accuracy: f64,
    /// The mean loss on the test split, where it was evaluated.
    pub test_loss: Option<f64>,
    /// The accuracy on the test split, where it was evaluated.
    pub test_accuracy: Option<f64>,
    /// The Euclidean norm of the trainable tensors.
    pub weight_norm: f64,
}

/// How a run stood after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunStep {
    /// The number of steps taken.
    pub step: f64,
    /// The number of epochs trained when the step's epoch has ended.
    pub epoch: f64,
    /// The Euclidean norm of the trainable tensors; may be NaN or infinite.
    pub weight_norm: f64,
}

/// A run as far as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it is called.
    pub name: String,
    /// Its epochs, rising, 1 or more.
    pub epochs: Vec<RunEpoch>,
    /// Its steps, rising, as far as they are known.
    pub steps: Vec<RunStep>,
}

impl Run {
    /// The epochs after which the learning rate was lowered.
    fn drops(&self) -> Vec<f64> {
        self.epochs.windows(2).filter(|pair| pair[1].rate < pair[0].rate).map(|pair| pair[0].epoch).collect()
    }

    /// The last step of an epoch; none if it is not known.
    fn last_step(&self, epoch: f64) -> Option<f64> {
        let n_until = self.steps.partition_point(|step| step.epoch <= epoch);
        self.steps.get(n_until.checked_sub(1)?).filter(|step| step.epoch == epoch).map(|step| step.step)
    }
}

/// Checks the format of a picture of `n_runs` runs.
pub(super) fn check(n_runs: usize, spec: &PlotSpec) -> Result<(), PlotError> {
    if !matches!(spec.format, PlotFormat::Svg | PlotFormat::Png | PlotFormat::Pdf | PlotFormat::Html) {
        return Err(PlotError::RunFormat { format: spec.format });
    }
    if n_runs == 0 || n_runs > MOST_DISTINCT {
        return Err(PlotError::NumberOfRuns { n_runs, most: MOST_DISTINCT });
    }
    Ok(())
}

fn check_epochs(runs: &[Run]) -> Result<(), PlotError> {
    for (run_idx, run) in runs.iter().enumerate() {
        let mut before = f64::NEG_INFINITY;
        for (epoch_idx, RunEpoch { epoch, .. }) in run.epochs.iter().enumerate() {
            if !epoch.is_finite() || *epoch <= before {
                return Err(PlotError::RunEpoch { run_idx, epoch_idx, epoch: *epoch });
            }
            before = *epoch;
        }
        if run.epochs.is_empty() {
            return Err(PlotError::EmptyRun { run_idx });
        }
    }
    Ok(())
}

/// Draws `runs`, of which [`check`] found the number right.
pub(super) fn draw(runs: &[Run], kind: RunKind, spec: &PlotSpec) -> Result<Drawing, PlotError> {
    check_epochs(runs)?;
    let mut scene = Scene::new(spec.theme)?;
    let panels = panels(runs, kind, spec)?;
    let left = panels.iter().map(|panel| frame::vertical_axis_width(&scene, &panel.ticks)).fold(0.0, f64::max);
    let right = WIDTH - 2.0 * frame::MARGIN;
    let name = runs.first().filter(|_| runs.len() == 1).map(|run| run.name.as_str());
    let header = frame::draw_header(&mut scene, spec.title.as_deref().or(name), None, left, right);
    let ink = scene.tones.ink;
    let has_dashes = panels.iter().flat_map(|panel| &panel.lines).any(|line| line.is_dashed);
    let mut top = header + 2.0;
    let mut below = top;
    if has_dashes {
        let entries = [("train", Stroke::solid(ink, LINE_WIDTH)), ("test", dashed(ink))];
        draw_legend(&mut scene, &entries, right, header + LEGEND_SIZE - 1.0);
        top = header + LEGEND_SIZE + 8.0;
    }
    let drops = Drops::of(runs, spec);
    let height = HEIGHTS[panels.len().min(2) - 1];
    let mut spots = Vec::new();
    for (idx, panel) in panels.iter().enumerate() {
        let frame = Frame { area: Rect { left, top, right, bottom: top + height }, x: panel.x, y: panel.range };
        spots.extend(panel.draw(&mut scene, &frame, runs, &drops, spec));
        below = top + height;
        // Areas over the same times have one axis, below the last of them.
        if panels.get(idx + 1).is_none_or(|next| next.time != panel.time) {
            let x_ticks = whole_ticks(&scene, panel.x, right - left);
            below = frame::draw_bottom_axis(&mut scene, &frame, &x_ticks, panel.time.as_str());
        }
        top = below + BETWEEN;
    }
    let notes = notes(runs, &panels, &drops, spec);
    let height = note::draw(&mut scene, &notes, left, below);
    let what: Vec<String> = panels.iter().map(Panel::described).collect();
    let description = format!(
        "{} of {}.{}",
        what.join(" and "),
        runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", "),
        note::described(&notes),
    );
    let title = spec.title.as_deref().or(name).unwrap_or(&panels[0].label).to_owned();
    let size = Size { width: WIDTH, height };
    Ok(scene.into_drawing(size, spec.width, &title, &description).with_spots(spots))
}

fn dashed(color: Color) -> Stroke {
    Stroke { dash: Some(DASH), ..Stroke::solid(color, LINE_WIDTH) }
}

/// What values are drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Epochs,
    Steps,
}

impl Time {
    fn as_str(self) -> &'static str {
        match self {
            Self::Epochs => "epoch",
            Self::Steps => "iteration",
        }
    }
}

/// The values of one run on one split.
struct Line {
    run_idx: usize,
    is_dashed: bool,
    /// The epochs or steps.
    times: Vec<f64>,
    /// Where they stand on the scale, one for each time; none of those that cannot be drawn.
    positions: Vec<Option<f64>>,
    /// One of so many steps is drawn.
    stride: usize,
}

/// An area with its lines.
struct Panel {
    label: String,
    /// The colour of its lines and its axis where there is one run.
    color: Color,
    lines: Vec<Line>,
    time: Time,
    x: Range,
    range: Range,
    ticks: Ticks,
    /// For each run how many values cannot be drawn because they are not finite, and because they have no logarithm.
    missing: Vec<[usize; 2]>,
}

type Values = fn(&RunEpoch) -> Option<f64>;

/// The areas that have a value to draw.
fn panels(runs: &[Run], kind: RunKind, spec: &PlotSpec) -> Result<Vec<Panel>, PlotError> {
    let tones = super::colormap::Tones::of(spec.theme);
    let train_loss: Values = |epoch| Some(epoch.train_loss);
    let train_error: Values = |epoch| Some(100.0 - epoch.train_accuracy);
    let test_error: Values = |epoch| epoch.test_accuracy.map(|accuracy| 100.0 - accuracy);
    let norm: Values = |epoch| Some(epoch.weight_norm);
    let panels = match kind {
        RunKind::Training => vec![
            Panel::of(runs, &spec.loss_label, tones.loss, spec.scale, &[train_loss, |epoch| epoch.test_loss]),
            Panel::of(runs, "error (%)", tones.accuracy, LossScale::Linear, &[train_error, test_error]),
        ],
        RunKind::WeightNorm => vec![
            Panel::of(runs, "norm of the weights", tones.loss, spec.scale, &[norm]),
            Panel::of_steps(runs, "norm of the weights", tones.loss, spec.scale),
        ],
    };
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    if panels.is_empty() {
        let values = if kind == RunKind::Training { "losses and errors" } else { "norms" };
        let lack = if spec.scale == LossScale::Log { "is finite and above 0" } else { "is finite" };
        let n_values = runs.iter().map(|run| run.epochs.len()).sum();
        return Err(PlotError::NoRunValue { values, n_values, lack });
    }
    Ok(panels)
}

impl Panel {
    /// Returns the panel of `values`, of which the second are dashed; none if none can be drawn.
    fn of(runs: &[Run], name: &str, color: Color, scale: LossScale, values: &[Values]) -> Option<Self> {
        let mut missing = vec![[0, 0]; runs.len()];
        let mut lines = Vec::new();
        for (run_idx, run) in runs.iter().enumerate() {
            let times: Vec<f64> = run.epochs.iter().map(|epoch| epoch.epoch).collect();
            for (value_idx, values) in values.iter().enumerate() {
                let mut place = |value| placed(value, scale, &mut missing[run_idx]);
                let positions = run.epochs.iter().map(|epoch| values(epoch).and_then(&mut place)).collect();
                lines.push(Line { run_idx, is_dashed: value_idx > 0, times: times.clone(), positions, stride: 1 });
            }
        }
        Self::with_lines(lines, Time::Epochs, name, color, scale, missing)
    }

    /// Returns the panel of the norm over steps; none if none is known, or can be drawn. What is missing there is
    /// missing over epochs too, where it is told.
    fn of_steps(runs: &[Run], name: &str, color: Color, scale: LossScale) -> Option<Self> {
        let line = |(run_idx, run): (usize, &Run)| {
            let stride = run.steps.len().div_ceil(MOST_STEPS).max(1);
            let last = run.steps.len().checked_sub(1);
            let shown = (0..run.steps.len()).filter(|idx| idx.is_multiple_of(stride) || Some(*idx) == last);
            let shown = shown.map(|idx| run.steps[idx]);
            let place = |step: RunStep| (step.step, placed(step.weight_norm, scale, &mut [0, 0]));
            let (times, positions) = shown.map(place).unzip();
            Line { run_idx, is_dashed: false, times, positions, stride }
        };
        let lines = runs.iter().enumerate().map(line).collect();
        Self::with_lines(lines, Time::Steps, name, color, scale, vec![[0, 0]; runs.len()])
    }

    fn with_lines(
        mut lines: Vec<Line>,
        time: Time,
        name: &str,
        color: Color,
        scale: LossScale,
        missing: Vec<[usize; 2]>,
    ) -> Option<Self> {
        let x = span(lines.iter().flat_map(|line| &line.times).copied())?;
        let x = if x.is_point() { Range { lo: x.lo - 0.5, hi: x.hi + 0.5 } } else { x };
        lines.retain(|line| line.positions.iter().any(Option::is_some));
        let mut range = span(lines.iter().flat_map(|line| &line.positions).flatten().copied())?.widened();
        if scale == LossScale::Linear && range.lo >= 0.0 && range.lo < 0.3 * range.hi {
            range.lo = 0.0;
        }
        let padded = range.padded(PADDING);
        let ticks = match scale {
            LossScale::Linear => tick::linear(if range.lo == 0.0 { 0.0 } else { padded.lo }, padded.hi, 6),
            LossScale::Log => tick::logarithmic(padded.lo, padded.hi, 6),
        };
        let label = if scale == LossScale::Log { format!("{name}, log scale") } else { name.to_owned() };
        Some(Self { label, color, lines, time, x, range: padded, ticks, missing })
    }

    fn described(&self) -> String {
        format!("{} over {}s {} to {}", self.label, self.time.as_str(), self.x.lo, self.x.hi)
    }

    /// Draws the panel; returns what is said of its points.
    fn draw(&self, scene: &mut Scene, frame: &Frame, runs: &[Run], drops: &Drops, spec: &PlotSpec) -> Vec<Spot> {
        let Rect { left, right, top, bottom } = frame.area;
        for tick in &self.ticks.major {
            let y = frame.y(tick.position);
            scene.line(Point { x: left, y }, Point { x: right, y }, Stroke::solid(scene.tones.faint, 0.8));
        }
        for mark in &drops.marks {
            let at = match self.time {
                Time::Epochs => Some(mark.epoch).filter(|_| mark.is_first),
                Time::Steps => runs[mark.run_idx].last_step(mark.epoch),
            };
            if let Some(x) = at.map(|at| frame.x(at)) {
                scene.line(Point { x, y: top }, Point { x, y: bottom }, mark.stroke);
            }
        }
        let mut spots = Vec::new();
        for line in &self.lines {
            let run = &runs[line.run_idx];
            let color = if runs.len() == 1 { self.color } else { distinct(spec.theme, line.run_idx) };
            let stroke = if line.is_dashed { dashed(color) } else { Stroke::solid(color, LINE_WIDTH) };
            draw_line(scene, frame, &line.times, &line.positions, stroke);
            let points = line.times.iter().zip(&line.positions).enumerate();
            spots.extend(points.filter_map(|(idx, (time, position))| {
                let position = (*position)?;
                let text = match self.time {
                    Time::Epochs => said_of(run, run.epochs.get(idx)?),
                    Time::Steps => {
                        let norm = if spec.scale == LossScale::Log { 10.0_f64.powf(position) } else { position };
                        format!("{}\niteration {time}\nnorm of the weights {}", run.name, short(norm))
                    }
                };
                Some(Spot { at: frame.point(*time, position), text })
            }));
        }
        frame::draw_box(scene, frame.area);
        let color = if runs.len() == 1 { self.color } else { scene.tones.ink };
        frame::draw_side_axis(scene, frame, Side::Left, &self.ticks, &self.label, color);
        spots
    }
}

/// Where a value stands on its scale; one that cannot be drawn is counted: those that are not finite, and those without
/// a logarithm.
fn placed(value: f64, scale: LossScale, [n_not_finite, n_not_positive]: &mut [usize; 2]) -> Option<f64> {
    match scale {
        _ if !value.is_finite() => {
            *n_not_finite += 1;
            None
        }
        LossScale::Linear => Some(value),
        LossScale::Log if value > 0.0 => Some(value.log10()),
        LossScale::Log => {
            *n_not_positive += 1;
            None
        }
    }
}

/// The least and the greatest value; none without any.
fn span(values: impl Iterator<Item = f64>) -> Option<Range> {
    let none = Range { lo: f64::INFINITY, hi: f64::NEG_INFINITY };
    let range = values.fold(none, |range, value| Range { lo: range.lo.min(value), hi: range.hi.max(value) });
    (range.lo <= range.hi).then_some(range)
}

/// What is said of an epoch that is pointed at.
fn said_of(run: &Run, epoch: &RunEpoch) -> String {
    let both = |name: &str, train: f64, test: Option<f64>| match test {
        Some(test) => format!("{name}: train {}, test {}", short(train), short(test)),
        None => format!("{name}: {}", short(train)),
    };
    let error = |accuracy: f64| 100.0 - accuracy;
    [
        run.name.clone(),
        format!("epoch {}", short(epoch.epoch)),
        both("loss", epoch.train_loss, epoch.test_loss),
        both("error (%)", error(epoch.train_accuracy), epoch.test_accuracy.map(error)),
        format!("learning rate {}", short(epoch.rate)),
        format!("norm of the weights {}", short(epoch.weight_norm)),
    ]
    .join("\n")
}

/// An epoch after which the learning rate of a run, and of those that share its schedule, was lowered.
struct Mark {
    run_idx: usize,
    /// Whether it is the first of the runs that share the schedule.
    is_first: bool,
    epoch: f64,
    stroke: Stroke,
}

/// Where learning rates were lowered.
struct Drops {
    /// Where they are.
    marks: Vec<Mark>,
    /// What is said of them.
    notes: Vec<Note>,
}

impl Drops {
    fn of(runs: &[Run], spec: &PlotSpec) -> Self {
        // Runs of one schedule have one mark.
        let mut schedules: Vec<(Vec<f64>, Vec<usize>)> = Vec::new();
        for (idx, run) in runs.iter().enumerate() {
            let drops = run.drops();
            match schedules.iter_mut().find(|(others, _)| *others == drops) {
                Some((_, run_idxs)) => run_idxs.push(idx),
                None if drops.is_empty() => {}
                None => schedules.push((drops, vec![idx])),
            }
        }
        let n_marked = schedules.iter().filter(|(drops, _)| drops.len() <= MOST_DROPS).count();
        let (mut marks, mut notes) = (Vec::new(), Vec::new());
        for (drops, run_idxs) in schedules {
            let names: Vec<&str> = run_idxs.iter().map(|idx| runs[*idx].name.as_str()).collect();
            let of = if names.len() == runs.len() { String::new() } else { format!("{}: ", names.join(", ")) };
            if drops.len() > MOST_DROPS {
                let text = format!("{of}learning rate lowered at {} epochs, which are not marked", drops.len());
                notes.push(Note { sign: Sign::None, text });
                continue;
            }
            let color = if n_marked == 1 { drop_color(spec.theme) } else { distinct(spec.theme, run_idxs[0]) };
            let stroke = Stroke { dash: Some(DROP_DASH), ..Stroke::solid(color, 1.0) };
            // Epochs are those of all that share the schedule; steps may be more or less in each.
            for epoch in drops {
                let mark =
                    |run_idx: &usize| Mark { run_idx: *run_idx, is_first: *run_idx == run_idxs[0], epoch, stroke };
                marks.extend(run_idxs.iter().map(mark));
            }
            notes.push(Note { sign: Sign::Stroke(stroke), text: format!("{of}learning rate lowered") });
        }
        Self { marks, notes }
    }
}

/// Ticks at whole epochs or steps, as many as have room.
fn whole_ticks(scene: &Scene, epochs: Range, width: f64) -> Ticks {
    let mut ticks = frame::horizontal_ticks(scene, epochs, width);
    if ticks.major.iter().any(|tick| tick.position.fract() != 0.0) {
        let is_whole = |epoch: &f64| (epochs.lo..=epochs.hi).contains(epoch);
        let whole = (0..10).map(|idx| epochs.lo.ceil() + f64::from(idx)).filter(is_whole);
        ticks.major = whole.map(|epoch| Tick { position: epoch, label: short(epoch) }).collect();
    }
    ticks
}

fn notes(runs: &[Run], panels: &[Panel], drops: &Drops, spec: &PlotSpec) -> Vec<Note> {
    let mut notes = Vec::new();
    let of = |idx: usize| if runs.len() == 1 { String::new() } else { format!("{}: ", runs[idx].name) };
    if runs.len() > 1 {
        notes.extend(
            runs.iter()
                .enumerate()
                .map(|(idx, run)| Note { sign: Sign::Line(distinct(spec.theme, idx)), text: run.name.clone() }),
        );
    }
    notes.extend(drops.notes.iter().cloned());
    for line in panels.iter().flat_map(|panel| &panel.lines).filter(|line| line.stride > 1) {
        let text = format!("{}one iteration of {} is drawn", of(line.run_idx), line.stride);
        notes.push(Note { sign: Sign::None, text });
    }
    for idx in 0..runs.len() {
        let count = |reason: usize| panels.iter().map(|panel| panel.missing[idx][reason]).sum::<usize>();
        for (n_values, why) in [(count(0), "not finite"), (count(1), "not above 0, not drawable on a log scale")] {
            if n_values > 0 {
                let values = if n_values == 1 { "value" } else { "values" };
                notes.push(Note { sign: Sign::None, text: format!("{}{n_values} {values} {why}", of(idx)) });
            }
        }
    }
    notes
}
