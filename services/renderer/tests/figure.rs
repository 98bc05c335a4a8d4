//! Figures of several panels, and convexity maps: what they show, on which scale, and what is refused.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_core::{Curvature, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{
    FigureSpec, LossScale, Panel, Path, PathPoint, Picture, PlotError, PlotFormat, PlotKind, PlotSpec, Run, RunEpoch,
    RunKind, RunStep, Theme, draw_convexity, draw_figure, draw_runs,
};

fn axis(n_points: usize) -> Vec<f64> {
    (0..n_points).map(|idx| 2.0 * idx as f64 / (n_points - 1) as f64 - 1.0).collect()
}

fn bowl(height: f64, n_points: usize) -> SurfaceValues {
    let (x, y) = (axis(n_points), axis(n_points));
    let mut main = SplitValues::unknown(Split::Train, n_points * n_points);
    for (idx, (y, x)) in y.iter().flat_map(|y| x.iter().map(move |x| (*y, *x))).enumerate() {
        let loss = 0.1 + height * (x * x + y * y);
        main.set(idx, PointValue { loss, squared_error: 0.1, accuracy: 90.0 - 40.0 * x * x });
    }
    SurfaceValues { x, y, main, also: None }
}

fn panel(title: &str, kind: PlotKind, picture: Picture) -> Panel {
    Panel { picture, spec: PlotSpec { title: Some(title.to_owned()), ..PlotSpec::new(kind) } }
}

fn surface(title: &str, height: f64) -> Panel {
    panel(title, PlotKind::Heatmap, Picture::Surface(bowl(height, 11)))
}

fn trajectory(title: &str) -> Panel {
    let point = |x: f64, epoch: f64| PathPoint {
        x,
        y: 0.3 * x,
        epoch: Some(epoch),
        off_plane: 0.1,
        loss: Some(0.5),
        is_drop: epoch == 1.0,
    };
    let points = vec![point(0.9, 0.0), point(0.4, 1.0), point(0.0, 2.0)];
    let paths = vec![Path { name: "path".to_owned(), points }];
    let picture = Picture::Trajectory { surface: bowl(3.0, 11), paths, explained: Some([0.7, 0.2]) };
    panel(title, PlotKind::Contour, picture)
}

/// A run of three epochs of two steps whose rate falls after the first.
fn run(name: &str) -> Run {
    let epoch = |idx: u32| RunEpoch {
        epoch: f64::from(idx),
        rate: if idx > 1 { 0.01 } else { 0.1 },
        train_loss: 2.0 / f64::from(idx + 1),
        train_accuracy: 50.0,
        test_loss: None,
        test_accuracy: None,
        weight_norm: 5.0 + f64::from(idx),
    };
    let step = |idx: u32| RunStep {
        step: f64::from(idx),
        epoch: f64::from(idx.div_ceil(2)),
        weight_norm: 5.0 + 0.5 * f64::from(idx),
    };
    Run { name: name.to_owned(), epochs: (0..=3).map(epoch).collect(), steps: (1..=6).map(step).collect() }
}

fn figure() -> FigureSpec {
    FigureSpec {
        n_columns: None,
        title: Some("the figure".to_owned()),
        format: PlotFormat::Svg,
        theme: Theme::Paper,
        width: None,
        pixel_ratio: 1.0,
        has_shared_scale: false,
    }
}

fn svg(panels: &[Panel], figure: &FigureSpec) -> String {
    String::from_utf8(draw_figure(panels, figure).expect("a picture")).expect("UTF-8")
}

fn says(svg: &str, text: &str) -> bool {
    svg.contains(&format!("aria-label=\"{text}\""))
}

fn curvature(ratio: impl Fn(f64, f64) -> f64) -> Curvature {
    let (x, y) = (axis(9), axis(7));
    let ratios: Vec<f64> = y.iter().flat_map(|y| x.iter().map(|x| ratio(*x, *y)).collect::<Vec<_>>()).collect();
    Curvature { lambda_min: ratios.iter().map(|ratio| -4.0 * ratio).collect(), lambda_max: vec![4.0; 63], x, y }
}

#[test]
fn pictures_of_any_kind_stand_in_one() {
    let curvature = curvature(|x, _| 0.2 * x.abs());
    let panels = [
        surface("a surface", 2.0),
        trajectory("a path"),
        panel("a run", PlotKind::Curve, Picture::Runs(vec![run("r")], RunKind::Training)),
        panel("a map", PlotKind::Convexity, Picture::Convexity(curvature)),
    ];
    let whole = svg(&panels, &figure());
    for text in ["the figure", "a surface", "a path", "a run", "a map", "|\u{3bb}min / \u{3bb}max|", "epoch"] {
        assert!(says(&whole, text), "{text}");
    }
    // Two columns of 640 units, 480 pixels each.
    assert!(whole.contains("width=\"960\"") && whole.contains("viewBox=\"0 0 1286 "), "{}", &whole[..300]);
    assert_eq!(whole.matches("<g transform=\"translate(646 ").count(), 2);
    let row = svg(&panels, &FigureSpec { n_columns: Some(4), ..figure() });
    assert!(row.contains("width=\"1920\""));
}

#[test]
fn a_figure_is_the_same_in_every_form() {
    let large = panel("many cells", PlotKind::Heatmap, Picture::Surface(bowl(1.0, 81)));
    let panels = [surface("few", 1.0), large];
    for (format, start) in [(PlotFormat::Svg, &b"<svg"[..]), (PlotFormat::Png, b"\x89PNG"), (PlotFormat::Pdf, b"%PDF")]
    {
        let file = draw_figure(&panels, &FigureSpec { format, ..figure() }).expect("a picture");
        assert!(file.starts_with(start), "{format}");
    }
    // Cells that are pixels lie within their panel, on the right.
    let svg = svg(&panels, &figure());
    let image = svg.split("<image x=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an image");
    assert!(image.parse::<f64>().expect("a number") > 646.0);
}

#[test]
fn a_shared_scale_is_that_of_all_panels() {
    let panels = [surface("low", 1.0), surface("high", 4.0), trajectory("path")];
    // The corner of the low bowl is its greatest loss: alone it has the last colour of the palette, and with the others not.
    let last = "fill=\"#fde725\"";
    let bar = 1;
    let own = svg(&panels[..1], &figure());
    let cells = |svg: &str| svg.matches(last).count() - bar;
    assert_eq!(cells(&own), 1);
    let shared = FigureSpec { has_shared_scale: true, ..figure() };
    let with_others = svg(&panels, &shared);
    let low = with_others.split("<g transform=").nth(1).map(str::to_owned);
    assert!(low.is_some());
    let apart = svg(&panels[..2], &figure());
    let together = svg(&panels[..2], &shared);
    assert_eq!((cells(&apart) - bar, cells(&together) - bar), (2, 1));
    // Both colour bars say the same.
    let ticks = |svg: &str, text: &str| svg.matches(&format!("aria-label=\"{text}\"")).count();
    assert_eq!((ticks(&together, "8"), ticks(&apart, "8")), (2, 1));
}

#[test]
fn a_shared_scale_is_clipped_at_the_highest_limit() {
    let limited = |height, loss_max| {
        let panel = surface("s", height);
        Panel { spec: PlotSpec { loss_max: Some(loss_max), ..panel.spec }, picture: panel.picture }
    };
    let shared = FigureSpec { has_shared_scale: true, ..figure() };
    let svg = svg(&[limited(1.0, 1.5), limited(4.0, 2.0)], &shared);
    assert!(svg.contains("clipped above 2 ("));
    assert!(!svg.contains("clipped above 1.5"));
}

#[test]
fn a_convexity_map_is_on_one_scale_whatever_its_values() {
    let spec = PlotSpec::new(PlotKind::Convexity);
    let svg_of =
        |curvature: &Curvature| String::from_utf8(draw_convexity(curvature, &spec).expect("a picture")).expect("UTF-8");
    let nearly = svg_of(&curvature(|_, _| 0.001));
    assert!(says(&nearly, "0.5") && !nearly.contains("clipped"));
    // The least colour everywhere, but for the bar's share of it.
    assert_eq!(nearly.matches("fill=\"#440154\"").count(), 2);
    let beyond = svg_of(&curvature(|x, _| if x > 0.9 { 0.8 } else { f64::NAN }));
    assert!(says(&beyond, "ratio clipped above 0.5 (7 points, up to 0.8)"));
    assert!(says(&beyond, "56 points not computed yet"));
    let html = draw_convexity(&curvature(|x, _| x.abs()), &PlotSpec { format: PlotFormat::Html, ..spec.clone() });
    assert!(String::from_utf8(html.expect("a page")).expect("UTF-8").contains("\"quantity\":\"ratio\""));
}

#[test]
fn the_norm_of_the_weights_is_drawn_over_epochs_and_over_iterations() {
    let spec = PlotSpec::new(PlotKind::Curve);
    let svg_of = |runs: &[Run]| {
        String::from_utf8(draw_runs(runs, RunKind::WeightNorm, &spec).expect("a picture")).expect("UTF-8")
    };
    let both = svg_of(&[run("r")]);
    assert!(says(&both, "epoch") && says(&both, "iteration") && says(&both, "learning rate lowered"));
    let without = svg_of(&[Run { steps: Vec::new(), ..run("r") }]);
    assert!(says(&without, "epoch") && !says(&without, "iteration"));
    let step = |idx: u32| RunStep { step: f64::from(idx), epoch: 1.0, weight_norm: 5.0 };
    let long = svg_of(&[Run { steps: (1..=9001).map(step).collect(), ..run("long") }]);
    assert!(says(&long, "one iteration of 5 is drawn"));
}

#[test]
fn what_cannot_be_drawn_is_refused_with_its_panel() {
    let refused =
        |panels: &[Panel], figure: &FigureSpec| draw_figure(panels, figure).expect_err("a refusal").to_string();
    let one = [surface("s", 1.0)];
    let cases = [
        (refused(&[], &figure()), "panels holds 0 panels; it must hold 1 to 24"),
        (refused(&vec![one[0].clone(); 25], &figure()), "panels holds 25 panels"),
        (refused(&one, &FigureSpec { n_columns: Some(9), ..figure() }), "n_columns is 9; it must be 1 to 8"),
        (refused(&one, &FigureSpec { format: PlotFormat::Html, ..figure() }), "a figure is drawn as SVG, PNG or PDF"),
        (refused(&one, &FigureSpec { width: Some(0), ..figure() }), "width is 0 px"),
        (
            refused(&[one[0].clone(), panel("t", PlotKind::Curve, one[0].picture.clone())], &figure()),
            "panels[1]: a curve has 1 row",
        ),
        (
            refused(&[panel("t", PlotKind::Convexity, one[0].picture.clone())], &figure()),
            "panels[0]: kind is convexity map, which is drawn of the curvature",
        ),
    ];
    for (error, part) in cases {
        assert!(error.contains(part), "{error}");
    }
    let map = curvature(|_, _| 0.1);
    let spec = PlotSpec::new(PlotKind::Convexity);
    let cases = [
        (PlotSpec::new(PlotKind::Heatmap), "curvature is drawn as a convexity map"),
        (PlotSpec { format: PlotFormat::Gif, ..spec.clone() }, "a convexity map is drawn as SVG, PNG, PDF or HTML"),
        (PlotSpec { scale: LossScale::Log, ..spec.clone() }, "a convexity map is linear"),
    ];
    for (spec, part) in cases {
        let error = draw_convexity(&map, &spec).expect_err("a refusal").to_string();
        assert!(error.contains(part), "{error}");
    }
    let nothing = curvature(|_, _| f64::NAN);
    assert!(matches!(draw_convexity(&nothing, &spec), Err(PlotError::NoCurvature { n_points: 63 })));
}
