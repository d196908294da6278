//! The archives of a log, asked what they hold beside the nodes. What one has beyond this copy is fetched before an epoch begins.
//!
//! An archive has no vote: it changes what the epoch goes on from, never whether the writer before is fenced.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use longshore_archive::keys::KeyProvider;
use longshore_archive::{Archive, Store};
use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::{Archived, Beside, Witness};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::again::PATIENCE;
use super::refused;
use crate::archived;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::node::Node;

/// An archive that sends nothing for so long will not: a segment comes as a whole, also over a slow link.
const STALL: Duration = Duration::from_secs(60);

/// Every archive that was asked.
pub(super) struct Archives(pub(super) Vec<Asked>);

/// One of them.
pub(super) struct Asked {
    /// Where it is.
    pub(super) store: String,
    /// What it holds, or why that is not known.
    archive: Result<Archive, String>,
}

impl Asked {
    /// What it holds, or why that is not known.
    pub(super) fn held(&self) -> Result<Archived, &str> {
        let archive = self.archive.as_ref().map_err(String::as_str)?;
        Ok(Archived { history: archive.facts().history.clone(), end: archive.end() })
    }
}

impl Archives {
    /// Asks every store that this node takes the log from or archives it into, all at once.
    pub(super) async fn survey(node: &Node, log: &Log) -> Archives {
        let mut asked = JoinSet::new();
        for (place, (store, keys)) in node.archives().into_iter().enumerate() {
            let (name, id) = (log.name.clone(), log.wal.id());
            asked.spawn(async move {
                let archive = match timeout(PATIENCE, open(&store, &name, keys)).await {
                    Ok(Ok(archive)) if archive.facts().log != id => {
                        Err(format!("its log {name} is another one, with the id {}", archive.facts().log))
                    }
                    Ok(opened) => opened.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                (place, Asked { store: store.label().to_owned(), archive })
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        Archives(answers.into_iter().map(|(_, asked)| asked).collect())
    }

    /// What those that answered hold.
    pub(super) fn held(&self) -> impl Iterator<Item = Archived> {
        self.0.iter().filter_map(|asked| asked.held().ok())
    }

    /// Where the one ends that goes furthest beyond a copy, and its store.
    pub(super) fn beyond(&self, copy: &Witness) -> Option<(&str, Lsn)> {
        let ends = self.0.iter().filter_map(|asked| match asked.held().ok()?.beside(copy) {
            Beside::Beyond { to } => Some((asked.store.as_str(), to)),
            _ => None,
        });
        ends.max_by_key(|(_, end)| *end)
    }

    /// One that knows of a later epoch, which began before the copy ends.
    pub(super) fn later(&self, copy: &Witness) -> Option<(&str, Archived, Lsn)> {
        self.0.iter().find_map(|asked| {
            let held = asked.held().ok()?;
            match held.beside(copy) {
                Beside::Later { at } => Some((asked.store.as_str(), held, at)),
                _ => None,
            }
        })
    }

    /// Brings this node's copy up to `to`, which the archive in `store` holds. One that fails is not asked again.
    pub(super) async fn fetch(&mut self, node: &Node, name: &Name, store: &str, to: Lsn) -> Result<()> {
        let asked = self.0.iter_mut().find(|asked| asked.store == store).expect("it was found here");
        let Ok(archive) = &mut asked.archive else { return Ok(()) };
        let log = node.require(name)?;
        let mut fetched = catch_up(archive, &log, to).await;
        if fetched.as_ref().is_err_and(|error| error.kind() == ErrorKind::Gap)
            && let Ok(Ok(())) = timeout(PATIENCE, archive.refresh()).await
        {
            // It was put together anew meanwhile: what is gone has another name now.
            fetched = catch_up(archive, &log, to).await;
        }
        if let Err(error) = &fetched {
            asked.archive = Err(error.to_string());
        }
        fetched
    }
}

async fn open(
    store: &Store,
    name: &Name,
    keys: Option<Arc<dyn KeyProvider>>,
) -> Result<Archive, longshore_archive::Error> {
    Archive::open(std::slice::from_ref(store), name, keys).await
}

async fn catch_up(archive: &Archive, log: &Log, to: Lsn) -> Result<()> {
    let mut fetching = pin!(archived::catch_up(archive, log));
    let mut at = log.wal.end();
    loop {
        match timeout(STALL, &mut fetching).await {
            // Whoever follows the archive here may have been faster.
            Ok(Err(_)) if to <= log.wal.synced().get() => return Ok(()),
            Ok(caught_up) => return caught_up.map(drop),
            Err(_) if log.wal.end() == at => return Err(stalled(archive, log, at, to)),
            Err(_) => at = log.wal.end(),
        }
    }
}

fn stalled(archive: &Archive, log: &Log, at: Lsn, to: Lsn) -> Error {
    let why = format!("what is archived from {at} to {to} does not come from {}; run it again", archive.store());
    refused(ErrorKind::Unavailable, &log.name, &why)
}
