//! The messages of `admin.proto` about promotion.

use std::time::Duration;

use longshore_format::{Control, Lsn, Policy as PolicyRecord};
use longshore_protocol::{GivenUp, GivenWay, NodeId, Policy, Witness};

use super::hello::{history_message, parse_history};
use super::{epoch, epoch_message, log_id, name, node, optional, required, seconds};
use crate::{Error, FenceState, Loss, NodeReport, Promote, Promoted, Result, Standing, Surveyed, proto};

const WHOLE: &str = "whole";
const OPEN: &str = "open";
const UNPROTECTED: &str = "unprotected";
/// More nodes than a log can have are no honest report.
const MAX_NODES: usize = 1024;
/// The most peers that a request may name.
const MAX_PEERS: usize = 64;

/// A policy as its record; empty for none.
pub(super) fn policy_bytes(policy: Option<&Policy>) -> Vec<u8> {
    policy.and_then(|policy| policy.to_record().encode().ok()).unwrap_or_default()
}

pub(super) fn parse_policy(bytes: &[u8]) -> Result<Option<Policy>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let record = required(PolicyRecord::decode(bytes), "a policy that can be read")?;
    Ok(Some(Policy::of_record(&record).map_err(Error::malformed)?))
}

pub(crate) fn witness_message(surveyed: Surveyed) -> proto::Witness {
    let witness = surveyed.witness;
    let policy =
        |(end, policy): &(Lsn, Policy)| proto::PolicyRecord { end: end.get(), payload: policy_bytes(Some(policy)) };
    proto::Witness {
        node: witness.node.to_string(),
        log_id: surveyed.log.as_bytes().to_vec(),
        history: Some(history_message(&witness.history)),
        first: witness.first.get(),
        end: witness.end.get(),
        accepted: Some(epoch_message(&witness.accepted)),
        writes: witness.writes,
        lost: witness.lost.map(Lsn::get),
        policies: witness.policies.iter().map(policy).collect(),
        time_micros: witness.time,
        records_since: surveyed.records_since,
        gave_way: witness.gave_way.iter().map(epoch_message).collect(),
        given_up: witness.given_up.iter().map(epoch_message).collect(),
        left_open: surveyed.left_open,
    }
}

pub(crate) fn parse_witness(witness: proto::Witness) -> Result<Surveyed> {
    if Control::POLICIES_LIMIT < witness.policies.len() {
        return Err(Error::malformed(format!("{} policies", witness.policies.len())));
    }
    let policy = |message: proto::PolicyRecord| {
        let record = required(PolicyRecord::decode(&message.payload), "a policy that can be read")?;
        Ok((Lsn::new(message.end), Policy::of_record(&record).map_err(Error::malformed)?))
    };
    if GivenWay::LIMIT < witness.gave_way.len() {
        return Err(Error::malformed(format!("{} epochs that it gave way to", witness.gave_way.len())));
    }
    if GivenUp::LIMIT < witness.given_up.len() {
        return Err(Error::malformed(format!("{} epochs that it gave up", witness.given_up.len())));
    }
    if witness.end < witness.first {
        return Err(Error::malformed("a log that ends before it begins"));
    }
    Ok(Surveyed {
        log: log_id(&witness.log_id)?,
        witness: Witness {
            node: node(&witness.node)?,
            history: parse_history(required(witness.history, "the history")?)?,
            first: Lsn::new(witness.first),
            end: Lsn::new(witness.end),
            accepted: epoch(witness.accepted)?,
            writes: witness.writes,
            lost: witness.lost.map(Lsn::new),
            policies: witness.policies.into_iter().map(policy).collect::<Result<_>>()?,
            time: witness.time_micros,
            gave_way: witness.gave_way.into_iter().map(|gave_way| epoch(Some(gave_way))).collect::<Result<_>>()?,
            given_up: witness.given_up.into_iter().map(|given_up| epoch(Some(given_up))).collect::<Result<_>>()?,
        },
        records_since: witness.records_since,
        left_open: witness.left_open,
    })
}

pub(crate) fn promote_message(promote: &Promote) -> proto::PromoteRequest {
    proto::PromoteRequest {
        log: promote.log.to_string(),
        accept_loss: promote.accept_loss,
        plan: promote.plan,
        switchover: promote.switchover,
        to: promote.to.map(Lsn::get),
        peers: promote.peers.clone(),
        given_up: promote.given_up.as_ref().map(epoch_message),
    }
}

pub(crate) fn parse_promote(request: proto::PromoteRequest) -> Result<Promote> {
    if MAX_PEERS < request.peers.len() {
        return Err(Error::malformed(format!("{} peers", request.peers.len())));
    }
    Ok(Promote {
        log: name(&request.log)?,
        plan: request.plan,
        accept_loss: request.accept_loss,
        switchover: request.switchover,
        to: request.to.map(Lsn::new),
        peers: request.peers,
        given_up: request.given_up.map(|given_up| epoch(Some(given_up))).transpose()?,
    })
}

pub(crate) fn promoted_message(promoted: Promoted) -> proto::PromoteResponse {
    let (fence, unfenced) = match promoted.fence {
        FenceState::Whole => (WHOLE, Vec::new()),
        FenceState::Open(nodes) => (OPEN, nodes.iter().map(NodeId::to_string).collect()),
        FenceState::Unprotected => (UNPROTECTED, Vec::new()),
    };
    proto::PromoteResponse {
        promoted: promoted.promoted,
        epoch: promoted.epoch,
        position: promoted.position.get(),
        nodes: promoted.nodes.into_iter().map(report_message).collect(),
        policy: promoted.policy.unwrap_or_default(),
        fence: fence.to_owned(),
        unfenced,
        loss: promoted.loss.map(loss_message),
        write_pause_seconds: promoted.write_pause.map(|pause| pause.as_secs_f64()),
        warnings: promoted.warnings,
        left_open: promoted.left_open.unwrap_or_default(),
    }
}

pub(crate) fn parse_promoted(response: proto::PromoteResponse) -> Result<Promoted> {
    if MAX_NODES < response.nodes.len().max(response.unfenced.len()).max(response.warnings.len()) {
        return Err(Error::malformed(format!("{} nodes", response.nodes.len())));
    }
    let fence = match response.fence.as_str() {
        WHOLE => FenceState::Whole,
        OPEN => FenceState::Open(response.unfenced.iter().map(|name| node(name)).collect::<Result<_>>()?),
        UNPROTECTED => FenceState::Unprotected,
        other => return Err(Error::malformed(format!("a fence that is {other:?}"))),
    };
    Ok(Promoted {
        promoted: response.promoted,
        epoch: response.epoch,
        position: Lsn::new(response.position),
        nodes: response.nodes.into_iter().map(parse_report).collect::<Result<_>>()?,
        policy: optional(&response.policy).map(str::to_owned),
        fence,
        loss: response.loss.map(parse_loss),
        write_pause: seconds(response.write_pause_seconds),
        warnings: response.warnings,
        left_open: optional(&response.left_open).map(str::to_owned),
    })
}

fn report_message(report: NodeReport) -> proto::NodeReport {
    proto::NodeReport {
        node: report.node,
        address: report.address,
        problem: report.problem.unwrap_or_default(),
        end: report.end.map(Lsn::get),
        epoch: report.epoch,
        writes: report.writes,
        votes: report.votes,
        fenced: report.fenced,
        archive: report.archive,
        standing: report.standing.map_or("", Standing::as_str).to_owned(),
    }
}

fn parse_report(report: proto::NodeReport) -> Result<NodeReport> {
    Ok(NodeReport {
        standing: optional(&report.standing).map(parse_standing).transpose()?,
        problem: optional(&report.problem).map(str::to_owned),
        node: report.node,
        address: report.address,
        end: report.end.map(Lsn::new),
        epoch: report.epoch,
        writes: report.writes,
        votes: report.votes,
        fenced: report.fenced,
        archive: report.archive,
    })
}

fn parse_standing(text: &str) -> Result<Standing> {
    let named = Standing::ALL.into_iter().find(|standing| standing.as_str() == text);
    named.ok_or_else(|| Error::malformed(format!("an archive that stands {text:?}")))
}

fn loss_message(loss: Loss) -> proto::Loss {
    proto::Loss {
        bytes: loss.bytes,
        records: loss.records,
        seconds: loss.time.map(|time| time.as_secs_f64()),
        holder: loss.holder,
    }
}

fn parse_loss(loss: proto::Loss) -> Loss {
    let time: Option<Duration> = seconds(loss.seconds);
    Loss { bytes: loss.bytes, records: loss.records, time, holder: loss.holder }
}
