//! An object that is opened while it is read, so that no more than a piece of it is in memory.

use std::io::{self, Read};

use super::chunks::{self, Chunks};
use super::header::Header;
use super::{EnvelopeError, aad, hasher};
use crate::keys::{Context, KeyProvider};

/// An object that is being opened. What [`read`](Self::read) gives is believed once [`finish`](Self::finish) has said that all
/// of it holds.
pub(crate) struct Opening<'a> {
    header: Header,
    body_len: u64,
    body: Box<dyn Read + 'a>,
    /// How much came out.
    len: u64,
    /// Of what came out.
    digest: blake3::Hasher,
    /// The same with the key of an encrypted object, as its header has it.
    keyed: Option<blake3::Hasher>,
}

impl<'a> Opening<'a> {
    /// Begins with an object of `object_len` bytes, of which no more are read; keys and limit are those of
    /// [`open`](super::open).
    pub(crate) fn new(
        object: impl Read + 'a,
        object_len: u64,
        context: &Context,
        keys: Option<&dyn KeyProvider>,
        longest: u64,
    ) -> Result<Opening<'a>, EnvelopeError> {
        let mut object = object.take(object_len);
        let (header, head) = Header::read(&mut object)?;
        if longest < header.plain_len {
            return Err(EnvelopeError::TooLong { plain_len: header.plain_len, longest });
        }
        let data_key = match (&header.wrapped_key, keys) {
            (Some(wrapped), Some(keys)) => Some(keys.unwrap(wrapped, context)?),
            (Some(wrapped), None) => {
                let (provider, key) = (wrapped.provider.clone(), wrapped.key.clone());
                return Err(EnvelopeError::NoKeys { provider, key });
            }
            (None, Some(keys)) => return Err(EnvelopeError::NotEncrypted { keys: keys.describe() }),
            (None, None) => None,
        };
        let body_len = object.limit();
        let readable = if data_key.is_some() { chunks::plain_len(body_len) } else { Some(body_len) };
        let possible = |len| if header.compressed { len < header.plain_len } else { len == header.plain_len };
        if !readable.is_some_and(possible) {
            return Err(EnvelopeError::Length { plain_len: header.plain_len, body_len });
        }
        let mut body: Box<dyn Read + 'a> = Box::new(Stored(object));
        if let Some(key) = &data_key {
            body = Box::new(Chunks::new(body, body_len, key, aad(&head, context)));
        }
        if header.compressed {
            body = Box::new(decompressed(body, header.plain_len)?);
        }
        let keyed = data_key.is_some().then(|| hasher(data_key.as_ref()));
        Ok(Opening { header, body_len, body, len: 0, digest: blake3::Hasher::new(), keyed })
    }

    /// How much the object says that it holds.
    pub(crate) fn plain_len(&self) -> u64 {
        self.header.plain_len
    }

    /// Fills `to` with what comes next; less of it only at the end.
    pub(crate) fn read(&mut self, to: &mut [u8]) -> Result<usize, EnvelopeError> {
        let mut filled = 0;
        while filled < to.len() {
            match self.body.read(&mut to[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is none of ours is the decompressor's.
                Err(error) => return Err(error.downcast().unwrap_or_else(EnvelopeError::Decompress)),
            }
        }
        self.len += filled as u64;
        if self.header.plain_len < self.len {
            return Err(EnvelopeError::Decompress(io::Error::other("it goes on")));
        }
        self.digest.update(&to[..filled]);
        if let Some(keyed) = &mut self.keyed {
            keyed.update(&to[..filled]);
        }
        Ok(filled)
    }

    /// BLAKE3 of everything read so far. A part of what the object's own digest covers costs no hashing of its own.
    pub(crate) fn digest(&self) -> blake3::Hash {
        self.digest.finalize()
    }

    /// Whether everything was there, and is what was sealed.
    pub(crate) fn finish(mut self) -> Result<(), EnvelopeError> {
        self.read(&mut [0])?;
        if self.len != self.header.plain_len {
            return Err(EnvelopeError::Length { plain_len: self.header.plain_len, body_len: self.body_len });
        }
        match self.keyed.as_ref().unwrap_or(&self.digest).finalize() == self.header.digest {
            true => Ok(()),
            false => Err(EnvelopeError::Digest),
        }
    }
}

/// One zstd frame. Its window, whose size the frame chooses, is never more than what it holds.
fn decompressed<'a>(body: impl Read + 'a, plain_len: u64) -> Result<impl Read + 'a, EnvelopeError> {
    let mut decoder = zstd::stream::read::Decoder::new(body).map_err(EnvelopeError::Decompress)?;
    let window = plain_len.next_power_of_two().trailing_zeros().clamp(SMALLEST_WINDOW, LARGEST_WINDOW);
    decoder.window_log_max(window).map_err(EnvelopeError::Decompress)?;
    Ok(decoder)
}

/// Logarithms of what zstd allows.
const SMALLEST_WINDOW: u32 = 10;
const LARGEST_WINDOW: u32 = 30;

/// What is read from where the object is stored. Its errors are told apart from those of what is built on it.
struct Stored<R>(R);

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(EnvelopeError::Read(error)),
        })
    }
}
