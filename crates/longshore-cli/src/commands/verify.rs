//! `longshore verify`: proof that a directory is intact, and that a database is what its log says.

mod database;
mod peer;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use longshore_format::ErrorKind;
use longshore_wal::ReadLog;
use longshore_wal::inspect::{self, Depth, Report, State};
use serde::Serialize;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output;
use crate::quantity::show_bytes;
use crate::tails::{Shown, TailArg, title};
use database::{DatabaseSpec, Pages};
use peer::Equality;

/// Prove that a directory is intact, equal to a peer's, and that a database is what its log says
#[derive(Debug, Args)]
#[command(after_help = "\
It changes nothing and may run beside a live agent. Damage is told by segment and position, with exit \
6; a peer that holds other bytes with exit 9, and the first position that differs.

--against compares the digests of sealed segments, and the records behind the last of them one by \
one; what the other end does not have is told and is no difference. Without --deep the digests are \
those in the footers: that the bytes are still those is what --deep proves.

--sqlite compares every page of a database with what the log says of it at one position: the captured one \
beside a primary, or a replica's copy. Both may be in use, no writer waits for it. What differs is told by \
page, with exit 10; a database that was written while nobody captured it with exit 11.

Examples:
  longshore verify --data-dir data --deep --against primary@db1:7420
  longshore verify --data-dir data --sqlite app.db")]
pub(crate) struct Verify {
    /// The directory that holds the logs
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log to verify; without it, every one
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    #[command(flatten)]
    tail: TailArg,

    /// Read every byte of every segment, not the headers and footers alone
    #[arg(long)]
    deep: bool,

    /// An agent whose log must be equal: [NAME@]HOST:PORT
    #[arg(long, value_name = "ADDR", conflicts_with = "tail")]
    against: Option<String>,

    /// A SQLite database that is captured into --log, or that it is applied to; without --log and LOG=, of the only log of pages
    #[arg(long, value_name = "[LOG=]PATH", conflicts_with = "tail")]
    sqlite: Option<DatabaseSpec>,

    /// One JSON document for each log
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Verdict {
    log: String,
    /// Its place, if this is a tail.
    tail: Option<String>,
    deep: bool,
    intact: bool,
    first: u64,
    end: u64,
    segments: usize,
    sealed: usize,
    damage: Vec<Damage>,
    /// What follows the last good record, when it is what a crash leaves: no damage.
    torn_tail: Option<String>,
    against: Option<Equality>,
    sqlite: Option<Pages>,
}

#[derive(Serialize)]
struct Damage {
    segment: u64,
    file: String,
    what: String,
}

impl Verify {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let mut failure = None;
        let log = match &self.sqlite {
            Some(database) => Some(database.log(&self.data_dir, self.log.as_deref())?),
            None => self.log.clone(),
        };
        for shown in self.tail.shown(&self.data_dir, log.as_deref())? {
            let verdict = self.verify(global, &shown)?;
            match self.json {
                true => output::print_json(&verdict)?,
                false => output::print(&text(&verdict))?,
            }
            failure = failure.or_else(|| verdict.failure());
        }
        failure.map_or(Ok(()), Err)
    }

    fn verify(&self, global: &Global, shown: &Shown) -> Result<Verdict, Failure> {
        let Shown { name, dir, .. } = shown;
        let report = inspect::examine(dir, if self.deep { Depth::Records } else { Depth::Seals })?;
        let against = match &self.against {
            // What is damaged here proves nothing about the other end.
            Some(server) if report.is_intact() => Some(peer::compare(&global.tls, server, name, dir, &report)?),
            _ => None,
        };
        let sqlite = match &self.sqlite {
            Some(database) if report.is_intact() => Some(database.compare(&ReadLog::open(Arc::clone(dir))?)?),
            _ => None,
        };
        Ok(Verdict { against, sqlite, ..Verdict::of(shown, self.deep, &report) })
    }
}

impl Verdict {
    fn of(shown: &Shown, deep: bool, report: &Report) -> Self {
        let damage = report.damage().map(|(segment, finding)| Damage {
            segment: segment.base.get(),
            file: segment.file.clone(),
            what: finding.to_string(),
        });
        Self {
            log: shown.name.to_string(),
            tail: shown.place().map(str::to_owned),
            deep,
            intact: report.is_intact(),
            first: report.first.get(),
            end: report.tail.end.get(),
            segments: report.segments.len(),
            sealed: report.segments.iter().filter(|segment| segment.state == State::Sealed).count(),
            damage: damage.collect(),
            torn_tail: report.tail.torn.map(|fault| fault.to_string()),
            against: None,
            sqlite: None,
        }
    }

    fn failure(&self) -> Option<Failure> {
        if let Some(Damage { segment, file, what }) = self.damage.first() {
            let what = format!("segment {segment} ({file}): {what}");
            let message = format!("{} is damaged: {what}", title(&self.log, self.tail.as_deref()));
            if self.tail.is_some() {
                return Some(Failure::new(ErrorKind::Corrupt, message).next(
                    "nothing was changed; a tail has no other copy: `longshore dump` shows its records as far as they hold",
                ));
            }
            return Some(Failure::new(ErrorKind::Corrupt, message).next(format!(
                "nothing was changed; `longshore repair --log {} --segment {segment} --from ADDR|DIR|URL --plan` \
                 shows what a good copy would mend",
                self.log
            )));
        }
        if let Some(Equality { with, differs_at: Some(position), .. }) = &self.against {
            let message = format!("log {} and the one at {with} hold other bytes from {position} on", self.log);
            return Some(Failure::new(ErrorKind::Diverged, message));
        }
        self.sqlite.as_ref().and_then(Pages::failure)
    }
}

fn text(verdict: &Verdict) -> String {
    let Verdict { first, end, segments, sealed, .. } = verdict;
    let log = title(&verdict.log, verdict.tail.as_deref());
    let looked = if verdict.deep { "every byte read" } else { "headers, footers and the unsealed part read" };
    let mut text = String::new();
    for Damage { segment, file, what } in &verdict.damage {
        text += &format!("{log}: segment {segment} ({file}): {what}\n");
    }
    if let Some(torn) = &verdict.torn_tail {
        text += &format!("{log}: behind {end} a torn tail ({torn}), which the next open cuts\n");
    }
    let state = if verdict.intact { "intact" } else { "DAMAGED" };
    let size = show_bytes(end - first);
    text +=
        &format!("{log}: {state}, {first} to {end} ({size}), {segments} segments, {sealed} of them sealed; {looked}\n");
    if let Some(against) = &verdict.against {
        text += &format!("{log}: {}\n", against.told());
    }
    if let Some(pages) = &verdict.sqlite {
        text += &format!("{log}: {}\n", pages.told());
    }
    text
}
