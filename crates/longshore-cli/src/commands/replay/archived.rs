//! A replay from object stores: what is to be fetched, and the fetching.

use std::fmt;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use longshore::apply::{Edge, Point, Target};
use longshore::archive::{Archive, Begin, FetchPlan, Until};
use longshore::{Content, Lsn, Output};
use serde::Serialize;

use crate::failure::Failure;
use crate::quantity::show_bytes;
use crate::sinks::SinkSpec;

/// What is fetched.
#[derive(Serialize)]
pub(super) struct Fetching {
    log: String,
    store: String,
    snapshot: Option<u64>,
    from: u64,
    to: u64,
    archived_to: u64,
    objects: u64,
    segments: u64,
    fetched_bytes: u64,
    scratch_bytes: u64,
    scratch: String,
}

impl Fetching {
    pub(super) fn new(archive: &Archive, plan: &FetchPlan, scratch: &std::path::Path) -> Self {
        Self {
            log: archive.name().to_string(),
            store: plan.store.clone(),
            snapshot: plan.snapshot.as_ref().map(|snapshot| snapshot.position),
            from: plan.first.get(),
            to: plan.end.get(),
            archived_to: plan.archived.get(),
            objects: plan.objects(),
            segments: plan.segments(),
            fetched_bytes: plan.bytes,
            scratch_bytes: plan.space,
            scratch: scratch.display().to_string(),
        }
    }
}

impl fmt::Display for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "fetch    log {} from {}", self.log, self.store)?;
        writeln!(f, "         {} to {}, archived to {}", self.from, self.to, self.archived_to)?;
        if let Some(position) = self.snapshot {
            writeln!(f, "         with the snapshot at {position}")?;
        }
        let (fetched, scratch) = (show_bytes(self.fetched_bytes), show_bytes(self.scratch_bytes));
        writeln!(f, "         {} objects ({} segments), {fetched}", self.objects, self.segments)?;
        writeln!(f, "scratch  {scratch} in {} while it is restored", self.scratch)
    }
}

/// How much of the log a target needs; a mark is found by reading.
pub(super) fn until(target: &Target) -> Until {
    // One before a point is a point before it.
    let edge = u64::from(target.edge == Edge::Before);
    match target.point {
        Point::Lsn(lsn) => Until::Position(Lsn::new(lsn.get().saturating_sub(edge))),
        Point::Time(micros) => Until::Time(micros.saturating_sub(edge)),
        Point::Latest => Until::End,
        Point::Mark(_) => Until::Somewhere,
    }
}

/// What an output begins with.
pub(crate) fn begin(output: &Output, content: Content) -> Begin {
    if output.takes_snapshot(content) { Begin::Snapshot } else { Begin::First }
}

/// Where the log lies while it is restored: beside a file, so that an interrupted restore finds it again.
pub(super) fn scratch(told: Option<&PathBuf>, into: &SinkSpec, log: &str) -> Result<PathBuf, Failure> {
    if let Some(told) = told {
        return Ok(told.clone());
    }
    match into {
        SinkSpec::Sqlite(path) | SinkSpec::JsonLines(path) => Ok(PathBuf::from(format!("{}.log", path.display()))),
        SinkSpec::Stdout | SinkSpec::Exec(..) => {
            Err(Failure::invalid(format!("log {log} has to lie somewhere while it is restored into {into}"))
                .next("name a directory with --scratch DIR"))
        }
    }
}

/// How far a fetch is, on stderr; nothing where stderr is no terminal.
pub(super) fn bar(plan: &FetchPlan) -> ProgressBar {
    let style = "  fetching {bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    ProgressBar::new(plan.bytes).with_style(ProgressStyle::with_template(style).expect("the template is right"))
}
