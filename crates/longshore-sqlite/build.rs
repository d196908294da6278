//! Compiles the messages of SQL records, without a system `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = "../../proto";
    println!("cargo:rerun-if-changed={protos}/longshore/v1/sql.proto");
    let descriptors = protox::compile([format!("{protos}/longshore/v1/sql.proto")], [protos])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
