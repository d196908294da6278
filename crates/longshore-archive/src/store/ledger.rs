//! What a store was asked for: counted where the requests leave, so that everything is in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use super::{Store, Uploads};

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
        let objects = Arc::new(Metered { asked: Arc::clone(&self.objects), meter: meter.clone() });
        let uploads =
            self.uploads.clone().map(|Uploads(asked)| Uploads(Arc::new(Metered { asked, meter: meter.clone() })));
        (Store { objects, uploads, meter: Some(meter.clone()), ..self.clone() }, meter)
    }
}

#[derive(Debug)]
struct Metered<Asked: ?Sized> {
    meter: Meter,
    asked: Arc<Asked>,
}

impl fmt::Display for Metered<dyn ObjectStore> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Metered<dyn ObjectStore> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.meter.put(payload.content_length() as u64);
        self.asked.put_opts(location, payload, options).await
    }

    /// Nobody calls it: what goes in parts is put, and counted, by its upload's id.
    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.asked.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let got = self.asked.get_opts(location, options).await;
        let bytes = got.as_ref().map_or(0, |got| got.range.end.saturating_sub(got.range.start));
        self.meter.get(1, if head { 0 } else { bytes });
        got
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.meter.get(ranges.len() as u64, bytes);
        self.asked.get_ranges(location, ranges).await
    }

    /// Nobody bills it.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.asked.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.put(0);
        self.asked.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.put(0);
        self.asked.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.put(0);
        self.asked.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.asked.copy_opts(from, to, options).await;
        // What a client does not know how to ask leaves nowhere.
        if !matches!(copied, Err(Error::NotSupported { .. } | Error::NotImplemented { .. })) {
            self.meter.put(0);
        }
        copied
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.meter.put(0);
        self.asked.rename_opts(from, to, options).await
    }
}

#[async_trait]
impl MultipartStore for Metered<dyn MultipartStore> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.meter.put(0);
        self.asked.create_multipart(path).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, number: usize, data: PutPayload) -> Result<PartId> {
        self.meter.put(data.content_length() as u64);
        self.asked.put_part(path, id, number, data).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        self.meter.put(0);
        self.asked.complete_multipart(path, id, parts).await
    }

    /// Nobody bills it.
    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.asked.abort_multipart(path, id).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::super::uploads::{LARGE, PART};
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
        let memory = Arc::new(InMemory::new());
        let (store, meter) = Store::of(Arc::<InMemory>::clone(&memory) as _, "memory").with_uploads(memory).metered();
        let large = Bytes::from(vec![7; LARGE + 1]);
        let (len, parts) = (large.len() as u64, large.len().div_ceil(PART) as u64);
        store.replace("log/large", large).await.unwrap();
        let Ledger { puts, gets, sent, received } = meter.ledger();
        // Begun, noted, the parts, completed; the note, which is its id, is removed for nothing.
        assert_eq!((puts, gets, received), (1 + 1 + parts + 1, 0, 0));
        assert!((len + 1..len + 100).contains(&sent), "{sent}");
        let ranges = store.objects.get_ranges(&Path::from("log/large"), &[0..2, len - 3..len]).await.unwrap();
        assert_eq!((ranges[0].as_ref(), ranges[1].as_ref()), (&[7; 2][..], &[7; 3][..]));
        assert_eq!((meter.ledger().gets, meter.ledger().received), (2, 5));
        assert_eq!(store.list("log/uploads").await.unwrap(), []);
    }
}
