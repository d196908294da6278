//! Certificates: read, checked, watched, and turned into connections.
//!
//! TLS 1.3 only, both ends authenticated, with aws-lc-rs as the one provider, which is handed to every
//! configuration explicitly so that no other in the process can slip in. The hybrid X25519MLKEM768 key
//! exchange is preferred. Sessions are never resumed: a resumed one would not look at the certificate
//! again, and connections here live long enough for it not to matter.

mod client;
mod files;
mod identity;
mod server;

pub use client::ClientTls;
pub use files::TlsFiles;
pub use server::ServerTls;

pub(crate) use client::refusal;
pub(crate) use identity::{Claims, SPIFFE, claims, describe};

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The one provider of this process.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// The one application protocol, and the one version.
const ALPN: &[u8] = b"h2";
static VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How many encrypted bytes wait for the socket at most: one DATA frame, so that it goes out in one write.
pub(crate) const WRITE_BUFFER: usize = 256 << 10;
