//! Lists of logs and segments, and the files of segments.

use bytes::Bytes;
use longshore_format::{Control, Lsn, Policy};
use longshore_protocol::NodeId;
use tokio_stream::{Stream, StreamExt};

use super::hello::{history_message, parse_history};
use super::{content, digest, epoch, epoch_message, log_id, name, node, required, segment_size, segment_size_field};
use crate::{
    BoxStream, Error, LogDescription, LogSummary, Result, Seal, Segment, SegmentFile, Snapshot, SnapshotPlace, proto,
};

pub(crate) fn log_summary(log: LogSummary) -> proto::LogSummary {
    proto::LogSummary {
        name: log.name.to_string(),
        log_id: log.id.as_bytes().to_vec(),
        content: log.content.to_string(),
        segment_size: segment_size_field(log.segment_size),
        first: log.first.get(),
        durable: log.durable.get(),
        has_slot: log.has_slot,
        accepted: log.accepted.as_ref().map(epoch_message),
        writes: log.writes,
        path: log.path.iter().map(NodeId::to_string).collect(),
    }
}

pub(crate) fn parse_log_summary(log: proto::LogSummary) -> Result<LogSummary> {
    if LogSummary::MAX_PATH < log.path.len() {
        return Err(Error::malformed(format!("a path of {} nodes", log.path.len())));
    }
    Ok(LogSummary {
        name: name(&log.name)?,
        id: log_id(&log.log_id)?,
        content: content(&log.content)?,
        segment_size: segment_size(log.segment_size)?,
        first: Lsn::new(log.first),
        durable: Lsn::new(log.durable),
        has_slot: log.has_slot,
        accepted: log.accepted.map(|accepted| epoch(Some(accepted))).transpose()?,
        writes: log.writes,
        path: log.path.iter().map(|name| node(name)).collect::<Result<_>>()?,
    })
}

pub(crate) fn log_description(description: LogDescription) -> proto::LogDescription {
    proto::LogDescription {
        summary: Some(log_summary(description.summary)),
        header: description.header,
        before: description.before.as_bytes().to_vec(),
        history: Some(history_message(&description.history)),
        policies: description.policies.iter().filter_map(policy_message).collect(),
    }
}

pub(crate) fn parse_log_description(description: proto::LogDescription) -> Result<LogDescription> {
    let summary = parse_log_summary(required(description.summary, "the summary")?)?;
    if description.header.len() as u64 != summary.segment_size.header_len() {
        return Err(Error::malformed(format!("a header of {} bytes", description.header.len())));
    }
    let history = parse_history(required(description.history, "the history")?)?;
    let policies = parse_policies(description.policies)?;
    Ok(LogDescription { summary, header: description.header, before: digest(&description.before)?, history, policies })
}

fn policy_message((end, policy): &(Lsn, Policy)) -> Option<proto::PolicyRecord> {
    Some(proto::PolicyRecord { end: end.get(), payload: policy.encode().ok()? })
}

fn parse_policies(policies: Vec<proto::PolicyRecord>) -> Result<Vec<(Lsn, Policy)>> {
    if Control::POLICIES_LIMIT < policies.len() {
        return Err(Error::malformed(format!("{} policies", policies.len())));
    }
    if policies.windows(2).any(|pair| pair[1].end <= pair[0].end) {
        return Err(Error::malformed("policies that are not in order"));
    }
    let policy = |message: proto::PolicyRecord| {
        let policy = required(Policy::decode(&message.payload), "a policy that can be read")?;
        Ok((Lsn::new(message.end), policy))
    };
    policies.into_iter().map(policy).collect()
}

pub(crate) fn segment(segment: Segment) -> proto::Segment {
    let seal = |seal: Seal| proto::Seal { digest: seal.digest.as_bytes().to_vec() };
    proto::Segment { base: segment.base.get(), end: segment.end.get(), seal: segment.seal.map(seal) }
}

pub(crate) fn parse_segment(segment: proto::Segment) -> Result<Segment> {
    let seal = |seal: proto::Seal| -> Result<Seal> { Ok(Seal { digest: digest(&seal.digest)? }) };
    Ok(Segment { base: Lsn::new(segment.base), end: Lsn::new(segment.end), seal: segment.seal.map(seal).transpose()? })
}

/// A segment file as it travels; length and digest go with the first chunk.
pub(crate) fn chunks(file: SegmentFile) -> impl Stream<Item = Result<proto::SegmentChunk, tonic::Status>> + Unpin {
    let mut at = 0;
    file.chunks.map(move |data| {
        let data = data?;
        let first = at == 0;
        let chunk = proto::SegmentChunk {
            file_offset: at,
            file_size: if first { file.len } else { 0 },
            digest: if first { file.digest.as_bytes().to_vec() } else { Vec::new() },
            data,
        };
        at += chunk.data.len() as u64;
        Ok(chunk)
    })
}

/// A segment file that arrives: every chunk where the one before ended, and all of it.
pub(crate) async fn parse_segment_file(
    mut chunks: impl Stream<Item = Result<proto::SegmentChunk>> + Send + Unpin + 'static,
) -> Result<SegmentFile> {
    let first = chunks.next().await.ok_or_else(|| Error::malformed("a segment without bytes"))??;
    let (len, digest) = (first.file_size, digest(&first.digest)?);
    if len > longshore_format::SegmentSize::MAX.get() {
        return Err(Error::malformed(format!("a segment of {len} bytes")));
    }
    let chunks = tokio_stream::once(Ok(first)).chain(chunks);
    let chunks = in_order(chunks.map(|chunk| chunk.map(|chunk| (chunk.file_offset, chunk.data))), 0, len);
    Ok(SegmentFile { len, digest, chunks })
}

/// A snapshot as it travels; its position and length go with the first chunk.
pub(crate) fn snapshot_chunks(
    snapshot: Snapshot,
) -> impl Stream<Item = Result<proto::SnapshotChunk, tonic::Status>> + Unpin {
    let Snapshot { place, len, chunks } = snapshot;
    let mut at = place.offset;
    // A snapshot of which everything is there already still says so.
    let head = tokio_stream::once(Ok(Bytes::new()));
    let mut first = true;
    head.chain(chunks).map(move |data| {
        let data = data?;
        let (file_size, position) = if first { (len, place.position.get()) } else { (0, 0) };
        first = false;
        let chunk = proto::SnapshotChunk { file_offset: at, data, file_size, position };
        at += chunk.data.len() as u64;
        Ok(chunk)
    })
}

/// A snapshot that arrives: every chunk where the one before ended, and all of it.
pub(crate) async fn parse_snapshot(
    mut chunks: impl Stream<Item = Result<proto::SnapshotChunk>> + Send + Unpin + 'static,
) -> Result<Snapshot> {
    let first = chunks.next().await.ok_or_else(|| Error::malformed("a snapshot without a first chunk"))??;
    let place = SnapshotPlace { position: Lsn::new(first.position), offset: first.file_offset };
    let (len, at) = (first.file_size, first.file_offset);
    if len < at {
        return Err(Error::malformed(format!("a snapshot of {len} bytes from {at} on")));
    }
    let chunks = tokio_stream::once(Ok(first)).chain(chunks);
    let chunks = in_order(chunks.map(|chunk| chunk.map(|chunk| (chunk.file_offset, chunk.data))), at, len);
    Ok(Snapshot { place, len, chunks })
}

/// The bytes of a file of `len` bytes from `at` on: every chunk where the one before ended, and all of it.
fn in_order(
    chunks: impl Stream<Item = Result<(u64, Bytes)>> + Send + 'static,
    mut at: u64,
    len: u64,
) -> BoxStream<Bytes> {
    // The end of the stream is a chunk too: one that must come after the last byte.
    let chunks = chunks.chain(tokio_stream::once(Ok((len, Bytes::new())))).map(move |chunk| {
        let (offset, data) = chunk?;
        if offset != at || len - at < data.len() as u64 {
            return Err(Error::malformed(format!("a chunk for {offset} where {at} of {len} was due")));
        }
        at += data.len() as u64;
        Ok(data)
    });
    Box::pin(chunks.filter(|chunk: &Result<Bytes>| chunk.as_ref().map_or(true, |data| !data.is_empty())))
}
