//! Operating an agent: its status, its slots, its limits.

use std::time::Duration;

use longshore_format::{Content, Epoch, LogId, Lsn, SegmentSize};
use longshore_protocol::{Name, NodeId, Policy, Region};

use crate::{Caller, Error, async_trait};

/// What an agent offers to its operators.
#[async_trait]
pub trait AdminService: Send + Sync + 'static {
    /// What the agent holds and how its replicas do: the given log, or all that the caller may see.
    async fn status(&self, caller: &Caller, log: Option<&Name>) -> Result<Status, Error>;

    /// Drops a replica's slot, or says what that would free.
    async fn forget(&self, caller: &Caller, request: Forget) -> Result<Forgotten, Error>;

    /// Changes what a log retains, as far as asked, and returns what holds then.
    async fn limits(&self, caller: &Caller, log: &Name, change: LimitsChange) -> Result<Limits, Error>;
}

/// An agent as its operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The agent's identity.
    pub node: String,
    /// The version of longshore it runs.
    pub version: String,
    /// Its wall clock in microseconds UTC.
    pub time_micros: u64,
    /// Days until its own certificate expires, negative when it has; absent without TLS.
    pub certificate_days_left: Option<i64>,
    /// Its logs.
    pub logs: Vec<LogStatus>,
}

/// One log of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct LogStatus {
    /// Its name.
    pub name: Name,
    /// Its id.
    pub id: LogId,
    /// What its records hold.
    pub content: Content,
    /// The size of its segment files.
    pub segment_size: SegmentSize,
    /// Whether this agent writes it (`true`) or follows another.
    pub writer: bool,
    /// The oldest position held.
    pub first: Lsn,
    /// The end of what was appended.
    pub end: Lsn,
    /// The end of what is durable.
    pub durable: Lsn,
    /// The current epoch.
    pub epoch: Epoch,
    /// The time of the last record in microseconds UTC, if there is one.
    pub last_time: Option<u64>,
    /// Bytes appended per second, over the last while.
    pub append_rate: f64,
    /// Bytes of disk in use.
    pub disk_used: u64,
    /// Bytes free on the file system.
    pub disk_free: u64,
    /// Why the log refuses writes, when it does.
    pub poisoned: Option<String>,
    /// Why nothing goes into it here although this agent writes it, when that is so.
    pub problem: Option<String>,
    /// The replicas with a slot, connected or not; where the agent does not write it, those that follow through this agent.
    pub replicas: Vec<ReplicaStatus>,
    /// Where the log comes from, when this agent follows another.
    pub upstream: Option<UpstreamStatus>,
    /// Where its records are applied to.
    pub sinks: Vec<SinkStatus>,
    /// The object stores that this agent archives it into.
    pub stores: Vec<StoreStatus>,
    /// What forks set aside here, until it is forgotten.
    pub tails: Vec<TailStatus>,
    /// Who writes it, and what it promises.
    pub reign: ReignStatus,
}

/// What a fork set aside: a log directory below the log's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailStatus {
    /// Its directory: `diverged/<fork>-<time>`.
    pub place: String,
    /// The fork.
    pub from: Lsn,
    /// Where it ends.
    pub to: Lsn,
    /// Bytes that its files take.
    pub disk: u64,
    /// The last epoch of the branch that died.
    pub epoch: Epoch,
    /// When it was set aside, in microseconds UTC.
    pub set_aside: u64,
}

/// Who writes a log, as one agent sees it, and what the log promises while they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReignStatus {
    /// What the log promises and whose copies count, as its newest record of that says; `None` where there is none.
    pub policy: Option<Policy>,
    /// Whether this agent wrote the log and has accepted a later epoch: it appends nothing more.
    pub fenced: bool,
    /// The number of the highest epoch that this agent accepted; zero where an agent does not say.
    pub accepted: u64,
    /// The nodes that a followed log comes through, the upstream first and the writer last; empty while it does not.
    pub path: Vec<NodeId>,
    /// The lease by which a failover starts by itself; `None` where no lease is set.
    pub lease: Option<LeaseStatus>,
}

/// A log's lease, as one agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Who holds it.
    pub holder: LeaseHolder,
    /// The number of the epoch that it is held for; zero while nobody holds it, or nobody knows.
    pub epoch: u64,
    /// At its holder: for how long it may yet rely on it.
    pub valid: Option<Duration>,
    /// Why the lease cannot be asked for, or is not taken here.
    pub trouble: Option<String>,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseHolder {
    /// That node.
    Node(NodeId),
    /// Nobody: it can be taken.
    Nobody,
    /// Its store has not said so, or not lately.
    Unknown,
}

/// A replica with a slot.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaStatus {
    /// Its identity.
    pub name: NodeId,
    /// Its region, when the grants name one.
    pub region: Option<Region>,
    /// Its provider, when the grants name one.
    pub provider: Option<String>,
    /// Whether it is connected now.
    pub connected: bool,
    /// Whether it lost its place in the log.
    pub lost: bool,
    /// The end of what was sent to it.
    pub sent: Lsn,
    /// The end of what it received.
    pub received: Lsn,
    /// The end of what is durable there.
    pub durable: Lsn,
    /// The end of what it applied.
    pub applied: Lsn,
    /// How far `received` is behind the log's end.
    pub received_lag: Lag,
    /// How far `durable` is behind the log's end.
    pub durable_lag: Lag,
    /// How far `applied` is behind the log's end.
    pub applied_lag: Lag,
    /// Everything before this is proved equal by digests.
    pub proved_equal_to: Lsn,
    /// How long ago that was last proved.
    pub proof_age: Option<Duration>,
    /// Bytes shipped per second, over the last while.
    pub ship_rate: f64,
    /// Until it has caught up; absent when it never will at this rate.
    pub catch_up: Option<Duration>,
    /// Bytes that may still be appended before it loses its place; absent without a cap.
    pub headroom_bytes: Option<u64>,
    /// Until then at this rate; absent when that never happens.
    pub headroom: Option<Duration>,
    /// Since it was last heard.
    pub seen_ago: Option<Duration>,
    /// Bytes of log sent to it since the agent started, on streams and as whole segments.
    pub sent_bytes: u64,
}

/// A distance from the end of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lag {
    /// In bytes.
    pub bytes: u64,
    /// In seconds: the age of the oldest record that has not come so far.
    pub seconds: f64,
}

/// Where a followed log comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamStatus {
    /// HOST:PORT, with NAME@ in front when the identity is pinned.
    pub address: String,
    /// What the follower is doing, in one word.
    pub state: String,
    /// Why it does not follow, when it does not.
    pub problem: Option<String>,
    /// The end of what is durable at the upstream, as last heard.
    pub durable: Lsn,
    /// Since the upstream was last heard.
    pub heard_ago: Option<Duration>,
}

/// An object store that a log is archived into.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreStatus {
    /// Its address, without anything secret.
    pub store: String,
    /// PROVIDER:REGION, where something says it.
    pub region: Option<String>,
    /// Up to where the log is archived there; `None` until the store has said so.
    pub archived: Option<Lsn>,
    /// What is durable here and not archived there yet.
    pub lag: Lag,
    /// The longest time of such a lag since the agent started.
    pub longest_lag: Duration,
    /// Objects made since the agent started.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it does not go on, while it does not.
    pub trouble: Option<String>,
    /// Whether it has ended: a person must look.
    pub ended: bool,
    /// Bytes per second sent to it, over the last while.
    pub rate: f64,
    /// While there are writes, how often what is new of them goes there.
    pub tail_every: Duration,
    /// Requests at the price of a put since the agent started: lists, too.
    pub put_requests: u64,
    /// Requests at the price of a get since the agent started.
    pub get_requests: u64,
    /// Bytes of objects sent to it since the agent started.
    pub sent_bytes: u64,
    /// Bytes of objects it was asked for since the agent started.
    pub received_bytes: u64,
}

/// Where a log's records are applied to.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkStatus {
    /// The sink as it was given, such as `sqlite:PATH`.
    pub sink: String,
    /// The end of what it applied.
    pub applied: Lsn,
    /// How far that is behind the log's end.
    pub lag: Lag,
    /// Why it stopped, when it did.
    pub problem: Option<String>,
    /// The log comes from it, for this node writes the log.
    pub captured: bool,
    /// Copies of what it held and no log does, from before it was replaced.
    pub kept: Vec<String>,
    /// Up to where its readers had seen the log before it was seeded from an earlier snapshot, until they see that again.
    pub readers_saw: Option<Lsn>,
}

/// A request to drop a replica's slot, or to remove a tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// The log.
    pub log: Name,
    /// What of it.
    pub what: Forgettable,
    /// Only say what it would free.
    pub plan: bool,
}

/// What a log can forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgettable {
    /// A replica: its slot is dropped.
    Replica(NodeId),
    /// What a fork set aside, by its place as the status names it: it is removed for good.
    Tail(String),
}

/// What forgetting something frees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// The oldest position needed before; of a tail, the fork.
    pub oldest_before: Lsn,
    /// The oldest position needed after; of a tail, where it ends.
    pub oldest_after: Lsn,
    /// Bytes of log freed; of a tail, of disk.
    pub frees: u64,
    /// Of a tail: the transactions and records that users wrote in it, where it can be read through, and soon.
    pub written: Option<(u64, u64)>,
    /// Whether it was done, or only planned.
    pub forgotten: bool,
}

/// What a log retains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept at most for replicas that are behind; `None` for no limit.
    pub slot_cap: Option<u64>,
    /// After how long the slot of a replica that is away is dropped; `None` for never.
    pub slot_idle: Option<Duration>,
    /// Bytes kept at least, whether needed or not.
    pub keep_bytes: u64,
    /// Age of log kept at least, whether needed or not.
    pub keep_age: Duration,
}

/// Changes to [`Limits`]; what is absent stays. Zero stands for "no limit" and "never" as on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsChange {
    /// See [`Limits::slot_cap`].
    pub slot_cap: Option<u64>,
    /// See [`Limits::slot_idle`], in whole seconds.
    pub slot_idle: Option<Duration>,
    /// See [`Limits::keep_bytes`].
    pub keep_bytes: Option<u64>,
    /// See [`Limits::keep_age`], in whole seconds.
    pub keep_age: Option<Duration>,
}
