//! An agent on a free port, with certificates of its own.
#![expect(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod agent;
pub mod pki;
pub mod raw;

use std::{net::SocketAddr, path::Path, time::Duration};

use longshore_protocol::Name;
use longshore_transport::{
    Access, Address, ClientSettings, Connector, Http2, Result, Server, ServerSettings,
    tls::{ClientTls, ServerTls, TlsFiles},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use agent::FakeAgent;
pub use pki::Pki;

/// Longer than anything here takes, shorter than anybody's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Settings with which everything that takes seconds takes milliseconds.
pub fn quick() -> ServerSettings {
    ServerSettings {
        handshake_deadline: Duration::from_millis(300),
        first_message_deadline: Duration::from_millis(300),
        poll_interval: Duration::from_millis(20),
        drain_deadline: Duration::from_secs(5),
        ..ServerSettings::default()
    }
}

/// A serving agent; stops when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub access: Access,
    pub agent: FakeAgent,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<()>>,
}

impl Running {
    /// With the certificate `primary` and the grants of a directory.
    pub async fn start(pki: &Pki) -> Running {
        Running::with(pki, quick()).await
    }

    pub async fn with(pki: &Pki, settings: ServerSettings) -> Running {
        let tls = ServerTls::load(TlsFiles::in_directory(pki.path(), &name("primary"))).unwrap();
        let access = Access::mutual_tls(tls, pki.path().join("grants.toml")).unwrap();
        Running::with_access(access, settings).await
    }

    pub async fn with_access(access: Access, settings: ServerSettings) -> Running {
        let agent = FakeAgent::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = Server::new(access.clone(), settings, agent.services());
        let serving = tokio::spawn(server.serve(listener, shutdown.clone()));
        Running { address, access, agent, shutdown, serving }
    }

    /// The agent's address, pinned to `primary`.
    pub fn pinned(&self) -> Address {
        format!("primary@{}", self.address).parse().unwrap()
    }

    /// The agent's address by host name, unpinned.
    pub fn by_host(&self) -> Address {
        format!("localhost:{}", self.address.port()).parse().unwrap()
    }

    /// Asks it to stop and waits until all is quiet.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it stops").unwrap().unwrap();
    }
}

/// Connections with the files of an identity in a directory.
pub fn connector(directory: &Path, identity: &str) -> Connector {
    let tls = ClientTls::load(TlsFiles::in_directory(directory, &name(identity))).unwrap();
    Connector::new(tls, client_settings())
}

pub fn client_settings() -> ClientSettings {
    ClientSettings { connect_deadline: PATIENCE, call_deadline: PATIENCE, http2: Http2::default() }
}

/// Waits until something holds that another task brings about.
pub async fn eventually(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it holds in the end");
}
