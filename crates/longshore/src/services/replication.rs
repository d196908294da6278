//! The service that replicas follow this node's logs through.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use longshore_format::{Lsn, Name};
use longshore_protocol::{NodeId, Peer};
use longshore_transport::grants::Role as Granted;
use longshore_transport::{
    BoxStream, Caller, Error, LogDescription, LogSummary, ReplicationService, Seal, Segment, SegmentFile, Snapshot,
    SnapshotOutline, SnapshotPlace, UpstreamEnd, async_trait,
};
use longshore_wal::{Role, SegmentState};

use super::NodeServices;
use crate::log::Log;
use crate::server::blocking;
use crate::snapshot;
use crate::upstream_end;

#[async_trait]
impl ReplicationService for NodeServices {
    async fn logs(&self, caller: &Caller) -> Result<Vec<LogSummary>, Error> {
        let granted = self.node.logs().into_iter().filter(|log| caller.may(Granted::Replicate, &log.name));
        Ok(granted.map(|log| summary(&log, self.node.id(), &caller.node())).collect())
    }

    async fn describe(&self, caller: &Caller, log: &Name) -> Result<LogDescription, Error> {
        let log = self.log(log)?;
        let (own, node) = (self.node.id().clone(), caller.node());
        let describe = move || {
            let start = log.wal.start_point()?;
            let header = Bytes::from(start.header.encode());
            let history = log.wal.history();
            let summary = summary(&log, &own, &node);
            Ok(LogDescription { summary, header, before: start.before, history, policies: start.policies })
        };
        Ok(blocking("describe a log", describe).await?)
    }

    async fn stream(&self, caller: Caller, log: Name, channel: UpstreamEnd) -> Result<(), Error> {
        let log = self.log(&log)?;
        let node = caller.node();
        if !log.standing.admit(&node, caller.region(), caller.provider()) {
            let message = format!("log {} has as many replicas as it can count", log.name);
            return Err(Error::new(longshore_format::ErrorKind::Full, message, "follow a replica instead"));
        }
        let peer = Peer { node, region: caller.region(), may_promote: caller.may(Granted::Promote, &log.name) };
        Ok(upstream_end::serve(&self.node, log, peer, caller.address(), channel).await?)
    }

    async fn segments(&self, _caller: &Caller, log: &Name) -> Result<Vec<Segment>, Error> {
        let log = self.log(log)?;
        Ok(blocking("list segments", move || segments(&log)).await?)
    }

    async fn fetch_segment(&self, caller: &Caller, log: &Name, base: Lsn) -> Result<SegmentFile, Error> {
        let log = self.log(log)?;
        let standing = Arc::clone(&log.standing);
        let opened = blocking("open a segment", move || {
            let digest = log.wal.digest(base)?;
            let reader = log.wal.segment(base)?;
            Ok((digest, reader))
        });
        let (digest, reader) = opened.await?;
        let Some(digest) = digest else {
            let message = format!("segment {base} is not sealed");
            return Err(Error::new(longshore_format::ErrorKind::NotFound, message, "ask for a sealed one"));
        };
        let len = reader.size().get();
        standing.fetched(&caller.node(), len);
        let read = move |piece: &mut [u8], at| Ok(reader.read_at(piece, at)?);
        Ok(SegmentFile { len, digest, chunks: crate::chunks::stream(read, 0, len) })
    }

    async fn snapshot(&self, _caller: &Caller, log: &Name, resume: Option<SnapshotPlace>) -> Result<Snapshot, Error> {
        let log = self.log(log)?;
        let path = snapshot::path_of(self.node.data_dir(), &log.name);
        Ok(blocking("make a snapshot", move || log.offered.open(&log, &path, resume)).await?)
    }

    async fn snapshot_outline(
        &self,
        _caller: &Caller,
        log: &Name,
        resume: Option<SnapshotPlace>,
        most: usize,
    ) -> Result<SnapshotOutline, Error> {
        let log = self.log(log)?;
        let path = snapshot::path_of(self.node.data_dir(), &log.name);
        Ok(blocking("outline a snapshot", move || log.offered.outline(&log, &path, resume, most)).await?)
    }

    async fn snapshot_ranges(
        &self,
        _caller: &Caller,
        log: &Name,
        position: Lsn,
        ranges: Vec<Range<u64>>,
    ) -> Result<BoxStream<Bytes>, Error> {
        let log = self.log(log)?;
        let path = snapshot::path_of(self.node.data_dir(), &log.name);
        Ok(blocking("open a snapshot", move || log.offered.ranges(&log, &path, position, &ranges)).await?)
    }
}

fn summary(log: &Log, own: &NodeId, caller: &NodeId) -> LogSummary {
    LogSummary {
        name: log.name.clone(),
        id: log.wal.id(),
        content: log.wal.content(),
        segment_size: log.wal.segment_size(),
        first: log.wal.first(),
        durable: log.wal.durable().get(),
        has_slot: log.wal.slots().iter().any(|slot| slot.name.as_str() == caller.as_str()),
        accepted: Some(log.wal.accepted_epoch()),
        writes: log.wal.role() == Role::Writer && !log.wal.is_fenced(),
        path: log.path(own),
    }
}

/// Every segment; of sealed ones their digests, which are read from their footers.
fn segments(log: &Log) -> crate::error::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for info in log.wal.segments() {
        let seal = match info.state {
            SegmentState::Sealed => log.wal.digest(info.base)?.map(|digest| Seal { digest }),
            SegmentState::Active | SegmentState::Full => None,
        };
        segments.push(Segment { base: info.base, end: info.end, seal });
    }
    Ok(segments)
}
