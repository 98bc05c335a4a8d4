//! Numbers that an independent implementation found, reached through the command line with files of that implementation.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use relief_test_support::{CommandLine, Program, Sandbox};
use serde::Deserialize;

const TOLERANCE: f64 = 1e-5;

/// What is known of the network.
#[derive(Deserialize)]
struct Expected {
    parameters: u64,
    xs: Vec<f64>,
    ys: Vec<f64>,
    loss: Vec<Vec<f64>>,
    accuracy: Vec<Vec<f64>>,
    interpolation: Interpolation,
    first_logits: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Interpolation {
    ts: Vec<f64>,
    frozen: Curve,
}

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
    loss: Vec<Vec<f64>>,
    accuracy: Vec<Vec<f64>>,
}

/// What `relief checkpoint evaluate --output json` prints.
#[derive(Deserialize)]
struct Evaluation {
    n_samples: u64,
    loss: f64,
    accuracy: f64,
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
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let relief = CommandLine::at(&platform);
    let path = |name: &str| fixture(name).display().to_string();
    let out = |name: &str| sandbox.path().join(name).display().to_string();

    let data = path("data.safetensors");
    relief.run(&["dataset", "import", "data", "--format", "safetensors", &data, "--classes", "10"]).await?;
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
        let surface = relief.run(&[&surface[..], &plane].concat()).await?;
        let json = out(&format!("{id}.json"));
        relief.run(&["surface", "export", &surface, "--format", "json", "--out", &json]).await?;
        let surface: Surface = serde_json::from_slice(&std::fs::read(&json)?)?;
        near("x", &surface.x, &expected.xs, 1.0)?;
        near("y", &surface.y, &expected.ys, 1.0)?;
        near("loss", &surface.loss.concat(), &expected.loss.concat(), 0.0)?;
        assert_eq!(surface.accuracy, expected.accuracy);
    }
    Ok(())
}
