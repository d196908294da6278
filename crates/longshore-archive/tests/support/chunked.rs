//! A manifest that keeps entries in chunks, as one of thousands of segments does.

use longshore_archive::envelope::{self, Sealing};
use longshore_archive::keys::Context;
use longshore_format::LogId;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use serde_json::{Value, json};

async fn put(objects: &InMemory, log: LogId, object: &str, json: &[u8]) -> ObjectPath {
    let path = ObjectPath::from(format!("app/{object}"));
    // The manifest is opened before the log is known.
    let context = match object {
        "manifest" => Context { log: LogId::from_bytes([0; 16]), object: path.to_string() },
        object => Context { log, object: object.to_owned() },
    };
    let sealed = envelope::seal(json, &context, &Sealing { level: None, keys: None }).unwrap();
    objects.put(&path, sealed.into()).await.unwrap();
    path
}

/// Moves the oldest entries of a manifest into chunks, as happens to thousands: two chunks of so many.
pub(crate) async fn in_two_chunks(objects: &InMemory, log: LogId, of: usize) -> [ObjectPath; 2] {
    let bytes = objects.get(&"app/manifest".into()).await.unwrap().bytes().await.unwrap();
    let context = Context { log: LogId::from_bytes([0; 16]), object: "app/manifest".to_owned() };
    let mut manifest: Value =
        serde_json::from_slice(&envelope::open(&bytes, &context, None, 1 << 20).unwrap()).unwrap();
    let mut segments = manifest["segments"].as_array().unwrap().clone();
    let (mut paths, mut previous) = (Vec::new(), Value::Null);
    for _ in 0..2 {
        let chunk: Vec<Value> = segments.drain(..of).collect();
        let first = chunk[0]["base"].clone();
        // In the order in which it is written.
        let text = format!(r#"{{"previous":{previous},"segments":{}}}"#, json!(chunk));
        let object = format!("chunks/{}", blake3::hash(text.as_bytes()).to_hex());
        paths.push(put(objects, log, &object, text.as_bytes()).await);
        manifest["chunks"].as_array_mut().unwrap().push(json!({"object": object, "first": first, "segments": of}));
        previous = json!(object);
    }
    manifest["segments"] = segments.into();
    put(objects, log, "manifest", manifest.to_string().as_bytes()).await;
    paths.try_into().unwrap()
}
