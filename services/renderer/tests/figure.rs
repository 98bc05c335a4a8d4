//! Figures of several panels, and convexity maps: what they show, on which scale, and what is refused.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_core::{Curvature, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{
    FigureSpec, Layout, LossScale, NamedSurface, Palette, Panel, Path, PathPoint, Picture, PlotError, PlotFormat,
    PlotKind, PlotSpec, Run, RunEpoch, RunKind, RunStep, SurfacesSpec, Theme, draw_convexity, draw_figure, draw_runs,
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

/// How often an axis or a colour bar has a tick with this label.
fn ticks(svg: &str, label: &str) -> usize {
    svg.matches(&format!("aria-label=\"{label}\"")).count()
}

fn shared() -> FigureSpec {
    FigureSpec { has_shared_scale: true, ..figure() }
}

#[test]
fn a_shared_scale_is_that_of_all_panels() {
    // The greatest losses are 2.1 and 8.1: alone, each bar ends with its own, and each map uses all colours.
    let panels = [surface("low", 1.0), surface("high", 4.0)];
    let cells_of_last_color = |svg: &str| svg.matches("fill=\"#fde725\"").count() - panels.len();
    let (apart, together) = (svg(&panels, &figure()), svg(&panels, &shared()));
    assert_eq!((cells_of_last_color(&apart), cells_of_last_color(&together)), (2, 1));
    assert_eq!((ticks(&apart, "8"), ticks(&together, "8")), (1, 2));

    // The contours below a path are those of the surface beside it.
    let first = |svg: String| svg.split("<g transform=\"translate(646 ").next().map(str::to_owned);
    let path = [trajectory("path"), surface("high", 40.0)];
    assert_ne!(first(svg(&path, &figure())), first(svg(&path, &shared())));

    // Logarithms have a shared scale too.
    let log = panels.clone().map(|panel| Panel { spec: PlotSpec { scale: LossScale::Log, ..panel.spec }, ..panel });
    assert_eq!(ticks(&svg(&log, &shared()), "5"), 2);
}

#[test]
fn a_shared_scale_leaves_what_is_not_drawn_and_what_has_its_own_alone() {
    let mut values = bowl(1.0, 11);
    let high = bowl(40.0, 11).main;
    values.also = Some(SplitValues { split: Split::Test, ..high });
    let with_unseen = panel("with a second split", PlotKind::Heatmap, Picture::Surface(values));
    assert_eq!(ticks(&svg(&[with_unseen, surface("low", 1.0)], &shared()), "2.0"), 2);

    let x = axis(5);
    let mut main = SplitValues::unknown(Split::Train, 5);
    (0..5).for_each(|idx| main.set(idx, PointValue { loss: 100.0, squared_error: 0.0, accuracy: 10.0 }));
    let curve = SurfaceValues { x, y: vec![0.0], main, also: None };
    let named = NamedSurface { name: "curve".to_owned(), values: curve };
    let several = SurfacesSpec { layout: Layout::Overlay, has_accuracy: false, has_own_width: false };
    let overlay = panel("overlay", PlotKind::Curve, Picture::Surfaces(vec![named], several));
    let both = svg(&[surface("low", 1.0), overlay], &shared());
    assert!(ticks(&both, "2.0") == 1 && ticks(&both, "100") > 0);
}

#[test]
fn a_shared_scale_is_clipped_where_all_panels_are() {
    let limited = |height, loss_max| {
        let panel = surface("s", height);
        Panel { spec: PlotSpec { loss_max, ..panel.spec }, picture: panel.picture }
    };
    let all = svg(&[limited(1.0, Some(1.5)), limited(4.0, Some(2.0))], &shared());
    assert!(all.contains("clipped above 2 (") && !all.contains("clipped above 1.5"));
    let one = svg(&[limited(1.0, None), limited(4.0, Some(2.0))], &shared());
    assert!(!one.contains("clipped above"));
    // Curves end at one height, be they clipped or not.
    let curve = |height: f64| {
        let x = axis(11);
        let mut main = SplitValues::unknown(Split::Train, 11);
        for (idx, x) in x.iter().enumerate() {
            main.set(idx, PointValue { loss: 0.1 + height * x * x, squared_error: 0.0, accuracy: f64::NAN });
        }
        let values = SurfaceValues { x, y: vec![0.0], main, also: None };
        let panel = panel("c", PlotKind::Curve, Picture::Surface(values));
        Panel { spec: PlotSpec { loss_max: Some(2.0), ..panel.spec }, ..panel }
    };
    let curves = svg(&[curve(1.0), curve(9.0)], &shared());
    // The frames of both, and in them the lines at a loss of 1.
    let guides: Vec<&str> = curves
        .lines()
        .filter(|line| line.contains("stroke=\"#e6e6e6\""))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert_eq!(guides.len() % 2, 0);
    assert_eq!(guides[..guides.len() / 2], guides[guides.len() / 2..]);
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
    let with = |spec| Panel { spec, ..one[0].clone() };
    let other_palette = with(PlotSpec { palette: Palette::Magma, ..one[0].spec.clone() });
    let unlimited = with(PlotSpec { loss_max: Some(f64::NAN), ..one[0].spec.clone() });
    let cases = [
        (refused(&[], &figure()), "panels holds 0 panels; it must hold 1 to 24"),
        (refused(&vec![one[0].clone(); 25], &figure()), "panels holds 25 panels"),
        (refused(&one, &FigureSpec { n_columns: Some(9), ..figure() }), "n_columns is 9; it must be 1 to 8"),
        (refused(&one, &FigureSpec { format: PlotFormat::Html, ..figure() }), "a figure is drawn as SVG, PNG or PDF"),
        (refused(&one, &FigureSpec { width: Some(0), ..figure() }), "width is 0 px"),
        (
            refused(&[one[0].clone(), panel("t", PlotKind::Curve, one[0].picture.clone())], &figure()),
            "panels[1].surface: a curve has 1 row",
        ),
        (refused(&[one[0].clone(), other_palette], &shared()), "panels[1] has another scale or palette than the first"),
        (refused(&[unlimited], &shared()), "panels[0].surface: loss_max is NaN"),
        (
            refused(&[panel("t", PlotKind::Convexity, one[0].picture.clone())], &figure()),
            "panels[0].surface: kind is convexity map, which is drawn of the curvature",
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
        (PlotSpec { loss_max: Some(1.0), ..spec.clone() }, "a convexity map has no losses, and ends at 0.5"),
    ];
    for (spec, part) in cases {
        let error = draw_convexity(&map, &spec).expect_err("a refusal").to_string();
        assert!(error.contains(part), "{error}");
    }
    let nothing = curvature(|_, _| f64::NAN);
    assert!(matches!(draw_convexity(&nothing, &spec), Err(PlotError::NoCurvature { n_points: 63 })));
}
