//! An agent that follows the logs of an upstream, applies them, and serves them on.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};

use longshore_apply::Snapshotter;
use longshore_format::Name;
use longshore_transport::{Promote, Promoted, Status};
use longshore_wal::{Consumer, Role, Wal};
use tokio_util::sync::CancellationToken;

use crate::applying::{Applying, OpenSink};
use crate::archived;
use crate::captured::{OpenSinkOf, Ways};
use crate::dial::Dialler;
use crate::error::Result;
use crate::event::{Event, Events};
use crate::lock;
use crate::log::Log;
use crate::node::{Node, parse_name};
use crate::promotion;
use crate::server::{Server, blocking};
use crate::settings::Settings;

/// Follows every log that its upstream grants, each into a byte-identical log of its own.
///
/// It dials, keeps dialling with a jittered pause, resumes where its log ends, acknowledges what is
/// durable, applies to the sinks it was given, and is itself an upstream to whoever may follow it.
/// Needs a tokio runtime with a timer and I/O.
///
/// ```no_run
/// use longshore::{Replica, Settings};
///
/// # async fn example() -> Result<(), longshore::Error> {
/// let settings = Settings::from_toml(r#"
///     [replica]
///     upstreams = ["primary@db.eu-west.example:7420"]
///     [tls]
///     dir = "/etc/longshore"
///     identity = "us-east"
/// "#)?;
/// let replica = Replica::open("/var/lib/longshore", &settings)?;
/// replica.run(async { tokio::signal::ctrl_c().await.unwrap() }).await
/// # }
/// ```
pub struct Replica {
    node: Node,
}

impl Replica {
    /// Finds out whether a replica could be with these settings and serve, as [`Node::check_primary`] does of a primary.
    ///
    /// # Errors
    /// `Invalid`, `Preflight` or `Denied`, as [`open`](Self::open) and [`listen`](Self::listen).
    pub fn check(settings: &Settings) -> Result<()> {
        Node::check(settings, Role::Follower)
    }

    /// Opens the logs that are under `data_dir`; makes the directory if it is not there.
    ///
    /// # Errors
    /// As [`Primary::open`](crate::Primary::open), for each log.
    pub fn open(data_dir: impl AsRef<Path>, settings: &Settings) -> Result<Self> {
        let node = Node::replica(data_dir.as_ref(), settings)?;
        node.open_all()?;
        Ok(Self { node })
    }

    /// Applies a log to a sink that `open` opens, again whenever a passing failure may be over.
    /// `log` may stay away when there is one log only. `label` is how the sink was written, such as
    /// `sqlite:PATH`.
    ///
    /// # Errors
    /// `Invalid` when `log` is not a name.
    pub fn apply(self, log: Option<&str>, label: &str, open: OpenSink) -> Result<Self> {
        let log = log.map(|name| parse_name("log", name)).transpose()?;
        self.node.sinks().add(SinkFor { log, label: label.to_owned(), open: of_any(open), offer: None, ways: None });
        Ok(self)
    }

    /// As [`apply`](Self::apply), for a sink whose database snapshots can be made of: replicas of this one get them when its log
    /// no longer reaches back, and archives. `offer` is called with each log that is applied there, once it is open.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_and_offer(
        self,
        log: Option<&str>,
        label: &str,
        open: OpenSink,
        offer: OfferSnapshots,
    ) -> Result<Self> {
        let log = log.map(|name| parse_name("log", name)).transpose()?;
        self.node.sinks().add(SinkFor {
            log,
            label: label.to_owned(),
            open: of_any(open),
            offer: Some(offer),
            ways: None,
        });
        Ok(self)
    }

    /// Listens, follows and serves until `shutdown` completes, then syncs, drains its sinks and
    /// closes its logs.
    ///
    /// What a person must decide about (`Diverged`, a missing volume, a log that is out of reach)
    /// ends the following of that log, not of others, and stands in the status and the events.
    ///
    /// # Errors
    /// As [`Replica::listen`] and [`Replica::run_on`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let server = self.listen().await?;
        self.run_on(server, shutdown).await
    }

    /// As [`Replica::run`], on a socket that [`Replica::listen`] has opened.
    ///
    /// # Errors
    /// `Invalid` when no upstream is set, nor an archive ([`Node::take_from`]), or one is no address; `Preflight` or `Denied` when
    /// certificates cannot be used; `Poisoned` when a log could not be closed in order.
    pub async fn run_on(self, server: Server, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        for log in self.node.logs() {
            self.node.sinks().start(&log)?;
        }
        let stop = CancellationToken::new();
        let outcome = {
            let (serving, following) = (server.serve(stop.clone()), self.follow(stop.clone())?);
            tokio::pin!(serving, following);
            let first = tokio::select! {
                ended = &mut serving => Ended::Serving(ended),
                ended = &mut following => Ended::Following(ended),
                () = shutdown => Ended::Asked,
            };
            stop.cancel();
            match first {
                Ended::Serving(ended) => ended.and(following.await),
                Ended::Following(ended) => ended.and(serving.await),
                Ended::Asked => serving.await.and(following.await),
            }
        };
        let node = self.node.clone();
        outcome.and(blocking("close the logs", move || node.close()).await)
    }

    /// Follows the upstreams, or without any what is archived.
    fn follow(&self, stop: CancellationToken) -> Result<Pin<Box<dyn Future<Output = Result<()>> + Send>>> {
        let node = self.node.clone();
        if node.settings().replica.upstreams.is_empty() && node.sources().is_some() {
            return Ok(Box::pin(archived::follow(node.clone(), node.sinks().clone(), stop)));
        }
        Ok(Box::pin(Dialler::new(node)?.run(stop)))
    }

    /// Makes this node a log's writer, or says what that would take and lose, as `longshore promote` asks an agent to: it asks the
    /// upstreams and the peers of the request, and what it takes from or archives into. Dropping it stops it at some step; run
    /// again, it goes on.
    ///
    /// # Errors
    /// `NotFound` without the log; `Fenced` while the writer before may still confirm anything, or what it has would be lost;
    /// `Busy` while another promotion is under way here; `Unavailable` where a node that is needed does not answer.
    pub async fn promote(&self, request: &Promote) -> Result<Promoted> {
        promotion::promote(&self.node, request).await
    }

    /// Listens for replicas of this replica and for other clients, as the settings say.
    ///
    /// # Errors
    /// As [`Primary::listen`](crate::Primary::listen).
    pub async fn listen(&self) -> Result<Server> {
        self.node.listen().await
    }

    /// The logs held here.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// All that is known, as [`Node::status`].
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// What happened, each event once.
    pub fn events(&self) -> Events {
        self.node.events()
    }
}

/// What makes snapshots of a sink's database; `None` for a log of a content of which none can be made.
pub type OfferSnapshots = Arc<dyn Fn(&Wal) -> Option<Arc<dyn Snapshotter>> + Send + Sync>;

/// What ended first.
enum Ended {
    Serving(Result<()>),
    Following(Result<()>),
    Asked,
}

/// The sinks of a replica, until their logs are there. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Sinks {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    sinks: Vec<SinkFor>,
    /// How many of the sinks were looked at for a log: one that was closed and opened again is another, and needs its sinks
    /// again.
    started: BTreeMap<Name, (Weak<Log>, usize)>,
    /// The one log that sinks without a name are for.
    only: Option<Name>,
}

/// A sink and the log it is for.
#[derive(Clone)]
pub(crate) struct SinkFor {
    /// `None`: for the one log there is.
    pub(crate) log: Option<Name>,
    pub(crate) label: String,
    pub(crate) open: OpenSinkOf,
    pub(crate) offer: Option<OfferSnapshots>,
    pub(crate) ways: Option<Ways>,
}

/// Of a sink to which it makes no difference what log it is.
fn of_any(open: OpenSink) -> OpenSinkOf {
    Arc::new(move |_| open())
}

impl Sinks {
    pub(crate) fn add(&self, sink: SinkFor) {
        lock(&self.waiting).sinks.push(sink);
    }

    /// Begins to apply a log that was opened to the sinks that were added since it was begun to be applied last.
    pub(crate) fn start(&self, log: &Arc<Log>) -> Result<()> {
        let mut waiting = lock(&self.waiting);
        let opened = Arc::downgrade(log);
        let now = (opened.clone(), waiting.sinks.len());
        let before = waiting.started.insert(log.name.clone(), now).filter(|(before, _)| before.ptr_eq(&opened));
        let only = waiting.only.get_or_insert_with(|| log.name.clone()).clone();
        for sink in &waiting.sinks[before.map_or(0, |(_, sinks)| sinks)..] {
            if sink.log.as_ref().unwrap_or(&only) == &log.name {
                let offered = sink.offer.as_ref().and_then(|offer| offer(&log.wal));
                let ways = sink.ways.clone().filter(|_| offered.is_some());
                if let Some(snapshotter) = offered {
                    log.offered.set(snapshotter);
                }
                let (open, wal) = (Arc::clone(&sink.open), log.wal.clone());
                Applying::start(log, &sink.label, Arc::new(move || open(&wal)), ways)?;
            } else if sink.log.is_none() {
                let message =
                    format!("{} is applied from log {only} only; write {}={}", sink.label, log.name, sink.label);
                log.events.raise(Event::Warning { message });
            }
        }
        if log.applying.sinks().is_empty() {
            log.wal.hold(Consumer::Applier, None);
        }
        Ok(())
    }
}
