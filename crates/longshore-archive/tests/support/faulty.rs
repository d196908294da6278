//! A store in memory that fails as a seed says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};

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
