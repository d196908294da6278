//! What a JSON lines file holds, read from the file itself: its last complete run.
//!
//! A crash leaves a torn last line, or a run without its end; a power cut may leave holes anywhere
//! after the last sync. The sink syncs at least once per [`WINDOW`] bytes, so what is before the last
//! window was synced and is left alone, and what is inside is read in full: everything from the first
//! line that is not one is cut. The cut runs are still in the log and are given again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use longshore_format::Lsn;

use crate::Held;
use crate::json::{self, MAX_LINE};

/// How many bytes a file may grow between two syncs, and how far back a power cut can reach. One
/// line more fits in before the sync takes place.
pub(crate) const WINDOW: u64 = 8 << 20;

/// The last complete run of a file: how long the file is up to there, and what it holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) len: u64,
    pub(crate) held: Option<Held>,
}

/// Finds the last complete run. Errors of kind `InvalidData` name the offset of what is not ours.
pub(crate) fn find(file: &File) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    check_beginning(file, len)?;
    let suspect = match len.checked_sub(2 * WINDOW + MAX_LINE as u64) {
        None => 0,
        Some(middle) => line_start_before(file, middle)?,
    };
    let sound = sound_until(file, suspect, len)?;
    last_run_before(file, sound, suspect)
}

/// How much of a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    End,
    All,
}

/// Refuses a finished file that holds anything but lines of ours in the log's order, or ends inside a run; `InvalidData`
/// says where.
pub(crate) fn is_sound(path: &Path, extent: Extent) -> io::Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let sound = match extent {
        Extent::End => find(&file)?.len,
        Extent::All => sound_until(&file, 0, len)?.min(find(&file)?.len),
    };
    if sound == len { Ok(()) } else { Err(not_ours(sound, "it is no whole record in its order")) }
}

/// A file that does not begin like a line of ours is somebody else's: nothing of it may be cut.
fn check_beginning(file: &File, len: u64) -> io::Result<()> {
    const BEGINNING: &[u8] = b"{\"schema\":";
    let mut beginning = vec![0; BEGINNING.len().min(len as usize)];
    file.read_exact_at(&mut beginning, 0)?;
    if BEGINNING.starts_with(&beginning) { Ok(()) } else { Err(not_ours(0, "the file does not begin with a record")) }
}

/// Reads the lines from `from` on and says where they stop being lines.
fn sound_until(file: &File, from: u64, len: u64) -> io::Result<u64> {
    let mut lines = BufReader::with_capacity(BLOCK, Section { file, at: from, end: len });
    let (mut position, mut previous, mut line) = (from, Lsn::ZERO, Vec::new());
    loop {
        line.clear();
        let read = lines.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
        match json::parse_line(&line) {
            Ok(parsed) if line.ends_with(b"\n") && previous < parsed.lsn => previous = parsed.lsn,
            _ => return Ok(position),
        }
        position += read as u64;
    }
}

/// Goes back from `end`, line by line, to the last line that ends a run. Lines before `suspect` were
/// synced: one of them that cannot be read is damage, or another program's file.
fn last_run_before(file: &File, mut end: u64, suspect: u64) -> io::Result<Tail> {
    while end > 0 {
        let start = line_start_before(file, end - 1)?;
        let mut line = vec![0; (end - start) as usize];
        file.read_exact_at(&mut line, start)?;
        match json::parse_line(&line) {
            Ok(line) if line.last => {
                return Ok(Tail { len: end, held: Some(Held { lsn: line.lsn, crc: Some(line.crc) }) });
            }
            Ok(_) => end = start,
            Err(reason) => {
                debug_assert!(start < suspect, "lines in the window were read before");
                return Err(not_ours(start, &reason));
            }
        }
    }
    Ok(Tail { len: 0, held: None })
}

/// Where the line that contains the byte at `at` starts.
fn line_start_before(file: &File, at: u64) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut end = at;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        if let Some(newline) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        if at - start > MAX_LINE as u64 {
            return Err(not_ours(start, "a line longer than any record"));
        }
        end = start;
    }
    Ok(0)
}

fn not_ours(offset: u64, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no record at byte {offset}: {reason}"))
}

/// A stretch of a file as a reader that leaves the file's own position alone.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = (self.end - self.at).min(buf.len() as u64) as usize;
        let read = self.file.read_at(&mut buf[..len], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

const BLOCK: usize = 64 << 10;
