//! What shipping costs: frames through client and server with mutual TLS over loopback, against the same
//! bytes copied through bare TLS.
//!
//! `cargo run --release -p longshore-transport --example ship [GiB] [KiB per message] [rounds]`

use std::{
    env, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use longshore_format::{Content, Epoch, EpochEntry, EpochHistory, Incarnation, LogId, Lsn, SegmentSize, WriterId};
use longshore_protocol::{Frames, Hello, Holding, Name, NodeId, Offer, ToReplica, ToUpstream};
use longshore_transport::{
    Access, AdminService, Append, Appended, Caller, ClientSettings, Connector, Create, Error, Forget, Forgotten,
    Limits, LimitsChange, LogDescription, LogService, LogSummary, Positions, Read, RecordBatches, ReplicationService,
    Segment, SegmentFile, Server, ServerSettings, Services, Status, UpstreamEnd, async_trait,
    certs::{self, Identity},
    grants::Role,
    tls::{ClientTls, ServerTls, TlsFiles},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = env::args().skip(1);
    let gib: u64 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let message: usize = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let (total, message) = (gib << 30, message << 10);

    let directory = tempfile::tempdir()?;
    let identity =
        |name: &str, role| Identity { name: name.parse().expect("a name"), roles: vec![role], hosts: vec![] };
    certs::init(directory.path(), &[identity("primary", Role::Admin), identity("replica", Role::Replicate)])?;
    let files = |name: &str| TlsFiles::in_directory(directory.path(), &name.parse().expect("a name"));

    println!("{:<28} {:>8} {:>12}", "", "MB/s", "CPU-s/GiB");
    for _ in 0..rounds {
        let (raw_server, raw_client) = raw_configs(directory.path())?;
        measure("bare TLS", total, raw(raw_server, raw_client, total, message)).await?;

        let tls = ServerTls::load(files("primary"))?;
        let access = Access::mutual_tls(tls, directory.path().join("grants.toml"))?;
        let source = Arc::new(Source { total, message });
        let services = Services { replication: source.clone(), log: source.clone(), admin: source };
        let server = Server::new(access, ServerSettings::default(), services);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("primary@{}", listener.local_addr()?);
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(listener, shutdown.clone()));
        let connector = Connector::new(ClientTls::load(files("replica"))?, ClientSettings::default());
        measure("longshore", total, ship(connector, &address, total)).await?;
        shutdown.cancel();
        serving.await??;
    }
    Ok(())
}

async fn ship(connector: Connector, address: &str, total: u64) -> Outcome<()> {
    let client = connector.connect(&address.parse()?).await?;
    let log = Name::new("orders")?;
    let mut channel = client.follow(&log, hello()?).await?;
    let mut received = 0;
    while received < total {
        let Some(message) = channel.receive().await else { return Err("the stream ended".into()) };
        let ToReplica::Frames(frames) = message? else { return Err("something else than frames".into()) };
        received += frames.bytes.len() as u64;
        std::hint::black_box(&frames.bytes);
    }
    Ok(())
}

fn hello() -> Outcome<Hello> {
    let epoch = Epoch { number: 1, writer: WriterId::from_bytes([1; 16]) };
    let first = SegmentSize::FIRST_LSN;
    let life = EpochEntry { start: first, epoch, incarnation: Incarnation::new(1) };
    let holding = Holding {
        log: LogId::from_bytes([1; 16]),
        content: Content::Bytes,
        segment_size: SegmentSize::DEFAULT,
        history: EpochHistory::new(life),
        first,
        end: first,
        last_crc: 0,
        lost: None,
        applied: None,
    };
    Ok(Hello { node: NodeId::new("replica")?, offer: Offer::ours(), holding })
}

/// Sends frames as fast as they are taken.
struct Source {
    total: u64,
    message: usize,
}

#[async_trait]
impl ReplicationService for Source {
    async fn stream(&self, _: Caller, _: Name, mut channel: UpstreamEnd) -> Result<(), Error> {
        let Some(Ok(ToUpstream::Hello(hello))) = channel.receive().await else { return Ok(()) };
        let epoch = hello.holding.history.current().epoch;
        let bytes = Bytes::from(noise(self.message));
        for index in 0..self.total / self.message as u64 {
            let frames = Frames { start: Lsn::new(index * self.message as u64), epoch, bytes: bytes.clone() };
            channel.send(ToReplica::Frames(frames)).await?;
        }
        Ok(())
    }

    async fn logs(&self, _: &Caller) -> Result<Vec<LogSummary>, Error> {
        Ok(Vec::new())
    }
    async fn describe(&self, _: &Caller, _: &Name) -> Result<LogDescription, Error> {
        unimplemented!()
    }
    async fn segments(&self, _: &Caller, _: &Name) -> Result<Vec<Segment>, Error> {
        unimplemented!()
    }
    async fn fetch_segment(&self, _: &Caller, _: &Name, _: Lsn) -> Result<SegmentFile, Error> {
        unimplemented!()
    }
}

#[async_trait]
impl LogService for Source {
    async fn create(&self, _: &Caller, _: Create) -> Result<LogId, Error> {
        unimplemented!()
    }
    async fn append(&self, _: &Caller, _: Append) -> Result<Appended, Error> {
        unimplemented!()
    }
    async fn read(&self, _: &Caller, _: Read) -> Result<RecordBatches, Error> {
        unimplemented!()
    }
    async fn wait(
        &self,
        _: &Caller,
        _: &Name,
        _: Lsn,
        _: &longshore_protocol::Durability,
        _: Duration,
    ) -> Result<Lsn, Error> {
        unimplemented!()
    }
    async fn positions(&self, _: &Caller, _: &Name) -> Result<Positions, Error> {
        unimplemented!()
    }
    async fn mark(&self, _: &Caller, _: &Name, _: &Name) -> Result<Lsn, Error> {
        unimplemented!()
    }
}

#[async_trait]
impl AdminService for Source {
    async fn status(&self, _: &Caller, _: Option<&Name>) -> Result<Status, Error> {
        unimplemented!()
    }
    async fn forget(&self, _: &Caller, _: Forget) -> Result<Forgotten, Error> {
        unimplemented!()
    }
    async fn limits(&self, _: &Caller, _: &Name, _: LimitsChange) -> Result<Limits, Error> {
        unimplemented!()
    }
}

type Configs = (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>);

/// TLS 1.3 with the same provider and certificates.
fn raw_configs(directory: &std::path::Path) -> Outcome<Configs> {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificate = |name: &str| CertificateDer::from_pem_slice(&fs::read(directory.join(name))?).map_err(Box::from);
    let key = PrivateKeyDer::from_pem_slice(&fs::read(directory.join("primary.key"))?)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem").map_err(|error: Box<dyn std::error::Error + Send + Sync>| error)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![certificate("primary.pem").map_err(|error: Box<dyn std::error::Error + Send + Sync>| error)?];
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(server), Arc::new(client)))
}

async fn raw(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
    total: u64,
    message: usize,
) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let sending = tokio::spawn(async move {
        let (socket, _) = listener.accept().await?;
        let mut stream = tokio_rustls::TlsAcceptor::from(server).accept(socket).await?;
        let bytes = noise(message);
        for _ in 0..total / message as u64 {
            stream.write_all(&bytes).await?;
        }
        stream.shutdown().await
    });
    let socket = TcpStream::connect(address).await?;
    let mut stream = tokio_rustls::TlsConnector::from(client).connect("localhost".try_into()?, socket).await?;
    let (mut buffer, mut received) = (vec![0; 256 << 10], 0);
    while received < total {
        received += stream.read(&mut buffer).await? as u64;
    }
    sending.await??;
    Ok(())
}

async fn measure(what: &str, total: u64, work: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    let (cpu, start) = (cpu_seconds()?, Instant::now());
    work.await?;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let (megabytes, gib) = (total as f64 / 1e6, total as f64 / (1u64 << 30) as f64);
    println!("{what:<28} {:>8.0} {:>12.2}", megabytes / elapsed, cpu / gib);
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

/// Bytes that do not compress and are not all the same.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
