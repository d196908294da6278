//! Failover without anybody being asked: for each log, whoever writes it keeps its lease, and a replica that finds the lease free
//! takes it and promotes itself.
//!
//! The lease says who may *try*. The promotion is the one that an operator would order, without any loss accepted: where the old
//! writer is not fenced it is refused, the lease given back, and tried again later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{ErrorKind, Name};
use longshore_transport::Promote;
use longshore_wal::Role;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::event::Event;
use crate::lease::{Lease, LeaseState};
use crate::log::Log;
use crate::node::Node;
use crate::{policy, promotion};

/// How often new logs are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Attends to the lease of every log of a node until told to stop; at once if no lease is set.
pub(crate) async fn attend(node: Node, stop: CancellationToken) {
    if node.settings().lease.url.is_none() {
        return;
    }
    let mut attended: BTreeMap<Name, AbortHandle> = BTreeMap::new();
    loop {
        for log in node.logs() {
            if attended.get(&log.name).is_none_or(AbortHandle::is_finished) {
                let (node, name) = (node.clone(), log.name.clone());
                let task = tokio::spawn(async move {
                    if let Err(error) = stand_by(&node, &name).await {
                        if let Some(log) = node.get(&name) {
                            log.lease.unattended(node.id(), error.to_string());
                        }
                        let message = format!("log {name}: its lease is not attended to: {error}");
                        node.events().raise(Event::Warning { message });
                        tokio::time::sleep(20 * LOOK).await;
                    }
                });
                attended.insert(log.name.clone(), task.abort_handle());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => break,
        }
    }
    attended.values().for_each(AbortHandle::abort);
}

/// Attends to one log's lease for as long as the log is there.
async fn stand_by(node: &Node, name: &Name) -> Result<()> {
    let settings = &node.settings().lease;
    let Some(lease) = Lease::of(settings, name, node.id().clone())? else { return Ok(()) };
    let mut state = lease.watch();
    let mut told = None;
    while let Some(log) = node.get(name) {
        let done = match log.wal.role() {
            Role::Writer if !log.wal.is_fenced() => keep(node, &lease, &log).await,
            _ => replace(node, &lease, &log).await,
        };
        let why = done.err().map(|error| error.to_string());
        // The log may be another object by now, as its role has changed.
        if let Some(log) = node.get(name) {
            log.lease.attended(node.id(), &lease, why.clone());
        }
        if let Some(why) = why {
            if told.as_ref() != Some(&why) {
                node.events().raise(Event::Warning { message: format!("log {name}, failover by lease: {why}") });
            }
            told = Some(why);
        }
        drop(log);
        // Once so often also when nothing changes: a lease that is held ends by the clock alone.
        let _changed = tokio::time::timeout(settings.ttl / 8, state.changed()).await;
    }
    lease.close().await;
    Ok(())
}

/// The writer appends while it holds the lease, and no longer.
async fn keep(node: &Node, lease: &Lease, log: &Log) -> Result<()> {
    let kept = match lease.held() {
        Some(_) => Ok(()),
        None => hold(node, lease, log).await,
    };
    log.set_leased(lease.held().is_some());
    match kept {
        // Another holds it, or nobody says who: it is asked again soon, and appends are refused meanwhile.
        Err(error) if error.kind() == ErrorKind::Unavailable => Ok(()),
        kept => kept,
    }
}

/// In the epoch that it writes. If a later one was minted and the lease given back, in vain most likely, the next one is minted
/// and not begun: that keeps others from trying, and the epoch that is written is protected by the fence as before.
async fn hold(node: &Node, lease: &Lease, log: &Log) -> Result<()> {
    let own = log.wal.accepted_epoch();
    match lease.keep(own).await {
        Err(error)
            if matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Diverged)
                && *lease.watch().borrow() == LeaseState::Free =>
        {
            let writer = promotion::draw_writer(&**node.environment())?;
            lease.take(writer, own.number).await.map(drop)
        }
        kept => kept,
    }
}

/// Whoever follows takes a lease that is free, and the log with it.
async fn replace(node: &Node, lease: &Lease, log: &Arc<Log>) -> Result<()> {
    if lease.held().is_some() {
        // Of an epoch that did not begin, or that another followed.
        lease.release().await?;
    }
    if *lease.watch().borrow() != LeaseState::Free || log.wal.lost().is_some() {
        return Ok(());
    }
    // Somebody writes it without the lease: an operator has moved the role, and its new holder is about to take it.
    if !log.path(node.id()).is_empty() {
        return Ok(());
    }
    if !may_stand(node, log)? {
        return Ok(());
    }
    let writer = promotion::draw_writer(&**node.environment())?;
    let minted = lease.take(writer, log.wal.accepted_epoch().number).await?;
    let request = Promote::of(log.name.clone());
    let promoted = promotion::promote_in(node, &request, Some(minted)).await;
    match promoted {
        Ok(_) => {
            let log = node.require(&request.log)?;
            log.set_leased(lease.held() == Some(minted));
            Ok(())
        }
        Err(error) => {
            lease.release().await?;
            // Others have a turn before this node tries again.
            tokio::time::sleep(node.settings().lease.ttl / 2).await;
            Err(error)
        }
    }
}

/// Whether this node may try: only where a fence protects what was confirmed, and only a voter.
fn may_stand(node: &Node, log: &Log) -> Result<bool> {
    let Some(policy) = policy::newest(&log.wal)?.filter(|policy| policy.needs_voters()) else {
        let reason = "an automatic failover needs a policy of at least replicas:1 with voters; \
                      it stays an operator's, by `longshore promote`";
        return Err(crate::Error::Refused { kind: ErrorKind::Preflight, reason: reason.to_owned(), at: None });
    };
    Ok(policy.may_stand(node.id()))
}
