//! The address of a place in an etcd.

use std::path::PathBuf;
use std::str::FromStr;

use longshore_format::ErrorKind;

use crate::tls::TlsFiles;
use crate::{Address, Error, Result};

/// `etcd://HOST:PORT[,HOST:PORT…][/PREFIX][?ca=FILE&cert=FILE&key=FILE]`: the members of a cluster, what its keys begin with,
/// and the files by which both ends know each other. Without these it is plaintext, to this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) members: Vec<Address>,
    pub(super) tls: Option<TlsFiles>,
    prefix: String,
}

impl Place {
    /// What an address of a place in an etcd begins with.
    pub const SCHEME: &str = "etcd://";

    /// Its members, as they are shown.
    pub fn members(&self) -> String {
        self.members.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
    }

    /// The key of that name below the prefix.
    pub fn key(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place> {
        let wrong = |why: &str| {
            let shown = text.split('?').next().unwrap_or_default();
            let message = format!("{shown:?} is not the address of an etcd: {why}");
            let next = "write etcd://HOST:PORT,HOST:PORT/PREFIX?ca=FILE&cert=FILE&key=FILE";
            Error::new(ErrorKind::Invalid, message, next)
        };
        let rest = text.strip_prefix(Place::SCHEME).ok_or_else(|| wrong("it does not begin with etcd://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let mut members = Vec::new();
        for host in hosts.split(',') {
            let member: Address = host.parse().map_err(|error: Error| wrong(error.message()))?;
            if member.pinned().is_some() {
                return Err(wrong("users and passwords do not belong into it; etcd takes the name in the certificate"));
            }
            members.push(member);
        }
        Ok(Place {
            members,
            tls: files(query).map_err(|why| wrong(&why))?,
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }
}

/// All three, or none.
fn files(query: &str) -> Result<Option<TlsFiles>, String> {
    let mut found: [Option<PathBuf>; 3] = [const { None }; 3];
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, path) = option.split_once('=').unwrap_or((option, ""));
        let at = ["ca", "cert", "key"].iter().position(|known| *known == name);
        let at = at.ok_or_else(|| format!("unknown option {name:?}: it takes ca, cert and key"))?;
        found[at] = Some(PathBuf::from(path));
    }
    match found {
        [None, None, None] => Ok(None),
        [Some(ca), Some(cert), Some(key)] => Ok(Some(TlsFiles::new(ca, cert, key))),
        _ => Err("of ca, cert and key all three are needed, because etcd is to know who asks".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_members_a_prefix_and_files() {
        let place: Place =
            "etcd://a:2379,[::1]:2380/longshore/leases/?ca=/c.pem&cert=/n.pem&key=/n.key".parse().unwrap();
        let members: Vec<_> = place.members.iter().map(Address::to_string).collect();
        assert_eq!(members, ["a:2379", "[::1]:2380"]);
        assert_eq!(place.key("orders.lease"), "longshore/leases/orders.lease");
        assert_eq!(place.tls.unwrap().key, PathBuf::from("/n.key"));
        for text in ["etcd://127.0.0.1:2379", "etcd://127.0.0.1:2379/", "etcd://127.0.0.1:2379/?"] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.key("x"), &place.tls), ("x".to_owned(), &None), "{text}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_is_refused_with_what_to_write() {
        for (text, why) in [
            ("http://a:1", "does not begin with etcd://"),
            ("etcd://", "no port"),
            ("etcd://a", "no port"),
            ("etcd://a:1,", "no port"),
            ("etcd://user@a:1", "passwords do not belong"),
            ("etcd://a:1/x?ca=/c", "all three are needed"),
            ("etcd://a:1/x?secret=s3cr3t", "unknown option \"secret\""),
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why) && error.to_string().contains("write etcd://"), "{text}: {error}");
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }
}
