//! What pictures hold, of landscapes whose shape is known.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_core::{PointFlag, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{
    Camera, LossScale, Palette, PlotError, PlotFormat, PlotKind, PlotSpec, Projection, Theme, draw,
};
use resvg::tiny_skia::Pixmap;
use usvg::{Options, Tree};

const SURFACE_KINDS: [PlotKind; 4] = [PlotKind::Contour, PlotKind::Heatmap, PlotKind::FilledContour, PlotKind::Surface];

fn surface(n_columns: usize, n_rows: usize, loss: impl Fn(f64, f64) -> f64) -> SurfaceValues {
    let axis = |count: usize| -> Vec<f64> {
        (0..count).map(|idx| if count == 1 { 0.0 } else { 2.0 * idx as f64 / (count - 1) as f64 - 1.0 }).collect()
    };
    let (x, y) = (axis(n_columns), axis(n_rows));
    let mut main = SplitValues::unknown(Split::Train, n_rows * n_columns);
    let losses = y.iter().flat_map(|y| x.iter().map(|x| loss(*x, *y)));
    for (idx, loss) in losses.enumerate() {
        main.set(idx, PointValue { loss, squared_error: 0.1, accuracy: 100.0 * (-loss).exp() });
    }
    SurfaceValues { x, y, main, also: None }
}

fn bowl() -> SurfaceValues {
    surface(21, 21, |x, y| 0.1 + x * x + 2.0 * y * y)
}

fn curve() -> SurfaceValues {
    surface(51, 1, |x, _| 0.1 + x * x)
}

fn values_of(kind: PlotKind) -> SurfaceValues {
    if kind == PlotKind::Curve { curve() } else { bowl() }
}

fn svg(values: &SurfaceValues, spec: &PlotSpec) -> String {
    String::from_utf8(draw(values, spec).expect("a picture")).expect("UTF-8")
}

fn png(values: &SurfaceValues, spec: &PlotSpec) -> Pixmap {
    let spec = PlotSpec { format: PlotFormat::Png, ..spec.clone() };
    Pixmap::decode_png(&draw(values, &spec).expect("a picture")).expect("a PNG")
}

fn refusal(values: &SurfaceValues, spec: &PlotSpec) -> String {
    draw(values, spec).expect_err("a refusal").to_string()
}

/// Every text of the picture, once each time it is drawn.
fn texts(svg: &str) -> Vec<&str> {
    svg.split("aria-label=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

fn share_of(pixmap: &Pixmap, is_wanted: impl Fn(u8, u8, u8) -> bool) -> f64 {
    let n_wanted = pixmap.pixels().iter().filter(|pixel| is_wanted(pixel.red(), pixel.green(), pixel.blue())).count();
    n_wanted as f64 / pixmap.pixels().len() as f64
}

#[test]
fn equal_requests_give_equal_bytes() {
    for kind in PlotKind::ALL {
        for format in [PlotFormat::Svg, PlotFormat::Png] {
            let spec = PlotSpec { format, width: 200, ..PlotSpec::new(kind) };
            let bytes = draw(&values_of(kind), &spec).expect("a picture");
            assert_eq!(bytes, draw(&values_of(kind), &spec).expect("a picture"));
        }
    }
}

#[test]
fn the_svg_needs_no_font_and_describes_itself() {
    for kind in PlotKind::ALL {
        let spec = PlotSpec { title: Some("resnet20 <&> \"friends\"\u{1}".to_owned()), ..PlotSpec::new(kind) };
        let svg = svg(&values_of(kind), &spec);
        assert!(!svg.contains("<text") && !svg.contains("font"));
        assert!(svg.contains("<title>resnet20 &lt;&amp;&gt; &quot;friends&quot; </title>"));
        assert!(svg.contains("<desc>") && svg.contains("from 0.1 to"));
        let tree = Tree::from_str(&svg, &Options::default()).expect("an SVG");
        assert_eq!(tree.size().width(), 640.0);
        assert!(tree.size().height() > 300.0);
    }
}

#[test]
fn the_png_has_the_size_asked_for_and_ink_all_over() {
    for kind in PlotKind::ALL {
        let pixmap = png(&values_of(kind), &PlotSpec { width: 320, ..PlotSpec::new(kind) });
        assert_eq!(pixmap.width(), 640);
        let larger = png(&values_of(kind), &PlotSpec { width: 320, pixel_ratio: 3.0, ..PlotSpec::new(kind) });
        assert_eq!(larger.width(), 960);
        assert!(larger.height().abs_diff(pixmap.height() * 3 / 2) <= 1);
        let is_colored = |red: u8, green: u8, blue: u8| red.max(green).max(blue) - red.min(green).min(blue) > 40;
        let colored = share_of(&pixmap, is_colored);
        let wanted = match kind {
            PlotKind::Heatmap | PlotKind::FilledContour | PlotKind::Convexity => 0.4..0.9,
            PlotKind::Surface => 0.1..0.6,
            PlotKind::Curve | PlotKind::Contour => 0.004..0.2,
        };
        assert!(wanted.contains(&colored), "{kind}: {colored}");
    }
}

#[test]
fn nothing_is_drawn_at_the_edge_of_the_picture() {
    let long = "a very long label ".repeat(20);
    for kind in PlotKind::ALL {
        let labels = (long.clone(), long.clone(), long.clone(), long.clone());
        let (x_label, y_label, loss_label, accuracy_label) = labels;
        let title = Some(long.clone());
        let spec = PlotSpec { title, x_label, y_label, loss_label, accuracy_label, ..PlotSpec::new(kind) };
        let pixmap = png(&values_of(kind), &PlotSpec { pixel_ratio: 1.0, ..spec });
        let (width, height) = (pixmap.width(), pixmap.height());
        for (idx, pixel) in pixmap.pixels().iter().enumerate() {
            let (x, y) = (idx as u32 % width, idx as u32 / width);
            let edge = x.min(y).min(width - 1 - x).min(height - 1 - y);
            assert!(edge >= 6 || pixel.red() == 255, "{kind}: ink at ({x}, {y})");
        }
    }
}

#[test]
fn contour_lines_are_labelled_with_their_losses() {
    let svg = svg(&bowl(), &PlotSpec::new(PlotKind::Contour));
    let texts = texts(&svg);
    for level in ["0.4", "1", "1.6", "2"] {
        assert!(texts.contains(&level), "{level} in {texts:?}");
    }
}

#[test]
fn the_scale_decides_the_levels() {
    let steep = surface(41, 41, |x, y| 10_f64.powf(-2.0 + 3.0 * (x * x + y * y)));
    let svg = svg(&steep, &PlotSpec { scale: LossScale::Log, ..PlotSpec::new(PlotKind::Contour) });
    for level in ["0.1", "1", "10", "100"] {
        assert!(texts(&svg).contains(&level), "{level}");
    }
}

#[test]
fn rows_rise_upwards() {
    let rising = surface(11, 11, |_, y| 1.0 + y);
    let pixmap = png(&rising, &PlotSpec::new(PlotKind::Heatmap));
    let column = pixmap.width() / 2;
    let pixel = |y: u32| pixmap.pixel(column, y).expect("inside");
    // Viridis goes from violet to yellow.
    assert!(pixel(pixmap.height() / 8).green() > 180);
    assert!(pixel(pixmap.height() * 3 / 4).green() < 80);
}

#[test]
fn what_cannot_be_drawn_is_shown_and_counted() {
    let mut values = bowl();
    for (idx, flag) in [(0, PointFlag::Nan), (1, PointFlag::PositiveInfinity), (440, PointFlag::Never)] {
        (values.main.loss[idx], values.main.flags[idx]) = (f64::NAN, flag);
    }
    for kind in SURFACE_KINDS {
        let svg = svg(&values, &PlotSpec::new(kind));
        assert!(texts(&svg).contains(&"2 points not finite"));
        assert!(texts(&svg).contains(&"1 point not computed yet"));
        let grey =
            share_of(&png(&values, &PlotSpec::new(kind)), |red, green, blue| (red, green, blue) == (192, 192, 192));
        assert!(grey > 0.001, "{kind}: {grey}");
    }
}

#[test]
fn a_dark_theme_is_light_on_dark() {
    for kind in PlotKind::ALL {
        let spec = PlotSpec { theme: Theme::Dark, width: 320, ..PlotSpec::new(kind) };
        let pixmap = png(&values_of(kind), &spec);
        let corner = pixmap.pixel(2, 2).expect("inside");
        assert!(corner.red() < 40 && corner.green() < 40 && corner.blue() < 40);
        let light = share_of(&pixmap, |red, green, blue| red.min(green).min(blue) > 180);
        assert!(light > 0.0005 && light < 0.2, "{kind}: {light}");
    }
}

#[test]
fn palettes_differ_and_keep_their_ends() {
    let of = |palette| svg(&bowl(), &PlotSpec { palette, ..PlotSpec::new(PlotKind::Heatmap) });
    for (palette, least, greatest) in [
        (Palette::Viridis, "#440154", "#fde725"),
        (Palette::Cividis, "#00224e", "#fee838"),
        (Palette::Magma, "#000004", "#fcfdbf"),
    ] {
        assert!(of(palette).contains(least) && of(palette).contains(greatest), "{palette}");
    }
}

#[test]
fn the_camera_decides_what_is_seen() {
    let of = |camera| svg(&bowl(), &PlotSpec { camera, ..PlotSpec::new(PlotKind::Surface) });
    let default = of(Camera::default());
    assert!(default.contains("azimuth \u{2212}60 and elevation 30"));
    assert_ne!(default, of(Camera { azimuth: 30.0, ..Camera::default() }));
    assert_ne!(default, of(Camera { elevation: 60.0, ..Camera::default() }));
    assert_ne!(default, of(Camera { projection: Projection::Orthographic, ..Camera::default() }));
}

#[test]
fn a_fine_surface_becomes_pixels_within_the_picture() {
    let shapes = svg(&surface(61, 61, |x, y| x * x + y * y), &PlotSpec::new(PlotKind::Surface));
    assert!(!shapes.contains("<image") && shapes.matches("stroke-linejoin=\"round\"/>").count() > 3600);
    let pixels = svg(&surface(62, 62, |x, y| x * x + y * y), &PlotSpec::new(PlotKind::Surface));
    assert_eq!(pixels.matches("<image").count(), 1);
    // Alike for the eye.
    let spec = PlotSpec { pixel_ratio: 1.0, ..PlotSpec::new(PlotKind::Surface) };
    let [a, b] = [61, 62].map(|n| png(&surface(n, n, |x, y| x * x + y * y), &spec));
    let n_far = a.data().iter().zip(b.data()).filter(|(a, b)| a.abs_diff(**b) > 40).count();
    assert!((n_far as f64) < 0.01 * a.data().len() as f64, "{n_far}");
}

#[test]
fn a_log_scale_shows_what_has_no_logarithm() {
    let values = surface(21, 21, |x, y| x * x + y * y - 0.1);
    for kind in SURFACE_KINDS {
        let svg = svg(&values, &PlotSpec { scale: LossScale::Log, ..PlotSpec::new(kind) });
        assert!(texts(&svg).iter().any(|text| text.ends_with("not above 0, not drawable on a log scale")));
    }
    let negative = surface(3, 3, |_, _| -1.0);
    let spec = PlotSpec { scale: LossScale::Log, ..PlotSpec::new(PlotKind::Heatmap) };
    assert!(refusal(&negative, &spec).contains("use the linear scale"));
}

#[test]
fn clipping_is_said() {
    for kind in PlotKind::ALL {
        let mut values = values_of(kind);
        values.main.loss[0] = 1e4;
        let automatic = svg(&values, &PlotSpec::new(kind));
        assert!(texts(&automatic).iter().any(|text| text.ends_with(", up to 10000)")), "{:?}", texts(&automatic));
        let chosen = svg(&values, &PlotSpec { loss_max: Some(0.75), ..PlotSpec::new(kind) });
        assert!(texts(&chosen).iter().any(|text| text.starts_with("loss clipped above 0.75 (")));
    }
    let spec = PlotSpec { loss_max: Some(0.0), ..PlotSpec::new(PlotKind::Curve) };
    assert!(matches!(draw(&curve(), &spec), Err(PlotError::LossMaxTooLow { .. })));
}

#[test]
fn a_gap_in_a_curve_is_never_bridged() {
    let n_lines = |values: &SurfaceValues| {
        let svg = svg(values, &PlotSpec::new(PlotKind::Curve));
        // The second line in the loss colour is the legend's sample; ticks and samples are the shortest paths.
        let lines = svg.lines().filter(|line| line.contains("stroke=\"#1f4fa3\" stroke-width=\"1.7\""));
        (lines.count() - 1, svg.matches("<circle").count(), svg.contains("point not finite"))
    };
    let mut values = curve();
    assert_eq!(n_lines(&values), (1, 0, false));
    (values.main.loss[20], values.main.flags[20]) = (f64::NAN, PointFlag::Nan);
    assert_eq!(n_lines(&values), (2, 0, true));
    (values.main.loss[22], values.main.flags[22]) = (f64::NAN, PointFlag::Nan);
    // The point between two gaps is a dot, of the loss and of the accuracy.
    assert_eq!(n_lines(&values).1, 2);
}

#[test]
fn a_second_split_is_dashed_and_has_its_own_gaps() {
    let mut values = curve();
    let solid = svg(&values, &PlotSpec::new(PlotKind::Curve));
    assert!(!solid.contains("stroke-dasharray=\"5 3.5\""), "{solid}");
    let mut also = surface(51, 1, |x, _| if x < -0.95 { f64::NAN } else { 7.0 + x * x }).main;
    also.split = Split::Test;
    values.also = Some(also);
    let both = svg(&values, &PlotSpec::new(PlotKind::Curve));
    // Loss, accuracy, and the sample of the legend.
    assert_eq!(both.matches("stroke-dasharray=\"5 3.5\"").count(), 3, "{both}");
    assert!(both.contains("test: 2 points not finite"), "{both}");
    assert!(both.contains("from 0.1 to 8"), "the axis has room for both: {both}");
    values.main.loss[25] = f64::NAN;
    values.main.flags[25] = PointFlag::Nan;
    assert!(svg(&values, &PlotSpec::new(PlotKind::Curve)).contains("train: 1 point not finite"));
    // What clips one split clips neither where the other reaches beyond.
    let clipped = |loss_max| svg(&values, &PlotSpec { loss_max: Some(loss_max), ..PlotSpec::new(PlotKind::Curve) });
    assert!(clipped(7.5).contains("loss clipped above 7.5"), "{}", clipped(7.5));
    assert!(!clipped(9.0).contains("clipped"));
    let surface = SurfaceValues { also: Some(bowl().main), ..bowl() };
    assert_eq!(svg(&surface, &PlotSpec::new(PlotKind::Contour)), svg(&bowl(), &PlotSpec::new(PlotKind::Contour)));
}

#[test]
fn a_kind_that_does_not_suit_the_surface_is_refused_with_the_right_one() {
    assert!(refusal(&bowl(), &PlotSpec::new(PlotKind::Curve)).contains("draw a contour or a heatmap"));
    for kind in SURFACE_KINDS {
        assert!(refusal(&curve(), &PlotSpec::new(kind)).ends_with("draw a curve"));
        assert!(refusal(&surface(1, 5, |_, _| 1.0), &PlotSpec::new(kind)).contains("at least 2 columns"));
    }
}

#[test]
fn bad_fields_are_named() {
    let spec = PlotSpec::new(PlotKind::Curve);
    let png = PlotSpec { format: PlotFormat::Png, ..spec.clone() };
    for (bad, field) in [
        (PlotSpec { width: 0, ..spec.clone() }, "width is 0"),
        (PlotSpec { width: 8193, ..spec.clone() }, "width is 8193"),
        (PlotSpec { pixel_ratio: f64::NAN, ..spec.clone() }, "pixel_ratio is NaN"),
        (PlotSpec { width: 5000, ..png }, "width 5000 times pixel_ratio 2"),
        (PlotSpec { loss_max: Some(f64::INFINITY), ..spec.clone() }, "loss_max is inf"),
        (PlotSpec { camera: Camera { azimuth: 361.0, ..Camera::default() }, ..spec.clone() }, "azimuth is 361"),
        (PlotSpec { camera: Camera { elevation: -1.0, ..Camera::default() }, ..spec.clone() }, "elevation is -1"),
        (PlotSpec { format: PlotFormat::Gif, width: 2049, ..spec.clone() }, "width is 2049 px; a GIF"),
        (PlotSpec { format: PlotFormat::Stl, ..spec.clone() }, "format is STL"),
    ] {
        assert!(refusal(&curve(), &bad).starts_with(field));
    }
    let mut values = curve();
    values.main.loss.pop();
    assert!(refusal(&values, &spec).starts_with("loss holds 50 values"));
    let mut values = curve();
    values.x.swap(3, 4);
    assert!(refusal(&values, &spec).contains("axis x"));
    assert!(matches!(draw(&SurfaceValues::default(), &spec), Err(PlotError::NoPoints)));
}

#[test]
fn odd_surfaces_give_a_picture_or_a_reason_but_no_panic() {
    let losses: [fn(f64, f64) -> f64; 9] = [
        |_, _| 2.3,
        |_, _| 0.0,
        |_, _| f64::NAN,
        |x, _| if x < 0.0 { f64::NEG_INFINITY } else { 1.0 },
        |x, y| if x + y > 0.5 { f64::MAX } else { f64::MIN },
        |x, y| if x + y > 0.5 { 5e-324 } else { 1e308 },
        |x, _| 1e16 + x,
        |x, y| 1e-300 * (2.0 + x * y),
        |x, y| (x * 1e3).sin() * (y * 1e3).cos(),
    ];
    let shapes = [(1, 1), (2, 1), (3, 1), (51, 1), (2, 2), (2, 9), (9, 2), (1, 4), (31, 31)];
    for loss in losses {
        for (n_columns, n_rows) in shapes {
            for kind in PlotKind::ALL {
                for scale in [LossScale::Linear, LossScale::Log] {
                    let spec = PlotSpec { scale, width: 64, ..PlotSpec::new(kind) };
                    match draw(&surface(n_columns, n_rows, loss), &spec) {
                        Ok(svg) => {
                            let svg = String::from_utf8(svg).expect("UTF-8");
                            let odd = svg.lines().find(|line| line.contains("NaN") || line.contains("inf "));
                            assert_eq!(odd, None, "{kind} {n_columns} x {n_rows}");
                            Tree::from_str(&svg, &Options::default()).expect("an SVG");
                        }
                        Err(error) => assert!(!error.to_string().is_empty()),
                    }
                }
            }
        }
    }
}
