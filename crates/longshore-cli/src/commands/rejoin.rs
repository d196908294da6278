//! `longshore rejoin`: what a log holds that its upstream's does not, set aside by an operator's word.

use std::path::PathBuf;

use clap::Args;
use longshore::settings::Settings;
use longshore::{Aside, RejoinPlan};
use longshore_format::{EpochHistory, ErrorKind};
use serde::Serialize;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{self, pairs};
use crate::quantity::{rfc3339, show_bytes};
use crate::runtime;

/// Set aside what a stopped replica holds and its upstream does not, so that it can follow again
#[derive(Debug, Args)]
#[command(after_help = "\
The upstream is asked where the two logs part, and that everything before is the same; nothing else is believed. What lies \
behind is set aside as a tail, never edited: `longshore status` lists it, `longshore replay --tail` shows what is in it, \
`longshore forget --tail` removes it. --plan shows both histories and changes nothing here.

A replica does this by itself where the histories explain the difference, unless it is told --rejoin manual. Where they \
do not, because a copy of a primary was restored, or a disk has lost what was durable, nobody but you knows which of the two \
is right: the upstream's is kept, and is what this node follows from then on.

Example:
  longshore rejoin --data-dir data --log orders --upstream primary@db1:7420 \\
      --tls-dir tls --identity eu-west --plan")]
pub(crate) struct Rejoin {
    /// The directory that holds the log; its agent must be stopped
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// Whom it is to follow: the agent whose history wins
    #[arg(long, value_name = "[NAME@]HOST:PORT")]
    upstream: String,

    /// Show both histories and what would be set aside, and change nothing
    #[arg(long)]
    plan: bool,

    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    log: String,
    upstream: String,
    end: u64,
    upstream_durable: u64,
    history: Vec<Life>,
    upstream_history: Vec<Life>,
    why: Option<String>,
    /// Null: nothing is in the way.
    aside: Option<Part>,
    /// Where it was put; null for a plan.
    place: Option<String>,
}

#[derive(Serialize)]
struct Life {
    start: u64,
    epoch: String,
    incarnation: String,
}

#[derive(Serialize)]
struct Part {
    from: u64,
    to: u64,
    bytes: u64,
    records: u64,
    transactions: u64,
    last_time: Option<String>,
}

impl Rejoin {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let settings = Settings { tls: global.tls.settings(), ..Settings::default() };
        let asked = longshore::Rejoin::ask(&self.data_dir, &self.log, &self.upstream, &settings);
        let rejoin = runtime::for_commands()?.block_on(asked).map_err(|error| self.asked(error))?;
        let plan = rejoin.plan().clone();
        let place = match self.plan {
            true => None,
            false => rejoin.set_aside()?.map(|aside| aside.place),
        };
        let told = Told::of(&plan, place);
        match self.json {
            true => output::print_json(&told),
            false => output::print(&text(&told)),
        }
    }
}

impl Rejoin {
    /// There is nothing to create here: it is a name that is wrong.
    fn asked(&self, error: longshore::Error) -> Failure {
        let failure = Failure::from(error);
        match failure.kind() {
            ErrorKind::NotFound => failure.next(format!(
                "`longshore status --data-dir {}` lists the logs that are here, and with --server {} those of the upstream",
                self.data_dir.display(),
                self.upstream
            )),
            _ => failure,
        }
    }
}

impl Told {
    fn of(plan: &RejoinPlan, place: Option<String>) -> Told {
        let part = |aside: Aside| Part {
            from: aside.from.get(),
            to: aside.to.get(),
            bytes: aside.to.since(aside.from),
            records: aside.records,
            transactions: aside.transactions,
            last_time: (aside.last_time != 0).then(|| rfc3339(aside.last_time)),
        };
        Told {
            log: plan.log.to_string(),
            upstream: plan.upstream.clone(),
            end: plan.end.get(),
            upstream_durable: plan.durable.get(),
            history: lives(&plan.here),
            upstream_history: lives(&plan.there),
            why: plan.why.clone(),
            aside: plan.aside.map(part),
            place,
        }
    }
}

fn lives(history: &EpochHistory) -> Vec<Life> {
    let life = |entry: &longshore_format::EpochEntry| Life {
        start: entry.start.get(),
        epoch: entry.epoch.to_string(),
        incarnation: entry.incarnation.to_string(),
    };
    history.entries().iter().map(life).collect()
}

fn text(told: &Told) -> String {
    let mut text = format!("log {}, against the one at {}:\n", told.log, told.upstream);
    let shown = |lives: &[Life]| {
        let life =
            |Life { start, epoch, incarnation }: &Life| format!("from {start} epoch {epoch}, life {incarnation}");
        lives.iter().map(life).collect::<Vec<_>>().join("; ")
    };
    let mut rows = vec![
        ("  here", format!("to {}; {}", told.end, shown(&told.history))),
        ("  there", format!("to {}; {}", told.upstream_durable, shown(&told.upstream_history))),
    ];
    if let (Some(why), Some(aside)) = (&told.why, &told.aside) {
        rows.push(("  equal", format!("up to {}", aside.from)));
        rows.push(("  why", why.clone()));
        let last = aside.last_time.as_deref().map(|time| format!(", the last of {time}")).unwrap_or_default();
        let Part { from, to, bytes, records, transactions, .. } = aside;
        let held =
            format!("{from} to {to}, {}: {transactions} transactions, {records} records{last}", show_bytes(*bytes));
        rows.push(("  not there", held));
    }
    text += &pairs(&rows);
    text + &match (&told.aside, &told.place) {
        (None, _) => "nothing is in the way: start the agent\n".to_owned(),
        (Some(_), None) => "it would be set aside as a tail; nothing was changed: run it without --plan\n".to_owned(),
        (Some(_), Some(place)) => format!("set aside as {place}: start the agent, it follows from there\n"),
    }
}
