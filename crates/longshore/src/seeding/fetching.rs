//! Snapshots of the upstream on their way here: the rest of one that is held but for some records, or all of it.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use longshore_apply::DatabaseImage;
use longshore_format::{ErrorKind, Name};
use longshore_transport::{Client, SnapshotOutline, SnapshotPlace};
use tokio_stream::StreamExt;

use super::difference::Difference;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::server::blocking;
use crate::snapshot::SnapshotHead;

/// What a sink holds, and what of a snapshot has been put together with it. Whoever fetches may be dropped at any moment; this
/// stays, and the next one goes on with it.
pub(super) type Begun = Arc<Mutex<Difference>>;

/// How it ended, unless the connection was lost.
pub(super) enum End {
    Fetched,
    /// The snapshot is gone, and what is held has to be compared with another one.
    Replaced,
}

/// Has an upstream make a snapshot, if it can make one: it is sent when a sink asks for it.
pub(crate) async fn have_made(client: &Client, log: &Name) -> Result<()> {
    if client.snapshot_outline(log, None, 1).await?.is_none() {
        let _kept_for_the_sink = client.snapshot(log, None).await?;
    }
    Ok(())
}

/// Begins to compare what is held with the snapshot of which this is the first outline.
pub(super) async fn begin(
    log: &Log,
    first: SnapshotOutline,
    path: PathBuf,
    image: Box<dyn DatabaseImage>,
) -> Result<Begun> {
    tracing::info!(
        log = %log.name, position = %first.place.position, bytes = first.len, "fetching a snapshot, but for what is held here"
    );
    let begun = blocking("begin a snapshot", move || Difference::begin(&path, image, &first)).await?;
    Ok(Arc::new(Mutex::new(begun)))
}

/// Fetches what is missing, as far as the connection lasts, and gives the file its name.
pub(super) async fn rest(log: &Log, client: &Client, begun: &Begun, seed: &Path) -> Result<End> {
    let mut ahead = None;
    loop {
        let ((wanted, asked), place, is_outlined) =
            on(begun, |difference| Ok((difference.wanted(), difference.place(), difference.is_outlined()))).await?;
        if !wanted.is_empty() {
            let mut chunks = match client.snapshot_ranges(&log.name, place.position, &wanted).await {
                Ok(chunks) => chunks,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(End::Replaced),
                Err(error) => return Err(error.into()),
            };
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk?;
                log.seeding.counts.fetched(chunk.len() as u64);
                on(begun, move |difference| difference.take(asked, &chunk)).await?;
            }
        } else if is_outlined {
            let (id, seed) = (log.wal.id(), seed.to_owned());
            let (fetched, held) =
                on(begun, move |difference| difference.finish(id, &seed).map(|()| difference.counts())).await?;
            tracing::info!(log = %log.name, position = %place.position, fetched, held, "fetched a snapshot");
            return Ok(End::Fetched);
        } else {
            let outline = match ahead.take() {
                Some(outline) => outline,
                None => match client.snapshot_outline(&log.name, Some(place), MOST).await? {
                    Some(outline) => outline,
                    None => return Ok(End::Replaced),
                },
            };
            match compare(log, client, begun, outline).await? {
                Some(next) => ahead = next,
                None => return Ok(End::Replaced),
            }
        }
    }
}

/// Compares what is held with some records while the upstream outlines the next ones; `None` if they are another snapshot's.
async fn compare(
    log: &Log,
    client: &Client,
    begun: &Begun,
    outline: SnapshotOutline,
) -> Result<Option<Option<SnapshotOutline>>> {
    let bytes: u64 = outline.records.iter().map(|record| FRAME_LEN + u64::from(record.len)).sum();
    let next = SnapshotPlace { offset: outline.place.offset.saturating_add(bytes), ..outline.place };
    let is_last = outline.len.saturating_sub(FRAME_LEN) <= next.offset;
    let compared = on(begun, move |difference| {
        if !difference.goes_on_with(&outline) {
            return Ok(None);
        }
        let before = difference.counts().1;
        difference.compare(&outline.records)?;
        Ok(Some(difference.counts().1 - before))
    });
    let ahead = async {
        match is_last {
            true => None,
            // If it fails it is asked for again, and then that is an error.
            false => client.snapshot_outline(&log.name, Some(next), MOST).await.ok().flatten(),
        }
    };
    let (compared, ahead) = tokio::join!(compared, ahead);
    Ok(compared?.map(|held| {
        log.seeding.counts.held(held);
        ahead
    }))
}

/// Works on what was begun, where waiting for a disk holds nobody up.
async fn on<T: Send + 'static>(
    begun: &Begun,
    work: impl FnOnce(&mut Difference) -> Result<T> + Send + 'static,
) -> Result<T> {
    let begun = Arc::clone(begun);
    blocking("put a snapshot together", move || work(&mut crate::lock(&begun))).await
}

/// Fetches the file, or the rest of it.
pub(super) async fn whole(log: &Log, client: &Client, path: &Path) -> Result<()> {
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
        log.seeding.counts.fetched(chunk.len() as u64);
        let owned = path.to_owned();
        file = blocking("write a snapshot", move || {
            file.write_all(&chunk).map_err(|error| Error::io("write a snapshot", &owned, error))?;
            Ok(file)
        })
        .await?;
    }
    let (position, fetched) = (snapshot.place.position, snapshot.len - offset);
    tracing::info!(log = %log.name, %position, fetched, held = 0, "fetched a snapshot");
    Ok(())
}

/// As many records as an upstream tells at once.
pub(super) const MOST: usize = SnapshotOutline::MOST;
const FRAME_LEN: u64 = crate::snapshot::file::FRAME_LEN as u64;
