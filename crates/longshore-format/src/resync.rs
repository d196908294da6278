//! Looking for proof that a bad record is corruption and not the end of a torn tail.

use crate::bytes::is_zero;
use crate::payload::{EpochStart, NewIncarnation};
use crate::record::{HEADER_LEN, RawHeader, extent_of};
use crate::seed::Seed;
use crate::{EpochEntry, Flags, Kind, LogId, Lsn, SegmentHeader, SegmentSize};

/// A search, in one segment, for records that were written after a bad one.
///
/// Yields each record whose header is sound under one of the given lives and links to a sound header
/// directly before it: a lone candidate is not believed. The extent of a sound header is never
/// entered, so a payload that looks like records is not taken for any (F-019). Each position is
/// looked at once, whatever the bytes say, and nothing grows with them.
///
/// What is found says that bytes after the bad record were written; whether they were *durable* is
/// what [`Evidence::promise`] says, and only of the disk of whoever minted that life.
#[derive(Clone, Debug)]
pub struct Resync<'a> {
    log: LogId,
    size: SegmentSize,
    lives: Vec<EpochEntry>,
    /// For each of the lives what its seed adds to a header's checksum.
    shares: Vec<u32>,
    unseeded: Seed,
    /// The rest of the body, or a part of it.
    bytes: &'a [u8],
    /// No record that begins in so many of the last `bytes` is looked at.
    ahead: usize,
    /// Where `bytes` begin.
    position: Lsn,
    /// The checksum of the sound header whose extent ends at `position`.
    link: Option<u32>,
}

/// A record that is certainly one: its header is sound, so is the one directly before it, and they
/// link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where it starts.
    pub start: Lsn,
    /// The life it was checked under.
    pub life: EpochEntry,
    /// What it says was durable when it was minted, if anything.
    pub promise: Option<Lsn>,
}

impl<'a> Resync<'a> {
    /// A search in the segment of the bad record. `bytes` are a part of its body that begins at
    /// `from`: where the bad record's extent ends if that is known, else eight bytes after its start.
    ///
    /// `lives` are those that the records can be of: the one at the bad record, and all later ones
    /// that the control file or later segments' headers know. Lives that begin on the way are added.
    pub fn new(log: LogId, size: SegmentSize, lives: &[EpochEntry], from: Lsn, bytes: &'a [u8]) -> Resync<'a> {
        // Past the last multiple of eight there is nothing to find.
        let position = from.get().checked_next_multiple_of(8).unwrap_or(u64::MAX);
        let bytes = bytes.get((position - from.get()) as usize..).unwrap_or_default();
        let mut search = Resync {
            log,
            size,
            lives: Vec::new(),
            shares: Vec::new(),
            unseeded: Seed::none(),
            bytes,
            ahead: 0,
            position: Lsn::new(position),
            link: None,
        };
        lives.iter().for_each(|life| search.add_life(*life));
        search
    }

    /// A search in a later segment, whose header is good: the link in it stands for the record
    /// before its first. `body` begins with the first record.
    pub fn in_segment(header: &SegmentHeader, lives: &[EpochEntry], body: &'a [u8]) -> Resync<'a> {
        let chain = &header.chain;
        let mut search = Resync::new(header.log, header.size, lives, chain.position, body);
        search.add_life(chain.life);
        search.link = Some(chain.link);
        search
    }

    /// Where the search is. Once it has ended, fewer bytes than a header takes are left there.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The same search over other bytes, which begin at its position: so that a body can be gone through in parts. Of the
    /// last `ahead` bytes only records are looked at that begin before them; where more bytes follow, it should be as
    /// much as a record can take.
    pub fn over<'b>(self, bytes: &'b [u8], ahead: usize) -> Resync<'b> {
        Resync { bytes, ahead, ..self }
    }

    /// The sound header at the position, if one is there, and the life that it is of.
    fn sound(&self) -> Option<(RawHeader, EpochEntry)> {
        let raw = self.bytes.first_chunk::<HEADER_LEN>()?;
        let header = RawHeader::decode(raw);
        let payload_len = header.payload_len().filter(|len| *len <= self.size.max_payload())?;
        let end = self.size.offset_in(self.position) + extent_of(payload_len);
        if end > self.size.body_end_offset() || header.flags.bits() > Flags::ALL.bits() {
            return None;
        }
        let share = header.crc ^ self.unseeded.header_crc(self.position, raw);
        let life = self.shares.iter().position(|known| *known == share)?;
        Some((header, self.lives[life]))
    }

    /// The life that the record at the position begins, if its payload holds.
    fn new_life(&self, header: &RawHeader, life: &EpochEntry) -> Option<EpochEntry> {
        let payload = self.bytes.get(HEADER_LEN..header.length as usize)?;
        let crc = Seed::of(self.log, life).payload_crc(self.position, crate::payload_crc(payload));
        if crc != header.payload_crc {
            return None;
        }
        if header.kind == Kind::EPOCH_START {
            return EpochStart::decode(payload).ok().map(|start| *start.history.current());
        }
        let incarnation = NewIncarnation::decode(payload)?.incarnation;
        Some(EpochEntry { start: self.position, epoch: life.epoch, incarnation })
    }

    fn add_life(&mut self, life: EpochEntry) {
        if !self.lives.contains(&life) && self.lives.len() < LIVES_LIMIT {
            self.lives.push(life);
            self.shares.push(Seed::of(self.log, &life).share());
        }
    }

    fn skip(&mut self, bytes: u64) {
        let skipped = self.bytes.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.bytes = &self.bytes[skipped..];
        self.position = self.position.checked_add(bytes).unwrap_or(Lsn::MAX);
    }
}

impl Iterator for Resync<'_> {
    type Item = Evidence;

    fn next(&mut self) -> Option<Evidence> {
        while HEADER_LEN.max(self.ahead + 1) <= self.bytes.len() {
            let Some((header, life)) = self.sound() else {
                self.link = None;
                // No header begins with zeros, which are most of what follows a torn tail.
                self.skip(leading_zeros(self.bytes).max(8) as u64);
                continue;
            };
            let start = self.position;
            let linked = self.link == Some(header.link);
            if header.kind.begins_life()
                && let Some(new) = self.new_life(&header, &life)
            {
                self.add_life(new);
            }
            self.link = Some(header.crc);
            self.skip(extent_of(header.payload_len().unwrap_or(0)));
            if linked {
                return Some(Evidence { start, life, promise: header.durable(start).ok().flatten() });
            }
        }
        None
    }
}

/// How many zeros the bytes begin with, in whole eights.
fn leading_zeros(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let zeros = |bytes: &[u8], len| bytes.chunks_exact(len).take_while(|chunk| is_zero(chunk)).count() * len;
    // Whole blocks first, which is as fast as memory.
    let blocks = match bytes.first_chunk::<8>() {
        Some([0, 0, 0, 0, 0, 0, 0, 0]) => zeros(bytes, BLOCK),
        _ => return 0,
    };
    blocks + zeros(&bytes[blocks..], 8)
}

/// More than a history holds twice over; a bound on the work for each position.
const LIVES_LIMIT: usize = 128;
