//! The messages of `replication.proto`.

use std::collections::BTreeSet;

use bytes::Bytes;
use longshore_format::{EpochEntry, EpochHistory, Incarnation, Lsn};
use longshore_protocol::{
    Ack, Agreed, Difference, Feature, Frames, Hello, Holding, Limits, Name, NodeAck, Offer, Probed, Refusal,
    ReseedReason, SessionId, ToReplica, ToUpstream, Verdict, VersionRange, Welcome,
};
use proto::{to_replica, to_upstream, verdict};
use tokio_stream::{Stream, StreamExt};

use super::{content, digest, epoch, epoch_message, log_id, name, node, required, segment_size, segment_size_field};
use crate::{Error, LogDescription, LogSummary, Result, Seal, Segment, SegmentFile, proto, status};

// ---- A replica's messages ----

/// The first message of a stream.
pub(crate) fn open_message(log: &Name, hello: Hello) -> proto::ToUpstream {
    let open = proto::Open {
        log: log.to_string(),
        node: hello.node.to_string(),
        offer: Some(offer_message(&hello.offer)),
        holding: Some(holding_message(&hello.holding)),
    };
    proto::ToUpstream { message: Some(to_upstream::Message::Open(open)) }
}

/// The log and the `Hello` of the first message of a stream.
pub(crate) fn parse_open(message: proto::ToUpstream) -> Result<(Name, Hello)> {
    let Some(to_upstream::Message::Open(open)) = message.message else {
        return Err(Error::malformed("a stream begins with open"));
    };
    let hello = Hello {
        node: node(&open.node)?,
        offer: parse_offer(required(open.offer, "the offer")?)?,
        holding: parse_holding(required(open.holding, "the holding")?)?,
    };
    Ok((name(&open.log)?, hello))
}

/// Any message after the first; a second `Hello` is not sent.
pub(crate) fn to_upstream_message(message: ToUpstream) -> Option<proto::ToUpstream> {
    use to_upstream::Message;
    let message = match message {
        ToUpstream::Probed(probed) => Message::Probed(proto::Probed { at: probed.at.get(), crc: probed.crc }),
        ToUpstream::Ack { ack, relayed } => Message::Ack(proto::Ack {
            own: Some(positions_message(&ack)),
            relayed: relayed.iter().map(relayed_message).collect(),
        }),
        ToUpstream::Credit { total } => Message::Credit(proto::Credit { total }),
        ToUpstream::Sealed { base, digest } => {
            Message::Sealed(proto::Sealed { base: base.get(), digest: digest.as_bytes().to_vec() })
        }
        ToUpstream::Heartbeat => Message::Heartbeat(proto::Heartbeat {}),
        ToUpstream::Refused(refusal) => Message::Refused(refused_message(refusal)),
        _ => {
            debug_assert!(false, "only the first message of a stream is a Hello");
            return None;
        }
    };
    Some(proto::ToUpstream { message: Some(message) })
}

/// Any message after the first.
pub(crate) fn parse_to_upstream(message: proto::ToUpstream) -> Result<ToUpstream> {
    use to_upstream::Message;
    Ok(match required(message.message, "the message")? {
        Message::Open(_) => return Err(Error::malformed("a stream is opened once")),
        Message::Probed(probed) => ToUpstream::Probed(Probed { at: Lsn::new(probed.at), crc: probed.crc }),
        Message::Ack(ack) => {
            if ack.relayed.len() > Limits::MAX_RELAYED {
                return Err(Error::malformed(format!("{} relayed acks", ack.relayed.len())));
            }
            let relayed = ack.relayed.into_iter().map(parse_relayed).collect::<Result<_>>()?;
            ToUpstream::Ack { ack: parse_positions(required(ack.own, "the ack")?)?, relayed }
        }
        Message::Credit(credit) => ToUpstream::Credit { total: credit.total },
        Message::Sealed(sealed) => ToUpstream::Sealed { base: Lsn::new(sealed.base), digest: digest(&sealed.digest)? },
        Message::Heartbeat(_) => ToUpstream::Heartbeat,
        Message::Refused(refused) => ToUpstream::Refused(parse_refused(refused)?),
    })
}

fn offer_message(offer: &Offer) -> proto::Offer {
    proto::Offer {
        oldest_version: offer.versions.min(),
        newest_version: offer.versions.max(),
        features: features_message(&offer.features),
        required_features: features_message(&offer.required),
        program: offer.program.clone(),
    }
}

fn parse_offer(offer: proto::Offer) -> Result<Offer> {
    if offer.program.len() > Offer::MAX_PROGRAM {
        return Err(Error::malformed("the program's name is too long"));
    }
    Ok(Offer {
        versions: VersionRange::new(offer.oldest_version, offer.newest_version).map_err(Error::malformed)?,
        features: parse_features(offer.features)?,
        required: parse_features(offer.required_features)?,
        program: offer.program,
    })
}

fn features_message(features: &BTreeSet<Feature>) -> Vec<String> {
    features.iter().map(Feature::to_string).collect()
}

fn parse_features(features: Vec<String>) -> Result<BTreeSet<Feature>> {
    if features.len() > Offer::MAX_FEATURES {
        return Err(Error::malformed(format!("{} features", features.len())));
    }
    features.iter().map(|feature| Feature::new(feature).map_err(Error::malformed)).collect()
}

fn holding_message(holding: &Holding) -> proto::Holding {
    proto::Holding {
        log_id: holding.log.as_bytes().to_vec(),
        content: holding.content.to_string(),
        segment_size: segment_size_field(holding.segment_size),
        history: Some(history_message(&holding.history)),
        first: holding.first.get(),
        end: holding.end.get(),
        last_crc: holding.last_crc,
        lost: holding.lost.map(Lsn::get),
        applied: holding.applied.map(Lsn::get),
    }
}

fn parse_holding(holding: proto::Holding) -> Result<Holding> {
    if holding.end < holding.first {
        return Err(Error::malformed("a log that ends before it begins"));
    }
    Ok(Holding {
        log: log_id(&holding.log_id)?,
        content: content(&holding.content)?,
        segment_size: segment_size(holding.segment_size)?,
        history: parse_history(required(holding.history, "the history")?)?,
        first: Lsn::new(holding.first),
        end: Lsn::new(holding.end),
        last_crc: holding.last_crc,
        lost: holding.lost.map(Lsn::new),
        applied: holding.applied.map(Lsn::new),
    })
}

fn history_message(history: &EpochHistory) -> proto::EpochHistory {
    let entry = |entry: &EpochEntry| proto::EpochEntry {
        start: entry.start.get(),
        epoch: Some(epoch_message(&entry.epoch)),
        incarnation: entry.incarnation.get(),
    };
    proto::EpochHistory { entries: history.entries().iter().map(entry).collect() }
}

fn parse_history(history: proto::EpochHistory) -> Result<EpochHistory> {
    if history.entries.len() > EpochHistory::LIMIT {
        return Err(Error::malformed(format!("a history of {} lives", history.entries.len())));
    }
    let entry = |entry: proto::EpochEntry| {
        Ok(EpochEntry {
            start: Lsn::new(entry.start),
            epoch: epoch(entry.epoch)?,
            incarnation: Incarnation::new(entry.incarnation),
        })
    };
    let entries = history.entries.into_iter().map(entry).collect::<Result<_>>()?;
    EpochHistory::from_entries(entries).map_err(Error::malformed)
}

pub(crate) fn positions_message(ack: &Ack) -> proto::ack::Positions {
    proto::ack::Positions { received: ack.received().get(), durable: ack.durable().get(), applied: ack.applied().get() }
}

fn parse_positions(positions: proto::ack::Positions) -> Result<Ack> {
    let [received, durable, applied] = [positions.received, positions.durable, positions.applied].map(Lsn::new);
    Ack::new(received, durable, applied).map_err(Error::malformed)
}

fn relayed_message(relayed: &NodeAck) -> proto::ack::RelayedAck {
    proto::ack::RelayedAck { node: relayed.node.to_string(), positions: Some(positions_message(&relayed.ack)) }
}

fn parse_relayed(relayed: proto::ack::RelayedAck) -> Result<NodeAck> {
    Ok(NodeAck { node: node(&relayed.node)?, ack: parse_positions(required(relayed.positions, "the ack")?)? })
}

// ---- The upstream's messages ----

/// A message to a replica.
pub(crate) fn to_replica_message(message: ToReplica) -> Option<proto::ToReplica> {
    use to_replica::Message;
    let message = match message {
        ToReplica::Welcome(welcome) => Message::Welcome(proto::Welcome {
            session: welcome.session.0,
            version: welcome.agreed.version,
            features: features_message(&welcome.agreed.features),
            node: welcome.node.to_string(),
            epoch: Some(epoch_message(&welcome.epoch)),
            durable: welcome.durable.get(),
        }),
        ToReplica::Probe { at } => Message::Probe(proto::Probe { at: at.get() }),
        ToReplica::Verdict(verdict) => Message::Verdict(verdict_message(&verdict)),
        ToReplica::Frames(frames) => Message::Frames(proto::Frames {
            start: frames.start.get(),
            epoch: Some(epoch_message(&frames.epoch)),
            payload: frames.bytes,
        }),
        ToReplica::Heartbeat { durable, epoch, retain } => Message::Heartbeat(proto::UpstreamHeartbeat {
            durable: durable.get(),
            epoch: Some(epoch_message(&epoch)),
            retain: retain.get(),
        }),
        ToReplica::Proved { base, end } => Message::Proved(proto::Proved { base: base.get(), end: end.get() }),
        ToReplica::Refused(refusal) => Message::Refused(refused_message(refusal)),
        _ => {
            debug_assert!(false, "a message that the wire does not know");
            return None;
        }
    };
    Some(proto::ToReplica { message: Some(message) })
}

/// A message from the upstream.
pub(crate) fn parse_to_replica(message: proto::ToReplica) -> Result<ToReplica> {
    use to_replica::Message;
    Ok(match required(message.message, "the message")? {
        Message::Welcome(welcome) => ToReplica::Welcome(Welcome {
            session: SessionId(welcome.session),
            agreed: Agreed { version: welcome.version, features: parse_features(welcome.features)? },
            node: node(&welcome.node)?,
            epoch: epoch(welcome.epoch)?,
            durable: Lsn::new(welcome.durable),
        }),
        Message::Probe(probe) => ToReplica::Probe { at: Lsn::new(probe.at) },
        Message::Verdict(verdict) => ToReplica::Verdict(parse_verdict(verdict)?),
        Message::Frames(frames) => ToReplica::Frames(parse_frames(frames)?),
        Message::Heartbeat(heartbeat) => ToReplica::Heartbeat {
            durable: Lsn::new(heartbeat.durable),
            epoch: epoch(heartbeat.epoch)?,
            retain: Lsn::new(heartbeat.retain),
        },
        Message::Proved(proved) => {
            if proved.end < proved.base {
                return Err(Error::malformed("a segment that ends before it begins"));
            }
            ToReplica::Proved { base: Lsn::new(proved.base), end: Lsn::new(proved.end) }
        }
        Message::Refused(refused) => ToReplica::Refused(parse_refused(refused)?),
    })
}

fn parse_frames(frames: proto::Frames) -> Result<Frames> {
    let len = frames.payload.len();
    if len == 0 || len > Limits::MAX_FRAMES {
        return Err(Error::malformed(format!("frames of {len} bytes")));
    }
    if frames.start.checked_add(len as u64).is_none() {
        return Err(Error::malformed("frames beyond the last position"));
    }
    Ok(Frames { start: Lsn::new(frames.start), epoch: epoch(frames.epoch)?, bytes: frames.payload })
}

fn verdict_message(verdict: &Verdict) -> proto::Verdict {
    use verdict::Verdict as Wire;
    let verdict = match *verdict {
        Verdict::Continue { at } => Wire::Continue(verdict::Continue { at: at.get() }),
        Verdict::Wait { end } => Wire::Wait(verdict::Wait { end: end.get() }),
        Verdict::Truncate { fork, crc } => Wire::Truncate(verdict::Truncate { fork: fork.get(), crc }),
        Verdict::Reseed { reason, first_available } => Wire::Reseed(verdict::Reseed {
            reason: reason_message(reason).into(),
            first_available: first_available.get(),
        }),
        Verdict::Stale { epoch } => Wire::Stale(verdict::Stale { epoch: Some(epoch_message(&epoch)) }),
        Verdict::Diverged { at, why } => {
            Wire::Diverged(verdict::Diverged { at: at.get(), why: difference_message(why).into() })
        }
    };
    proto::Verdict { verdict: Some(verdict) }
}

fn parse_verdict(verdict: proto::Verdict) -> Result<Verdict> {
    use verdict::Verdict as Wire;
    Ok(match required(verdict.verdict, "the verdict")? {
        Wire::Continue(it) => Verdict::Continue { at: Lsn::new(it.at) },
        Wire::Wait(it) => Verdict::Wait { end: Lsn::new(it.end) },
        Wire::Truncate(it) => Verdict::Truncate { fork: Lsn::new(it.fork), crc: it.crc },
        Wire::Reseed(it) => {
            Verdict::Reseed { reason: parse_reason(it.reason())?, first_available: Lsn::new(it.first_available) }
        }
        Wire::Stale(it) => Verdict::Stale { epoch: epoch(it.epoch)? },
        Wire::Diverged(it) => Verdict::Diverged { at: Lsn::new(it.at), why: parse_difference(it.why())? },
    })
}

fn reason_message(reason: ReseedReason) -> verdict::reseed::Reason {
    use verdict::reseed::Reason;
    match reason {
        ReseedReason::TooOld => Reason::TooOld,
        ReseedReason::ForkTrimmed => Reason::ForkTrimmed,
        ReseedReason::AppliedPastFork => Reason::AppliedPastFork,
        ReseedReason::NoCommonLife => Reason::NoCommonLife,
    }
}

fn parse_reason(reason: verdict::reseed::Reason) -> Result<ReseedReason> {
    use verdict::reseed::Reason;
    Ok(match reason {
        Reason::Unspecified => return Err(Error::malformed("an unknown reason to re-seed")),
        Reason::TooOld => ReseedReason::TooOld,
        Reason::ForkTrimmed => ReseedReason::ForkTrimmed,
        Reason::AppliedPastFork => ReseedReason::AppliedPastFork,
        Reason::NoCommonLife => ReseedReason::NoCommonLife,
    })
}

fn difference_message(difference: Difference) -> verdict::diverged::Difference {
    use verdict::diverged::Difference as Wire;
    match difference {
        Difference::OtherLog => Wire::OtherLog,
        Difference::OtherShape => Wire::OtherShape,
        Difference::TwoWriters => Wire::TwoWriters,
        Difference::ForgottenLife => Wire::ForgottenLife,
        Difference::Bytes => Wire::Bytes,
    }
}

fn parse_difference(difference: verdict::diverged::Difference) -> Result<Difference> {
    use verdict::diverged::Difference as Wire;
    Ok(match difference {
        Wire::Unspecified => return Err(Error::malformed("an unknown difference")),
        Wire::OtherLog => Difference::OtherLog,
        Wire::OtherShape => Difference::OtherShape,
        Wire::TwoWriters => Difference::TwoWriters,
        Wire::ForgottenLife => Difference::ForgottenLife,
        Wire::Bytes => Difference::Bytes,
    })
}

// ---- Either's ----

fn refused_message(refusal: Refusal) -> proto::Refused {
    proto::Refused { kind: refusal.kind.as_str().to_owned(), text: refusal.text, at: refusal.at.map(Lsn::get) }
}

fn parse_refused(refused: proto::Refused) -> Result<Refusal> {
    let kind = status::parse_kind(&refused.kind).ok_or_else(|| Error::malformed("an unknown kind of refusal"))?;
    Ok(Refusal::new(kind, refused.text, refused.at.map(Lsn::new)))
}

// ---- Lists and files ----

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
        before: description.before.as_bytes().to_vec().into(),
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
