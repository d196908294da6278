//! Logs of a directory, read without changing anything, also beside a live agent.

use std::path::Path;
use std::sync::Arc;

use longshore_apply::{Edge, Planner, Point, Target};
use longshore_format::{ErrorKind, Lsn, Name};
use longshore_storage::{Directory, FsDirectory};
use longshore_wal::ReadLog;

use crate::connect::name;
use crate::failure::Failure;

/// A log's name and where it is.
pub(crate) type Found = (Name, Arc<dyn Directory>);

/// The directory of the log that was asked for, or of every log there is.
pub(crate) fn directories(data_dir: &Path, log: Option<&str>) -> Result<Vec<Found>, Failure> {
    let names = match log {
        Some(log) => vec![name("log", log)?],
        None => names(data_dir)?,
    };
    names.into_iter().map(|name| Ok((name.clone(), directory(data_dir, &name)?))).collect()
}

/// One log, for reading.
pub(crate) fn open(data_dir: &Path, log: &str) -> Result<ReadLog, Failure> {
    Ok(ReadLog::open(directory(data_dir, &name("log", log)?)?)?)
}

/// The directory of one log.
pub(crate) fn directory(data_dir: &Path, log: &Name) -> Result<Arc<dyn Directory>, Failure> {
    let path = data_dir.join(log.as_str());
    match FsDirectory::open(&path) {
        Ok(directory) => Ok(Arc::new(directory)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(ErrorKind::NotFound, format!("there is no log {log} under {}", data_dir.display()))
                .next("is the volume mounted? `longshore dump --data-dir DIR` lists the logs of a directory"))
        }
        Err(error) => Err(Failure::file("log directory", &path, &error)),
    }
}

/// The names of the logs in a directory. What is not called like one is not looked at.
fn names(data_dir: &Path) -> Result<Vec<Name>, Failure> {
    let failed = |error| Failure::file("data directory", data_dir, &error);
    let entries = FsDirectory::open(data_dir).and_then(|dir| dir.list()).map_err(failed)?;
    let candidates = entries.into_iter().filter(|entry| entry.directory);
    let names: Vec<_> = candidates
        .filter(|entry| data_dir.join(&entry.name).join("control").exists())
        .filter_map(|entry| Name::new(&entry.name).ok())
        .collect();
    if names.is_empty() {
        let what = format!("there is no log under {}", data_dir.display());
        return Err(Failure::new(ErrorKind::NotFound, what).next("is the volume mounted?"));
    }
    Ok(names)
}

/// The position a target means in a log that may be too damaged to be opened, if it is named by its
/// number; it need be no boundary then.
pub(crate) fn position(dir: &Arc<dyn Directory>, target: Target) -> Result<Lsn, Failure> {
    match target {
        Target { point: Point::Lsn(lsn), edge: Edge::After } => Ok(lsn),
        target => boundary(&ReadLog::open(Arc::clone(dir))?, target),
    }
}

/// The boundary a target means: what lies before it is what the target keeps.
pub(crate) fn boundary(log: &ReadLog, target: Target) -> Result<Lsn, Failure> {
    match target {
        Target { point: Point::Latest, .. } => Ok(log.end()),
        // A reader stands at boundaries only, and says which are near when this is none.
        Target { point: Point::Lsn(lsn), edge: Edge::After } => Ok(log.reader(lsn)?.position()),
        Target { point: Point::Time(time), edge: Edge::After } => Ok(log.position_at(time)?),
        target => Ok(Planner::new(log, "read", None, target)?.run()?.stop),
    }
}

/// A flag in the one grammar of targets.
pub(crate) fn target(flag: &str, text: &str) -> Result<Target, Failure> {
    text.parse::<Target>().map_err(|error| Failure::invalid(format!("--{flag}: {error}")))
}
