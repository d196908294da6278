//! Identities: random numbers that two nodes never draw twice.

use std::fmt;
use std::str::FromStr;

use crate::FormatError;

/// A fixed number of opaque bytes, printed and parsed as lower-case hexadecimal.
macro_rules! opaque_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The value with these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> $name {
                $name(bytes)
            }

            /// The bytes of the value.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = FormatError;

            fn from_str(text: &str) -> Result<$name, FormatError> {
                let mut bytes = [0; $len];
                parse_hex(text, &mut bytes)?;
                Ok($name(bytes))
            }
        }
    };
}

opaque_bytes! {
    /// Which log: 128 random bits drawn when it was created, in every header and every checksum.
    LogId, 16
}

opaque_bytes! {
    /// Who began an epoch: 128 random bits drawn for that epoch, because two promotions can mint
    /// the same number (F-112).
    WriterId, 16
}

opaque_bytes! {
    /// A BLAKE3 digest of a segment. All zeros stands for "there is none".
    Digest, 32
}

impl WriterId {
    /// Who begins an epoch that nobody is to begin: one that a node accepts only to stop.
    pub const NOBODY: WriterId = WriterId([0; 16]);
}

impl Digest {
    /// What the first segment of a log names as its predecessor's digest.
    pub const NONE: Digest = Digest([0; 32]);
}

/// One stretch of writing within an epoch: 64 random bits drawn at each open for writing that no
/// clean close preceded, so that a disk that lost acknowledged bytes cannot lead to two histories
/// under one epoch unnoticed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation with this number.
    pub const fn new(number: u64) -> Incarnation {
        Incarnation(number)
    }

    /// The incarnation's number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl FromStr for Incarnation {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Incarnation, FormatError> {
        let mut bytes = [0; 8];
        parse_hex(text, &mut bytes)?;
        Ok(Incarnation(u64::from_be_bytes(bytes)))
    }
}

fn parse_hex(text: &str, bytes: &mut [u8]) -> Result<(), FormatError> {
    let refuse = || FormatError::Hex { digits: bytes.len() * 2, text: crate::error::excerpt(text) };
    if text.len() != bytes.len() * 2 || !text.is_ascii() {
        return Err(refuse());
    }
    let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(refuse);
    let mut parsed = [0; 32];
    for (byte, pair) in parsed.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    bytes.copy_from_slice(&parsed[..bytes.len()]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Incarnation, LogId};

    #[test]
    fn ids_print_as_hex_and_parse_back() {
        let id = LogId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233343536373839616263646566");
        assert_eq!(id.to_string().parse(), Ok(id));
        let incarnation = Incarnation::new(0x1f);
        assert_eq!(incarnation.to_string(), "000000000000001f");
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for bad in ["", "30", "3031323334353637383961626364656g", "303132333435363738396162636465é"] {
            assert!(bad.parse::<LogId>().is_err(), "{bad:?}");
        }
    }
}
