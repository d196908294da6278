//! What `verify` has proven, kept in a file between two runs.

use std::io::Read;
use std::path::{Path, PathBuf};

use longshore::archive::Proven;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    schema: u32,
    proven: Proven,
}

/// What is remembered; nothing where there is no file yet.
pub(super) fn read(path: &Path) -> Result<Proven, Failure> {
    let failed = |error| Failure::file("cannot read", path, &error);
    let mut text = String::new();
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Proven::default()),
        file => file.map_err(failed)?.take(LONGEST).read_to_string(&mut text).map_err(failed)?,
    };
    let unusable = |what: String| {
        Failure::invalid(format!("{} holds no state of `archive verify`: {what}", path.display()))
            .next("name another file, or remove this one: then everything is fetched once more")
    };
    let state: State = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    match state.schema == SCHEMA {
        true => Ok(state.proven),
        false => Err(unusable(format!("it has schema {}, and this program knows {SCHEMA}", state.schema))),
    }
}

/// Puts it in the place of what was remembered, whole or not at all.
pub(super) fn write(path: &Path, proven: &Proven) -> Result<(), Failure> {
    let state = State { schema: SCHEMA, proven: proven.clone() };
    let text = serde_json::to_string(&state).expect("plain data can be written as JSON");
    let temporary = PathBuf::from(format!("{}.new", path.display()));
    let written = std::fs::write(&temporary, text + "\n").and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| Failure::file("cannot write", path, &error))
}

const SCHEMA: u32 = 1;
/// An entry is some hundred bytes for each log and store.
const LONGEST: u64 = 16 << 20;
