//! What goes wrong between agents, with the same kind and message at both ends.

use std::{error::Error as StdError, fmt, sync::Arc};

use longshore_format::ErrorKind;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a call, here or at the other end.
///
/// It crosses the wire whole: kind, message, facts and next step are at the client what they were at the
/// server. Only the cause stays behind.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    next_step: String,
    facts: Vec<Fact>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// One fact of an error, under a stable name, for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The name, such as `position`.
    pub name: String,
    /// The value as text; positions in decimal.
    pub value: String,
}

impl Error {
    /// An error of a kind, with what happened and what to try next, each without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>, next_step: impl Into<String>) -> Error {
        Error { kind, message: message.into(), next_step: next_step.into(), facts: Vec::new(), source: None }
    }

    /// Nobody may be served plaintext from another machine.
    pub fn plaintext_beyond_loopback(address: std::net::SocketAddr) -> Error {
        let message = format!("refusing to serve plaintext on {address}, which is not loopback");
        Error::new(ErrorKind::Invalid, message, "listen on 127.0.0.1, or use TLS")
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> Error {
        self.facts.push(Fact { name: name.to_owned(), value: value.to_string() });
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into().into());
        self
    }

    /// What the error asks for.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, without the next step.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to try next; may be empty when the other end did not say.
    pub fn next_step(&self) -> &str {
        &self.next_step
    }

    /// The facts, in the order they were added.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The value of the first fact of that name.
    pub fn value_of(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
    }

    /// A message from the wire that breaks the contract (F-098).
    pub(crate) fn malformed(what: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Invalid, format!("malformed message: {what}"), "check the sender's version")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        if !self.next_step.is_empty() {
            write!(out, "; {}", self.next_step)?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
