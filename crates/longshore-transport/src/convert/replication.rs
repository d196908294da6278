//! The messages of a replication stream.

use longshore_format::Lsn;
use longshore_protocol::{
    Ack, Agreed, Frames, Limits, NodeAck, Probed, Refusal, SessionId, ToReplica, ToUpstream, Welcome,
};
use proto::{to_replica, to_upstream};

use super::{
    digest, epoch, epoch_message,
    hello::{features_message, parse_features},
    node, required,
    verdict::{parse_verdict, verdict_message},
};
use crate::{Error, Result, proto, status};

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

fn positions_message(ack: &Ack) -> proto::ack::Positions {
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
        ToReplica::Heartbeat { durable, epoch, retain, sent } => Message::Heartbeat(proto::UpstreamHeartbeat {
            durable: durable.get(),
            epoch: Some(epoch_message(&epoch)),
            retain: retain.get(),
            sent: sent.get(),
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
            sent: Lsn::new(heartbeat.sent),
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

fn refused_message(refusal: Refusal) -> proto::Refused {
    proto::Refused { kind: refusal.kind.as_str().to_owned(), text: refusal.text, at: refusal.at.map(Lsn::get) }
}

fn parse_refused(refused: proto::Refused) -> Result<Refusal> {
    let kind = status::parse_kind(&refused.kind).ok_or_else(|| Error::malformed("an unknown kind of refusal"))?;
    Ok(Refusal::new(kind, refused.text, refused.at.map(Lsn::new)))
}
