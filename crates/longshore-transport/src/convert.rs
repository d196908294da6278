//! Between the wire and plain types.
//!
//! Every `parse_…` checks all that came: lengths of ids, names, orders, counts (F-098 … F-101). What it
//! returns needs no further check.

pub(crate) mod admin;
pub(crate) mod hello;
pub(crate) mod log;
pub(crate) mod outline;
pub(crate) mod promotion;
pub(crate) mod replication;
pub(crate) mod segment;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use longshore_format::{Content, Digest, Epoch, LogId, SegmentSize, WriterId};
use longshore_protocol::{Name, NodeId, Region};

use crate::{Error, Result, proto};

/// A name.
pub(crate) fn name(text: &str) -> Result<Name> {
    Name::new(text).map_err(Error::malformed)
}

/// The name of a node.
pub(crate) fn node(text: &str) -> Result<NodeId> {
    NodeId::new(text).map_err(Error::malformed)
}

/// A region, where empty means that there is none.
pub(crate) fn region(text: &str) -> Result<Option<Region>> {
    optional(text).map(Region::new).transpose().map_err(Error::malformed)
}

/// Text, where empty means that there is none.
pub(crate) fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Text for something that may be absent.
pub(crate) fn or_empty<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map(T::to_string).unwrap_or_default()
}

fn exactly<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Error::malformed(format!("{what} of {} bytes instead of {N}", bytes.len())))
}

pub(crate) fn log_id(bytes: &[u8]) -> Result<LogId> {
    Ok(LogId::from_bytes(exactly(bytes, "a log id")?))
}

pub(crate) fn digest(bytes: &[u8]) -> Result<Digest> {
    Ok(Digest::from_bytes(exactly(bytes, "a digest")?))
}

pub(crate) fn writer(bytes: &[u8]) -> Result<WriterId> {
    Ok(WriterId::from_bytes(exactly(bytes, "a writer id")?))
}

pub(crate) fn content(text: &str) -> Result<Content> {
    text.parse().map_err(Error::malformed)
}

pub(crate) fn segment_size(bytes: u32) -> Result<SegmentSize> {
    SegmentSize::new(bytes.into()).map_err(Error::malformed)
}

/// A segment size as it travels; the greatest is 1 GiB.
pub(crate) fn segment_size_field(size: SegmentSize) -> u32 {
    u32::try_from(size.get()).expect("a segment size fits 32 bits")
}

pub(crate) fn epoch_message(epoch: &Epoch) -> proto::Epoch {
    proto::Epoch { number: epoch.number, writer: epoch.writer.as_bytes().to_vec() }
}

pub(crate) fn epoch(message: Option<proto::Epoch>) -> Result<Epoch> {
    let message = required(message, "an epoch")?;
    Ok(Epoch { number: message.number, writer: writer(&message.writer)? })
}

/// A field that proto3 cannot require.
pub(crate) fn required<T>(field: Option<T>, what: &str) -> Result<T> {
    field.ok_or_else(|| Error::malformed(format!("{what} is missing")))
}

/// Seconds of a peer as a duration; what is not a reasonable number is none.
pub(crate) fn seconds(seconds: Option<f64>) -> Option<Duration> {
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// A duration in whole milliseconds, up, so that what is not zero does not become it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
