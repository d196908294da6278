//! The bytes of every object in an archive: what it holds, compressed, encrypted, and checked.
//!
//! All integers are little-endian.
//!
//! ```text
//!       0               4               8       10      12
//!      ┌───────────────────────────────┬───────┬───────┬───────────────┐
//!    0 │ magic "LONGSEAL"              │version│ flags │ header length │
//!      ├───────────────────────────────┼───────┴───────┴───────────────┤
//!   16 │ plain length                  │ digest                        │
//!      ├───────────────────────────────┘                               │
//!   32 │                                                               │
//!      │                               ┌───────────────────────────────┤
//!   48 │                               │ wrapped key                   │
//!      ├───────────────────────────────┴───────────────┬───────────────┤
//!      │                                               │ crc           │
//!      ├───────────────────────────────────────────────┴───────────────┤
//!      │ body                                                          │
//!      └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | version | 2 | 1. Magic, header length and crc stay where they are in every version |
//! | flags | 2 | 1 compressed, 2 encrypted; the others zero |
//! | header length | 4 | all before the body; 60 and the length of the wrapped key |
//! | plain length | 8 | of what was sealed |
//! | digest | 32 | BLAKE3 of what was sealed; keyed if it is encrypted |
//! | wrapped key | up to 16 KiB | JSON ([`WrappedKey`](crate::keys::WrappedKey)); nothing unless encrypted |
//! | crc | 4 | CRC-32 of the header before it |
//!
//! What is sealed is first compressed (one zstd frame), unless that makes it no smaller, and then
//! encrypted. An encrypted body is a row of chunks: 64 KiB of its plaintext each, the last one less or
//! as much, with a tag of 16 bytes behind each. Even nothing has a chunk.
//!
//! Chunks are sealed with AES-256-GCM in the STREAM construction of Hoang, Reyhanitabar, Rogaway and
//! Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance" (2015): the nonce is
//! the chunk's number (11 bytes, big-endian) and whether it is the last (1 byte). Each chunk also
//! authenticates the whole header, the log's id and the object's name. So no chunk can be changed,
//! moved, left out, cut off, or taken from another object. Every object has a data key of its own,
//! used for this one stream; that is why counting nonces are safe.
//!
//! The digest of an encrypted object is keyed, with a key derived from the data key: a plain one would
//! let anyone with the object test a guess of what it holds. It also ties the object to one data key,
//! which AES-GCM alone does not. What remains to be seen of an encrypted object is its name, its
//! length, how well it compresses, and the id of the key that wrapped.

use std::borrow::Cow;

use crate::keys::{Context, DataKey, KeyProvider};

mod chunks;
mod error;
mod header;
mod opening;

pub use error::EnvelopeError;
use header::Header;
pub(crate) use opening::Opening;

/// How to seal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sealing<'a> {
    /// The level of zstd to compress with; none to store as it is.
    pub level: Option<i32>,
    /// The keys to encrypt with; none to leave it readable.
    pub keys: Option<&'a dyn KeyProvider>,
}

/// Makes the object that holds `plain`.
///
/// ```
/// use longshore_archive::envelope::{Sealing, open, plain_len, seal};
/// use longshore_archive::keys::Context;
/// use longshore_format::LogId;
///
/// let context = Context { log: LogId::from_bytes([1; 16]), object: "segments/1".into() };
/// let object = seal(&[7; 5000], &context, &Sealing { level: Some(3), keys: None }).unwrap();
/// assert!(object.len() < 200);
/// assert_eq!(plain_len(&object[..24]).unwrap(), 5000);
/// assert_eq!(open(&object, &context, None, 5000).unwrap(), [7; 5000]);
/// ```
pub fn seal<'p>(
    plain: impl Into<Cow<'p, [u8]>>,
    context: &Context,
    how: &Sealing<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    let mut body = plain.into();
    let (data_key, wrapped_key) = how.keys.map(|keys| keys.wrap(context)).transpose()?.unzip();
    let (digest, plain_len) = (digest(&body, data_key.as_ref()), body.len() as u64);
    if let Some(level) = how.level {
        let compressed = zstd::bulk::compress(&body, level).map_err(EnvelopeError::Compress)?;
        if compressed.len() < body.len() {
            // A segment that was handed over goes here, before its object takes as much again.
            body = Cow::Owned(compressed);
        }
    }
    let header = Header { compressed: (body.len() as u64) < plain_len, plain_len, digest, wrapped_key };
    let mut object = header.encode()?;
    match &data_key {
        Some(data_key) => {
            let aad = aad(&object, context);
            chunks::seal(&body, data_key, &aad, &mut object);
        }
        None => object.extend_from_slice(&body),
    }
    Ok(object)
}

/// What an object holds.
///
/// With `keys` the object must be encrypted: one that is not is refused, or whoever can write to the
/// store could put their own in its place. Without keys, an encrypted one is refused.
///
/// No more than the object's plain length is allocated for what it holds, and as much again for the
/// window of one that is compressed; the plain length is at most `longest`. Nothing is returned before
/// all of it has been checked.
pub fn open(
    object: &[u8],
    context: &Context,
    keys: Option<&dyn KeyProvider>,
    longest: u64,
) -> Result<Vec<u8>, EnvelopeError> {
    let mut opening = Opening::new(object, object.len() as u64, context, keys, longest)?;
    let mut plain = vec![0; opening.plain_len() as usize];
    opening.read(&mut plain)?;
    opening.finish()?;
    Ok(plain)
}

/// The plain length of an object, from its first 24 bytes. For planning: nothing is checked but that
/// this is an object of a version that can be read; [`open`] checks the rest.
pub fn plain_len(head: &[u8]) -> Result<u64, EnvelopeError> {
    header::plain_len(head)
}

/// What each chunk authenticates. The header tells its own length, and the id has a fixed one, so that
/// no two of these can be read two ways.
fn aad(header: &[u8], context: &Context) -> Vec<u8> {
    [header, &context.to_bytes()].concat()
}

/// What the digest in the header is made with.
fn hasher(data_key: Option<&DataKey>) -> blake3::Hasher {
    match data_key {
        Some(key) => blake3::Hasher::new_keyed(&blake3::derive_key(DIGEST_KEY, key.as_bytes())),
        None => blake3::Hasher::new(),
    }
}

fn digest(plain: &[u8], data_key: Option<&DataKey>) -> blake3::Hash {
    hasher(data_key).update(plain).finalize()
}

const DIGEST_KEY: &str = "longshore archive 2026 digest of an encrypted object";

#[cfg(test)]
mod tests;
