//! `relief-bench engine` as it is called, with too few samples and rounds to measure anything.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn networks_are_measured_apart_and_reported_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let (json, markdown) = (folder.path().join("report.json"), folder.path().join("report.md"));
    let output = Command::new(env!("CARGO_BIN_EXE_relief-bench"))
        .args(["engine", "--networks", "lenet5,resnet20", "--samples", "8", "--rounds", "1", "--threads", "1"])
        .args(["--quick", "--training", "--python", "no-such-python"])
        .arg("--json")
        .arg(&json)
        .arg("--markdown")
        .arg(&markdown)
        .output()
        .expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.trim_end(), fs::read_to_string(markdown).expect("a report").trim_end());
    for line in ["### lenet5", "### resnet20", "- onnxruntime: `no-such-python` is no Python with NumPy"] {
        assert!(printed.lines().any(|found| found == line), "{line}\n{printed}");
    }

    let report: Value = serde_json::from_slice(&fs::read(json).expect("a report")).expect("JSON");
    let networks = report["networks"].as_array().expect("networks");
    assert_eq!(networks.len(), 2, "{report}");
    for network in networks {
        let best = &network["subjects"][0];
        assert!(best["loss"].as_f64().is_some_and(f64::is_finite), "{best}");
        assert!(best["seconds"][0].as_f64().is_some_and(|seconds| seconds > 0.0), "{best}");
        assert!(best["stages"]["forward"].as_f64().is_some_and(|seconds| seconds > 0.0), "{best}");
        assert!(network["training"][0].as_f64().is_some_and(|rate| rate > 0.0), "{network}");
        let left_out = network["left_out"].as_array().expect("what was left out");
        for what in ["burn", "torch-nchw", "original-loop"] {
            assert!(left_out.iter().any(|part| part["what"] == what), "{what}: {left_out:?}");
        }
        if cfg!(target_os = "linux") {
            let memory = &best["memory"];
            assert!(memory["peak_mib"].as_f64() > memory["formula_mib"].as_f64(), "{best}");
        }
    }
}
