use super::*;

fn subject(word: &str, rates: &[f64], loss: Option<f64>) -> SubjectReport {
    let n_samples = 100;
    let seconds = rates.iter().map(|rate| n_samples as f64 / rate).collect();
    SubjectReport { subject: word.to_owned(), n_samples, seconds, loss, ..SubjectReport::default() }
}

fn network(name: &str, subjects: Vec<SubjectReport>) -> NetworkReport {
    NetworkReport { network: name.to_owned(), n_samples: 100, n_parameters: 7, subjects, ..NetworkReport::default() }
}

fn report(networks: Vec<NetworkReport>) -> Report {
    let two = NonZeroUsize::MIN.saturating_add(1);
    Report { networks, ..Report::new(3, two) }
}

fn is_near(value: f64, expected: f64) -> bool {
    value.is_finite() && (value - expected).abs() < 1e-9 * expected.abs()
}

#[test]
fn a_ratio_is_the_median_of_the_rounds_ratios_and_tells_their_range() {
    // The machine is twice as slow in the second round.
    let subjects = vec![
        subject("cpu/f32/fast", &[400.0, 200.0, 450.0], Some(2.0)),
        subject(REFERENCE, &[200.0, 50.0, 150.0], Some(2.0)),
    ];
    let ratio = network("net", subjects).ratio("cpu/f32/fast", &[REFERENCE]).expect("both were measured");
    assert!(is_near(ratio.median, 3.0) && is_near(ratio.lowest, 2.0) && is_near(ratio.highest, 4.0), "{ratio:?}");
}

#[test]
fn a_ratio_to_the_better_of_two_is_to_that_of_each_round() {
    let subjects = vec![
        subject("ours", &[100.0, 100.0], None),
        subject("torch-nchw", &[50.0, 20.0], None),
        subject("torch-nhwc", &[25.0, 40.0], None),
    ];
    let network = network("net", subjects);
    let ratio = network.ratio("ours", &["torch-nchw", "torch-nhwc"]).expect("all were measured");
    assert!(is_near(ratio.lowest, 2.0) && is_near(ratio.highest, 2.5), "{ratio:?}");
    assert_eq!(network.ratio("ours", &["torch-nchw", "original-loop"]), None);
    assert_eq!(network.ratio("theirs", &["torch-nchw"]), None);
}

#[test]
fn a_loss_that_is_not_finite_is_named() {
    let subjects = vec![
        subject("cpu/f32/fast", &[1.0], Some(2.5)),
        subject("cpu/split-bf16", &[1.0], None),
        SubjectReport { n_samples: 25, ..subject("burn", &[1.0], Some(2.0)) },
        subject(REFERENCE, &[1.0], Some(2.0)),
    ];
    let network = network("net", subjects);
    let agreements: Vec<Agreement> = network.subjects.iter().map(|subject| network.agreement(subject)).collect();
    assert_eq!(
        agreements,
        [Agreement::Relative(0.25), Agreement::NotFinite, Agreement::Unknown("of fewer samples"), Agreement::Reference]
    );
    let text = report(vec![network]).to_markdown();
    assert!(text.contains("**Not every loss is finite.**"), "{text}");
    assert!(text.contains("\n| cpu/split-bf16 | **not finite** |\n"), "{text}");
    assert!(text.contains("\n| cpu/f32/fast | 2.5e-1 |\n"), "{text}");
}

#[test]
fn losses_are_held_against_no_reference_that_is_missing_or_not_finite() {
    let ours = || subject("ours", &[1.0], Some(2.0));
    let agreement = |reference: Option<f64>| {
        let network = network("net", vec![ours(), subject(REFERENCE, &[1.0], reference)]);
        network.agreement(&network.subjects[0])
    };
    assert_eq!(agreement(None), Agreement::Unknown("the reference is not finite"));
    assert_eq!(agreement(Some(0.0)), Agreement::Unknown("the reference is 0"));
    let alone = network("net", vec![ours()]);
    assert_eq!(alone.agreement(&alone.subjects[0]), Agreement::Unknown("no reference"));
}

#[test]
fn one_loss_that_is_not_finite_outlives_those_that_are() {
    let mut subject = SubjectReport::default();
    subject.add_loss(true, 2.0);
    subject.add_loss(false, 2.5);
    assert_eq!(subject.loss, Some(2.5));
    subject.add_loss(false, f64::NAN);
    subject.add_loss(false, 2.0);
    assert_eq!(subject.loss, None);
}

#[test]
fn points_and_images_per_second_are_of_the_samples_that_were_seen() {
    let slow = SubjectReport { n_samples: 50, seconds: vec![2.0, 4.0, 5.0], ..SubjectReport::default() };
    assert!(is_near(slow.points_per_second(), 0.25));
    assert!(is_near(slow.images_per_second(), 12.5));
}

#[test]
fn what_does_not_grow_with_the_samples_weighs_less_in_many() {
    let stages = Stages { displace: 1.0, pack: 2.0, forward: 6.0, reduce: 1.0 };
    assert!(is_near(stages.overhead(100, 100, 1), 40.0));
    assert!(is_near(stages.overhead(100, 1000, 1), 100.0 * 13.0 / 73.0));
    assert!(is_near(stages.overhead(100, 100, 2), 100.0 * 3.5 / 6.5));
    let other = Stages { forward: 60.0, ..stages };
    assert_eq!(Stages::median(&[other, stages, stages]), stages);
}

#[test]
fn reports_of_single_networks_merge_into_one_of_all() {
    let of_child = |name: &str| {
        let mut network = network(name, vec![subject("cpu/f32/fast", &[1.0, 2.0], None)]);
        network.leave_out("burn", "slow, and --quick was given");
        let text = serde_json::to_string(&Report { peers: vec!["onnx 1".into()], ..report(vec![network]) });
        serde_json::from_str::<Report>(&text.expect("JSON")).expect("a report")
    };
    let mut whole = report(Vec::new());
    whole.merge(of_child("lenet5"));
    whole.fail("vgg9", "its process left no report: signal: 9".to_owned());
    let mut failed = report(Vec::new());
    failed.fail("vgg11", "no memory".to_owned());
    whole.merge(failed);
    whole.merge(of_child("resnet20"));
    assert_eq!(whole.peers, ["onnx 1"]);
    let names: Vec<&str> = whole.networks.iter().map(|network| network.network.as_str()).collect();
    assert_eq!(names, ["lenet5", "resnet20"]);
    assert_eq!(whole.networks[0], of_child("lenet5").networks[0]);
    let text = whole.to_markdown();
    assert!(text.contains("\n- vgg9: its process left no report: signal: 9\n- vgg11: no memory\n"), "{text}");
    assert!(text.contains("\n- burn: slow, and --quick was given\n"), "{text}");
}

#[test]
fn tables_tell_rates_with_ratios_and_where_the_time_of_a_point_goes() {
    let ours = SubjectReport {
        numeric_class: Some("cpu/f32/fast/1".to_owned()),
        stages: Some(Stages { displace: 0.001, pack: 0.002, forward: 0.05, reduce: 0.0001 }),
        memory: Some(Memory { peak_mib: 45.2, formula_mib: Some(23.4) }),
        ..subject("cpu/f32/fast", &[400.0, 200.0, 450.0], Some(2.0))
    };
    let single = subject("cpu/f32/fast, one thread", &[200.0, 100.0, 225.0], Some(2.0));
    let split = SubjectReport {
        matrix_unit: vec![1.0, 2.0, 1.5],
        numeric_class: Some("cpu/split-bf16/tiles/1".to_owned()),
        ..subject("cpu/split-bf16", &[800.0, 400.0, 900.0], Some(2.0))
    };
    let reference = subject(REFERENCE, &[200.0, 50.0, 150.0], Some(2.0));
    let text = report(vec![network("net", vec![ours, single, split, reference])]).to_markdown();
    for line in [
        "| cpu/f32/fast | 400 (3.00, 2.0-4.0) |",
        "| onnxruntime | 150 |",
        "| cpu/f32/fast, 2 threads to one | 2.00, 2.0-2.0 |",
        "| onnxruntime | loss 2.000000 |",
        "| cpu/f32/fast | 4.00 | 1.00 | 2.00 | 500.00 | 1.00 | 0.32 | 45 (23) |  |",
        "| cpu/split-bf16 | 8.00 |  |  |  |  |  |  | 1.50, 1.0-2.0 |",
        "Numeric classes: cpu/f32/fast/1, cpu/split-bf16/tiles/1.",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("torch"), "{text}");
}
