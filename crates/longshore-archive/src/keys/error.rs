//! Why there is no key.

use std::io;
use std::path::PathBuf;

use longshore_format::ErrorKind;
use thiserror::Error;

/// Why a key could not be made, read, wrapped or unwrapped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The setting names no provider.
    #[error("keys {setting:?}: {reason}; try file:PATH, command:PROGRAM ARGS or kms:KEY?region=REGION")]
    Setting {
        /// The setting as it was given.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A provider that this program was built without.
    #[error(
        "keys {feature}:…: this program was built without the feature `{feature}`; build it with --features {feature}"
    )]
    Feature {
        /// What it was built without.
        feature: &'static str,
    },
    /// An id that a key file cannot hold.
    #[error("{id:?} is no key id: use 1 to 64 letters, digits, or any of . _ : / -")]
    Id {
        /// The id as it was given.
        id: String,
    },
    /// The key file cannot be read.
    #[error("the key file {} cannot be read; check its path and its owner", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file is open to others.
    #[error("the key file {0} can be read by others (mode {mode:04o}); run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key file has something else in it.
    #[error("the key file {} is wrong in line {line}: {reason}; a line is ID BASE64-OF-32-BYTES", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1. Its text is not told: it may be a key.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key file has nothing in it.
    #[error("the key file {} holds no key; add a line ID BASE64-OF-32-BYTES", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// The key that wrapped is not there any more, or never was.
    #[error("key {key:?} is not in {place}; put it back, every key that ever wrapped is needed")]
    UnknownKey {
        /// The id of the key.
        key: String,
        /// Where it was looked for.
        place: String,
    },
    /// Another sort of provider wrapped the key.
    #[error("key {key:?} is of a {wrapped:?} provider, and the keys given are of a {given:?} one; give those it names")]
    OtherProvider {
        /// The provider that the wrapped key names.
        wrapped: String,
        /// The provider asked.
        given: &'static str,
        /// The id of the key.
        key: String,
    },
    /// The key is there, and does not open the wrapping.
    #[error(
        "key {key:?} in {place} does not open this object's data key: the object is damaged, or of another \
         log or name, or that key has changed; take the object from another copy, or the key from a backup"
    )]
    Mismatch {
        /// The id of the key.
        key: String,
        /// Where it is.
        place: String,
    },
    /// The command does not start.
    #[error("{program} cannot be started; check that it is there and may be run")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The command gave no good answer.
    #[error("{program} did not {op} a data key with {}: {reason}; run it by hand with one request", or_own(key))]
    Command {
        /// The program, without its arguments: they may hold what does not belong in a message.
        program: String,
        /// What it was asked: `wrap` or `unwrap`.
        op: &'static str,
        /// The key that the object names; none when the command chooses.
        key: Option<String>,
        /// What happened, with the beginning of its standard error.
        reason: String,
    },
    /// A key service did not do what it was asked.
    #[error("{place} did not do {operation} with key {key:?}: {reason}; {advice}")]
    Service {
        /// Which service.
        place: String,
        /// What it was asked to do, in the service's own words.
        operation: &'static str,
        /// With which key.
        key: String,
        /// What it said.
        reason: String,
        /// What sort of answer that is.
        kind: ErrorKind,
        /// What to look at.
        advice: &'static str,
    },
    /// The operating system has no random bytes.
    #[error("no random bytes can be had from the operating system; try again")]
    Random,
}

impl KeyError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            KeyError::Setting { .. }
            | KeyError::Feature { .. }
            | KeyError::Id { .. }
            | KeyError::Line { .. }
            | KeyError::NoKeys { .. } => ErrorKind::Invalid,
            KeyError::File { .. }
            | KeyError::Exposed { .. }
            | KeyError::UnknownKey { .. }
            | KeyError::OtherProvider { .. }
            | KeyError::Program { .. } => ErrorKind::Preflight,
            KeyError::Service { kind, .. } => *kind,
            KeyError::Mismatch { .. } => ErrorKind::Corrupt,
            KeyError::Command { .. } | KeyError::Random => ErrorKind::Unavailable,
        }
    }
}

fn or_own(key: &Option<String>) -> String {
    key.as_ref().map_or("a key of its choice".into(), |key| format!("key {key:?}"))
}
