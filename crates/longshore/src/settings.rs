//! What an agent may be told, as plain data with the reason for every default.
//!
//! Components (directories, appliers, listeners) are arguments; settings are values that can stand
//! in a TOML file. Unknown keys are refused with the nearest known one (F-126), limits are checked
//! before anything is opened, and every field prints the way it is read.

mod parse;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use longshore_protocol::Durability;
use longshore_protocol::lease::Ttl;
use serde::{Deserialize, Serialize};

pub use self::units::{ByteSize, format_duration, parse_duration};
use self::units::{duration, optional, optional_duration, text};

/// Everything an agent may be told. `Settings::default()` is right for most.
///
/// ```
/// use longshore::settings::Settings;
///
/// let settings = Settings::from_toml("[retention]\nslot_cap = '2GiB'\n").unwrap();
/// assert_eq!(settings.retention.slot_cap.unwrap().0, 2 << 30);
///
/// let refused = Settings::from_toml("[retention]\nslot_cup = '2GiB'\n").unwrap_err();
/// assert!(refused.to_string().contains("retention.slot_cap"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How a log is made and how much of it may wait.
    pub log: LogSettings,
    /// How long a log is kept, and for whom.
    pub retention: RetentionSettings,
    /// What a confirmed append means on this log.
    pub ack: AckSettings,
    /// How a replica follows its upstream.
    pub replica: ReplicaSettings,
    /// Limits and rhythms of the network, both ends.
    pub network: NetworkSettings,
    /// Who this agent is, and whom it believes.
    pub tls: TlsSettings,
    /// Who may try to be the primary next, without anybody being asked.
    pub lease: LeaseSettings,
    /// How an agent ends.
    pub shutdown: ShutdownSettings,
}

/// How a log is made and how much of it may wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Size of a segment of a log created from here on, a power of two from 1 MiB to 1 GiB.
    /// Default 64 MiB: large enough that rolling costs nothing, small enough to archive every
    /// minute at 1 MiB/s.
    pub segment_size: ByteSize,
    /// Appended but not yet synced bytes above which `append` answers `Full`. Default 64 MiB: about
    /// a tenth of a second of what a fast disk takes, so it is met only when a sync hangs (F-069).
    pub unsynced_limit: ByteSize,
    /// Bytes a log may take on disk, above which `append` answers `Full`. Default none: retention
    /// and the free-space check keep the disk from filling.
    #[serde(with = "optional")]
    pub disk_limit: Option<ByteSize>,
    /// Segments kept ready ahead of the active one, the last of them allocated at once and filled as
    /// the log grows. Default 2: a full disk is met two segments early, as a clean error.
    pub prepared_segments: usize,
    /// Accept a data directory on a filesystem that cannot keep its promise (tmpfs, FUSE, network;
    /// F-058). Default false, which warns at every start; true is for tests.
    pub accept_weak_storage: bool,
}

/// How long a log is kept, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Bytes of log that replicas which are behind may hold, above which the cap's rule is used.
    /// Default none: only the free space limits them.
    #[serde(with = "optional")]
    pub slot_cap: Option<ByteSize>,
    /// What happens at the cap. Default `drop`: the replica is named and marked lost, and the
    /// application keeps writing (F-093).
    pub at_cap: AtCap,
    /// What happens when a store that cannot be reached would hold more than the cap. Default `block`: what is archived has no
    /// gap, and appends get `Full`. With `drop` the log goes on, and the archive behind a gap that it names, with a new snapshot.
    pub archive_at_cap: AtCap,
    /// A replica not seen for so long loses its slot. Default 7 days: a long week-end with a margin.
    #[serde(with = "optional_duration")]
    pub slot_idle: Option<Duration>,
    /// What nobody needs is trimmed beyond so many bytes. Default none: a log that nobody limits
    /// forgets nothing.
    #[serde(with = "optional")]
    pub keep_size: Option<ByteSize>,
    /// What nobody needs is trimmed when it is older. Default none. With `keep_size`, whichever
    /// keeps more.
    #[serde(with = "optional_duration")]
    pub keep_age: Option<Duration>,
    /// Free space on the volume below which the log counts as at its cap. Default 1 GiB, or a tenth
    /// of log and free space together where that is less: room for other programs, and for the
    /// segments that let the log end cleanly.
    pub min_free: ByteSize,
    /// How often retention runs. Default 5 s; trimming is an unlink, the look costs nothing.
    #[serde(with = "duration")]
    pub interval: Duration,
}

/// What happens to a consumer that would hold more of the log than its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtCap {
    /// It loses its slot: named, marked lost, re-seeds when it returns.
    Drop,
    /// Appends answer `Full` until it has caught up.
    Block,
}

/// What a confirmed append means on this log, and what happens when it cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AckSettings {
    /// The durability that `Ticket::confirm` waits for. Default `local`: one disk, no network; all
    /// other levels cost a round trip. Failover never protects writes that waited for less than the
    /// log's policy. `archived:N` needs N stores, named before the node listens.
    #[serde(with = "text")]
    pub durability: Durability,
    /// How long to wait for it. Default 30 s: longer than a reconnect with backoff.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// What `append` does while too few replicas are connected for it. Default `accept`: the append
    /// is durable here and its wait ends as `Unconfirmed`.
    pub shortfall: Shortfall,
    /// With the shortfall `degrade`: how long the durability could not be had before what is durable here alone is
    /// confirmed. Default 10 s, the silence after which a replica counts as gone.
    #[serde(with = "duration")]
    pub degrade_after: Duration,
    /// The nodes whose copies count, the primary's own too, so that roles can move. Empty, the default: all that
    /// `grants.toml` lets replicate the log, once the durability asks for replicas. Written into the log, like the
    /// durability: a promotion fences as these say.
    pub voters: Vec<String>,
}

/// What `append` does while the policy's durability cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortfall {
    /// It is accepted; waiting for it ends by time.
    Accept,
    /// It is refused as `Unavailable` before anything is written.
    Refuse,
    /// It is accepted, and after `ack.degrade_after` confirmed when it is durable here, until the policy can be had
    /// again. What was confirmed meanwhile no failover protects.
    Degrade,
}

/// How a replica follows its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicaSettings {
    /// Upstreams in the order they are tried, each `[NAME@]HOST:PORT`. A name pins the identity
    /// that the upstream's certificate must carry.
    pub upstreams: Vec<String>,
    /// Logs to follow; empty, the default, means all that the upstream grants.
    pub logs: Vec<String>,
    /// Create a log here although the upstream has a slot for it, hence knows that it once existed
    /// here (F-049). Default false: an unmounted volume must not look like a new replica.
    pub reseed: bool,
    /// What happens to records that the histories prove to be of a branch that died. Default `auto`: they are set aside as a
    /// tail, and the log follows. With `manual` nothing is changed until an operator says `longshore rejoin`.
    pub rejoin: RejoinHow,
    /// First pause before dialling again; doubled up to `backoff_max`, each jittered (F-110).
    /// Default 200 ms.
    #[serde(with = "duration")]
    pub backoff_min: Duration,
    /// Longest pause before dialling again. Default 15 s: a returning upstream is found before
    /// anybody has looked at a dashboard.
    #[serde(with = "duration")]
    pub backoff_max: Duration,
    /// How often the upstream is asked for logs that are new. Default 10 s.
    #[serde(with = "duration")]
    pub discover_every: Duration,
}

/// What happens to records that the histories prove to be of a branch that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejoinHow {
    /// They are set aside, and the log follows.
    Auto,
    /// Nothing is changed: an operator decides.
    Manual,
}

/// Limits and rhythms of the network, both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// Where the agent listens. Default 127.0.0.1:7420: nothing is offered to a network unasked.
    pub listen: SocketAddr,
    /// Where metrics and health are served over HTTP. Default 127.0.0.1:7421.
    pub http: SocketAddr,
    /// Bytes of log that may be under way to this agent per stream. Default 16 MiB: fills 1 Gbit/s
    /// at 100 ms, and three such streams stay within the memory an agent is allowed.
    pub window: ByteSize,
    /// Largest message of log frames. Default 512 KiB, between the protocol's 256 KiB and 1 MiB:
    /// large enough to amortise, small enough that an ack never waits long behind one.
    pub frame: ByteSize,
    /// Ship what is appended here while this node still syncs it, so that its disk and its replicas' work at the same time.
    /// Replicas apply and archive nothing of it before it is durable here, too; a power cut here may leave them with a
    /// tail to set aside that nobody was promised. Default false: nothing leaves before it is durable here (F-096).
    pub ship_ahead: bool,
    /// How often both ends say that they live, also when idle. Default 2 s.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// Silence after which the other end counts as gone. Default 10 s: five heartbeats
    /// (F-086, F-087).
    #[serde(with = "duration")]
    pub silence: Duration,
    /// Deadline of a dial, a TLS handshake and a first message (F-088). Default 10 s.
    #[serde(with = "duration")]
    pub handshake: Duration,
    /// How long a message may wait for a peer that does not read before the peer is dropped (F-089).
    /// Default 30 s.
    #[serde(with = "duration")]
    pub stall: Duration,
}

/// Who this agent is, and whom it believes. Secrets are only ever named by file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// Directory made by `longshore certs`: `ca.pem`, `NAME.pem`, `NAME.key`, `grants.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// NAME in that directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Certificate authority, in place of `dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Certificate chain, in place of `dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Private key, in place of `dir`; mode 0600 or refused (F-057).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Roles per identity and log, in place of `dir`'s `grants.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<PathBuf>,
    /// No TLS at all. Works on loopback only and is logged loudly. Default false.
    pub plaintext: bool,
}

/// The lease by which a failover starts by itself. It gives liveness, never safety: see [`lease`](crate::lease).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseSettings {
    /// Where it stands, for every log as `LOG.lease`: `s3://`, `gs://`, `az://` or `file://` as an archive, or
    /// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX][?ca=FILE&cert=FILE&key=FILE]`. Default none: an operator promotes.
    #[serde(with = "optional")]
    pub url: Option<String>,
    /// How long it is good for without a renewal, 500 ms to 1 h. Default 10 s: a renewal every 2.5 s, and a dead primary missed
    /// after 11 s. Below 3 s an object store's slow answers alone are enough to lose it.
    #[serde(with = "duration")]
    pub ttl: Duration,
}

/// How an agent ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownSettings {
    /// How long connected replicas are given to take what is already durable here. Default 10 s:
    /// within what service managers grant.
    #[serde(with = "duration")]
    pub ship_for: Duration,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_size: ByteSize::mib(64),
            unsynced_limit: ByteSize::mib(64),
            disk_limit: None,
            prepared_segments: 2,
            accept_weak_storage: false,
        }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            slot_cap: None,
            at_cap: AtCap::Drop,
            archive_at_cap: AtCap::Block,
            slot_idle: Some(Duration::from_secs(7 * 86_400)),
            keep_size: None,
            keep_age: None,
            min_free: ByteSize::gib(1),
            interval: Duration::from_secs(5),
        }
    }
}

impl Default for AckSettings {
    fn default() -> Self {
        Self {
            durability: Durability::LOCAL,
            timeout: Duration::from_secs(30),
            shortfall: Shortfall::Accept,
            degrade_after: Duration::from_secs(10),
            voters: Vec::new(),
        }
    }
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            logs: Vec::new(),
            reseed: false,
            rejoin: RejoinHow::Auto,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            discover_every: Duration::from_secs(10),
        }
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            http: SocketAddr::from(([127, 0, 0, 1], 7421)),
            window: ByteSize::mib(16),
            frame: ByteSize::kib(512),
            ship_ahead: false,
            heartbeat: Duration::from_secs(2),
            silence: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { url: None, ttl: Ttl::DEFAULT.get() }
    }
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { ship_for: Duration::from_secs(10) }
    }
}
