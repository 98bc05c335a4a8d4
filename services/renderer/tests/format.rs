//! Files other than SVG and PNG: what they hold, and when they are refused.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_core::{PointFlag, PointValue, Split, SplitValues, SurfaceValues};
use relief_renderer::plot::{LossScale, PlotFormat, PlotKind, PlotSpec, draw};

/// A surface of 9 x 7 points, with one gap of a point.
fn surface() -> SurfaceValues {
    let x: Vec<f64> = (0..9).map(|idx| f64::from(idx) / 4.0 - 1.0).collect();
    let y: Vec<f64> = (0..7).map(|idx| f64::from(idx) / 3.0 - 1.0).collect();
    let mut main = SplitValues::unknown(Split::Train, x.len() * y.len());
    let losses = y.iter().flat_map(|y| x.iter().map(move |x| 0.5 + x * x + 2.0 * y * y));
    for (idx, loss) in losses.enumerate() {
        main.set(idx, PointValue { loss, squared_error: 0.1, accuracy: 90.0 });
    }
    (main.loss[20], main.flags[20]) = (f64::NAN, PointFlag::Nan);
    SurfaceValues { x, y, main, also: None }
}

fn curve() -> SurfaceValues {
    let surface = surface();
    let mut main = SplitValues::unknown(Split::Train, 9);
    for (idx, x) in surface.x.iter().enumerate() {
        main.set(idx, PointValue { loss: 1.0 + x * x, squared_error: 0.1, accuracy: 90.0 });
    }
    SurfaceValues { x: surface.x, y: vec![0.0], main, also: None }
}

fn of(kind: PlotKind, format: PlotFormat) -> PlotSpec {
    PlotSpec { format, ..PlotSpec::new(kind) }
}

fn text(kind: PlotKind, format: PlotFormat) -> String {
    let values = if kind == PlotKind::Curve { curve() } else { surface() };
    String::from_utf8(draw(&values, &of(kind, format)).expect("a file")).expect("UTF-8")
}

#[test]
fn an_obj_has_the_cells_whose_corners_are_known() {
    let obj = text(PlotKind::Surface, PlotFormat::Obj);
    let vertices: Vec<Vec<f64>> = obj
        .lines()
        .filter_map(|line| line.strip_prefix("v "))
        .map(|line| line.split(' ').map(|value| value.parse().expect("a number")).collect())
        .collect();
    let faces: Vec<&str> = obj.lines().filter_map(|line| line.strip_prefix("f ")).collect();
    assert_eq!((vertices.len(), faces.len()), (62, 8 * 6 - 4));
    let corners =
        faces.iter().flat_map(|face| face.split(' ')).map(|corner| corner.parse::<usize>().expect("an index"));
    assert!(corners.into_iter().all(|corner| (1..=62).contains(&corner)));
    // From 0 to half of the longer side.
    let heights = vertices.iter().map(|vertex| vertex[2]);
    assert_eq!(heights.clone().fold(f64::INFINITY, f64::min), 0.0);
    assert!((heights.fold(0.0, f64::max) - 1.0).abs() < 1e-6);
}

#[test]
fn an_stl_has_two_triangles_for_each_cell_that_face_upwards() {
    let stl = draw(&surface(), &of(PlotKind::Surface, PlotFormat::Stl)).expect("a file");
    let n_triangles = u32::from_le_bytes(stl[80..84].try_into().expect("4 bytes")) as usize;
    assert_eq!(n_triangles, 2 * 44);
    assert_eq!(stl.len(), 84 + 50 * n_triangles);
    assert!(!stl.starts_with(b"solid"));
    for triangle in stl[84..].chunks(50) {
        let value = |idx: usize| f32::from_le_bytes(triangle[4 * idx..4 * idx + 4].try_into().expect("4 bytes"));
        let length = (0..3).map(|idx| value(idx) * value(idx)).sum::<f32>();
        assert!((length - 1.0).abs() < 1e-5 && value(2) > 0.0);
    }
}

#[test]
fn a_vtp_is_xml_with_the_values_at_points_and_cells() {
    let vtp = text(PlotKind::Surface, PlotFormat::Vtp);
    assert!(vtp.contains("NumberOfPoints=\"62\"") && vtp.contains("NumberOfPolys=\"44\""));
    for name in ["loss", "accuracy", "log_loss"] {
        assert_eq!(vtp.matches(&format!("Name=\"{name}\"")).count(), 2, "at points and at cells");
    }
    let options = usvg::roxmltree::ParsingOptions::default();
    let document = usvg::roxmltree::Document::parse_with_options(&vtp, options).expect("XML");
    let data = document.descendants().find(|node| node.has_tag_name("AppendedData")).and_then(|node| node.text());
    let data = data.expect("appended data").trim().trim_start_matches('_');
    let offsets: Vec<usize> = document
        .descendants()
        .filter_map(|node| node.attribute("offset"))
        .map(|offset| offset.parse().expect("a number"))
        .collect();
    assert_eq!(offsets.len(), 9);
    assert!(offsets.iter().all(|offset| *offset < data.len() && offset.is_multiple_of(4)));
}

#[test]
fn a_pdf_is_one_page_of_the_picture_s_size() {
    for kind in PlotKind::ALL {
        let values = if kind == PlotKind::Curve { curve() } else { surface() };
        let pdf = draw(&values, &of(kind, PlotFormat::Pdf)).expect("a file");
        assert!(pdf.starts_with(b"%PDF-") && pdf.trim_ascii_end().ends_with(b"%%EOF"));
        let text = String::from_utf8_lossy(&pdf);
        // 640 pixels at 96 to the inch are 480 points.
        assert!(text.contains("/MediaBox [0 0 480 "), "{kind}");
        assert_eq!(text.matches("/Type /Page\n").count(), 1, "{kind}");
    }
}

#[test]
fn a_page_needs_nothing_else_and_is_not_broken_by_a_title() {
    for kind in PlotKind::ALL {
        let values = if kind == PlotKind::Curve { curve() } else { surface() };
        let title = "</script><script>alert(1)</script> {data} & {script}".to_owned();
        let spec = PlotSpec { title: Some(title.clone()), x_label: title, ..of(kind, PlotFormat::Html) };
        let page = String::from_utf8(draw(&values, &spec).expect("a file")).expect("UTF-8");
        assert_eq!(page.matches("<script").count(), 2, "{kind}");
        assert_eq!(page.matches("</script>").count(), 2, "{kind}");
        assert!(page.contains("default-src 'none'"));
        for loader in ["src=", "import ", "fetch(", "XMLHttpRequest", "<link", "url("] {
            assert!(!page.contains(loader), "{kind}: {loader}");
        }
        let data = page.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
        let data: serde_json::Value = serde_json::from_str(data.expect("data")).expect("JSON");
        assert_eq!(data["x"].as_array().map(Vec::len), Some(9));
    }
}

#[test]
fn an_animation_turns_once_in_pictures_of_one_size() {
    let spec = PlotSpec { width: 200, ..of(PlotKind::Surface, PlotFormat::Gif) };
    let gif = draw(&surface(), &spec).expect("a file");
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    let mut decoder = options.read_info(gif.as_slice()).expect("a GIF");
    assert_eq!(decoder.width(), 200);
    let mut n_frames = 0;
    while let Some(frame) = decoder.read_next_frame().expect("a frame") {
        assert_eq!((frame.width, frame.delay), (200, 9));
        n_frames += 1;
    }
    assert_eq!(n_frames, 45);
}

#[test]
fn a_png_says_how_large_it_is() {
    let png = draw(&surface(), &of(PlotKind::Contour, PlotFormat::Png)).expect("a file");
    let at = png.windows(4).position(|window| window == b"pHYs").expect("a density");
    let per_metre = u32::from_be_bytes(png[at + 4..at + 8].try_into().expect("4 bytes"));
    // 192 dots per inch.
    assert_eq!(per_metre, 7559);
    assert_eq!(png[at + 12], 1);
}

#[test]
fn formats_of_a_surface_refuse_other_kinds() {
    for format in [PlotFormat::Gif, PlotFormat::Vtp, PlotFormat::Obj, PlotFormat::Stl] {
        let refused = draw(&surface(), &of(PlotKind::Contour, format)).expect_err("a refusal").to_string();
        assert!(
            refused.starts_with(&format!("format is {format}")) && refused.ends_with("choose the kind surface"),
            "{refused}"
        );
        let refused = draw(&curve(), &of(PlotKind::Curve, format)).expect_err("a refusal").to_string();
        assert!(refused.ends_with("a curve is drawn as SVG, PNG, PDF or HTML"), "{refused}");
        let refused = draw(&curve(), &of(PlotKind::Surface, format)).expect_err("a refusal").to_string();
        assert!(refused.contains("at least 2 rows"), "{refused}");
    }
}

#[test]
fn a_surface_without_a_cell_is_refused_where_there_would_be_nothing() {
    let mut sparse = surface();
    for idx in (0..sparse.main.flags.len()).filter(|idx| idx % 2 == 0) {
        (sparse.main.loss[idx], sparse.main.flags[idx]) = (f64::NAN, PointFlag::Never);
    }
    for format in PlotFormat::ALL.into_iter().filter(|format| format.is_solid()) {
        let refused = draw(&sparse, &of(PlotKind::Surface, format)).expect_err("a refusal").to_string();
        assert!(refused.contains("no cell has four corners"), "{refused}");
    }
    draw(&sparse, &of(PlotKind::Surface, PlotFormat::Svg)).expect("a picture of the points' gaps");
}

#[test]
fn a_log_scale_is_the_height_too() {
    let heights = |scale| {
        let spec = PlotSpec { scale, ..of(PlotKind::Surface, PlotFormat::Obj) };
        String::from_utf8(draw(&surface(), &spec).expect("a file")).expect("UTF-8")
    };
    assert_ne!(heights(LossScale::Linear), heights(LossScale::Log));
    assert!(heights(LossScale::Log).contains("decimal logarithm of the loss"));
}
