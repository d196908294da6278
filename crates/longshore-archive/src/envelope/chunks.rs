//! The chunks of an encrypted body: the STREAM construction, as the page above describes it.

use std::io::{self, Read};
use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::EnvelopeError;
use crate::keys::DataKey;

/// Appends the chunks of `plain` to `to`. `key` must be new: it is used for nothing else.
pub(super) fn seal(plain: &[u8], key: &DataKey, aad: &[u8], to: &mut Vec<u8>) {
    let key = cipher(key);
    let count = plain.len().div_ceil(CHUNK_LEN).max(1);
    to.reserve_exact(plain.len() + count * TAG_LEN);
    for index in 0..count {
        let start = index * CHUNK_LEN;
        let chunk = &plain[start..plain.len().min(start + CHUNK_LEN)];
        let at = to.len();
        to.extend_from_slice(chunk);
        let nonce = nonce(index as u64, index + 1 == count);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut to[at..]);
        to.extend_from_slice(tag.expect("a chunk is far below the limits of AES-GCM").as_ref());
    }
}

/// Reads the plaintext of chunks, each once it has authenticated. That all of them were there is known
/// when the last one has: only that one has its nonce.
pub(super) struct Chunks<R> {
    sealed: R,
    key: LessSafeKey,
    aad: Vec<u8>,
    index: u64,
    count: u64,
    chunk: Vec<u8>,
    /// Which part of the chunk has not been read yet.
    unread: Range<usize>,
}

impl<R: Read> Chunks<R> {
    /// The chunks of a body of `sealed_len` bytes.
    pub(super) fn new(sealed: R, sealed_len: u64, key: &DataKey, aad: Vec<u8>) -> Chunks<R> {
        let count = sealed_len.div_ceil(SEALED_LEN as u64);
        Chunks { sealed, key: cipher(key), aad, index: 0, count, chunk: Vec::new(), unread: 0..0 }
    }

    fn next(&mut self) -> io::Result<()> {
        let refuse = |_| io::Error::other(EnvelopeError::Chunk(self.index));
        self.chunk.clear();
        (&mut self.sealed).take(SEALED_LEN as u64).read_to_end(&mut self.chunk)?;
        let plain_len = self.chunk.len().checked_sub(TAG_LEN).ok_or(()).map_err(refuse)?;
        let (plain, tag) = self.chunk.split_at_mut(plain_len);
        let tag: [u8; TAG_LEN] = (&*tag).try_into().expect("it was split off with this length");
        let nonce = nonce(self.index, self.index + 1 == self.count);
        let opened = self.key.open_in_place_separate_tag(nonce, Aad::from(&self.aad), &tag, plain);
        opened.map_err(|_| ()).map_err(refuse)?;
        self.index += 1;
        self.unread = 0..plain_len;
        Ok(())
    }
}

impl<R: Read> Read for Chunks<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() && self.index < self.count {
            self.next()?;
        }
        let read = (&self.chunk[self.unread.clone()]).read(to)?;
        self.unread.start += read;
        Ok(read)
    }
}

/// The length of the plaintext in so many bytes of chunks, or `None` if no chunks are so long.
pub(super) fn plain_len(sealed_len: u64) -> Option<u64> {
    let last = sealed_len % SEALED_LEN as u64;
    let tags = sealed_len.div_ceil(SEALED_LEN as u64) * TAG_LEN as u64;
    let whole = last == 0 || TAG_LEN as u64 <= last;
    (sealed_len != 0 && whole).then(|| sealed_len - tags)
}

fn cipher(key: &DataKey) -> LessSafeKey {
    LessSafeKey::new(
        UnboundKey::new(&AES_256_GCM, key.as_bytes()).expect("a data key has the length of an AES-256 key"),
    )
}

fn nonce(index: u64, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = last.into();
    Nonce::assume_unique_for_key(nonce)
}

const CHUNK_LEN: usize = 64 << 10;
const TAG_LEN: usize = 16;
const SEALED_LEN: usize = CHUNK_LEN + TAG_LEN;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{CHUNK_LEN, Chunks, DataKey, EnvelopeError, SEALED_LEN, TAG_LEN, plain_len, seal};

    fn key() -> DataKey {
        DataKey::from_bytes(&[5; 32]).unwrap()
    }

    fn sealed(len: usize) -> Vec<u8> {
        let mut sealed = Vec::new();
        let plain: Vec<u8> = (0..len).map(|index| (index / 100) as u8).collect();
        seal(&plain, &key(), b"aad", &mut sealed);
        sealed
    }

    fn open(sealed: &[u8], key: &DataKey, aad: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let mut plain = Vec::new();
        let mut chunks = Chunks::new(sealed, sealed.len() as u64, key, aad.to_vec());
        match chunks.read_to_end(&mut plain) {
            Ok(_) => Ok(plain),
            Err(error) => Err(error.downcast().unwrap()),
        }
    }

    #[test]
    fn lengths_are_those_of_whole_chunks() {
        for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 3 * CHUNK_LEN + 5] {
            let sealed = sealed(len);
            assert_eq!(sealed.len(), len + len.div_ceil(CHUNK_LEN).max(1) * TAG_LEN);
            assert_eq!(plain_len(sealed.len() as u64), Some(len as u64));
            assert_eq!(open(&sealed, &key(), b"aad").unwrap().len(), len);
        }
        for impossible in [0, 1, 15, SEALED_LEN + 1, SEALED_LEN + 15] {
            assert_eq!(plain_len(impossible as u64), None, "{impossible}");
        }
        assert!(plain_len(u64::MAX).is_none_or(|len| len < u64::MAX));
    }

    #[test]
    fn chunks_that_were_moved_dropped_or_cut_off_are_refused() {
        let whole = sealed(3 * CHUNK_LEN);
        let chunks: Vec<&[u8]> = whole.chunks(SEALED_LEN).collect();
        let check = |order: &[usize], bad: u64| {
            let moved: Vec<u8> = order.iter().flat_map(|index| chunks[*index]).copied().collect();
            let error = open(&moved, &key(), b"aad").unwrap_err();
            assert!(matches!(error, EnvelopeError::Chunk(index) if index == bad), "{order:?}: {error}");
        };
        check(&[1, 0, 2], 0);
        check(&[0, 2, 1], 1);
        check(&[0, 2], 1);
        check(&[1, 2], 0);
        check(&[0, 1], 1);
        check(&[0], 0);
        check(&[0, 1, 1, 2], 2);
        check(&[0, 1, 2, 2], 2);
        assert!(open(&whole, &key(), b"AAD").is_err());
        assert!(open(&whole, &DataKey::from_bytes(&[6; 32]).unwrap(), b"aad").is_err());
    }
}
