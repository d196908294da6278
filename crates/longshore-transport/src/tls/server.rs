//! The server's side of TLS, with certificates that change while connections stay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use longshore_format::ErrorKind;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{ALPN, Claims, TlsFiles, VERSIONS, claims, describe, provider};
use crate::{Error, Result, watched::Watched};

/// A server's certificate and trust. Clones share them.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    current: Watched<Current>,
}

/// What a handshake goes by.
pub(crate) struct Current {
    /// No two sets of files in a process have the same; never 0.
    pub(crate) generation: u64,
    pub(crate) config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    own: Claims,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl ServerTls {
    /// Reads the files. What cannot be used is refused here; later changes that cannot are reported.
    pub fn load(files: TlsFiles) -> Result<ServerTls> {
        let read = {
            let files = files.clone();
            move || Current::read(&files)
        };
        let current = Watched::open(files.paths(), read)?;
        Ok(ServerTls(Arc::new(Shared { files, current })))
    }

    /// Reads the files again. New handshakes see them; when they do not fit together, the old ones stay.
    pub fn reload(&self) -> Result<()> {
        self.0.current.reload()
    }

    /// Reads the files again if they have changed. True when there is something new.
    pub fn reload_if_changed(&self) -> Result<bool> {
        self.0.current.reload_if_changed()
    }

    /// Whole days until this node's certificate expires, negative when it has.
    pub fn certificate_days_left(&self) -> i64 {
        self.current().own.days_left(SystemTime::now())
    }

    /// The identity in this node's own certificate.
    pub fn identity(&self) -> Result<longshore_protocol::Name> {
        self.current().own.identity.clone().ok_or_else(|| {
            let message = format!("{} names no identity", self.0.files.certificate.display());
            Error::new(ErrorKind::Preflight, message, "it needs a SAN URI spiffe://longshore/NAME")
        })
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.0.current.current()
    }
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Current> {
        let material = files.read()?;
        let refuse = |error: &dyn std::fmt::Display| {
            let message = format!("{} and its key or CA are of no use: {error}", files.certificate.display());
            Error::new(ErrorKind::Preflight, message, "replace certificate and key together")
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(material.roots.into(), provider())
            .with_crls(material.revoked)
            // A CA without a list of its own has revoked nothing: two CAs may be trusted while one
            // replaces the other.
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| refuse(&error))?;
        let verifier: Arc<dyn ClientCertVerifier> = Arc::new(NamedClients(verifier));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| refuse(&error))?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(material.chain, material.key)
            .map_err(|error| refuse(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let generation = GENERATIONS.fetch_add(1, Relaxed);
        Ok(Current { generation, config: Arc::new(config), verifier, own: material.claims })
    }

    /// Whether a client's chain, accepted earlier, would still be: not expired, not revoked, still trusted.
    pub(crate) fn still_trusts(&self, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        let (end_entity, intermediates) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(end_entity, intermediates, UnixTime::now()).map(drop)
    }
}

/// Accepts a certificate only if it also names an identity, and logs what it refuses.
#[derive(Debug)]
struct NamedClients(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for NamedClients {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now).inspect_err(|error| {
            tracing::warn!(target: "longshore::audit", "refused {}: {error}", describe(end_entity));
        })?;
        if claims(end_entity).is_none_or(|claims| claims.identity.is_none()) {
            tracing::warn!(target: "longshore::audit", "refused {}: it names no identity", describe(end_entity));
            return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
