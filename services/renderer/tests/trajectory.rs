//! Trajectories: what is drawn of paths, with a surface, with a part of one and without.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_core::{PointFlag, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{LossScale, Path, PathPoint, PlotFormat, PlotKind, PlotSpec, draw_trajectory};

fn surface() -> SurfaceValues {
    let axis: Vec<f64> = (0..21).map(|idx| f64::from(idx) / 10.0 - 1.0).collect();
    let mut main = SplitValues::unknown(Split::Train, 441);
    for idx in 0..441 {
        let (x, y) = (axis[idx % 21], axis[idx / 21]);
        main.set(idx, PointValue { loss: 0.1 + x * x + y * y, squared_error: 0.1, accuracy: 90.0 });
    }
    SurfaceValues { x: axis.clone(), y: axis, main, also: None }
}

fn path(name: &str) -> Path {
    let point = |idx: i32| {
        let share = f64::from(idx) / 10.0;
        PathPoint {
            x: 0.9 * (1.0 - share),
            y: -0.7 * (1.0 - share),
            epoch: Some(f64::from(3 * idx)),
            off_plane: 0.4 * (1.0 - share),
            loss: Some(2.0 - share),
            is_drop: idx == 5,
        }
    };
    Path { name: name.to_owned(), points: (0..=10).map(point).collect() }
}

fn spec() -> PlotSpec {
    PlotSpec { x_label: "PCA axis 1".to_owned(), y_label: "PCA axis 2".to_owned(), ..PlotSpec::new(PlotKind::Contour) }
}

fn svg(surface: &SurfaceValues, paths: &[Path], spec: &PlotSpec) -> String {
    let drawn = draw_trajectory(surface, paths, Some([0.6321, 0.25]), spec).expect("a picture");
    String::from_utf8(drawn).expect("UTF-8")
}

fn refusal(paths: &[Path], explained: Option<[f64; 2]>, spec: &PlotSpec) -> String {
    draw_trajectory(&surface(), paths, explained, spec).expect_err("a refusal").to_string()
}

fn says(svg: &str, text: &str) -> bool {
    svg.contains(&format!("aria-label=\"{text}\""))
}

#[test]
fn a_path_has_its_marks_its_shares_and_its_losses() {
    let svg = svg(&surface(), &[path("")], &spec());
    for text in [
        "PCA axis 1: 63.2 % of the variation",
        "PCA axis 2: 25.0 % of the variation",
        "start",
        "end",
        "learning rate lowered",
        "share off the plane:",
        "50 %",
        "epoch",
        "loss at the checkpoint",
        "loss of the surface below it",
    ] {
        assert!(says(&svg, text), "{text}");
    }
    // The inner checkpoints, one of them a drop, and the legend's dots.
    assert_eq!(svg.matches("<circle").count(), 9 + 4);
    assert!(svg.contains("#c4161c"));
}

#[test]
fn farther_off_the_plane_is_larger() {
    let svg = svg(&surface(), &[path("")], &spec());
    let rings = svg.lines().filter(|line| line.starts_with("<circle") && line.contains("#0072b2"));
    let radius = |line: &str| line.split(" r=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse::<f64>().ok());
    let radii: Vec<f64> = rings.filter_map(radius).collect();
    assert_eq!(radii.len(), 8);
    assert!(radii.windows(2).all(|pair| pair[0] > pair[1]), "{radii:?}");
}

#[test]
fn several_paths_have_names_and_colours() {
    let svg = svg(&surface(), &[path("batch 128"), path("batch 8192")], &spec());
    assert!(says(&svg, "batch 128") && says(&svg, "batch 8192"));
    assert!(svg.contains("stroke=\"#0072b2\"") && svg.contains("stroke=\"#e69f00\""));
}

#[test]
fn a_path_is_drawn_without_a_surface_and_over_a_part_of_one() {
    let alone = svg(&SurfaceValues::default(), &[path("")], &spec());
    assert!(says(&alone, "no surface") && says(&alone, "loss at the checkpoint"));
    assert!(!says(&alone, "loss of the surface below it"));
    let mut partial = surface();
    for idx in 0..441 {
        if idx >= 220 {
            (partial.main.loss[idx], partial.main.flags[idx]) = (f64::NAN, PointFlag::Never);
        }
    }
    assert!(says(&svg(&partial, &[path("")], &spec()), "221 points not computed yet"));
    partial.main = SplitValues::unknown(Split::Train, 441);
    assert!(says(&svg(&partial, &[path("")], &spec()), "the surface is not computed yet"));
}

#[test]
fn a_path_beyond_the_surface_is_shown_whole() {
    let mut beyond = path("");
    beyond.points[0].x = 3.0;
    let svg = svg(&surface(), &[beyond], &spec());
    assert!(says(&svg, "3"), "the axis reaches the path");
}

#[test]
fn losses_that_cannot_be_drawn_are_counted() {
    let mut wild = path("");
    (wild.points[2].loss, wild.points[3].loss) = (Some(f64::NAN), Some(-1.0));
    wild.points[4].epoch = None;
    let svg = svg(&surface(), &[wild], &PlotSpec { scale: LossScale::Log, ..spec() });
    assert!(says(&svg, "2 checkpoints without a loss that can be drawn"));
    assert!(says(&svg, "checkpoint") && !says(&svg, "epoch"), "epochs are shown if all are known");
}

#[test]
fn one_point_is_a_start() {
    let mut short = path("");
    short.points.truncate(1);
    for format in [PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf, PlotFormat::Html, PlotFormat::Gif] {
        let spec = PlotSpec { format, width: 200, ..spec() };
        draw_trajectory(&SurfaceValues::default(), &[short.clone()], None, &spec).expect("a picture");
    }
}

#[test]
fn an_animation_grows_to_the_whole_path() {
    let spec = PlotSpec { format: PlotFormat::Gif, width: 200, ..spec() };
    let gif = draw_trajectory(&surface(), &[path("")], None, &spec).expect("a picture");
    let mut decoder = gif::DecodeOptions::new().read_info(gif.as_slice()).expect("a GIF");
    let mut delays = Vec::new();
    while let Some(frame) = decoder.read_next_frame().expect("a frame") {
        delays.push(frame.delay);
    }
    assert_eq!(delays.len(), 11);
    assert_eq!(delays.last(), Some(&200));
}

#[test]
fn bad_fields_are_named() {
    let with = |change: fn(&mut PathPoint)| {
        let mut path = path("");
        change(&mut path.points[3]);
        refusal(&[path], None, &spec())
    };
    assert!(with(|point| point.x = f64::NAN).starts_with("paths[0].points[3].x is NaN; it must be a finite number"));
    assert!(with(|point| point.epoch = Some(f64::INFINITY)).contains("points[3].epoch is inf"));
    assert!(
        with(|point| point.off_plane = 1.5).contains("points[3].off_plane is 1.5; it must be 0 (in the plane) to 1")
    );
    assert!(refusal(&[], None, &spec()).contains("paths holds 0 paths; it must hold 1 to 6"));
    assert!(refusal(&vec![path(""); 7], None, &spec()).contains("7 paths"));
    let empty = Path { name: String::new(), points: Vec::new() };
    assert!(refusal(&[path(""), empty], None, &spec()).contains("paths[1].points is empty"));
    assert!(refusal(&[path("")], Some([63.2, 0.1]), &spec()).contains("explained holds 63.2"));
    assert!(refusal(&[path("")], None, &PlotSpec::new(PlotKind::Heatmap)).contains("kind is heatmap"));
    let solid = PlotSpec { format: PlotFormat::Vtp, ..spec() };
    assert!(refusal(&[path("")], None, &solid).contains("format is VTP"));
}
