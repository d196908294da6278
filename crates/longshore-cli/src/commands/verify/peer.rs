//! A log held against a peer's: digests of what both have sealed, then record by record.

use std::sync::Arc;

use longshore_format::{Lsn, Name};
use longshore_storage::Directory;
use longshore_transport::{Client, OwnedRecord, Read};
use longshore_wal::inspect::{Compared, Listing, PeerSegment, Report, compare as compare_segments};
use serde::Serialize;
use tokio_stream::StreamExt;

use crate::cli::Tls;
use crate::connect::connect;
use crate::failure::Failure;
use crate::runtime;

/// How far two logs are equal.
#[derive(Debug, Serialize)]
pub(super) struct Equality {
    pub(super) with: String,
    /// Sealed segments whose digests are the same.
    equal_segments: usize,
    /// Sealed segments here that the peer does not have, or has not sealed yet.
    unknown_segments: usize,
    /// Records behind the last equal segment that are the same.
    equal_records: u64,
    /// Everything that both have is equal up to here.
    equal_to: u64,
    /// The first position that differs: a segment's, or a record's.
    pub(super) differs_at: Option<u64>,
}

impl Equality {
    pub(super) fn told(&self) -> String {
        let Equality { with, equal_segments, equal_records, equal_to, .. } = self;
        match self.differs_at {
            Some(position) => format!("DIFFERS from the one at {with} from {position} on"),
            None => format!(
                "equal to the one at {with} up to {equal_to}: {equal_segments} segments by digest, \
                 {equal_records} records one by one"
            ),
        }
    }
}

pub(super) fn compare(
    tls: &Tls,
    server: &str,
    log: &Name,
    dir: &Arc<dyn Directory>,
    report: &Report,
) -> Result<Equality, Failure> {
    runtime::for_commands()?.block_on(async {
        let client = connect(tls, server).await?;
        let theirs: Vec<_> = client
            .segments(log)
            .await?
            .iter()
            .map(|segment| PeerSegment { base: segment.base, digest: segment.seal.map(|seal| seal.digest) })
            .collect();
        let comparison = compare_segments(report, &theirs);
        let count =
            |wanted: fn(&Compared) -> bool| comparison.segments.iter().filter(|(_, compared)| wanted(compared)).count();
        let mut equality = Equality {
            with: server.to_owned(),
            equal_segments: count(|compared| *compared == Compared::Equal),
            unknown_segments: count(|compared| matches!(compared, Compared::NotThere | Compared::NotSealedThere)),
            equal_records: 0,
            equal_to: comparison.equal_to.unwrap_or(report.first).get(),
            differs_at: comparison.first_difference().map(Lsn::get),
        };
        if equality.differs_at.is_none() {
            let oldest = theirs.first().map_or(report.first, |segment| segment.base);
            let size = report.control.size;
            let from = size.normalise(comparison.equal_to.unwrap_or(report.first).max(oldest));
            compare_records(&client, log, dir, from, &mut equality).await?;
        }
        Ok(equality)
    })
}

/// Both from `from` on, until one of them ends.
async fn compare_records(
    client: &Client,
    log: &Name,
    dir: &Arc<dyn Directory>,
    from: Lsn,
    equality: &mut Equality,
) -> Result<(), Failure> {
    let request = Read { log: log.clone(), start: Some(from.to_string()), end: None, exclusive: false, follow: false };
    let mut theirs = client.read(request).await?;
    let mut ours = Listing::open(Arc::clone(dir), from)?;
    while let Some(batch) = theirs.next().await {
        for record in batch? {
            match next_record(&mut ours)? {
                None => return Ok(()),
                Some(mine) if mine == record => {
                    equality.equal_records += 1;
                    equality.equal_to = record.end.get();
                }
                Some(mine) => {
                    equality.differs_at = Some(mine.start.min(record.start).get());
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The next record here, the log's own kinds too: readers get those as well.
fn next_record(ours: &mut Listing) -> Result<Option<OwnedRecord>, Failure> {
    let Some(record) = ours.next()? else { return Ok(None) };
    let payload = record.payload.to_vec().into();
    let (start, end, kind, flags, time) = (record.start, record.end, record.kind, record.flags, record.time);
    Ok(Some(OwnedRecord { start, end, kind, flags, time, payload }))
}
