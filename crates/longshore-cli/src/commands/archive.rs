//! `longshore archive`: what lies in object stores, whether it holds, and where else it is to be.

mod told;

use std::time::Duration;

use clap::{Args, ValueEnum};
use longshore::archive::{self, Archive as Opened, Store};
use longshore_format::{ErrorKind, Name};

use crate::failure::Failure;
use crate::quantity::duration;
use crate::stores::{self, Keys};
use crate::{output, runtime};
use told::{CopiedLog, Listing, Proof, Waste};

/// List, verify, copy and clean up logs in object stores
#[derive(Debug, Args)]
#[command(after_help = "\
ls      what is there: logs, positions, snapshots, when it was changed last
verify  fetches every object and checks it; a missing one is exit 5, a damaged one exit 6
copy    every object into another store, the manifest last; run again, it goes on where it was
prune   objects that no manifest names: what crashes left

Examples:
  longshore archive ls --from s3://bucket/prefix
  longshore archive verify --from file:///mnt/archive --log app
  longshore archive copy --from s3://bucket/prefix --to gs://other/prefix --log app --plan")]
pub(crate) struct Archive {
    /// What to do
    action: Action,

    /// The store; verify takes several
    #[arg(long, value_name = "URL", required = true)]
    from: Vec<String>,

    /// The log; without it, every one that is there
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    /// Where to copy to
    #[arg(long, value_name = "URL", required_if_eq("action", "copy"))]
    to: Option<String>,

    /// What prune leaves alone: an agent may be about to name it
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    older_than: Duration,

    /// Say what would be changed, and change nothing
    #[arg(long)]
    plan: bool,

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

    async fn list(&self, stores: &[Store]) -> Result<(), Failure> {
        let keys = self.keys.open()?;
        let mut logs = Vec::new();
        for store in stores {
            logs.extend(archive::list(store, keys.as_deref()).await?);
        }
        logs.retain(|log| self.log.as_deref().is_none_or(|name| log.name.as_str() == name));
        if logs.is_empty() {
            let what = format!("there is no archived log in {}", self.from.join(", "));
            return Err(Failure::new(ErrorKind::NotFound, what).next("check the prefix; the logs lie right below it"));
        }
        self.tell(&Listing::from(&logs[..]))
    }

    async fn verify(&self, stores: &[Store]) -> Result<(), Failure> {
        let mut failure = None;
        for name in self.names(stores).await? {
            let opened = Opened::open(stores, &name, self.keys.open()?).await?;
            let verified = archive::verify(&opened, |_| {}).await?;
            let proof = Proof::new(&opened, verified);
            self.tell(&proof)?;
            failure = failure.or_else(|| proof.failure());
        }
        failure.map_or(Ok(()), Err)
    }

    async fn copy(&self, from: &Store) -> Result<(), Failure> {
        let to = self.to.as_deref().expect("clap asks for it");
        let to = Store::open(to)?;
        for name in self.names(std::slice::from_ref(from)).await? {
            let keys = self.keys.open()?;
            let copied = archive::copy(from, &to, &name, keys.as_deref(), self.plan, |_| {}).await?;
            self.tell(&CopiedLog::new(&name, from, &to, self.plan, copied))?;
        }
        Ok(())
    }

    async fn prune(&self, store: &Store) -> Result<(), Failure> {
        for name in self.names(std::slice::from_ref(store)).await? {
            let keys = self.keys.open()?;
            let pruned = archive::orphans(store, &name, keys.as_deref(), self.older_than, self.plan).await?;
            self.tell(&Waste::new(&name, self.plan, pruned))?;
        }
        Ok(())
    }

    /// The log that was named, or all that are there.
    async fn names(&self, stores: &[Store]) -> Result<Vec<Name>, Failure> {
        if let Some(name) = &self.log {
            let name = name.parse::<Name>();
            return Ok(vec![name.map_err(|_| Failure::invalid("--log must match [a-z0-9][a-z0-9_-]{0,62}"))?]);
        }
        let keys = self.keys.open()?;
        let mut names = Vec::new();
        for store in stores {
            names.extend(archive::list(store, keys.as_deref()).await?.into_iter().map(|log| log.name));
        }
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
