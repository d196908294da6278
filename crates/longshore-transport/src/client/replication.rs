//! The calls of a replica.

use std::ops::Range;

use bytes::Bytes;
use longshore_format::{ErrorKind, Lsn};
use longshore_protocol::{Hello, Name, ToReplica, ToUpstream};
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};

use super::Client;
use crate::{
    Channel, Error, LogDescription, LogSummary, Result, Segment, SegmentFile, Snapshot, SnapshotOutline, SnapshotPlace,
    convert, proto,
};

/// A replica's end of a replication stream: it sends acks and hears frames.
pub type ReplicaEnd = Channel<ToUpstream, ToReplica>;

/// The most entries taken of a list (F-101).
const MAX_LIST: usize = 1 << 20;

impl Client {
    /// The logs which this identity may replicate.
    pub async fn logs(&self) -> Result<Vec<LogSummary>> {
        let answer = self.answer(self.replication().logs(proto::LogsRequest {})).await?;
        self.collect(answer, convert::segment::parse_log_summary).await
    }

    /// What is needed to create a copy of a log.
    pub async fn describe(&self, log: &Name) -> Result<LogDescription> {
        let request = proto::DescribeRequest { log: log.to_string() };
        let answer = self.answer(self.replication().describe(request)).await?;
        convert::segment::parse_log_description(answer)
    }

    /// Follows a log. `hello` is sent; what comes back, the welcome first, is in the channel.
    ///
    /// The channel ends with the upstream's error when it ends the stream for a reason.
    pub async fn follow(&self, log: &Name, hello: Hello) -> Result<ReplicaEnd> {
        let client = self.clone();
        let (mut channel, outgoing) = Channel::new(Box::pin(tokio_stream::empty()));
        let open = tokio_stream::once(convert::hello::open_message(log, hello));
        let messages = open.chain(outgoing.filter_map(convert::replication::to_upstream_message));
        let answer = self.answer(self.replication().stream(messages)).await?;
        channel.receive_from(Box::pin(answer.map(move |message| {
            message.map_err(|status| client.failed(status)).and_then(convert::replication::parse_to_replica)
        })));
        Ok(channel)
    }

    /// The segments that the agent holds of a log, oldest first.
    pub async fn segments(&self, log: &Name) -> Result<Vec<Segment>> {
        let request = proto::SegmentsRequest { log: log.to_string() };
        let answer = self.answer(self.replication().segments(request)).await?;
        self.collect(answer, convert::segment::parse_segment).await
    }

    /// The file of one sealed segment. Its length and the order of its chunks are checked as they come;
    /// its digest is the caller's to check.
    pub async fn fetch_segment(&self, log: &Name, base: Lsn) -> Result<SegmentFile> {
        let request = proto::FetchSegmentRequest { log: log.to_string(), base: base.get() };
        let answer = self.answer(self.replication().fetch_segment(request)).await?;
        let client = self.clone();
        let chunks = answer.map(move |chunk| chunk.map_err(|status| client.failed(status)));
        convert::segment::parse_segment_file(chunks).await
    }

    /// The whole database that a log is of, at one position: the snapshot that was begun at `resume`, from there on, or
    /// another from its beginning, which [`Snapshot::place`] tells. What is in it is the caller's to check.
    ///
    /// # Errors
    /// `Preflight` when the agent has nothing to make one of.
    pub async fn snapshot(&self, log: &Name, resume: Option<SnapshotPlace>) -> Result<Snapshot> {
        let (position, offset) = resume.map_or((0, 0), |place| (place.position.get(), place.offset));
        let request = proto::SnapshotRequest { log: log.to_string(), position, offset };
        // It may have to be made first, which takes as long as copying the database does.
        let answer = self.replication().snapshot(request).await.map_err(|status| self.failed(status))?.into_inner();
        let client = self.clone();
        let chunks = answer.map(move |chunk| chunk.map_err(|status| client.failed(status)));
        convert::segment::parse_snapshot(chunks).await
    }

    /// The next records of the outline that was begun at `resume`, or the first ones of another snapshot's, which
    /// [`SnapshotOutline::place`] tells; at most `most`. `None` from an agent of an earlier version, which has none. The snapshot
    /// is made now if there is none, which takes as long as copying the database does.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub async fn snapshot_outline(
        &self,
        log: &Name,
        resume: Option<SnapshotPlace>,
        most: usize,
    ) -> Result<Option<SnapshotOutline>> {
        let (position, offset) = resume.map_or((0, 0), |place| (place.position.get(), place.offset));
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let request = proto::SnapshotOutlineRequest { log: log.to_string(), position, offset, most };
        match self.replication().snapshot_outline(request).await {
            Ok(answer) => convert::outline::parse_outline(answer.into_inner()).map(Some),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(self.failed(status)),
        }
    }

    /// Parts of the snapshot at `position`, one after the other: together exactly as many bytes as were asked for. What is in
    /// them is the caller's to check.
    ///
    /// # Errors
    /// `NotFound` once that snapshot is gone.
    pub async fn snapshot_ranges(
        &self,
        log: &Name,
        position: Lsn,
        ranges: &[Range<u64>],
    ) -> Result<crate::BoxStream<Bytes>> {
        let request = convert::outline::ranges_request(log, position, ranges);
        let answer = self.answer(self.replication().snapshot_ranges(request)).await?;
        let client = self.clone();
        let chunks = answer.map(move |chunk| chunk.map_err(|status| client.failed(status)));
        Ok(convert::outline::parse_range_chunks(chunks, ranges.iter().map(|range| range.end - range.start).sum()))
    }

    async fn collect<T, U>(&self, mut answer: Streaming<T>, parse: fn(T) -> Result<U>) -> Result<Vec<U>> {
        let mut items = Vec::new();
        while let Some(item) = answer.message().await.map_err(|status| self.failed(status))? {
            if items.len() == MAX_LIST {
                let message = format!("{} lists more than {MAX_LIST} entries", self.address);
                return Err(Error::new(ErrorKind::Invalid, message, "check the agent"));
            }
            items.push(parse(item)?);
        }
        Ok(items)
    }
}
