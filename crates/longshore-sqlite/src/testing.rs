//! A primary whose transactions become runs of pages, and a log that gives them to a sink.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_apply::{Held, LogFacts, RunEnd, Sink, SinkError};
use longshore_format::{Content, Flags, LogId, Lsn, Record};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::pages::{Commit, Form, KIND, PageSize, RunWriter, WalPlace, page_hash, patch_between};

pub(crate) const LOG: LogId = LogId::from_bytes([7; 16]);
pub(crate) const FACTS: LogFacts = LogFacts { id: LOG, content: Content::SqlitePages };
/// Of a record of a log with small segments.
pub(crate) const MAX_PAYLOAD: usize = 100_000;

/// The payloads of one run.
pub(crate) type Payloads = Vec<Vec<u8>>;

/// A database in WAL mode whose file is looked at after each transaction.
pub(crate) struct Primary {
    pub(crate) db: Connection,
    path: PathBuf,
    size: PageSize,
    shipped: Option<Vec<u8>>,
}

impl Primary {
    pub(crate) fn new(directory: &Path, page_bytes: u32) -> Primary {
        let path = directory.join("primary.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!("PRAGMA page_size={page_bytes}; PRAGMA journal_mode=wal; PRAGMA synchronous=off"))
            .unwrap();
        Primary { db, path, size: PageSize::new(page_bytes).unwrap(), shipped: None }
    }

    /// The whole file as it is committed.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        std::fs::read(&self.path).unwrap()
    }

    /// Runs statements as one transaction and returns its run; the first one is the whole database.
    pub(crate) fn run(&mut self, sql: &str) -> Payloads {
        self.db.execute_batch(&format!("BEGIN; {sql}; COMMIT")).unwrap();
        self.ship()
    }

    /// The run of what has changed since the last one.
    pub(crate) fn ship(&mut self) -> Payloads {
        let image = self.image();
        let run = run_between(self.shipped.as_deref(), &image, self.size);
        self.shipped = Some(image);
        run
    }

    /// The run that is the whole database as it is.
    pub(crate) fn ship_whole(&mut self) -> Payloads {
        self.shipped = None;
        self.ship()
    }
}

/// What turns one image of a database into another; a whole image without the one before.
pub(crate) fn run_between(before: Option<&[u8]>, after: &[u8], size: PageSize) -> Payloads {
    let mut writer = match before {
        Some(_) => RunWriter::changes(size, MAX_PAYLOAD.max(3 * size.bytes())),
        None => RunWriter::image(size, MAX_PAYLOAD.max(3 * size.bytes())),
    };
    let mut payloads = Payloads::new();
    let zeros = vec![0; size.bytes()];
    let mut old = before.unwrap_or_default().chunks(size.bytes());
    for (number, page) in (1..).zip(after.chunks(size.bytes())) {
        match old.next() {
            Some(old) if old == page => {}
            Some(old) => {
                let form = Form::Delta { base: page_hash(number, old), result: page_hash(number, page) };
                payloads.extend(writer.add(number, form, &patch_between(old, page)));
            }
            None => payloads.extend(writer.add(number, Form::Whole, &patch_between(&zeros, page))),
        }
    }
    let pages = (after.len() / size.bytes()) as u32;
    payloads.push(writer.finish(Commit { pages, place: WalPlace::default() }));
    payloads
}

/// Gives runs to sinks at the positions of a log.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) at: Lsn,
    pub(crate) held: Option<Held>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log { at: Lsn::new(4096), held: None }
    }

    /// Where the log is after a run that a sink has already.
    pub(crate) fn pass(&mut self, payloads: &[Vec<u8>]) {
        for payload in payloads {
            self.at = Lsn::new((self.at.get() + 32 + payload.len() as u64).next_multiple_of(8));
        }
        self.held = Some(Held { lsn: self.at, crc: Some(crc_at(self.at)) });
    }

    /// A run without its end.
    pub(crate) fn begin(&mut self, sink: &mut dyn Sink, payloads: &[Vec<u8>]) -> Result<(), SinkError> {
        sink.begin()?;
        for payload in payloads {
            let start = self.at;
            self.at = Lsn::new((start.get() + 32 + payload.len() as u64).next_multiple_of(8));
            sink.record(&Record {
                start,
                end: self.at,
                kind: KIND,
                flags: Flags::NONE,
                time: 1,
                durable: None,
                header_crc: 0,
                payload,
            })?;
        }
        Ok(())
    }

    /// A run, whole.
    pub(crate) fn give(&mut self, sink: &mut dyn Sink, payloads: &[Vec<u8>]) -> Result<(), SinkError> {
        let start = self.at;
        self.begin(sink, payloads)?;
        let crc = crc_at(self.at);
        sink.commit(&RunEnd { start, lsn: self.at, crc, time: 1, records: payloads.len() as u64 })?;
        self.held = Some(Held { lsn: self.at, crc: Some(crc) });
        Ok(())
    }
}

fn crc_at(at: Lsn) -> u32 {
    at.get() as u32 ^ 0x5555
}

/// What is in every table and what SQLite thinks of it.
pub(crate) fn dump(db: &Connection) -> BTreeMap<String, Vec<Vec<Value>>> {
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let rows = |sql: &str| -> Vec<Vec<Value>> {
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let row = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
        row.map(Result::unwrap).collect()
    };
    let mut dump = BTreeMap::from([("the schema".to_owned(), rows("SELECT * FROM sqlite_schema ORDER BY name"))]);
    for name in rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0") {
        let [Value::Text(name)] = &name[..] else { unreachable!() };
        dump.insert(name.clone(), rows(&format!("SELECT * FROM \"{name}\"")));
    }
    dump
}

/// A copy of a database as a process that is killed now leaves it. By another process: closing a descriptor of ours would
/// drop the locks of this one.
pub(crate) fn crash(database: &Path, into: &Path) {
    std::fs::create_dir(into).unwrap();
    for suffix in ["", "-wal", "-longshore"] {
        let from = crate::sidecar::beside(database, suffix);
        if from.exists() {
            assert!(Command::new("cp").arg("-p").arg(&from).arg(into).status().unwrap().success());
        }
    }
}
