//! Compiles the ONNX wire format; needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROOT: &str = "../../../proto";
    println!("cargo:rerun-if-changed={ROOT}/onnx");
    let files = protox::compile([format!("{ROOT}/onnx/onnx.proto")], [ROOT])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
