//! A log in memory, minted and read by the real format, and a sink that remembers what it was given.
#![expect(dead_code, unreachable_pub, reason = "each test file uses its part of this module")]

use std::sync::{Arc, Mutex};

use longshore_apply::{Failure, Held, LogFacts, Records, RunEnd, Sink, SinkError, Source};
use longshore_format::{
    Chain, Content, Cursor, Draft, Epoch, EpochEntry, Flags, Head, Incarnation, Kind, LogId, Lsn, Record, SegmentSize,
    Step, WriterId, payload, payload_crc,
};

/// A log whose segments are stretches of one vector: the byte at position n is byte n.
#[derive(Clone)]
pub struct MemoryLog(Arc<Mutex<Inner>>);

struct Inner {
    bytes: Vec<u8>,
    cursor: Cursor,
    first: Chain,
    durable: Lsn,
    time: u64,
    content: Content,
}

pub struct MemoryRecords {
    log: MemoryLog,
    cursor: Cursor,
    held: Vec<u8>,
}

pub const SIZE: SegmentSize = SegmentSize::MIN;

impl MemoryLog {
    pub fn new() -> Self {
        Self::of_life(1)
    }

    pub fn of_life(incarnation: u64) -> Self {
        let life = EpochEntry {
            start: SegmentSize::FIRST_LSN,
            epoch: Epoch { number: 1, writer: WriterId::from_bytes([3; 16]) },
            incarnation: Incarnation::new(incarnation),
        };
        let first = Chain::first(life);
        let cursor = Cursor::new(LogId::from_bytes([7; 16]), SIZE, first);
        MemoryLog(Arc::new(Mutex::new(Inner {
            bytes: Vec::new(),
            cursor,
            first,
            durable: first.position,
            time: 1_000_000,
            content: Content::Bytes,
        })))
    }

    /// The time of what is appended from here on.
    pub fn set_time(&self, micros: u64) {
        self.0.lock().unwrap().time = micros;
    }

    pub fn record(&self, kind: Kind, flags: Flags, payload: &[u8]) -> Lsn {
        self.mint(kind, flags, payload, None)
    }

    fn mint(&self, kind: Kind, flags: Flags, payload: &[u8], life: Option<EpochEntry>) -> Lsn {
        let mut log = self.0.lock().unwrap();
        if !log.cursor.fits(payload.len()) {
            log.put(Kind::ROLL, Flags::NONE, b"", None);
        }
        let end = log.put(kind, flags, payload, life);
        log.durable = end;
        end
    }

    /// A run of these payloads; returns where it ends.
    pub fn run<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Lsn {
        let last = payloads.len() - 1;
        let mut end = Lsn::ZERO;
        for (n, payload) in payloads.iter().enumerate() {
            let flags = match (n == 0, n == last) {
                (true, true) => Flags::SINGLE,
                (true, false) => Flags::FIRST,
                (false, true) => Flags::LAST,
                (false, false) => Flags::NONE,
            };
            end = self.record(Kind::USER, flags, payload.as_ref());
        }
        end
    }

    pub fn mark(&self, name: &str) -> Lsn {
        self.record(Kind::MARK, Flags::SINGLE, name.as_bytes())
    }

    pub fn incarnation(&self, number: u64) -> Lsn {
        let new = payload::NewIncarnation { incarnation: Incarnation::new(number) };
        let before = *self.0.lock().unwrap().cursor.chain();
        let life = EpochEntry { start: before.position, incarnation: new.incarnation, ..before.life };
        self.mint(Kind::INCARNATION, Flags::NONE, &new.encode(), Some(life))
    }

    /// Takes the beginning away, as retention does.
    pub fn trim(&self, to: Lsn) {
        let mut records = self.read_from(SegmentSize::FIRST_LSN).unwrap();
        while records.chain().position < to {
            records.next().unwrap().unwrap();
        }
        let chain = *records.chain();
        self.0.lock().unwrap().first = chain;
    }

    pub fn of_content(content: Content) -> Self {
        let log = Self::new();
        log.0.lock().unwrap().content = content;
        log
    }
}

impl Inner {
    fn put(&mut self, kind: Kind, flags: Flags, payload: &[u8], life: Option<EpochEntry>) -> Lsn {
        let draft = Draft {
            kind,
            flags,
            time: self.time,
            durable: Lsn::ZERO,
            payload_len: payload.len(),
            payload_crc: payload_crc(payload),
            life,
        };
        let minted = self.cursor.mint(&draft);
        let (start, extent) = (minted.start.get() as usize, minted.extent as usize);
        self.bytes.resize(start + extent, 0);
        self.bytes[start..start + 32].copy_from_slice(&minted.header);
        self.bytes[start + 32..start + 32 + payload.len()].copy_from_slice(payload);
        minted.end
    }
}

impl Source for MemoryLog {
    type Records = MemoryRecords;

    fn facts(&self) -> LogFacts {
        LogFacts { id: LogId::from_bytes([7; 16]), content: self.0.lock().unwrap().content }
    }
    fn segment_size(&self) -> SegmentSize {
        SIZE
    }
    fn first(&self) -> Lsn {
        self.0.lock().unwrap().first.position
    }
    fn end(&self) -> Lsn {
        self.0.lock().unwrap().durable
    }
    fn read_from(&self, from: Lsn) -> longshore_wal::Result<MemoryRecords> {
        let first = self.0.lock().unwrap().first;
        let cursor = Cursor::new(LogId::from_bytes([7; 16]), SIZE, first);
        let mut records = MemoryRecords { log: self.clone(), cursor, held: Vec::new() };
        while records.cursor.position() < from {
            let nearest = records.cursor.position();
            if records.next()?.is_none() {
                return Err(longshore_wal::Error::Beyond { lsn: from, end: nearest });
            }
            if records.cursor.position() > from {
                return Err(longshore_wal::Error::NotABoundary { lsn: from, nearest });
            }
        }
        Ok(records)
    }
}

impl Records for MemoryRecords {
    fn next(&mut self) -> longshore_wal::Result<Option<Record<'_>>> {
        let log = self.log.0.lock().unwrap();
        let at = self.cursor.position().get() as usize;
        let bytes = log.bytes.get(at..).unwrap_or_default();
        // Not beyond the durable end, and a copy, so that the lock can go.
        let end = (log.durable.get() as usize).saturating_sub(at).min(bytes.len()).min(2 << 16);
        self.held.clear();
        self.held.extend_from_slice(&bytes[..end]);
        drop(log);
        match self.cursor.read(&self.held) {
            Step::Record(record) => Ok(Some(record)),
            Step::End | Step::Short { .. } => Ok(None),
            Step::Bad(bad) => panic!("{bad:?}"),
        }
    }
    fn pass(&mut self) -> longshore_wal::Result<Option<Head>> {
        let log = self.log.0.lock().unwrap();
        let bytes = log.bytes.get(self.cursor.position().get() as usize..).unwrap_or_default();
        let mut passed = self.cursor.clone();
        Ok(match passed.pass(bytes) {
            Some(head) if head.end <= log.durable => {
                self.cursor = passed;
                Some(head)
            }
            _ => None,
        })
    }
    fn chain(&self) -> &Chain {
        self.cursor.chain()
    }
}

/// What a [`MemorySink`] was given, and how it is to fail.
#[derive(Default)]
pub struct Memory {
    pub held: Option<Held>,
    pub runs: Vec<Vec<Vec<u8>>>,
    pub open: Vec<Vec<u8>>,
    pub pending: Vec<(RunEnd, Vec<Vec<u8>>)>,
    pub syncs: u64,
    pub poison: Option<Vec<u8>>,
    pub calls: Vec<&'static str>,
}

#[derive(Clone, Default)]
pub struct MemorySink(pub Arc<Mutex<Memory>>);

impl MemorySink {
    pub fn payloads(&self) -> Vec<String> {
        let memory = self.0.lock().unwrap();
        memory
            .runs
            .iter()
            .map(|run| run.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>().join("+"))
            .collect()
    }
}

impl Sink for MemorySink {
    fn name(&self) -> String {
        "memory".to_owned()
    }
    fn open(&mut self, _: &LogFacts) -> Result<Option<Held>, SinkError> {
        let mut memory = self.0.lock().unwrap();
        memory.open.clear();
        memory.pending.clear();
        Ok(memory.held)
    }
    fn begin(&mut self) -> Result<(), SinkError> {
        self.0.lock().unwrap().calls.push("begin");
        Ok(())
    }
    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let mut memory = self.0.lock().unwrap();
        assert!(record.kind.is_user());
        if memory.poison.as_deref() == Some(record.payload) {
            memory.open.clear();
            return Err(SinkError::new(Failure::Refused, "poison"));
        }
        memory.open.push(record.payload.to_vec());
        Ok(())
    }
    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        let mut memory = self.0.lock().unwrap();
        let open = std::mem::take(&mut memory.open);
        assert_eq!(open.len() as u64, run.records);
        memory.pending.push((*run, open));
        Ok(())
    }
    fn sync(&mut self) -> Result<(), SinkError> {
        let mut memory = self.0.lock().unwrap();
        memory.syncs += 1;
        for (end, run) in std::mem::take(&mut memory.pending) {
            assert!(memory.held.is_none_or(|held| held.lsn < end.lsn));
            memory.held = Some(end.held());
            memory.runs.push(run);
        }
        Ok(())
    }
    fn durable(&self) -> Option<Lsn> {
        self.0.lock().unwrap().held.map(|held| held.lsn)
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync()
    }
}
