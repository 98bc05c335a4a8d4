//! Numbers that other programs find too: logits in ONNX Runtime, directions in NumPy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use relief_core::{Direction, DirectionAxis, Engine, Normalization, Numerics, Precision, TensorMap, displace};
use relief_graph::{Graph, InputShape, builtin, initialize};
use relief_integration_tests::{Landscape, noise, settled, value};
use relief_nn::{CpuPath, Device, PlaneSession, Samples};
use relief_store::encode_checkpoint;
use relief_test_support::{CommandLine, Program, Sandbox};
use tokio::process::Command;

const N_SAMPLES: usize = 8;

/// Where each network is compared, from its centre to far out.
const POINTS: [[f64; 2]; 3] = [[0.0, 0.0], [0.25, -0.5], [1.0, -1.0]];

/// Relative difference of the loss.
const TOLERANCE: f64 = 1e-5;

/// The same for networks that are deep and have no shortcuts, in which roundings add up.
const DEEP_TOLERANCE: f64 = 5e-5;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients").join(name)
}

/// Runs a script to its end, for as long as the largest networks take.
async fn python(name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("python3");
    command.arg(script(name)).args(arguments).kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(240), command.output()).await.context("it takes too long")??;
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{name} {arguments:?}: {said}{complaint}");
    Ok(said.into_owned())
}

fn write_floats(path: &Path, values: &[f32]) -> anyhow::Result<()> {
    Ok(std::fs::write(path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?)
}

fn read_floats(path: &Path) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    let (values, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{} bytes are no numbers", bytes.len());
    Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

/// The mean cross entropy of logits in float64.
fn loss(logits: &[f32], targets: &[u32]) -> f64 {
    let n_classes = logits.len() / targets.len();
    let losses = logits.chunks(n_classes).zip(targets).map(|(row, target)| {
        let largest = row.iter().fold(f64::NEG_INFINITY, |largest, logit| largest.max(f64::from(*logit)));
        let sum: f64 = row.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
        sum.ln() + largest - f64::from(row[*target as usize])
    });
    losses.sum::<f64>() / targets.len() as f64
}

/// The worst difference of logits, relative to the largest of their row.
fn worst_difference(found: &[f32], expected: &[f32], n_classes: usize) -> anyhow::Result<f64> {
    ensure!(found.len() == expected.len(), "{} logits instead of {}", found.len(), expected.len());
    let mut worst = 0.0_f64;
    for (found, expected) in found.chunks(n_classes).zip(expected.chunks(n_classes)) {
        ensure!(found.iter().chain(expected).all(|logit| logit.is_finite()), "{found:?}, expected {expected:?}");
        let scale = expected.iter().fold(0.0_f64, |scale, logit| scale.max(f64::from(logit.abs())));
        let differences = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs() / scale);
        worst = worst.max(differences.fold(0.0, f64::max));
    }
    Ok(worst)
}

/// The mean of the shifts of a network that is deep, or has no shortcuts: few of its units are cut off then, so that a
/// rounding stays one, and there is something that two programs can agree on.
fn openness(name: &str) -> f32 {
    let is_shallow = ["lenet5", "resnet18", "resnet20", "resnet32", "resnet34", "resnet44"].contains(&name);
    let is_plain = name.ends_with("_noshort") || name == "vgg9" || name == "densenet121";
    match (is_shallow, is_plain) {
        (true, _) => 0.0,
        (_, true) => 2.0,
        // What shortcuts add up grows with the shifts.
        _ => 0.75,
    }
}

fn landscape(name: &str) -> anyhow::Result<Landscape> {
    let shape: InputShape = if name.starts_with("lenet") { "1x28x28" } else { "3x16x16" }.parse()?;
    let graph = Arc::new(builtin::build(name, shape, 10)?);
    let samples = noise(&graph, N_SAMPLES, 7)?;
    let origin = settled(&graph, &samples, 7, openness(name))?;
    Ok(Landscape { graph, origin, samples, batch_size: 128, device: Device::cpu() })
}

/// All that computes a network in float32 beside what is best. Plain Rust takes too long for large ones.
fn others(landscape: &Landscape, plane: &[Arc<Direction>]) -> anyhow::Result<Vec<PlaneSession>> {
    let f32 = |engine| Numerics { engine, precision: Precision::F32 };
    let is_small = landscape.graph.n_parameters() < 1 << 20;
    let paths = CpuPath::all().into_iter().skip(1).filter(|path| is_small || path.as_str() != "portable");
    let paths = paths.map(|path| (Device::cpu().with_path(path), f32(Engine::Cpu)));
    let burn = (Device::cpu(), f32(Engine::Burn));
    paths.chain([burn]).map(|(device, numerics)| landscape.session_in(plane, &device, numerics)).collect()
}

/// Holds a network at each of the points against ONNX Runtime, and all engines against each other. Returns the worst
/// differences of losses, of any two, and of logits.
async fn compare(name: &str, dir: &Path) -> anyhow::Result<(f64, f64, Vec<f64>)> {
    let landscape = landscape(name)?;
    let plane = landscape.plane(13, Normalization::Filter);
    let (session, others) = (landscape.session(&plane)?, others(&landscape, &plane)?);
    let inputs = dir.join("inputs.f32");
    write_floats(&inputs, landscape.samples.inputs())?;
    let (mut worst_loss, mut worst_logits, mut losses) = (0.0_f64, 0.0_f64, Vec::new());
    for (idx, point) in POINTS.iter().enumerate() {
        let steps: Vec<(f64, &Direction)> = point.iter().copied().zip(plane.iter().map(|along| &**along)).collect();
        let model = dir.join(format!("{name}-{idx}.onnx"));
        std::fs::write(&model, landscape.graph.to_onnx(Some(&displace(&landscape.origin, &steps)))?)?;
        let shape = landscape.graph.input_shape().to_string();
        let (inputs, model_path) = (inputs.display().to_string(), model.display().to_string());
        python("logits.py", &[&shape, &inputs, &model_path]).await?;
        let expected = read_floats(&model.with_extension("f32"))?;
        std::fs::remove_file(&model)?;

        let mut inference = session.infer(point)?;
        let found = inference.next_span(N_SAMPLES)?.context("no logits")?.logits;
        let here = value(&session, point)?.loss;
        let there = loss(&expected, landscape.samples.targets());
        let mut all = vec![here, there];
        for other in &others {
            all.push(value(other, point)?.loss);
        }
        ensure!(all.iter().all(|loss| loss.is_finite()), "{name} at {point:?}: {all:?}");
        let (least, most) = (all.iter().copied().fold(here, f64::min), all.iter().copied().fold(here, f64::max));
        worst_loss = worst_loss.max((most - least) / there.abs());
        let n_classes = landscape.graph.n_classes();
        worst_logits = worst_logits.max(worst_difference(&found, &expected, n_classes)?);
        losses.push(here);
    }
    Ok((worst_loss, worst_logits, losses))
}

#[tokio::test]
#[ignore = "needs ONNX Runtime; `cargo xtask clients` runs it"]
#[expect(clippy::print_stderr, reason = "the figures are worth reading, also when they are good")]
async fn every_generated_network_has_the_logits_and_the_loss_that_onnxruntime_finds() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let mut complaints = Vec::new();
    for name in builtin::names() {
        let (worst_loss, worst_logits, losses) = compare(name, sandbox.path()).await.context(name)?;
        eprintln!("{name:>20}: loss {worst_loss:.1e}, logits {worst_logits:.1e}; losses {losses:.4?}");
        let bound = if name.ends_with("_noshort") { DEEP_TOLERANCE } else { TOLERANCE };
        // Both programs round, and of single logits nothing averages out what either loses.
        if !(worst_loss <= bound && worst_logits <= bound.max(2.0 * TOLERANCE)) {
            complaints.push(format!("{name}: the loss differs by {worst_loss:.1e}, logits by {worst_logits:.1e}"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// Samples as a safetensors file: inputs as they are, and whole numbers as targets.
fn dataset(samples: &Samples) -> anyhow::Result<Vec<u8>> {
    let [channels, height, width] = samples.shape().dims();
    let inputs: Vec<u8> = samples.inputs().iter().flat_map(|value| value.to_le_bytes()).collect();
    let targets: Vec<u8> = samples.targets().iter().flat_map(|target| i64::from(*target).to_le_bytes()).collect();
    let end = inputs.len();
    let header = serde_json::to_vec(&serde_json::json!({
        "inputs": {"dtype": "F32", "shape": [samples.n_samples(), channels, height, width], "data_offsets": [0, end]},
        "targets": {"dtype": "I64", "shape": [samples.n_samples()], "data_offsets": [end, end + targets.len()]},
    }))?;
    Ok([(header.len() as u64).to_le_bytes().to_vec(), header, inputs, targets].concat())
}

/// Writes the settled parameters of a network as safetensors.
fn checkpoint(graph: &Arc<Graph>, path: &Path) -> anyhow::Result<TensorMap> {
    let parameters = settled(graph, &noise(graph, N_SAMPLES, 7)?, 7, 0.5)?;
    std::fs::write(path, encode_checkpoint(&parameters)?)?;
    Ok(parameters)
}

#[tokio::test]
#[ignore = "needs ONNX Runtime; `cargo xtask clients` runs it"]
async fn an_exported_network_has_the_logits_that_the_platform_computes() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let relief = CommandLine::at(&platform);
    let path = |name: &str| sandbox.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    for name in ["lenet5", "vgg9", "resnet20", "resnet56", "resnet18", "wrn56_2", "densenet121"] {
        let graph = Arc::new(builtin::build_default(name)?);
        checkpoint(&graph, &path("settled.safetensors"))?;
        let samples = noise(&graph, N_SAMPLES, 11)?;
        let shape = graph.input_shape();
        std::fs::write(path("data.safetensors"), dataset(&samples)?)?;
        write_floats(&path("inputs.f32"), samples.inputs())?;

        let export = ["network", "export", name, "--checkpoint", &text("settled.safetensors")];
        relief.run(&[&export[..], &["--out", &text("exported.onnx")]].concat()).await?;
        python("logits.py", &[&shape.to_string(), &text("inputs.f32"), &text("exported.onnx")]).await?;
        let expected = read_floats(&path("exported.f32"))?;

        let import = ["checkpoint", "import", "--network", name, name, &text("settled.safetensors")];
        relief.run(&import).await?;
        let import = ["dataset", "import", name, "--format", "safetensors", &text("data.safetensors")];
        relief.run(&[&import[..], &["--classes", "10"]].concat()).await?;
        let evaluate = ["checkpoint", "evaluate", name, "--dataset", name, "--logits", &text("logits.csv")];
        relief.run(&evaluate).await?;
        let csv = std::fs::read_to_string(path("logits.csv"))?;
        let row = |line: &str| line.split(',').skip(2).map(str::parse::<f32>).collect::<Result<Vec<_>, _>>();
        let found = csv.lines().skip(1).map(row).collect::<Result<Vec<_>, _>>()?.concat();
        let worst = worst_difference(&found, &expected, 10)?;
        ensure!(worst <= TOLERANCE, "{name}: logits differ by {worst:.1e}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs NumPy; `cargo xtask clients` runs it"]
async fn a_direction_is_drawn_again_by_numpy() -> anyhow::Result<()> {
    let sandbox = Sandbox::new()?;
    let platform = sandbox.launch(Program::Relief).start().await?;
    let relief = CommandLine::at(&platform);
    let text = |name: &str| sandbox.path().join(name).display().to_string();
    let graph = builtin::build("resnet20", "1x28x28".parse()?, 10)?;
    let weights = text("weights.safetensors");
    std::fs::write(&weights, encode_checkpoint(&initialize(&graph, 5))?)?;
    relief.run(&["checkpoint", "import", "--network", "resnet20-1x28x28-10", "mine", &weights]).await?;
    for normalization in ["filter", "layer", "weight", "dfilter", "dlayer", "none"] {
        let create = ["surface", "create", "--checkpoint", "mine", "--dataset", "fashion-mnist-6k", "--limit", "1"];
        let plane = ["--x=0:0:1", "--y=0:0:1", "--seed", "123456789012345678", "--normalization", normalization];
        let surface = relief.run(&[&create[..], &plane].concat()).await?;
        relief.run(&["surface", "directions", &surface, "--out", &text("directions")]).await?;
        for axis in [DirectionAxis::X, DirectionAxis::Y].map(DirectionAxis::as_str) {
            let file = text(&format!("directions/{axis}.safetensors"));
            let said = python("direction.py", &[&weights, "123456789012345678", axis, normalization, &file]).await?;
            ensure!(said.starts_with("22 tensors"), "{normalization}: {said}");
        }
    }
    Ok(())
}
