use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use relief_core::Axis;

use super::plot::RunPlotKind;
use super::*;

const CREATE: [&str; 9] =
    ["relief", "surface", "create", "--network", "lenet5", "--checkpoint", "runs/r/snapshots/5", "--dataset", "d"];

fn create(more: &[&str]) -> Result<CreateArguments, clap::Error> {
    match Cli::try_parse_from(CREATE.iter().chain(more))?.command {
        Command::Surface(SurfaceCommand::Create(arguments)) => Ok(*arguments),
        command => panic!("another command: {command:?}"),
    }
}

fn refusal(more: &[&str]) -> clap::Error {
    create(more).expect_err("wrong use")
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn axes_may_start_below_zero_with_and_without_an_equals_sign() {
    let axis = Axis::new(-1.0, 1.0, 51).expect("a good axis");
    for more in [&["--x=-1:1:51", "--y=-1:1:51"][..], &["--x", "-1:1:51", "--y", "-1:1:51"]] {
        let arguments = create(more).expect("right use");
        assert_eq!((arguments.x, arguments.y), (Some(axis), Some(axis)));
    }
    assert_eq!(create(&["--x", "-1:1:51"]).expect("right use").y, None);
}

#[test]
fn a_wrong_value_is_refused_with_its_flag_its_value_and_what_would_be_right() {
    for (more, parts) in [
        (&["--x", "1:-1:0"][..], &["--x", "1:-1:0", "at least 1 point"][..]),
        (&["--x=1:-1:5"], &["--x", "1:-1:5", "write the smaller end first"]),
        (&["--x=NaN:1:5"], &["--x", "NaN:1:5", "must be finite"]),
        (&["--x=0:1:3", "--y", "0:1"], &["--y", "0:1", "min:max:count"]),
        (&["--x=0:1:3", "--tile", "0x3"], &["--tile", "0x3", "ROWSxCOLUMNS"]),
        (
            &["--x=0:1:3", "--normalization", "sum"],
            &["--normalization", "sum", "filter, layer, weight, dfilter, dlayer, none"],
        ),
        (&["--x=0:1:3", "--ignore", "all"], &["--ignore", "all", "bias_bn, none"]),
        (&["--x=0:1:3", "--split", "val"], &["--split", "val", "train, test, both"]),
        (&["--x=0:1:3", "--batch-norm", "eval"], &["--batch-norm", "eval", "frozen, interpolated, recomputed"]),
        (&["--x=0:1:3", "--engine", "gpu"], &["--engine", "gpu", "auto, cpu, burn"]),
        (&["--x=0:1:3", "--precision", "f64"], &["--precision", "f64", "auto, f32, split-bf16, bf16"]),
        (&["--x=0:1:3", "--limit", "0"], &["--limit", "0", "from 1 to"]),
        (&["--x=0:1:3", "--seed", "x"], &["--seed", "'x'", "a whole number from 0 to 18446744073709551615"]),
    ] {
        let error = refusal(more);
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{more:?}");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn names_that_leave_the_store_are_wrong_use() {
    for arguments in [
        &["relief", "surface", "get", "../x"][..],
        &["relief", "run", "get", "a/b"],
        &["relief", "network", "show", "../../etc/passwd"],
        &["relief", "dataset", "import", "a..b", "--format", "idx", "images", "labels"],
        &["relief", "checkpoint", "import", "--network", "lenet5", "/x", "file"],
    ] {
        let error = Cli::try_parse_from(arguments).expect_err("wrong use");
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::ValueValidation, 2), "{arguments:?}");
    }
}

#[test]
fn the_form_of_a_plot_is_its_extension() {
    let plot = |out: &'static str| Cli::try_parse_from(["relief", "plot", "surface", "s", "--log", "--out", out]);
    match plot("a/b.PNG").expect("right use").command {
        Command::Plot(PlotCommand::Surface(arguments)) => {
            assert_eq!(arguments.out.format, relief_api::plot::v1::PlotFormat::Png);
            assert!(arguments.losses.log && arguments.kind.is_none());
        }
        command => panic!("another command: {command:?}"),
    }
    for bad in ["b.bmp", "b", ".svg"] {
        assert_eq!(plot(bad).expect_err("wrong use").exit_code(), 2, "{bad}");
    }
}

#[test]
fn a_plot_is_seen_from_where_it_is_told() {
    let arguments = ["relief", "plot", "surface", "s", "--kind", "surface", "--azimuth", "-120", "--elevation=45"];
    let more = ["--orthographic", "--theme", "dark", "--palette", "cividis", "--dpi", "300", "--out", "s.pdf"];
    match Cli::try_parse_from(arguments.iter().chain(&more)).expect("right use").command {
        Command::Plot(PlotCommand::Surface(arguments)) => {
            assert_eq!((arguments.camera.azimuth, arguments.camera.elevation), (Some(-120.0), Some(45.0)));
            assert_eq!((arguments.style.dpi, arguments.style.width), (Some(300.0), None));
            assert!(arguments.camera.orthographic);
        }
        command => panic!("another command: {command:?}"),
    }
}

#[test]
fn runs_are_drawn_together() {
    let arguments = ["relief", "plot", "run", "a,runs/b", "--kind", "histogram", "--labels", "first,second one"];
    let more = ["--epochs", "0,9", "--log", "--out", "w.html"];
    match Cli::try_parse_from(arguments.iter().chain(&more)).expect("right use").command {
        Command::Plot(PlotCommand::Run(arguments)) => {
            assert_eq!(arguments.runs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["runs/a", "runs/b"]);
            assert_eq!(arguments.labels, ["first", "second one"]);
            assert_eq!(arguments.epochs, [0, 9]);
            assert!(arguments.log && arguments.kind == RunPlotKind::Histogram);
        }
        command => panic!("another command: {command:?}"),
    }
    assert_eq!(Cli::try_parse_from(["relief", "plot", "run", "--out", "w.svg"]).expect_err("no run").exit_code(), 2);
}

#[test]
fn surfaces_are_drawn_together() {
    let arguments =
        ["relief", "plot", "surfaces", "a,b,c", "--layout", "panels", "--columns", "3", "--kind", "surface"];
    match Cli::try_parse_from(arguments.iter().chain(&["--azimuth", "-30", "--out", "s.pdf"]))
        .expect("right use")
        .command
    {
        Command::Plot(PlotCommand::Surfaces(arguments)) => {
            assert_eq!(arguments.names.len(), 3);
            assert_eq!(
                (arguments.columns, arguments.camera.azimuth, arguments.style.width),
                (Some(3), Some(-30.0), None)
            );
            assert!(arguments.labels.is_empty() && !arguments.accuracy);
        }
        command => panic!("another command: {command:?}"),
    }
    let wrong = ["relief", "plot", "surfaces", "a", "--columns", "9", "--out", "s.pdf"];
    assert_eq!(Cli::try_parse_from(wrong).expect_err("too many").exit_code(), 2);
}

#[test]
fn lists_are_separated_by_commas() {
    let arguments = ["relief", "train", "--network", "n", "--dataset", "d", "--epochs", "9", "--milestones", "3,6"];
    match Cli::try_parse_from(arguments).expect("right use").command {
        Command::Train(arguments) => assert_eq!(arguments.milestones, [3, 6]),
        command => panic!("another command: {command:?}"),
    }
    let import = ["relief", "dataset", "import", "d", "--format", "idx", "images", "labels", "--mean", "-0.5,0.25,1"];
    match Cli::try_parse_from(import).expect("right use").command {
        Command::Dataset(DatasetCommand::Import(arguments)) => {
            assert_eq!(arguments.mean, [-0.5, 0.25, 1.0]);
            assert_eq!(arguments.paths.len(), 2);
        }
        command => panic!("another command: {command:?}"),
    }
}

#[test]
fn the_endpoint_may_stand_anywhere_and_must_be_an_address() {
    let parse = |endpoint| Cli::try_parse_from(["relief", "surface", "list", "--endpoint", endpoint]);
    assert_eq!(parse("http://host:1").expect("right use").endpoint.to_string(), "http://host:1");
    assert_eq!(parse("host:1").expect_err("wrong use").exit_code(), 2);
}

#[test]
fn services_may_be_at_endpoints_of_their_own() {
    let parse = |more: &[&str]| Cli::try_parse_from(["relief", "run", "list"].iter().chain(more));
    let cli = parse(&["--trainer-endpoint", "http://t:1", "--renderer-endpoint=http://r:2"]).expect("right use");
    assert_eq!(cli.trainer_endpoint.map(|endpoint| endpoint.to_string()).as_deref(), Some("http://t:1"));
    assert_eq!(cli.renderer_endpoint.map(|endpoint| endpoint.to_string()).as_deref(), Some("http://r:2"));
    let cli = parse(&[]).expect("right use");
    assert!(cli.trainer_endpoint.is_none() && cli.renderer_endpoint.is_none());
    assert_eq!(parse(&["--trainer-endpoint", "t:1"]).expect_err("wrong use").exit_code(), 2);
}

#[test]
fn a_figure_has_a_name_and_a_number() {
    let figure = |word: &'static str| Cli::try_parse_from(["relief", "figure", word, "--out", "f.svg"]);
    for (number, name) in [("fig8", "interpolation"), ("fig11", "minima-2d"), ("fig19", "paths"), ("fig7", "convexity")]
    {
        let names = [number, name].map(|word| match figure(word).expect("right use").command {
            Command::Figure(arguments) => arguments.name,
            command => panic!("another command: {command:?}"),
        });
        assert!(names[0].is_some() && names[0] == names[1], "{name}");
    }
    assert_eq!(figure("fig99").expect_err("no such figure").exit_code(), 2);
    assert!(Cli::try_parse_from(["relief", "figure"]).is_ok());
}

#[test]
fn panels_may_be_of_any_kind() {
    let arguments =
        ["relief", "plot", "panels", "surfaces/a,trajectories/b,runs/c", "--shared-scale", "--out", "f.png"];
    match Cli::try_parse_from(arguments).expect("right use").command {
        Command::Plot(PlotCommand::Panels(arguments)) => {
            assert_eq!(arguments.names.len(), 3);
            assert!(arguments.shared_scale && arguments.titles.is_empty());
        }
        command => panic!("another command: {command:?}"),
    }
    let wrong = ["relief", "plot", "panels", "a", "--out", "f.png"];
    assert_eq!(Cli::try_parse_from(wrong).expect_err("no collection").exit_code(), 2);
}
