//! The messages of `admin.proto`.

use std::time::Duration;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::Name;

use super::promotion::{parse_policy, policy_bytes};
use super::{
    content, log_id, name, node, optional, or_empty, region, seconds, segment_size, segment_size_field, writer,
};
use crate::{
    Error, Forget, Forgettable, Forgotten, Lag, LeaseHolder, LeaseStatus, Limits, LimitsChange, LogStatus, ReignStatus,
    ReplicaStatus, Result, SinkStatus, Status, StoreStatus, TailStatus, UpstreamStatus, proto,
};

/// The shape of `StatusResponse`.
const SCHEMA: u32 = 1;

const WRITER: &str = "writer";
const FOLLOWER: &str = "follower";

pub(crate) fn status(status: Status) -> proto::StatusResponse {
    proto::StatusResponse {
        schema: SCHEMA,
        node: status.node,
        version: status.version,
        time_micros: status.time_micros,
        certificate_days_left: status.certificate_days_left,
        logs: status.logs.into_iter().map(log).collect(),
    }
}

pub(crate) fn parse_status(response: proto::StatusResponse) -> Result<Status> {
    if response.schema != SCHEMA {
        return Err(Error::malformed(format!("status of schema {}, this program knows {SCHEMA}", response.schema)));
    }
    Ok(Status {
        node: response.node,
        version: response.version,
        time_micros: response.time_micros,
        certificate_days_left: response.certificate_days_left,
        logs: response.logs.into_iter().map(parse_log).collect::<Result<_>>()?,
    })
}

fn log(log: LogStatus) -> proto::LogStatus {
    proto::LogStatus {
        name: log.name.to_string(),
        log_id: log.id.as_bytes().to_vec(),
        content: log.content.to_string(),
        segment_size: segment_size_field(log.segment_size),
        role: if log.writer { WRITER } else { FOLLOWER }.to_owned(),
        first: log.first.get(),
        end: log.end.get(),
        durable: log.durable.get(),
        epoch: log.epoch.number,
        writer: log.epoch.writer.as_bytes().to_vec(),
        last_time_micros: log.last_time.unwrap_or(0),
        append_rate: log.append_rate,
        disk_used_bytes: log.disk_used,
        disk_free_bytes: log.disk_free,
        poisoned: log.poisoned.unwrap_or_default(),
        problem: log.problem.unwrap_or_default(),
        replicas: log.replicas.into_iter().map(replica).collect(),
        upstream: log.upstream.map(upstream),
        sinks: log.sinks.into_iter().map(sink).collect(),
        stores: log.stores.into_iter().map(store).collect(),
        tails: log.tails.into_iter().map(tail).collect(),
        policy: policy_bytes(log.reign.policy.as_ref()),
        fenced: log.reign.fenced,
        accepted_epoch: log.reign.accepted,
        path: log.reign.path.iter().map(ToString::to_string).collect(),
        lease: log.reign.lease.map(lease),
    }
}

fn parse_log(log: proto::LogStatus) -> Result<LogStatus> {
    let reign = parse_reign(&log)?;
    Ok(LogStatus {
        name: name(&log.name)?,
        id: log_id(&log.log_id)?,
        content: content(&log.content)?,
        segment_size: segment_size(log.segment_size)?,
        writer: match log.role.as_str() {
            WRITER => true,
            FOLLOWER => false,
            other => return Err(Error::malformed(format!("role {other:?} of a log"))),
        },
        first: Lsn::new(log.first),
        end: Lsn::new(log.end),
        durable: Lsn::new(log.durable),
        epoch: Epoch { number: log.epoch, writer: writer(&log.writer)? },
        last_time: (log.last_time_micros != 0).then_some(log.last_time_micros),
        append_rate: log.append_rate,
        disk_used: log.disk_used_bytes,
        disk_free: log.disk_free_bytes,
        poisoned: optional(&log.poisoned).map(str::to_owned),
        problem: optional(&log.problem).map(str::to_owned),
        replicas: log.replicas.into_iter().map(parse_replica).collect::<Result<_>>()?,
        upstream: log.upstream.map(parse_upstream),
        sinks: log.sinks.into_iter().map(parse_sink).collect(),
        stores: log.stores.into_iter().map(parse_store).collect(),
        tails: log.tails.into_iter().map(parse_tail).collect::<Result<_>>()?,
        reign,
    })
}

fn parse_reign(log: &proto::LogStatus) -> Result<ReignStatus> {
    Ok(ReignStatus {
        policy: parse_policy(&log.policy)?,
        fenced: log.fenced,
        accepted: log.accepted_epoch,
        path: log.path.iter().map(|name| node(name)).collect::<Result<_>>()?,
        lease: log.lease.as_ref().map(parse_lease).transpose()?,
    })
}

const HELD: &str = "held";
const FREE: &str = "free";
const UNKNOWN: &str = "unknown";

fn lease(lease: LeaseStatus) -> proto::LeaseStatus {
    let (state, holder) = match lease.holder {
        LeaseHolder::Node(node) => (HELD, node.to_string()),
        LeaseHolder::Nobody => (FREE, String::new()),
        LeaseHolder::Unknown => (UNKNOWN, String::new()),
    };
    proto::LeaseStatus {
        state: state.to_owned(),
        holder,
        epoch: lease.epoch,
        valid_seconds: lease.valid.map(|valid| valid.as_secs_f64()),
        trouble: lease.trouble.unwrap_or_default(),
    }
}

fn parse_lease(lease: &proto::LeaseStatus) -> Result<LeaseStatus> {
    let holder = match lease.state.as_str() {
        HELD => LeaseHolder::Node(node(&lease.holder)?),
        FREE => LeaseHolder::Nobody,
        UNKNOWN => LeaseHolder::Unknown,
        other => return Err(Error::malformed(format!("a lease that is {other:?}"))),
    };
    let (valid, trouble) = (seconds(lease.valid_seconds), optional(&lease.trouble).map(str::to_owned));
    Ok(LeaseStatus { holder, epoch: lease.epoch, valid, trouble })
}

fn replica(replica: ReplicaStatus) -> proto::ReplicaStatus {
    proto::ReplicaStatus {
        name: replica.name.to_string(),
        region: or_empty(&replica.region),
        provider: or_empty(&replica.provider),
        connected: replica.connected,
        lost: replica.lost,
        sent: replica.sent.get(),
        received: replica.received.get(),
        durable: replica.durable.get(),
        applied: replica.applied.get(),
        received_lag: Some(lag(replica.received_lag)),
        durable_lag: Some(lag(replica.durable_lag)),
        applied_lag: Some(lag(replica.applied_lag)),
        proved_equal_to: replica.proved_equal_to.get(),
        proof_age_seconds: replica.proof_age.as_ref().map(Duration::as_secs_f64),
        ship_rate: replica.ship_rate,
        catch_up_seconds: replica.catch_up.as_ref().map(Duration::as_secs_f64),
        headroom_bytes: replica.headroom_bytes,
        headroom_seconds: replica.headroom.as_ref().map(Duration::as_secs_f64),
        seen_seconds_ago: replica.seen_ago.as_ref().map(Duration::as_secs_f64),
        sent_bytes: replica.sent_bytes,
    }
}

fn parse_replica(replica: proto::ReplicaStatus) -> Result<ReplicaStatus> {
    Ok(ReplicaStatus {
        name: node(&replica.name)?,
        region: region(&replica.region)?,
        provider: optional(&replica.provider).map(str::to_owned),
        connected: replica.connected,
        lost: replica.lost,
        sent: Lsn::new(replica.sent),
        received: Lsn::new(replica.received),
        durable: Lsn::new(replica.durable),
        applied: Lsn::new(replica.applied),
        received_lag: parse_lag(replica.received_lag),
        durable_lag: parse_lag(replica.durable_lag),
        applied_lag: parse_lag(replica.applied_lag),
        proved_equal_to: Lsn::new(replica.proved_equal_to),
        proof_age: seconds(replica.proof_age_seconds),
        ship_rate: replica.ship_rate,
        catch_up: seconds(replica.catch_up_seconds),
        headroom_bytes: replica.headroom_bytes,
        headroom: seconds(replica.headroom_seconds),
        seen_ago: seconds(replica.seen_seconds_ago),
        sent_bytes: replica.sent_bytes,
    })
}

fn lag(lag: Lag) -> proto::Lag {
    proto::Lag { bytes: lag.bytes, seconds: lag.seconds }
}

fn parse_lag(lag: Option<proto::Lag>) -> Lag {
    lag.map(|lag| Lag { bytes: lag.bytes, seconds: lag.seconds }).unwrap_or_default()
}

fn upstream(upstream: UpstreamStatus) -> proto::UpstreamStatus {
    proto::UpstreamStatus {
        address: upstream.address,
        state: upstream.state,
        problem: upstream.problem.unwrap_or_default(),
        durable: upstream.durable.get(),
        heard_seconds_ago: upstream.heard_ago.as_ref().map(Duration::as_secs_f64),
    }
}

fn parse_upstream(upstream: proto::UpstreamStatus) -> UpstreamStatus {
    UpstreamStatus {
        address: upstream.address,
        state: upstream.state,
        problem: optional(&upstream.problem).map(str::to_owned),
        durable: Lsn::new(upstream.durable),
        heard_ago: seconds(upstream.heard_seconds_ago),
    }
}

fn sink(sink: SinkStatus) -> proto::SinkStatus {
    proto::SinkStatus {
        sink: sink.sink,
        applied: sink.applied.get(),
        lag: Some(lag(sink.lag)),
        problem: sink.problem.unwrap_or_default(),
        captured: sink.captured,
        kept: sink.kept,
        readers_saw: sink.readers_saw.map(Lsn::get),
    }
}

fn parse_sink(sink: proto::SinkStatus) -> SinkStatus {
    SinkStatus {
        sink: sink.sink,
        applied: Lsn::new(sink.applied),
        lag: parse_lag(sink.lag),
        problem: optional(&sink.problem).map(str::to_owned),
        captured: sink.captured,
        kept: sink.kept,
        readers_saw: sink.readers_saw.map(Lsn::new),
    }
}

fn tail(tail: TailStatus) -> proto::TailStatus {
    proto::TailStatus {
        place: tail.place,
        from: tail.from.get(),
        to: tail.to.get(),
        disk_bytes: tail.disk,
        epoch: tail.epoch.number,
        writer: tail.epoch.writer.as_bytes().to_vec(),
        set_aside_micros: tail.set_aside,
    }
}

fn parse_tail(tail: proto::TailStatus) -> Result<TailStatus> {
    Ok(TailStatus {
        place: tail.place,
        from: Lsn::new(tail.from),
        to: Lsn::new(tail.to),
        disk: tail.disk_bytes,
        epoch: Epoch { number: tail.epoch, writer: writer(&tail.writer)? },
        set_aside: tail.set_aside_micros,
    })
}

fn store(store: StoreStatus) -> proto::StoreStatus {
    proto::StoreStatus {
        store: store.store,
        region: store.region.unwrap_or_default(),
        archived: store.archived.map(Lsn::get),
        lag: Some(lag(store.lag)),
        longest_lag_seconds: store.longest_lag.as_secs_f64(),
        objects: store.objects,
        bytes: store.bytes,
        trouble: store.trouble.unwrap_or_default(),
        ended: store.ended,
        rate: store.rate,
        tail_every_seconds: store.tail_every.as_secs_f64(),
        put_requests: store.put_requests,
        get_requests: store.get_requests,
        sent_bytes: store.sent_bytes,
        received_bytes: store.received_bytes,
    }
}

fn parse_store(store: proto::StoreStatus) -> StoreStatus {
    StoreStatus {
        region: optional(&store.region).map(str::to_owned),
        archived: store.archived.map(Lsn::new),
        lag: parse_lag(store.lag),
        longest_lag: seconds(Some(store.longest_lag_seconds)).unwrap_or_default(),
        objects: store.objects,
        bytes: store.bytes,
        trouble: optional(&store.trouble).map(str::to_owned),
        ended: store.ended,
        rate: store.rate,
        tail_every: seconds(Some(store.tail_every_seconds)).unwrap_or_default(),
        put_requests: store.put_requests,
        get_requests: store.get_requests,
        sent_bytes: store.sent_bytes,
        received_bytes: store.received_bytes,
        store: store.store,
    }
}

pub(crate) fn forget_message(forget: &Forget) -> proto::ForgetRequest {
    let (replica, tail) = match &forget.what {
        Forgettable::Replica(replica) => (replica.to_string(), String::new()),
        Forgettable::Tail(place) => (String::new(), place.clone()),
    };
    proto::ForgetRequest { log: forget.log.to_string(), replica, plan: forget.plan, tail }
}

pub(crate) fn parse_forget(request: &proto::ForgetRequest) -> Result<Forget> {
    let what = match optional(&request.tail) {
        Some(tail) if request.replica.is_empty() => Forgettable::Tail(tail.to_owned()),
        Some(_) => return Err(Error::malformed("a replica and a tail to forget at once".to_owned())),
        None => Forgettable::Replica(node(&request.replica)?),
    };
    Ok(Forget { log: name(&request.log)?, what, plan: request.plan })
}

pub(crate) fn forgotten(forgotten: Forgotten) -> proto::ForgetResponse {
    proto::ForgetResponse {
        oldest_before: forgotten.oldest_before.get(),
        oldest_after: forgotten.oldest_after.get(),
        frees_bytes: forgotten.frees,
        forgotten: forgotten.forgotten,
        tail_transactions: forgotten.written.map(|(transactions, _)| transactions),
        tail_records: forgotten.written.map(|(_, records)| records),
    }
}

pub(crate) fn parse_forgotten(response: proto::ForgetResponse) -> Forgotten {
    Forgotten {
        oldest_before: Lsn::new(response.oldest_before),
        oldest_after: Lsn::new(response.oldest_after),
        frees: response.frees_bytes,
        forgotten: response.forgotten,
        written: response.tail_transactions.zip(response.tail_records),
    }
}

pub(crate) fn limits_message(log: &Name, change: LimitsChange) -> proto::LimitsRequest {
    proto::LimitsRequest {
        log: log.to_string(),
        slot_cap_bytes: change.slot_cap,
        slot_idle_seconds: change.slot_idle.map(|idle| idle.as_secs()),
        keep_bytes: change.keep_bytes,
        keep_seconds: change.keep_age.map(|age| age.as_secs()),
    }
}

pub(crate) fn parse_limits_change(request: &proto::LimitsRequest) -> LimitsChange {
    LimitsChange {
        slot_cap: request.slot_cap_bytes,
        slot_idle: request.slot_idle_seconds.map(Duration::from_secs),
        keep_bytes: request.keep_bytes,
        keep_age: request.keep_seconds.map(Duration::from_secs),
    }
}

pub(crate) fn limits(limits: Limits) -> proto::LimitsResponse {
    proto::LimitsResponse {
        slot_cap_bytes: limits.slot_cap.unwrap_or(0),
        slot_idle_seconds: limits.slot_idle.map_or(0, |idle| idle.as_secs()),
        keep_bytes: limits.keep_bytes,
        keep_seconds: limits.keep_age.as_secs(),
    }
}

pub(crate) fn parse_limits(response: proto::LimitsResponse) -> Limits {
    Limits {
        slot_cap: (response.slot_cap_bytes != 0).then_some(response.slot_cap_bytes),
        slot_idle: (response.slot_idle_seconds != 0).then(|| Duration::from_secs(response.slot_idle_seconds)),
        keep_bytes: response.keep_bytes,
        keep_age: Duration::from_secs(response.keep_seconds),
    }
}
