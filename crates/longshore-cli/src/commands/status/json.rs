//! The status as JSON: bytes, seconds, RFC 3339 UTC. Names follow the library's; a field that has
//! nothing to say is null.

use std::time::Duration;

use longshore_archive::estimate::Rpo;
use longshore_protocol::{self as protocol, NodeId, Region, Shortfall};
use longshore_transport as agent;
use serde::Serialize;

use super::figures::{Figure, Figures};
use super::role;
use crate::quantity::rfc3339;

#[derive(Serialize)]
pub(super) struct Status {
    node: String,
    version: String,
    time: String,
    certificate_days_left: Option<i64>,
    logs: Vec<Log>,
}

#[derive(Serialize)]
struct Log {
    name: String,
    id: String,
    content: String,
    segment_size_bytes: u64,
    role: &'static str,
    epoch: String,
    first: u64,
    end: u64,
    durable: u64,
    last_time: Option<String>,
    append_rate_bytes_per_second: f64,
    disk_used_bytes: u64,
    disk_free_bytes: u64,
    poisoned: Option<String>,
    /// Why nothing goes into it here although the agent writes it.
    problem: Option<String>,
    replicas: Vec<Replica>,
    upstream: Option<Upstream>,
    sinks: Vec<Sink>,
    stores: Vec<Store>,
    tails: Vec<Tail>,
    fenced: bool,
    /// The highest epoch that the agent accepted.
    accepted_epoch: u64,
    /// Null where the log has none, and all is `local`.
    policy: Option<Policy>,
    /// The nodes that the log comes through, the writer last.
    path: Vec<String>,
    /// Null where no lease is set.
    lease: Option<Lease>,
}

/// The lease by which a failover starts by itself.
#[derive(Serialize)]
struct Lease {
    state: &'static str,
    holder: Option<String>,
    epoch: Option<u64>,
    /// At its holder alone.
    valid_seconds: Option<f64>,
    trouble: Option<String>,
}

impl From<&agent::LeaseStatus> for Lease {
    fn from(lease: &agent::LeaseStatus) -> Self {
        let (state, holder) = match &lease.holder {
            agent::LeaseHolder::Node(node) => ("held", Some(node.to_string())),
            agent::LeaseHolder::Nobody => ("free", None),
            agent::LeaseHolder::Unknown => ("unknown", None),
        };
        let epoch = holder.is_some().then_some(lease.epoch);
        Self { state, holder, epoch, valid_seconds: seconds(lease.valid), trouble: lease.trouble.clone() }
    }
}

#[derive(Serialize)]
struct Policy {
    durability: String,
    shortfall: &'static str,
    /// With the shortfall `degrade`: after how long.
    degrade_after_seconds: Option<f64>,
    degraded: bool,
    voters: Vec<Voter>,
}

#[derive(Serialize)]
struct Voter {
    node: String,
    region: Option<String>,
}

#[derive(Serialize)]
struct Replica {
    name: String,
    region: Option<String>,
    provider: Option<String>,
    connected: bool,
    lost: bool,
    sent: u64,
    received: u64,
    durable: u64,
    applied: u64,
    received_lag: Lag,
    durable_lag: Lag,
    applied_lag: Lag,
    proved_equal_to: u64,
    proof_age_seconds: Option<f64>,
    ship_rate_bytes_per_second: f64,
    /// Null is "never at this rate".
    catch_up_seconds: Option<f64>,
    headroom_bytes: Option<u64>,
    headroom_seconds: Option<f64>,
    seen_seconds_ago: Option<f64>,
    predicted: Predicted,
    sent_bytes: u64,
    /// Since the agent started; null is unknown.
    usd: Option<f64>,
}

/// What `longshore estimate` says at the measured rate of appends.
#[derive(Serialize)]
struct Predicted {
    rate_bytes_per_second: f64,
    /// Null is "falls further behind all the time".
    rpo_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Store {
    store: String,
    region: Option<String>,
    archived: Option<u64>,
    lag: Lag,
    longest_lag_seconds: f64,
    objects: u64,
    bytes: u64,
    trouble: Option<String>,
    ended: bool,
    rate_bytes_per_second: f64,
    tail_every_seconds: f64,
    predicted: Predicted,
    put_requests: u64,
    get_requests: u64,
    sent_bytes: u64,
    received_bytes: u64,
    /// Since the agent started, without storage; null is unknown.
    usd: Option<f64>,
}

#[derive(Serialize)]
struct Lag {
    bytes: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct Upstream {
    address: String,
    state: String,
    problem: Option<String>,
    durable: u64,
    lag_bytes: u64,
    heard_seconds_ago: Option<f64>,
}

#[derive(Serialize)]
struct Sink {
    sink: String,
    applied: u64,
    lag: Lag,
    problem: Option<String>,
    captured: bool,
    kept: Vec<String>,
    readers_saw: Option<u64>,
}

/// What a fork set aside.
#[derive(Serialize)]
struct Tail {
    place: String,
    from: u64,
    to: u64,
    bytes: u64,
    disk_bytes: u64,
    epoch: String,
    set_aside: String,
}

impl Status {
    pub(super) fn of(status: &agent::Status, figures: &Figures) -> Self {
        Self {
            node: status.node.clone(),
            version: status.version.clone(),
            time: rfc3339(status.time_micros),
            certificate_days_left: status.certificate_days_left,
            logs: status.logs.iter().map(|log| Log::of(log, figures)).collect(),
        }
    }
}

impl Log {
    fn of(log: &agent::LogStatus, figures: &Figures) -> Self {
        let replica = |replica| Replica::of(replica, figures.of_replica(log, replica));
        let store = |store| Store::of(store, figures.of_store(log, store));
        Self {
            name: log.name.to_string(),
            id: log.id.to_string(),
            content: log.content.to_string(),
            segment_size_bytes: log.segment_size.get(),
            role: role(log),
            epoch: log.epoch.to_string(),
            first: log.first.get(),
            end: log.end.get(),
            durable: log.durable.get(),
            last_time: log.last_time.map(rfc3339),
            append_rate_bytes_per_second: log.append_rate,
            disk_used_bytes: log.disk_used,
            disk_free_bytes: log.disk_free,
            poisoned: log.poisoned.clone(),
            problem: log.problem.clone(),
            replicas: log.replicas.iter().map(replica).collect(),
            upstream: log.upstream.as_ref().map(|upstream| Upstream::of(log, upstream)),
            sinks: log.sinks.iter().map(Sink::from).collect(),
            stores: log.stores.iter().map(store).collect(),
            tails: log.tails.iter().map(Tail::from).collect(),
            fenced: log.reign.fenced,
            accepted_epoch: log.reign.accepted,
            policy: log.reign.policy.as_ref().map(Policy::from),
            path: log.reign.path.iter().map(ToString::to_string).collect(),
            lease: log.reign.lease.as_ref().map(Lease::from),
        }
    }
}

impl Replica {
    fn of(replica: &agent::ReplicaStatus, figure: Figure) -> Self {
        Self {
            name: replica.name.to_string(),
            region: replica.region.as_ref().map(ToString::to_string),
            provider: replica.provider.clone(),
            connected: replica.connected,
            lost: replica.lost,
            sent: replica.sent.get(),
            received: replica.received.get(),
            durable: replica.durable.get(),
            applied: replica.applied.get(),
            received_lag: (&replica.received_lag).into(),
            durable_lag: (&replica.durable_lag).into(),
            applied_lag: (&replica.applied_lag).into(),
            proved_equal_to: replica.proved_equal_to.get(),
            proof_age_seconds: seconds(replica.proof_age),
            ship_rate_bytes_per_second: replica.ship_rate,
            catch_up_seconds: seconds(replica.catch_up),
            headroom_bytes: replica.headroom_bytes,
            headroom_seconds: seconds(replica.headroom),
            seen_seconds_ago: seconds(replica.seen_ago),
            predicted: (&figure).into(),
            sent_bytes: replica.sent_bytes,
            usd: figure.usd,
        }
    }
}

impl Store {
    fn of(store: &agent::StoreStatus, figure: Figure) -> Self {
        Self {
            store: store.store.clone(),
            region: store.region.clone(),
            archived: store.archived.map(|at| at.get()),
            lag: (&store.lag).into(),
            longest_lag_seconds: store.longest_lag.as_secs_f64(),
            objects: store.objects,
            bytes: store.bytes,
            trouble: store.trouble.clone(),
            ended: store.ended,
            rate_bytes_per_second: store.rate,
            tail_every_seconds: store.tail_every.as_secs_f64(),
            predicted: (&figure).into(),
            put_requests: store.put_requests,
            get_requests: store.get_requests,
            sent_bytes: store.sent_bytes,
            received_bytes: store.received_bytes,
            usd: figure.usd,
        }
    }
}

impl From<&Figure> for Predicted {
    fn from(figure: &Figure) -> Self {
        let rpo_seconds = match figure.rpo {
            Rpo::Within(time) => Some(time.as_secs_f64()),
            Rpo::Growing => None,
        };
        Self { rate_bytes_per_second: figure.rate, rpo_seconds }
    }
}

impl From<&protocol::Policy> for Policy {
    fn from(policy: &protocol::Policy) -> Self {
        let (shortfall, after) = match policy.shortfall {
            Shortfall::Accept => ("accept", None),
            Shortfall::Refuse => ("refuse", None),
            Shortfall::Degrade { after } => ("degrade", Some(after)),
        };
        let voter = |(node, region): (&NodeId, &Option<Region>)| Voter {
            node: node.to_string(),
            region: region.as_ref().map(ToString::to_string),
        };
        Self {
            durability: policy.durability.to_string(),
            shortfall,
            degrade_after_seconds: seconds(after),
            degraded: policy.degraded,
            voters: policy.voters.iter().map(voter).collect(),
        }
    }
}

impl From<&agent::Lag> for Lag {
    fn from(lag: &agent::Lag) -> Self {
        Self { bytes: lag.bytes, seconds: lag.seconds }
    }
}

impl Upstream {
    fn of(log: &agent::LogStatus, upstream: &agent::UpstreamStatus) -> Self {
        Self {
            address: upstream.address.clone(),
            state: upstream.state.clone(),
            problem: upstream.problem.clone(),
            durable: upstream.durable.get(),
            lag_bytes: upstream.durable.since(log.durable),
            heard_seconds_ago: seconds(upstream.heard_ago),
        }
    }
}

impl From<&agent::SinkStatus> for Sink {
    fn from(sink: &agent::SinkStatus) -> Self {
        Self {
            sink: sink.sink.clone(),
            applied: sink.applied.get(),
            lag: (&sink.lag).into(),
            problem: sink.problem.clone(),
            captured: sink.captured,
            kept: sink.kept.clone(),
            readers_saw: sink.readers_saw.map(|saw| saw.get()),
        }
    }
}

impl From<&agent::TailStatus> for Tail {
    fn from(tail: &agent::TailStatus) -> Self {
        Self {
            place: tail.place.clone(),
            from: tail.from.get(),
            to: tail.to.get(),
            bytes: tail.to.since(tail.from),
            disk_bytes: tail.disk,
            epoch: tail.epoch.to_string(),
            set_aside: rfc3339(tail.set_aside),
        }
    }
}

fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}
