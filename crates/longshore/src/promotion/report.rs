//! What a promotion says of itself: who holds what, whether the old writer is fenced, what would be lost.

use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Epoch, Lsn};
use longshore_protocol::{Beside, Fence, NodeId, Policy, Promotion, Witness, best};
use longshore_transport::{FenceState, Loss, NodeReport, Promoted, Standing};

use super::archives::{Archives, Asked};
use super::own;
use super::peers::Peers;
use crate::error::Result;
use crate::log::Log;
use crate::node::Node;

/// What is known before anything is done, and what came of it.
pub(super) struct Report {
    own: Witness,
    /// What the upstream was last heard to have, and who it is.
    heard: Option<(String, Lsn)>,
    had_writer: bool,
    /// An epoch that whoever asks was to begin and gave up.
    given_up: Option<Epoch>,
    known: Promoted,
}

/// What a node says that is the writer already.
pub(super) fn already(node: &Node, log: &Log) -> Result<Promoted> {
    let own = own::witness(node, log)?;
    let policy = own.policies.last().map(|(_, policy)| policy.durability.to_string());
    let current = *own.history.current();
    let nodes = vec![node_report(&own, "", true, own.policies.last().map(|(_, policy)| policy))];
    let (fence, loss, write_pause) = (FenceState::Whole, None, None);
    let left_open = node.memory().left_open_before(&log.name, current.epoch);
    Ok(Promoted {
        promoted: true,
        epoch: current.epoch.number,
        position: current.start,
        nodes,
        policy,
        fence,
        loss,
        write_pause,
        warnings: log
            .standing
            .ahead_of(own.accepted.number)
            .iter()
            .map(|(replica, epoch)| left(replica, *epoch))
            .collect(),
        left_open: left_open.map(|node| node.to_string()),
    })
}

/// That a replica waits for an epoch which nobody here knows how to reach.
fn left(replica: &NodeId, epoch: Epoch) -> String {
    format!(
        "{replica} has accepted epoch {} of another promotion and takes nothing from this node: what needs it to be confirmed is \
         not. Promote this node again with --peer {replica}@HOST:PORT, which begins a later epoch here, or finish that promotion \
         at the node that was to write",
        epoch.number
    )
}

impl Report {
    pub(super) fn new(
        node: &Node,
        log: &Log,
        (peers, archives): (&Peers, &Archives),
        given_up: Option<Epoch>,
    ) -> Result<Report> {
        let own = own::witness(node, log)?;
        let heard = log.upstream.status(log.now()).map(|upstream| (upstream.address, upstream.durable));
        let known = Promoted {
            promoted: false,
            epoch: next_number(&own, peers, archives),
            position: own.end,
            nodes: Vec::new(),
            policy: None,
            fence: FenceState::Unprotected,
            loss: None,
            write_pause: None,
            warnings: Vec::new(),
            left_open: None,
        };
        let had_writer = peers.writer().is_some();
        let mut report = Report { own, heard, had_writer, given_up, known };
        let promotion = report.supposed(peers);
        let begins = report.would_begin(&promotion, archives);
        report.tell(&promotion, peers, archives, &begins);
        Ok(report)
    }

    /// Where the epoch would begin.
    pub(super) fn position(&self) -> Lsn {
        self.known.position
    }

    /// The promotion as if everybody who answered accepted the epoch.
    pub(super) fn supposed(&self, peers: &Peers) -> Promotion {
        supposed(&self.own, peers, self.known.epoch, self.given_up)
    }

    /// A promotion under `epoch` that knows what everybody said before they were asked to accept it.
    pub(super) fn surveyed(&self, peers: &Peers, epoch: Epoch) -> Promotion {
        surveyed(&self.own, peers, epoch, self.given_up)
    }

    /// What the epoch would go on from: the best copy, and what an archive has beyond it.
    pub(super) fn would_begin(&self, promotion: &Promotion, archives: &Archives) -> Witness {
        let mut begins = self.begins(promotion);
        if let Some((_, to)) = archives.beyond(&begins) {
            begins.end = to;
        }
        begins
    }

    pub(super) fn had_writer(&self) -> bool {
        self.had_writer
    }

    /// What would be done.
    pub(super) fn planned(self) -> Promoted {
        self.known
    }

    /// Lets the epoch begin at `to`, which is not behind the end: what lies between them is lost with the rest.
    ///
    /// # Errors
    /// As [`own::behind`].
    pub(super) async fn cut(&mut self, log: &Arc<Log>, peers: &Peers, to: Lsn) -> Result<()> {
        let end = self.known.position;
        self.known.position = to;
        let mut cut = Loss { bytes: end.since(to), records: None, time: None, holder: self.own.node.to_string() };
        let own_end = log.wal.synced().get();
        if to <= own_end {
            let here = own::behind(log, to).await?;
            // What is fetched first was counted where it is.
            let longest = peers.surveyed().find(|surveyed| own_end < end && surveyed.witness.end == end);
            let more = if own_end < end { longest.and_then(|longest| longest.records_since) } else { Some(0) };
            let last = longest.map_or_else(|| log.last_time().unwrap_or(0), |longest| longest.witness.time);
            cut.records = here.records.zip(more).map(|(here, more)| here + more);
            cut.time = last.checked_sub(here.time).map(Duration::from_micros);
        }
        if cut.bytes == 0 {
            return Ok(());
        }
        self.known.loss = Some(match self.known.loss.take() {
            None => cut,
            Some(beyond) => Loss {
                bytes: cut.bytes + beyond.bytes,
                records: cut.records.zip(beyond.records).map(|(cut, beyond)| cut + beyond),
                time: cut.time.zip(beyond.time).map(|(cut, beyond)| cut + beyond),
                holder: format!("{} and {}", cut.holder, beyond.holder),
            },
        });
        Ok(())
    }

    /// What was done.
    pub(super) fn promoted(&mut self, log: &Log, write_pause: Option<Duration>) -> Promoted {
        let current = *log.wal.history().current();
        self.known.promoted = true;
        self.known.epoch = current.epoch.number;
        self.known.position = current.start;
        self.known.write_pause = write_pause;
        self.known.clone()
    }

    /// Who accepted, where the epoch begins, what is left behind, and at which node a transaction was.
    pub(super) fn settled(
        &mut self,
        promotion: &Promotion,
        peers: &Peers,
        archives: &Archives,
        left_open: Option<NodeId>,
    ) {
        let begins = self.begins(promotion);
        self.tell(promotion, peers, archives, &begins);
        self.known.left_open = left_open.map(|node| node.to_string());
    }

    fn begins(&self, promotion: &Promotion) -> Witness {
        promotion.best().ok().flatten().unwrap_or(&self.own).clone()
    }

    fn tell(&mut self, promotion: &Promotion, peers: &Peers, archives: &Archives, begins: &Witness) {
        let policy = begins.policies.last().map(|(_, policy)| policy.clone());
        self.known.position = begins.end;
        self.known.policy = policy.as_ref().map(|policy| policy.durability.to_string());
        self.known.fence = match promotion.fence() {
            Ok(Fence::Whole) => FenceState::Whole,
            Ok(Fence::Open { unfenced }) => FenceState::Open(unfenced.into_iter().collect()),
            Ok(Fence::Unprotected { .. }) | Err(_) => FenceState::Unprotected,
        };
        self.known.nodes = self.nodes(promotion, peers, policy.as_ref());
        self.known.nodes.extend(archives.0.iter().map(|asked| archive_report(asked, begins)));
        self.known.loss = self.loss(promotion, peers, begins).or_else(|| not_fetched(archives, begins));
    }

    fn nodes(&self, promotion: &Promotion, peers: &Peers, policy: Option<&Policy>) -> Vec<NodeReport> {
        let fenced = |witness: &Witness| promotion.fenced().any(|fenced| fenced.node == witness.node);
        let mut nodes = vec![node_report(&self.own, "", fenced(&self.own), policy)];
        for peer in &peers.asked {
            nodes.push(match &peer.answer {
                Ok((_, surveyed)) => node_report(&surveyed.witness, &peer.address, fenced(&surveyed.witness), policy),
                Err(problem) => silent("", &peer.address, problem),
            });
        }
        for voter in policy.into_iter().flat_map(|policy| policy.voters.keys()) {
            // Those who did not answer are known by their addresses only, unless these name them.
            let known =
                nodes.iter().any(|node| node.node == voter.as_str() || node.address.starts_with(&format!("{voter}@")));
            if !known {
                nodes.push(NodeReport {
                    votes: true,
                    ..silent(voter.as_str(), "", "it was not asked: no address of it is known")
                });
            }
        }
        for node in &mut nodes {
            if let Some((name, _)) = node.address.split_once('@').filter(|_| node.node.is_empty()) {
                node.node = name.to_owned();
                node.votes = policy.is_some_and(|policy| policy.voters.keys().any(|voter| voter.as_str() == name));
            }
        }
        nodes
    }

    /// What somebody has, or had when it was last heard, beyond where the epoch begins.
    fn loss(&self, promotion: &Promotion, peers: &Peers, begins: &Witness) -> Option<Loss> {
        let fenced = |witness: &&Witness| promotion.fenced().any(|fenced| fenced.node == witness.node);
        let beyond = best(peers.witnesses().filter(|witness| !fenced(witness))).ok().flatten();
        if let Some(beyond) = beyond.filter(|beyond| begins.end < beyond.end) {
            let time = beyond.time.checked_sub(begins.time).map(Duration::from_micros);
            let counted = peers.of(&beyond.node).filter(|_| begins.end == self.own.end);
            return Some(Loss {
                bytes: beyond.end.since(begins.end),
                records: counted.and_then(|surveyed| surveyed.records_since),
                time,
                holder: beyond.node.to_string(),
            });
        }
        let (address, durable) = self.heard.as_ref().filter(|(_, durable)| begins.end < *durable)?;
        let holder = format!("{address}, as it was last heard");
        Some(Loss { bytes: durable.since(begins.end), records: None, time: None, holder })
    }
}

/// The promotion as if everybody who answered accepted an epoch of that number.
pub(super) fn supposed(own: &Witness, peers: &Peers, number: u64, given_up: Option<Epoch>) -> Promotion {
    let epoch = Epoch { number, ..own.accepted };
    surveyed(own, peers, epoch, given_up).supposing(peers.witnesses().chain([own]))
}

fn surveyed(own: &Witness, peers: &Peers, epoch: Epoch, given_up: Option<Epoch>) -> Promotion {
    let mut promotion = Promotion::new(own.node.clone(), epoch);
    peers.witnesses().chain([own]).for_each(|witness| promotion.surveyed(witness));
    given_up.into_iter().for_each(|given_up| promotion.is_void(given_up));
    promotion
}

/// A number above every one that was heard of, also from an archive: whoever wrote that may be gone.
pub(super) fn next_number(own: &Witness, peers: &Peers, archives: &Archives) -> u64 {
    let archived = archives.held().map(|held| held.epoch().saturating_add(1)).max().unwrap_or(0);
    Promotion::next_number(peers.witnesses().chain([own])).max(archived)
}

/// What an archive has that was to be fetched, and could not be.
fn not_fetched(archives: &Archives, begins: &Witness) -> Option<Loss> {
    let (store, end) = archives.beyond(begins)?;
    Some(Loss { bytes: end.since(begins.end), records: None, time: None, holder: store.to_owned() })
}

fn archive_report(asked: &Asked, begins: &Witness) -> NodeReport {
    let report = NodeReport { archive: true, ..silent("", &asked.store, "") };
    let held = match asked.held() {
        Ok(held) => held,
        Err(problem) => return NodeReport { problem: Some(problem.to_owned()), ..report },
    };
    let (standing, problem) = match held.beside(begins) {
        Beside::Within | Beside::Beyond { .. } => (Standing::Fits, None),
        Beside::Dead { at } => {
            (Standing::Dead, Some(format!("what it holds from {at} on is of a branch that died then")))
        }
        Beside::Later { at } => {
            let epoch = held.epoch();
            let why = format!("it knows of epoch {epoch}, which began at {at}, before the end of the log here");
            (Standing::Later, Some(why))
        }
        Beside::Unrelated => (Standing::Unrelated, Some("it has no life in common with the log here".to_owned())),
    };
    let fenced = standing == Standing::Fits;
    NodeReport { end: Some(held.end), epoch: held.epoch(), fenced, problem, standing: Some(standing), ..report }
}

fn node_report(witness: &Witness, address: &str, fenced: bool, policy: Option<&Policy>) -> NodeReport {
    NodeReport {
        node: witness.node.to_string(),
        address: address.to_owned(),
        problem: None,
        end: Some(witness.end),
        epoch: witness.history.current().epoch.number,
        writes: witness.writes,
        votes: policy.is_some_and(|policy| policy.voters.contains_key(&witness.node)),
        fenced,
        archive: false,
        standing: None,
    }
}

fn silent(node: &str, address: &str, problem: &str) -> NodeReport {
    NodeReport {
        node: node.to_owned(),
        address: address.to_owned(),
        problem: Some(problem.to_owned()),
        end: None,
        epoch: 0,
        writes: false,
        votes: false,
        fenced: false,
        archive: false,
        standing: None,
    }
}
