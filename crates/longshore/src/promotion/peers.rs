//! The other nodes of a log: asked what they hold, and told of a new epoch.

use std::time::Duration;

use longshore_format::{ErrorKind, Name};
use longshore_protocol::{NodeId, Promotion, Witness};
use longshore_transport::{Address, Client, Connector, Surveyed};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::refused;
use crate::dial::connector;
use crate::error::Result;
use crate::log::Log;
use crate::node::Node;

/// A node that answers takes a round trip or two; one that does not is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everybody who was asked.
pub(super) struct Peers(pub(super) Vec<Peer>);

/// Somebody who was asked.
pub(super) struct Peer {
    /// Where, as it was given.
    pub(super) address: String,
    /// How to ask again, and what was answered.
    pub(super) answer: Result<(Client, Surveyed), String>,
    /// Whether it accepted the epoch.
    pub(super) fenced: bool,
}

impl Peers {
    /// Asks every upstream of this node, and `others`, about a log.
    pub(super) async fn survey(node: &Node, log: &Log, others: &[String]) -> Result<Peers> {
        let connector = connector(node)?;
        let mut asked = JoinSet::new();
        let addresses = node.settings().replica.upstreams.iter().chain(others);
        for (place, text) in addresses.enumerate() {
            let address: Address = text.parse()?;
            let (connector, name, end) = (connector.clone(), log.name.clone(), log.wal.end());
            let text = text.clone();
            asked.spawn(async move { (place, text, ask(&connector, &address, &name, end).await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, ..)| *place);
        let mut peers = Peers(Vec::new());
        for (_, address, answer) in answers {
            let answer = answer.and_then(|(client, surveyed)| match surveyed.log == log.wal.id() {
                true => Ok((client, surveyed)),
                false => Err(format!("its log {} is another one, with the id {}", log.name, surveyed.log)),
            });
            // One list of addresses serves all nodes: this one may be in it, and one may be there twice.
            let named = answer.as_ref().ok().map(|(_, surveyed)| surveyed.witness.node.clone());
            let again = named.is_some_and(|named| named == *node.id() || peers.of(&named).is_some());
            if !again {
                peers.0.push(Peer { address, answer, fenced: false });
            }
        }
        Ok(peers)
    }

    /// What those who answered hold.
    pub(super) fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.0.iter().filter_map(|peer| Some(&peer.answer.as_ref().ok()?.1.witness))
    }

    pub(super) fn of(&self, node: &NodeId) -> Option<&Surveyed> {
        let answers = self.0.iter().filter_map(|peer| Some(&peer.answer.as_ref().ok()?.1));
        answers.into_iter().find(|surveyed| surveyed.witness.node == *node)
    }

    pub(super) fn client(&self, node: &NodeId) -> Option<&Client> {
        let answers = self.0.iter().filter_map(|peer| peer.answer.as_ref().ok());
        answers.into_iter().find(|(_, surveyed)| surveyed.witness.node == *node).map(|(client, _)| client)
    }

    /// Who writes the log now, of those who answered: the one in the latest epoch.
    pub(super) fn writer(&self) -> Option<(NodeId, &Client)> {
        let answers = self.0.iter().filter_map(|peer| peer.answer.as_ref().ok());
        let writers = answers.filter(|(_, surveyed)| surveyed.witness.writes);
        let latest = writers.max_by_key(|(_, surveyed)| surveyed.witness.history.current().epoch.number)?;
        Some((latest.1.witness.node.clone(), &latest.0))
    }

    /// Has everybody accept the attempt's epoch: the writer first, so that it stops before anybody else knows (F-116).
    ///
    /// # Errors
    /// When a later epoch was met; and where the writer `must` accept, when it does not.
    pub(super) async fn fence(&mut self, log: &Name, promotion: &mut Promotion, must: bool) -> Result<()> {
        let writer = self.writer().map(|(writer, _)| writer);
        let is_writer = |peer: &Peer| {
            let node = peer.answer.as_ref().ok().map(|(_, surveyed)| &surveyed.witness.node);
            node.is_some() && node == writer.as_ref()
        };
        let (first, rest): (Vec<usize>, Vec<usize>) = (0..self.0.len()).partition(|index| is_writer(&self.0[*index]));
        for group in [first, rest] {
            let is_writers = group.iter().any(|index| is_writer(&self.0[*index]));
            let mut told = JoinSet::new();
            for index in group {
                let Ok((client, _)) = &self.0[index].answer else { continue };
                let (client, log, epoch) = (client.clone(), log.clone(), promotion.epoch());
                told.spawn(async move { (index, within(client.fence(&log, epoch)).await) });
            }
            for (index, answer) in told.join_all().await {
                self.accepted(index, answer, log, promotion, must && is_writers)?;
            }
        }
        Ok(())
    }

    fn accepted(
        &mut self,
        index: usize,
        answer: Result<Surveyed, longshore_transport::Error>,
        log: &Name,
        promotion: &mut Promotion,
        must: bool,
    ) -> Result<()> {
        let peer = &mut self.0[index];
        match answer {
            Ok(surveyed) => {
                peer.fenced = promotion.heard(surveyed.witness.clone());
                if let Ok((_, known)) = &mut peer.answer {
                    *known = surveyed;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Fenced => {
                let why = format!("{} has accepted a later epoch meanwhile: {error}; run it again", peer.address);
                Err(refused(ErrorKind::Fenced, log, &why))
            }
            Err(error) if must => Err(error.into()),
            // It may have accepted and the answer be lost; without one it does not count.
            Err(error) => {
                peer.answer = Err(error.to_string());
                Ok(())
            }
        }
    }
}

async fn ask(
    connector: &Connector,
    address: &Address,
    log: &Name,
    end: longshore_format::Lsn,
) -> Result<(Client, Surveyed), String> {
    let asked = async {
        let client = connector.connect(address).await?;
        let surveyed = client.survey(log, Some(end)).await?;
        Ok((client, surveyed))
    };
    within(asked).await.map_err(|error| error.to_string())
}

async fn within<T>(
    call: impl Future<Output = Result<T, longshore_transport::Error>>,
) -> Result<T, longshore_transport::Error> {
    let silent = || {
        let message = format!("no answer within {} s", PATIENCE.as_secs());
        longshore_transport::Error::new(ErrorKind::Unavailable, message, "is it running, and reachable from here?")
    };
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(silent()))
}
