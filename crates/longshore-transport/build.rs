//! Compiles the wire contract with a pure-Rust compiler, so that no `protoc` is needed.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

/// The files of the contract that this crate serves; `sql.proto` is compiled by its own sink.
const FILES: [&str; 4] = ["error", "replication", "log", "admin"];

/// The fields that carry bulk data, decoded as slices of the received buffer instead of copies.
const ZERO_COPY: [&str; 7] = [
    ".longshore.v1.Frames.payload",
    ".longshore.v1.SegmentChunk.data",
    ".longshore.v1.SnapshotChunk.data",
    ".longshore.v1.SnapshotRangesChunk.data",
    ".longshore.v1.LogDescription.header",
    ".longshore.v1.RecordDraft.payload",
    ".longshore.v1.Record.payload",
];

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let files = FILES.map(|name| format!("longshore/v1/{name}.proto"));
    let descriptors = protox::compile(files, [&proto])?;

    // `compile_fds` does not write the descriptor set that server reflection answers from.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let generator = tonic_prost_build::configure().build_transport(false).codec_path("crate::codec::Bounded");
    ZERO_COPY.iter().fold(generator, |generator, field| generator.bytes(field)).compile_fds(descriptors)?;

    // Not ours and not served: the little that is asked of another system.
    let etcd = protox::compile(["etcd/kv.proto"], [&proto])?;
    let generator = tonic_prost_build::configure().build_transport(false).build_server(false);
    generator.codec_path("crate::codec::Bounded").compile_fds(etcd)?;
    Ok(())
}
