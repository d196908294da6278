//! The status of a directory, from what it holds by itself.

use std::path::Path;
use std::sync::Arc;

use longshore_format::{Control, Lsn, Name, Slot};
use longshore_protocol::{NodeId, Policy};
use longshore_storage::Directory;
use longshore_transport::{Lag, LogStatus, ReignStatus, ReplicaStatus, Status, TailStatus};
use longshore_wal::inspect::{self, Depth, Report, State};
use longshore_wal::tails::{self, Tail};

use crate::failure::Failure;
use crate::logs;
use crate::quantity::now;

pub(super) fn status(data_dir: &Path) -> Result<Status, Failure> {
    let logs = logs::directories(data_dir, None)?;
    Ok(Status {
        node: data_dir.display().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time_micros: now(),
        certificate_days_left: None,
        logs: logs.into_iter().map(|(name, dir)| log_status(name, &dir)).collect::<Result<_, _>>()?,
    })
}

fn log_status(name: Name, dir: &Arc<dyn Directory>) -> Result<LogStatus, Failure> {
    let report = inspect::examine(dir, Depth::Seals)?;
    let control = &report.control;
    let segment = control.size.get();
    let files = report.segments.iter().filter(|segment| segment.state != State::Unknown).count();
    let damage = report.damage().next().map(|(segment, finding)| format!("segment {}: {finding}", segment.base));
    Ok(LogStatus {
        name,
        id: control.log,
        content: control.content,
        segment_size: control.size,
        writer: control.writers.contains(&control.history.current().epoch.writer),
        first: report.first,
        end: report.tail.end,
        durable: control.durable.min(report.tail.end),
        epoch: control.history.current().epoch,
        last_time: None,
        append_rate: 0.0,
        disk_used: files as u64 * segment,
        disk_free: dir.free_space().unwrap_or_default(),
        poisoned: damage,
        problem: None,
        replicas: control.slots.iter().map(|slot| replica(slot, &report)).collect(),
        upstream: None,
        sinks: Vec::new(),
        stores: Vec::new(),
        tails: tails::list(dir)?.into_iter().map(tail).collect(),
        reign: reign(control),
    })
}

fn tail(tail: Tail) -> TailStatus {
    let Tail { place, from, to, disk, epoch, time } = tail;
    TailStatus { place, from, to, disk, epoch, set_aside: time }
}

/// What the control file says of who writes the log.
fn reign(control: &Control) -> ReignStatus {
    let current = control.history.current().epoch;
    let policy = control.policies.last().and_then(|(_, record)| Policy::of_record(record).ok());
    let fenced = control.writers.contains(&current.writer) && current.number < control.highest.number;
    ReignStatus { policy, fenced, accepted: control.highest.number, path: Vec::new(), lease: None }
}

/// What a slot says; it does not know what was sent, nor when anything was appended.
fn replica(slot: &Slot, report: &Report) -> ReplicaStatus {
    let lag = |at: Lsn| Lag { bytes: report.tail.end.since(at), seconds: 0.0 };
    let seen_ago = (slot.seen > 0).then(|| std::time::Duration::from_micros(now().saturating_sub(slot.seen)));
    ReplicaStatus {
        name: NodeId::from(slot.name.clone()),
        region: None,
        provider: None,
        connected: false,
        lost: slot.lost,
        sent: slot.durable,
        received: slot.durable,
        durable: slot.durable,
        applied: slot.applied,
        received_lag: lag(slot.durable),
        durable_lag: lag(slot.durable),
        applied_lag: lag(slot.applied),
        proved_equal_to: Lsn::ZERO,
        proof_age: None,
        ship_rate: 0.0,
        catch_up: None,
        headroom_bytes: None,
        headroom: None,
        seen_ago,
        sent_bytes: 0,
    }
}
