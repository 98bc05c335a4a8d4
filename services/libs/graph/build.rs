//! Compiles the ONNX wire format; needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROOT: &str = "../../../proto";
    println!("cargo:rerun-if-changed={ROOT}/onnx");
    let files = protox::compile([format!("{ROOT}/onnx/onnx.proto")], [ROOT])?;
    // Otherwise every attribute would have the size of a tensor, and a file of empty ones take 200 times its own.
    prost_build::Config::new().boxed(".onnx.AttributeProto.t").compile_fds(files)?;
    Ok(())
}
