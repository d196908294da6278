//! A replica that lives from an archive whose newest snapshots do not hold begins with what comes before them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore::apply::{Held, LogFacts, RunEnd, Sink, SinkError};
use longshore::archive::{Archive, ArchiveSettings, Schedule, Store};
use longshore::format::Record;
use longshore::{
    Content, DatabaseImage, Durability, Lsn, Primary, Replica, Settings, SnapshotError, Snapshotter, Sources,
};

const LONG: Duration = Duration::from_secs(30);

/// How many records there are up to a position: all of a database that this one is.
#[derive(Clone, Copy, Default)]
struct Count {
    records: u64,
    position: Option<Lsn>,
}

/// A database, and what makes snapshots of it.
#[derive(Clone, Default)]
struct Counted {
    count: Arc<Mutex<Count>>,
    run: u64,
    is_image: bool,
    images: Arc<Mutex<Vec<Lsn>>>,
}

impl Counted {
    fn records(&self) -> u64 {
        self.count.lock().unwrap().records
    }
}

impl Sink for Counted {
    fn name(&self) -> String {
        "counted".to_owned()
    }

    fn takes_image(&self, _content: Content) -> bool {
        true
    }

    fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
        Ok(self.durable().map(|lsn| Held { lsn, crc: None }))
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        (self.run, self.is_image) = (self.records(), false);
        Ok(())
    }

    fn begin_image(&mut self) -> Result<(), SinkError> {
        self.is_image = true;
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        match self.is_image {
            true => self.run = u64::from_le_bytes(record.payload.try_into().unwrap()),
            false => self.run += 1,
        }
        Ok(())
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        if self.is_image {
            self.images.lock().unwrap().push(run.lsn);
        }
        *self.count.lock().unwrap() = Count { records: self.run, position: Some(run.lsn) };
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn durable(&self) -> Option<Lsn> {
        self.count.lock().unwrap().position
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Snapshotter for Counted {
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
        let Count { records, position } = *self.count.lock().unwrap();
        Ok(Box::new(Image { position: position.ok_or("it is empty")?, records: Some(records) }))
    }
}

struct Image {
    position: Lsn,
    records: Option<u64>,
}

impl DatabaseImage for Image {
    fn position(&self) -> Lsn {
        self.position
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        Ok(self.records.take().map(|records| records.to_le_bytes().to_vec()))
    }
}

/// The objects of each snapshot that the store holds, by its position.
fn snapshots(store: &Path) -> Vec<(u64, Vec<PathBuf>)> {
    let list = |dir: &Path| -> BTreeSet<PathBuf> {
        std::fs::read_dir(dir).map_or_else(|_| BTreeSet::new(), |dir| dir.map(|entry| entry.unwrap().path()).collect())
    };
    let of_epochs = list(&store.join("app/snapshots"));
    let each = of_epochs.iter().flat_map(|epoch| list(epoch));
    each.map(|dir| (dir.file_name().unwrap().to_str().unwrap().parse().unwrap(), list(&dir).into_iter().collect()))
        .collect()
}

/// A log with a few segments in a store, and three snapshots of it: how many records it has.
fn archived(dir: &Path, store: &Store, settings: &Settings) -> u64 {
    let log = Primary::create(dir.join("data"), "app", Content::SqlitePages, settings).unwrap();
    let database = Counted::default();
    log.node().offer_snapshots("app", Arc::new(database.clone())).unwrap();
    let archive = ArchiveSettings {
        tail_every: Duration::from_millis(10),
        snapshots: Schedule { every: None, after: Some(1 << 20) },
        ..ArchiveSettings::default()
    };
    log.node().archive_into(vec![store.clone()], archive);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let newest = || {
        let opened = runtime.block_on(Archive::open(std::slice::from_ref(store), &"app".parse().unwrap(), None));
        opened.ok().and_then(|archive| Some(archive.newest_snapshot(Lsn::ZERO)?.position))
    };
    let (begun, mut positions, mut records) = (Instant::now(), BTreeSet::new(), 0);
    while positions.len() < 3 {
        assert!(begun.elapsed() < LONG, "no more snapshots are archived: {positions:?}");
        let ticket = log.append(&[vec![7; 50_000]]).unwrap();
        ticket.wait_blocking(Durability::archived(1.try_into().unwrap()), LONG).unwrap();
        records += 1;
        *database.count.lock().unwrap() = Count { records, position: Some(ticket.position()) };
        positions.extend(newest());
    }
    log.close().unwrap();
    records
}

/// A replica without an upstream, until it holds so many records: the images that it was given.
fn replicate(dir: &Path, store: &Store, settings: &Settings, records: u64) -> Vec<Lsn> {
    let database = Counted::default();
    let opened = database.clone();
    let replica = Replica::open(dir, settings).unwrap();
    let replica = replica.apply(None, "counted", Arc::new(move || Ok(Box::new(opened.clone())))).unwrap();
    let sources = Sources { stores: vec![store.clone()], keys: None, every: Duration::from_millis(20) };
    replica.node().take_from(sources);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let there = async {
        let begun = Instant::now();
        while database.records() != records && begun.elapsed() < LONG {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    runtime.block_on(replica.run(there)).unwrap();
    assert_eq!(database.records(), records);
    database.images.lock().unwrap().clone()
}

#[test]
fn a_replica_begins_with_the_newest_archived_snapshot_that_holds_or_with_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("store")).unwrap();
    let store = Store::open(&format!("file://{}", dir.join("store").display())).unwrap();
    let mut settings = Settings::default();
    settings.log.segment_size = "1MiB".parse().unwrap();
    settings.tls.plaintext = true;
    settings.network.listen = "127.0.0.1:0".parse().unwrap();
    let records = archived(dir, &store, &settings);
    let snapshots = snapshots(&dir.join("store"));
    for damaged in 0..=snapshots.len() {
        let whole = &snapshots[..snapshots.len() - damaged];
        if let Some((_, objects)) = snapshots.get(whole.len()) {
            // In turn the list and a piece.
            let object = &objects[damaged % objects.len()];
            let bytes = std::fs::read(object).unwrap();
            std::fs::write(object, &bytes[..bytes.len() / 2]).unwrap();
        }
        let images = replicate(&dir.join(format!("replica-{damaged}")), &store, &settings, records);
        // With one in its first segment the log is there from its beginning, and no image is needed.
        let newest = whole.last().map(|(position, _)| *position).filter(|position| 1 << 20 <= *position);
        let expected: Vec<Lsn> = newest.map(Lsn::new).into_iter().collect();
        assert_eq!(images, expected, "{damaged} of {} do not hold", snapshots.len());
    }
}
