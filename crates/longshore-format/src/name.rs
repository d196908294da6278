//! Names of logs, nodes, slots, marks and regions.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::FormatError;

/// A name: `[a-z0-9][a-z0-9_-]{0,62}`, so that it is safe as a directory, in a path of an object
/// store and in a certificate, on every system and in every letter case (F-125). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The name `text`, if it is one.
    pub fn new(text: &str) -> Result<Name, FormatError> {
        if Name::is_valid(text) { Ok(Name(text.into())) } else { Err(FormatError::Name(crate::error::excerpt(text))) }
    }

    /// Whether `text` is a name.
    pub fn is_valid(text: &str) -> bool {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        text.len() <= Name::MAX_LEN
            && text.bytes().all(inner)
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Name {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Name, FormatError> {
        Name::new(text)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn only_plain_lower_case_names_are_names() {
        let longest = "a".repeat(63);
        for good in ["a", "0", "orders", "eu-west", "a_b-c", "7-", longest.as_str()] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
        let too_long = "a".repeat(64);
        // F-125
        for bad in [
            "",
            "-a",
            "_a",
            ".",
            "..",
            "../x",
            "/etc",
            "a/b",
            "a\0",
            "%2e%2e",
            "LOCK",
            "Orders",
            "café",
            "a b",
            too_long.as_str(),
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }
}
