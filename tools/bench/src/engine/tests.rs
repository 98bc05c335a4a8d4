use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(words: &[&str]) -> Result<Arguments, String> {
    let line = Line::try_parse_from([&["bench"], words].concat());
    line.map(|line| line.arguments).map_err(|error| error.to_string())
}

#[test]
fn no_rounds_are_refused_with_what_would_be_right() {
    let error = parse(&["--rounds", "0"]).expect_err("nothing is measured in no round");
    assert!(error.contains("'0' for '--rounds") && error.contains("1..=1000"), "{error}");
}

#[test]
fn seven_networks_are_measured_unless_others_are_named() {
    let networks = |words: &[&str]| {
        parse(words).and_then(|a| {
            let networks = a.networks().map_err(|error| error.to_string())?;
            Ok(networks.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>())
        })
    };
    assert_eq!(networks(&[]).expect("built in").len(), 7);
    assert_eq!(networks(&["--networks", "resnet32,lenet5,resnet32"]), Ok(vec!["resnet32".into(), "lenet5".into()]));
    let error = networks(&["--networks", "lenet5,resnet21"]).expect_err("no such network");
    assert!(error.contains("`resnet21`"), "{error}");
}

#[test]
fn a_network_has_its_own_number_of_samples_unless_one_is_given() {
    let n_samples = |words: &[&str], network: &str| parse(words).expect("good options").n_samples(network);
    assert_eq!((n_samples(&[], "lenet5"), n_samples(&[], "resnet32")), (2048, 256));
    assert_eq!(n_samples(&["--samples", "8"], "lenet5"), 8);
}

#[test]
fn a_process_of_its_own_is_given_the_same_options() {
    let words = ["--rounds", "3", "--threads", "4", "--python", "/a b/python", "--quick", "--samples", "8"];
    let command = parse(&words).expect("good options").process_for("lenet5", Path::new("/t/report.json"));
    let command = command.expect("this program knows where it is");
    let given: Vec<&str> = command.get_args().filter_map(|word| word.to_str()).collect();
    let again = parse(&given[1..]).expect("what it understands");
    assert_eq!(given[0], "engine");
    assert_eq!((again.networks, again.rounds, again.threads.get()), (vec!["lenet5".to_owned()], 3, 4));
    assert_eq!((again.python, again.json), (PathBuf::from("/a b/python"), Some(PathBuf::from("/t/report.json"))));
    assert!(again.quick && !again.training && again.markdown.is_none() && again.memory_of.is_none());
    assert_eq!(again.samples.map(NonZeroUsize::get), Some(8));
}

#[test]
fn a_report_replaces_the_one_before_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("of/reports/report.md");
    write(&path, "a long one").expect("written");
    write(&path, "short").expect("written");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "short");
    let folder = path.parent().expect("a folder");
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 1, "nothing is left beside it");
}
