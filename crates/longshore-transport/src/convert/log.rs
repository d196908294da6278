//! The messages of `log.proto`.

use std::time::Duration;

use longshore_format::{Content, Flags, Kind, Lsn, SegmentSize};
use longshore_protocol::{Ack, Durability, Name};

use super::{content, millis, node, optional, or_empty, region, segment_size, segment_size_field};
use crate::{Append, Create, Draft, Error, OwnedRecord, Positions, Read, ReplicaPosition, Result, proto};

/// The most records of one append.
const MAX_RECORDS: usize = 1 << 16;

/// How long a wait lasts that does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn create_message(create: Create) -> proto::CreateRequest {
    proto::CreateRequest {
        log: create.log.to_string(),
        content: create.content.to_string(),
        segment_size: segment_size_field(create.segment_size),
    }
}

pub(crate) fn parse_create(request: proto::CreateRequest, log: Name) -> Result<Create> {
    Ok(Create {
        log,
        content: optional(&request.content).map_or(Ok(Content::Bytes), content)?,
        segment_size: match request.segment_size {
            0 => SegmentSize::DEFAULT,
            bytes => segment_size(bytes)?,
        },
    })
}

pub(crate) fn append_message(append: Append) -> Result<proto::AppendRequest> {
    check_batch(append.records.len())?;
    let draft = |draft: Draft| proto::RecordDraft { payload: draft.payload, kind: draft.kind.get().into() };
    Ok(proto::AppendRequest {
        log: append.log.to_string(),
        records: append.records.into_iter().map(draft).collect(),
        expect: append.expect.map(Lsn::get),
        wait: or_empty(&append.wait),
        timeout_millis: millis(append.timeout),
    })
}

pub(crate) fn parse_append(request: proto::AppendRequest, log: Name) -> Result<Append> {
    check_batch(request.records.len())?;
    let (wait, timeout) = parse_wait(&request.wait, request.timeout_millis)?;
    let draft = |draft: proto::RecordDraft| Ok(Draft { kind: user_kind(draft.kind)?, payload: draft.payload });
    let records = request.records.into_iter().map(draft).collect::<Result<_>>()?;
    Ok(Append { log, records, expect: request.expect.map(Lsn::new), wait, timeout })
}

fn check_batch(records: usize) -> Result<()> {
    match records {
        0 => Err(Error::malformed("an append without records")),
        1..=MAX_RECORDS => Ok(()),
        _ => Err(Error::malformed(format!("an append of {records} records, more than {MAX_RECORDS}"))),
    }
}

fn kind(number: u32) -> Result<Kind> {
    let number = u16::try_from(number).map_err(|_| Error::malformed(format!("record kind {number}")))?;
    Ok(Kind::new(number))
}

fn user_kind(number: u32) -> Result<Kind> {
    match number {
        0 => Ok(Kind::USER),
        1..256 => Err(Error::malformed(format!("record kind {number} belongs to the log"))),
        _ => kind(number),
    }
}

/// What to wait for, and for how long.
pub(crate) fn parse_wait(wait: &str, timeout_millis: u64) -> Result<(Option<Durability>, Duration)> {
    let durability = optional(wait).map(str::parse).transpose().map_err(Error::malformed)?;
    let timeout = match timeout_millis {
        0 => DEFAULT_TIMEOUT,
        millis => Duration::from_millis(millis),
    };
    Ok((durability, timeout))
}

pub(crate) fn read_message(read: Read) -> proto::ReadRequest {
    proto::ReadRequest {
        log: read.log.to_string(),
        start: read.start.unwrap_or_default(),
        end: read.end.unwrap_or_default(),
        exclusive: read.exclusive,
        follow: read.follow,
    }
}

pub(crate) fn parse_read(request: proto::ReadRequest, log: Name) -> Read {
    let target = |text: String| (!text.is_empty()).then_some(text);
    Read {
        log,
        start: target(request.start),
        end: target(request.end),
        exclusive: request.exclusive,
        follow: request.follow,
    }
}

pub(crate) fn batch(records: Vec<OwnedRecord>) -> proto::ReadResponse {
    let record = |record: OwnedRecord| proto::Record {
        start: record.start.get(),
        end: record.end.get(),
        kind: record.kind.get().into(),
        first: record.flags.contains(Flags::FIRST),
        last: record.flags.contains(Flags::LAST),
        time_micros: record.time,
        payload: record.payload,
    };
    proto::ReadResponse { records: records.into_iter().map(record).collect() }
}

pub(crate) fn parse_batch(response: proto::ReadResponse) -> Result<Vec<OwnedRecord>> {
    let flag = |set: bool, flag: Flags| if set { flag } else { Flags::NONE };
    let record = |record: proto::Record| {
        if record.end < record.start {
            return Err(Error::malformed("a record that ends before it begins"));
        }
        Ok(OwnedRecord {
            start: Lsn::new(record.start),
            end: Lsn::new(record.end),
            kind: kind(record.kind)?,
            flags: flag(record.first, Flags::FIRST) | flag(record.last, Flags::LAST),
            time: record.time_micros,
            payload: record.payload,
        })
    };
    response.records.into_iter().map(record).collect()
}

pub(crate) fn positions(positions: Positions) -> proto::PositionsResponse {
    let replica = |replica: ReplicaPosition| proto::ReplicaPosition {
        replica: replica.replica.to_string(),
        region: or_empty(&replica.region),
        connected: replica.connected,
        received: replica.ack.received().get(),
        durable: replica.ack.durable().get(),
        applied: replica.ack.applied().get(),
    };
    proto::PositionsResponse {
        first: positions.first.get(),
        end: positions.end.get(),
        durable: positions.durable.get(),
        replicas: positions.replicas.into_iter().map(replica).collect(),
    }
}

pub(crate) fn parse_positions(response: proto::PositionsResponse) -> Result<Positions> {
    let replica = |replica: proto::ReplicaPosition| {
        let [received, durable, applied] = [replica.received, replica.durable, replica.applied].map(Lsn::new);
        Ok(ReplicaPosition {
            replica: node(&replica.replica)?,
            region: region(&replica.region)?,
            connected: replica.connected,
            ack: Ack::new(received, durable, applied).map_err(Error::malformed)?,
        })
    };
    Ok(Positions {
        first: Lsn::new(response.first),
        end: Lsn::new(response.end),
        durable: Lsn::new(response.durable),
        replicas: response.replicas.into_iter().map(replica).collect::<Result<_>>()?,
    })
}
