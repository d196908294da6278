//! A sink that the log no longer reaches, brought up to date by a snapshot of its upstream.
//!
//! The sink's thread asks and waits; whoever follows the log fetches the file, as far as a connection lasts, and goes on with
//! the next one. What the sink holds already is not fetched, if the upstream can tell what its snapshot consists of. The file is
//! given to the sink as one run, after which the log is applied from the file's position on.

mod difference;
mod fetching;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use longshore_apply::{DatabaseImage, LogFacts, RunEnd, Sink};
use longshore_format::{Content, ErrorKind, Flags, Kind, Name, Record};
use longshore_transport::Client;
use tokio::sync::Notify;

pub(crate) use self::fetching::have_made;
use self::fetching::{Begun, End};
use crate::error::{Error, Result};
use crate::lanes::{Lane, Lanes};
use crate::log::Log;
use crate::snapshot::{SnapshotHead, SnapshotReader};

/// What the sinks of one log wait for.
#[derive(Default)]
pub(crate) struct Seeding {
    state: Mutex<State>,
    asked: Notify,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct State {
    /// Sinks that wait for the file or are being given it.
    waiting: usize,
    held: Holding,
    outcome: Option<Outcome>,
}

/// What is known of what the sinks hold.
#[derive(Default)]
enum Holding {
    /// Nothing that would help.
    #[default]
    Nothing,
    /// It was of use for a snapshot that is gone: it is to be looked at again.
    Wanted,
    /// It is there, to be compared.
    Image(Box<dyn DatabaseImage>),
    /// It is being compared.
    Begun(Begun),
    /// The file is fetched whole.
    Unused,
}

/// How what is held helps.
enum Help {
    None,
    Image,
    Begun(Begun),
}

/// Bytes of snapshots, since the log was opened.
#[derive(Default)]
pub(crate) struct Counts {
    fetched: AtomicU64,
    held: AtomicU64,
}

/// What became of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there, whole.
    Fetched,
    /// The upstream has none to give.
    Refused(String),
}

/// Whether the sinks of a log of this content, which are not known before it is there, can be given a whole database in its
/// middle.
pub(crate) fn can_be_seeded(content: Content) -> bool {
    content == Content::SqlitePages
}

/// Where the file is, beside the log's own directory.
pub(crate) fn path_of(data_dir: &Path, log: &Name) -> PathBuf {
    data_dir.join(format!("{log}.seed"))
}

/// Where the file is until it is whole, if only a part of it is fetched.
fn part_of(path: &Path) -> PathBuf {
    path.with_extension("seed-part")
}

impl Seeding {
    /// Asks for the file, for a sink that holds this much already.
    pub(crate) fn ask(&self, image: Option<Box<dyn DatabaseImage>>) {
        let mut state = self.lock();
        state.waiting += 1;
        if let (Holding::Nothing | Holding::Wanted, Some(image)) = (&state.held, image) {
            state.held = Holding::Image(image);
        }
        self.asked.notify_one();
    }

    /// Whether what a sink holds has to be looked at again.
    pub(crate) fn wants_image(&self) -> bool {
        matches!(self.lock().held, Holding::Wanted)
    }

    /// What a sink holds, looked at again.
    pub(crate) fn lend(&self, image: Option<Box<dyn DatabaseImage>>) {
        let mut state = self.lock();
        if let Holding::Wanted = state.held {
            state.held = image.map_or(Holding::Nothing, Holding::Image);
            self.asked.notify_one();
        }
    }

    /// What became of it, once that is known.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome.clone()
    }

    /// A sink no longer waits; with the last one the file goes.
    pub(crate) fn leave(&self, path: &Path) {
        let mut state = self.lock();
        state.waiting -= 1;
        if state.waiting == 0 {
            (state.outcome, state.held) = (None, Holding::Nothing);
            // One that stays is taken for the beginning of the next.
            let _gone = std::fs::remove_file(path);
            let _gone = std::fs::remove_file(part_of(path));
        }
    }

    pub(crate) fn settle(&self, outcome: Outcome) {
        self.lock().outcome = Some(outcome);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        let state = self.lock();
        0 < state.waiting && state.outcome.is_none() && !matches!(state.held, Holding::Wanted)
    }

    /// How what is held helps to fetch the file.
    fn help(&self) -> Help {
        match &self.lock().held {
            Holding::Nothing | Holding::Wanted | Holding::Unused => Help::None,
            Holding::Image(_) => Help::Image,
            Holding::Begun(begun) => Help::Begun(Begun::clone(begun)),
        }
    }

    /// Takes what is to be compared. Until something is begun with it another is wanted, should whoever takes it be dropped.
    fn take_image(&self) -> Option<Box<dyn DatabaseImage>> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.held, Holding::Wanted) {
            Holding::Image(image) => Some(image),
            held => {
                state.held = held;
                None
            }
        }
    }

    fn hold(&self, held: Holding) {
        let mut state = self.lock();
        // Nobody waits for it any more.
        if 0 < state.waiting {
            state.held = held;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl Counts {
    fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    fn held(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that were fetched, and bytes that were held already.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::Relaxed), self.held.load(Ordering::Relaxed))
    }
}

/// Fetches what the sinks of a log ask for, as long as the connection lasts. Returns what went wrong.
pub(crate) async fn serve(log: &Log, lanes: &Lanes) -> Error {
    let path = path_of(&log.data_dir, &log.name);
    loop {
        while !log.seeding.is_wanted() {
            log.seeding.asked.notified().await;
        }
        match fetch(log, lanes, &path).await {
            Ok(End::Fetched) => log.seeding.settle(Outcome::Fetched),
            Ok(End::Replaced) => log.seeding.hold(Holding::Wanted),
            // The upstream's word; a disk of this node that refuses something is tried again.
            Err(Error::Transport(error)) if error.kind() == ErrorKind::Preflight => {
                log.seeding.settle(Outcome::Refused(error.to_string()))
            }
            Err(error) => return error,
        }
    }
}

/// Fetches the file, or the rest of it.
async fn fetch(log: &Log, lanes: &Lanes, path: &Path) -> Result<End> {
    let client = lanes.client(Lane::CatchUp).await?;
    match fetch_rest(log, &client, path).await {
        Ok(Some(end)) => {
            log.seeding.hold(Holding::Nothing);
            return Ok(end);
        }
        Ok(None) => {}
        Err(error) if difference::is_of_outline(&error) => {
            tracing::warn!(log = %log.name, %error, "what the upstream tells of its snapshot is of no use; all of it is fetched");
        }
        Err(error) => return Err(error),
    }
    log.seeding.hold(Holding::Unused);
    // Nothing goes on with it.
    let _none = std::fs::remove_file(part_of(path));
    fetching::whole(log, &client, path).await.map(|()| End::Fetched)
}

/// Fetches what is not held here; `None` if that is all.
async fn fetch_rest(log: &Log, client: &Client, path: &Path) -> Result<Option<End>> {
    let begun = match log.seeding.help() {
        Help::None => return Ok(None),
        Help::Begun(begun) => begun,
        Help::Image => {
            let first = client.snapshot_outline(&log.name, None, fetching::MOST).await?;
            let (Some(first), Some(image)) = (first, log.seeding.take_image()) else { return Ok(None) };
            let begun = fetching::begin(log, first, part_of(path), image).await?;
            log.seeding.hold(Holding::Begun(Begun::clone(&begun)));
            begun
        }
    };
    fetching::rest(log, client, &begun, path).await.map(Some)
}

/// Gives a snapshot to a sink as one run. What it holds from then on is everything up to the snapshot's position.
///
/// `go_on` is told between records how many bytes of them are given, and asked; a run that is not complete never happened.
pub(crate) fn apply(sink: &mut dyn Sink, facts: &LogFacts, path: &Path, go_on: impl FnMut(u64) -> bool) -> Result<()> {
    sink.open(facts).map_err(|failure| longshore_apply::Error::SinkOpen { sink: sink.name(), failure })?;
    give(sink, path, go_on)
}

/// As [`apply`], to a sink that is open.
pub(crate) fn give(sink: &mut dyn Sink, path: &Path, mut go_on: impl FnMut(u64) -> bool) -> Result<()> {
    let name = sink.name();
    let failed = |failure| longshore_apply::Error::SinkOpen { sink: name.clone(), failure };
    let mut reader = SnapshotReader::open(path)?;
    let SnapshotHead { lsn, link, time, .. } = reader.head;
    sink.begin_image().map_err(failed)?;
    let (mut payload, mut records, mut bytes) = (Vec::new(), 0, 0);
    while reader.next_payload(&mut payload)?.is_some() {
        if !go_on(bytes) {
            return Err(longshore_apply::Error::Interrupted { position: lsn }.into());
        }
        records += 1;
        bytes += payload.len() as u64;
        let flags = if records == 1 { Flags::FIRST } else { Flags::default() };
        let record = Record {
            start: lsn,
            end: lsn,
            kind: Kind::USER,
            flags,
            time,
            durable: None,
            header_crc: link,
            payload: &payload,
        };
        sink.record(&record).map_err(failed)?;
    }
    sink.commit(&RunEnd { start: lsn, lsn, crc: link, time, records }).map_err(failed)?;
    sink.sync().and_then(|()| sink.finish()).map_err(failed)?;
    tracing::info!(sink = name, position = %lsn, "seeded from a snapshot");
    Ok(())
}
