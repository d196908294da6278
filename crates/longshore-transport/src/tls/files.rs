//! The files that a node's certificate, key and trust are in.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use longshore_format::ErrorKind;
use longshore_protocol::Name;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject};

use super::{Claims, claims};
use crate::{Error, Result};

/// Where a node's certificate, key and trust are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate authorities that peers are believed from.
    pub ca: PathBuf,
    /// This node's certificate, with intermediates after it.
    pub certificate: PathBuf,
    /// Its private key. Refused unless only its owner can read it (F-057).
    pub key: PathBuf,
    /// Certificates that are revoked although they have not expired. The file may be missing.
    pub revoked: PathBuf,
}

impl TlsFiles {
    /// `ca.pem`, `NAME.pem`, `NAME.key` and, if it is there, `crl.pem` in a directory.
    pub fn in_directory(directory: &Path, name: &Name) -> TlsFiles {
        TlsFiles::new(
            directory.join("ca.pem"),
            directory.join(format!("{name}.pem")),
            directory.join(format!("{name}.key")),
        )
    }

    /// Three paths; revocations are looked for in `crl.pem` beside the first.
    pub fn new(ca: PathBuf, certificate: PathBuf, key: PathBuf) -> TlsFiles {
        let revoked = ca.with_file_name("crl.pem");
        TlsFiles { ca, certificate, key, revoked }
    }

    /// Reads the files and checks each for itself.
    pub(super) fn read(&self) -> Result<Material> {
        check_private(&self.key)?;
        let chain = certificates(&self.certificate)?;
        let claims = claims(&chain[0]).ok_or_else(|| unusable(&self.certificate, "not an X.509 certificate"))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unusable(&self.key, error))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.ca)? {
            roots.add(root).map_err(|error| unusable(&self.ca, error))?;
        }
        Ok(Material { roots, chain, claims, key, revoked: self.read_revoked()? })
    }

    fn read_revoked(&self) -> Result<Vec<CertificateRevocationListDer<'static>>> {
        match fs::read(&self.revoked) {
            Ok(pem) => CertificateRevocationListDer::pem_slice_iter(&pem)
                .collect::<Result<_, _>>()
                .map_err(|error| unusable(&self.revoked, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unusable(&self.revoked, error)),
        }
    }

    /// All of them, to be watched.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [&self.ca, &self.certificate, &self.key, &self.revoked].map(PathBuf::clone).to_vec()
    }
}

/// What the files hold.
pub(super) struct Material {
    pub(super) roots: RootCertStore,
    /// Never empty.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) claims: Claims,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "no certificate in it"));
    }
    Ok(found)
}

/// Refuses a key that others than its owner can read or replace.
fn check_private(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).map_err(|error| unusable(path, error))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!("private key {} is open to others, its mode is {:03o}", path.display(), mode & 0o777);
    Err(Error::new(ErrorKind::Preflight, message, format!("chmod 600 {}", path.display())))
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Error {
    let message = format!("cannot use {}: {why}", path.display());
    Error::new(ErrorKind::Preflight, message, "'longshore certs' makes a working set for development")
}
