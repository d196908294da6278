//! The replica's dialling: every upstream at once, and for each log the one of them that it is followed through.
//!
//! A log comes from its writer, perhaps by way of other replicas; each upstream says by which. One that follows nobody who
//! follows the writer is left for one that does, and one that gets the log through this node is never followed: so replicas
//! with one list of each other find whoever was promoted, and make no ring.

mod line;
mod taken;

use std::sync::Arc;

use longshore_format::Name;
use longshore_transport::tls::ClientTls;
use longshore_transport::{Address, ClientSettings, Connector, Http2};
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
        let mut lines = JoinSet::new();
        for (place, address) in self.upstreams.into_iter().enumerate() {
            lines.spawn(Line::new(Arc::clone(&self.shared), place, address).run(stop.clone()));
        }
        while let Some(ended) = lines.join_next().await {
            ended.map_err(|_| Error::Task { task: "dial an upstream".to_owned() })??;
        }
        Ok(())
    }
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
