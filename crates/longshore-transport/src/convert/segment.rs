//! Lists of logs and segments, and the files of segments.

use bytes::Bytes;
use longshore_format::Lsn;
use tokio_stream::{Stream, StreamExt};

use super::{content, digest, log_id, name, required, segment_size, segment_size_field};
use crate::{Error, LogDescription, LogSummary, Result, Seal, Segment, SegmentFile, proto};

pub(crate) fn log_summary(log: LogSummary) -> proto::LogSummary {
    proto::LogSummary {
        name: log.name.to_string(),
        log_id: log.id.as_bytes().to_vec(),
        content: log.content.to_string(),
        segment_size: segment_size_field(log.segment_size),
        first: log.first.get(),
        durable: log.durable.get(),
        has_slot: log.has_slot,
    }
}

pub(crate) fn parse_log_summary(log: proto::LogSummary) -> Result<LogSummary> {
    Ok(LogSummary {
        name: name(&log.name)?,
        id: log_id(&log.log_id)?,
        content: content(&log.content)?,
        segment_size: segment_size(log.segment_size)?,
        first: Lsn::new(log.first),
        durable: Lsn::new(log.durable),
        has_slot: log.has_slot,
    })
}

pub(crate) fn log_description(description: LogDescription) -> proto::LogDescription {
    proto::LogDescription {
        summary: Some(log_summary(description.summary)),
        header: description.header,
        before: description.before.as_bytes().to_vec(),
    }
}

pub(crate) fn parse_log_description(description: proto::LogDescription) -> Result<LogDescription> {
    let summary = parse_log_summary(required(description.summary, "the summary")?)?;
    if description.header.len() as u64 != summary.segment_size.header_len() {
        return Err(Error::malformed(format!("a header of {} bytes", description.header.len())));
    }
    Ok(LogDescription { summary, header: description.header, before: digest(&description.before)? })
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
    let mut at = 0;
    // The end of the stream is a chunk too: one that must come after the last byte.
    let end = tokio_stream::once(Ok(proto::SegmentChunk { file_offset: len, ..Default::default() }));
    let chunks = tokio_stream::once(Ok(first)).chain(chunks).chain(end).map(move |chunk| {
        let chunk = chunk?;
        let within = chunk.data.len() as u64 <= len - at;
        if chunk.file_offset != at || !within {
            return Err(Error::malformed(format!("a chunk for {} where {at} of {len} was due", chunk.file_offset)));
        }
        at += chunk.data.len() as u64;
        Ok(chunk.data)
    });
    let chunks = chunks.filter(|chunk: &Result<Bytes>| chunk.as_ref().map_or(true, |data| !data.is_empty()));
    Ok(SegmentFile { len, digest, chunks: Box::pin(chunks) })
}
