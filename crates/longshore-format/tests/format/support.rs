//! A writer that lays minted records into segments in memory, as a log does on disk.

use longshore_format::{
    Chain, Content, Cursor, Draft, Epoch, EpochEntry, EpochHistory, Flags, Footer, Incarnation, IndexBuilder, Kind,
    LogId, Lsn, Record, SegmentDigest, SegmentHeader, SegmentSize, Step, WriterId, payload, payload_crc,
};

pub(crate) const SIZE: SegmentSize = SegmentSize::MIN;
pub(crate) const LOG: LogId = LogId::from_bytes(*b"the log under te");
pub(crate) const NOON: u64 = 1_700_000_000_000_000;

pub(crate) fn life(start: u64, number: u64, writer: u8, incarnation: u64) -> EpochEntry {
    EpochEntry {
        start: Lsn::new(start),
        epoch: Epoch { number, writer: WriterId::from_bytes([writer; 16]) },
        incarnation: Incarnation::new(incarnation),
    }
}

pub(crate) fn first_life() -> EpochEntry {
    life(4096, 1, 0xa1, 0x11)
}

/// A log in memory.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) cursor: Cursor,
    pub(crate) history: EpochHistory,
    pub(crate) durable: Lsn,
    /// One vector of the segment's size for each segment.
    pub(crate) segments: Vec<Vec<u8>>,
    pub(crate) chains: Vec<Chain>,
}

impl Image {
    pub(crate) fn new() -> Image {
        Image::of_size(SIZE)
    }

    pub(crate) fn of_size(size: SegmentSize) -> Image {
        let mut image = Image {
            cursor: Cursor::new(LOG, size, Chain::first(first_life())),
            history: EpochHistory::new(first_life()),
            durable: Lsn::ZERO,
            segments: Vec::new(),
            chains: Vec::new(),
        };
        image.open_segment();
        image
    }

    fn open_segment(&mut self) {
        let mut segment = self.header().encode();
        segment.resize(self.cursor.size().get() as usize, 0);
        self.segments.push(segment);
    }

    pub(crate) fn header(&self) -> SegmentHeader {
        SegmentHeader {
            log: LOG,
            content: Content::Sql,
            size: self.cursor.size(),
            chain: *self.cursor.chain(),
            history: self.history.clone(),
        }
    }

    /// Mints one record where it belongs; rolls first if it does not fit.
    pub(crate) fn put(&mut self, kind: Kind, flags: Flags, time: u64, payload: &[u8]) -> Lsn {
        if kind != Kind::ROLL && !self.cursor.fits(payload.len()) {
            self.roll(time);
        }
        self.put_here(kind, flags, time, payload, None)
    }

    pub(crate) fn single(&mut self, payload: &[u8]) -> Lsn {
        self.put(Kind::USER, Flags::SINGLE, NOON, payload)
    }

    pub(crate) fn roll(&mut self, time: u64) {
        self.put_here(Kind::ROLL, Flags::NONE, time, &[], None);
        self.open_segment();
    }

    pub(crate) fn incarnate(&mut self, number: u64) -> Lsn {
        let start = self.cursor.position();
        let life = EpochEntry { start, incarnation: Incarnation::new(number), ..self.cursor.chain().life };
        let payload = payload::NewIncarnation { incarnation: life.incarnation }.encode();
        self.history.push(life).unwrap();
        self.put_here(Kind::INCARNATION, Flags::NONE, NOON, &payload, Some(life))
    }

    pub(crate) fn begin_epoch(&mut self, number: u64, writer: u8) -> Lsn {
        let new = life(self.cursor.position().get(), number, writer, number);
        self.history.push(new).unwrap();
        let payload = payload::EpochStart { history: self.history.clone() }.encode();
        self.put_here(Kind::EPOCH_START, Flags::NONE, NOON, &payload, Some(new))
    }

    fn put_here(&mut self, kind: Kind, flags: Flags, time: u64, payload: &[u8], life: Option<EpochEntry>) -> Lsn {
        self.chains.push(*self.cursor.chain());
        let minted = self.cursor.mint(&Draft {
            kind,
            flags,
            time,
            durable: self.durable,
            payload_len: payload.len(),
            payload_crc: payload_crc(payload),
            life,
        });
        let offset = self.cursor.size().offset_in(minted.start) as usize;
        let segment = self.segments.last_mut().unwrap();
        segment[offset..offset + 32].copy_from_slice(&minted.header);
        segment[offset + 32..offset + 32 + payload.len()].copy_from_slice(payload);
        minted.start
    }

    /// The bytes from `lsn` to the end of its segment's body.
    pub(crate) fn body_from(&self, lsn: Lsn) -> &[u8] {
        let size = self.cursor.size();
        let segment = &self.segments[(lsn.get() / size.get()) as usize];
        &segment[size.offset_in(lsn) as usize..size.body_end_offset() as usize]
    }

    /// The state before the record that starts at `lsn`.
    pub(crate) fn cursor_at(&self, lsn: Lsn) -> Cursor {
        let chain = self.chains.iter().find(|chain| chain.position == lsn).unwrap();
        Cursor::new(LOG, self.cursor.size(), *chain)
    }

    /// Reads from the beginning; how it ended, and a copy of each record.
    pub(crate) fn read(&self) -> (Vec<Owned>, Step<'_>) {
        let mut cursor = Cursor::new(LOG, self.cursor.size(), Chain::first(first_life()));
        let mut records = Vec::new();
        loop {
            match cursor.read(self.body_from(cursor.position())) {
                Step::Record(record) => records.push(Owned::from(record)),
                other => return (records, other),
            }
        }
    }

    /// The footer of the segment with this number, from its records.
    pub(crate) fn footer(&self, number: usize, previous: longshore_format::Digest) -> Footer {
        let size = self.cursor.size();
        let base = Lsn::new(number as u64 * size.get());
        let mut index = IndexBuilder::new(size);
        let own: Vec<_> = self.chains.iter().filter(|chain| size.base_of(chain.position) == base).collect();
        own.iter().for_each(|chain| index.observe(chain));
        let mut digest = SegmentDigest::new();
        digest.update(&self.segments[number][..size.body_end_offset() as usize]);
        Footer {
            base,
            records: own.len() as u64,
            last: own.last().unwrap().position,
            digest: digest.finish(size),
            previous,
            index: Some(index.finish()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) time: u64,
    pub(crate) durable: Option<Lsn>,
    pub(crate) payload: Vec<u8>,
}

impl From<Record<'_>> for Owned {
    fn from(record: Record<'_>) -> Owned {
        Owned {
            start: record.start,
            end: record.end,
            kind: record.kind,
            flags: record.flags,
            time: record.time,
            durable: record.durable,
            payload: record.payload.to_vec(),
        }
    }
}

/// Each way to flip one bit of `bytes`, one after the other.
pub(crate) fn each_bit_flipped(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    let mut copy = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        copy[bit / 8] ^= 1 << (bit % 8);
        check(bit, &copy);
        copy[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Gives a header of this image the checksum it needs to look sound where it is: what a bug, not a
/// disk, would write.
pub(crate) fn forge(cursor: &Cursor, header: &mut [u8]) {
    let chain = cursor.chain();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(cursor.log().as_bytes());
    hasher.update(&chain.life.epoch.number.to_le_bytes());
    hasher.update(chain.life.epoch.writer.as_bytes());
    hasher.update(&chain.life.incarnation.get().to_le_bytes());
    hasher.update(&chain.position.get().to_le_bytes());
    header[4..8].fill(0);
    hasher.update(header);
    let crc = hasher.finalize();
    header[4..8].copy_from_slice(&crc.to_le_bytes());
}
