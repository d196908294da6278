//! The bytes of SQLite's `-wal` and of the header of its wal-index.
//!
//! Both are described at <https://sqlite.org/fileformat2.html#the_write_ahead_log> and
//! <https://sqlite.org/walformat.html>; they have been the same since SQLite 3.7.0.

use crate::pages::{PageSize, WalPlace};

/// Bytes of the `-wal`'s header.
pub(crate) const HEADER_LEN: usize = 32;
/// Bytes before each frame's page.
pub(crate) const FRAME_HEAD_LEN: usize = 24;
/// Words of the wal-index's header, of which there are two copies.
pub(crate) const INDEX_WORDS: usize = 12;

const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// The sum that runs through a `-wal`, over 8 bytes at a time. `bytes` are a multiple of 8.
pub(crate) fn checksum(big_endian: bool, bytes: &[u8], [mut a, mut b]: [u32; 2]) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = *bytes.first_chunk().expect("four bytes");
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    [a, b]
}

fn big(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().expect("inside the header"))
}

/// The header of a `-wal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalHeader {
    /// How the checksums take words; chosen by whoever created the file.
    pub(crate) big_endian: bool,
    pub(crate) page_size: PageSize,
    pub(crate) checkpoints: u32,
    pub(crate) salts: [u32; 2],
    /// With which the first frame's sum begins.
    pub(crate) checksum: [u32; 2],
}

impl WalHeader {
    /// `None` if the bytes are no header, or a torn one.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Option<WalHeader> {
        let big_endian = big(bytes, 0) & 1 == 1;
        let sum = checksum(big_endian, &bytes[..24], [0, 0]);
        let good = big(bytes, 0) & !1 == MAGIC && big(bytes, 4) == VERSION && sum == [big(bytes, 24), big(bytes, 28)];
        let page_size = PageSize::new(big(bytes, 8)).ok().filter(|_| good)?;
        let salts = [big(bytes, 16), big(bytes, 20)];
        Some(WalHeader { big_endian, page_size, checkpoints: big(bytes, 12), salts, checksum: sum })
    }

    /// A header with its checksum computed; little-endian sums.
    pub(crate) fn new(page_size: PageSize, checkpoints: u32, salts: [u32; 2]) -> (WalHeader, [u8; HEADER_LEN]) {
        let mut bytes = [0; HEADER_LEN];
        let words = [MAGIC, VERSION, page_size.bytes() as u32, checkpoints, salts[0], salts[1]];
        for (at, word) in bytes.chunks_exact_mut(4).zip(words) {
            at.copy_from_slice(&word.to_be_bytes());
        }
        let sum = checksum(false, &bytes[..24], [0, 0]);
        bytes[24..28].copy_from_slice(&sum[0].to_be_bytes());
        bytes[28..].copy_from_slice(&sum[1].to_be_bytes());
        (WalHeader { big_endian: false, page_size, checkpoints, salts, checksum: sum }, bytes)
    }
}

/// Where frame `frame`, counted from 1, begins in a `-wal`.
pub(crate) fn frame_offset(size: PageSize, frame: u32) -> u64 {
    HEADER_LEN as u64 + u64::from(frame - 1) * (FRAME_HEAD_LEN + size.bytes()) as u64
}

/// What stands before a frame's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) page: u32,
    /// How many pages the database has after this transaction, in its last frame; zero in others.
    pub(crate) commit: u32,
    pub(crate) salts: [u32; 2],
    /// Over this frame and all before it.
    pub(crate) checksum: [u32; 2],
}

impl FrameHead {
    /// Reads the first [`FRAME_HEAD_LEN`] bytes of a frame.
    pub(crate) fn decode(bytes: &[u8]) -> FrameHead {
        let (salts, checksum) = ([big(bytes, 8), big(bytes, 12)], [big(bytes, 16), big(bytes, 20)]);
        FrameHead { page: big(bytes, 0), commit: big(bytes, 4), salts, checksum }
    }

    /// The sum of a whole frame after one whose sum is `before`.
    pub(crate) fn sum(frame: &[u8], big_endian: bool, before: [u32; 2]) -> [u32; 2] {
        let sum = checksum(big_endian, &frame[..8], before);
        checksum(big_endian, &frame[FRAME_HEAD_LEN..], sum)
    }

    /// Appends a frame to `into`, summed after `before`; returns its sum.
    pub(crate) fn encode(
        page: u32,
        commit: u32,
        salts: [u32; 2],
        data: &[u8],
        before: [u32; 2],
        into: &mut Vec<u8>,
    ) -> [u32; 2] {
        let mut head = [0; FRAME_HEAD_LEN];
        head[..4].copy_from_slice(&page.to_be_bytes());
        head[4..8].copy_from_slice(&commit.to_be_bytes());
        head[8..12].copy_from_slice(&salts[0].to_be_bytes());
        head[12..16].copy_from_slice(&salts[1].to_be_bytes());
        let sum = checksum(false, data, checksum(false, &head[..8], before));
        head[16..20].copy_from_slice(&sum[0].to_be_bytes());
        head[20..].copy_from_slice(&sum[1].to_be_bytes());
        into.extend_from_slice(&head);
        into.extend_from_slice(data);
        sum
    }
}

/// One copy of the wal-index's header: what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexHeader {
    /// Counts transactions.
    pub(crate) change: u32,
    pub(crate) big_endian: bool,
    pub(crate) page_size: PageSize,
    /// The last committed frame; zero if the `-wal` holds none.
    pub(crate) max_frame: u32,
    /// Pages of the database.
    pub(crate) pages: u32,
    /// The sum of that frame.
    pub(crate) checksum: [u32; 2],
    pub(crate) salts: [u32; 2],
}

impl IndexHeader {
    /// `None` if the words are no header, or a torn one. Words of shared memory are in this machine's order, salts are bytes.
    pub(crate) fn decode(words: &[u32; INDEX_WORDS]) -> Option<IndexHeader> {
        IndexHeader::decode_sized(words, |said| PageSize::new(said).ok())
    }

    /// The same for a database whose pages are known to be of `size`: while nothing was ever written to a `-wal`, its index
    /// says no page size, and no number of pages either.
    pub(crate) fn decode_of(words: &[u32; INDEX_WORDS], size: PageSize) -> Option<IndexHeader> {
        IndexHeader::decode_sized(words, |said| (said == 0 || said as usize == size.bytes()).then_some(size))
    }

    fn decode_sized(
        words: &[u32; INDEX_WORDS],
        page_size: impl FnOnce(u32) -> Option<PageSize>,
    ) -> Option<IndexHeader> {
        let [is_init, big_endian, size @ ..] = words[3].to_ne_bytes();
        if words[0] != VERSION || is_init != 1 || sum_of(&words[..10]) != [words[10], words[11]] {
            return None;
        }
        let size = u32::from(u16::from_ne_bytes(size));
        Some(IndexHeader {
            change: words[2],
            big_endian: big_endian != 0,
            page_size: page_size((size & 0xfe00) | (size & 1) << 16)?,
            max_frame: words[4],
            pages: words[5],
            checksum: [words[6], words[7]],
            salts: [u32::from_be(words[8]), u32::from_be(words[9])],
        })
    }

    /// The words of one copy.
    pub(crate) fn encode(&self) -> [u32; INDEX_WORDS] {
        let size = self.page_size.bytes() as u32;
        let size = ((size & 0xff00) | size >> 16) as u16;
        let [low, high] = size.to_ne_bytes();
        let kind = u32::from_ne_bytes([1, self.big_endian.into(), low, high]);
        let [a, b] = self.checksum;
        let salts = self.salts.map(u32::to_be);
        let mut words = [VERSION, 0, self.change, kind, self.max_frame, self.pages, a, b, salts[0], salts[1], 0, 0];
        let sum = sum_of(&words[..10]);
        words[10..].copy_from_slice(&sum);
        words
    }

    /// Where the `-wal` stands.
    pub(crate) fn place(&self) -> WalPlace {
        WalPlace { salts: self.salts, frame: self.max_frame, checksum: self.checksum }
    }
}

fn sum_of(words: &[u32]) -> [u32; 2] {
    words.chunks_exact(2).fold([0, 0], |[a, b], pair| {
        let a = a.wrapping_add(pair[0]).wrapping_add(b);
        [a, b.wrapping_add(pair[1]).wrapping_add(a)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn what_sqlite_writes_is_read_and_written_the_same() {
        for bytes in [512, 4096, 65536] {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("a.db");
            let db = Connection::open(&path).unwrap();
            db.execute_batch(&format!(
                "PRAGMA page_size={bytes}; PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES (1);"
            ))
            .unwrap();
            let wal = std::fs::read(place.path().join("a.db-wal")).unwrap();
            let header = WalHeader::decode(wal.first_chunk().unwrap()).unwrap();
            let size = PageSize::new(bytes).unwrap();
            assert_eq!(header.page_size, size);
            assert_eq!(&WalHeader::new(size, header.checkpoints, header.salts).1[..], &wal[..HEADER_LEN]);
            let (mut sum, mut frame, mut last) = (header.checksum, 1, None);
            while let Some(bytes) = wal.get(frame_offset(size, frame) as usize..).filter(|bytes| !bytes.is_empty()) {
                let bytes = &bytes[..FRAME_HEAD_LEN + size.bytes()];
                let head = FrameHead::decode(bytes);
                sum = FrameHead::sum(bytes, header.big_endian, sum);
                assert_eq!((head.checksum, head.salts), (sum, header.salts));
                (frame, last) = (frame + 1, Some(head));
            }
            let file = crate::shm::WalFile::new(db).unwrap();
            let mut words = [0; INDEX_WORDS];
            file.load(0, 0, &mut words).unwrap();
            let index = IndexHeader::decode(&words).unwrap();
            assert_eq!(index.page_size, size);
            assert_eq!((index.max_frame, index.checksum, index.salts), (frame - 1, sum, header.salts));
            assert_eq!(index.pages, last.unwrap().commit);
            assert_eq!(index.encode(), words);
            words[4] ^= 1;
            assert_eq!(IndexHeader::decode(&words), None);
        }
    }
}
