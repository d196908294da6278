//! One connection, from its first byte to its last.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_format::ErrorKind;
use longshore_protocol::Name;
use rustls::server::Acceptor;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tower::Service;
use tracing::{Instrument, info_span};

use super::body::{Calls, CountedBody, DeadlineBody};
use crate::{
    Access, Error, Result, ServerSettings,
    access::{Peer, Registration},
    tls::{WRITE_BUFFER, claims},
};

/// What all connections share.
pub(super) struct Connections {
    pub(super) access: Access,
    pub(super) routes: Routes,
    pub(super) tasks: TaskTracker,
    pub(super) handshakes: Semaphore,
    pub(super) places: Arc<Semaphore>,
    pub(super) shutdown: CancellationToken,
    pub(super) cut_off: CancellationToken,
    pub(super) settings: ServerSettings,
}

/// The one call whose request is a stream, and so has no deadline as a whole.
const STREAM: &str = "/longshore.v1.Replication/Stream";

/// How long a connection that is being ended stays, so that its streams can say why.
const GRACE: Duration = Duration::from_millis(500);

impl Connections {
    /// Serves a connection in a task of its own.
    pub(super) fn spawn(self: Arc<Self>, socket: TcpStream, address: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(target: "longshore::audit", peer = %address, "refused: too many connections");
            return;
        };
        let (tasks, cut_off) = (self.tasks.clone(), self.cut_off.clone());
        let serve = async move {
            let _place = place;
            if let Err(error) = self.serve(socket, address).await {
                tracing::warn!(target: "longshore::audit", "refused: {error}");
            }
        };
        let span = info_span!("connection", peer = %address);
        tasks.spawn(async move { cut_off.run_until_cancelled(serve).await }.instrument(span));
    }

    async fn serve(&self, socket: TcpStream, address: SocketAddr) -> Result<()> {
        let _ = socket.set_nodelay(true);
        if self.access.tls().is_none() {
            let (peer, registration) = self.access.admit(None, address, Vec::new(), usize::MAX)?;
            self.serve_http(socket, peer, registration).await;
            return Ok(());
        }
        let deadline = self.settings.handshake_deadline;
        let stream = timeout(deadline, self.handshake(socket)).await.map_err(|_| too_slow())??;
        let chain: Vec<CertificateDer<'static>> =
            stream.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let identity = chain.first().and_then(claims).and_then(|claims| claims.identity);
        let identity: Name = identity.ok_or_else(|| handshake_failed(&io::ErrorKind::InvalidData.into()))?;
        let limit = self.settings.max_connections_per_identity;
        let (peer, registration) = self.access.admit(Some(identity), address, chain, limit)?;
        self.serve_http(stream, peer, registration).await;
        Ok(())
    }

    /// A handshake. Only what costs us something takes a turn: a peer that has not said its first word
    /// holds up nobody but itself.
    async fn handshake(&self, socket: TcpStream) -> Result<tokio_rustls::server::TlsStream<TcpStream>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket);
        let start = start.await.map_err(|error| handshake_failed(&error))?;
        let _turn = self.handshakes.acquire().await.expect("never closed");
        let tls = self.access.tls().expect("a handshake is made with TLS only");
        let config = Arc::clone(&tls.current().config);
        let mut stream = start.into_stream(config).await.map_err(|error| handshake_failed(&error))?;
        stream.get_mut().1.set_buffer_limit(Some(WRITE_BUFFER));
        Ok(stream)
    }

    async fn serve_http<IO>(&self, io: IO, peer: Arc<Peer>, _registration: Registration)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let calls = Calls::default();
        let service = service_fn(|request| self.call(request, &peer, &calls));
        let connection = self.http2().serve_connection(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        let pulled = peer.leash.pulled();
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("the connection broke: {error}");
                }
                return;
            }
            () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
            () = self.idle(&calls) => {
                tracing::debug!("closing a connection without calls");
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GRACE, connection).await;
                return;
            }
            () = pulled => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GRACE, connection).await;
                return;
            }
        }
        // The server's drain deadline bounds this.
        let _ = connection.await;
    }

    /// Hands a request to the services, with who made it.
    fn call(
        &self,
        mut request: Request<Incoming>,
        peer: &Arc<Peer>,
        calls: &Calls,
    ) -> impl Future<Output = Result<Response<CountedBody<tonic::body::Body>>, Infallible>> + Send + 'static {
        request.extensions_mut().insert(Arc::clone(peer));
        let deadline = (request.uri().path() != STREAM).then(|| Instant::now() + self.settings.first_message_deadline);
        let request = request.map(|body| tonic::body::Body::new(DeadlineBody::new(body, deadline)));
        let (call, mut routes) = (calls.begin(), self.routes.clone());
        async move {
            let response = routes.call(request).await?;
            Ok(response.map(|body| CountedBody::new(body, call)))
        }
    }

    /// Completes when a connection has made no first call in time, or none for long.
    async fn idle(&self, calls: &Calls) {
        sleep(self.settings.first_message_deadline).await;
        if calls.idle_since() == Some(0) {
            return;
        }
        loop {
            let before = calls.idle_since();
            sleep(self.settings.idle_deadline).await;
            if before.is_some() && before == calls.idle_since() {
                return;
            }
        }
    }

    fn http2(&self) -> http2::Builder<Tracked> {
        let settings = &self.settings.http2;
        let mut builder = http2::Builder::new(Tracked(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window)
            .max_frame_size(settings.max_frame_size)
            .max_send_buf_size(settings.send_buffer)
            .max_concurrent_streams(self.settings.max_streams_per_connection)
            .max_header_list_size(16 << 10)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout);
        builder
    }
}

/// Runs a connection's calls where the server can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The other end of the connection that a request came by.
pub(super) fn peer<T>(request: &tonic::Request<T>) -> Result<Arc<Peer>> {
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    peer.ok_or_else(|| Error::new(ErrorKind::Internal, "a request without a connection", "report a bug"))
}

fn too_slow() -> Error {
    Error::new(ErrorKind::Denied, "the TLS handshake was not finished within the deadline", "connect again")
}

fn handshake_failed(error: &io::Error) -> Error {
    Error::new(ErrorKind::Denied, format!("the TLS handshake failed: {error}"), "check both ends' certificates")
}
