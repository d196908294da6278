//! A sink that the log no longer reaches, brought up to date by a snapshot of its upstream.
//!
//! The sink's thread asks and waits; whoever follows the log fetches the file, as far as a connection lasts, and goes on with
//! the next one. The file is given to the sink as one run, after which the log is applied from the file's position on.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use longshore_apply::{LogFacts, RunEnd, Sink};
use longshore_format::{Content, ErrorKind, Flags, Kind, Name, Record};
use longshore_transport::SnapshotPlace;
use tokio::sync::Notify;
use tokio_stream::StreamExt;

use crate::error::{Error, Result};
use crate::lanes::{Lane, Lanes};
use crate::log::Log;
use crate::server::blocking;
use crate::snapshot::{SnapshotHead, SnapshotReader};

/// What the sinks of one log wait for.
#[derive(Default)]
pub(crate) struct Seeding {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Default)]
struct State {
    /// Sinks that wait for the file or are being given it.
    waiting: usize,
    outcome: Option<Outcome>,
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

impl Seeding {
    /// Asks for the file.
    pub(crate) fn ask(&self) {
        self.lock().waiting += 1;
        self.asked.notify_one();
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
            state.outcome = None;
            // One that stays is taken for the beginning of the next.
            let _gone = std::fs::remove_file(path);
        }
    }

    pub(crate) fn settle(&self, outcome: Outcome) {
        self.lock().outcome = Some(outcome);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        let state = self.lock();
        0 < state.waiting && state.outcome.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
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
            Ok(()) => log.seeding.settle(Outcome::Fetched),
            Err(error) if error.kind() == ErrorKind::Preflight => {
                log.seeding.settle(Outcome::Refused(error.to_string()))
            }
            Err(error) => return error,
        }
    }
}

/// Fetches the file, or the rest of it.
async fn fetch(log: &Log, lanes: &Lanes, path: &Path) -> Result<()> {
    let client = lanes.client(Lane::CatchUp).await?;
    let id = log.wal.id();
    let begun = SnapshotHead::of(path).ok().filter(|head| head.log == id);
    let begun = begun.and_then(|head| Some(SnapshotPlace { position: head.lsn, offset: path.metadata().ok()?.len() }));
    let mut snapshot = client.snapshot(&log.name, begun).await?;
    let offset = snapshot.place.offset;
    tracing::info!(log = %log.name, position = %snapshot.place.position, bytes = snapshot.len, from = offset, "fetching a snapshot");
    let failed = |error| Error::io("write a snapshot", path, error);
    let mut file = match offset {
        0 => crate::private_file(path).map_err(failed)?,
        _ => std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?,
    };
    file.set_len(offset).and_then(|()| file.seek(SeekFrom::Start(offset))).map_err(failed)?;
    while let Some(chunk) = snapshot.chunks.next().await {
        let chunk = chunk?;
        let owned = path.to_owned();
        file = blocking("write a snapshot", move || {
            file.write_all(&chunk).map_err(|error| Error::io("write a snapshot", &owned, error))?;
            Ok(file)
        })
        .await?;
    }
    Ok(())
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
