//! The digest that seals a segment, taken as the segment fills.

use crate::{Digest, SegmentSize};

/// BLAKE3 over a segment's header and body, fed in order and in pieces of any size.
///
/// ```
/// use longshore_format::{SegmentDigest, SegmentSize};
///
/// let size = SegmentSize::MIN;
/// let mut whole = vec![0; size.body_end_offset() as usize];
/// whole[..4096].fill(1);
/// let mut digest = SegmentDigest::new();
/// digest.update(&whole[..5000]);
/// assert_eq!(digest.offset(), 5000);
/// // What was not fed is taken to be zero.
/// assert_eq!(digest.finish(size), SegmentDigest::of(&whole));
/// ```
#[derive(Clone, Debug, Default)]
pub struct SegmentDigest {
    hasher: blake3::Hasher,
    offset: u64,
}

impl SegmentDigest {
    /// A digest that has seen nothing yet.
    pub fn new() -> SegmentDigest {
        SegmentDigest::default()
    }

    /// The digest of everything before a footer, when it is all at hand.
    pub fn of(header_and_body: &[u8]) -> Digest {
        Digest::from_bytes(*blake3::hash(header_and_body).as_bytes())
    }

    /// Takes in the bytes that follow those before.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
    }

    /// How far into the segment the bytes taken in reach: the offset of the next one.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The digest, with zeros from here to the footer: what a segment has after its `Roll`.
    ///
    /// # Panics
    /// If more was taken in than a segment of `size` has before its footer.
    pub fn finish(mut self, size: SegmentSize) -> Digest {
        const ZEROS: [u8; 4096] = [0; 4096];
        let rest = size.body_end_offset().checked_sub(self.offset);
        let mut rest = rest.expect("no more than header and body was fed");
        while rest > 0 {
            let piece = rest.min(ZEROS.len() as u64);
            self.hasher.update(&ZEROS[..piece as usize]);
            rest -= piece;
        }
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }
}
