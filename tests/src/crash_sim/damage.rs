//! Damage to durable bytes, done to a copy of the disk: a log that holds them must refuse, and change nothing.

use std::sync::Arc;

use longshore_format::{Cursor, Draft, ErrorKind, Kind, Lsn, RECORD_HEADER_LEN, SegmentDigest, payload_crc};
use longshore_wal::{Error, SegmentState, Wal};

use super::ledger::Seen;
use super::node::{LOG, Node, Step, Stop, broken};
use crate::sim_disk::SimDisk;
use crate::sim_rng::Rng;

/// What is done to the copy.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit of a record (F-006 to F-008).
    Bit,
    /// One bit of a segment's header (F-009).
    Header,
    /// A record replaced by another one of its place, size and life, as two owners of one log would leave it (F-053);
    /// only the next record's link knows.
    Forgery,
    /// A segment that is gone (F-031, F-033).
    Missing,
    /// A sector that cannot be read (F-030).
    BadSector,
    /// A page of zeros, as of a write that was lost after its sync (F-005, F-028).
    LostPage,
}

impl Node {
    /// Damages a copy of this open, healthy log below what is acknowledged, and opens the copy.
    pub(super) fn damage_a_copy(&mut self, rng: &mut Rng) -> Step {
        self.read()?;
        let first = self.wal().first();
        let set = self.ledger.set_from(first);
        let durable = set.partition_point(|seen| seen.end <= self.ledger.acked());
        if durable < 3 {
            return Ok(());
        }
        let kinds = [
            Damage::Bit,
            Damage::Bit,
            Damage::Header,
            Damage::Forgery,
            Damage::Missing,
            Damage::BadSector,
            Damage::LostPage,
        ];
        let (kind, victim) = (*rng.pick(&kinds), rng.index(durable - 1));
        let victim = &set[victim].clone();
        let copy = self.disk.fork(rng.next_u64());
        if !self.damage(&copy, kind, victim, rng)? {
            return Ok(());
        }
        self.note(|| format!("on a copy: {kind:?} at {}", victim.start));
        let before = copy.stats().operations;
        let refused = match self.open_copy(&copy) {
            Err(error) if copy.stats().operations > before => {
                return broken(format!("{kind:?}: refused, but something was changed: {error}"));
            }
            Err(error) => error,
            // A forgery holds by itself; the record after it does not.
            Ok(wal) => self.read_copy(&wal, matches!(kind, Damage::Forgery).then_some(victim.start))?,
        };
        self.tally.disk += copy.stats();
        let wanted = match refused.kind() {
            ErrorKind::Corrupt | ErrorKind::Gap | ErrorKind::Preflight | ErrorKind::Diverged => true,
            ErrorKind::NotFound => matches!(kind, Damage::Missing),
            ErrorKind::Poisoned => matches!(kind, Damage::BadSector),
            _ => false,
        };
        if !wanted {
            return broken(format!("{kind:?} at {}: {refused}", victim.start));
        }
        self.tally.corruptions_refused += 1;
        Ok(())
    }

    /// Does it; `false` if there is nothing here that it could be done to.
    fn damage(&self, copy: &SimDisk, kind: Damage, victim: &Seen, rng: &mut Rng) -> Step<bool> {
        let base = self.size.base_of(victim.start);
        let path = format!("{LOG}/{}", self.size.file_name(base));
        let offset = self.size.offset_in(victim.start);
        let extent = (RECORD_HEADER_LEN + victim.payload.len()).next_multiple_of(8) as u64;
        let flip = |at: u64, bit: u64| copy.damage(&path, at, |byte| *byte ^= 1 << bit);
        match kind {
            Damage::Bit => Ok(flip(offset + rng.below(extent), rng.below(8))),
            Damage::Header => Ok(flip(rng.below(100), rng.below(8))),
            Damage::Forgery => self.forge(copy, &path, victim),
            Damage::BadSector => Ok(copy.spoil(&path, offset)),
            Damage::LostPage => {
                let page = offset / 4096 * 4096;
                Ok((page..page + 4096).all(|at| copy.damage(&path, at, |byte| *byte = 0)))
            }
            Damage::Missing => {
                // A first segment that is gone looks like one that was trimmed.
                if base == self.size.base_of(self.wal().first()) {
                    return Ok(false);
                }
                let dir = copy.root().open_subdir(LOG).and_then(|dir| dir.remove(&self.size.file_name(base)));
                dir.map(|()| true).map_err(|error| Stop::Broken(format!("remove: {error}")))
            }
        }
    }

    /// Writes another record of the same place, size and life over the victim.
    fn forge(&self, copy: &SimDisk, path: &str, victim: &Seen) -> Step<bool> {
        if !victim.kind.is_user() || victim.payload.is_empty() {
            return Ok(false);
        }
        let chain = match self.wal().reader(victim.start) {
            Ok(reader) => *reader.chain(),
            Err(error) => {
                return broken(format!("no reader at the boundary {}: {error}", victim.start));
            }
        };
        let mut payload = victim.payload.to_vec();
        payload[0] ^= 0xff;
        let draft = Draft {
            kind: victim.kind,
            flags: victim.flags,
            time: victim.time,
            durable: victim.durable.unwrap_or(victim.start),
            payload_len: payload.len(),
            payload_crc: payload_crc(&payload),
            life: None,
        };
        let minted = Cursor::new(self.wal().id(), self.size, chain).mint(&draft);
        let offset = self.size.offset_in(victim.start);
        let mut bytes = minted.header.iter().chain(&payload).zip(offset..);
        Ok(bytes.all(|(new, at)| copy.damage(path, at, |byte| *byte = *new)))
    }

    /// Reads all of a damaged copy that could be opened; the error with which that ends.
    fn read_copy(&self, wal: &Wal, forged: Option<Lsn>) -> Step<Error> {
        let first = self.wal().first();
        if wal.first() != first {
            return broken(format!("the damaged log begins at {} instead of {first}", wal.first()));
        }
        let mut reader = match wal.reader(first) {
            Ok(reader) => reader,
            Err(error) => return Ok(error),
        };
        for seen in self.ledger.set_from(first) {
            match reader.next() {
                Ok(Some(record)) if *seen == Seen::of(&record) || forged == Some(record.start) => {}
                Ok(record) => return broken(format!("damage was served, or cut: {record:?} instead of {seen:?}")),
                Err(error) => return Ok(error),
            }
        }
        broken("damage was not noticed at all")
    }

    fn open_copy(&self, copy: &SimDisk) -> Result<Wal, Error> {
        let dir = copy.root().open_subdir(LOG).expect("the copy has the directory");
        Wal::open(dir, Arc::new(self.environment.clone()), self.settings.clone()).map(|(wal, _)| wal)
    }

    /// Every sealed segment's digest is that of its bytes, and zeros stand between its last record and its footer.
    pub(super) fn check_sealed(&mut self) -> Step {
        for segment in self.wal().segments() {
            if segment.state != SegmentState::Sealed {
                continue;
            }
            self.tally.segments_sealed += 1;
            let bytes = self.segment_bytes(segment.base);
            let body_end = self.size.body_end_offset() as usize;
            let digest = match self.wal().digest(segment.base) {
                Ok(digest) => digest,
                Err(error) => return Err(self.judge(&error, "digest")),
            };
            if digest != Some(SegmentDigest::of(&bytes[..body_end])) {
                return broken(format!("the digest of segment {} is not that of its bytes", segment.base));
            }
            let roll = self.ledger.set().iter().rfind(|seen| self.size.base_of(seen.start) == segment.base);
            let roll = roll.filter(|seen| seen.kind == Kind::ROLL);
            let Some(roll) = roll else {
                return broken(format!("segment {} is sealed, but does not end with a roll", segment.base));
            };
            let end = self.size.offset_in(roll.start) as usize + RECORD_HEADER_LEN;
            if bytes[end..body_end].iter().any(|byte| *byte != 0) {
                return broken(format!("segment {} is not zero between its roll and its footer", segment.base));
            }
        }
        Ok(())
    }

    /// The bytes of a segment's file.
    pub(super) fn segment_bytes(&self, base: Lsn) -> Arc<Vec<u8>> {
        self.disk.read(&format!("{LOG}/{}", self.size.file_name(base))).unwrap_or_default()
    }
}
