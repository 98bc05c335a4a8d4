//! Draws every kind of picture from made-up landscapes into the folder given as the only argument, to be looked at.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use relief_core::{Axis, PointFlag, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{
    Camera, LossScale, Palette, Path, PathPoint, PlotFormat, PlotKind, PlotSpec, Projection, Theme, draw,
    draw_trajectory,
};

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("name a folder as the only argument")?);
    std::fs::create_dir_all(&folder).context("creating the folder failed")?;
    let bowl = surface("-1:1:51", "-1:1:51", |x, y| 0.05 + 6.0 * x * x + 3.0 * y * y + 1.5 * x * y)?;
    let fine = surface("-1:1:251", "-1:1:251", spiky_at)?;
    let spiky = surface("-1:1:51", "-1:1:51", spiky_at)?;
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
        for kind in [PlotKind::Contour, PlotKind::Heatmap, PlotKind::FilledContour, PlotKind::Surface] {
            let spec = PlotSpec { scale, title: title.map(str::to_owned), ..PlotSpec::new(kind) };
            write(&folder.join(format!("{name}_{kind}").replace(' ', "_")), values, &spec)?;
        }
    }
    write_variants(&folder, &spiky, &bowl)?;
    write_trajectories(&folder, &spiky, &partial)?;
    let spec = PlotSpec { theme: Theme::Dark, ..PlotSpec::new(PlotKind::Surface) };
    write_as(&folder.join("corners_dark"), &corners, &spec, &[PlotFormat::Html, PlotFormat::Pdf, PlotFormat::Gif])?;
    write_large(&folder)?;

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
        write_as(&folder.join(name), values, &spec, &[PlotFormat::Svg, PlotFormat::Png, PlotFormat::Html])?;
    }
    Ok(())
}

/// Themes, palettes and cameras, and every format of a surface.
fn write_variants(folder: &std::path::Path, spiky: &SurfaceValues, bowl: &SurfaceValues) -> anyhow::Result<()> {
    for theme in Theme::ALL {
        for palette in Palette::ALL {
            for kind in [PlotKind::Contour, PlotKind::Heatmap, PlotKind::FilledContour, PlotKind::Surface] {
                let title = Some(format!("{kind}, {palette}, {theme}"));
                let spec = PlotSpec { theme, palette, title, ..PlotSpec::new(kind) };
                write_as(
                    &folder.join(format!("{theme}_{palette}_{kind}").replace(' ', "_")),
                    spiky,
                    &spec,
                    &[PlotFormat::Png],
                )?;
            }
        }
    }
    for (azimuth, elevation) in [(0.0, 0.0), (0.0, 30.0), (45.0, 60.0), (135.0, 20.0), (-90.0, 90.0), (-120.0, 5.0)] {
        for projection in [Projection::Perspective, Projection::Orthographic] {
            let camera = Camera { azimuth, elevation, projection };
            let spec = PlotSpec { camera, title: Some(format!("{camera:?}")), ..PlotSpec::new(PlotKind::Surface) };
            let name = format!("camera_{azimuth}_{elevation}_{projection:?}");
            write_as(&folder.join(name), bowl, &spec, &[PlotFormat::Png])?;
        }
    }
    let title = Some("resnet56 without short-cuts".to_owned());
    write_as(&folder.join("formats"), spiky, &PlotSpec { title, ..PlotSpec::new(PlotKind::Surface) }, &PlotFormat::ALL)
}

/// Paths over whole, partial and absent surfaces.
fn write_trajectories(folder: &std::path::Path, spiky: &SurfaceValues, partial: &SurfaceValues) -> anyhow::Result<()> {
    let path = |name: &str, from: (f64, f64), turns: f64| {
        let point = |idx: i32| {
            let share = f64::from(idx) / 60.0;
            let fade = (-4.0 * share).exp() * (if idx > 30 { 0.4 } else { 1.0 });
            let angle = turns * share;
            let (x, y) = (from.0 * angle.cos() - from.1 * angle.sin(), from.0 * angle.sin() + from.1 * angle.cos());
            let (x, y) = (x * fade, y * fade);
            let loss = Some(0.02 + 0.6 * spiky_at(x, y));
            PathPoint {
                x,
                y,
                epoch: Some(f64::from(idx)),
                off_plane: 0.5 * fade,
                loss,
                is_drop: idx == 31 || idx == 46,
            }
        };
        Path { name: name.to_owned(), points: (0..=60).map(point).collect() }
    };
    let one = [path("", (-0.8, 0.7), 1.2)];
    let three =
        [path("batch 128", (-0.8, 0.7), 1.2), path("batch 8192", (0.9, 0.4), -2.0), path("adam", (0.3, -0.9), 0.7)];
    let formats = [PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf, PlotFormat::Html, PlotFormat::Gif];
    let none = SurfaceValues::default();
    let cases: [(&str, &SurfaceValues, &[Path], LossScale, Theme); 6] = [
        ("trajectory", spiky, &one, LossScale::Linear, Theme::Paper),
        ("trajectory_log", spiky, &one, LossScale::Log, Theme::Paper),
        ("trajectory_three", spiky, &three, LossScale::Linear, Theme::Paper),
        ("trajectory_dark", spiky, &three, LossScale::Log, Theme::Dark),
        ("trajectory_partial", partial, &one, LossScale::Linear, Theme::Paper),
        ("trajectory_alone", &none, &three, LossScale::Linear, Theme::Paper),
    ];
    for (name, values, paths, scale, theme) in cases {
        let title = Some("Training of resnet56, batch size 128".to_owned());
        let labels = ("PCA axis 1".to_owned(), "PCA axis 2".to_owned());
        let (x_label, y_label) = labels;
        let spec = PlotSpec { scale, theme, title, x_label, y_label, ..PlotSpec::new(PlotKind::Contour) };
        for format in formats {
            let spec = PlotSpec { format, ..spec.clone() };
            let start = Instant::now();
            let bytes = draw_trajectory(values, paths, Some([0.632, 0.211]), &spec)?;
            say(&format!("{name} {format}: {:.2} s, {} bytes", start.elapsed().as_secs_f64(), bytes.len()));
            save(&folder.join(format!("{name}.{}", format.to_string().to_lowercase())), &bytes)?;
        }
    }
    Ok(())
}

/// Large surfaces in every format, with the time each takes.
fn write_large(folder: &std::path::Path) -> anyhow::Result<()> {
    for n in [251, 1001] {
        let axis = format!("-1:1:{n}");
        let values = surface(&axis, &axis, bumpy)?;
        for kind in [PlotKind::Surface, PlotKind::Contour, PlotKind::FilledContour, PlotKind::Heatmap] {
            let flat = [PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf, PlotFormat::Html];
            let formats: &[PlotFormat] = if kind == PlotKind::Surface { &PlotFormat::ALL } else { &flat };
            for scale in [LossScale::Linear, LossScale::Log] {
                let title = Some(format!("{n} x {n} points"));
                let spec = PlotSpec { scale, title, ..PlotSpec::new(kind) };
                let name = format!("large_{n}_{kind}_{scale:?}").replace(' ', "_");
                write_as(&folder.join(name), &values, &spec, formats)?;
            }
        }
    }
    Ok(())
}

fn write(path: &std::path::Path, values: &SurfaceValues, spec: &PlotSpec) -> anyhow::Result<()> {
    write_as(path, values, spec, &[PlotFormat::Svg, PlotFormat::Png])
}

fn write_as(
    path: &std::path::Path,
    values: &SurfaceValues,
    spec: &PlotSpec,
    formats: &[PlotFormat],
) -> anyhow::Result<()> {
    for format in formats {
        let path = path.with_extension(format.to_string().to_lowercase());
        let start = Instant::now();
        let spec = PlotSpec { format: *format, ..spec.clone() };
        let bytes = draw(values, &spec).with_context(|| path.display().to_string())?;
        say(&format!("{}: {:.2} s, {} bytes", path.display(), start.elapsed().as_secs_f64(), bytes.len()));
        save(&path, &bytes)?;
    }
    Ok(())
}

fn save(path: &std::path::Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

#[expect(clippy::print_stdout, reason = "what an example has to say")]
fn say(line: &str) {
    println!("{line}");
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

/// A landscape like that of a deep network without short-cuts: many sharp minima around a narrow valley.
fn bumpy(x: f64, y: f64) -> f64 {
    let radius = x.hypot(y);
    let noise = (0..5).map(|octave| {
        let scale = 3.0 * 1.9_f64.powi(octave);
        let (u, v) = (x * scale + 0.7 * f64::from(octave), y * scale - 1.3 * f64::from(octave));
        ((u + 0.6 * v).sin() * (1.1 * v - 0.4 * u).cos() + 0.5 * (1.7 * u).sin()) / 1.7_f64.powi(octave)
    });
    let rough: f64 = noise.sum();
    0.05 + 9.0 * (1.0 - (-3.0 * radius * radius).exp()) * (1.0 + 0.22 * rough) + 3.0 * radius.powi(3)
}

/// A rough landscape: a narrow valley among many smaller ones.
fn spiky_at(x: f64, y: f64) -> f64 {
    let ripple = (9.0 * x + 2.0 * (5.0 * y).sin()).sin() * (11.0 * y - 1.5 * (6.0 * x).cos()).cos();
    let radius = x.hypot(y);
    0.3 + 14.0 * (1.0 - (-8.0 * radius * radius).exp()) * (1.0 + 0.35 * ripple) + 6.0 * radius * radius
}
