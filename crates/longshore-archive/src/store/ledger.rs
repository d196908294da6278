//! What a store was asked for: counted where the requests leave, so that everything is in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::Store;

/// What one store was asked for, as providers bill it: whether it worked or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Requests at the price of a put: puts, parts, copies, lists.
    pub puts: u64,
    /// Requests at the price of a get: gets and looks at what is there.
    pub gets: u64,
    /// Bytes of objects that were sent to it.
    pub sent: u64,
    /// Bytes of objects that it was asked for.
    pub received: u64,
}

/// A [`Ledger`] that goes on. Clones share it.
///
/// What is repeated below this, by the HTTP client after an error that passes, is counted once.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    puts: AtomicU64,
    gets: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    /// What has been asked for up to now.
    pub fn ledger(&self) -> Ledger {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { puts, gets, sent, received } = &*self.0;
        Ledger { puts: read(puts), gets: read(gets), sent: read(sent), received: read(received) }
    }

    /// A compare-and-swap of an object in a directory: what is there is read, then it is written.
    pub(super) fn swap(&self, bytes: u64) {
        self.get(1, bytes);
        self.put(bytes);
    }

    fn put(&self, bytes: u64) {
        self.0.puts.fetch_add(1, Ordering::Relaxed);
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn get(&self, requests: u64, bytes: u64) {
        self.0.gets.fetch_add(requests, Ordering::Relaxed);
        self.0.received.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Store {
    /// The same store, and a meter that counts what is asked of it through this handle.
    pub fn metered(&self) -> (Store, Meter) {
        let meter = Meter::default();
        let objects = Arc::new(Metered { objects: Arc::clone(&self.objects), meter: meter.clone() });
        (Store { objects, meter: Some(meter.clone()), ..self.clone() }, meter)
    }
}

#[derive(Debug)]
struct Metered {
    objects: Arc<dyn ObjectStore>,
    meter: Meter,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.meter.put(payload.content_length() as u64);
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meter.put(0);
        let upload = self.objects.put_multipart_opts(location, options).await?;
        Ok(Box::new(MeteredUpload { upload, meter: self.meter.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let got = self.objects.get_opts(location, options).await;
        let bytes = got.as_ref().map_or(0, |got| got.range.end.saturating_sub(got.range.start));
        self.meter.get(1, if head { 0 } else { bytes });
        got
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.meter.get(ranges.len() as u64, bytes);
        self.objects.get_ranges(location, ranges).await
    }

    /// Nobody bills it.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.put(0);
        self.objects.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.put(0);
        self.objects.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.put(0);
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.objects.copy_opts(from, to, options).await;
        // What a client does not know how to ask leaves nowhere.
        if !matches!(copied, Err(Error::NotSupported { .. } | Error::NotImplemented { .. })) {
            self.meter.put(0);
        }
        copied
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.meter.put(0);
        self.objects.rename_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct MeteredUpload {
    upload: Box<dyn MultipartUpload>,
    meter: Meter,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.meter.put(data.content_length() as u64);
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.meter.put(0);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;

    #[tokio::test]
    async fn what_is_asked_of_a_store_is_counted_as_it_is_billed() {
        let (store, meter) = Store::of(Arc::new(InMemory::new()), "memory").metered();
        assert_eq!(meter.ledger(), Ledger::default());
        assert!(store.create("log/a", Bytes::from_static(b"12345")).await.unwrap());
        assert_eq!(meter.ledger(), Ledger { puts: 1, sent: 5, ..Ledger::default() });
        assert_eq!(store.get("log/a").await.unwrap().unwrap().0, "12345");
        assert_eq!(store.len("log/a").await.unwrap(), Some(5));
        assert!(store.get("log/b").await.unwrap().is_none());
        let after = Ledger { puts: 1, gets: 3, sent: 5, received: 5 };
        assert_eq!(meter.ledger(), after, "a look at what is there moves no bytes, and one in vain is billed");
        store.remove("log/a").await.unwrap();
        assert_eq!(meter.ledger(), after, "nobody bills what is removed");
        store.list("log").await.unwrap();
        assert_eq!(meter.ledger().puts, 2);
        // What is asked through another handle is not in it.
        let (other, theirs) = store.metered();
        other.replace("log/c", Bytes::from_static(b"1")).await.unwrap();
        assert_eq!((theirs.ledger().sent, meter.ledger().sent), (1, 6));
    }

    #[tokio::test]
    async fn every_part_of_a_large_object_is_counted() {
        let meter = Meter::default();
        let store = Metered { objects: Arc::new(InMemory::new()), meter: meter.clone() };
        let mut upload = store.put_multipart(&Path::from("large")).await.unwrap();
        for part in ["123", "4567"] {
            upload.put_part(PutPayload::from_static(part.as_bytes())).await.unwrap();
        }
        upload.complete().await.unwrap();
        // Begun, two parts, completed.
        assert_eq!(meter.ledger(), Ledger { puts: 4, sent: 7, ..Ledger::default() });
        let ranges = store.get_ranges(&Path::from("large"), &[0..2, 5..7]).await.unwrap();
        assert_eq!((ranges[0].as_ref(), ranges[1].as_ref()), (&b"12"[..], &b"67"[..]));
        assert_eq!((meter.ledger().gets, meter.ledger().received), (2, 4));
    }
}
