//! Numbers that an independent implementation found, reached through the command line with files of that implementation.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use relief_test_support::{CommandLine, Process, Program, Sandbox};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-5;

/// Flags of a loss.
const FINITE: u8 = 1;
const NAN: u8 = 2;

/// What is known of the network.
#[derive(Deserialize)]
struct Expected {
    parameters: u64,
    xs: Vec<f64>,
    ys: Vec<f64>,
    loss: Vec<Vec<f64>>,
    accuracy: Vec<Vec<f64>>,
    cosine: f64,
    interpolation: Interpolation,
    first_logits: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Interpolation {
    ts: Vec<f64>,
    interpolated: Curve,
    frozen: Curve,
}

/// `null` is a loss that is not finite.
#[derive(Deserialize)]
struct Curve {
    loss: Vec<Option<f64>>,
    accuracy: Vec<f64>,
}

/// What `relief surface export --format json` writes.
#[derive(Deserialize)]
struct Surface {
    x: Vec<f64>,
    y: Vec<f64>,
    loss: Vec<Vec<Option<f64>>>,
    accuracy: Vec<Vec<f64>>,
    flags: Vec<Vec<u8>>,
}

/// What `relief surface get --output json` prints, in part.
#[derive(Deserialize)]
struct Description {
    geometry: Geometry,
    status: Status,
}

#[derive(Deserialize)]
struct Geometry {
    cosine: Option<f64>,
    axes: Vec<Axis>,
}

#[derive(Deserialize)]
struct Axis {
    norm: f64,
    tensors: Vec<Norms>,
}

#[derive(Deserialize)]
struct Norms {
    direction: f64,
    weights: f64,
}

#[derive(Deserialize)]
struct Status {
    points_non_finite: usize,
}

/// What `relief checkpoint evaluate --output json` prints.
#[derive(Deserialize)]
struct Evaluation {
    n_samples: u64,
    loss: f64,
    accuracy: f64,
}

/// The platform with the samples of the reference, and its command line.
struct Reference {
    sandbox: Sandbox,
    _platform: Process,
    relief: CommandLine,
}

impl Reference {
    async fn start() -> anyhow::Result<Self> {
        let sandbox = Sandbox::new()?;
        let platform = sandbox.launch(Program::Relief).start().await?;
        let relief = CommandLine::at(&platform);
        let data = path("data.safetensors");
        relief.run(&["dataset", "import", "data", "--format", "safetensors", &data, "--classes", "10"]).await?;
        Ok(Self { sandbox, _platform: platform, relief })
    }
}

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/resnet20").join(name)
}

fn expected() -> anyhow::Result<Expected> {
    Ok(serde_json::from_slice(&std::fs::read(fixture("expected.json"))?)?)
}

/// Fails unless every number is finite and within the tolerance, taken of the larger of the expected number and `floor`.
fn near(what: &str, found: &[f64], expected: &[f64], floor: f64) -> anyhow::Result<()> {
    ensure!(found.len() == expected.len(), "{what}: {} numbers instead of {}", found.len(), expected.len());
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        ensure!(found.is_finite(), "{what}: {found} at {idx}");
        let bound = TOLERANCE * expected.abs().max(floor);
        ensure!((found - expected).abs() <= bound, "{what}: {found} at {idx}, expected {expected}");
    }
    Ok(())
}

/// The numbers of each line of a CSV file, without its header and the first two columns.
fn logits_of(csv: &str) -> anyhow::Result<Vec<Vec<f64>>> {
    let row = |line: &str| line.split(',').skip(2).map(|number| Ok(number.parse::<f64>()?)).collect();
    csv.lines().skip(1).map(row).collect()
}

#[tokio::test]
async fn the_reference_network_has_the_reference_numbers() -> anyhow::Result<()> {
    let expected = expected()?;
    let Reference { sandbox, relief, .. } = &Reference::start().await?;
    let out = |name: &str| sandbox.path().join(name).display().to_string();
    // What is chosen where nothing is said, and both engines by name.
    let ways: [&[&str]; 3] = [&[], &["--engine", "cpu", "--precision", "f32"], &["--engine", "burn"]];
    for (id, file) in [("current", "exported_by_torch.onnx"), ("legacy", "exported_by_torch_legacy.onnx")] {
        relief.run(&["network", "import", id, &path(file)]).await?;
        let network: serde_json::Value =
            serde_json::from_str(&relief.run(&["network", "show", id, "--output", "json"]).await?)?;
        assert_eq!(network["n_parameters"], expected.parameters, "{network}");

        // The weights that came with the network, then the same ones from a file of their own.
        let whole = format!("{id}-file");
        let checkpoint = ["checkpoint", "import", "--network", id, &whole, &path("checkpoint.safetensors")];
        relief.run(&checkpoint).await?;
        for name in [id, &whole] {
            let csv = out(&format!("{name}.csv"));
            let evaluate = ["checkpoint", "evaluate", name, "--dataset", "data", "--logits", &csv, "--output", "json"];
            let evaluation: Evaluation = serde_json::from_str(&relief.run(&evaluate).await?)?;
            let centre = expected.interpolation.ts.iter().position(|t| *t == 0.0).context("no centre")?;
            let loss = expected.interpolation.frozen.loss[centre].context("no loss at the centre")?;
            assert_eq!(evaluation.n_samples, 96);
            near(name, &[evaluation.loss], &[loss], 0.0)?;
            assert_eq!(evaluation.accuracy.to_bits(), expected.interpolation.frozen.accuracy[centre].to_bits());
            let logits = logits_of(&std::fs::read_to_string(&csv)?)?;
            assert_eq!(logits.len(), 96);
            for (found, expected) in logits.iter().zip(&expected.first_logits) {
                near(name, found, expected, 1.0)?;
            }
        }
        let axis = |values: &[f64]| -> anyhow::Result<String> {
            let (first, last) = values.first().zip(values.last()).context("an axis without values")?;
            Ok(format!("{first}:{last}:{}", values.len()))
        };
        let (x, y) = (format!("--x={}", axis(&expected.xs)?), format!("--y={}", axis(&expected.ys)?));
        let (x_direction, y_direction) = (path("x.safetensors"), path("y.safetensors"));
        let surface = ["surface", "create", "--network", id, "--checkpoint", id, "--dataset", "data", "--watch"];
        let plane = ["--x-direction", &x_direction, "--y-direction", &y_direction, &x, &y];
        for numerics in ways {
            let surface = relief.run(&[&surface[..], &plane, numerics].concat()).await?;
            let json = out(&format!("{id}.json"));
            relief.run(&["surface", "export", &surface, "--format", "json", "--out", &json]).await?;
            let surface: Surface = serde_json::from_slice(&std::fs::read(&json)?)?;
            near("x", &surface.x, &expected.xs, 1.0)?;
            near("y", &surface.y, &expected.ys, 1.0)?;
            let loss: Vec<f64> = surface.loss.concat().into_iter().flatten().collect();
            near(&format!("loss {numerics:?}"), &loss, &expected.loss.concat(), 0.0)?;
            assert_eq!(surface.accuracy, expected.accuracy, "{numerics:?}");
            assert!(surface.flags.concat().iter().all(|flag| *flag == FINITE));
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_way_between_the_reference_checkpoints_has_the_reference_numbers() -> anyhow::Result<()> {
    let expected = expected()?;
    let Reference { sandbox, relief, .. } = &Reference::start().await?;
    let out = |name: &str| sandbox.path().join(name).display().to_string();
    relief.run(&["network", "import", "net", &path("exported_by_torch.onnx")]).await?;
    for id in ["checkpoint", "second"] {
        let file = path(&format!("{id}.safetensors"));
        relief.run(&["checkpoint", "import", "--network", "net", id, &file]).await?;
    }
    let Interpolation { ts, interpolated, frozen } = &expected.interpolation;
    let (first, last) = ts.first().zip(ts.last()).context("no points")?;
    let x = format!("--x={first}:{last}:{}", ts.len());
    for (mode, curve) in [(None, interpolated), (Some("frozen"), frozen), (Some("interpolated"), interpolated)] {
        let what = mode.unwrap_or("by default");
        let mode: Vec<&str> = mode.into_iter().flat_map(|mode| ["--batch-norm", mode]).collect();
        // In what logits are computed in, too, unless they ask otherwise.
        let create = ["surface", "create", "--from", "checkpoint", "--to", "second", "--dataset", "data", &x];
        let create = [&create[..], &["--precision", "f32", "--watch"]].concat();
        let surface = relief.run(&[&create[..], &mode].concat()).await?;
        let json = out("curve.json");
        relief.run(&["surface", "export", &surface, "--format", "json", "--out", &json]).await?;
        let found: Surface = serde_json::from_slice(&std::fs::read(&json)?)?;
        near(what, &found.x, ts, 1.0)?;
        let mut n_non_finite = 0;
        for (idx, t) in ts.iter().enumerate() {
            let (loss, flag) = (found.loss[0][idx], found.flags[0][idx]);
            match (loss, curve.loss[idx]) {
                (Some(loss), Some(expected)) => {
                    near(what, &[loss], &[expected], 0.0)?;
                    assert_eq!((flag, found.accuracy[0][idx]), (FINITE, curve.accuracy[idx]), "{what}, t = {t}");
                }
                (None, None) => {
                    // The interpolated variance is negative there.
                    assert_eq!(flag, NAN, "{what}, t = {t}");
                    n_non_finite += 1;
                }
                (loss, expected) => anyhow::bail!("{what}, t = {t}: {loss:?}, expected {expected:?}"),
            }
        }
        let described: Description =
            serde_json::from_str(&relief.run(&["surface", "get", &surface, "--output", "json"]).await?)?;
        assert_eq!(described.status.points_non_finite, n_non_finite);
        assert_eq!(described.geometry.cosine, None);

        // L(0) and L(1) are the checkpoints' own losses, bit for bit where the statistics go along.
        for (t, id) in [(0.0, "checkpoint"), (1.0, "second")] {
            let evaluate = ["checkpoint", "evaluate", id, "--dataset", "data", "--output", "json"];
            let evaluation: Evaluation = serde_json::from_str(&relief.run(&evaluate).await?)?;
            let idx = ts.iter().position(|other| *other == t).context("no such point")?;
            let loss = found.loss[0][idx].context("not finite")?;
            let is_same = loss.to_bits() == evaluation.loss.to_bits();
            assert_eq!(is_same, t == 0.0 || what != "frozen", "{what}, t = {t}: {loss} and {}", evaluation.loss);
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_reference_directions_have_the_reference_angle() -> anyhow::Result<()> {
    let expected = expected()?;
    let Reference { relief, .. } = &Reference::start().await?;
    relief.run(&["network", "import", "net", &path("exported_by_torch.onnx")]).await?;
    let (x, y) = (path("x.safetensors"), path("y.safetensors"));
    let create = ["surface", "create", "--checkpoint", "net", "--dataset", "data", "--x=0:1:2", "--y=0:1:2"];
    let surface = relief.run(&[&create[..], &["--x-direction", &x, "--y-direction", &y]].concat()).await?;
    let described: Description =
        serde_json::from_str(&relief.run(&["surface", "get", &surface, "--output", "json"]).await?)?;
    near("cosine", &[described.geometry.cosine.context("no cosine")?], &[expected.cosine], 0.0)?;
    let [x, y] = &described.geometry.axes[..] else { anyhow::bail!("not two axes") };
    for axis in [x, y] {
        // They are filter-normalised and leave biases and normalisations alone.
        let moving: Vec<&Norms> = axis.tensors.iter().filter(|norms| norms.direction > 0.0).collect();
        assert!(!moving.is_empty() && moving.len() < axis.tensors.len());
        for norms in &moving {
            near("a layer's norm", &[norms.direction], &[norms.weights], 0.0)?;
        }
        let norm = moving.iter().map(|norms| norms.direction.powi(2)).sum::<f64>().sqrt();
        near("the norm", &[axis.norm], &[norm], 0.0)?;
    }
    Ok(())
}
