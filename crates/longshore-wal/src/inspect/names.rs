//! The names in a log's directory.

use longshore_format::{Lsn, SegmentSize};
use longshore_storage::{DirEntry, Directory};

use crate::names::{APPLIED, CORRUPT, CUT, DIVERGED, FORK, LOCK};
use crate::prepare::TEMPORARY;
use crate::{Error, Result, control_file};

/// Something beside the segments in a log's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: OtherKind,
    /// How long it is; 0 for a directory.
    pub len: u64,
}

/// What a name beside the segments stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherKind {
    /// A part of every log: the control file, the lock.
    Own,
    /// A torn tail that was cut, kept for whoever wants to look.
    Cut,
    /// A damaged segment that was replaced.
    Replaced,
    /// Histories that were set aside.
    Diverged,
    /// What the applier keeps.
    Applied,
    /// A segment that is being prepared, or what an interrupted preparation or repair left; removed when the log is opened.
    Temporary,
    /// Not longshore's (F-044).
    Foreign,
}

impl OtherKind {
    /// The kind as JSON output spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            OtherKind::Own => "own",
            OtherKind::Cut => "cut",
            OtherKind::Replaced => "replaced",
            OtherKind::Diverged => "diverged",
            OtherKind::Applied => "applied",
            OtherKind::Temporary => "temporary",
            OtherKind::Foreign => "foreign",
        }
    }

    fn of(entry: &DirEntry) -> OtherKind {
        match entry.name.as_str() {
            control_file::NAME | LOCK if entry.regular => OtherKind::Own,
            DIVERGED if entry.directory => OtherKind::Diverged,
            APPLIED if entry.directory => OtherKind::Applied,
            name if entry.regular && name.starts_with(CUT) => OtherKind::Cut,
            name if entry.regular && name.contains(CORRUPT) => OtherKind::Replaced,
            name if entry.regular && (name.ends_with(TEMPORARY) || name.ends_with(FORK)) => OtherKind::Temporary,
            _ => OtherKind::Foreign,
        }
    }
}

/// A segment's name.
#[derive(Clone, Debug)]
pub(crate) struct SegmentName {
    pub(crate) base: Lsn,
    pub(crate) name: String,
    pub(crate) regular: bool,
}

/// The segments by base, and everything else.
pub(crate) fn sorted_out(dir: &dyn Directory, size: SegmentSize) -> Result<(Vec<SegmentName>, Vec<Other>)> {
    let (mut segments, mut others) = (Vec::new(), Vec::new());
    for entry in dir.list().map_err(Error::io("list the log's directory"))? {
        match size.parse_file_name(&entry.name) {
            Some(base) => segments.push(SegmentName { base, regular: entry.regular, name: entry.name }),
            None => others.push(Other { kind: OtherKind::of(&entry), len: entry.len, name: entry.name }),
        }
    }
    segments.sort_unstable_by_key(|segment| segment.base);
    Ok((segments, others))
}
