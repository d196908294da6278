//! A development certificate authority, and certificates from it.
//!
//! ```
//! use longshore_transport::{certs::{self, Identity}, grants::Role};
//!
//! let directory = tempfile::tempdir()?;
//! let primary = Identity { name: "primary".parse()?, roles: vec![Role::Append, Role::Read], hosts: vec![] };
//! let issued = certs::init(directory.path(), &[primary])?;
//! assert!(issued.new_ca);
//! // ca.pem, ca.key, primary.pem, primary.key, grants.toml
//! assert_eq!(std::fs::read_dir(directory.path())?.count(), 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod store;

use std::{
    net::IpAddr,
    path::Path,
    str::FromStr,
    time::{Duration, SystemTime},
};

use longshore_format::ErrorKind;
use longshore_protocol::Name;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::{
    Error, Result,
    grants::{Grants, Role},
    tls::SPIFFE,
};
use store::Store;

/// An identity to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: Name,
    /// Its roles for every log.
    pub roles: Vec<Role>,
    /// Where it can be reached, beside its name, `localhost`, 127.0.0.1 and ::1.
    pub hosts: Vec<Host>,
}

/// A name or address that a certificate is valid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
}

/// What [`init`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issued {
    /// Whether the CA is new.
    pub new_ca: bool,
    /// The names that got a certificate now.
    pub issued: Vec<Name>,
    /// The names that had one already. It stays as it is, also when other hosts were asked for.
    pub kept: Vec<Name>,
}

/// How long a certificate is valid. A year: long enough for development, short enough to be met.
const VALID: Duration = Duration::from_secs(366 * 86_400);
/// How long the CA is valid.
const CA_VALID: Duration = Duration::from_secs(3660 * 86_400);
/// Certificates begin this long ago, for machines whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Makes, in `directory`, a CA if there is none, a certificate for each identity that has none, and adds
/// to `grants.toml` those that are not in it. Run again it only adds; it never replaces the CA.
///
/// The directory is created with mode 0700, files with 0600, whatever the umask (F-057).
pub fn init(directory: &Path, identities: &[Identity]) -> Result<Issued> {
    let store = Store::open(directory)?;
    let (issuer, new_ca) = authority(&store)?;
    let mut issued = Issued { new_ca, ..Issued::default() };
    for identity in identities {
        let certificate = format!("{}.pem", identity.name);
        if store.has(&certificate)? {
            issued.kept.push(identity.name.clone());
            continue;
        }
        let key = KeyPair::generate().map_err(failed)?;
        let signed = parameters(identity)?.signed_by(&key, &issuer).map_err(failed)?;
        // The certificate comes last: without it the next run issues both again.
        store.write(&format!("{}.key", identity.name), &key.serialize_pem())?;
        store.write(&certificate, &signed.pem())?;
        issued.issued.push(identity.name.clone());
    }
    grant(&store, identities)?;
    Ok(issued)
}

/// The CA in the directory, or a new one.
fn authority(store: &Store) -> Result<(Issuer<'static, KeyPair>, bool)> {
    match (store.read("ca.pem")?, store.read("ca.key")?) {
        (Some(certificate), Some(key)) => {
            let key = KeyPair::from_pem(&key).map_err(failed)?;
            Ok((Issuer::from_ca_cert_pem(&certificate, key).map_err(failed)?, false))
        }
        (None, None) => {
            let key = KeyPair::generate().map_err(failed)?;
            let params = authority_parameters(&key);
            let certificate = params.self_signed(&key).map_err(failed)?;
            store.write("ca.key", &key.serialize_pem())?;
            store.write("ca.pem", &certificate.pem())?;
            Ok((Issuer::new(params, key), true))
        }
        (certificate, _) => {
            let (present, missing) = if certificate.is_some() { ("ca.pem", "ca.key") } else { ("ca.key", "ca.pem") };
            let message = format!("{} has {present} but no {missing}", store.path().display());
            Err(Error::new(
                ErrorKind::Preflight,
                message,
                format!("bring {missing} back, or move {present} away to begin with a new CA"),
            ))
        }
    }
}

fn authority_parameters(key: &KeyPair) -> CertificateParams {
    // Two CAs of one name would look like one with a forged signature.
    let id: String = key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(DnType::CommonName, format!("longshore development CA {id}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + CA_VALID).into();
    params
}

fn parameters(identity: &Identity) -> Result<CertificateParams> {
    let name = identity.name.as_str();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A replica that others follow is a client and a server.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let uri = format!("{SPIFFE}{name}");
    params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(failed)?));
    let own = Host::from_str(name).ok();
    let local = [Host::Dns("localhost".to_owned()), Host::Ip([127, 0, 0, 1].into()), Host::Ip(IpAddr::V6(1.into()))];
    for host in own.iter().chain(&local).chain(&identity.hosts) {
        let name = match host {
            Host::Dns(name) => SanType::DnsName(name.clone().try_into().map_err(failed)?),
            Host::Ip(address) => SanType::IpAddress(*address),
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}

/// Adds to the grants the identities that are not in them, and leaves every line that is there alone.
fn grant(store: &Store, identities: &[Identity]) -> Result<()> {
    let before = store.read("grants.toml")?;
    let mut text = before.clone().unwrap_or_else(|| GRANTS_HEAD.to_owned());
    let known = Grants::parse(&text).map_err(|error| {
        let message = format!("{}: {}", store.path().join("grants.toml").display(), error.message());
        Error::new(ErrorKind::Preflight, message, error.next_step())
    })?;
    for identity in identities.iter().filter(|identity| known.of(&identity.name).is_none()) {
        text.push_str(&lines(identity));
    }
    match before {
        Some(before) if before == text => Ok(()),
        _ => store.write("grants.toml", &text),
    }
}

const GRANTS_HEAD: &str = "\
# Who may do what. Changes are seen within seconds; a stream whose identity loses its role ends.
# Roles: append, read, replicate, promote, admin. \"*\" stands for every log.
";

/// An identity's part of the grants. A replica is in a region of its own name until somebody knows better.
fn lines(identity: &Identity) -> String {
    let roles: Vec<_> = identity.roles.iter().map(|role| format!("\"{role}\"")).collect();
    let region = match identity.roles.contains(&Role::Replicate) {
        true => format!("region = \"{}\"\n", identity.name),
        false => String::new(),
    };
    format!("\n[{}]\n{region}logs.\"*\" = [{}]\n", identity.name, roles.join(", "))
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Host> {
        if let Ok(address) = text.parse() {
            return Ok(Host::Ip(address));
        }
        let label = |label: &str| {
            let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            return Ok(Host::Dns(text.to_ascii_lowercase()));
        }
        let message = format!("{text:?} is neither a DNS name nor an IP address");
        Err(Error::new(ErrorKind::Invalid, message, "write for example db1.example.com or 10.0.0.1"))
    }
}

fn failed(error: rcgen::Error) -> Error {
    let message = format!("cannot make a certificate: {error}");
    Error::new(ErrorKind::Preflight, message, "check the CA's files").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!("10.0.0.1".parse::<Host>().unwrap(), Host::Ip([10, 0, 0, 1].into()));
        assert_eq!("::1".parse::<Host>().unwrap(), Host::Ip(IpAddr::V6(1.into())));
        assert_eq!("DB1.example.com".parse::<Host>().unwrap(), Host::Dns("db1.example.com".to_owned()));
        for bad in ["", ".", "a..b", "-a", "a_b", "a b", "*.example.com", &"a".repeat(64)] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
    }
}
