//! Why an object cannot be made or opened.

use std::io;

use longshore_format::ErrorKind;
use thiserror::Error;

use crate::keys::KeyError;

/// Why an object cannot be made or opened. Which object it was, the caller knows.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Something else altogether.
    #[error("this is no object of a longshore archive; take it from another copy")]
    Magic,
    /// Whole, and written by a later version.
    #[error("the object was written by a newer version: format {0}, this version reads 1; use the newer version")]
    NewerVersion(u16),
    /// It ends within its header.
    #[error("the object's header is cut off; take the object from another copy")]
    HeaderCutOff,
    /// The header is damaged.
    #[error("the object's header does not match its checksum; take the object from another copy")]
    HeaderChecksum,
    /// The header is whole, but a field says what cannot be.
    #[error("the object's header has an impossible {0}; take the object from another copy")]
    HeaderField(&'static str),
    /// It says that it holds more than what belongs there can be.
    #[error("the object says that it holds {plain_len} bytes, more than the {longest} that it may; take another copy")]
    TooLong {
        /// What the header says.
        plain_len: u64,
        /// The limit that the caller gave.
        longest: u64,
    },
    /// The body is too short or too long for what the header says.
    #[error("the object should hold {plain_len} bytes, and its body of {body_len} does not; take another copy")]
    Length {
        /// What the header says.
        plain_len: u64,
        /// The length of the body as it is stored.
        body_len: u64,
    },
    /// A chunk is not what was sealed.
    #[error(
        "chunk {0} of the object does not authenticate: it was changed, moved, or is of another object; \
         take the object from another copy"
    )]
    Chunk(u64),
    /// The body does not decompress, or to more than the header says.
    #[error("the object does not decompress to what its header says; take it from another copy")]
    Decompress(#[source] io::Error),
    /// What came out is not what was sealed.
    #[error("the object does not match its digest; take it from another copy")]
    Digest,
    /// It is encrypted, and there are no keys.
    #[error("the object is encrypted with key {key:?} of a {provider:?} provider; give the keys of this archive")]
    NoKeys {
        /// The sort of provider that wrapped the data key.
        provider: String,
        /// The id of its key.
        key: String,
    },
    /// It is not encrypted, and it had to be.
    #[error(
        "the object is not encrypted, and with keys ({keys}) it has to be: someone may have put it there; \
         leave the keys out if this archive was never encrypted"
    )]
    NotEncrypted {
        /// Which keys were given.
        keys: String,
    },
    /// The provider's wrapped key does not fit into a header.
    #[error("the wrapped key takes {len} bytes in the object's header, more than {longest}; have it wrapped shorter")]
    WrappedKeyTooLong {
        /// Its length as JSON.
        len: usize,
        /// The limit.
        longest: usize,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It cannot be read to its end.
    #[error("the object cannot be read to its end; try again")]
    Read(#[source] io::Error),
    /// It does not compress.
    #[error("the object cannot be compressed; store it as it is, and report this")]
    Compress(#[source] io::Error),
}

impl EnvelopeError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            EnvelopeError::Magic
            | EnvelopeError::HeaderCutOff
            | EnvelopeError::HeaderChecksum
            | EnvelopeError::HeaderField(_)
            | EnvelopeError::TooLong { .. }
            | EnvelopeError::Length { .. }
            | EnvelopeError::Chunk(_)
            | EnvelopeError::Decompress(_)
            | EnvelopeError::Digest => ErrorKind::Corrupt,
            EnvelopeError::NewerVersion(_) | EnvelopeError::NoKeys { .. } | EnvelopeError::NotEncrypted { .. } => {
                ErrorKind::Preflight
            }
            EnvelopeError::WrappedKeyTooLong { .. } => ErrorKind::Invalid,
            EnvelopeError::Key(error) => error.kind(),
            EnvelopeError::Read(_) => ErrorKind::Unavailable,
            EnvelopeError::Compress(_) => ErrorKind::Internal,
        }
    }
}
