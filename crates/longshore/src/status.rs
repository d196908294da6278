//! What an operator sees of a log: figures computed from what the log and its acks say.

use std::time::Duration;

use longshore_format::Lsn;
use longshore_protocol::{CatchUp, catch_up};
use longshore_transport::{Lag, LogStatus, ReignStatus, ReplicaStatus, SinkStatus, StoreStatus};
use longshore_wal::{Role, SlotState};

use crate::archiving::ArchiveStatus;
use crate::log::Log;
use crate::policy;
use crate::standing::Replica;
use crate::tails;

impl Log {
    /// All that is known of this log and its replicas.
    pub(crate) fn status(&self) -> LogStatus {
        let now = self.now();
        let (end, durable) = (self.wal.end(), self.wal.synced().get());
        let pressure = self.wal.pressure();
        let slots = self.wal.slots();
        let slot_of = |replica: &Replica| slots.iter().find(|slot| slot.name.as_str() == replica.node.as_str());
        let is_written = self.wal.role() == Role::Writer;
        let replicas = self.standing.replicas(now);
        // Where the log is not written, nobody is missed: who does not follow here follows another, if only since a moment ago.
        let replicas = replicas.iter().filter(|replica| is_written || replica.is_heard());
        let replicas = replicas.map(|replica| self.replica_status(replica, slot_of(replica), end, now));
        LogStatus {
            name: self.name.clone(),
            id: self.wal.id(),
            content: self.wal.content(),
            segment_size: self.wal.segment_size(),
            writer: is_written,
            first: self.wal.first(),
            end,
            durable,
            epoch: self.wal.history().current().epoch,
            last_time: self.last_time(),
            append_rate: self.standing.append_rate(),
            disk_used: pressure.disk_used,
            disk_free: pressure.disk_free.unwrap_or(0),
            poisoned: self.wal.failure().map(|error| error.to_string()),
            problem: self.uncaptured(),
            replicas: replicas.collect(),
            upstream: self.upstream.status(now),
            sinks: self.sink_statuses(end, now),
            stores: self.store_statuses(durable, now),
            tails: tails::statuses(&self.wal),
            reign: self.reign(),
        }
    }

    /// Who writes the log, and what it promises.
    fn reign(&self) -> ReignStatus {
        ReignStatus {
            // One that this version cannot spell is shown as none: the log has said so when it was opened.
            policy: policy::newest(&self.wal).ok().flatten(),
            fenced: self.wal.is_fenced(),
            accepted: self.wal.accepted_epoch().number,
            path: if self.wal.role() == Role::Follower { self.upstream.path() } else { Vec::new() },
            lease: self.lease.status(self.environment.boottime()),
        }
    }

    fn replica_status(&self, replica: &Replica, slot: Option<&SlotState>, end: Lsn, now: Duration) -> ReplicaStatus {
        let ack = replica.ack;
        let append_rate = self.standing.append_rate();
        let ship_rate = replica.known.shipped.per_second();
        let remaining = end.since(ack.durable());
        let headroom_bytes = slot.and_then(|slot| slot.headroom);
        let seen_ago = replica.known.seen.filter(|seen| !seen.is_zero()).map(|seen| now.saturating_sub(seen));
        ReplicaStatus {
            name: replica.node.clone(),
            region: replica.region.clone(),
            provider: replica.known.provider.clone(),
            connected: replica.connected,
            lost: slot.is_some_and(|slot| slot.lost),
            sent: replica.known.sent.max(ack.received()),
            received: ack.received(),
            durable: ack.durable(),
            applied: ack.applied(),
            received_lag: self.lag(ack.received(), replica.lag[0], end),
            durable_lag: self.lag(ack.durable(), replica.lag[1], end),
            applied_lag: self.lag(ack.applied(), replica.lag[2], end),
            proved_equal_to: replica.known.proved.map_or(Lsn::ZERO, |(to, _)| to),
            proof_age: replica.known.proved.map(|(_, at)| now.saturating_sub(at)),
            ship_rate,
            catch_up: match catch_up(remaining, ship_rate, append_rate) {
                CatchUp::Done => Some(Duration::ZERO),
                CatchUp::In(time) => Some(time),
                CatchUp::Never => None,
            },
            headroom_bytes,
            headroom: headroom_bytes.and_then(|bytes| time_to_use(bytes, append_rate - ship_rate)),
            seen_ago: seen_ago.or_else(|| slot.and_then(|slot| self.since(slot.last_seen))),
            sent_bytes: replica.known.sent_bytes,
        }
    }

    fn sink_statuses(&self, end: Lsn, now: Duration) -> Vec<SinkStatus> {
        let sinks = self.applying.sinks().into_iter();
        let sinks = sinks.map(|sink| SinkStatus {
            lag: self.lag(sink.applied(end), self.standing.lag(sink.applied(end), now), end),
            applied: sink.applied(end),
            captured: sink.is_captured(),
            kept: sink.kept(),
            readers_saw: sink.seen,
            sink: sink.label,
            problem: sink.problem,
        });
        sinks.collect()
    }

    /// What is not durable here cannot be archived: lag is counted from there.
    fn store_statuses(&self, durable: Lsn, now: Duration) -> Vec<StoreStatus> {
        let status = |store: ArchiveStatus| {
            let (ledger, at) = (store.ledger(), store.archived.unwrap_or(self.wal.first()));
            let lag = self.lag(at, self.standing.lag(at, now), durable);
            StoreStatus {
                region: store.region.as_ref().map(ToString::to_string),
                archived: store.archived,
                lag,
                longest_lag: store.longest_lag.max(Duration::try_from_secs_f64(lag.seconds).unwrap_or_default()),
                objects: store.objects,
                bytes: store.bytes,
                ended: store.ended,
                rate: store.rate(),
                tail_every: store.tail_every,
                put_requests: ledger.puts,
                get_requests: ledger.gets,
                sent_bytes: ledger.sent,
                received_bytes: ledger.received,
                trouble: store.trouble,
                store: store.store,
            }
        };
        self.archiving.status().into_iter().map(status).collect()
    }

    /// A distance from the end. How long it took is known from this node's own clock where it was
    /// watched, else from the time in the first record that is missing; never from a replica's clock.
    pub(crate) fn lag(&self, at: Lsn, watched: Option<Duration>, end: Lsn) -> Lag {
        let bytes = end.since(at);
        if bytes == 0 {
            return Lag::default();
        }
        let age = watched.or_else(|| self.since(self.time_after(at)?));
        Lag { bytes, seconds: age.unwrap_or_default().as_secs_f64() }
    }

    /// The time in the first record after a boundary, microseconds UTC.
    fn time_after(&self, at: Lsn) -> Option<u64> {
        let mut reader = self.wal.reader(at.max(self.wal.first())).ok()?;
        reader.next().ok()?.map(|record| record.time)
    }

    /// The time of the last record that is durable here.
    pub(crate) fn last_time(&self) -> Option<u64> {
        let time = self.wal.offered_reader(self.wal.synced().get()).ok()?.chain().time;
        (time != 0).then_some(time)
    }

    fn since(&self, micros: u64) -> Option<Duration> {
        (micros != 0).then(|| Duration::from_micros(self.environment.wall_micros().saturating_sub(micros)))
    }
}

/// How long `bytes` last at a rate; none when they last for ever.
fn time_to_use(bytes: u64, per_second: f64) -> Option<Duration> {
    if per_second <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(bytes as f64 / per_second).ok()
}
