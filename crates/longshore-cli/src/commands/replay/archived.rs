//! A replay from object stores: what is known of it before anything is fetched.

use std::fmt;
use std::path::{Path, PathBuf};

use longshore::apply::{Point, Target};
use longshore::archive::{Archive, FetchPlan, Finding, Glimpse, LeftOut, Sample, Store};
use longshore::{ErrorKind, Foreseen, Replay};
use serde::Serialize;

use super::{Phases, told};
use crate::failure::Failure;
use crate::output;
use crate::price::{Asked, Cost};
use crate::quantity::{rfc3339, show_bytes, show_duration};
use crate::sinks::SinkSpec;

/// What is fetched, where it stops, and what it takes.
#[derive(Serialize)]
pub(super) struct Plan {
    log: String,
    content: String,
    target: String,
    output: String,
    store: String,
    /// The position of the snapshot that it begins with.
    snapshot: Option<u64>,
    from: u64,
    to: u64,
    archived_to: u64,
    segments: u64,
    objects: u64,
    fetched_bytes: u64,
    /// `None` where the store does not tell which objects it has.
    gaps: Option<Vec<Gap>>,
    stop: Option<u64>,
    stop_time: Option<String>,
    next: Option<Next>,
    unfinished_from: Option<u64>,
    /// What is worth a look before it begins.
    warnings: Vec<String>,
    /// Whether what comes next could not be looked at.
    #[serde(skip)]
    is_cut: bool,
    scratch: String,
    scratch_bytes: u64,
    scratch_free_bytes: u64,
    output_bytes: Option<u64>,
    output_free_bytes: Option<u64>,
    fetch_seconds: Option<f64>,
    restore_seconds: Option<f64>,
    cost: Cost,
    /// How the log goes on from there, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) goes_on: Option<String>,
    /// Whether the stop is not known before the log is read.
    finds_mark: bool,
}

/// What no store has whole any more.
#[derive(Serialize)]
struct Gap {
    start: u64,
    end: u64,
    store: String,
    object: String,
    /// What became of it.
    what: String,
}

/// The first transaction that is left out.
#[derive(Serialize)]
struct Next {
    start: u64,
    /// The rest is `None` of one that is longer than what was looked at.
    end: Option<u64>,
    time: Option<String>,
    records: Option<u64>,
}

/// What an archive, its plan and a look at the stop tell.
pub(super) struct Known<'a> {
    pub(super) archive: &'a Archive,
    pub(super) plan: &'a FetchPlan,
    pub(super) glimpse: Option<Glimpse>,
    pub(super) foreseen: Foreseen,
    /// `None` if it cannot be known.
    pub(super) holes: Option<Vec<Finding>>,
}

impl Plan {
    pub(super) fn new(known: Known<'_>, target: &Target, into: &SinkSpec, scratch: &Path, stores: &[Store]) -> Self {
        let Known { archive, plan, glimpse, foreseen, holes } = known;
        let store = stores.iter().find(|store| store.label() == plan.store);
        let asked = Asked { puts: 0, gets: plan.objects(), bytes: plan.bytes };
        let cost = Cost::of(store.expect("what is planned is one of those that were opened"), asked);
        let time = |time: u64| Some(rfc3339(time));
        let next = glimpse.as_ref().and_then(|glimpse| glimpse.next.clone());
        let beyond = glimpse.as_ref().and_then(|glimpse| glimpse.beyond.as_deref());
        let mut warnings = told::warnings(beyond, foreseen.output.is_some_and(|room| !room.writable));
        warnings.extend(
            archive.passed_over().iter().map(|error| format!("a store is passed over, and may hold more: {error}")),
        );
        if !foreseen.scratch.writable {
            warnings
                .push(format!("nothing can be written in {}; name another place with --scratch", scratch.display()));
        }
        if foreseen.output.is_some_and(|room| room.free < room.needed) {
            warnings.push("the output may not fit: only the log tells how long it will be".to_owned());
        }
        Self {
            log: archive.name().to_string(),
            content: archive.facts().content.to_string(),
            target: target.to_string(),
            output: into.to_string(),
            store: plan.store.clone(),
            snapshot: plan.snapshot.as_ref().map(|snapshot| snapshot.position),
            from: plan.first.get(),
            to: plan.end.get(),
            archived_to: plan.archived.get(),
            segments: plan.segments(),
            objects: plan.objects(),
            fetched_bytes: plan.bytes,
            gaps: holes.map(|holes| holes.into_iter().filter_map(gap).collect()),
            stop: glimpse.as_ref().map(|glimpse| glimpse.stop.get()),
            stop_time: glimpse.as_ref().and_then(|glimpse| glimpse.time).and_then(time),
            next: next.map(|LeftOut { start, end }| Next {
                start: start.get(),
                end: end.map(|(end, _, _)| end.get()),
                time: end.and_then(|(_, committed, _)| time(committed)),
                records: end.map(|(_, _, records)| records),
            }),
            unfinished_from: glimpse.as_ref().and_then(|glimpse| glimpse.unfinished).map(|start| start.get()),
            warnings,
            is_cut: glimpse.is_some_and(|glimpse| glimpse.beyond.is_some()),
            scratch: scratch.display().to_string(),
            scratch_bytes: foreseen.scratch.needed,
            scratch_free_bytes: foreseen.scratch.free,
            output_bytes: foreseen.output.map(|room| room.needed),
            output_free_bytes: foreseen.output.map(|room| room.free),
            fetch_seconds: foreseen.fetch.map(|time| time.as_secs_f64()),
            restore_seconds: foreseen.restore.map(|time| time.as_secs_f64()),
            cost,
            goes_on: None,
            finds_mark: matches!(target.point, Point::Mark(_)),
        }
    }

    /// Bytes of log that lie behind the stop, where that is known.
    pub(super) fn behind(&self) -> Option<u64> {
        self.stop.map(|stop| self.archived_to.saturating_sub(stop))
    }

    fn gaps_told(&self) -> String {
        match &self.gaps {
            None => "unknown: the store does not let its objects be listed".to_owned(),
            Some(gaps) if gaps.is_empty() && self.is_cut => "none before the stop".to_owned(),
            Some(gaps) if gaps.is_empty() => "none".to_owned(),
            Some(gaps) => {
                let told = |gap: &Gap| format!("{} to {} ({}: {})", gap.start, gap.end, gap.object, gap.what);
                gaps.iter().map(told).collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn stop_told(&self) -> String {
        let Some(stop) = self.stop else {
            return match self.finds_mark {
                true => "where the mark is, which is found by reading the log".to_owned(),
                false => format!("{}, where the archive ends", self.to),
            };
        };
        let time = self.stop_time.as_ref().map(|time| format!(", committed {time}")).unwrap_or_default();
        format!("{stop}{time}")
    }

    fn next_told(&self) -> String {
        match &self.next {
            Some(Next { start, end: Some(end), time: Some(time), records: Some(records) }) => {
                format!("left out: {records} records at {start} to {end}, committed {time}")
            }
            Some(Next { start, .. }) if self.is_cut => format!("left out: one that begins at {start}"),
            Some(Next { start, .. }) => format!("left out: one that begins at {start} and is longer than a segment"),
            None if self.is_cut => "unknown".to_owned(),
            None if self.finds_mark => "the one after the mark".to_owned(),
            None => "nothing complete is archived after it".to_owned(),
        }
    }

    fn space_told(&self) -> String {
        let log = show_bytes(self.scratch_bytes);
        let mut told =
            format!("{log} in {} while it is restored, {} free", self.scratch, show_bytes(self.scratch_free_bytes));
        if let (Some(needed), Some(free)) = (self.output_bytes, self.output_free_bytes) {
            told += &format!("; at most about {} for the output, {} free", show_bytes(needed), show_bytes(free));
        }
        told
    }

    fn time_told(&self) -> String {
        let show = |seconds: f64| show_duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default());
        match (self.fetch_seconds, self.restore_seconds) {
            (Some(fetch), Some(restore)) => {
                format!("about {}: fetching {}, restoring {}", show(fetch + restore), show(fetch), show(restore))
            }
            (Some(fetch), None) => format!("fetching about {}", show(fetch)),
            _ => "unknown until some of it is fetched".to_owned(),
        }
    }
}

fn gap(finding: Finding) -> Option<Gap> {
    match finding {
        Finding::Missing { store, object, start, end } => {
            Some(Gap { start: start.get(), end: end.get(), store, object, what: "it is gone".to_owned() })
        }
        Finding::Corrupt { store, object, what, start, end } => {
            Some(Gap { start: start.get(), end: end.get(), store, object, what })
        }
        _ => None,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads = format!(
            "{} to {}: {} objects ({} segments), {}",
            self.from,
            self.to,
            self.objects,
            self.segments,
            show_bytes(self.fetched_bytes)
        );
        let mut rows = vec![
            ("log", format!("{} ({}), archived to {} in {}", self.log, self.content, self.archived_to, self.store)),
            ("target", format!("{}, into {}", self.target, self.output)),
            ("snapshot", self.snapshot.map_or("none".to_owned(), |position| format!("at {position}"))),
            ("fetches", reads),
            ("gaps", self.gaps_told()),
            ("stops at", self.stop_told()),
            ("next", self.next_told()),
        ];
        if let Some(start) = self.unfinished_from {
            rows.push(("unfinished", format!("the archive ends inside a transaction that began at {start}")));
        }
        rows.extend([("space", self.space_told()), ("time", self.time_told()), ("cost", self.cost.to_string())]);
        rows.extend(self.goes_on.clone().map(|told| ("goes on", told)));
        rows.extend(self.warnings.iter().map(|warning| ("warning", warning.clone())));
        f.write_str(&output::pairs(&rows))
    }
}

/// What is known of a replay before anything but its stop was fetched. A target that is out of reach is refused here.
pub(super) async fn look<'a>(
    archive: &'a Archive,
    plan: &'a FetchPlan,
    glimpse: (Option<Glimpse>, Sample),
    scratch: &Path,
    into: &SinkSpec,
) -> Result<Known<'a>, Failure> {
    let (glimpse, sample) = glimpse;
    let holes = match archive.holes(plan).await {
        Err(error) if error.kind() == ErrorKind::Denied => None,
        holes => Some(holes?),
    };
    let foreseen = Replay::foresee(plan, &sample, scratch, &into.output())?;
    Ok(Known { archive, plan, glimpse, foreseen, holes })
}

/// Where the stop is seen without fetching the whole log. A mark is nowhere in the manifest, and everything needs no look.
pub(super) fn is_worth_a_look(target: &Target) -> bool {
    matches!(target.point, Point::Lsn(_) | Point::Time(_))
}

/// What in a scratch directory says which output it is for.
const FOR: &str = "made-by-longshore-replay";

/// Makes the scratch directory, and says in it what it is for.
pub(super) fn claim(scratch: &Path, into: &SinkSpec) -> Result<(), Failure> {
    let claimed = std::fs::create_dir_all(scratch).and_then(|()| std::fs::write(scratch.join(FOR), label(into)));
    claimed.map_err(|error| Failure::file("cannot make", scratch, &error))
}

/// Whether a scratch directory is of a restore that was killed after its output had got its name.
pub(super) fn is_left(scratch: &Path, into: &SinkSpec) -> bool {
    into.is_there() && std::fs::read_to_string(scratch.join(FOR)).is_ok_and(|told| told == label(into))
}

/// Removes the scratch directory of such a restore: nobody comes back to it.
pub(super) fn clear(scratch: &Path, into: &SinkSpec) {
    if is_left(scratch, into) {
        // What cannot be removed harms nobody.
        let _left = remove(scratch);
    }
}

/// Removes a scratch directory, unless somebody has by now.
fn remove(scratch: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(scratch) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes the scratch directory of a restore that is done. Done it is also if that fails, as it does where another run asks
/// for the lock in it at this moment.
pub(super) fn leave(scratch: &Path, phases: &Phases) {
    if let Err(error) = remove(scratch) {
        let scratch = scratch.display();
        phases.talk(&format!("{scratch} could not be removed, and nobody needs it: {error}\n"));
    }
}

/// The same from whichever directory it is called.
fn label(into: &SinkSpec) -> String {
    match into {
        SinkSpec::Sqlite(path) | SinkSpec::JsonLines(path) => {
            std::path::absolute(path).unwrap_or(path.clone()).display().to_string()
        }
        into => into.to_string(),
    }
}

/// Why it ends where somebody asked it to, while the log was fetched.
pub(super) fn interrupted(scratch: &Path) -> Failure {
    let what = match scratch.exists() {
        true => format!("interrupted while the log was fetched; what is here of it stays in {}", scratch.display()),
        false => "interrupted before anything was fetched".to_owned(),
    };
    Failure::new(ErrorKind::Interrupted, what).next("run it again: it goes on where it was")
}

/// Where the log lies while it is restored: beside a file, so that an interrupted restore finds it again. It is removed
/// afterwards, so below a directory that was named it has one of its own, whose name no log can have.
pub(super) fn scratch(told: Option<&PathBuf>, into: &SinkSpec, log: &str) -> Result<PathBuf, Failure> {
    if let Some(told) = told {
        return Ok(told.join(format!("{log}.replay")));
    }
    match into {
        SinkSpec::Sqlite(path) | SinkSpec::JsonLines(path) => Ok(PathBuf::from(format!("{}.log", path.display()))),
        SinkSpec::Stdout | SinkSpec::Exec(..) => {
            Err(Failure::invalid(format!("log {log} has to lie somewhere while it is restored into {into}"))
                .next("name a directory with --scratch DIR"))
        }
    }
}
