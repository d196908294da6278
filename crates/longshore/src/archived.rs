//! Logs taken from an archive: by a node that has none yet, by one that fell behind what its upstream keeps, and by one that has
//! no upstream at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_archive::keys::KeyProvider;
use longshore_archive::{Archive, Begin, CutShort, FetchPlan, Fetched, Reach, Store, Until};
use longshore_format::{ErrorKind, Frames, Lsn, Name};
use longshore_protocol::Backoff;
use longshore_wal::Wal;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::link::moved;
use crate::log::Log;
use crate::node::Node;
use crate::replica::Sinks;
use crate::seeding;
use crate::server::blocking;
use crate::upstream_state::Doing;

/// The stores that a node takes logs from, and who opens what they hold.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The nearest first.
    pub stores: Vec<Store>,
    /// Whose keys encrypt it, if anybody's.
    pub keys: Option<Arc<dyn KeyProvider>>,
    /// How often a node without an upstream looks for more.
    pub every: Duration,
}

impl Sources {
    async fn archive(&self, log: &Name) -> Result<Archive> {
        Ok(Archive::open(&self.stores, log, self.keys.clone()).await?)
    }

    /// The archive of a log that is here, and of no other that has its name.
    async fn archive_of(&self, log: &Log) -> Result<Archive> {
        let archive = self.archive(&log.name).await?;
        let (ours, theirs) = (log.wal.id(), archive.facts().log);
        if ours != theirs {
            let (store, log) = (archive.store().to_owned(), log.name.clone());
            let (ours, theirs) = (ours.to_string(), theirs.to_string());
            return Err(longshore_archive::Error::OtherLog { store, log, theirs, ours }.into());
        }
        Ok(archive)
    }

    /// The logs that they hold. A store that does not answer is passed over while another does.
    async fn names(&self) -> Result<Vec<Name>> {
        let (mut names, mut answered, mut trouble) = (Vec::new(), false, None);
        for store in &self.stores {
            match longshore_archive::list(store, self.keys.as_deref()).await {
                Ok(logs) => {
                    answered = true;
                    for (name, listed) in logs {
                        match listed {
                            // Whoever archives it there first may be about to make it.
                            Err(error @ longshore_archive::Error::NoManifest { .. }) => {
                                tracing::warn!(store = store.label(), %error, "a log is passed over");
                            }
                            // One whose manifest does not hold there may be had from another store.
                            _ => names.push(name),
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(store = store.label(), %error, "a store is passed over");
                    trouble = trouble.or(Some(error));
                }
            }
        }
        if let Some(error) = trouble.filter(|_| !answered) {
            return Err(error.into());
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

impl Node {
    /// Fetches every log that the node's sources hold and it does not, and opens it. Interrupted, it goes on where it was when it
    /// is called again. A log whose sinks can begin with a snapshot begins with the newest one.
    ///
    /// # Errors
    /// Those of the first log that cannot be fetched, once the others are here:
    /// `Invalid` on a primary, whose logs are its own, and without [`take_from`](Node::take_from); as [`Archive::fetch`].
    pub async fn fetch_logs(&self) -> Result<Vec<Name>> {
        let sources = self.sources().ok_or(Error::NotOffered { what: "a log from an archive that was not named" })?;
        let mut wanted = sources.names().await?;
        let present = self.present()?;
        wanted.retain(|name| !present.contains(name));
        let (mut fetched, mut trouble) = (Vec::new(), None);
        for name in wanted {
            match self.fetch_log(sources, &name).await {
                Ok(()) => fetched.push(name),
                Err(error) => {
                    tracing::warn!(log = %name, %error, "a log is not fetched");
                    trouble = trouble.or(Some(error));
                }
            }
        }
        trouble.map_or(Ok(fetched), Err)
    }

    async fn fetch_log(&self, sources: &Sources, name: &Name) -> Result<()> {
        if self.must_write(name).is_ok() {
            return Err(Error::Refused {
                kind: ErrorKind::Invalid,
                reason: format!("log {name} would be begun from an archive by a primary, whose logs are its own"),
                at: None,
            });
        }
        let fetched = self.lay_log(&sources.archive(name).await?).await?;
        self.place_log(fetched, name).await
    }

    /// Fetches a log into a directory with a name that no log can have: where that is, once all of it is there.
    async fn lay_log(&self, archive: &Archive) -> Result<PathBuf> {
        let (plan, name) = (plan_of(archive)?, archive.name());
        let fetched = self.data_dir().join(format!("{name}.fetching"));
        tracing::info!(log = %name, store = plan.store, from = %plan.first, end = %plan.end, bytes = plan.bytes, "fetching a log from the archive");
        fetch(archive, &plan, &fetched, |_| {}).await?;
        Ok(fetched)
    }

    /// Gives a fetched log its name, and opens it.
    async fn place_log(&self, fetched: PathBuf, name: &Name) -> Result<()> {
        let (node, name) = (self.clone(), name.clone());
        blocking("open a log", move || {
            let place = node.data_dir().join(name.as_str());
            let failed = |error| Error::io("put a fetched log in its place", &place, error);
            std::fs::rename(&fetched, &place).map_err(failed)?;
            node.directory().sync().map_err(failed)?;
            node.open(name.as_str()).map(drop)
        })
        .await
    }
}

/// As [`Archive::fetch`], into a directory that nobody else uses: a log that an interrupted fetch has left there, and that is no
/// beginning of this one, goes.
pub(crate) async fn fetch(
    archive: &Archive,
    plan: &FetchPlan,
    dir: &Path,
    mut watch: impl FnMut(Fetched),
) -> Result<Option<CutShort>> {
    match archive.fetch(plan, dir, &mut watch).await {
        // It began with another snapshot, or at another position.
        Err(longshore_archive::Error::Log(longshore_wal::Error::Exists { .. })) => {
            std::fs::remove_dir_all(dir).map_err(|error| Error::io("remove an unfinished log", dir, error))?;
            Ok(archive.fetch(plan, dir, watch).await?)
        }
        fetched => Ok(fetched?),
    }
}

/// What a log is laid out of, whose sinks begin with the newest snapshot that is not left out, if they can.
fn plan_of(archive: &Archive) -> Result<FetchPlan> {
    let begin =
        if seeding::can_be_seeded(archive.facts().content) { Begin::Snapshot(Reach::Upto) } else { Begin::First };
    Ok(archive.plan(Until::End, begin)?)
}

/// Appends to a follower's log what is archived of it and not here yet; whether that was anything. All of it is durable when this
/// returns. Cancel safe: what was appended stays.
pub(crate) async fn catch_up(archive: &Archive, log: &Log) -> Result<bool> {
    let (wal, begun) = (&log.wal, log.wal.end());
    loop {
        let from = wal.end();
        let bytes = archive.read_from(from).await?;
        let (mut start, mut rest) = (from, &bytes[..]);
        while let Some((end, len)) = next_piece(start, wal, rest) {
            append(wal, start, &rest[..len]).await?;
            // Nothing is archived that its writer had not made durable, and the chain of checksums is of all that lies before.
            wal.show_up_to(end);
            (start, rest) = (end, &rest[len..]);
        }
        if wal.end() == from {
            moved(wal.synced().wait(from).await)?;
            if from < archive.end() {
                return Err(unreadable(archive, log, from));
            }
            return Ok(begun < from);
        }
    }
}

fn unreadable(archive: &Archive, log: &Log, from: Lsn) -> Error {
    let (store, end) = (archive.store(), archive.end());
    let reason = format!(
        "log {} is archived to {end} in {store}, and at {from} no record can be read there; look at it with \
         `longshore archive verify`, and take it from another store",
        log.name
    );
    Error::Refused { kind: ErrorKind::Corrupt, reason, at: Some(from) }
}

/// As much as is appended at once.
const PIECE: usize = 1 << 20;

/// How far the first whole records reach, and how many bytes they are: a piece of them, or all.
fn next_piece(start: Lsn, wal: &Wal, bytes: &[u8]) -> Option<(Lsn, usize)> {
    let mut frames = Frames::new(start, wal.segment_size(), bytes);
    let mut piece = None;
    while frames.next().is_some() {
        let len = bytes.len() - frames.rest().len();
        piece = Some((frames.position(), len));
        if PIECE <= len {
            break;
        }
    }
    piece
}

async fn append(wal: &Wal, start: Lsn, frames: &[u8]) -> Result<()> {
    loop {
        match wal.append_frames(wal.accepted_epoch(), start, frames) {
            Err(longshore_wal::Error::Full(_)) => wal.wait_room(frames.len() as u64).await?,
            appended => return appended.map(drop).map_err(Error::from),
        }
    }
}

/// How often an archive is read anew that goes on while it is read.
const ATTEMPTS: u32 = 5;

async fn catch_up_from(sources: &Sources, log: &Log) -> Result<bool> {
    let archive = sources.archive_of(log).await?;
    catch_up(&archive, log).await
}

/// As [`catch_up`], for a log that its upstream no longer reaches; `false` if there is nothing to take it from.
pub(crate) async fn bridge(node: &Node, log: &Log) -> bool {
    let Some(sources) = node.sources() else { return false };
    let mut caught_up = catch_up_from(sources, log).await;
    for _ in 0..ATTEMPTS {
        match &caught_up {
            // The archive goes on meanwhile, and puts what it has together: what is gone has another name now.
            Err(error) if error.kind() == ErrorKind::Gap => caught_up = catch_up_from(sources, log).await,
            _ => break,
        }
    }
    match caught_up {
        Ok(moved) => {
            tracing::info!(log = %log.name, end = %log.wal.end(), moved, "caught up from the archive");
            moved
        }
        Err(error) => {
            tracing::warn!(log = %log.name, %error, "the archive does not help");
            false
        }
    }
}

/// Follows what is archived, for a node that has no upstream, until it is told to stop.
///
/// # Errors
/// What does not pass: a log that is another one, or damaged in every store.
pub(crate) async fn follow(node: Node, sinks: Sinks, stop: CancellationToken) -> Result<()> {
    let sources = node.sources().cloned().ok_or(Error::NotOffered { what: "an archive to follow" })?;
    let mut archives = BTreeMap::new();
    let mut backoff = Backoff::new(sources.every, Duration::from_secs(60));
    let mut look_for_logs = tokio::time::Instant::now();
    loop {
        let round = async {
            let mut fetched = Ok(());
            if look_for_logs <= tokio::time::Instant::now() {
                fetched = node.fetch_logs().await.map(drop);
                look_for_logs = tokio::time::Instant::now() + node.settings().replica.discover_every;
                // Opened anew: a store that was passed over may answer by now.
                archives.clear();
            }
            follow_once(&node, &sinks, &sources, &mut archives).await.and(fetched)
        };
        let outcome = tokio::select! {
            outcome = round => outcome,
            () = stop.cancelled() => return Ok(()),
        };
        let pause = match outcome {
            Ok(()) => {
                backoff.reset();
                sources.every
            }
            Err(error) if is_final(&error) => return Err(error),
            // What is missing or damaged may have been forgotten while it was read, or be mended.
            Err(error) => {
                tracing::warn!(%error, "the archive is not followed for a while");
                archives.clear();
                look_for_logs = tokio::time::Instant::now();
                backoff.pause(crate::random(&**node.environment()))
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// What is no better for being tried again.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Diverged | ErrorKind::Poisoned | ErrorKind::Invalid)
}

/// Takes what is new of every log. One that cannot be followed now holds up no other; what was wrong with the first is told.
async fn follow_once(
    node: &Node,
    sinks: &Sinks,
    sources: &Sources,
    archives: &mut BTreeMap<Name, Archive>,
) -> Result<()> {
    let mut outcome = Ok(());
    for log in node.logs() {
        match follow_log(node, sinks, sources, archives.remove(&log.name), &log).await {
            Ok(archive) => drop(archives.insert(log.name.clone(), archive)),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(log = %log.name, %error, "a log is not followed now");
                outcome = outcome.and(Err(error));
            }
        }
    }
    outcome
}

/// Takes what is new of one log; its archive as it was seen then.
async fn follow_log(
    node: &Node,
    sinks: &Sinks,
    sources: &Sources,
    before: Option<Archive>,
    log: &Arc<Log>,
) -> Result<Archive> {
    sinks.start(log)?;
    let archive = match before {
        Some(mut archive) => archive.refresh().await.map(|()| archive)?,
        None => sources.archive_of(log).await?,
    };
    log.upstream.set(archive.store(), Doing::Following, None);
    log.upstream.heard(archive.end(), log.now());
    match log.wal.end() < archive.first() {
        true => begin_anew(node, &archive, log).await?,
        false => catch_up(&archive, log).await.map(drop)?,
    }
    if log.seeding.is_wanted() {
        serve_seed(node, sources, log).await?;
    }
    Ok(archive)
}

/// Gives the sinks of a log what they wait for, once there is a snapshot that the log goes on from. If none of those that are
/// there holds, the log begins anew with an older one, or with its first record.
async fn serve_seed(node: &Node, sources: &Sources, log: &Arc<Log>) -> Result<()> {
    let path = seeding::path_of(&log.data_dir, &log.name);
    // What an upstream has left of another one.
    let _none = std::fs::remove_file(&path);
    let mut archive = sources.archive_of(log).await?;
    match take_snapshot(&mut archive, log, &path).await? {
        Taken::Whole => log.seeding.settle(seeding::Outcome::Fetched),
        Taken::None => {}
        Taken::Damaged { error, goes_back } => {
            // A copy that begins no earlier is no better than this one, and one that lacks something of this one is none.
            if !goes_back || log.wal.first() <= plan_of(&archive)?.first || !holds_all_of(&archive, log) {
                return Err(error.into());
            }
            begin_anew(node, &archive, log).await?;
        }
    }
    Ok(())
}

/// Whether an archive that a log follows has all that the log has: its records, and the last epoch that was accepted.
fn holds_all_of(archive: &Archive, log: &Log) -> bool {
    let archived = archive.facts().history.current().epoch.number;
    log.wal.end() <= archive.end() && log.wal.accepted_epoch().number <= archived
}

/// Begins a copy anew that its archive no longer reaches back to, or that no snapshot leads to; its sinks are given one that does.
/// The copy goes when the other is here.
async fn begin_anew(node: &Node, archive: &Archive, log: &Arc<Log>) -> Result<()> {
    let fetched = node.lay_log(archive).await?;
    let (owned, name, end) = (node.clone(), log.name.clone(), log.wal.end());
    blocking("remove a log", move || {
        owned.close_log(&name)?;
        owned.discard_log(&name)
    })
    .await?;
    node.place_log(fetched, &log.name).await?;
    let to = node.require(&log.name)?.wal.first();
    node.events().raise(Event::Reseeded { log: log.name.clone(), from: end, to });
    Ok(())
}

/// Fetches a snapshot that a sink can begin with in the place of what the log no longer holds; `None` if none is archived.
pub(crate) async fn fetch_snapshot(sources: &Sources, log: &Log, path: &Path) -> Result<Option<PathBuf>> {
    let mut archive = sources.archive_of(log).await?;
    match take_snapshot(&mut archive, log, path).await? {
        Taken::Whole => Ok(Some(path.to_owned())),
        Taken::None => Ok(None),
        Taken::Damaged { error, .. } => Err(error.into()),
    }
}

/// What became of the fetching of a snapshot.
enum Taken {
    /// It is here.
    Whole,
    /// None is archived that the log goes on from.
    None,
    /// There are some, and none holds: what is wrong with the newest, and whether something older may do as well.
    Damaged { error: longshore_archive::Error, goes_back: bool },
}

/// Fetches the newest snapshot that holds of those that the log goes on from. The archive is left without the others.
async fn take_snapshot(archive: &mut Archive, log: &Log, path: &Path) -> Result<Taken> {
    let mut taken = Taken::None;
    loop {
        let snapshot = archive.newest_snapshot(log.wal.first()).filter(|entry| entry.position <= log.wal.end().get());
        let Some(entry) = snapshot.cloned() else { return Ok(taken) };
        tracing::info!(log = %log.name, store = archive.store(), position = entry.position, bytes = entry.len, "fetching a snapshot");
        match archive.fetch_snapshot(&entry, path, |_| {}).await {
            Ok(()) => return Ok(Taken::Whole),
            Err(error) if error.is_of_snapshot() => {
                tracing::warn!(log = %log.name, position = entry.position, %error, "a snapshot of the archive is left out");
                let goes_back = archive.leave_out_snapshot(entry.position);
                let error = if let Taken::Damaged { error: newest, .. } = taken { newest } else { error };
                taken = Taken::Damaged { error, goes_back };
            }
            Err(error) => return Err(error.into()),
        }
    }
}
