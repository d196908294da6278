//! Records of a log on their way to a client: where to begin, where to stop, and the batches between.

use std::sync::Arc;
use std::time::Duration;

use longshore_apply::{Edge, Point, Target};
use longshore_format::{Kind, Lsn, payload};
use longshore_transport::{OwnedRecord, Read, RecordBatches};
use longshore_wal::Reader;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::log::Log;
use crate::server::blocking;
use crate::subscribe::owned;

/// Payload bytes gathered into one message: large enough to amortise, small enough to stay flat.
const BATCH: usize = 256 << 10;

/// A batch holds at most so many records, however small.
const BATCH_RECORDS: usize = 4096;

/// An idle reader hears from us this often, so that a dead connection is noticed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Begins to read as asked. Records come from a task of its own, never more than two batches ahead.
pub(crate) async fn serve(log: Arc<Log>, request: Read, stop: CancellationToken) -> Result<RecordBatches> {
    let start = request.start.as_deref().map(|text| parse("start", text)).transpose()?;
    let end = request.end.as_deref().map(|text| parse("end", text)).transpose()?;
    let end = end.map(|target| if request.exclusive { target.before() } else { target });
    let follow = request.follow;
    let place = {
        let log = Arc::clone(&log);
        blocking("find where to read", move || Place::find(&log, start, end, follow)).await?
    };
    let (batches, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = send(place, &batches) => {}
            () = stop.cancelled() => {}
            () = batches.closed() => {}
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// Where a read is, and where it stops.
struct Place {
    reader: Reader,
    /// The first position that is not given any more; none while following.
    stop: Option<Lsn>,
}

impl Place {
    fn find(log: &Log, start: Option<Target>, end: Option<Target>, follow: bool) -> Result<Self> {
        let durable = log.wal.durable().get();
        let start = match start {
            None => log.wal.first(),
            Some(target) => boundary(log, &target)?,
        };
        let stop = match end {
            Some(target) if target.point != Point::Latest => Some(boundary(log, &target)?),
            _ if follow => None,
            _ => Some(durable),
        };
        Ok(Self { reader: log.wal.reader(start)?, stop })
    }

    /// The next records that are there, and whether there are more to come.
    fn batch(&mut self) -> Result<(Vec<OwnedRecord>, bool)> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH && records.len() < BATCH_RECORDS {
            if self.stop.is_some_and(|stop| stop <= self.reader.position()) {
                return Ok((records, false));
            }
            let Some(record) = self.reader.next()? else { break };
            bytes += record.payload.len();
            records.push(owned(&record));
        }
        Ok((records, true))
    }
}

async fn send(mut place: Place, batches: &mpsc::Sender<Result<Vec<OwnedRecord>, longshore_transport::Error>>) {
    loop {
        let read = blocking("read records", move || {
            let batch = place.batch()?;
            Ok((place, batch))
        });
        let (back, (records, more)) = match read.await {
            Ok(read) => read,
            Err(error) => {
                let _ = batches.send(Err(error.into())).await;
                return;
            }
        };
        place = back;
        let idle = records.is_empty();
        if !idle && batches.send(Ok(records)).await.is_err() {
            return;
        }
        if !more {
            return;
        }
        if idle {
            match tokio::time::timeout(SIGN_OF_LIFE, place.reader.ready()).await {
                Ok(Ok(())) => {}
                Ok(Err(longshore_wal::Error::Closed)) => return,
                Ok(Err(error)) => {
                    let _ = batches.send(Err(Error::from(error).into())).await;
                    return;
                }
                Err(_) if batches.send(Ok(Vec::new())).await.is_err() => return,
                Err(_) => {}
            }
        }
    }
}

/// The boundary that a target names: everything before it is what the target keeps.
pub(crate) fn boundary(log: &Log, target: &Target) -> Result<Lsn> {
    let before = target.edge == Edge::Before;
    match &target.point {
        Point::Latest => Ok(log.wal.durable().get()),
        Point::Lsn(lsn) if before => last_boundary_before(log, *lsn),
        Point::Lsn(lsn) => Ok(*lsn),
        Point::Time(time) => Ok(log.wal.position_at(if before { time.saturating_sub(1) } else { *time })?),
        Point::Mark(name) => {
            let mut reader = log.wal.reader(log.wal.first())?;
            while let Some(record) = reader.next()? {
                if record.kind == Kind::MARK
                    && payload::Mark::decode(record.payload).is_ok_and(|mark| mark.name == *name)
                {
                    return Ok(record.start);
                }
            }
            Err(Error::NoMark { log: log.name.clone(), mark: name.clone() })
        }
    }
}

/// Where the record begins that ends at `lsn`.
fn last_boundary_before(log: &Log, lsn: Lsn) -> Result<Lsn> {
    let near = log.wal.segment_size().base_of(lsn).max(log.wal.first());
    let mut reader = log.wal.reader(log.wal.segment_size().normalise(near))?;
    while let Some(record) = reader.next()? {
        if lsn <= record.end {
            return Ok(record.start);
        }
    }
    Ok(lsn)
}

fn parse(what: &'static str, text: &str) -> Result<Target> {
    text.parse().map_err(|error: longshore_apply::ParseTargetError| Error::Argument {
        what,
        reason: error.to_string(),
        value: text.chars().take(200).collect(),
    })
}
