//! A restore that is complete, and whose log is still to be promoted.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use longshore::{ErrorKind, Lsn};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output;
use crate::sinks::SinkSpec;

/// What in the scratch directory says so.
const NAME: &str = "restored";

/// What was restored.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) from: Vec<String>,
    pub(super) target: String,
    pub(super) output: PathBuf,
    /// Where the output stops.
    pub(super) stop: Option<u64>,
}

impl Pending {
    pub(super) fn new(from: &[String], target: String, into: &SinkSpec, stop: Option<Lsn>) -> Self {
        let output = match into {
            SinkSpec::Sqlite(path) | SinkSpec::JsonLines(path) => std::path::absolute(path).unwrap_or(path.clone()),
            stream => PathBuf::from(stream.to_string()),
        };
        Self { from: from.to_vec(), target, output, stop: stop.map(Lsn::get) }
    }

    /// What an earlier run has left in its scratch directory.
    pub(super) fn read(scratch: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(scratch.join(NAME)).ok()?).ok()
    }

    pub(super) fn write(&self, scratch: &Path) -> Result<(), Failure> {
        let path = scratch.join(NAME);
        // Whole or not at all, also after a power cut: the promotion comes next.
        let write = || {
            let whole = scratch.join(format!("{NAME}.partial"));
            let mut file = File::create(&whole)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&whole, &path)?;
            File::open(scratch)?.sync_all()
        };
        write().map_err(|error: std::io::Error| Failure::file("cannot write", &path, &error))
    }

    /// Refuses to promote what is something else than is asked for now.
    pub(super) fn must_be(&self, asked: &Pending, into: &SinkSpec, scratch: &Path) -> Result<(), Failure> {
        let is_gone = matches!(into, SinkSpec::Sqlite(_) | SinkSpec::JsonLines(_)) && !into.is_there();
        let same = (&self.from, &self.target, &self.output) == (&asked.from, &asked.target, &asked.output);
        if same && !is_gone {
            return Ok(());
        }
        let Self { from, target, output, .. } = self;
        let what = format!(
            "an earlier run restored {target} of {} into {}{}, and its log was not promoted",
            from.join(" and "),
            output.display(),
            if is_gone { ", which is gone" } else { "" }
        );
        let next = match is_gone {
            true => format!("remove {}, and run it again", scratch.display()),
            false => format!("ask for the same to promote it, or remove {} and begin anew", scratch.display()),
        };
        Err(Failure::new(ErrorKind::Busy, what).next(next))
    }
}

/// What a plan says of it.
#[derive(Serialize)]
pub(super) struct Plan {
    pub(super) restored: Pending,
    pub(super) goes_on: Option<String>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pending { from, target, output, .. } = &self.restored;
        let restored = format!("by an earlier run: {target} of {}, into {}", from.join(" and "), output.display());
        let rows = [("restored", Some(restored)), ("goes on", self.goes_on.clone())];
        let rows: Vec<_> = rows.into_iter().filter_map(|(name, told)| Some((name, told?))).collect();
        f.write_str(&output::pairs(&rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_restored_is_promoted() {
        let place = tempfile::tempdir().unwrap();
        let [file, other] = ["a.db", "b.db"].map(|name| place.path().join(name));
        std::fs::write(&file, "").unwrap();
        let sqlite = |path: &Path| SinkSpec::Sqlite(path.to_owned());
        let pending = |from: &str, target: &str, path: &Path| {
            Pending::new(&[from.to_owned()], target.to_owned(), &sqlite(path), Some(Lsn::new(5000)))
        };
        let restored = pending("file:///a", "latest", &file);
        restored.write(place.path()).unwrap();
        let read = Pending::read(place.path()).unwrap();
        assert_eq!(read, restored);
        for (asked, into, says) in [
            (pending("file:///a", "latest", &file), &file, None),
            (pending("file:///b", "latest", &file), &file, Some("latest of file:///a into")),
            (pending("file:///a", "mark:here", &file), &file, Some("its log was not promoted")),
            (pending("file:///a", "latest", &other), &other, Some("which is gone")),
        ] {
            let told = read.must_be(&asked, &sqlite(into), place.path()).map_err(|failure| failure.to_string());
            match says {
                None => assert_eq!(told, Ok(())),
                Some(says) => assert!(told.as_ref().unwrap_err().contains(says), "{told:?}"),
            }
        }
        let printed = Pending::new(&[], String::new(), &SinkSpec::Stdout, None);
        printed.must_be(&printed, &SinkSpec::Stdout, place.path()).unwrap();
    }
}
