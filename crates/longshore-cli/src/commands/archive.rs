//! `longshore archive`: what lies in object stores, whether it holds, and where else it is to be.

mod copied;
mod proven;
mod told;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use longshore::archive::{self, Archive as Opened, CopyPlan, Error, Keep, Listed, Proven, Store};
use longshore_format::{ErrorKind, Name};

use crate::failure::Failure;
use crate::progress::{ProgressFlag, Unit};
use crate::quantity::duration;
use crate::stores::{self, Keys};
use crate::{output, runtime};
use copied::{CopiedLog, Side, Sides};
use told::{Listing, Proof, Waste};

/// List, verify, copy and clean up logs in object stores
#[derive(Debug, Args)]
#[command(after_help = "\
Actions:
  ls      what is there: logs, positions, snapshots, when it was changed last
  verify  fetches every object and checks it; a missing one is exit 5, a damaged
          one exit 6. With --state it fetches what is new since the last time,
          and only looks whether the rest is there
  copy    every object into another store, the manifest last; run again, it goes
          on where it was. From one prefix of a bucket to another the store
          copies itself: nothing is sent from here
  prune   removes objects that no manifest names: what crashes left; and with
          --keep or --keep-snapshots what came before the oldest snapshot that
          is still needed

Examples:
  longshore archive ls --from s3://bucket/prefix
  longshore archive verify --from file:///mnt/archive --log app
  longshore archive verify --from s3://bucket/prefix \\
      --state /var/lib/longshore/verified.json
  longshore archive copy --from s3://bucket/prefix --to gs://other/prefix \\
      --log app --plan")]
pub(crate) struct Archive {
    /// What to do
    action: Action,

    /// The store: s3://BUCKET/PREFIX, gs://…, az://… or file:///DIR; ls and verify take several
    #[arg(long, value_name = "URL", required = true)]
    from: Vec<String>,

    /// The log; without it, every one that is there
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    /// The store to copy to
    #[arg(long, value_name = "URL")]
    to: Option<String>,

    /// How young an object is that prune leaves alone, and an upload in parts that may be under way, 1h unless it is told: an agent
    /// may be about to name it
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,

    /// Of the snapshots, prune keeps so many, and everything since the oldest of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_snapshots: Option<u32>,

    /// Prune keeps every moment of so long a time restorable
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep: Option<Duration>,

    /// Say what copy or prune would change, and change nothing
    #[arg(long)]
    plan: bool,

    /// Where verify remembers what it has proven, so that the next run fetches only what is new
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Verify fetches everything, also what --state has proven; copy reads what the target has, also what a store has copied
    /// itself, and puts right what is damaged
    #[arg(long)]
    full: bool,

    #[command(flatten)]
    progress: ProgressFlag,

    #[command(flatten)]
    keys: Keys,

    /// One JSON document for each log
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    Ls,
    Verify,
    Copy,
    Prune,
}

impl Archive {
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.check_request()?;
        let stores = stores::open(&self.from)?;
        runtime::for_commands()?.block_on(async {
            match self.action {
                Action::Ls => self.list(&stores).await,
                Action::Verify => self.verify(&stores).await,
                Action::Copy => self.copy(&stores[0]).await,
                Action::Prune => self.prune(&stores[0]).await,
            }
        })
    }

    /// What does not fit together is refused before any store is asked.
    fn check_request(&self) -> Result<(), Failure> {
        self.named()?;
        let several = matches!(self.action, Action::Ls | Action::Verify);
        if !several && 1 < self.from.len() {
            return Err(
                Failure::invalid("several --from are for ls and verify").next("name one store, and run it for each")
            );
        }
        let is = |action| self.action == action;
        match (&self.to, &self.state) {
            (None, _) if is(Action::Copy) => Err(Failure::invalid("archive copy needs --to URL, the store to copy to")
                .next("for instance --to file:///mnt/disk; with --plan it only says what it would copy")),
            (Some(_), _) if !is(Action::Copy) => Err(Failure::invalid("--to is for archive copy").next("leave it out")),
            (_, Some(_)) if !is(Action::Verify) => {
                Err(Failure::invalid("--state is for archive verify").next("leave it out"))
            }
            _ if self.full && !is(Action::Verify) && !is(Action::Copy) => {
                Err(Failure::invalid("--full is for archive verify and copy").next("leave it out"))
            }
            _ if self.is_about_age() && !is(Action::Prune) => {
                Err(Failure::invalid("--keep, --keep-snapshots and --older-than are for archive prune")
                    .next("leave them out"))
            }
            _ if self.plan && several => {
                Err(Failure::invalid("--plan is for copy and prune; ls and verify change nothing").next("leave it out"))
            }
            _ => Ok(()),
        }
    }

    fn is_about_age(&self) -> bool {
        self.keep.is_some() || self.keep_snapshots.is_some() || self.older_than.is_some()
    }

    async fn list(&self, stores: &[Store]) -> Result<(), Failure> {
        let (mut logs, mut failures) = (Vec::new(), Failures::default());
        for (_, listed) in self.listed(stores, &mut failures).await? {
            match listed {
                Ok(log) => logs.push(log),
                Err(error) => failures.add(error.into()),
            }
        }
        if !logs.is_empty() {
            self.tell(&Listing::from(&logs[..]))?;
        }
        failures.end()
    }

    /// The logs of the stores that answer, those that cannot be read among them; which stores do not is noted.
    async fn listed(
        &self,
        stores: &[Store],
        failures: &mut Failures,
    ) -> Result<Vec<(Name, archive::Result<Listed>)>, Failure> {
        let keys = self.keys.open()?;
        let mut logs = Vec::new();
        for store in stores {
            match archive::list(store, keys.as_deref()).await {
                Ok(listed) => logs.extend(listed),
                Err(error) => failures.add(error.into()),
            }
        }
        logs.retain(|(name, _)| self.log.as_deref().is_none_or(|wanted| name.as_str() == wanted));
        if logs.is_empty() && failures.are_none() {
            return Err(self.no_log());
        }
        Ok(logs)
    }

    fn no_log(&self) -> Failure {
        let which = self.log.as_ref().map_or("archived log".to_owned(), |log| format!("archived log {log}"));
        let what = format!("there is no {which} in {}", self.from.join(", "));
        Failure::new(ErrorKind::NotFound, what).next("check the prefix; the logs lie right below it")
    }

    async fn verify(&self, stores: &[Store]) -> Result<(), Failure> {
        let mut failures = Failures::default();
        let mut remembered = self.state.as_deref().map(proven::read).transpose()?.unwrap_or_default();
        for name in self.names(stores, &mut failures).await? {
            match self.verify_log(stores, &name, &mut remembered).await {
                Ok(proof) => {
                    self.tell(&proof)?;
                    failures.extend(proof.failure());
                }
                Err(failure) => failures.add(failure),
            }
        }
        if let Some(path) = &self.state {
            proven::write(path, &remembered)?;
        }
        failures.end()
    }

    async fn verify_log(&self, stores: &[Store], name: &Name, remembered: &mut Proven) -> Result<Proof, Failure> {
        let opened = Opened::open(stores, name, self.keys.open()?).await?;
        let known = if self.full { Proven::default() } else { remembered.clone() };
        let mut progress = self.progress.start();
        let verified = archive::verify_since(&opened, &known, |verified| {
            let done = verified.objects + verified.known + verified.findings.len() as u64;
            progress.at("verifying", Unit::Objects, done.min(verified.of), verified.of);
        });
        let verified = verified.await?;
        progress.finish();
        remembered.update(verified.proven.clone());
        Ok(Proof::new(&opened, verified))
    }

    async fn copy(&self, from: &Store) -> Result<(), Failure> {
        let to = Store::open(self.to.as_deref().expect("it was asked for"))?;
        let mut failures = Failures::default();
        for name in self.names(std::slice::from_ref(from), &mut failures).await? {
            match self.copy_log(from, &to, &name).await {
                Ok(copied) => self.tell(&copied)?,
                Err(failure) => failures.add(failure),
            }
        }
        failures.end()
    }

    async fn copy_log(&self, from: &Store, to: &Store, name: &Name) -> Result<CopiedLog, Failure> {
        let keys = self.keys.open()?;
        let (mut progress, mut done) = (self.progress.start(), 0);
        let how = CopyPlan { plan_only: self.plan, full: self.full };
        let ((source, read), (target, written)) = (from.metered(), to.metered());
        let copied = archive::copy(&source, &target, name, keys.as_deref(), how, |copied| {
            done += 1;
            progress.at("copying", Unit::Objects, done, copied.objects);
        });
        let copied = copied.await.map_err(|error| match &error {
            Error::Corrupt { store, object, .. } | Error::Envelope { store, object, .. }
                if error.is_damage() && store == to.label() && object.ends_with("/manifest") =>
            {
                let next = format!("remove {object} there, and run this again: what it named is kept");
                Failure::from(error).next(next)
            }
            _ => error.into(),
        })?;
        progress.finish();
        let from = Side { store: from, used: read.ledger() };
        let to = Side { store: to, used: written.ledger() };
        Ok(CopiedLog::new(name, Sides { from, to }, how, copied))
    }

    async fn prune(&self, store: &Store) -> Result<(), Failure> {
        let mut failures = Failures::default();
        for name in self.names(std::slice::from_ref(store), &mut failures).await? {
            match self.prune_log(store, &name).await {
                Ok(waste) => self.tell(&waste)?,
                Err(failure) => failures.add(failure),
            }
        }
        failures.end()
    }

    async fn prune_log(&self, store: &Store, name: &Name) -> Result<Waste, Failure> {
        let keys = self.keys.open()?;
        let keep = Keep { snapshots: self.keep_snapshots.map(|count| count as usize), age: self.keep };
        let mut pruned = archive::forget(store, name, keys.as_deref(), &keep, self.plan).await?;
        let orphans =
            archive::orphans(store, name, keys.as_deref(), self.older_than.unwrap_or(YOUNG), self.plan).await?;
        pruned.objects.extend(orphans.objects);
        pruned.bytes += orphans.bytes;
        Ok(Waste::new(name, self.plan, pruned))
    }

    fn named(&self) -> Result<Option<Name>, Failure> {
        let refused = |_| Failure::invalid("--log must match [a-z0-9][a-z0-9_-]{0,62}");
        let named = self.log.as_ref().map(|name| name.parse()).transpose();
        named.map_err(|error| refused(error).next("`longshore archive ls` lists the logs of a store"))
    }

    /// The log that was named, or all that are there, also those whose manifest does not hold; which stores do not answer is noted.
    async fn names(&self, stores: &[Store], failures: &mut Failures) -> Result<Vec<Name>, Failure> {
        if let Some(name) = self.named()? {
            return Ok(vec![name]);
        }
        let mut names: Vec<Name> = self.listed(stores, failures).await?.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn tell(&self, told: &(impl serde::Serialize + std::fmt::Display)) -> Result<(), Failure> {
        match self.json {
            true => output::print_json(told),
            false => output::print(&told.to_string()),
        }
    }
}

/// An agent names what it has put long before.
const YOUNG: Duration = Duration::from_secs(3600);

/// What could not be done for some logs or stores, while it was for the others.
#[derive(Default)]
struct Failures(Vec<Failure>);

impl Failures {
    fn add(&mut self, failure: Failure) {
        self.0.push(failure);
    }

    fn extend(&mut self, failure: Option<Failure>) {
        self.0.extend(failure);
    }

    fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one, with what the others say.
    fn end(self) -> Result<(), Failure> {
        let mut failures = self.0.into_iter();
        let Some(first) = failures.next() else { return Ok(()) };
        Err(failures.fold(first, |first, other| first.after(format!("and {other}"))))
    }
}
