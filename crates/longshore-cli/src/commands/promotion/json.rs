//! A promotion as one JSON document: what was planned, and what was done.

use longshore_transport::{FenceState, NodeReport, Promote, Promoted, Standing};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Document<'a> {
    log: String,
    plan: Told<'a>,
    /// Null for a plan, and where it was refused.
    done: Option<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    /// Whether the agent writes the log.
    promoted: bool,
    epoch: u64,
    position: u64,
    /// The agent that was asked first.
    nodes: Vec<Node<'a>>,
    /// Null where the log has none, and all is `local`.
    policy: Option<&'a str>,
    fence: &'static str,
    /// With the fence `open`: who may still acknowledge to the writer before.
    unfenced: Vec<&'a str>,
    loss: Option<Loss<'a>>,
    write_pause_seconds: Option<f64>,
    warnings: &'a [String],
    /// The node that stopped while an application's transaction was under way: what that commits is in no log, but in the copy
    /// that the node keeps of its database. Null in a plan, and where none was.
    left_open: Option<&'a str>,
}

#[derive(Serialize)]
struct Node<'a> {
    node: &'a str,
    address: &'a str,
    problem: Option<&'a str>,
    end: Option<u64>,
    epoch: u64,
    writes: bool,
    votes: bool,
    /// Whether it accepted the epoch; in a plan, whether it would. Of an archive, whether the log goes on from what it holds.
    fenced: bool,
    /// Not a node but an archive, at that address.
    archive: bool,
    /// Of an archive that answered, how what it holds stands to the log; else null.
    standing: Option<&'static str>,
}

#[derive(Serialize)]
struct Loss<'a> {
    bytes: u64,
    records: Option<u64>,
    seconds: Option<f64>,
    holder: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn new(request: &Promote, plan: &'a Promoted, done: Option<&'a Promoted>) -> Self {
        Self { log: request.log.to_string(), plan: plan.into(), done: done.map(Told::from) }
    }
}

impl<'a> From<&'a Promoted> for Told<'a> {
    fn from(promoted: &'a Promoted) -> Self {
        let (fence, unfenced) = match &promoted.fence {
            FenceState::Whole => ("whole", Vec::new()),
            FenceState::Open(nodes) => ("open", nodes.iter().map(|node| node.as_str()).collect()),
            FenceState::Unprotected => ("unprotected", Vec::new()),
        };
        Self {
            promoted: promoted.promoted,
            epoch: promoted.epoch,
            position: promoted.position.get(),
            nodes: promoted.nodes.iter().map(Node::from).collect(),
            policy: promoted.policy.as_deref(),
            fence,
            unfenced,
            loss: promoted.loss.as_ref().map(|loss| Loss {
                bytes: loss.bytes,
                records: loss.records,
                seconds: loss.time.map(|time| time.as_secs_f64()),
                holder: &loss.holder,
            }),
            write_pause_seconds: promoted.write_pause.map(|pause| pause.as_secs_f64()),
            warnings: &promoted.warnings,
            left_open: promoted.left_open.as_deref(),
        }
    }
}

impl<'a> From<&'a NodeReport> for Node<'a> {
    fn from(node: &'a NodeReport) -> Self {
        Self {
            node: &node.node,
            address: &node.address,
            problem: node.problem.as_deref(),
            end: node.end.map(|end| end.get()),
            epoch: node.epoch,
            writes: node.writes,
            votes: node.votes,
            fenced: node.fenced,
            archive: node.archive,
            standing: node.standing.map(Standing::as_str),
        }
    }
}
