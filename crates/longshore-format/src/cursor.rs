//! Walking a log: one record is read, or minted, after the other.
//!
//! Reading and minting are one type because they are one rule: what is minted here is exactly what
//! would be read here, and both leave the same state behind.

use crate::bytes::is_zero;
use crate::record::{HEADER_LEN, NO_PROMISE, RawHeader, extent_of};
use crate::seed::Seed;
use crate::{Bad, Chain, Draft, EpochEntry, Fault, Head, Kind, LogId, Lsn, Minted, Record, SegmentSize, payload, run};

/// A place between two records of a log, from which one can go on.
///
/// ```
/// use longshore_format::{
///     Chain, Cursor, Draft, Epoch, EpochEntry, Flags, Incarnation, Kind, LogId, Lsn, SegmentSize, Step, WriterId,
///     payload_crc,
/// };
///
/// let life = EpochEntry {
///     start: SegmentSize::FIRST_LSN,
///     epoch: Epoch { number: 1, writer: WriterId::from_bytes([7; 16]) },
///     incarnation: Incarnation::new(1),
/// };
/// let mut writer = Cursor::new(LogId::from_bytes([1; 16]), SegmentSize::DEFAULT, Chain::first(life));
/// let mut reader = writer.clone();
///
/// let payload = b"hello";
/// let minted = writer.mint(&Draft {
///     kind: Kind::USER,
///     flags: Flags::SINGLE,
///     time: 1_700_000_000_000_000,
///     durable: Lsn::ZERO,
///     payload_len: payload.len(),
///     payload_crc: payload_crc(payload),
///     life: None,
/// });
/// let mut bytes = minted.header.to_vec();
/// bytes.extend_from_slice(payload);
/// bytes.resize(minted.extent as usize, 0);
///
/// let Step::Record(record) = reader.read(&bytes) else { panic!("what was minted can be read") };
/// assert_eq!(record.payload, payload);
/// assert_eq!(record.end, minted.end);
/// assert_eq!(reader.chain(), writer.chain());
/// ```
#[derive(Clone, Debug)]
pub struct Cursor {
    log: LogId,
    size: SegmentSize,
    chain: Chain,
    /// The seed of `chain.life`, kept so that it is hashed once a life, not once a record.
    seed: Seed,
}

/// What stands where the next record should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A good record; the cursor is now behind it.
    Record(Record<'a>),
    /// Zeros: nothing was written here yet. The cursor has not moved.
    End,
    /// So far so good, but `need` bytes from the position are needed to tell. The cursor has not
    /// moved. If there are no more bytes to be had, the record was cut off.
    Short {
        /// How many bytes, counted from the position; at most 1 MiB.
        need: usize,
    },
    /// No good record. The cursor has not moved.
    Bad(Bad),
}

impl Cursor {
    /// A cursor at the position of `chain`.
    pub fn new(log: LogId, size: SegmentSize, chain: Chain) -> Cursor {
        Cursor { log, size, seed: Seed::of(log, &chain.life), chain }
    }

    /// The state here: what a cursor can be made from again.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Where the next record starts.
    pub fn position(&self) -> Lsn {
        self.chain.position
    }

    /// Which log this is.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The size of the log's segments.
    pub fn size(&self) -> SegmentSize {
        self.size
    }

    /// Reads the record at the position. `bytes` start there and may reach as far as the body of
    /// the segment does, or less.
    ///
    /// Never looks at bytes the record does not own, never allocates by a length it has read.
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Step<'a> {
        let Some(raw) = bytes.first_chunk::<HEADER_LEN>() else {
            return Step::Short { need: HEADER_LEN };
        };
        if is_zero(raw) {
            return Step::End;
        }
        let Some(header) = self.header(raw) else {
            return Step::Bad(Bad { fault: Fault::HeaderChecksum, extent: None });
        };
        let (payload_len, end) = match self.room(header.kind, header.payload_len()) {
            Some(room) => room,
            None => {
                return Step::Bad(Bad { fault: Fault::Length(header.length), extent: None });
            }
        };
        let extent = extent_of(payload_len);
        match self.judge(&header, bytes, end) {
            Ok(Some(record)) => Step::Record(record),
            Ok(None) => Step::Short { need: extent as usize },
            Err(fault) => Step::Bad(Bad { fault, extent: Some(extent) }),
        }
    }

    /// Moves behind a user's record by its header alone, with which `bytes` begin: place, link and order are checked, the
    /// payload is not. `None`, and no move, where only [`read`](Cursor::read) can tell: of the log's own records, and of what
    /// is not good or not there.
    pub fn pass(&mut self, bytes: &[u8]) -> Option<Head> {
        let header = self.header(bytes.first_chunk()?).filter(|header| header.kind.is_user())?;
        let (start, (payload_len, end)) = (self.chain.position, self.room(header.kind, header.payload_len())?);
        let (run, _) = self.follows(&header).ok()?;
        let RawHeader { kind, flags, time, crc: header_crc, .. } = header;
        self.chain = Chain { position: end, link: header_crc, time, life: self.chain.life, run };
        Some(Head { start, end, kind, flags, time, header_crc, payload_len })
    }

    /// Mints the record at the position: gives it its place, its link and its checksums, and moves
    /// behind it. The caller copies [`Minted::header`] and the payload into the log.
    ///
    /// # Panics
    /// If the draft breaks a rule that [`read`](Cursor::read) would refuse: it does not fit
    /// ([`fits`](Cursor::fits)), breaks the order of runs, or begins a life that cannot follow.
    pub fn mint(&mut self, draft: &Draft) -> Minted {
        let start = self.chain.position;
        let (_, end) = self.room(draft.kind, Some(draft.payload_len)).expect("the caller saw that it fits");
        let run =
            run::after(self.chain.run, draft.kind, draft.flags, start).expect("the caller keeps the order of runs");
        assert_eq!(draft.life.is_some(), draft.kind.begins_life(), "a life and its record go together");
        let distance = u32::try_from(start.since(draft.durable)).unwrap_or(NO_PROMISE);
        let time = draft.time.max(self.chain.time);
        let mut header = RawHeader {
            length: (HEADER_LEN + draft.payload_len) as u32,
            crc: 0,
            payload_crc: self.seed.payload_crc(start, draft.payload_crc),
            link: self.chain.link,
            kind: draft.kind,
            flags: draft.flags,
            distance,
            time,
        };
        header.crc = self.seed.header_crc(start, &header.encode());
        if let Some(life) = draft.life {
            payload::check_life(&self.chain, draft.kind, &life).expect("the new life can follow");
            self.enter(life);
        }
        self.chain = Chain { position: end, link: header.crc, time, life: self.chain.life, run };
        Minted { header: header.encode(), start, end, extent: extent_of(draft.payload_len) }
    }

    /// Whether a record with so long a payload still fits into this segment, with room for the
    /// `Roll` after it. If not, a `Roll` always fits.
    pub fn fits(&self, payload_len: usize) -> bool {
        self.room(Kind::USER, Some(payload_len)).is_some()
    }

    /// A record of this kind and payload at the position: its payload's length and its end, or
    /// `None` if it cannot be there.
    #[inline]
    fn room(&self, kind: Kind, payload_len: Option<usize>) -> Option<(usize, Lsn)> {
        let payload_len = payload_len.filter(|len| *len <= self.size.max_payload())?;
        let start = self.chain.position;
        let free = self.size.body_end_offset().checked_sub(self.size.offset_in(start))?;
        if kind == Kind::ROLL {
            let next = self.size.next_base(start)?;
            return (payload_len == 0 && HEADER_LEN as u64 <= free).then(|| (0, self.size.first_in(next)));
        }
        let extent = extent_of(payload_len);
        let end = start.checked_add(extent)?;
        (extent + HEADER_LEN as u64 <= free).then_some((payload_len, end))
    }

    /// A header whose checksum holds at the position.
    #[inline]
    fn header(&self, raw: &[u8; HEADER_LEN]) -> Option<RawHeader> {
        let header = RawHeader::decode(raw);
        (self.seed.header_crc(self.chain.position, raw) == header.crc).then_some(header)
    }

    /// Whether a header can be the next one: the run that is open after it, and the promise it makes.
    #[inline]
    fn follows(&self, header: &RawHeader) -> Result<(Option<Lsn>, Option<Lsn>), Fault> {
        let start = self.chain.position;
        if header.link != self.chain.link {
            return Err(Fault::Link);
        }
        let run = run::after(self.chain.run, header.kind, header.flags, start)?;
        if header.time < self.chain.time {
            return Err(Fault::TimeBackwards { previous: self.chain.time, time: header.time });
        }
        Ok((run, header.durable(start)?))
    }

    /// Checks a record whose header is good and whose extent is possible, and moves behind it.
    /// `None` if the bytes end inside the record.
    #[inline]
    fn judge<'a>(&mut self, header: &RawHeader, bytes: &'a [u8], end: Lsn) -> Result<Option<Record<'a>>, Fault> {
        let start = self.chain.position;
        let (run, durable) = self.follows(header)?;
        let payload_len = header.length as usize - HEADER_LEN;
        let Some(body) = bytes.get(HEADER_LEN..extent_of(payload_len) as usize) else {
            return Ok(None);
        };
        let (payload, padding) = body.split_at(payload_len);
        if self.seed.payload_crc(start, crate::payload_crc(payload)) != header.payload_crc {
            return Err(Fault::PayloadChecksum);
        }
        if !is_zero(padding) {
            return Err(Fault::Padding);
        }
        if header.kind.begins_life() {
            let life = payload::new_life(header.kind, payload, &self.chain).map_err(Fault::Life)?;
            self.enter(life);
        }
        self.chain = Chain { position: end, link: header.crc, time: header.time, life: self.chain.life, run };
        Ok(Some(Record {
            start,
            end,
            kind: header.kind,
            flags: header.flags,
            time: header.time,
            durable,
            header_crc: header.crc,
            payload,
        }))
    }

    /// From here on the records are `life`'s.
    fn enter(&mut self, life: EpochEntry) {
        self.chain.life = life;
        self.seed = Seed::of(self.log, &life);
    }
}
