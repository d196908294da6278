//! The client's side of TLS: its certificate, and which servers it believes.

use std::sync::Arc;

use longshore_format::ErrorKind;
use longshore_protocol::Name;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{ALPN, Claims, TlsFiles, VERSIONS, claims, describe, provider};
use crate::{Error, Result, watched::Watched};

/// A client's certificate and trust. Clones share them. Changed files are seen by the next connection.
#[derive(Clone)]
pub struct ClientTls(Arc<Watched<Current>>);

/// What the next connection goes by.
struct Current {
    /// Believes a server that has the host's name.
    by_host: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    own: Claims,
}

impl ClientTls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<ClientTls> {
        let current = Watched::open(files.paths(), move || Current::read(&files))?;
        Ok(ClientTls(Arc::new(current)))
    }

    /// The identity in this client's own certificate.
    pub fn identity(&self) -> Option<Name> {
        self.0.current().own.identity.clone()
    }

    /// Whole days until this client's certificate expires, negative when it has.
    pub fn certificate_days_left(&self) -> i64 {
        self.0.current().own.days_left(std::time::SystemTime::now())
    }

    /// A configuration for one connection, from files as they are now. With `pinned`, the server must
    /// have that identity, whatever its host is called; without, its certificate must name the host.
    pub(crate) fn config(&self, pinned: Option<&Name>) -> Arc<ClientConfig> {
        if let Err(error) = self.0.reload_if_changed() {
            tracing::warn!("keeping the certificate in use: {error}");
        }
        let current = self.0.current();
        let Some(pinned) = pinned else {
            return Arc::clone(&current.by_host);
        };
        let mut config = ClientConfig::clone(&current.by_host);
        let verifier = Pinned { verifier: Arc::clone(&current.verifier), identity: pinned.clone() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

impl Current {
    fn read(files: &TlsFiles) -> Result<Current> {
        let material = files.read()?;
        let refuse = |error: &dyn std::fmt::Display| {
            let message = format!("{} and its key or CA are of no use: {error}", files.certificate.display());
            Error::new(ErrorKind::Preflight, message, "replace certificate and key together")
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(material.roots.into(), provider())
            .with_crls(material.revoked)
            .allow_unknown_revocation_status()
            .build()
            .map_err(|error| refuse(&error))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| refuse(&error))?
            .with_webpki_verifier(Arc::clone(&verifier))
            .with_client_auth_cert(material.chain, material.key)
            .map_err(|error| refuse(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Current { by_host: Arc::new(config), verifier, own: material.claims })
    }
}

/// Believes a server that has one identity, wherever it is.
#[derive(Debug)]
struct Pinned {
    verifier: Arc<WebPkiServerVerifier>,
    identity: Name,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The host's name is checked last, after chain, time and revocation; it is the one thing that
        // the pin takes the place of. A test holds rustls to that order.
        match self.verifier.verify_server_cert(end_entity, intermediates, host, ocsp, now) {
            Ok(_) => {}
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        if claims(end_entity).and_then(|claims| claims.identity).as_ref() == Some(&self.identity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(format!("wanted {}, found {}", self.identity, describe(end_entity))))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// What an I/O error on a connection that is being made means.
pub(crate) fn refusal(address: &str, error: std::io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (kind, message, step) = match tls {
        Some(rustls::Error::AlertReceived(alert)) => {
            let why = match alert {
                AlertDescription::CertificateExpired => "expired",
                AlertDescription::CertificateRevoked => "revoked",
                AlertDescription::UnknownCA => "not from a CA it knows",
                AlertDescription::CertificateRequired => "missing",
                _ => "not one it accepts",
            };
            let message = format!("{address} refused our certificate: it is {why} ({alert:?})");
            (ErrorKind::Denied, message, "get a certificate from its CA; its audit log has the details")
        }
        Some(error @ rustls::Error::InvalidCertificate(_)) | Some(error @ rustls::Error::General(_)) => {
            let message = format!("the certificate of {address} is not to be believed: {error}");
            (ErrorKind::Denied, message, "check the address, the pinned name and ca.pem")
        }
        Some(error) => {
            let message = format!("no TLS with {address}: {error}");
            (ErrorKind::Unavailable, message, "check that an agent with TLS listens there")
        }
        None => {
            let message = format!("cannot connect to {address}: {error}");
            (ErrorKind::Unavailable, message, "check the address and that the agent runs; try again later")
        }
    };
    Error::new(kind, message, step).fact("address", address).because(error)
}
