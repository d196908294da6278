//! The raw limit of catch-up: a file through mutual TLS 1.3 between two processes on loopback, into
//! a file that is synced at the end. No longshore crate is used here. Both ends use reads and writes
//! of 512 KiB and one task; certificates are PEM files made beforehand.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CHUNK: usize = 512 * 1024;

type Identity = (Arc<RootCertStore>, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// `dir` holds ca.pem, and `name`.pem and `name`.key.
fn identity(dir: &Path, name: &str) -> Identity {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).expect("PEM")).expect("an authority");
    let chain = fs::read(dir.join(format!("{name}.pem"))).expect("certificate");
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).expect("key");
    (Arc::new(roots), chain, key)
}

/// Sends the file `from` to the first who connects.
pub(crate) async fn send(listener: TcpListener, tls: &Path, name: &str, from: &Path) -> io::Result<()> {
    let (roots, chain, key) = identity(tls, name);
    let verifier = WebPkiClientVerifier::builder(roots).build().expect("a verifier");
    let config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key);
    let mut stream = TlsAcceptor::from(Arc::new(config.expect("a pair"))).accept(listener.accept().await?.0).await?;
    let (mut file, mut chunk) = (File::open(from)?, vec![0; CHUNK]);
    while let read @ 1.. = file.read(&mut chunk)? {
        stream.write_all(&chunk[..read]).await?;
    }
    stream.shutdown().await
}

/// Receives what `send` sends into the file `into`, durable on return.
pub(crate) async fn receive(to: TcpStream, tls: &Path, name: &str, into: &Path) -> io::Result<u64> {
    let (roots, chain, key) = identity(tls, name);
    let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key);
    let server = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config.expect("a pair"))).connect(server, to).await?;
    let (mut file, mut chunk, mut total) = (File::create(into)?, vec![0; CHUNK], 0);
    while let read @ 1.. = stream.read(&mut chunk).await? {
        file.write_all(&chunk[..read])?;
        total += read as u64;
    }
    file.sync_data().map(|()| total)
}
