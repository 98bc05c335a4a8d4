//! Draws pictures of runs and of several surfaces from made-up ones into the folder given as the only argument, to be
//! looked at.

use std::path::{Path, PathBuf};

use anyhow::Context;
use relief_core::{Axis, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{
    Layout, LossScale, NamedSurface, PlotFormat, PlotKind, PlotSpec, Run, RunEpoch, RunKind, Spread, SurfacesSpec,
    Theme, WeightCounts, draw_runs, draw_surfaces, draw_weights,
};

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("name a folder as the only argument")?);
    std::fs::create_dir_all(&folder).context("creating the folder failed")?;
    write_runs(&folder)?;
    write_weights(&folder)?;
    write_curves(&folder)?;
    write_panels(&folder)
}

fn spec(scale: LossScale, theme: Theme, title: &str) -> PlotSpec {
    let title = Some(title.to_owned()).filter(|title| !title.is_empty());
    PlotSpec { scale, theme, title, ..PlotSpec::new(PlotKind::Curve) }
}

fn write_runs(folder: &Path) -> anyhow::Result<()> {
    let one = [run("vgg9-sgd-bs128", 0.1, 1.0)];
    let two = [run("batch 128, weight decay 0", 0.1, 1.0), run("batch 8192, weight decay 5e-4", 0.2, 3.0)];
    let mut late = run("warm restarts", 0.15, 2.0);
    for epoch in &mut late.epochs {
        epoch.rate = 0.1 * (1.0 + (epoch.epoch / 95.0).cos());
    }
    let mut diverging = run("diverging", 0.3, 0.7);
    for epoch in &mut diverging.epochs[240..] {
        (epoch.train_loss, epoch.test_loss, epoch.weight_norm) = (f64::NAN, Some(f64::INFINITY), f64::NAN);
    }
    diverging.epochs.iter_mut().filter(|epoch| epoch.epoch == 100.0).for_each(|epoch| epoch.test_loss = None);
    let many = [one[0].clone(), two[1].clone(), late, diverging, run("sgd", 0.12, 1.6), run("adam", 0.08, 0.5)];
    let mut short = run("three epochs", 0.1, 1.0);
    short.epochs.truncate(3);
    let mut single = short.clone();
    single.epochs.truncate(1);
    let cases: [(&str, &[Run]); 5] =
        [("one", &one), ("two", &two), ("many", &many), ("short", &[short]), ("single", &[single])];
    for (name, runs) in cases {
        for (kind_name, kind) in [("training", RunKind::Training), ("norm", RunKind::WeightNorm)] {
            for (scale_name, scale) in [("", LossScale::Linear), ("_log", LossScale::Log)] {
                let title = if runs.len() == 1 { "" } else { "VGG-9 on CIFAR-10" };
                let theme = if name == "many" { Theme::Dark } else { Theme::Paper };
                let path = folder.join(format!("{kind_name}_{name}{scale_name}"));
                let spec = spec(scale, theme, title);
                write(&path, &spec, |spec| Ok(draw_runs(runs, kind, spec)?))?;
            }
        }
    }
    Ok(())
}

fn run(name: &str, floor: f64, pace: f64) -> Run {
    let epoch = |idx: i32| {
        let epoch = f64::from(idx);
        let rate = if idx <= 150 {
            0.1
        } else if idx <= 225 {
            0.01
        } else {
            0.001
        };
        let noise = (12.9898 * epoch * pace).sin() * (7.233 * epoch).cos() * (rate * 10.0_f64).sqrt();
        let fade =
            (-epoch / (25.0 * pace)).exp() * (2.3 - 5.0 * floor) + (rate * 10.0).sqrt() * 3.0 * floor + 0.02 * floor;
        let loss = fade * (1.0 + 0.12 * noise);
        let error = (90.0 * (fade / 2.3).min(1.0)).max(0.01);
        RunEpoch {
            epoch,
            rate,
            train_loss: loss,
            train_accuracy: 100.0 - error * (1.0 + 0.1 * noise),
            test_loss: Some(loss + 0.3 * (1.0 - (-epoch / 60.0).exp()) + 0.05 * noise),
            test_accuracy: Some(100.0 - (error + 7.0) * (1.0 + 0.08 * noise)),
            weight_norm: 30.0 + 18.0 * (epoch / 300.0).sqrt() / pace * if idx > 150 { 0.97 } else { 1.0 },
        }
    };
    Run { name: name.to_owned(), epochs: (0..=300).map(epoch).collect(), steps: Vec::new() }
}

fn write_weights(folder: &Path) -> anyhow::Result<()> {
    let counts = |name: &str, spread: f32, n: u32| {
        let weights: Vec<f32> = (1..n).map(|idx| spread * normal(idx)).chain([40.0 * spread]).collect();
        WeightCounts::of(name.to_owned(), std::iter::once(weights.as_slice()))
    };
    let one = [counts("vgg9-sgd-bs128", 0.02, 300_000)];
    let three = [
        counts("batch 128", 0.004, 300_000),
        counts("batch 8192", 0.02, 300_000),
        counts("at initialisation", 0.035, 200_000),
    ];
    let few = [counts("a small network", 0.1, 60)];
    let cases: [(&str, &[WeightCounts]); 3] = [("one", &one), ("three", &three), ("few", &few)];
    for (name, weights) in cases {
        for (scale_name, scale) in [("", LossScale::Linear), ("_log", LossScale::Log)] {
            let title = if weights.len() == 1 { "" } else { "Weights of VGG-9 after 300 epochs" };
            let path = folder.join(format!("weights_{name}{scale_name}"));
            write(&path, &spec(scale, Theme::Paper, title), |spec| Ok(draw_weights(weights, spec)?))?;
        }
    }
    Ok(())
}

/// A number that is nearly normally distributed over `idx`.
fn normal(idx: u32) -> f32 {
    let part = |factor: f64| (f64::from(idx) * factor).fract() - 0.5;
    let factors = [0.618_033_988, 0.414_213_562, 0.732_050_807, 0.236_067_977, 0.645_751_311, 0.316_624_79];
    let sum: f64 = factors.into_iter().map(part).sum();
    (sum * std::f64::consts::SQRT_2) as f32
}

fn write(path: &Path, spec: &PlotSpec, draw: impl Fn(&PlotSpec) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<()> {
    write_as(path, spec, &[PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf, PlotFormat::Html], draw)
}

fn write_as(
    path: &Path,
    spec: &PlotSpec,
    formats: &[PlotFormat],
    draw: impl Fn(&PlotSpec) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<()> {
    for format in formats {
        let path = path.with_extension(format.to_string().to_lowercase());
        let bytes = draw(&PlotSpec { format: *format, ..spec.clone() }).with_context(|| path.display().to_string())?;
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn surface(name: &str, x: &str, y: &str, loss: impl Fn(f64, f64) -> f64) -> anyhow::Result<NamedSurface> {
    let (x, y) = (x.parse::<Axis>()?.coordinates(), y.parse::<Axis>()?.coordinates());
    let mut main = SplitValues::unknown(Split::Train, x.len() * y.len());
    for (idx, (x, y)) in y.iter().flat_map(|y| x.iter().map(move |x| (*x, *y))).enumerate() {
        let loss = loss(x, y);
        main.set(idx, PointValue { loss, squared_error: 0.1, accuracy: 10.0 + 88.0 * (-0.4 * loss).exp() });
    }
    Ok(NamedSurface { name: name.to_owned(), values: SurfaceValues { x, y, main, also: None } })
}

const ALL: [PlotFormat; 3] = [PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf];

fn write_curves(folder: &Path) -> anyhow::Result<()> {
    let curve = |name: &str, seed: f64| {
        surface(name, "-1:1:101", "0:0:1", move |x, _| {
            let rise = 3.0 + (2.3 * seed).sin();
            let loss = 0.05 + rise * x * x + 0.5 * (1.0 + (1.7 * seed).cos()) * (5.0 * x + seed).sin().powi(2) * x * x;
            if seed == 2.0 && x > 0.9 { f64::INFINITY } else { loss }
        })
    };
    let two = [curve("batch 128", 1.0)?, curve("batch 8192", 2.0)?];
    let ten: Vec<NamedSurface> =
        (0..10).map(|seed| curve(&format!("seed {seed}"), f64::from(seed))).collect::<Result<_, _>>()?;
    let band = Layout::Band(Spread::Range);
    let cases: [(&str, &[NamedSurface], Layout, bool); 7] = [
        ("overlay_two", &two, Layout::Overlay, false),
        ("overlay_two_accuracy", &two, Layout::Overlay, true),
        ("overlay_ten", &ten, Layout::Overlay, false),
        ("band_range", &ten, band, false),
        ("band_deviation", &ten, Layout::Band(Spread::Deviation), true),
        ("panels_two_curve", &two, Layout::Panels(None), false),
        ("panels_ten_curve", &ten, Layout::Panels(None), true),
    ];
    for (name, surfaces, layout, has_accuracy) in cases {
        for (scale_name, scale) in [("", LossScale::Linear), ("_log", LossScale::Log)] {
            let several = SurfacesSpec { layout, has_accuracy, has_own_width: true };
            let spec = spec(scale, Theme::Paper, "ResNet-56, filter-normalised random directions");
            let path = folder.join(format!("{name}{scale_name}"));
            write_as(&path, &spec, &ALL, |spec| Ok(draw_surfaces(surfaces, &several, spec)?))?;
        }
    }
    Ok(())
}

fn write_panels(folder: &Path) -> anyhow::Result<()> {
    let bowl = |name: &str, rough: f64, axis: &str| {
        surface(name, axis, axis, move |x, y| {
            let ripple = (9.0 * x + 2.0 * (5.0 * y).sin()).sin() * (11.0 * y - 1.5 * (6.0 * x).cos()).cos();
            0.2 + (3.0 + rough) * (x * x + y * y + 0.6 * x * y) + rough * (1.0 + ripple) * (x * x + y * y).min(0.5)
        })
    };
    let grid = "-1:1:51";
    let three = [bowl("ResNet-20", 0.2, grid)?, bowl("ResNet-56", 1.0, grid)?, bowl("ResNet-110", 2.5, grid)?];
    let five = [
        bowl("ResNet-20", 0.2, grid)?,
        bowl("ResNet-56", 0.6, grid)?,
        bowl("ResNet-110", 1.0, grid)?,
        bowl("ResNet-20 without short-cuts", 1.6, grid)?,
        bowl("a name that is much too long to stand above one panel", 3.0, grid)?,
    ];
    let unlike = [bowl("narrow", 1.0, "-0.5:0.5:31")?, bowl("wide", 1.0, grid)?];
    let many: Vec<NamedSurface> =
        (0..24).map(|idx| bowl(&format!("seed {idx}"), f64::from(idx) / 12.0, "-1:1:21")).collect::<Result<_, _>>()?;
    let cases: [(&str, &[NamedSurface]); 4] =
        [("three", &three), ("five", &five), ("unlike", &unlike), ("many", &many)];
    for (name, surfaces) in cases {
        for kind in [PlotKind::Contour, PlotKind::FilledContour, PlotKind::Heatmap, PlotKind::Surface] {
            let several = SurfacesSpec { layout: Layout::Panels(None), has_accuracy: false, has_own_width: true };
            let theme = if name == "unlike" { Theme::Dark } else { Theme::Paper };
            let scale = if name == "five" { LossScale::Log } else { LossScale::Linear };
            let spec = PlotSpec { kind, ..spec(scale, theme, "Filter-normalised surfaces on CIFAR-10") };
            let path = folder.join(format!("panels_{name}_{kind}").replace(' ', "_"));
            write_as(&path, &spec, &ALL, |spec| Ok(draw_surfaces(surfaces, &several, spec)?))?;
        }
    }
    Ok(())
}
