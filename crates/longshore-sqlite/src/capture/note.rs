//! What is noted of a captured database itself, so that another file in its place is told from it
//! ([`replaced`](super::replaced)).
//!
//! ```text
//! the note (integers little-endian)
//!   0  inode        u64
//!   8  born         u64     in nanoseconds since 1970; 0 where the file system does not say
//!  16  counter      u32     the file change counter of page 1
//!  20  schema       u32     the schema's version
//!  24  application  u32     its id
//!  28  written      u32     when the file was written last, folded; 0 where that was not noted
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::error::Error;

pub(super) const NOTE_LEN: usize = 32;

/// What is noted of a database that is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) file: FileId,
    pub(super) header: Header,
    /// Whoever puts an older copy into the file changes that, as does whoever copies a `-wal` back. `None` where it was not noted.
    pub(super) written: Option<Written>,
}

/// When a file was written last: nanoseconds since 1970, the halves of which are folded into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written(u32);

/// A file, whatever its name. An inode alone is given to the next file once it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    inode: u64,
    born: u64,
}

/// What page 1 says of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    counter: u32,
    pub(super) schema: u32,
    application: u32,
    /// It gives free pages back by itself. Not noted.
    pub(super) shrinks: bool,
}

impl FileId {
    /// Not the device, which is another one where a volume is mounted again. Opens nothing.
    pub(super) fn of(path: &Path) -> Result<FileId, Error> {
        let metadata = std::fs::metadata(path).map_err(Error::at(path))?;
        let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Ok(FileId { inode: metadata.ino(), born: born.map_or(0, |born| born.as_nanos() as u64) })
    }
}

impl Written {
    /// Opens nothing. `None` where the file is not there, of which somebody else is told.
    pub(super) fn of(path: &Path) -> Option<Written> {
        let metadata = std::fs::metadata(path).ok()?;
        let at = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
        Some(Written(((at ^ at >> 32) as u32).max(1)))
    }

    pub(super) fn encode(written: Option<Written>) -> [u8; 4] {
        written.map_or(0, |Written(folded)| folded).to_le_bytes()
    }
}

impl Header {
    pub(super) fn of(page: &[u8]) -> Header {
        let word = |at: usize| u32::from_be_bytes(*page[at..].first_chunk().expect("a page is longer"));
        Header { counter: word(24), schema: word(40), application: word(68), shrinks: word(52) != 0 }
    }

    /// What a database that was only written since does not have in common with this one.
    pub(super) fn gone_back(&self, now: &Header) -> Option<&'static str> {
        let is_other = |then: u32, now: u32| then != 0 && now != 0 && then != now;
        match () {
            () if now.counter < self.counter => {
                Some("its change counter has gone back, as in an older copy or a new file")
            }
            () if now.schema < self.schema => Some("the version of its schema has gone back, as in an older copy"),
            () if is_other(self.application, now.application) => Some("its application id is another one"),
            () => None,
        }
    }
}

impl Note {
    pub(super) fn encode(&self) -> [u8; NOTE_LEN] {
        let Note { file: FileId { inode, born }, header, written } = self;
        let Header { counter, schema, application, .. } = header;
        let mut bytes = [0; NOTE_LEN];
        bytes[..8].copy_from_slice(&inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&born.to_le_bytes());
        for (at, word) in (16..).step_by(4).zip([counter, schema, application]) {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[NOTE_LEN - 4..].copy_from_slice(&Written::encode(*written));
        bytes
    }

    pub(super) fn decode(bytes: &[u8; NOTE_LEN]) -> Note {
        let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside the note"));
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside the note"));
        let header = Header { counter: word(16), schema: word(20), application: word(24), shrinks: false };
        Note {
            file: FileId { inode: long(0), born: long(8) },
            header,
            written: Some(Written(word(28))).filter(|written| written.0 != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_a_header_goes_back_by_writing() {
        let header = |counter, schema, application| Header { counter, schema, application, shrinks: false };
        for (then, now, said) in [
            (header(5, 5, 5), header(5, 5, 5), ""),
            (header(5, 5, 0), header(9, 9, 5), ""),
            (header(5, 5, 5), header(9, 9, 0), ""),
            (header(5, 5, 0), header(4, 9, 0), "change counter"),
            (header(5, 5, 0), header(9, 4, 0), "version of its schema"),
            (header(5, 5, 5), header(9, 9, 6), "application id"),
        ] {
            let why = then.gone_back(&now).unwrap_or_default();
            assert!(why.contains(said) && why.is_empty() == said.is_empty(), "{then:?}, then {now:?}: {why}");
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let header = Header { counter: 1, schema: 2, application: 3, shrinks: false };
        for written in [None, Some(Written(5))] {
            let note = Note { file: FileId { inode: 4, born: u64::MAX }, header, written };
            assert_eq!(Note::decode(&note.encode()), note);
        }
    }
}
