//! A log in memory beside databases in a temporary directory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this module")]

#[path = "../../../longshore-apply/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};

pub use common::{MemoryLog, SIZE};
use longshore_apply::{Applier, Error, Step, Target};
use longshore_format::{Content, LogId, Lsn};
use longshore_sqlite::{Batch, Recorder, Recording, SqlSink};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

pub const LOG: LogId = LogId::from_bytes([7; 16]);

pub struct Place {
    pub dir: TempDir,
    pub log: MemoryLog,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap(), log: MemoryLog::of_content(Content::Sql) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn host(&self) -> Recorder {
        self.host_with("")
    }

    pub fn host_with(&self, setup: &str) -> Recorder {
        let connection = Connection::open(self.path("host.db")).unwrap();
        connection.execute_batch(setup).unwrap();
        Recorder::new(connection, LOG).unwrap().with_max_payload(SIZE.max_payload())
    }

    /// The one order.
    pub fn transact(&self, host: &mut Recorder, work: impl FnOnce(&mut Recording<'_>)) -> Lsn {
        let mut recording = host.begin().unwrap();
        work(&mut recording);
        let recorded = recording.record().unwrap();
        let position = self.log.run(recorded.payloads());
        recorded.commit(position).unwrap();
        position
    }

    /// Statements as a client of another language would append them.
    pub fn append(&self, statements: &[&str]) -> Lsn {
        let mut batch = Batch::new();
        for sql in statements {
            batch.push(*sql, Vec::new()).unwrap();
        }
        self.log.run(&batch.into_payloads())
    }

    pub fn replicate(&self, name: &str) -> Result<(), Error> {
        let mut applier = Applier::open(self.log.clone(), SqlSink::new(self.path(name)), Target::LATEST)?;
        while applier.step()? != Step::Idle {}
        applier.finish().map(drop)
    }

    pub fn dump(&self, name: &str) -> Vec<String> {
        dump(&self.path(name))
    }
}

/// Everything a database holds but its position.
pub fn dump(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut lines = Vec::new();
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE name <> '_longshore_position' ORDER BY name";
    let mut schema = db.prepare(sql).unwrap();
    let objects: Vec<(String, String, Option<String>)> =
        schema.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect();
    for (kind, name, sql) in objects {
        lines.push(format!("{kind} {name} {sql:?}"));
        if kind == "table" {
            let mut table = db.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = table.column_count();
            let mut rows = table.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let values: Vec<Value> = (0..columns).map(|n| row.get(n).unwrap()).collect();
                lines.push(format!("  {name}: {values:?}"));
            }
        }
    }
    lines
}
