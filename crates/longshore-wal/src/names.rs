//! The names in a log's directory, sorted out.

use std::sync::Arc;

use longshore_format::{Lsn, SegmentSize};
use longshore_storage::Directory;

use crate::prepare::TEMPORARY;
use crate::{Error, Result, control_file};

/// The names in a log's directory, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of segment files, ascending.
    pub(crate) bases: Vec<Lsn>,
    /// Of interrupted preparations (F-043).
    pub(crate) temporaries: Vec<String>,
    /// What is not ours (F-044): left alone.
    pub(crate) foreign: Vec<String>,
}

/// What a torn tail is copied to.
pub(crate) const CUT: &str = "cut-";
/// Where tails go that a fork set aside.
pub(crate) const DIVERGED: &str = "diverged";
/// The kept part of a segment with a fork, on its way to take that segment's name.
pub(crate) const FORK: &str = ".fork";
/// Comes between a segment's name and the time at which a repair put it aside.
pub(crate) const CORRUPT: &str = ".corrupt-";
/// Where an applier keeps its state.
pub(crate) const APPLIED: &str = "applied";
pub(crate) const LOCK: &str = "lock";

impl Names {
    pub(crate) fn of(dir: &Arc<dyn Directory>, size: SegmentSize) -> Result<Names> {
        let mut names = Names::default();
        for entry in dir.list().map_err(Error::io("list the log's directory"))? {
            match size.parse_file_name(&entry.name) {
                Some(base) if entry.regular => names.bases.push(base),
                // F-050: never follow a link out of the directory, never open a pipe.
                Some(_) => {
                    let fault = "not a regular file; move it out of the directory".to_owned();
                    return Err(Error::Damaged { path: dir.path_hint(), file: entry.name, fault });
                }
                None if entry.regular && entry.name.ends_with(TEMPORARY) => names.temporaries.push(entry.name),
                None if is_ours(&entry.name) => {}
                None => names.foreign.push(entry.name),
            }
        }
        names.bases.sort_unstable();
        Ok(names)
    }
}

fn is_ours(name: &str) -> bool {
    [control_file::NAME, LOCK, DIVERGED, APPLIED].contains(&name)
        || name.starts_with(CUT)
        || name.ends_with(FORK)
        || name.contains(CORRUPT)
}
