//! Several surfaces in one picture: one scale for all, bands, panels, and what is refused.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_core::{PointFlag, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{
    Layout, LossScale, NamedSurface, PlotFormat, PlotKind, PlotSpec, Spread, SurfacesSpec, draw_surfaces,
};

fn values(x: &[f64], y: &[f64], loss: impl Fn(f64, f64) -> f64) -> SurfaceValues {
    let mut main = SplitValues::unknown(Split::Train, x.len() * y.len());
    for (idx, (y, x)) in y.iter().flat_map(|y| x.iter().map(move |x| (*y, *x))).enumerate() {
        main.set(idx, PointValue { loss: loss(x, y), squared_error: 0.1, accuracy: 90.0 - 40.0 * x * x });
    }
    SurfaceValues { x: x.to_vec(), y: y.to_vec(), main, also: None }
}

fn axis(n_points: usize) -> Vec<f64> {
    (0..n_points).map(|idx| 2.0 * idx as f64 / (n_points - 1) as f64 - 1.0).collect()
}

fn curve(name: &str, height: f64) -> NamedSurface {
    NamedSurface { name: name.to_owned(), values: values(&axis(21), &[0.0], |x, _| 0.1 + height * x * x) }
}

fn bowl(name: &str, height: f64) -> NamedSurface {
    let values = values(&axis(21), &axis(21), |x, y| 0.1 + height * (x * x + y * y));
    NamedSurface { name: name.to_owned(), values }
}

fn several(layout: Layout) -> SurfacesSpec {
    SurfacesSpec { layout, has_accuracy: false, has_own_width: true }
}

fn svg(surfaces: &[NamedSurface], several: &SurfacesSpec, spec: &PlotSpec) -> String {
    String::from_utf8(draw_surfaces(surfaces, several, spec).expect("a picture")).expect("UTF-8")
}

fn says(svg: &str, text: &str) -> bool {
    svg.contains(&format!("aria-label=\"{text}\""))
}

fn count(svg: &str, text: &str) -> usize {
    svg.matches(&format!("aria-label=\"{text}\"")).count()
}

#[test]
fn curves_over_each_other_have_colours_and_names() {
    let spec = PlotSpec::new(PlotKind::Curve);
    let two = svg(&[curve("batch 128", 2.0), curve("batch 8192", 5.0)], &several(Layout::Overlay), &spec);
    assert!(says(&two, "batch 128") && says(&two, "batch 8192") && !says(&two, "accuracy (%)"));
    assert!(two.contains("stroke=\"#0072b2\"") && two.contains("stroke=\"#e69f00\""));
    let with_accuracy = SurfacesSpec { has_accuracy: true, ..several(Layout::Overlay) };
    let both = svg(&[curve("a", 2.0), curve("b", 5.0)], &with_accuracy, &spec);
    assert!(says(&both, "accuracy (%)") && both.contains("stroke-dasharray=\"5 3.5\""));
    let many: Vec<NamedSurface> = (1..=24).map(|idx| curve(&format!("seed {idx}"), f64::from(idx))).collect();
    let many = svg(&many, &several(Layout::Overlay), &spec);
    assert!((1..=24).all(|idx| says(&many, &format!("seed {idx}"))));
    // Each of the six colours comes four times, with dashes of its own.
    let of_first_color: Vec<&str> = many.lines().filter(|line| line.contains("stroke=\"#0072b2\"")).collect();
    for dashes in ["7 3", "2 2.5", "12 4"] {
        let dashed = of_first_color.iter().filter(|line| line.contains(&format!("stroke-dasharray=\"{dashes}\"")));
        assert_eq!(dashed.count(), 2, "{dashes}");
    }
}

#[test]
fn a_band_reaches_from_the_least_to_the_greatest() {
    let spec = PlotSpec::new(PlotKind::Curve);
    let curves = [2.0, 4.0, 4.0, 4.0, 6.0].map(|height| curve("repeat", height));
    let svg_of = |spread| svg(&curves, &several(Layout::Band(spread)), &spec);
    let range = svg_of(Spread::Range);
    assert!(says(&range, "mean of 5 curves") && says(&range, "least to greatest"));
    assert_eq!(range.matches("fill-opacity").count(), 1);
    let deviation = svg_of(Spread::Deviation);
    assert!(says(&deviation, "\u{b1}1 standard deviation"));
    // The band is narrower, the mean the same.
    let reach = |svg: &str| {
        let line = svg.lines().find(|line| line.contains("fill-opacity")).expect("a band");
        let points = line.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("points");
        let heights: Vec<f64> = points.split(' ').filter_map(|point| point.split_once(',')?.1.parse().ok()).collect();
        assert_eq!(heights.len(), 42);
        heights[41] - heights[0]
    };
    assert!(reach(&range) > 1.3 * reach(&deviation) && reach(&deviation) > 0.0);
    let log = svg(&curves, &several(Layout::Band(Spread::Range)), &PlotSpec { scale: LossScale::Log, ..spec });
    assert!(says(&log, "geometric mean of 5 curves"));
}

#[test]
fn a_band_is_broken_where_no_curve_is_and_counts_where_some_are() {
    let mut curves = [curve("a", 2.0), curve("b", 4.0)];
    for idx in [3, 10] {
        (curves[0].values.main.loss[idx], curves[0].values.main.flags[idx]) = (f64::NAN, PointFlag::Nan);
    }
    (curves[1].values.main.loss[10], curves[1].values.main.flags[10]) = (f64::NAN, PointFlag::Nan);
    let svg = svg(&curves, &several(Layout::Band(Spread::Range)), &PlotSpec::new(PlotKind::Curve));
    assert!(says(&svg, "2 points are without some of the curves") && says(&svg, "3 points not finite"));
    assert_eq!(svg.matches("fill-opacity").count(), 2);
}

#[test]
fn panels_have_one_scale() {
    for kind in [PlotKind::Contour, PlotKind::FilledContour, PlotKind::Heatmap, PlotKind::Surface] {
        let spec = PlotSpec::new(kind);
        let surfaces = [bowl("low", 1.0), bowl("middle", 2.0), bowl("high", 8.0)];
        let together = svg(&surfaces, &several(Layout::Panels(None)), &spec);
        assert!(["low", "middle", "high"].iter().all(|name| says(&together, name)), "{kind}");
        assert_eq!(count(&together, "loss (cross entropy, nats)"), 1, "one colour bar for {kind}");
        assert!(says(&together, "the checkpoint, at (0, 0)"));
    }
    // What is the greatest loss alone is not, beside a higher one.
    let spec = PlotSpec::new(PlotKind::Heatmap);
    let corners =
        |svg: &str| svg.lines().filter(|line| line.contains("#fde725")).map(|line| line.matches('M').count()).sum();
    let n_corners =
        |surfaces: &[NamedSurface]| -> usize { corners(&svg(surfaces, &several(Layout::Panels(None)), &spec)) };
    let alone = n_corners(&[bowl("low", 1.0)]);
    assert!(alone > 0);
    assert_eq!(n_corners(&[bowl("low", 1.0), bowl("high", 8.0)]), alone, "only the higher one has the last colour");
}

#[test]
fn alike_panels_share_their_axes_and_others_have_their_own() {
    let spec = PlotSpec::new(PlotKind::FilledContour);
    let four = [bowl("a", 1.0), bowl("b", 2.0), bowl("c", 3.0), bowl("d", 4.0)];
    let alike = svg(&four, &several(Layout::Panels(Some(2))), &spec);
    assert_eq!(count(&alike, "\u{2212}1.0"), 4, "two below and two at the left");
    let mut other = four;
    other[3].values = values(&[-0.5, 0.0, 0.5], &axis(21), |x, y| 0.1 + x * x + y * y);
    let own = svg(&other, &several(Layout::Panels(Some(2))), &spec);
    assert_eq!(count(&own, "\u{2212}1.0"), 7);
    assert_eq!(count(&own, "coefficient of direction x"), 1);
}

#[test]
fn panels_of_curves_share_both_axes() {
    let spec = PlotSpec::new(PlotKind::Curve);
    let with_accuracy = SurfacesSpec { has_accuracy: true, ..several(Layout::Panels(None)) };
    let svg = svg(&[curve("a", 2.0), curve("b", 5.0)], &with_accuracy, &spec);
    assert_eq!((count(&svg, "accuracy (%)"), count(&svg, "loss (cross entropy, nats)")), (1, 1));
}

#[test]
fn what_is_left_out_is_said_of_each() {
    let mut partial = bowl("half done", 2.0);
    for idx in 0..200 {
        (partial.values.main.loss[idx], partial.values.main.flags[idx]) = (f64::NAN, PointFlag::Never);
    }
    let svg = svg(&[bowl("done", 2.0), partial], &several(Layout::Panels(None)), &PlotSpec::new(PlotKind::Contour));
    assert!(says(&svg, "half done: 200 points not computed yet"));
}

#[test]
fn every_format_can_be_written() {
    for format in [PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf] {
        for kind in [PlotKind::Contour, PlotKind::Heatmap, PlotKind::FilledContour, PlotKind::Surface] {
            let spec = PlotSpec { format, pixel_ratio: 0.5, ..PlotSpec::new(kind) };
            let drawn = draw_surfaces(&[bowl("a", 1.0), bowl("b", 2.0)], &several(Layout::Panels(None)), &spec);
            assert!(!drawn.expect("a picture").is_empty());
        }
    }
}

#[test]
fn refusals_say_what_would_be_right() {
    let curve_spec = PlotSpec::new(PlotKind::Curve);
    let refusal = |surfaces: &[NamedSurface], layout, spec: &PlotSpec| {
        draw_surfaces(surfaces, &several(layout), spec).expect_err("a refusal").to_string()
    };
    let (a, b) = (curve("a", 1.0), curve("b", 2.0));
    let band = Layout::Band(Spread::Range);
    assert!(refusal(&[], Layout::Overlay, &curve_spec).contains("surfaces holds 0 surfaces; it must hold 1 to 24"));
    assert!(refusal(&vec![a.clone(); 25], Layout::Overlay, &curve_spec).contains("25 surfaces"));
    assert!(refusal(std::slice::from_ref(&a), band, &curve_spec).contains("a band is of 2 or more"));
    let finer = NamedSurface { values: values(&axis(31), &[0.0], |x, _| x * x), ..b.clone() };
    assert_eq!(
        refusal(&[a.clone(), finer], band, &curve_spec),
        "surfaces[1] is over -1:1:31, but surfaces[0] over -1:1:21; a band needs one grid: choose overlay"
    );
    let mixed = refusal(&[a.clone(), bowl("c", 1.0)], Layout::Overlay, &curve_spec);
    assert!(mixed.contains("surfaces[1]: a curve has 1 row, this surface has 21 rows"), "{mixed}");
    let contour = PlotSpec::new(PlotKind::Contour);
    assert!(refusal(&[bowl("c", 1.0)], Layout::Overlay, &contour).contains("choose panels"));
    assert!(
        refusal(&[bowl("c", 1.0)], Layout::Panels(Some(9)), &contour).contains("n_columns is 9; it must be 1 to 8")
    );
    for format in [PlotFormat::Html, PlotFormat::Gif, PlotFormat::Vtp] {
        let spec = PlotSpec { format, ..PlotSpec::new(PlotKind::Contour) };
        assert!(refusal(&[bowl("c", 1.0)], Layout::Panels(None), &spec).contains("drawn as SVG, PNG or PDF"));
    }
    let narrow = vec![a; 24];
    let wide = PlotSpec { width: 8192, pixel_ratio: 1.0, format: PlotFormat::Png, ..curve_spec };
    let given = SurfacesSpec { has_own_width: false, ..several(Layout::Panels(Some(1))) };
    let error = draw_surfaces(&narrow, &given, &wide).expect_err("too high").to_string();
    assert!(error.contains("choose more columns or a smaller width"), "{error}");
}
