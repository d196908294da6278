//! Moving the role of a log's writer from one agent to another.

use std::time::Duration;

use longshore_format::{Epoch, LogId, Lsn};
use longshore_protocol::{Name, NodeId, Witness};

use crate::{Caller, Error, async_trait};

/// What an agent offers to those who may promote.
#[async_trait]
pub trait PromotionService: Send + Sync + 'static {
    /// What this agent's copy of a log is; with `since`, how many of the user's records lie behind that position, if that is
    /// quickly counted. Changes nothing.
    async fn survey(&self, caller: &Caller, log: &Name, since: Option<Lsn>) -> Result<Surveyed, Error>;

    /// Accepts an epoch, durably: from the answer on nothing of an earlier one is stored or appended here.
    /// One that was accepted before changes nothing: whoever is about to promote asks by it whether another would be taken.
    ///
    /// # Errors
    /// `Fenced` when a later epoch was accepted before, or this one of another writer.
    async fn fence(&self, caller: &Caller, log: &Name, epoch: Epoch) -> Result<Surveyed, Error>;

    /// Makes this agent the log's writer, or says what that would take and lose.
    ///
    /// # Errors
    /// `Fenced` when the old writer is not fenced, or something would be lost, and that was not accepted: nothing is served.
    async fn promote(&self, caller: &Caller, request: Promote) -> Result<Promoted, Error>;
}

/// What an agent says of its copy of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Which log.
    pub log: LogId,
    /// The copy.
    pub witness: Witness,
    /// The user's records behind the position that was asked about.
    pub records_since: Option<u64>,
    /// In answer to a fence: an application's transaction was under way in the database that the log comes from, and what it
    /// commits is in no log.
    pub left_open: bool,
}

/// A request to become a log's writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promote {
    /// The log.
    pub log: Name,
    /// Only say what it would do.
    pub plan: bool,
    /// Go on although something may be lost.
    pub accept_loss: bool,
    /// The old writer lives and gives the role up with nothing lost, or keeps it.
    pub switchover: bool,
    /// The epoch is to begin here, before the end.
    pub to: Option<Lsn>,
    /// Agents to ask besides the upstreams that this one was given.
    pub peers: Vec<String>,
    /// An epoch that the caller was to begin and has given up: whoever accepted it gave way to nobody.
    pub given_up: Option<Epoch>,
}

impl Promote {
    /// The log, from whoever its agent's upstreams are, as far as nothing is lost.
    pub fn of(log: Name) -> Self {
        let (plan, accept_loss, switchover) = (false, false, false);
        Self { log, plan, accept_loss, switchover, to: None, peers: Vec::new(), given_up: None }
    }
}

/// What a promotion found and did.
#[derive(Debug, Clone, PartialEq)]
pub struct Promoted {
    /// Whether this agent is the writer now; false for a plan.
    pub promoted: bool,
    /// The number of the epoch begun, or to begin.
    pub epoch: u64,
    /// Where it begins.
    pub position: Lsn,
    /// Every node that was asked, and every voter.
    pub nodes: Vec<NodeReport>,
    /// The policy that holds, spelled.
    pub policy: Option<String>,
    /// Whether the old writer is, or would be, kept from confirming anything at it.
    pub fence: FenceState,
    /// What is known to be left behind.
    pub loss: Option<Loss>,
    /// How long nobody could append, where it is known.
    pub write_pause: Option<Duration>,
    /// What else somebody should know who counts on it.
    pub warnings: Vec<String>,
    /// The node that stopped while an application's transaction was under way in its database: what that commits is in no log, and
    /// a copy of the database is kept there before it is replaced.
    pub left_open: Option<String>,
}

/// Whether an old writer can still confirm anything at its log's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceState {
    /// It cannot.
    Whole,
    /// It can, unless more of these accept the epoch.
    Open(Vec<NodeId>),
    /// The policy needs no replica: only the writer itself can be fenced.
    Unprotected,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its name; empty where it did not answer and nobody knows it.
    pub node: String,
    /// Where it was asked; empty for a voter whose address is not known.
    pub address: String,
    /// Why it did not answer.
    pub problem: Option<String>,
    /// Where its log ends.
    pub end: Option<Lsn>,
    /// The number of the epoch that its log is in.
    pub epoch: u64,
    /// Whether it writes the log, as far as it knows.
    pub writes: bool,
    /// Whether its copy counts.
    pub votes: bool,
    /// Whether it accepted the epoch; of an archive, whether the log goes on from what it holds.
    pub fenced: bool,
    /// Not a node but an archive, at `address`: it has no vote and accepts nothing.
    pub archive: bool,
    /// Of an archive that answered: how what it holds stands to the log.
    pub standing: Option<Standing>,
}

/// How what an archive holds stands to the log that an epoch would go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The log goes on from it.
    Fits,
    /// It ends with a branch that died when a later epoch of the log began.
    Dead,
    /// It knows of an epoch that began before the end of the log and is not the log's: nobody is promoted unless the loss is
    /// accepted.
    Later,
    /// It has no life in common with the log.
    Unrelated,
}

impl Standing {
    /// Every one.
    pub const ALL: [Standing; 4] = [Standing::Fits, Standing::Dead, Standing::Later, Standing::Unrelated];

    /// As it is spelled in messages and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Fits => "fits",
            Standing::Dead => "dead",
            Standing::Later => "later",
            Standing::Unrelated => "unrelated",
        }
    }
}

/// What would be left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// Bytes of log.
    pub bytes: u64,
    /// The user's records in them, where somebody counted.
    pub records: Option<u64>,
    /// How much later the last of them was written than the last that is kept.
    pub time: Option<Duration>,
    /// Who holds it.
    pub holder: String,
}
