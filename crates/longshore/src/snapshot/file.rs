//! A snapshot in a file: as it is kept, as it travels, and as it arrives.
//!
//! ```text
//! head (integers little-endian)
//!   0  magic    8 bytes   "LONGSNAP"
//!   8  version  u32       1
//!  12  link     u32       header checksum of the log's record that ends at `lsn`
//!  16  log      16 bytes
//!  32  lsn      u64       everything up to here is in it
//!  40  time     u64       when it was made, microseconds UTC
//!  48  sum      u32       CRC-32 of the 48 bytes before
//! then each record of one run
//!   0  len      u32       of the payload, at least 1
//!   4  sum      u32       CRC-32 of the payload
//!   8  payload
//! and at the end a len and a sum of zero: without them the file is not whole.
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use longshore_format::{ErrorKind, LogId, Lsn};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"LONGSNAP";
const VERSION: u32 = 1;
/// Where the first record begins.
pub(crate) const HEAD_LEN: usize = 52;
/// What stands before each payload, and after the last.
pub(crate) const FRAME_LEN: usize = 8;
/// Longer than any record of any log.
pub(crate) const LONGEST: usize = 4 << 20;
const BUFFER: usize = 1 << 20;

/// What a snapshot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    pub(crate) log: LogId,
    /// Everything up to here is in it.
    pub(crate) lsn: Lsn,
    /// The header checksum of the record that ends there.
    pub(crate) link: u32,
    /// When it was made.
    pub(crate) time: u64,
}

impl SnapshotHead {
    /// Reads the head of a file, whole or not.
    pub(crate) fn of(path: &Path) -> Result<SnapshotHead> {
        let mut bytes = [0; HEAD_LEN];
        let read = |mut file: File| file.read_exact(&mut bytes);
        File::open(path).and_then(read).map_err(|error| Error::io("read a snapshot", path, error))?;
        SnapshotHead::decode(&bytes).ok_or_else(|| damaged(path, "its head does not hold"))
    }

    fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.link.to_le_bytes());
        bytes[16..32].copy_from_slice(self.log.as_bytes());
        bytes[32..40].copy_from_slice(&self.lsn.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.time.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEAD_LEN]) -> Option<SnapshotHead> {
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside the head"));
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside the head"));
        let holds = bytes[..8] == *MAGIC && word(8) == VERSION && word(48) == crc32fast::hash(&bytes[..48]);
        holds.then(|| SnapshotHead {
            log: LogId::from_bytes(*bytes[16..].first_chunk().expect("inside the head")),
            lsn: Lsn::new(long(32)),
            link: word(12),
            time: long(40),
        })
    }
}

/// Writes a snapshot. The file is of use once [`finish`](Self::finish) has returned.
pub(crate) struct SnapshotWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl SnapshotWriter {
    pub(crate) fn create(path: &Path, head: &SnapshotHead) -> Result<SnapshotWriter> {
        let file = crate::private_file(path).map_err(|error| Error::io("create a snapshot", path, error))?;
        let mut writer = SnapshotWriter { path: path.to_owned(), file: BufWriter::with_capacity(BUFFER, file) };
        writer.write(&head.encode())?;
        Ok(writer)
    }

    pub(crate) fn payload(&mut self, payload: &[u8]) -> Result<()> {
        self.write(&frame_of(payload))?;
        self.write(payload)
    }

    /// Makes it durable and whole.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.write(&[0; FRAME_LEN])?;
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| Error::io("write a snapshot", &self.path, error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io("write a snapshot", &self.path, error))
    }
}

/// What stands before a payload.
pub(crate) fn frame_of(payload: &[u8]) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    frame[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    frame
}

/// How long the payload is that stands behind a frame.
pub(crate) fn len_in(frame: &[u8; FRAME_LEN]) -> u32 {
    u32::from_le_bytes(*frame.first_chunk().expect("inside the frame"))
}

/// The first half of a payload's BLAKE3 hash, by which two ends find out that they hold the same.
pub(crate) fn digest_of(payload: &[u8]) -> [u8; 16] {
    *blake3::hash(payload).as_bytes().first_chunk().expect("a hash is 32 bytes")
}

/// Reads a snapshot, payload by payload.
pub(crate) struct SnapshotReader {
    path: PathBuf,
    file: BufReader<File>,
    pub(crate) head: SnapshotHead,
}

impl SnapshotReader {
    pub(crate) fn open(path: &Path) -> Result<SnapshotReader> {
        let head = SnapshotHead::of(path)?;
        let file = File::open(path).map_err(|error| Error::io("read a snapshot", path, error))?;
        SnapshotReader::at(path, file, head, HEAD_LEN as u64)
    }

    /// Goes on with the record that begins at `offset`.
    pub(crate) fn at(path: &Path, mut file: File, head: SnapshotHead, offset: u64) -> Result<SnapshotReader> {
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))
            .map_err(|error| Error::io("read a snapshot", path, error))?;
        Ok(SnapshotReader { path: path.to_owned(), file: BufReader::with_capacity(BUFFER, file), head })
    }

    /// The next payload, checked; `None` after the last.
    pub(crate) fn next_payload(&mut self, into: &mut Vec<u8>) -> Result<Option<usize>> {
        let mut frame = [0; FRAME_LEN];
        self.fill(&mut frame)?;
        let [len, sum] = [0, 4].map(|at| u32::from_le_bytes(*frame[at..].first_chunk().expect("inside the frame")));
        let len = len as usize;
        match len {
            // Zeros in the middle are a hole that a power cut left.
            0 if sum == 0 && self.is_at_end()? => return Ok(None),
            1..=LONGEST => {}
            _ => return Err(damaged(&self.path, "a record in it has no length that it could have")),
        }
        into.resize(len, 0);
        self.fill(into)?;
        match crc32fast::hash(into) == sum {
            true => Ok(Some(len)),
            false => Err(damaged(&self.path, "the checksum of a record in it does not hold")),
        }
    }

    fn is_at_end(&mut self) -> Result<bool> {
        let rest = self.file.fill_buf().map_err(|error| Error::io("read a snapshot", &self.path, error))?;
        Ok(rest.is_empty())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(&self.path, "it ends too early"),
            _ => Error::io("read a snapshot", &self.path, error),
        })
    }
}

pub(crate) fn damaged(path: &Path, what: &str) -> Error {
    let reason = format!("snapshot {}: {what}; it is fetched again", path.display());
    Error::Refused { kind: ErrorKind::Corrupt, reason, at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: SnapshotHead = SnapshotHead { log: LogId::from_bytes([7; 16]), lsn: Lsn::new(4096), link: 9, time: 11 };

    fn written(payloads: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("snapshot");
        let mut writer = SnapshotWriter::create(&path, &HEAD).unwrap();
        payloads.iter().for_each(|payload| writer.payload(payload).unwrap());
        writer.finish().unwrap();
        (place, path)
    }

    fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
        let mut reader = SnapshotReader::open(path)?;
        assert_eq!(reader.head, HEAD);
        let (mut all, mut payload) = (Vec::new(), Vec::new());
        while reader.next_payload(&mut payload)?.is_some() {
            all.push(payload.clone());
        }
        Ok(all)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_place, path) = written(&[b"one", &[7; 200_000]]);
        assert_eq!(read(&path).unwrap(), [b"one".to_vec(), vec![7; 200_000]]);
    }

    #[test]
    fn whatever_is_cut_or_changed_is_refused() {
        let (_place, path) = written(&[b"one", b"two"]);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(read(&path).is_err(), "cut at {len}");
        }
        let mut hole = whole.clone();
        hole[HEAD_LEN..HEAD_LEN + FRAME_LEN].fill(0);
        std::fs::write(&path, &hole).unwrap();
        assert!(read(&path).is_err(), "an end in the middle");
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 0x10;
            std::fs::write(&path, &other).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
        }
    }
}
