//! A replay whose log is fetched from an archive first.

use std::path::Path;
use std::time::Duration;

use longshore_apply::{Cut, Edge, Plan, Point, Target};
use longshore_archive::{Archive, Begin, CutShort, FetchPlan, Fetched, Glimpse, Reach, Sample, Until};
use longshore_format::{ErrorKind, Lsn};

use super::room::space_at;
use super::seed::Seed;
use super::{Output, Replay, Room};
use crate::archived;
use crate::error::{Error, Result};

/// About what a replay from an archive takes, before anything is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreseen {
    /// Disk for the log while it is restored. What an earlier run has fetched counts as there.
    pub scratch: Room,
    /// Disk for the output, when it is a file: what the log's bytes would take if all of them were payload.
    pub output: Option<Room>,
    /// How long the log takes to arrive, at the rate at which some of it did; `None` if none was fetched yet.
    pub fetch: Option<Duration>,
    /// How long it takes to be applied, when the output is of a known kind.
    pub restore: Option<Duration>,
}

impl Replay {
    /// Sees where a replay to `target` stops and what comes next, without fetching more than two segments. Where a mark is,
    /// only the whole log tells: of it `None` comes back, and the sample.
    ///
    /// # Errors
    /// As [`Archive::peek`]: a target that is out of reach names the nearest that can be had, and where.
    pub async fn glimpse(archive: &Archive, target: &Target) -> Result<(Option<Glimpse>, Sample)> {
        let glimpse = archive.peek(Replay::needs(archive, target), |end, time| target.keeps_until(end, time)).await?;
        let sample = glimpse.sample;
        Ok((Some(glimpse).filter(|_| !matches!(target.point, Point::Mark(_))), sample))
    }

    /// How much of a log's archive a target needs; a mark is found by reading.
    pub fn needs(archive: &Archive, target: &Target) -> Until {
        match target.point {
            Point::Lsn(lsn) => Until::Position(archive.facts().size.normalise(lsn)),
            Point::Time(micros) => Until::Time(micros),
            Point::Latest => Until::End,
            Point::Mark(_) => Until::Somewhere,
        }
    }

    /// What a restore into `output` begins with.
    pub fn begins(archive: &Archive, target: &Target, output: &Output) -> Begin {
        let reach = if target.edge == Edge::Before { Reach::Before } else { Reach::Upto };
        if output.takes_snapshot(archive.facts().content) { Begin::Snapshot(reach) } else { Begin::First }
    }

    /// Says about what it takes to fetch what was planned into `scratch`, and to restore that.
    ///
    /// # Errors
    /// `Preflight` when there is no directory for the scratch or the output, or when the log does not fit.
    pub fn foresee(plan: &FetchPlan, sample: &Sample, scratch: &Path, output: &Output) -> Result<Foreseen> {
        let expected = likely(plan, sample);
        let (free, writable) = space_for(scratch)?;
        let there = fetched_before(scratch);
        let needed = plan.space.saturating_sub(there);
        if free < needed {
            let reason = format!(
                "the log takes {needed} bytes while it is restored, and {} has {free} free; free space or name another disk \
                 with --scratch, nothing was changed",
                scratch.display()
            );
            return Err(Error::Refused { kind: ErrorKind::Preflight, reason, at: None });
        }
        Ok(Foreseen {
            scratch: Room { needed, free, writable },
            output: output.room(&expected, 0, None)?,
            fetch: fetch_time(plan.bytes, sample),
            restore: output.expected(&expected),
        })
    }

    /// Fetches what was planned into a directory of its own under `scratch`, and opens that; `watch` is told how many bytes of
    /// it, as they are stored, are here. Interrupted, it goes on where it was when it is run again with the same directory; who
    /// removes it is the caller.
    ///
    /// # Errors
    /// As [`Archive::fetch`]; as [`Replay::open`].
    pub async fn fetch(
        archive: &Archive,
        plan: &FetchPlan,
        scratch: &Path,
        mut watch: impl FnMut(u64),
    ) -> Result<Replay> {
        let name = archive.name().as_str();
        std::fs::create_dir_all(scratch).map_err(|error| crate::Error::io("make", scratch, error))?;
        let (mut seed, mut before) = (None, 0);
        if let Some(entry) = &plan.snapshot {
            // An interrupted replay to another target may have left another snapshot.
            let path = scratch.join(format!("{name}.{}.snapshot", entry.position));
            let stored =
                |bytes: u64| (u128::from(entry.bytes) * u128::from(bytes) / u128::from(entry.len.max(1))) as u64;
            archive.fetch_snapshot(entry, &path, |fetched| watch(stored(fetched.bytes))).await?;
            seed = Some(Seed::open(path, archive.facts().log)?);
            before = entry.bytes;
        }
        let watch = |fetched: Fetched| watch(before + fetched.bytes);
        let short = archived::fetch(archive, plan, &scratch.join(name), watch).await?;
        let cut = short.map(|CutShort { time, why, .. }| Cut { time, why });
        Ok(Replay { seed, cut, only: true, ..Replay::open(scratch, name)? })
    }
}

/// The plan that reading the log will make, about: all of its bytes are payload, of records as long as those that were seen.
fn likely(plan: &FetchPlan, sample: &Sample) -> Plan {
    let log_bytes = plan.end.since(plan.first);
    let records = u128::from(log_bytes) * u128::from(sample.records) / u128::from(sample.log_bytes.max(1));
    let records = u64::try_from(records).unwrap_or(u64::MAX);
    Plan {
        from: plan.first,
        stop: plan.end,
        last: None,
        first_time: None,
        runs: records,
        records,
        bytes: log_bytes + plan.snapshot.as_ref().map_or(0, |snapshot| snapshot.len),
        largest: 0,
        log_bytes,
        aborted: 0,
        next: None,
        unfinished: None,
        beyond: None,
        end: Lsn::max(plan.end, plan.archived),
    }
}

fn fetch_time(bytes: u64, sample: &Sample) -> Option<Duration> {
    let seconds = bytes as f64 * sample.time.as_secs_f64() / sample.bytes as f64;
    Duration::try_from_secs_f64(seconds).ok().filter(|_| 0 < sample.bytes)
}

/// What is free where `path` is, or would be, and whether files can be made there.
fn space_for(path: &Path) -> Result<(u64, bool)> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    space_at(there).map_err(|error| Error::io("look at", there, error))
}

/// Bytes of segments that an interrupted replay has left.
fn fetched_before(scratch: &Path) -> u64 {
    let Ok(logs) = std::fs::read_dir(scratch) else { return 0 };
    let files = logs.flatten().filter_map(|log| std::fs::read_dir(log.path()).ok()).flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}
