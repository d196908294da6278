//! The three-state model: what a log may, must and must not hold.

use std::collections::VecDeque;

use longshore_format::{Flags, Kind, Lsn, Record, SegmentSize};

/// A record that was read from the log, which makes it *set*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) start: Lsn,
    pub(super) end: Lsn,
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) time: u64,
    pub(super) durable: Option<Lsn>,
    pub(super) header_crc: u32,
    pub(super) payload: Box<[u8]>,
}

impl Seen {
    pub(super) fn of(record: &Record<'_>) -> Seen {
        Seen {
            start: record.start,
            end: record.end,
            kind: record.kind,
            flags: record.flags,
            time: record.time,
            durable: record.durable,
            header_crc: record.header_crc,
            payload: record.payload.into(),
        }
    }

    pub(super) fn is(&self, record: &Record<'_>) -> bool {
        (self.start, self.end, self.kind, self.flags, self.time, self.header_crc)
            == (record.start, record.end, record.kind, record.flags, record.time, record.header_crc)
            && *self.payload == *record.payload
    }
}

/// A record that was appended, which makes it *maybe*. What is `None` was not learned at the append.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) payload: Option<Box<[u8]>>,
    pub(super) start: Option<Lsn>,
    pub(super) end: Option<Lsn>,
    pub(super) header_crc: Option<u32>,
}

impl Expected {
    pub(super) fn user(kind: Kind, flags: Flags, payload: &[u8]) -> Expected {
        Expected { kind, flags, payload: Some(payload.into()), start: None, end: None, header_crc: None }
    }

    /// A record of the log itself.
    pub(super) fn of_log(kind: Kind) -> Expected {
        Expected { kind, flags: Flags::NONE, payload: None, start: None, end: None, header_crc: None }
    }

    /// Exactly this record, as a follower must hold it.
    pub(super) fn exactly(seen: &Seen) -> Expected {
        Expected {
            kind: seen.kind,
            flags: seen.flags,
            payload: Some(seen.payload.clone()),
            start: Some(seen.start),
            end: Some(seen.end),
            header_crc: Some(seen.header_crc),
        }
    }

    fn is(&self, record: &Record<'_>) -> bool {
        (self.kind, self.flags) == (record.kind, record.flags)
            && self.payload.as_ref().is_none_or(|payload| **payload == *record.payload)
            && self.start.is_none_or(|start| start == record.start)
            && self.end.is_none_or(|end| end == record.end)
            && self.header_crc.is_none_or(|crc| crc == record.header_crc)
    }
}

/// What is known of one log.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    size: SegmentSize,
    first: Lsn,
    /// Whether this log mints records of its own: a follower's does not, not even a `Roll`.
    mints: bool,
    set: Vec<Seen>,
    maybe: VecDeque<Expected>,
    acked: Lsn,
    /// The log may begin here at the latest: what is older may have been trimmed.
    trimmed: Lsn,
    /// Opens since the ledger was last matched: each may have appended an `Incarnation` that nobody told us of.
    unseen_opens: u64,
    pub(super) dropped: u64,
    user_records: u64,
}

/// Where a reading of the whole log stands.
#[derive(Debug)]
pub(super) struct Recheck {
    matched: usize,
}

impl Ledger {
    pub(super) fn new(size: SegmentSize, first: Lsn, mints: bool) -> Ledger {
        let (set, maybe) = (Vec::new(), VecDeque::new());
        Ledger {
            size,
            first,
            mints,
            set,
            maybe,
            acked: first,
            trimmed: first,
            unseen_opens: 0,
            dropped: 0,
            user_records: 0,
        }
    }

    pub(super) fn set(&self) -> &[Seen] {
        &self.set
    }

    pub(super) fn maybe(&self) -> usize {
        self.maybe.len()
    }

    pub(super) fn acked(&self) -> Lsn {
        self.acked
    }

    /// Where the log began.
    pub(super) fn first(&self) -> Lsn {
        self.first
    }

    /// Where the set part ends.
    pub(super) fn end(&self) -> Lsn {
        self.set.last().map_or(self.first, |seen| seen.end)
    }

    /// Up to where the log reaches at most, as far as appends said.
    pub(super) fn reach(&self) -> Lsn {
        self.maybe.back().and_then(|expected| expected.end).unwrap_or_else(|| self.end()).max(self.end())
    }

    /// Whether the last of the set records leaves a run open.
    pub(super) fn ends_in_run(&self) -> bool {
        let last = self.set.iter().rfind(|seen| seen.kind != Kind::ROLL);
        last.is_some_and(|seen| seen.kind.is_user() && !seen.flags.contains(Flags::LAST))
    }

    /// How many records of the user's there are, set or maybe.
    pub(super) fn user_records(&self) -> u64 {
        self.user_records
    }

    pub(super) fn appended(&mut self, record: Expected) {
        self.user_records += u64::from(record.kind.is_user());
        self.maybe.push_back(record);
    }

    /// The log says that everything below `lsn` is durable.
    pub(super) fn acknowledge(&mut self, lsn: Lsn) {
        self.acked = self.acked.max(lsn);
    }

    /// Records before `lsn` may go from now on, whole segments of them.
    pub(super) fn may_trim(&mut self, lsn: Lsn) {
        self.trimmed = self.trimmed.max(self.size.first_in(self.size.base_of(lsn)));
    }

    /// Where a log that holds all it must may begin.
    pub(super) fn may_begin_at(&self, lsn: Lsn) -> bool {
        self.first <= lsn && lsn <= self.trimmed && self.size.first_in(self.size.base_of(lsn)) == lsn
    }

    /// The records that are set, from the log's present beginning on.
    pub(super) fn set_from(&self, first: Lsn) -> &[Seen] {
        &self.set[self.set.partition_point(|seen| seen.start < first)..]
    }

    pub(super) fn opening(&mut self) {
        self.unseen_opens += 1;
    }

    /// The next record of a live log, read for the first time.
    pub(super) fn read(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.check_place(record)?;
        match self.maybe.front() {
            Some(expected) if expected.is(record) => drop(self.maybe.pop_front()),
            _ if record.kind == Kind::ROLL && self.mints => {}
            expected => return Err(format!("read {}, expected {expected:?}", show(record))),
        }
        self.set.push(Seen::of(record));
        Ok(())
    }

    /// The log was truncated to the boundary `fork`; the records that went.
    pub(super) fn cut_at(&mut self, fork: Lsn) -> Vec<Seen> {
        let tail = self.set.split_off(self.set.partition_point(|seen| seen.end <= fork));
        self.user_records -= tail.iter().filter(|seen| seen.kind.is_user()).count() as u64;
        self.acked = fork;
        tail
    }

    /// Begins to check everything that a log holds after an open, from its beginning at `first` on.
    pub(super) fn recheck(&self, first: Lsn) -> Recheck {
        Recheck { matched: self.set.partition_point(|seen| seen.start < first) }
    }

    /// The next record of a reading from the log's start.
    pub(super) fn reread(&mut self, recheck: &mut Recheck, record: &Record<'_>) -> Result<(), String> {
        if let Some(seen) = self.set.get(recheck.matched) {
            if !seen.is(record) {
                return Err(format!("a set record changed: was {seen:?}, now {}", show(record)));
            }
            recheck.matched += 1;
            return Ok(());
        }
        let own = self.maybe.front().is_some_and(|expected| expected.is(record));
        if record.kind == Kind::INCARNATION && !own {
            // The mark of an open, one that crashed perhaps: what it did not keep is gone for good.
            if self.unseen_opens == 0 || !self.mints {
                return Err(format!("an incarnation that nobody began: {}", show(record)));
            }
            self.unseen_opens -= 1;
            self.drop_maybe();
            self.check_place(record)?;
            self.set.push(Seen::of(record));
        } else {
            self.read(record).map_err(|what| format!("after a crash: {what}"))?;
        }
        recheck.matched += 1;
        Ok(())
    }

    /// The reading came to the log's end: all that is set was there, the rest is dropped.
    pub(super) fn rechecked(&mut self, recheck: Recheck) -> Result<(), String> {
        if recheck.matched < self.set.len() {
            return Err(format!("a set record is gone: {:?}", self.set[recheck.matched]));
        }
        if self.end() < self.acked {
            return Err(format!("acknowledged up to {}, but the log ends at {}", self.acked, self.end()));
        }
        self.drop_maybe();
        self.unseen_opens = 0;
        Ok(())
    }

    fn drop_maybe(&mut self) {
        self.dropped += self.maybe.len() as u64;
        self.user_records -= self.maybe.iter().filter(|expected| expected.kind.is_user()).count() as u64;
        self.maybe.clear();
    }

    fn check_place(&self, record: &Record<'_>) -> Result<(), String> {
        let rolled = record.kind == Kind::ROLL;
        let next_segment = self.size.next_base(record.start).map(|base| self.size.first_in(base));
        if record.start != self.end() || (rolled && Some(record.end) != next_segment) {
            return Err(format!("{} does not follow {}", show(record), self.end()));
        }
        if self.set.last().is_some_and(|last| record.time < last.time) {
            return Err(format!("time runs backwards at {}", show(record)));
        }
        if record.durable.is_some_and(|durable| durable > record.start) {
            return Err(format!("{} promises more than there is", show(record)));
        }
        Ok(())
    }
}

fn show(record: &Record<'_>) -> String {
    let Record { start, end, kind, flags, header_crc, payload, .. } = record;
    let head = &payload[..payload.len().min(16)];
    format!("{kind} {start}..{end} {flags:?} crc {header_crc:08x}, {} bytes {head:02x?}", payload.len())
}
