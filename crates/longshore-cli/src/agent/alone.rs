//! A data directory is one agent's: a log that somebody else makes there meanwhile, it would not serve.

use std::io;
use std::path::Path;

use longshore_format::ErrorKind;
use longshore_storage::{FsDirectory, Lock};

use crate::failure::Failure;

/// The file by which it is taken. Its name is no log's: none has a dot.
const LOCK: &str = "agent.lock";

/// Takes the data directory, which is made if it is not there, for this process alone, until what is returned is dropped.
pub(crate) fn alone(data_dir: &Path) -> Result<Box<dyn Lock>, Failure> {
    let lock = FsDirectory::create(data_dir).and_then(|dir| dir.lock_by(LOCK));
    lock.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => {
            let what = format!("the data directory {} is in use: {error}", data_dir.display());
            Failure::new(ErrorKind::Busy, what).next("end that agent, or give this one a --data-dir of its own")
        }
        _ => Failure::file("data directory", data_dir, &error),
    })
}
