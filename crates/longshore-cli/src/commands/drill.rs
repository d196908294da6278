//! `longshore drill`: a recovery that is only rehearsed, and measured.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use longshore::archive::{Archive, Until};
use longshore::{Content, Output, Replay};
use longshore_apply::JsonLinesOutput;
use longshore_format::Name;
use longshore_sqlite::SqliteOutput;
use serde::Serialize;

use super::replay::begin;
use crate::failure::Failure;
use crate::quantity::{now, show_bytes, show_duration};
use crate::stores::{self, Keys};
use crate::{output, runtime};

/// Recover from an archive into a scratch directory, check it, say how long it took, and delete it
#[derive(Debug, Args)]
#[command(after_help = "\
For cron: it ends with 0 only if a whole database came out of the archive and held its check.
RPO is how old the newest transaction in it is; while nothing is written it grows and means nothing.

Example:
  longshore drill --from s3://bucket/prefix --log app --scratch /var/tmp")]
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
    rto_seconds: f64,
    rpo_seconds: Option<f64>,
}

impl Drill {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let stores = stores::open(&self.from)?;
        let name: Name = self.log.parse().map_err(|_| Failure::invalid("--log must match [a-z0-9][a-z0-9_-]{0,62}"))?;
        // Its own directory, so that what is deleted is what was made.
        let place = self.scratch.join(format!("drill-{name}-{}", std::process::id()));
        let made = std::fs::create_dir(&place);
        made.map_err(|error| Failure::file("cannot make", &place, &error))?;
        let reached = self.recover(&stores, &name, &place);
        let removed = std::fs::remove_dir_all(&place).map_err(|error| Failure::file("cannot remove", &place, &error));
        let reached = reached?;
        removed?;
        match self.json {
            true => output::print_json(&reached),
            false => output::print(&reached.to_string()),
        }
    }

    fn recover(
        &self,
        stores: &[longshore::archive::Store],
        name: &Name,
        place: &std::path::Path,
    ) -> Result<Reached, Failure> {
        let begun = Instant::now();
        let (replay, content, bytes) = runtime::for_agents()?.block_on(async {
            let archive = Archive::open(stores, name, self.keys.open()?).await?;
            let content = archive.facts().content;
            let plan = archive.plan(Until::End, begin(&output_for(content, place), content))?;
            let replay = Replay::fetch(&archive, &plan, place, |_| {}).await?;
            Ok::<_, Failure>((replay, content, plan.bytes))
        })?;
        let fetched = begun.elapsed();
        let output = output_for(content, place);
        let restored = replay.run(&output, |_| ControlFlow::Continue(()))?;
        let behind = restored.time.map(|time| Duration::from_micros(now().saturating_sub(time)));
        Ok(Reached {
            log: name.to_string(),
            position: restored.position.map_or(0, longshore::Lsn::get),
            transactions: restored.runs,
            fetched_bytes: bytes,
            fetch_seconds: fetched.as_secs_f64(),
            restore_seconds: restored.elapsed.as_secs_f64(),
            rto_seconds: begun.elapsed().as_secs_f64(),
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
        writeln!(
            f,
            "log {}: recovered to {}, {} transactions, and it holds",
            self.log, self.position, self.transactions
        )?;
        let fetch = seconds(self.fetch_seconds);
        writeln!(
            f,
            "  RTO  {}: {} fetched in {fetch}, restored and checked in {}",
            seconds(self.rto_seconds),
            show_bytes(self.fetched_bytes),
            seconds(self.restore_seconds)
        )?;
        match self.rpo_seconds {
            Some(behind) => writeln!(f, "  RPO  {}: the age of the newest transaction in it", seconds(behind)),
            None => writeln!(f, "  RPO  unknown: there is no transaction in it"),
        }
    }
}
