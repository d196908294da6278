//! The header of an object, as the page above draws it.

use std::io::Read;

use crate::keys::WrappedKey;

use super::EnvelopeError;

/// What an object says about itself.
pub(super) struct Header {
    pub(super) compressed: bool,
    pub(super) plain_len: u64,
    pub(super) digest: blake3::Hash,
    /// There if, and only if, the object is encrypted.
    pub(super) wrapped_key: Option<WrappedKey>,
}

impl Header {
    /// The header as bytes.
    pub(super) fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        let wrapped_key =
            self.wrapped_key.as_ref().map(|key| serde_json::to_vec(key).expect("strings have a JSON form"));
        let wrapped_key = wrapped_key.unwrap_or_default();
        if LONGEST_WRAPPED_KEY < wrapped_key.len() {
            return Err(EnvelopeError::WrappedKeyTooLong { len: wrapped_key.len(), longest: LONGEST_WRAPPED_KEY });
        }
        let header_len = FIXED_LEN + wrapped_key.len();
        let compressed = if self.compressed { COMPRESSED } else { 0 };
        let encrypted = if self.wrapped_key.is_some() { ENCRYPTED } else { 0 };
        let mut bytes = Vec::with_capacity(header_len);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(compressed | encrypted).to_le_bytes());
        bytes.extend_from_slice(&(header_len as u32).to_le_bytes());
        bytes.extend_from_slice(&self.plain_len.to_le_bytes());
        bytes.extend_from_slice(self.digest.as_bytes());
        bytes.extend_from_slice(&wrapped_key);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Reads the header of an object, also as the bytes that it is; the body comes next.
    pub(super) fn read(object: &mut impl Read) -> Result<(Header, Vec<u8>), EnvelopeError> {
        let mut bytes = Vec::new();
        let mut read_to = |len: usize, bytes: &mut Vec<u8>| {
            let rest = len.saturating_sub(bytes.len()) as u64;
            object.take(rest).read_to_end(bytes).map_err(EnvelopeError::Read)
        };
        read_to(LENGTH_END, &mut bytes)?;
        if let Some(len) = bytes.last_chunk() {
            let len = u32::from_le_bytes(*len) as usize;
            read_to(len.min(FIXED_LEN + LONGEST_WRAPPED_KEY), &mut bytes)?;
        }
        Ok((Header::decode(&bytes)?, bytes))
    }

    /// The header from its bytes; what follows them is not looked at.
    fn decode(object: &[u8]) -> Result<Header, EnvelopeError> {
        let mut fields = Fields(object);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(EnvelopeError::Magic);
        }
        let (version, flags) = (u16::from_le_bytes(fields.array()?), u16::from_le_bytes(fields.array()?));
        let header_len = u32::from_le_bytes(fields.array()?) as usize;
        if !(FIXED_LEN..=FIXED_LEN + LONGEST_WRAPPED_KEY).contains(&header_len) {
            return Err(EnvelopeError::HeaderField("length"));
        }
        let header = object.get(..header_len).ok_or(EnvelopeError::HeaderCutOff)?;
        let (covered, crc) = header.split_at(header_len - CRC_LEN);
        if crc32fast::hash(covered).to_le_bytes() != crc {
            return Err(EnvelopeError::HeaderChecksum);
        }
        check_version(version)?;
        if flags & !(COMPRESSED | ENCRYPTED) != 0 {
            return Err(EnvelopeError::HeaderField("flag"));
        }
        let plain_len = u64::from_le_bytes(fields.array()?);
        let digest = blake3::Hash::from_bytes(fields.array()?);
        let wrapped_key = match (fields.take(header_len - FIXED_LEN)?, flags & ENCRYPTED != 0) {
            ([], false) => None,
            (json, true) => {
                let key = serde_json::from_slice(json).map_err(|_| EnvelopeError::HeaderField("wrapped key"))?;
                Some(key)
            }
            (_, false) => return Err(EnvelopeError::HeaderField("wrapped key")),
        };
        Ok(Header { compressed: flags & COMPRESSED != 0, plain_len, digest, wrapped_key })
    }
}

pub(super) fn plain_len(head: &[u8]) -> Result<u64, EnvelopeError> {
    let mut fields = Fields(head);
    if fields.take(MAGIC.len())? != MAGIC {
        return Err(EnvelopeError::Magic);
    }
    check_version(u16::from_le_bytes(fields.array()?))?;
    fields.take(6)?;
    Ok(u64::from_le_bytes(fields.array()?))
}

fn check_version(version: u16) -> Result<(), EnvelopeError> {
    match version {
        VERSION => Ok(()),
        0 => Err(EnvelopeError::HeaderField("version")),
        newer => Err(EnvelopeError::NewerVersion(newer)),
    }
}

/// Takes fields off the front; one that is not all there is a header cut off.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(EnvelopeError::HeaderCutOff)?;
        self.0 = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(EnvelopeError::HeaderCutOff)?;
        self.0 = rest;
        Ok(*field)
    }
}

const MAGIC: &[u8] = b"LONGSEAL";
const VERSION: u16 = 1;
const COMPRESSED: u16 = 1;
const ENCRYPTED: u16 = 2;
const CRC_LEN: usize = 4;
/// Where the field that tells the header's length ends.
const LENGTH_END: usize = 16;
/// A header without a wrapped key.
const FIXED_LEN: usize = 60;
/// A key service wraps 32 bytes to some hundred, with certificates or post-quantum keys to a few thousand.
const LONGEST_WRAPPED_KEY: usize = 16 << 10;
