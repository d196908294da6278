//! A development certificate authority, and certificates from it.

use std::{net::IpAddr, path::Path};

use longshore_protocol::Name;

use crate::{Result, grants::Role};

/// An identity to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: Name,
    /// Its roles for every log.
    pub roles: Vec<Role>,
    /// Where it can be reached, beside `localhost`, 127.0.0.1 and ::1.
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
    /// The names that had one already, which stays.
    pub kept: Vec<Name>,
}

/// Makes, in `directory`, a CA if there is none, a certificate for each identity that has none, and adds
/// to `grants.toml` those that are not in it.
pub fn init(directory: &Path, identities: &[Identity]) -> Result<Issued> {
    let _ = (directory, identities);
    todo!("issue certificates")
}
