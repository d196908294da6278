//! Certificates, good and bad.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use longshore_transport::{
    certs::{self, Identity},
    grants::Role,
};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tempfile::TempDir;

use super::name;

/// A directory as `certs::init` makes it, and what it does not make.
pub struct Pki(TempDir);

/// When a certificate is valid, relative to now, in seconds.
pub struct Validity(pub i64, pub i64);

impl Pki {
    /// `primary`, `replica` and `other` may replicate, `app` appends and reads, `nobody` has no role.
    pub fn new() -> Pki {
        let pki = Pki(tempfile::tempdir().unwrap());
        pki.init(&[
            ("primary", &[Role::Admin]),
            ("replica", &[Role::Replicate]),
            ("other", &[Role::Replicate]),
            ("app", &[Role::Append, Role::Read]),
            ("nobody", &[]),
        ]);
        pki
    }

    pub fn init(&self, identities: &[(&str, &[Role])]) -> certs::Issued {
        let identity =
            |(who, roles): &(&str, &[Role])| Identity { name: name(who), roles: roles.to_vec(), hosts: Vec::new() };
        certs::init(self.path(), &identities.iter().map(identity).collect::<Vec<_>>()).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let key = KeyPair::from_pem(&fs::read_to_string(self.path().join("ca.key")).unwrap()).unwrap();
        Issuer::from_ca_cert_pem(&fs::read_to_string(self.path().join("ca.pem")).unwrap(), key).unwrap()
    }

    /// Replaces an identity's certificate and key by ones from the same CA.
    pub fn reissue(&self, who: &str, validity: Validity) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(who, validity).signed_by(&key, &self.issuer()).unwrap();
        self.install(who, &certificate.pem(), &key.serialize_pem());
    }

    /// Replaces an identity's certificate and key by ones that nobody else signed.
    pub fn self_sign(&self, who: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(who, Validity(-60, 3600)).self_signed(&key).unwrap();
        self.install(who, &certificate.pem(), &key.serialize_pem());
    }

    /// Replaces a file in one step, as operators should.
    pub fn replace(&self, file: &str, text: &str) {
        let temporary = self.path().join(format!("{file}.new"));
        fs::write(&temporary, text).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(temporary, self.path().join(file)).unwrap();
    }

    fn install(&self, who: &str, certificate: &str, key: &str) {
        self.replace(&format!("{who}.key"), key);
        self.replace(&format!("{who}.pem"), certificate);
    }

    /// Writes a list on which these identities' certificates are revoked.
    pub fn revoke(&self, who: &[&str]) {
        let revoked = |who: &&str| RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(&self.serial(who)),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: SystemTime::now().into(),
            next_update: (SystemTime::now() + Duration::from_secs(3600)).into(),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: who.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.replace("crl.pem", &params.signed_by(&self.issuer()).unwrap().pem().unwrap());
    }

    fn serial(&self, who: &str) -> Vec<u8> {
        let pem = fs::read(self.path().join(format!("{who}.pem"))).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        certificate.raw_serial().to_vec()
    }

    /// Rewrites the grants by replacing a piece of text.
    pub fn edit_grants(&self, from: &str, to: &str) {
        let before = fs::read_to_string(self.path().join("grants.toml")).unwrap();
        assert!(before.contains(from), "{before}");
        self.replace("grants.toml", &before.replace(from, to));
    }
}

fn params(who: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(format!("spiffe://longshore/{who}").try_into().unwrap()));
    let at = |seconds: i64| match u64::try_from(seconds) {
        Ok(ahead) => SystemTime::now() + Duration::from_secs(ahead),
        Err(_) => SystemTime::now() - Duration::from_secs(seconds.unsigned_abs()),
    };
    params.not_before = at(validity.0).into();
    params.not_after = at(validity.1).into();
    params
}

/// The configuration of a client that was not written by us.
pub fn foreign(
    pki: &Pki,
    identity: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let file = |name: String| fs::read(pki.path().join(name)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&file("ca.pem".to_owned())).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&file(format!("{identity}.pem"))).unwrap()],
            PrivateKeyDer::from_pem_slice(&file(format!("{identity}.key"))).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
