//! An archive of very many segments that are not there: all that an open reads is there.
//!
//! It is made from the manifest of a small one, which names its segment again and again.

use std::path::Path;

use longshore::archive::envelope::{self, Sealing};
use longshore::archive::keys::Context;
use longshore_format::LogId;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Names in one chunk, as an archiver puts them there.
const CHUNK: u64 = 1000;
const LONGEST: u64 = 1 << 30;

/// Makes the archive of `log` in the directory `store`, which has a sealed segment, one of `count` segments.
pub(super) fn pretend(store: &Path, log: &str, count: u64) -> Result<(), Failure> {
    let dir = store.join(log);
    let failed = |what: String| Failure::internal(format!("{}: {what}", dir.display()));
    let manifest = std::fs::read(dir.join("manifest")).map_err(|error| Failure::file("manifest", &dir, &error))?;
    let context = Context { log: LogId::from_bytes([0; 16]), object: String::new() };
    let json = envelope::open(&manifest, &context, None, LONGEST).map_err(|error| failed(error.to_string()))?;
    let mut manifest: Value = serde_json::from_slice(&json).map_err(|error| failed(error.to_string()))?;
    let (first, size) = (number(&manifest["first"]), number(&manifest["segment_size"]));
    let segment = manifest["segments"][0].clone();
    let named = |n: u64| {
        let mut segment = segment.clone();
        segment["base"] = json!(first + n * size);
        segment
    };
    let put = |object: &str, json: &Value| {
        let how = Sealing { level: Some(1), keys: None };
        let sealed = envelope::seal(json.to_string().as_bytes(), &context, &how);
        let sealed = sealed.map_err(|error| failed(error.to_string()))?;
        std::fs::write(dir.join(object), sealed).map_err(|error| Failure::file("object", &dir.join(object), &error))
    };
    std::fs::create_dir_all(dir.join("chunks")).map_err(|error| Failure::file("directory", &dir, &error))?;
    let (mut chunks, mut previous) = (Vec::new(), Value::Null);
    let chunked = count.saturating_sub(1) / CHUNK;
    for n in 0..chunked {
        let segments: Vec<Value> = (n * CHUNK..(n + 1) * CHUNK).map(named).collect();
        let chunk = json!({ "previous": previous, "segments": segments });
        let object = format!("chunks/{}", blake3::hash(chunk.to_string().as_bytes()).to_hex());
        put(&object, &chunk)?;
        chunks.push(json!({ "object": object, "first": first + n * CHUNK * size, "segments": CHUNK }));
        previous = json!(object);
    }
    manifest["chunks"] = json!(chunks);
    manifest["segments"] = (chunked * CHUNK..count).map(named).collect();
    manifest["tail"] = json!([]);
    put("manifest", &manifest)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
