//! The other nodes of a log: asked what they hold, and told of a new epoch.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_format::{Epoch, ErrorKind, Lsn, Name};
use longshore_protocol::{NodeId, Promotion, Step, Witness};
use longshore_transport::{Address, Client, Connector, Error as TransportError, Surveyed};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::again::{again, may_pass, within};
use super::refused;
use crate::dial::connector;
use crate::error::Result;
use crate::log::Log;
use crate::node::Node;

/// Once those who answered are enough, the others are waited for so long: time for whoever is far, not for whoever is gone.
const GRACE: Duration = Duration::from_secs(2);
/// So long the writer alone is told, so that it stops before anybody else knows; one that is gone holds up no more than that.
const AHEAD: Duration = Duration::from_secs(1);

/// Everybody who was asked.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) asked: Vec<Peer>,
    /// Whether one of them accepted an epoch that is later than the attempt's.
    pub(super) superseded: bool,
}

/// Somebody who was asked.
pub(super) struct Peer {
    /// Its index among the addresses.
    place: usize,
    /// Where, as it was given.
    pub(super) address: String,
    /// How to ask again, and what was answered.
    pub(super) answer: Result<(Client, Surveyed), String>,
    /// Whether it accepted the epoch.
    pub(super) fenced: bool,
    /// Whether it answers, and does not let this node promote.
    denies: bool,
}

impl Peers {
    /// Asks every upstream of this node, and `others`, about a log, all at once. Once those who answered are `enough`, and nobody
    /// may be, the others are not waited for in full.
    pub(super) async fn survey(
        node: &Node,
        log: &Log,
        others: &[String],
        enough: impl Fn(&Peers) -> bool,
    ) -> Result<Peers> {
        let addresses: Vec<&String> = node.settings().replica.upstreams.iter().chain(others).collect();
        if addresses.is_empty() {
            // Whoever asks nobody needs no certificate.
            return Ok(Peers::default());
        }
        let connector = connector(node)?;
        let mut asked = JoinSet::new();
        for (place, text) in addresses.iter().enumerate() {
            let address: Address = text.parse()?;
            let (connector, name, end) = (connector.clone(), log.name.clone(), log.wal.end());
            asked.spawn(async move { (place, ask(&connector, &address, &name, end).await) });
        }
        let mut peers = Peers::default();
        let mut silent: BTreeSet<usize> = (0..addresses.len()).collect();
        let mut until = enough(&peers).then(|| Instant::now() + GRACE);
        while let Some((place, answer)) = next(&mut asked, until).await {
            silent.remove(&place);
            let denies = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Denied);
            let answer = answer.map_err(|error| error.to_string());
            peers.add(node, log, Peer { place, address: addresses[place].clone(), answer, fenced: false, denies });
            if until.is_none() && enough(&peers) {
                until = Some(Instant::now() + GRACE);
            }
        }
        let why = format!("no answer within {} s", GRACE.as_secs());
        let left = silent.into_iter().map(|place| (place, addresses[place].clone()));
        peers.asked.extend(left.map(|(place, address)| Peer {
            place,
            address,
            answer: Err(why.clone()),
            fenced: false,
            denies: false,
        }));
        peers.asked.sort_by_key(|peer| peer.place);
        Ok(peers)
    }

    fn add(&mut self, node: &Node, log: &Log, mut peer: Peer) {
        if let Ok((_, surveyed)) = &peer.answer {
            let named = &surveyed.witness.node;
            // One list of addresses serves all nodes: this one may be in it, and one may be there twice.
            if named == node.id() || self.of(named).is_some() {
                return;
            }
            if surveyed.log != log.wal.id() {
                peer.answer = Err(format!("its log {} is another one, with the id {}", log.name, surveyed.log));
            }
        }
        self.asked.push(peer);
    }

    /// What those who answered said.
    pub(super) fn surveyed(&self) -> impl Iterator<Item = &Surveyed> {
        self.asked.iter().filter_map(|peer| Some(&peer.answer.as_ref().ok()?.1))
    }

    /// What those who answered hold.
    pub(super) fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.surveyed().map(|surveyed| &surveyed.witness)
    }

    pub(super) fn of(&self, node: &NodeId) -> Option<&Surveyed> {
        self.surveyed().find(|surveyed| surveyed.witness.node == *node)
    }

    pub(super) fn client(&self, node: &NodeId) -> Option<&Client> {
        let answers = self.asked.iter().filter_map(|peer| peer.answer.as_ref().ok());
        answers.into_iter().find(|(_, surveyed)| surveyed.witness.node == *node).map(|(client, _)| client)
    }

    /// Who writes the log now, of those who answered: the one in the latest epoch.
    pub(super) fn writer(&self) -> Option<(NodeId, &Client)> {
        let answers = self.asked.iter().filter_map(|peer| peer.answer.as_ref().ok());
        let writers = answers.filter(|(_, surveyed)| surveyed.witness.writes);
        let latest = writers.max_by_key(|(_, surveyed)| surveyed.witness.history.current().epoch.number)?;
        Some((latest.1.witness.node.clone(), &latest.0))
    }

    /// Why somebody who answers would not accept an epoch from this node: for want of a role.
    pub(super) fn denial(&self) -> Option<String> {
        let peer = self.asked.iter().find(|peer| peer.denies)?;
        Some(format!("{}: {}", peer.address, peer.answer.as_ref().err()?))
    }

    /// Where a node that answered was asked.
    pub(super) fn address(&self, node: &NodeId) -> Option<&str> {
        let names = |peer: &&Peer| peer.answer.as_ref().is_ok_and(|(_, surveyed)| surveyed.witness.node == *node);
        self.asked.iter().find(names).map(|peer| peer.address.as_str())
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
        let (first, rest): (Vec<usize>, Vec<usize>) =
            (0..self.asked.len()).partition(|index| is_writer(&self.asked[*index]));
        let mut told = JoinSet::new();
        self.tell(&first, log, promotion.epoch(), &mut told);
        // What must accept is waited for as long as that takes: nobody else is to know before.
        let ahead = (!must).then(|| Instant::now() + AHEAD);
        while let Some((index, answer)) = next(&mut told, ahead).await {
            self.accepted(index, answer, log, promotion, must)?;
        }
        self.tell(&rest, log, promotion.epoch(), &mut told);
        let mut until = None;
        while let Some((index, answer)) = next(&mut told, until).await {
            self.accepted(index, answer, log, promotion, false)?;
            if until.is_none() && is_enough(promotion) {
                until = Some(Instant::now() + AHEAD);
            }
        }
        Ok(())
    }

    /// Has some of them accept an epoch, all at once.
    fn tell(&self, whom: &[usize], log: &Name, epoch: Epoch, told: &mut JoinSet<(usize, Accepted)>) {
        for index in whom.iter().copied() {
            let Ok((client, _)) = &self.asked[index].answer else { continue };
            let (client, log) = (client.clone(), log.clone());
            told.spawn(async move {
                // Its log may just be changing hands. Where this attempt then lacks it, whoever began an epoch there would go on
                // without those who have accepted this one.
                let told = within(again(|| client.fence(&log, epoch), |error| may_pass(&client, error.kind()))).await;
                (index, told)
            });
        }
    }

    fn accepted(
        &mut self,
        index: usize,
        answer: Accepted,
        log: &Name,
        promotion: &mut Promotion,
        must: bool,
    ) -> Result<()> {
        let peer = &mut self.asked[index];
        match answer {
            Ok(surveyed) => {
                peer.fenced = promotion.heard(surveyed.witness.clone());
                if let Ok((_, known)) = &mut peer.answer {
                    *known = surveyed;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Fenced => {
                self.superseded = true;
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

/// What a node said when it was told of an epoch.
type Accepted = Result<Surveyed, TransportError>;

/// Whether the writer before is fenced by those who accepted.
pub(super) fn is_enough(promotion: &Promotion) -> bool {
    matches!(promotion.step(), Ok(Step::Begin { .. } | Step::Fetch { .. }))
}

/// The next one's answer; `None` when all have answered, or it is too late.
async fn next<T: 'static>(asked: &mut JoinSet<T>, until: Option<Instant>) -> Option<T> {
    let answer = match until {
        Some(until) => timeout_at(until, asked.join_next()).await.ok()?,
        None => asked.join_next().await,
    };
    answer.map(|answer| answer.expect("a question does not panic, and nobody else ends it"))
}

async fn ask(
    connector: &Connector,
    address: &Address,
    log: &Name,
    end: Lsn,
) -> Result<(Client, Surveyed), TransportError> {
    within(async {
        let client = connector.connect(address).await?;
        let surveyed = again(|| client.survey(log, Some(end)), |error| may_pass(&client, error.kind())).await?;
        // What it has accepted changes nothing there: asked is whether it would take another from this node. If it would not, that
        // is to be known before anybody accepts one.
        match client.fence(log, surveyed.witness.accepted).await {
            Err(error) if error.kind() == ErrorKind::Denied => Err(error),
            _ => Ok((client, surveyed)),
        }
    })
    .await
}

/// Has a node accept an epoch over a connection of its own, as the one before may be lost; tried again while it takes none.
pub(super) async fn tell_again(node: &Node, address: &str, log: &Name, epoch: Epoch) -> Result<Client> {
    let (connector, address) = (connector(node)?, address.parse::<Address>()?);
    let tell = async || {
        let client = connector.connect(&address).await?;
        client.fence(log, epoch).await.map(|_| client)
    };
    Ok(within(again(tell, |error| error.kind() == ErrorKind::Unavailable)).await?)
}
