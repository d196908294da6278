//! What snapshots consist of, and parts of them.

use std::ops::Range;

use bytes::Bytes;
use longshore_format::Lsn;
use longshore_protocol::Name;
use tokio_stream::{Stream, StreamExt};

use crate::{BoxStream, Error, RecordOutline, Result, SnapshotOutline, SnapshotPlace, proto};

/// Bytes of a record's outline on the wire.
const RECORD_LEN: usize = 20;

pub(crate) fn outline(outline: SnapshotOutline) -> proto::SnapshotOutline {
    let SnapshotOutline { place, len, records } = outline;
    let mut bytes = Vec::with_capacity(records.len() * RECORD_LEN);
    for record in records {
        bytes.extend_from_slice(&record.len.to_le_bytes());
        bytes.extend_from_slice(&record.digest);
    }
    proto::SnapshotOutline { position: place.position.get(), file_size: len, file_offset: place.offset, records: bytes }
}

pub(crate) fn parse_outline(outline: proto::SnapshotOutline) -> Result<SnapshotOutline> {
    let proto::SnapshotOutline { position, file_size: len, file_offset: offset, records } = outline;
    let (records, cut) = records.as_chunks::<RECORD_LEN>();
    if SnapshotOutline::MOST < records.len() || !cut.is_empty() {
        let bytes = records.len() * RECORD_LEN + cut.len();
        return Err(Error::malformed(format!("an outline of {bytes} bytes")));
    }
    let records: Vec<RecordOutline> = records.iter().map(parse_record).collect::<Result<_>>()?;
    let bytes: u64 = records.iter().map(|record| u64::from(record.len)).sum();
    if len.checked_sub(offset).is_none_or(|rest| rest < bytes) {
        let message = format!("an outline of {bytes} bytes from {offset} on of a snapshot of {len}");
        return Err(Error::malformed(message));
    }
    Ok(SnapshotOutline { place: SnapshotPlace { position: Lsn::new(position), offset }, len, records })
}

fn parse_record(bytes: &[u8; RECORD_LEN]) -> Result<RecordOutline> {
    let (len, digest) = bytes.split_first_chunk().expect("a record's outline begins with a length");
    let len = u32::from_le_bytes(*len);
    if len == 0 {
        return Err(Error::malformed("an outline of a record of no bytes"));
    }
    Ok(RecordOutline { len, digest: digest.try_into().expect("the rest is 16 bytes") })
}

pub(crate) fn ranges_request(log: &Name, position: Lsn, ranges: &[Range<u64>]) -> proto::SnapshotRangesRequest {
    proto::SnapshotRangesRequest {
        log: log.to_string(),
        position: position.get(),
        offsets: ranges.iter().map(|range| range.start).collect(),
        lengths: ranges.iter().map(|range| range.end - range.start).collect(),
    }
}

/// Ranges that ascend, each of at least a byte, which end before numbers do.
pub(crate) fn parse_ranges(request: &proto::SnapshotRangesRequest) -> Result<Vec<Range<u64>>> {
    let (offsets, lengths) = (&request.offsets, &request.lengths);
    if offsets.len() != lengths.len() || SnapshotOutline::MOST_RANGES < offsets.len() {
        let message = format!("{} beginnings and {} lengths of parts of a snapshot", offsets.len(), lengths.len());
        return Err(Error::malformed(message));
    }
    let mut at = 0;
    let parse = |(start, len): (&u64, &u64)| match start.checked_add(*len) {
        Some(end) if at <= *start && *start < end => {
            at = end;
            Ok(*start..end)
        }
        _ => Err(Error::malformed(format!("a part of a snapshot of {len} bytes from {start} on"))),
    };
    offsets.iter().zip(lengths).map(parse).collect()
}

/// Parts of a snapshot as they travel.
pub(crate) fn range_chunks(
    chunks: BoxStream<Bytes>,
) -> impl Stream<Item = Result<proto::SnapshotRangesChunk, tonic::Status>> + Unpin {
    chunks.map(|data| Ok(proto::SnapshotRangesChunk { data: data? }))
}

/// Parts of a snapshot that arrive: `len` bytes, no more and no fewer.
pub(crate) fn parse_range_chunks(
    chunks: impl Stream<Item = Result<proto::SnapshotRangesChunk>> + Send + 'static,
    len: u64,
) -> BoxStream<Bytes> {
    let mut due = len;
    // The end of the stream is a chunk, too.
    let chunks = chunks.map(Some).chain(tokio_stream::once(None)).map(move |chunk| {
        let Some(chunk) = chunk else {
            return match due {
                0 => Ok(Bytes::new()),
                _ => Err(Error::malformed(format!("parts of a snapshot that end {due} bytes early"))),
            };
        };
        let data = chunk?.data;
        due = due
            .checked_sub(data.len() as u64)
            .ok_or_else(|| Error::malformed(format!("more of a snapshot than the {len} bytes that were asked for")))?;
        Ok(data)
    });
    Box::pin(chunks.filter(|chunk: &Result<Bytes>| chunk.as_ref().map_or(true, |data| !data.is_empty())))
}
