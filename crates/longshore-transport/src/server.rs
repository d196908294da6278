//! An agent's listening side.

mod admin;
mod body;
mod connection;
mod log;
mod promotion;
mod replication;

use std::{io, sync::Arc, time::Duration};

use longshore_format::ErrorKind;
use longshore_protocol::Name;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;

use crate::{
    Access, AdminService, Caller, Error, LogService, PromotionService, ReplicationService, Result, ServerSettings,
    grants::Role, leash::Leash, proto,
};
use connection::Connections;

/// What a server offers, each implemented elsewhere.
#[derive(Clone)]
pub struct Services {
    /// For replicas.
    pub replication: Arc<dyn ReplicationService>,
    /// For programs.
    pub log: Arc<dyn LogService>,
    /// For operators.
    pub admin: Arc<dyn AdminService>,
    /// For those who move the role of a writer.
    pub promotion: Arc<dyn PromotionService>,
}

/// A server, until it serves.
pub struct Server {
    access: Access,
    settings: ServerSettings,
    services: Services,
}

/// What the handlers of calls need.
#[derive(Clone)]
struct Context {
    access: Access,
    tasks: TaskTracker,
    first_message_deadline: Duration,
    shutdown: CancellationToken,
}

impl Server {
    /// A server of these services for those whom `access` lets in.
    pub fn new(access: Access, settings: ServerSettings, services: Services) -> Server {
        Server { access, settings, services }
    }

    /// Serves until `shutdown`, then ends every stream, waits for calls in progress and returns when all
    /// is quiet. Fails at once, having served nobody, when `access` is plaintext and the listener is not
    /// on loopback.
    ///
    /// Dropping the future cuts every connection off.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let address = listener.local_addr().map_err(|error| cannot_listen(&error))?;
        if self.access.tls().is_none() {
            if !address.ip().is_loopback() {
                return Err(Error::plaintext_beyond_loopback(address));
            }
            tracing::warn!("SERVING PLAINTEXT on {address}: whoever reaches this port may do everything");
        }
        let tasks = TaskTracker::new();
        let context = Context {
            access: self.access.clone(),
            tasks: tasks.clone(),
            first_message_deadline: self.settings.first_message_deadline,
            shutdown: shutdown.clone(),
        };
        let routes = routes(context, self.services)?;
        // Dropped with this future: what still runs then is cut off.
        let cut_off = CancellationToken::new();
        let _guard = cut_off.clone().drop_guard();
        let connections = Arc::new(Connections {
            access: self.access.clone(),
            routes,
            tasks: tasks.clone(),
            handshakes: Semaphore::new(self.settings.max_handshakes),
            places: Arc::new(Semaphore::new(self.settings.max_connections)),
            shutdown: shutdown.clone(),
            cut_off: cut_off.clone(),
            settings: self.settings.clone(),
        });

        tokio::select! {
            () = shutdown.cancelled() => {}
            () = accept(&listener, &connections) => {}
            () = watch(&self.access, self.settings.poll_interval) => {}
        }
        drop(listener);
        self.access.end_all(&stopping());
        tasks.close();
        if timeout(self.settings.drain_deadline, tasks.wait()).await.is_err() {
            tracing::warn!("cutting off {} calls that did not end in time", tasks.len());
            cut_off.cancel();
            let _ = timeout(self.settings.drain_deadline, tasks.wait()).await;
        }
        Ok(())
    }
}

/// Accepts connections for ever.
async fn accept(listener: &TcpListener, connections: &Arc<Connections>) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => Arc::clone(connections).spawn(socket, address),
            Err(error) => {
                // Out of descriptors, or the peer was gone already. Neither is helped by spinning.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Looks at files and at what is open for ever.
async fn watch(access: &Access, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        access.poll();
    }
}

fn routes(context: Context, services: Services) -> Result<Routes> {
    let (health, health_service) = tonic_health::server::health_reporter();
    drop(health); // The overall service is SERVING from the start; a server that is not does not listen.
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .build_v1()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "the descriptors are damaged", "report a bug").because(error)
        })?;
    Ok(Routes::new(health_service)
        .add_service(reflection)
        .add_service(replication::service(context.clone(), services.replication))
        .add_service(log::service(context.clone(), services.log))
        .add_service(admin::service(context, services.admin, services.promotion)))
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "the agent is stopping", "connect again in a moment")
}

fn cannot_listen(error: &io::Error) -> Error {
    Error::new(ErrorKind::Preflight, format!("cannot listen: {error}"), "choose another address")
}

impl Context {
    /// Who makes a call.
    fn caller<T>(&self, request: &tonic::Request<T>) -> Result<Caller> {
        let peer = connection::peer(request)?;
        let claimed = request.metadata().get(IDENTITY_HEADER).and_then(|value| value.to_str().ok());
        self.access.caller(&peer, claimed)
    }

    /// Who makes a call that needs one of these roles for a log.
    fn authorize<T>(&self, request: &tonic::Request<T>, roles: &[Role], log: &Name) -> Result<Caller> {
        let caller = self.caller(request)?;
        caller.require(roles, log).inspect_err(|error| audit(&caller, error))?;
        Ok(caller)
    }

    /// The same for a call that lasts: it ends when the roles are lost.
    fn watch<T>(
        &self,
        request: &tonic::Request<T>,
        roles: &'static [Role],
        log: &Name,
    ) -> Result<(Caller, Arc<Leash>, crate::access::Registration)> {
        let caller = self.authorize(request, roles, log)?;
        let peer = connection::peer(request)?;
        let (leash, registration) = self.access.watch(&peer, &caller, roles, log);
        if self.shutdown.is_cancelled() {
            leash.pull(stopping());
        }
        Ok((caller, leash, registration))
    }
}

/// Who the caller is, on a plaintext connection.
pub(crate) const IDENTITY_HEADER: &str = "longshore-identity";

fn audit(caller: &Caller, error: &Error) {
    tracing::warn!(target: "longshore::audit", identity = %caller.identity(), peer = %caller.address(), "refused: {error}");
}

/// What a handler streams.
type Reply<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T, tonic::Status>> + Send>>;
