//! Where an agent is and who it must be: `[NAME@]HOST:PORT`.

use std::{fmt, str::FromStr};

use longshore_format::ErrorKind;
use longshore_protocol::Name;

use crate::{Error, Result};

/// An agent's address, perhaps with the identity that it must have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pinned: Option<Name>,
    host: String,
    port: u16,
}

impl Address {
    /// The identity that the agent must prove, whatever its host is called.
    pub fn pinned(&self) -> Option<&Name> {
        self.pinned.as_ref()
    }

    /// The host's name or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// HOST:PORT.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address> {
        let wrong = |why: String| {
            let message = format!("{text:?} is not an address: {why}");
            Error::new(ErrorKind::Invalid, message, "write HOST:PORT or NAME@HOST:PORT")
        };
        let (pinned, rest) = match text.split_once('@') {
            Some((name, rest)) => (Some(Name::new(name).map_err(|error| wrong(error.to_string()))?), rest),
            None => (None, text),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("it has no port".to_owned()))?;
        let port = port.parse().map_err(|_| wrong(format!("{port:?} is not a port")))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host = match bracketed {
            Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => host,
            None if !host.is_empty() && host.chars().all(plain) => host,
            _ => return Err(wrong(format!("{host:?} is not a host"))),
        };
        Ok(Address { pinned, host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.pinned {
            write!(out, "{name}@")?;
        }
        out.write_str(&self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_were_written() {
        for text in
            ["localhost:7420", "primary@10.0.0.1:7420", "[::1]:80", "eu-west@[fe80::1]:7420", "db_1.example.com:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        // F-125
        for text in [
            "",
            "host",
            ":1",
            "host:",
            "host:99999",
            "a@b@c:1",
            "Name@h:1",
            "@h:1",
            "::1:80",
            "[h]:1",
            "a/b:1",
            "h\0:1",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text:?}");
        }
    }
}
