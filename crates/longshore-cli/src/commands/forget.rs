//! `longshore forget`: a replica's slot dropped, or a tail removed.

use std::path::Path;

use clap::{ArgGroup, Args};
use longshore_protocol::NodeId;
use longshore_transport::{Forget as Request, Forgettable};
use longshore_wal::tails::{self, Tail, Written};

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::quantity::{rfc3339, show_bytes};
use crate::tails::OpenTail;
use crate::{logs, output, runtime};

/// Drop the slot of a replica that will not come back, or remove what a fork set aside
#[derive(Debug, Args)]
#[command(after_help = "\
A replica that returns after its slot was dropped begins anew, or is refused if its place is gone.

A tail is removed for good, by its agent or where it lies, also beside one: `longshore replay --tail` shows what is in it. \
While it is read it is not removed. Interrupted, run it again.

Examples:
  longshore forget --server primary@db1:7420 --log orders --replica us-east \\
      --plan
  longshore forget --data-dir data --log orders \\
      --tail diverged/81234-1764137000000000 --plan", group = ArgGroup::new("what").required(true))]
pub(crate) struct Forget {
    #[command(flatten)]
    place: PlaceArgs,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The replica's identity; with --server
    #[arg(long, value_name = "NAME", group = "what")]
    replica: Option<String>,

    /// The tail, as `longshore status` names its place
    #[arg(long, value_name = "PLACE", group = "what")]
    tail: Option<String>,

    /// Say what would be freed, and change nothing
    #[arg(long)]
    plan: bool,
}

impl Forget {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        match (self.place.place()?, &self.replica, &self.tail) {
            (Place::Server(server), Some(replica), None) => self.forget_replica(global, &server, replica),
            (Place::Directory(dir), None, Some(tail)) => self.forget_tail(&dir, tail),
            (Place::Server(server), None, Some(tail)) => self.forget_tail_at(global, &server, tail),
            (Place::Directory(_), ..) => {
                Err(Failure::invalid("an agent forgets a replica").next("name the agent with --server"))
            }
            // One of the two is there, and not both.
            (Place::Server(_), ..) => Err(Failure::invalid("there is nothing to forget").next("--replica or --tail")),
        }
    }

    fn forget_replica(&self, global: &Global, server: &str, replica: &str) -> Result<(), Failure> {
        let log = name("log", &self.log)?;
        let node = NodeId::from(name("replica", replica)?);
        let request = Request { log, what: Forgettable::Replica(node), plan: self.plan };
        let done = runtime::for_commands()?
            .block_on(async { Ok::<_, Failure>(connect(&global.tls, server).await?.forget(&request).await?) })?;
        let verb = if done.forgotten { "forgot" } else { "would forget" };
        output::print(&format!(
            "{verb} {replica} of {}: the log is then needed from {} instead of {}, which frees {}\n",
            self.log,
            done.oldest_after,
            done.oldest_before,
            show_bytes(done.frees),
        ))
    }

    fn forget_tail_at(&self, global: &Global, server: &str, place: &str) -> Result<(), Failure> {
        let what = Forgettable::Tail(place.to_owned());
        let request = Request { log: name("log", &self.log)?, what, plan: self.plan };
        let done = runtime::for_commands()?
            .block_on(async { Ok::<_, Failure>(connect(&global.tls, server).await?.forget(&request).await?) })?;
        let verb = if done.forgotten { "forgot" } else { "would forget" };
        let written = match done.written {
            Some((transactions, records)) => format!("{transactions} transactions, {records} records"),
            None => "records that were not counted".to_owned(),
        };
        let (from, to) = (done.oldest_before, done.oldest_after);
        output::print(&format!(
            "{verb} {place} of {}: {written}, {from} to {to}; this frees {}\n",
            self.log,
            show_bytes(done.frees)
        ))
    }

    fn forget_tail(&self, dir: &Path, place: &str) -> Result<(), Failure> {
        if self.plan {
            let open = OpenTail::open(dir, &self.log, place)?;
            return output::print(&self.told("would forget", &open.tail, &written(&open)));
        }
        let written = match OpenTail::open(dir, &self.log, place) {
            Ok(open) => written(&open),
            // Interrupted, it is no tail any more, and not gone either.
            Err(_) => "what was left of it".to_owned(),
        };
        let forgotten = tails::forget(&logs::directory(dir, &name("log", &self.log)?)?, place)?;
        output::print(&self.told("forgot", &forgotten, &written))
    }

    fn told(&self, verb: &str, tail: &Tail, written: &str) -> String {
        let Tail { place, from, to, disk, epoch, time } = tail;
        format!(
            "{verb} {place} of {}: {written}, {} of epoch {epoch}, {from} to {to}, set aside {}; this frees {}\n",
            self.log,
            show_bytes(tail.bytes()),
            rfc3339(*time),
            show_bytes(*disk),
        )
    }
}

/// What is in a tail, in words. What is damaged may be forgotten, too.
fn written(open: &OpenTail) -> String {
    match open.branch().and_then(|branch| Ok(Written::after(&branch, open.tail.from)?)) {
        Ok(Written { records, transactions, .. }) => format!("{transactions} transactions, {records} records"),
        Err(failure) => format!("records that cannot be read ({failure})"),
    }
}
