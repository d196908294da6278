//! The replica's dialling: every upstream at once, and for each log the one of them that it is followed through.
//!
//! A log comes from its writer, perhaps by way of other replicas; each upstream says by which. One that follows nobody who
//! follows the writer is left for one that does, and one that gets the log through this node is never followed: so replicas
//! with one list of each other find whoever was promoted, and make no ring.

mod heard;
mod line;
mod pauses;
mod search;
mod taken;

use std::sync::Arc;

use longshore_format::Name;
use longshore_transport::tls::ClientTls;
use longshore_transport::{Address, ClientSettings, Connector, Http2};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::server::{claimed_identity, tls_files};
use line::Line;
use taken::Taken;

/// Follows what the upstreams grant until told to stop.
pub(crate) struct Dialler {
    shared: Arc<Shared>,
    upstreams: Vec<Address>,
}

/// What all upstreams have in common.
struct Shared {
    node: Node,
    connector: Connector,
    /// The logs to follow; empty for all.
    wanted: Vec<Name>,
    /// How many upstreams there are.
    upstreams: usize,
    /// Through which of them each log is followed.
    taken: Taken,
}

impl Shared {
    /// The upstream at `place` no longer follows a log: until another does, it comes by no way.
    fn give_up(&self, log: &Name, place: usize) {
        if self.taken.is_by(log, place)
            && let Some(log) = self.node.get(log)
        {
            log.upstream.left();
        }
        self.taken.free(log, place);
    }
}

impl Dialler {
    pub(crate) fn new(node: Node) -> Result<Self> {
        let replica = &node.settings().replica;
        if replica.upstreams.is_empty() {
            let reason = "must name at least one [NAME@]HOST:PORT".to_owned();
            return Err(Error::Settings { key: "replica.upstreams".to_owned(), reason });
        }
        let upstreams = replica.upstreams.iter().map(|text| text.parse());
        let upstreams = upstreams.collect::<Result<Vec<Address>, longshore_transport::Error>>()?;
        let wanted = replica.logs.iter().map(|name| crate::node::parse_name("replica.logs", name));
        let wanted = wanted.collect::<Result<_>>()?;
        let connector = connector(&node)?;
        let shared = Shared { node, connector, wanted, upstreams: upstreams.len(), taken: Taken::default() };
        Ok(Self { shared: Arc::new(shared), upstreams })
    }

    /// Dials, follows, pauses, and dials again until told to stop.
    ///
    /// # Errors
    /// When there is one upstream, and a person must decide about every log that is wanted of it: the first one's reason.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<()> {
        // Dropped, the lines end, too.
        let stop = stop.child_token();
        let _stops = stop.clone().drop_guard();
        let mut lines = JoinSet::new();
        for (place, address) in self.upstreams.into_iter().enumerate() {
            let line = Line::new(Arc::clone(&self.shared), place, address);
            lines.spawn(on_a_thread(format!("dial-{place}"), line.run(stop.clone()))?);
        }
        while let Some(ended) = lines.join_next().await {
            ended.map_err(|_| Error::Task { task: "dial an upstream".to_owned() })??;
        }
        Ok(())
    }
}

/// Runs an upstream on a thread of its own, which takes what comes, stores it, syncs it and acknowledges it without a switch of
/// threads on the way: that is a third of the time that a commit waits for. A disk that stands still keeps nobody waiting but
/// the logs that come from there.
fn on_a_thread(
    name: String,
    line: impl Future<Output = Result<()>> + Send + 'static,
) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
    let failed = |error| Error::io("start a thread to follow", name.as_ref(), error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (done, ended) = oneshot::channel();
    let run = move || {
        let outcome = runtime.block_on(line);
        // All tasks of it go; what was handed to other threads ends by itself.
        runtime.shutdown_background();
        // Whoever waited for it may be gone.
        let _nobody_waits = done.send(outcome);
    };
    std::thread::Builder::new().name(name.clone()).spawn(run).map_err(failed)?;
    Ok(async { ended.await.unwrap_or_else(|_| Err(Error::Task { task: "dial an upstream".to_owned() })) })
}

/// What a node dials others with.
pub(crate) fn connector(node: &Node) -> Result<Connector> {
    let settings = node.settings();
    let defaults = ClientSettings::default();
    let window = u32::try_from(settings.network.window.0 + settings.network.frame.0).unwrap_or(u32::MAX >> 1);
    let http2 = Http2 {
        stream_window: window,
        connection_window: window,
        keepalive_interval: settings.network.silence,
        keepalive_timeout: settings.network.silence,
        ..defaults.http2
    };
    let client = ClientSettings { http2, connect_deadline: settings.network.handshake, ..defaults };
    Ok(match settings.tls.plaintext {
        true => Connector::plaintext_on_loopback(claimed_identity(settings, node.id().as_str())?, client),
        false => Connector::new(ClientTls::load(tls_files(&settings.tls)?)?, client),
    })
}
