//! The suite of all sinks, with transactions of pages.

use super::*;

/// The suite's numbers, as rows of a primary whose transactions come when a run is complete.
struct Numbers {
    dir: TempDir,
    primary: Arc<Mutex<Images>>,
}

/// The images of a database that holds the numbers below `n`.
struct Images {
    db: Connection,
    path: PathBuf,
    next: u64,
    images: HashMap<u64, Vec<u8>>,
}

/// Keeps a run's numbers until it is complete.
struct Translating {
    sink: PageSink,
    primary: Arc<Mutex<Images>>,
    run: Vec<(u64, Lsn, Lsn)>,
}

impl Images {
    fn of(&mut self, n: u64) -> Vec<u8> {
        while self.next < n {
            self.db.execute("INSERT INTO numbers VALUES (?1)", [self.next as i64]).unwrap();
            self.next += 1;
        }
        let (db, path) = (&self.db, &self.path);
        let image = self.images.entry(n).or_insert_with(|| {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            std::fs::read(path).unwrap()
        });
        image.clone()
    }
}

impl Translating {
    fn payloads(&self) -> Payloads {
        let (first, last) = (self.run[0].0, self.run.last().unwrap().0);
        let mut primary = self.primary.lock().unwrap();
        let before = (first > 0).then(|| primary.of(first));
        run_between(before.as_deref(), &primary.of(last + 1), PageSize::new(4096).unwrap())
    }
}

impl Sink for Translating {
    fn name(&self) -> String {
        self.sink.name()
    }
    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        self.sink.open(log)
    }
    fn begin(&mut self) -> Result<(), SinkError> {
        self.run.clear();
        self.sink.begin()
    }
    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let number = u64::from_le_bytes(record.payload.try_into().unwrap());
        self.run.push((number, record.start, record.end));
        Ok(())
    }
    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        for payload in &self.payloads() {
            let (_, start, end) = self.run[0];
            let flags = longshore_format::Flags::NONE;
            let record = Record { start, end, kind: KIND, flags, time: 1, durable: None, header_crc: 0, payload };
            self.sink.record(&record)?;
        }
        self.sink.commit(run)
    }
    fn sync(&mut self) -> Result<(), SinkError> {
        self.sink.sync()
    }
    fn durable(&self) -> Option<Lsn> {
        self.sink.durable()
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        if let Some(run) = self.run.last().filter(|_| self.sink.open.as_ref().unwrap().run.page == 0)
            && self.primary.lock().unwrap().next <= run.0
        {
            // Ended inside a run: the part that came is given as far as it goes.
            let payload = &self.payloads()[0];
            let (_, start, end) = self.run[0];
            let flags = longshore_format::Flags::NONE;
            self.sink.record(&Record {
                start,
                end,
                kind: KIND,
                flags,
                time: 1,
                durable: None,
                header_crc: 0,
                payload,
            })?;
        }
        self.sink.finish()
    }
}

impl Subject for Numbers {
    fn sink(&mut self) -> Box<dyn Sink> {
        let sink = PageSink::new(self.dir.path().join("replica.db"));
        Box::new(Translating { sink, primary: self.primary.clone(), run: Vec::new() })
    }
    fn content(&self) -> Content {
        Content::SqlitePages
    }
    fn foreign_content(&self) -> Option<Content> {
        Some(Content::Sql)
    }
    fn payload(&self, n: u64) -> Vec<u8> {
        n.to_le_bytes().to_vec()
    }
    fn stored(&mut self) -> Vec<u64> {
        let path = self.dir.path().join("replica.db");
        let Ok(db) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) else { return Vec::new() };
        let mut numbers = db.prepare("SELECT n FROM numbers ORDER BY rowid").unwrap();
        numbers.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|n| n.unwrap() as u64).collect()
    }
}

#[test]
fn a_database_of_pages_conforms() {
    conformance::check(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("primary.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA journal_mode=wal; PRAGMA synchronous=off; CREATE TABLE numbers (n INTEGER UNIQUE)")
            .unwrap();
        let images = Images { db, path, next: 0, images: HashMap::new() };
        Numbers { dir, primary: Arc::new(Mutex::new(images)) }
    });
}
