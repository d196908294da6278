//! `longshore dump`: what a directory holds.

use std::path::PathBuf;

use clap::Args;
use longshore_format::{EpochEntry, Flags, Lsn};
use longshore_wal::inspect::{self, Depth, Listing, OtherKind, SegmentReport};
use longshore_wal::tails;
use serde::Serialize;

use crate::failure::Failure;
use crate::logs::{position, target};
use crate::output::{self, render, table};
use crate::quantity::{rfc3339, show_bytes};
use crate::tails::{Shown, TailArg, title};

/// Show what a directory holds: logs, segments, and the records of a range
#[derive(Debug, Args)]
#[command(after_help = "\
It changes nothing, may run beside a live agent, and shows a damaged log as far as it holds. --start \
or --end add the records of the range, the log's own too, without their payloads; `longshore read` \
prints payloads. Of a --tail the records begin at its fork.

Example:
  longshore dump --data-dir data --log orders --start 4096 --end latest")]
pub(crate) struct Dump {
    /// The directory that holds the logs
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log to show; without it, every one
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    #[command(flatten)]
    tail: TailArg,

    /// Show records too, from here
    #[arg(long, value_name = "TARGET")]
    start: Option<String>,

    /// Show records too, up to here
    #[arg(long, value_name = "TARGET")]
    end: Option<String>,

    /// One JSON document for each log, and one for each record
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Log {
    log: String,
    /// Its place, if this is a tail, and where that leaves the history that won.
    tail: Option<String>,
    fork: Option<u64>,
    id: String,
    content: String,
    segment_size_bytes: u64,
    first: u64,
    end: u64,
    durable: u64,
    lives: Vec<Life>,
    segments: Vec<Segment>,
    /// Files beside the segments that somebody may want to know about.
    others: Vec<Other>,
    /// What forks set aside.
    tails: Vec<Aside>,
}

#[derive(Serialize)]
struct Aside {
    place: String,
    from: u64,
    to: u64,
}

#[derive(Serialize)]
struct Life {
    start: u64,
    epoch: u64,
    writer: String,
    incarnation: String,
}

#[derive(Serialize)]
struct Segment {
    base: u64,
    file: String,
    state: &'static str,
    end: u64,
    records: Option<u64>,
    digest: Option<String>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct Other {
    name: String,
    kind: &'static str,
    bytes: u64,
}

#[derive(Serialize)]
struct Record {
    log: String,
    start: u64,
    lsn: u64,
    kind: String,
    first: bool,
    last: bool,
    time: String,
    payload_bytes: usize,
}

impl Dump {
    pub(crate) fn run(self) -> Result<(), Failure> {
        for shown in self.tail.shown(&self.data_dir, self.log.as_deref())? {
            let log = describe(&shown)?;
            match self.json {
                true => output::print_json(&log)?,
                false => output::print(&text(&log))?,
            }
            if self.start.is_some() || self.end.is_some() {
                self.records(&shown)?;
            }
        }
        Ok(())
    }

    fn records(&self, shown: &Shown) -> Result<(), Failure> {
        let dir = shown.whole()?;
        let place = |flag, text: &Option<String>, otherwise: Lsn| match text.as_deref().map(|text| target(flag, text)) {
            Some(target) => position(&dir, target?),
            None => Ok(otherwise),
        };
        let (start, end) = (place("start", &self.start, shown.from())?, place("end", &self.end, Lsn::MAX)?);
        let mut listing = Listing::open(dir, start)?;
        while let Some(record) = listing.next()? {
            if end < record.end {
                break;
            }
            let record = Record {
                log: shown.name.to_string(),
                start: record.start.get(),
                lsn: record.end.get(),
                kind: record.kind.to_string(),
                first: record.flags.contains(Flags::FIRST),
                last: record.flags.contains(Flags::LAST),
                time: rfc3339(record.time),
                payload_bytes: record.payload.len(),
            };
            match self.json {
                true => output::print_json(&record)?,
                false => output::print(&line(&record))?,
            }
        }
        Ok(())
    }
}

fn describe(shown: &Shown) -> Result<Log, Failure> {
    let report = inspect::examine(&shown.dir, Depth::Seals)?;
    let control = &report.control;
    let life = |entry: &EpochEntry| Life {
        start: entry.start.get(),
        epoch: entry.epoch.number,
        writer: entry.epoch.writer.to_string(),
        incarnation: entry.incarnation.to_string(),
    };
    let segment = |segment: &SegmentReport| Segment {
        base: segment.base.get(),
        file: segment.file.clone(),
        state: segment.state.as_str(),
        end: segment.last.get(),
        records: segment.records,
        digest: segment.digest.map(|digest| digest.to_string()),
        findings: segment.findings.iter().map(ToString::to_string).collect(),
    };
    let notable = report.others.iter().filter(|other| other.kind != OtherKind::Own);
    let other =
        |other: &inspect::Other| Other { name: other.name.clone(), kind: other.kind.as_str(), bytes: other.len };
    let aside = |tail: tails::Tail| Aside { place: tail.place, from: tail.from.get(), to: tail.to.get() };
    Ok(Log {
        log: shown.name.to_string(),
        tail: shown.place().map(str::to_owned),
        fork: shown.place().map(|_| shown.from().get()),
        id: control.log.to_string(),
        content: control.content.to_string(),
        segment_size_bytes: control.size.get(),
        first: report.first.get(),
        end: report.tail.end.get(),
        durable: control.durable.get(),
        lives: control.history.entries().iter().map(life).collect(),
        segments: report.segments.iter().map(segment).collect(),
        others: notable.map(other).collect(),
        tails: tails::list(&shown.dir)?.into_iter().map(aside).collect(),
    })
}

fn text(log: &Log) -> String {
    let mut text = format!(
        "{} ({}, id {}, segments of {}): {} to {}, known durable to {}\n",
        title(&log.log, log.tail.as_deref()),
        log.content,
        log.id,
        show_bytes(log.segment_size_bytes),
        log.first,
        log.end,
        log.durable,
    );
    if let Some(fork) = log.fork {
        text += &format!("  leaves the history that won at {fork}\n");
    }
    for life in &log.lives {
        text += &format!("  from {}: epoch {} of writer {}\n", life.start, life.epoch, life.writer);
    }
    let mut rows = table(&["  SEGMENT", "STATE", "END", "RECORDS", "DIGEST", "FINDINGS"]);
    for segment in &log.segments {
        let digest = segment.digest.as_deref().map_or("", |digest| &digest[..16]);
        rows.add_row([
            format!("  {}", segment.base),
            segment.state.to_owned(),
            segment.end.to_string(),
            segment.records.map(|records| records.to_string()).unwrap_or_default(),
            digest.to_owned(),
            segment.findings.join("; "),
        ]);
    }
    text += &render(&mut rows);
    for Aside { place, from, to } in &log.tails {
        text += &format!("  tail {place}: {from} to {to}; --tail {place} shows it\n");
    }
    // Where the tails are, if there are any.
    for other in log.others.iter().filter(|other| other.kind != OtherKind::Diverged.as_str()) {
        text += &format!("  {} ({}, {})\n", other.name, other.kind, show_bytes(other.bytes));
    }
    text
}

fn line(record: &Record) -> String {
    let run = match (record.first, record.last) {
        (true, true) => "run",
        (true, false) => "run begins",
        (false, true) => "run ends",
        (false, false) => "",
    };
    let Record { start, lsn, kind, time, payload_bytes, .. } = record;
    format!("  {start:>12} {lsn:>12}  {time:<27} {kind:<12} {payload_bytes:>8} B  {run}\n")
}
