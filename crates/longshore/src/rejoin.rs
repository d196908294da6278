//! Rejoining by hand: what a log holds that its upstream's does not, shown and then set aside.
//!
//! What is set aside is decided by the upstream's answers alone. It is asked about the whole log first; where it says that the
//! two part, it is asked about the log as it would be if it ended there. Only if it would go on from there is the rest set
//! aside: so the records before the cut are the same in both, whatever the histories say.

use std::path::Path;
use std::sync::Arc;

use longshore_format::{EpochHistory, ErrorKind, Lsn, Name};
use longshore_protocol::{Difference, Hello, Holding, NodeId, Offer, Verdict};
use longshore_storage::{Directory, Environment, FsDirectory, SystemEnvironment};
use longshore_transport::tls::ClientTls;
use longshore_transport::{Address, Client, ClientSettings, Connector};
use longshore_wal::tails::Written;
use longshore_wal::{ReadLog, Role, SetAside, Settings as WalSettings, Wal};

use crate::ask;
use crate::error::{Error, Result};
use crate::node::{own_id, parse_name};
use crate::parting::{Next, Search};
use crate::server::{blocking, claimed_identity, tls_files};
use crate::settings::Settings;

/// A log whose agent is stopped, and what rejoining its upstream takes.
#[derive(Debug)]
pub struct Rejoin {
    dir: Arc<dyn Directory>,
    plan: RejoinPlan,
}

/// What rejoining takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejoinPlan {
    /// Which log.
    pub log: Name,
    /// The upstream that was asked.
    pub upstream: String,
    /// Where the log here ends.
    pub end: Lsn,
    /// Its lives.
    pub here: EpochHistory,
    /// Where what is durable at the upstream ends.
    pub durable: Lsn,
    /// The lives of the log there.
    pub there: EpochHistory,
    /// Why the two do not fit, in a sentence; none when they do.
    pub why: Option<String>,
    /// What would be set aside; none when the log can follow as it is.
    pub aside: Option<Aside>,
}

/// The end of a log that its upstream has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aside {
    /// Up to here both hold the same.
    pub from: Lsn,
    /// The end of the log here.
    pub to: Lsn,
    /// Users' records in between.
    pub records: u64,
    /// Transactions that end in between.
    pub transactions: u64,
    /// When the last of these records was written, microseconds UTC; 0 without one.
    pub last_time: u64,
}

impl Rejoin {
    /// Asks an upstream about the log `log` in `data_dir`. Changes nothing in it. The slot that the upstream keeps for this
    /// node is set back to where the two logs part, which is what this node can be believed to hold of that history.
    ///
    /// Settings say who this node is (`tls`), and how long answers may take (`network`). Needs a tokio runtime.
    ///
    /// # Errors
    /// `Busy` while an agent has the log open; `NotFound` without such a log; `Diverged` when the two are no copies of one log,
    /// or two writers minted one epoch; `TooOld` when the upstream no longer holds where they part; `Fenced` when it is the
    /// upstream that is behind; what connecting says.
    pub async fn ask(data_dir: impl AsRef<Path>, log: &str, upstream: &str, settings: &Settings) -> Result<Rejoin> {
        let name = parse_name("log", log)?;
        let dir = directory(data_dir.as_ref(), &name)?;
        let read = ReadLog::open(Arc::clone(&dir))?;
        if read.has_owner() {
            let reason = format!("log {name} is open in another process; stop the agent, then run it again");
            return Err(Error::Refused { kind: ErrorKind::Busy, reason, at: None });
        }
        // An agent that is started now would be cut off by the same identity asking.
        let _kept_closed = dir.lock().map_err(|error| Error::io("lock the log in", data_dir.as_ref(), error))?;
        let node = own_id(settings, Role::Follower)?;
        let client = connect(upstream, settings, &node).await?;
        let description = client.describe(&name).await?;
        let copy = Copy { log: name.clone(), read, node, client, settings };
        let (why, cut) = copy.cut().await?;
        let aside = match cut {
            Some(from) => Some(copy.aside(from).await?),
            None => None,
        };
        let plan = RejoinPlan {
            log: name,
            upstream: upstream.to_owned(),
            end: copy.read.end(),
            here: copy.read.history()?,
            durable: description.summary.durable,
            there: description.history,
            why,
            aside,
        };
        Ok(Rejoin { dir, plan })
    }

    /// What it takes.
    pub fn plan(&self) -> &RejoinPlan {
        &self.plan
    }

    /// Sets aside what the plan says, as a tail of the log ([`longshore_wal::tails`]); none when there is nothing. The agent
    /// that is started next follows from there, in either case. A crash is harmless: the next open finishes it.
    ///
    /// # Errors
    /// `Busy` when an agent was started meanwhile, and what opening the log says.
    pub fn set_aside(self) -> Result<Option<SetAside>> {
        let environment: Arc<dyn Environment> = Arc::new(SystemEnvironment);
        // First: once nothing is in the way any more, nobody would come back to do it.
        self.accept(Arc::clone(&environment))?;
        let Some(aside) = self.plan.aside else { return Ok(None) };
        Ok(Some(longshore_wal::set_aside(&self.dir, &environment, aside.from)?))
    }

    /// A node that wrote the log writes it no more, also if it is started without knowing of anybody else.
    fn accept(&self, environment: Arc<dyn Environment>) -> Result<()> {
        let latest = self.plan.there.current().epoch;
        let settings = WalSettings { role: Role::Follower, ..WalSettings::default() };
        let (wal, _recovery) = Wal::open(Arc::clone(&self.dir), environment, settings)?;
        if wal.accepted_epoch().number < latest.number {
            wal.accept_epoch(latest)?;
        }
        Ok(wal.close()?)
    }
}

/// The copy here and the upstream that is asked about it.
struct Copy<'a> {
    log: Name,
    read: ReadLog,
    node: NodeId,
    client: Client,
    settings: &'a Settings,
}

impl Copy<'_> {
    /// Where the log must end to be a beginning of the upstream's, and why it is none; `None` if it is one.
    async fn cut(&self) -> Result<(Option<String>, Option<Lsn>)> {
        let (mut search, mut end) = (Search::new(self.read.end()), self.read.end());
        loop {
            match search.on(end, self.ask(end).await?) {
                Ok(Next::Fits) => return Ok((None, None)),
                Ok(Next::Cut { why }) => return Ok((Some(why), Some(end))),
                Ok(Next::Ask(at)) => end = self.boundary(at).await?,
                Err(verdict) => return Err(self.refused(verdict, end)),
            }
        }
    }

    /// Why no cut would make the log a beginning of the upstream's, and what would help.
    fn refused(&self, verdict: Verdict, end: Lsn) -> Error {
        let advice = match verdict {
            Verdict::Diverged { why: Difference::TwoWriters, .. } => {
                "promote the one that is to win once more, then its next epoch explains the difference"
            }
            Verdict::Diverged { why: Difference::OtherLog | Difference::OtherShape, .. } => {
                "name the upstream that holds a copy of this log"
            }
            Verdict::Stale { .. } => "name the upstream that was promoted",
            _ => "there is no place in common: begin it anew, with its directory moved away and --reseed",
        };
        let kind = verdict.kind().unwrap_or(ErrorKind::Diverged);
        let reason = format!("log {} at {}: {verdict}; {advice}", self.log, self.client.address());
        Error::Refused { kind, reason, at: Some(end) }
    }

    /// The verdict on the log if it ended at the boundary `end`.
    async fn ask(&self, end: Lsn) -> Result<Verdict> {
        let (read, history) = (self.read.clone(), self.history_before(end)?);
        let last_crc = blocking("read the log", move || Ok(read.crc_at(end)?)).await?;
        let read = &self.read;
        let holding = Holding {
            log: read.id(),
            content: read.content(),
            segment_size: read.segment_size(),
            accepted: history.current().epoch,
            history,
            first: read.first(),
            end,
            last_crc,
            lost: None,
            // Sinks find out by themselves that what they hold was set aside.
            applied: None,
        };
        let hello = Hello { node: self.node.clone(), offer: Offer::ours(), holding };
        let limits = self.settings.network.limits();
        ask::verdict(&self.client, &self.log, hello, limits, |at| ask::crc_or_none(self.read.crc_at(at))).await
    }

    fn history_before(&self, end: Lsn) -> Result<EpochHistory> {
        let history = self.read.history()?;
        let first = *history.entries().first().expect("a history is never empty");
        Ok(match end < self.read.end() {
            true => history.before(end).unwrap_or(EpochHistory::new(first)),
            false => history,
        })
    }

    /// The last boundary of the log here that is not beyond `at`.
    async fn boundary(&self, at: Lsn) -> Result<Lsn> {
        let read = self.read.clone();
        blocking("read the log", move || match read.reader(at.min(read.end())) {
            Err(longshore_wal::Error::NotABoundary { nearest, .. }) => Ok(nearest),
            reader => Ok(reader?.position()),
        })
        .await
    }

    async fn aside(&self, from: Lsn) -> Result<Aside> {
        let read = self.read.clone();
        blocking("read the log", move || {
            let Written { records, transactions, last_time } = Written::after(&read, from)?;
            Ok(Aside { from, to: read.end(), records, transactions, last_time })
        })
        .await
    }
}

fn directory(data_dir: &Path, log: &Name) -> Result<Arc<dyn Directory>> {
    match FsDirectory::open(data_dir.join(log.as_str())) {
        Ok(directory) => Ok(Arc::new(directory)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NoLog { log: log.clone(), dir: data_dir.to_owned() })
        }
        Err(error) => Err(Error::io("open the log in", data_dir, error)),
    }
}

async fn connect(upstream: &str, settings: &Settings, node: &NodeId) -> Result<Client> {
    let address: Address = upstream.parse()?;
    let client = ClientSettings { connect_deadline: settings.network.handshake, ..ClientSettings::default() };
    let connector = match settings.tls.plaintext {
        true => Connector::plaintext_on_loopback(claimed_identity(settings, node.as_str())?, client),
        false => Connector::new(ClientTls::load(tls_files(&settings.tls)?)?, client),
    };
    Ok(connector.connect(&address).await?)
}
