//! `longshore drill`: a recovery that is only rehearsed, and measured.

mod metrics;
mod place;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use longshore::archive::{Archive, Store};
use longshore::{Content, ErrorKind, Output, Replay, Stage};
use longshore_apply::{JsonLinesOutput, Target};
use longshore_format::Name;
use longshore_sqlite::SqliteOutput;
use serde::Serialize;

use crate::commands::replay::{Depth, Phases};
use crate::failure::Failure;
use crate::interrupt::Interruptible;
use crate::progress::ProgressFlag;
use crate::quantity::{now, show_bytes, show_duration};
use crate::stores::{self, Keys};
use crate::{output, runtime};
use place::Place;

/// Recover from an archive into a scratch directory, check it, say how long it took, and delete it
#[derive(Debug, Args)]
#[command(after_help = "\
For cron: it ends with 0 only if a whole database came out of the archive and held its check. \
RTO is the time from the first request to the checked database. RPO is how old the newest transaction \
in it is; while nothing is written it grows and means nothing.

Example:
  longshore drill --from s3://bucket/prefix --log app --scratch /var/tmp \\
      --metrics /var/lib/node_exporter/longshore-drill-app.prom")]
pub(crate) struct Drill {
    /// The object store; several, and the best copy of each segment is taken
    #[arg(long, value_name = "URL", required = true)]
    from: Vec<String>,

    /// The log to recover
    #[arg(long, value_name = "NAME")]
    log: String,

    /// A directory that has room for the log and the database
    #[arg(long, value_name = "DIR")]
    scratch: PathBuf,

    /// How much of the restored database is looked at: none, quick (SQLite's quick_check) or full (integrity_check and
    /// foreign_key_check)
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Depth::Quick, hide_possible_values = true)]
    check: Depth,

    /// Write the result for Prometheus, also of a drill that failed: a file for node_exporter's textfile collector, whose
    /// name ends in .prom
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,

    #[command(flatten)]
    progress: ProgressFlag,

    #[command(flatten)]
    keys: Keys,

    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// What was reached.
#[derive(Serialize)]
struct Reached {
    log: String,
    position: u64,
    transactions: u64,
    fetched_bytes: u64,
    fetch_seconds: f64,
    restore_seconds: f64,
    check_seconds: f64,
    rto_seconds: f64,
    rpo_seconds: Option<f64>,
}

impl Drill {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name: Name = self.log.parse().map_err(|_| Failure::invalid("--log must match [a-z0-9][a-z0-9_-]{0,62}"))?;
        let reached = self.rehearse(&name);
        if let Some(path) = &self.metrics {
            metrics::write(path, &name, reached.as_ref().ok())?;
        }
        let reached = reached?;
        match self.json {
            true => output::print_json(&reached),
            false => output::print(&reached.to_string()),
        }
    }

    /// Recovers in a directory of its own, so that what is deleted is what was made.
    fn rehearse(&self, name: &Name) -> Result<Reached, Failure> {
        let interrupted = Interruptible::listen()?;
        let stores = stores::open(&self.from)?;
        let place = Place::make(&self.scratch, name)?;
        let reached = self.recover(&stores, name, place.path(), &interrupted);
        let removed = place.remove();
        let reached = reached?;
        removed.map(|()| reached)
    }

    /// Fetches all of it: what is replayed, what it holds, and how many bytes came; `end` is where the archive ended then.
    async fn fetch(
        &self,
        stores: &[Store],
        name: &Name,
        place: &Path,
        phases: &mut Phases,
        end: &mut Option<longshore::Lsn>,
    ) -> Result<(Replay, Content, u64), Failure> {
        let archive = Archive::open(stores, name, self.keys.open()?).await?;
        stores::must_all_be_read(&archive)?;
        *end = Some(archive.end());
        let until = Replay::needs(&archive, &Target::LATEST);
        let archive = archive.reaching(until).await?;
        let content = archive.facts().content;
        let begin = Replay::begins(&archive, &Target::LATEST, &output_for(content, place));
        let plan = archive.plan(until, begin)?;
        let watch = |bytes| phases.fetching(bytes, plan.bytes);
        Ok((Replay::fetch(&archive, &plan, place, watch).await?, content, plan.bytes))
    }

    fn recover(
        &self,
        stores: &[Store],
        name: &Name,
        place: &Path,
        interrupted: &Interruptible,
    ) -> Result<Reached, Failure> {
        let begun = Instant::now();
        let mut phases = Phases::new(self.progress.start());
        let runtime = runtime::for_agents()?;
        let (mut seen, mut end) = (None, None);
        let (replay, content, bytes) = loop {
            let fetching = self.fetch(stores, name, place, &mut phases, &mut end);
            let Some(fetched) = runtime.block_on(interrupted.unless_asked(fetching)) else {
                // A store that does not answer is not waited for.
                runtime.shutdown_background();
                return Err(was_interrupted());
            };
            match fetched {
                // The archive goes on meanwhile: what it has put together has another name by now.
                Err(failure) if failure.kind() == ErrorKind::Gap && seen != end => seen = end,
                fetched => break fetched?,
            }
        };
        let fetched = Instant::now();
        let output = output_for(content, place);
        let mut applied = None;
        let restored = replay.checking(self.check.into()).run(&output, |stage| {
            if let Stage::Checking = stage {
                applied = Some(Instant::now());
            }
            phases.show(&stage);
            if interrupted.was() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        phases.finish();
        let restored = restored.map_err(|error| match error.kind() {
            // There is nothing that it could resume.
            ErrorKind::Interrupted => was_interrupted(),
            _ => error.into(),
        })?;
        let (done, applied) = (Instant::now(), applied.unwrap_or(fetched));
        let behind = restored.time.map(|time| Duration::from_micros(now().saturating_sub(time)));
        Ok(Reached {
            log: name.to_string(),
            position: restored.position.map_or(0, longshore::Lsn::get),
            transactions: restored.runs,
            fetched_bytes: bytes,
            fetch_seconds: (fetched - begun).as_secs_f64(),
            restore_seconds: (applied - fetched).as_secs_f64(),
            check_seconds: (done - applied).as_secs_f64(),
            rto_seconds: (done - begun).as_secs_f64(),
            rpo_seconds: behind.map(|behind| behind.as_secs_f64()),
        })
    }
}

/// Where a log of this content is recovered into.
fn output_for(content: Content, place: &std::path::Path) -> Output {
    match content {
        Content::Bytes => Output::file(JsonLinesOutput, place.join("drill.jsonl")),
        _ => Output::file(SqliteOutput, place.join("drill.db")),
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |seconds: f64| show_duration(Duration::from_secs_f64(seconds));
        let Self { log, position, transactions, .. } = self;
        let rto = format!(
            "{}: {} fetched in {}, applied in {}, checked in {}",
            seconds(self.rto_seconds),
            show_bytes(self.fetched_bytes),
            seconds(self.fetch_seconds),
            seconds(self.restore_seconds),
            seconds(self.check_seconds)
        );
        let rpo = self.rpo_seconds.map_or("unknown: there is no transaction in it".to_owned(), |behind| {
            format!("{}: the age of the newest transaction in it", seconds(behind))
        });
        writeln!(f, "log {log}: recovered to {position}, {transactions} transactions, and it holds")?;
        f.write_str(&output::pairs(&[("  RTO", rto), ("  RPO", rpo)]))
    }
}

fn was_interrupted() -> Failure {
    Failure::new(ErrorKind::Interrupted, "the drill was interrupted; nothing of it is left").next("run it again")
}
