//! Runs: what is drawn of one, of several, of what is not finite, and what is refused.

#![expect(clippy::expect_used, reason = "the helpers of tests fail as tests do")]

use relief_renderer::plot::{
    LossScale, PlotFormat, PlotKind, PlotSpec, Run, RunEpoch, RunKind, WeightCounts, draw_runs, draw_weights,
};

fn run(name: &str) -> Run {
    let epoch = |idx: i32| RunEpoch {
        epoch: f64::from(idx),
        rate: if idx < 6 { 0.1 } else { 0.01 },
        train_loss: 2.0 / f64::from(idx + 1),
        train_accuracy: 10.0 + 8.0 * f64::from(idx),
        test_loss: Some(2.2 / f64::from(idx + 1)),
        test_accuracy: Some(9.0 + 7.0 * f64::from(idx)),
        weight_norm: 5.0 + f64::from(idx),
    };
    Run { name: name.to_owned(), epochs: (0..=10).map(epoch).collect(), steps: Vec::new() }
}

fn spec() -> PlotSpec {
    PlotSpec::new(PlotKind::Curve)
}

fn svg(runs: &[Run], kind: RunKind, spec: &PlotSpec) -> String {
    String::from_utf8(draw_runs(runs, kind, spec).expect("a picture")).expect("UTF-8")
}

fn says(svg: &str, text: &str) -> bool {
    svg.contains(&format!("aria-label=\"{text}\""))
}

/// The points of the first line of `color`, dashed or not.
fn points(svg: &str, color: &str, is_dashed: bool) -> Vec<(f64, f64)> {
    let is_it = |line: &&str| {
        line.contains(&format!("stroke=\"{color}\""))
            && line.contains("stroke-dasharray=\"5 3\"") == is_dashed
            && line.matches('L').count() > 3
    };
    let line = svg.lines().find(is_it).expect("a line");
    let path = line.split("d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a path");
    let point = |text: &str| {
        let (x, y) = text.split_once(' ').expect("a point");
        (x.parse().expect("a number"), y.parse().expect("a number"))
    };
    path.trim_start_matches('M').split('L').map(point).collect()
}

#[test]
fn a_run_has_its_losses_and_errors_by_epoch() {
    let svg = svg(&[run("sgd")], RunKind::Training, &spec());
    for text in ["sgd", "train", "test", "loss (cross entropy, nats)", "error (%)", "epoch", "learning rate lowered"] {
        assert!(says(&svg, text), "{text}");
    }
    let (train, test) = (points(&svg, "#1f4fa3", false), points(&svg, "#1f4fa3", true));
    assert_eq!((train.len(), test.len()), (11, 11));
    assert!(train.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "the loss falls");
    assert!(train.iter().zip(&test).all(|(train, test)| train.0 == test.0 && test.1 < train.1), "and is above in test");
    let error = points(&svg, "#b5281e", false);
    assert_eq!(error.iter().map(|point| point.0).collect::<Vec<_>>(), train.iter().map(|p| p.0).collect::<Vec<_>>());
    // The rate of epoch 6 is lower, so it was lowered after epoch 5; in both areas.
    let x = train[5].0;
    assert_eq!(svg.matches(&format!("d=\"M{x} ")).count(), 2, "a line in each area");
}

#[test]
fn several_runs_have_colours_names_and_their_own_drops() {
    let mut other = run("adam");
    other.epochs.iter_mut().for_each(|epoch| epoch.rate = 0.001);
    let svg = svg(&[run("sgd"), other], RunKind::Training, &spec());
    assert!(says(&svg, "sgd") && says(&svg, "adam") && says(&svg, "sgd: learning rate lowered"));
    assert!(!says(&svg, "adam: learning rate lowered"));
    assert!(svg.contains("stroke=\"#0072b2\"") && svg.contains("stroke=\"#e69f00\""));
}

#[test]
fn a_rate_that_falls_all_the_time_is_not_marked() {
    let mut run = run("cosine");
    let epoch = |idx: i32| RunEpoch { epoch: f64::from(idx), rate: 1.0 / f64::from(idx + 1), ..run.epochs[0] };
    run.epochs = (0..40).map(epoch).collect();
    let svg = svg(&[run], RunKind::Training, &spec());
    assert!(says(&svg, "learning rate lowered at 39 epochs, which are not marked"));
}

#[test]
fn what_is_not_finite_is_a_gap_and_counted() {
    let mut wild = run("wild");
    (wild.epochs[4].train_loss, wild.epochs[7].train_accuracy) = (f64::NAN, f64::INFINITY);
    wild.epochs[5].test_loss = None;
    wild.epochs[9].test_loss = Some(-1.0);
    let linear = svg(&[wild.clone()], RunKind::Training, &spec());
    assert!(says(&linear, "2 values not finite"));
    assert_eq!(points(&linear, "#1f4fa3", false).len(), 6, "from epoch 5 on");
    let log = svg(&[wild], RunKind::Training, &PlotSpec { scale: LossScale::Log, ..spec() });
    assert!(says(&log, "1 value not above 0, not drawable on a log scale"));
}

#[test]
fn a_run_without_losses_still_has_errors() {
    let mut run = run("nan");
    run.epochs.iter_mut().for_each(|epoch| (epoch.train_loss, epoch.test_loss) = (f64::NAN, None));
    let svg = svg(&[run], RunKind::Training, &spec());
    assert!(says(&svg, "error (%)") && !says(&svg, "loss (cross entropy, nats)"));
}

#[test]
fn the_norms_of_several_runs_share_an_axis() {
    let mut other = run("other");
    other.epochs.iter_mut().for_each(|epoch| epoch.weight_norm += 20.0);
    let svg = svg(&[run("first"), other], RunKind::WeightNorm, &spec());
    let (low, high) = (points(&svg, "#0072b2", false), points(&svg, "#e69f00", false));
    assert!(says(&svg, "norm of the weights"));
    assert!(low.iter().zip(&high).all(|(low, high)| high.1 < low.1), "the greater norm is above");
}

#[test]
fn every_format_of_a_run_can_be_written() {
    for format in [PlotFormat::Svg, PlotFormat::Png, PlotFormat::Pdf, PlotFormat::Html] {
        let spec = PlotSpec { format, width: 200, ..spec() };
        let weights = WeightCounts::of("w".to_owned(), std::iter::once(&[0.5_f32, -0.5][..]));
        for bytes in [draw_runs(&[run("a")], RunKind::Training, &spec), draw_weights(&[weights], &spec)] {
            assert!(!bytes.expect("a picture").is_empty());
        }
    }
    let html = draw_runs(&[run("a")], RunKind::Training, &PlotSpec { format: PlotFormat::Html, ..spec() });
    let html = String::from_utf8(html.expect("a page")).expect("UTF-8");
    assert!(html.contains(r"a\nepoch 3\nloss: train 0.5, test 0.55\nerror (%): train 66, test 70\nlearning rate 0.1"));
}

#[test]
fn bad_fields_are_named() {
    let refusal =
        |runs: &[Run], spec: &PlotSpec| draw_runs(runs, RunKind::Training, spec).expect_err("a refusal").to_string();
    assert!(refusal(&[], &spec()).contains("runs holds 0 runs; it must hold 1 to 6"));
    assert!(refusal(&vec![run(""); 7], &spec()).contains("runs holds 7 runs"));
    let empty = Run { name: String::new(), epochs: Vec::new(), steps: Vec::new() };
    assert!(refusal(&[run(""), empty], &spec()).contains("runs[1].epochs is empty"));
    let mut twice = run("");
    twice.epochs[3].epoch = 2.0;
    assert!(refusal(&[twice], &spec()).contains("runs[0].epochs[3].epoch is 2; it must be a finite number above"));
    for format in [PlotFormat::Gif, PlotFormat::Vtp, PlotFormat::Obj, PlotFormat::Stl] {
        let text = refusal(&[run("")], &PlotSpec { format, ..spec() });
        assert!(text.contains("a run is drawn as SVG, PNG, PDF or HTML"), "{text}");
    }
    let mut nothing = run("");
    nothing.epochs.iter_mut().for_each(|epoch| epoch.weight_norm = f64::NAN);
    let error = draw_runs(&[nothing], RunKind::WeightNorm, &spec()).expect_err("nothing to draw").to_string();
    assert_eq!(error, "none of the 11 norms is finite; there is nothing to draw");
    let weights = WeightCounts::of("w".to_owned(), std::iter::once(&[f32::NAN][..]));
    let error = draw_weights(&[weights], &spec()).expect_err("nothing to draw").to_string();
    assert_eq!(error, "none of the 1 weights is finite; there is nothing to draw");
}
