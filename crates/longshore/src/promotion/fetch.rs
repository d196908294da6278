//! What one particular node has, into this node's own copy: by following it for as long as that takes.

use std::time::Duration;

use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::Verdict;
use longshore_transport::Client;
use tokio::sync::watch;
use tokio::time::timeout;

use super::again::{again, may_pass};
use super::refused;
use crate::error::{Error, Result};
use crate::follow::{self, FollowEnd, FollowReport};
use crate::link::moved;
use crate::local_copy;
use crate::node::Node;

/// A node that moves nothing for so long will not.
const STALL: Duration = Duration::from_secs(10);
/// A writer that gives its role up makes durable and sends so much within the time that nobody notices.
const NEAR: u64 = 1 << 20;

/// Brings the log up to `to`, which the node at the other end holds. What forked from its history is set aside.
pub(super) async fn up_to(node: &Node, name: &Name, peer: &Client, to: Lsn) -> Result<()> {
    again(|| follow_up_to(node, name, peer, to), |error| may_pass(peer, error.kind())).await
}

/// One stream after the other, for as long as each ends because a tail was set aside.
async fn follow_up_to(node: &Node, name: &Name, peer: &Client, to: Lsn) -> Result<()> {
    loop {
        let log = node.require(name)?;
        moved(log.wal.synced().wait(log.wal.end()).await)?;
        let channel = peer.follow(name, local_copy::hello(node, &log)).await?;
        let follows = watch::Sender::new(false);
        let report = |report| {
            if let FollowReport::Following { .. } = report {
                follows.send_replace(true);
            }
        };
        let mut begun = follows.subscribe();
        let reached = async {
            if timeout(STALL, begun.wait_for(|follows| *follows)).await.is_err() {
                return Err(stalled(name, log.wal.synced().get(), to));
            }
            let mut held = log.wal.synced().get();
            while held < to {
                let more = timeout(STALL, log.wal.synced().wait(held.just_after())).await;
                held = match more {
                    Ok(Ok(held)) => held,
                    Ok(Err(ended)) => return Err(moved(Err(ended)).expect_err("it ended")),
                    Err(_) => return Err(stalled(name, held, to)),
                };
            }
            Ok(())
        };
        let end = tokio::select! {
            reached = reached => return reached,
            end = follow::follow(&log, channel, node.settings().network.limits(), &report) => end?,
        };
        match end {
            FollowEnd::Verdict(Verdict::Truncate { fork, crc }) => {
                local_copy::must_agree(&log, fork, crc)?;
                local_copy::truncate(node, &log, fork).await?;
            }
            FollowEnd::Verdict(verdict) => {
                return Err(refused(verdict.kind().unwrap_or(ErrorKind::Unavailable), name, &verdict.to_string()));
            }
            FollowEnd::Refused(refusal) => return Err(refused(refusal.kind, name, &refusal.text)),
            FollowEnd::Closed => return Err(stalled(name, log.wal.synced().get(), to)),
        }
    }
}

/// Follows until little is missing of what the node at the other end has by now.
pub(super) async fn near(node: &Node, name: &Name, peer: &Client) -> Result<()> {
    loop {
        let there = again(|| peer.survey(name, None), |error| may_pass(peer, error.kind())).await?.witness.end;
        if there.since(node.require(name)?.wal.synced().get()) <= NEAR {
            return Ok(());
        }
        up_to(node, name, peer, there).await?;
    }
}

fn stalled(name: &Name, at: Lsn, to: Lsn) -> Error {
    let why = format!("what is missing from {at} to {to} did not come; run it again");
    refused(ErrorKind::Unavailable, name, &why)
}
