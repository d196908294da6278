//! A node that listens: certificates, the socket, and the way it ends.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{ErrorKind, Name};
use longshore_transport::tls::{ServerTls, TlsFiles};
use longshore_transport::{Access, Http2, ServerSettings, Services};
use longshore_wal::Role;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::dial::Dialler;
use crate::error::{Error, Result};
use crate::failover;
use crate::node::Node;
use crate::services::NodeServices;
use crate::settings::{Settings, TlsSettings};

/// A node that has a socket and certificates, and serves once it runs.
pub struct Server {
    node: Node,
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
}

impl Server {
    pub(crate) async fn listen(node: Node) -> Result<Self> {
        let access = ready(node.settings())?;
        if !node.settings().tls.plaintext
            && let Some(days) = access.certificate_days_left()
            && days < WARN_DAYS
        {
            tracing::warn!(
                days,
                "the certificate of this agent expires soon; replace its files, a running agent takes them"
            );
        }
        let wanted = node.settings().network.listen;
        let listener = TcpListener::bind(wanted).await.map_err(|error| cannot_listen(wanted, &error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(wanted, &error))?;
        node.set_access(access.clone());
        for log in node.logs() {
            node.declare_policy(&log)?;
        }
        Ok(Self { node, listener, address, access })
    }

    /// Where it listens: of use when the settings said port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle for SIGHUP: reads certificates and grants again, and ends what they no longer allow.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// Serves until `shutdown` completes, and then ends in order (F-078): no more appends, a last
    /// sync, what is durable shipped to connected replicas for as long as `shutdown.ship_for` allows,
    /// streams ended, logs closed.
    ///
    /// Dropping the future is as hard as `kill -9`: nothing confirmed is lost.
    ///
    /// # Errors
    /// What keeps it from serving, or from closing in order.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let node = self.node.clone();
        let stop = CancellationToken::new();
        // A log that was promoted elsewhere comes from there from now on.
        let rejoining = rejoin(node.clone(), stop.clone());
        tokio::pin!(rejoining);
        let serving = async {
            let serving = self.serve(stop.clone());
            tokio::pin!(serving);
            tokio::select! {
                ended = &mut serving => ended,
                ended = &mut rejoining => ended.and(serving.await),
            }
        };
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => ended?,
            () = shutdown => {
                tokio::select! {
                    ended = &mut serving => ended?,
                    () = drain(&node) => {}
                }
                stop.cancel();
                serving.await?;
            }
        }
        blocking("close the logs", move || node.close()).await
    }

    /// Serves until told to stop, and closes nothing.
    pub(crate) async fn serve(self, stop: CancellationToken) -> Result<()> {
        let services = Arc::new(NodeServices::new(self.node.clone(), stop.clone()));
        let services = Services {
            replication: services.clone(),
            log: services.clone(),
            admin: services.clone(),
            promotion: services,
        };
        let server = longshore_transport::Server::new(self.access, server_settings(self.node.settings()), services);
        tracing::info!(address = %self.address, node = %self.node.id(), "serving");
        let attending = tokio::spawn(failover::attend(self.node, stop.clone()));
        let served = server.serve(self.listener, stop).await;
        attending.abort();
        Ok(served?)
    }
}

/// Asks the other nodes of this node's logs who writes them by now, and follows where it is no longer this one. Without any it
/// only waits.
async fn rejoin(node: Node, stop: CancellationToken) -> Result<()> {
    if node.settings().replica.upstreams.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    Dialler::new(node)?.run(stop).await
}

/// Lets no append in, makes durable what is there, and waits until connected replicas have it.
async fn drain(node: &Node) {
    let logs = node.logs();
    for log in &logs {
        log.stop_appends();
    }
    let deadline = tokio::time::Instant::now() + node.settings().shutdown.ship_for;
    for log in logs {
        // What a replica holds back its own replicas may be unable to.
        let end = if log.wal.role() == Role::Writer { log.wal.end() } else { log.wal.durable().get() };
        let shipped = async {
            if log.wal.synced().wait(end).await.is_err() {
                return;
            }
            loop {
                let moved = log.standing.listen();
                let replicas = log.standing.replicas(log.now());
                if replicas.iter().all(|replica| !replica.connected || end <= replica.ack.durable()) {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout_at(deadline, shipped).await.is_err() {
            tracing::warn!(log = %log.name, "stopping although a connected replica has not taken everything; it resumes");
        }
    }
}

/// Runs what blocks for long on a thread for such things.
pub(crate) async fn blocking<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Task { task: task.to_owned() })?
}

/// The files that an agent's identity is read from.
pub(crate) fn tls_files(tls: &TlsSettings) -> Result<TlsFiles> {
    if let (Some(ca), Some(cert), Some(key)) = (&tls.ca, &tls.cert, &tls.key) {
        return Ok(TlsFiles::new(ca.clone(), cert.clone(), key.clone()));
    }
    let (Some(dir), Some(identity)) = (&tls.dir, &tls.identity) else {
        return Err(Error::Settings {
            key: "tls".to_owned(),
            reason: "needs dir and identity, or ca, cert and key; `longshore certs` makes them for development"
                .to_owned(),
        });
    };
    Ok(TlsFiles::in_directory(dir, &crate::node::parse_name("tls.identity", identity)?))
}

/// Who may do what, once nothing in the settings keeps a node from serving.
pub(crate) fn ready(settings: &Settings) -> Result<Access> {
    let access = access(&settings.tls)?;
    if let Some(url) = &settings.lease.url {
        // A lease that cannot be asked for would keep every log from being written, and only say so in the trace.
        crate::lease::open(url, &crate::node::parse_name("log", "any")?)?;
    }
    let wanted = settings.network.listen;
    match settings.tls.plaintext && !wanted.ip().is_loopback() {
        true => Err(longshore_transport::Error::plaintext_beyond_loopback(wanted).into()),
        false => Ok(access),
    }
}

fn access(tls: &TlsSettings) -> Result<Access> {
    if tls.plaintext {
        return Ok(Access::plaintext_on_loopback());
    }
    let files = tls_files(tls)?;
    let grants = tls.grants.clone().or_else(|| Some(tls.dir.as_ref()?.join("grants.toml")));
    let grants = grants.ok_or_else(|| Error::Settings {
        key: "tls.grants".to_owned(),
        reason:
            "is not set, and neither is tls.dir, whose grants.toml would do: name the file that says who may do what"
                .to_owned(),
    })?;
    Ok(Access::mutual_tls(ServerTls::load(files)?, grants)?)
}

fn server_settings(settings: &Settings) -> ServerSettings {
    let network = &settings.network;
    let defaults = ServerSettings::default();
    ServerSettings {
        http2: Http2 { keepalive_interval: network.silence, keepalive_timeout: network.silence, ..defaults.http2 },
        handshake_deadline: network.handshake,
        first_message_deadline: network.handshake,
        drain_deadline: DRAIN,
        ..defaults
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::AddrInUse => ErrorKind::Busy,
        _ => ErrorKind::Preflight,
    };
    let message = format!("cannot listen on {address}: {error}");
    longshore_transport::Error::new(kind, message, "choose another address with --listen (network.listen)").into()
}

/// The identity by which a plaintext client says who it is.
pub(crate) fn claimed_identity(settings: &Settings, fallback: &str) -> Result<Name> {
    crate::node::parse_name("tls.identity", settings.tls.identity.as_deref().unwrap_or(fallback))
}

/// Calls in progress at the end get this long; replicas had theirs before.
const DRAIN: Duration = Duration::from_secs(3);

/// A certificate is complained about so many days ahead.
const WARN_DAYS: i64 = 14;
