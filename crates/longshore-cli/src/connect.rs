//! From flags to a connection: who we are, whom we believe, whom we call.

use longshore_format::{ErrorKind, Name};
use longshore_transport::tls::{ClientTls, TlsFiles};
use longshore_transport::{Address, Client, ClientSettings, Connector};

use crate::cli::Tls;
use crate::failure::Failure;

/// Connects to an agent.
pub(crate) async fn connect(tls: &Tls, server: &str) -> Result<Client, Failure> {
    let address: Address = server.parse()?;
    Ok(connector(tls)?.connect(&address).await?)
}

/// Days until the certificate that the flags name expires; `None` in plaintext.
pub(crate) fn own_certificate_days(tls: &Tls) -> Result<Option<i64>, Failure> {
    match tls.insecure_plaintext {
        true => Ok(None),
        false => Ok(Some(ClientTls::load(files(tls)?)?.certificate_days_left())),
    }
}

fn connector(tls: &Tls) -> Result<Connector, Failure> {
    let settings = ClientSettings::default();
    if tls.insecure_plaintext {
        let identity = tls.identity.as_deref().unwrap_or("local");
        return Ok(Connector::plaintext_on_loopback(name("identity", identity)?, settings));
    }
    Ok(Connector::new(ClientTls::load(files(tls)?)?, settings))
}

/// The certificate files the flags name.
fn files(tls: &Tls) -> Result<TlsFiles, Failure> {
    let in_directory = match (&tls.tls_dir, &tls.identity) {
        (Some(dir), Some(identity)) => Some(TlsFiles::in_directory(dir, &name("identity", identity)?)),
        _ => None,
    };
    match (in_directory, &tls.tls_ca, &tls.tls_cert, &tls.tls_key) {
        (_, Some(ca), Some(cert), Some(key)) => Ok(TlsFiles::new(ca.clone(), cert.clone(), key.clone())),
        (Some(files), ca, cert, key) => {
            let pick = |told: &Option<_>, found| told.clone().unwrap_or(found);
            Ok(TlsFiles::new(pick(ca, files.ca), pick(cert, files.certificate), pick(key, files.key)))
        }
        _ => Err(Failure::new(ErrorKind::Invalid, "no certificate to prove who this is").next(
            "give --tls-dir DIR --identity NAME, or --tls-ca, --tls-cert and --tls-key; \
             `longshore certs DIR --name NAME=ROLE` makes them for development",
        )),
    }
}

/// A name as the log and certificates have them.
pub(crate) fn name(flag: &str, text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|_| {
        Failure::invalid(format!("--{flag} {text:?} is not a name"))
            .next("names have a-z, 0-9, - and _, at most 63 of them, and begin with a letter or a digit")
    })
}
