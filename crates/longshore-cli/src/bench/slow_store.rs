//! A store that is far away: each request waits, and all answers share one link.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::{Instant, sleep, sleep_until};

/// A store behind a link.
#[derive(Debug)]
pub(super) struct SlowStore<S> {
    store: S,
    link: Arc<Link>,
}

/// What lies between.
#[derive(Debug)]
struct Link {
    /// From a request to the first byte of its answer.
    latency: Duration,
    bytes_per_second: f64,
    /// Up to when it is taken.
    taken: Mutex<Instant>,
}

/// What goes over the link before another answer may.
const PIECE: usize = 64 << 10;
/// A timer is late by a millisecond or so; what the link could have carried meanwhile is not lost.
const LATE: Duration = Duration::from_millis(5);

impl<S> SlowStore<S> {
    pub(super) fn new(store: S, latency: Duration, bytes_per_second: f64) -> Self {
        Self { store, link: Arc::new(Link { latency, bytes_per_second, taken: Mutex::new(Instant::now()) }) }
    }
}

impl Link {
    /// Waits until so many bytes have come over.
    async fn carry(&self, bytes: usize) {
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let arrived = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            *taken = (*taken).max(Instant::now() - LATE) + time;
            *taken
        };
        sleep_until(arrived).await;
    }
}

impl<S: ObjectStore> std::fmt::Display for SlowStore<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} behind a slow link", self.store)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for SlowStore<S> {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        sleep(self.link.latency).await;
        let got = self.store.get_opts(location, options).await?;
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let (bytes, link) = (got.bytes().await?, Arc::clone(&self.link));
        let pieces = futures_util::stream::unfold(bytes, move |mut rest| {
            let link = Arc::clone(&link);
            async move {
                let piece = rest.split_to(PIECE.min(rest.len()));
                link.carry(piece.len()).await;
                (!piece.is_empty()).then_some((Ok(piece), rest))
            }
        });
        let payload = GetResultPayload::Stream(pieces.boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        sleep(self.link.latency).await;
        self.link.carry(payload.content_length()).await;
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
