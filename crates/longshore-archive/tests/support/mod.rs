//! A log to archive, and stores that misbehave.
#![allow(unreachable_pub, reason = "a module that several tests share")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use longshore_archive::{ArchiveSettings, Archiver, Store};
use longshore_format::{Lsn, Name, SegmentSize};
use longshore_storage::{Directory, FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, ReadLog, Reader, RecordDraft, Settings, Wal};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};

/// A log with small segments.
pub(crate) struct Rig {
    pub dir: tempfile::TempDir,
    pub wal: Wal,
    _threads: longshore_wal::Threads,
}

pub(crate) fn name() -> Name {
    "app".parse().unwrap()
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let log: Arc<dyn Directory> = Arc::new(FsDirectory::create(dir.path().join("log")).unwrap());
        let spec = CreateSpec { segment_size: SegmentSize::MIN, ..CreateSpec::default() };
        Wal::create(log, &SystemEnvironment, &spec).unwrap();
        Rig::open(dir)
    }

    fn open(dir: tempfile::TempDir) -> Rig {
        let log: Arc<dyn Directory> = Arc::new(FsDirectory::open(dir.path().join("log")).unwrap());
        let (wal, _) = Wal::open(log, Arc::new(SystemEnvironment), Settings::default()).unwrap();
        let threads = wal.start();
        Rig { dir, wal, _threads: threads }
    }

    /// Another writer of the log as it is now, who does not know of this one.
    pub(crate) fn twin(&self) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("log");
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(self.dir.path().join("log")).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                match std::fs::copy(entry.path(), to.join(entry.file_name())) {
                    // A segment that was just being prepared has got its name.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    copied => copied.map(|_| ()).unwrap(),
                }
            }
        }
        Rig::open(dir)
    }

    /// Appends so many records, each other than the last, and makes them durable.
    pub(crate) fn append(&self, records: usize) -> Lsn {
        let mut end = self.wal.end();
        for _ in 0..records {
            let payload = end.get().to_string().repeat(1 + (end.get() as usize / 8) % 200);
            let drafts = [RecordDraft::user(payload.as_bytes())];
            end = loop {
                match self.wal.append(&drafts, None) {
                    Ok(appended) => break appended.end,
                    Err(_) => self.wal.wait_room_blocking(4096, None).map(|_| ()).unwrap(),
                }
            };
        }
        self.wal.wait_blocking(end, None).unwrap();
        end
    }

    /// Waits until all full segments are sealed.
    pub(crate) fn seal(&self) {
        let size = self.wal.segment_size();
        let active = size.base_of(self.wal.end());
        while self.wal.sealed().get() < active {
            std::thread::yield_now();
        }
    }

    /// Every record that is durable.
    pub(crate) fn records(&self) -> Vec<(Lsn, Vec<u8>)> {
        records(self.wal.reader(self.wal.first()).unwrap())
    }

    pub(crate) async fn archiver(&self, store: &Store, settings: &ArchiveSettings) -> Archiver {
        Archiver::open(store.clone(), name(), self.wal.clone(), settings.clone()).await.unwrap()
    }
}

/// Every record of a log, as it stands there.
pub(crate) fn records(mut reader: Reader) -> Vec<(Lsn, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push((record.start, record.payload.to_vec()));
    }
    records
}

pub(crate) fn open(dir: &Path) -> ReadLog {
    ReadLog::open(Arc::new(FsDirectory::open(dir).unwrap())).unwrap()
}

/// A store in memory that fails as its seed says: before the request, after it, or cut in the middle of an answer.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub inner: Arc<InMemory>,
    state: AtomicU64,
    /// One request in so many fails; zero for none.
    pub one_in: AtomicU64,
    pub struck: AtomicU64,
    pub puts: Mutex<Vec<String>>,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store that fails")
    }
}

impl Faulty {
    pub(crate) fn new(seed: u64, one_in: u64) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner: Arc::new(InMemory::new()),
            state: AtomicU64::new(seed.wrapping_mul(2).wrapping_add(1)),
            one_in: AtomicU64::new(one_in),
            struck: AtomicU64::new(0),
            puts: Mutex::default(),
        })
    }

    /// SplitMix64, Steele, Lea and Flood 2014.
    fn random(&self) -> u64 {
        let mut z = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn strikes(&self) -> bool {
        let one_in = self.one_in.load(Ordering::Relaxed);
        let strikes = 0 < one_in && self.random().is_multiple_of(one_in);
        self.struck.fetch_add(u64::from(strikes), Ordering::Relaxed);
        strikes
    }

    fn down<T>(&self) -> StoreResult<T> {
        Err(object_store::Error::Generic { store: "faulty", source: "503 slow down".into() })
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &ObjectPath, payload: PutPayload, opts: PutOptions) -> StoreResult<PutResult> {
        if self.strikes() {
            return self.down();
        }
        let put = self.inner.put_opts(location, payload, opts).await;
        if put.is_ok() {
            self.puts.lock().unwrap().push(location.to_string());
        }
        // It was done, and nobody hears of it.
        if self.strikes() { self.down() } else { put }
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> StoreResult<GetResult> {
        if self.strikes() { self.down() } else { self.inner.get_opts(location, options).await }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<ObjectPath>>,
    ) -> BoxStream<'static, StoreResult<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
