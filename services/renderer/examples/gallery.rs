//! Draws every kind of picture from made-up landscapes into the folder given as the only argument, to be looked at.

use std::path::PathBuf;

use anyhow::Context;
use relief_core::{Axis, PointFlag, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{LossScale, PlotFormat, PlotKind, PlotSpec, draw};

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("name a folder as the only argument")?);
    std::fs::create_dir_all(&folder).context("creating the folder failed")?;
    let bowl = surface("-1:1:51", "-1:1:51", |x, y| 0.05 + 6.0 * x * x + 3.0 * y * y + 1.5 * x * y)?;
    let fine = surface("-1:1:251", "-1:1:251", spiky)?;
    let spiky = surface("-1:1:51", "-1:1:51", spiky)?;
    let corners = surface("-1:1:51", "-1:1:51", |x, y| match x * x + y * y {
        square if x + y > 1.45 || square > 1.7 && x < 0.0 => f64::NAN,
        square => 0.03 + (2.4 * square).exp() - 1.0,
    })?;
    let steep =
        surface("-1:1:51", "-1:1:51", |x, y| 10_f64.powf(-2.0 + 6.0 * (0.7 * x * x + 0.3 * y * y + 0.2 * x * y)))?;
    let outliers = surface("-1:1:51", "-1:1:51", |x, y| 0.1 + 2.0 * (x * x + y * y) + (9.0 * (x + y - 1.0)).exp())?;
    let oblong = surface("-0.5:1.5:49", "-0.4:0.6:25", |x, y| {
        0.02 + 3.0 * (x * (1.0 - x)).powi(2) + 5.0 * (y - 0.2 * x) * (y - 0.2 * x)
    })?;
    let mut partial = bowl.clone();
    for idx in 0..partial.main.flags.len() {
        if (idx / 204 + (idx % 51) / 8) % 3 == 0 {
            (partial.main.loss[idx], partial.main.flags[idx]) = (f64::NAN, PointFlag::Never);
        }
    }
    let coarse = surface("-1:1:5", "-1:1:5", |x, y| 0.1 + x * x + 2.0 * y * y)?;
    let flat = surface("-1:1:5", "-1:1:5", |_, _| std::f64::consts::LN_10)?;
    let signed = surface("-1:1:31", "-1:1:31", |x, y| x * x + y * y - 0.23)?;

    for (name, values, scale, title) in [
        ("fine", &fine, LossScale::Linear, Some("251 x 251 points")),
        ("bowl", &bowl, LossScale::Linear, Some("resnet56 on CIFAR-10, filter-normalised random directions")),
        ("bowl_log", &bowl, LossScale::Log, None),
        ("spiky", &spiky, LossScale::Linear, Some("resnet56 without short-cuts")),
        ("spiky_log", &spiky, LossScale::Log, Some("resnet56 without short-cuts")),
        ("corners", &corners, LossScale::Linear, Some("Diverging corners")),
        ("steep_log", &steep, LossScale::Log, Some("A range of six decades")),
        ("steep", &steep, LossScale::Linear, Some("A range of six decades on a linear scale")),
        ("outliers", &outliers, LossScale::Linear, Some("One corner far above the rest")),
        ("oblong", &oblong, LossScale::Linear, Some("Between two solutions")),
        ("partial", &partial, LossScale::Linear, Some("Half done")),
        ("coarse", &coarse, LossScale::Linear, Some("Twenty-five points")),
        ("flat", &flat, LossScale::Linear, Some("A flat surface")),
        ("signed_log", &signed, LossScale::Log, Some("Not all positive")),
    ] {
        for kind in [PlotKind::Contour, PlotKind::Heatmap] {
            let spec = PlotSpec { scale, title: title.map(str::to_owned), ..PlotSpec::new(kind) };
            write(&folder.join(format!("{name}_{kind}")), values, &spec)?;
        }
    }

    let valley = |x: f64| 0.04 + 8.5 * (1.0 - (-2.2 * x * x).exp()) + 0.9 * x * x;
    let curve = surface("-1:1:51", "0:0:1", |x, _| valley(x))?;
    let gappy = surface("-1:1:51", "0:0:1", |x, _| match x {
        x if x < -0.78 || (0.3..0.34).contains(&x) || (0.38..0.42).contains(&x) => f64::NAN,
        x if x > 0.9 => f64::INFINITY,
        x => valley(x),
    })?;
    let wall = surface("-0.5:1.5:401", "0:0:1", |x, _| 0.01 + (8.0 * (x - 1.0).abs()).exp_m1() * (x * x + 0.001))?;
    let point = surface("0:0:1", "0:0:1", |_, _| 0.3)?;
    let long = "A title that is much too long for one line because it names the network, the data set, both directions, \
                their normalisation and seed, and the batch normalisation mode as well as everything else";
    let harder = surface("-1:1:51", "0:0:1", |x, _| if x > 0.8 { f64::INFINITY } else { 0.9 + 1.1 * valley(x) })?;
    let both = SurfaceValues { also: Some(SplitValues { split: Split::Test, ..harder.main }), ..curve.clone() };
    for (name, values, scale, title) in [
        ("curve_splits", &both, LossScale::Linear, Some("Training and test samples")),
        ("curve", &curve, LossScale::Linear, Some("resnet56, filter-normalised direction")),
        ("curve_log", &curve, LossScale::Log, None),
        ("curve_gaps", &gappy, LossScale::Linear, Some("Points that are not finite")),
        ("curve_wall", &wall, LossScale::Linear, Some(long)),
        ("curve_wall_log", &wall, LossScale::Log, Some("The same on a log scale")),
        ("curve_point", &point, LossScale::Linear, None),
    ] {
        let spec = PlotSpec { scale, title: title.map(str::to_owned), ..PlotSpec::new(PlotKind::Curve) };
        write(&folder.join(name), values, &spec)?;
    }
    Ok(())
}

fn write(path: &std::path::Path, values: &SurfaceValues, spec: &PlotSpec) -> anyhow::Result<()> {
    for (format, extension) in [(PlotFormat::Svg, "svg"), (PlotFormat::Png, "png")] {
        let path = path.with_extension(extension);
        let bytes = draw(values, &PlotSpec { format, ..spec.clone() }).with_context(|| path.display().to_string())?;
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn surface(x: &str, y: &str, loss: impl Fn(f64, f64) -> f64) -> anyhow::Result<SurfaceValues> {
    let (x, y) = (x.parse::<Axis>()?.coordinates(), y.parse::<Axis>()?.coordinates());
    let mut main = SplitValues::unknown(Split::Train, x.len() * y.len());
    let losses = y.iter().flat_map(|y| x.iter().map(|x| loss(*x, *y)));
    for (idx, loss) in losses.enumerate() {
        let accuracy = if loss.is_nan() { 10.0 } else { 10.0 + 85.0 * (-0.5 * loss).exp() };
        main.set(idx, PointValue { loss, squared_error: 0.1, accuracy });
    }
    Ok(SurfaceValues { x, y, main, also: None })
}

/// A rough landscape: a narrow valley among many smaller ones.
fn spiky(x: f64, y: f64) -> f64 {
    let ripple = (9.0 * x + 2.0 * (5.0 * y).sin()).sin() * (11.0 * y - 1.5 * (6.0 * x).cos()).cos();
    let radius = x.hypot(y);
    0.3 + 14.0 * (1.0 - (-8.0 * radius * radius).exp()) * (1.0 + 0.35 * ripple) + 6.0 * radius * radius
}
