use super::*;

const N_SAMPLES: usize = 4;

fn setups() -> Vec<Setup> {
    Setup::all(NonZeroUsize::MIN.saturating_add(1))
}

#[test]
fn the_fastest_path_and_split_bf16_are_measured_on_one_thread_too() {
    let setups = setups();
    let words: Vec<&str> = setups.iter().map(|setup| setup.word.as_str()).collect();
    assert_eq!(words[0], format!("cpu/f32/{}", CpuPath::best()));
    for pair in words.windows(2).filter(|pair| pair[0] == words[0] || pair[0] == "cpu/split-bf16") {
        assert_eq!(pair[1], format!("{}{ONE_THREAD}", pair[0]));
    }
    assert!(words.last().is_some_and(|word| *word != "cpu/split-bf16"), "{words:?}");
    assert!(Setup::all(NonZeroUsize::MIN).iter().all(|setup| !setup.word.ends_with(ONE_THREAD)));
}

#[test]
fn all_subjects_compute_the_loss_at_the_point_that_peers_are_given() {
    let landscape = Landscape::of_default("lenet5", N_SAMPLES).expect("a landscape");
    let there =
        Landscape { origin: landscape.displaced(), ..Landscape::of_default("lenet5", N_SAMPLES).expect("again") };
    assert_ne!(landscape.origin, there.origin);
    for setup in setups().into_iter().map(|setup| Setup { is_slow: false, ..setup }) {
        let loss = |landscape: &Landscape, at: &[f64]| {
            let subject = Subject::own(&setup, landscape, N_SAMPLES).expect("a subject");
            subject.point(at).expect("a loss")
        };
        let at_point = loss(&landscape, &POINT);
        assert!(at_point.is_finite(), "{}", setup.word);
        assert_eq!(at_point.to_bits(), loss(&there, &[0.0, 0.0]).to_bits(), "{}", setup.word);
        assert_ne!(at_point, loss(&landscape, &[0.0, 0.0]), "{}", setup.word);
    }
}

#[test]
fn the_matrix_unit_is_measured_for_those_that_compute_with_it() {
    for setup in setups() {
        let speed = setup.matrix_speed();
        assert_eq!(speed.is_some(), setup.numerics.precision != Precision::F32, "{}", setup.word);
        assert!(speed.is_none_or(|speed| speed.is_finite() && speed > 0.0), "{}: {speed:?}", setup.word);
    }
}

#[test]
fn the_stages_of_a_point_all_take_time() {
    let landscape = Landscape::of_default("lenet5", N_SAMPLES).expect("a landscape");
    let subject = Subject::own(&setups()[0], &landscape, N_SAMPLES).expect("a subject");
    let Stages { displace, pack, forward, reduce } = subject.stages().expect("stages");
    assert!([displace, pack, forward, reduce].iter().all(|seconds| *seconds > 0.0 && *seconds < 60.0));
}
