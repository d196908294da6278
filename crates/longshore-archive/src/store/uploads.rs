//! Objects that are too long for one request: in parts, several on their way at once.
//!
//! Parts of an upload that has not ended are seen in no listing, and paid for. So each upload is noted in an object of its own,
//! `LOG/uploads/OBJECT.TAG`, from before its first part until it has ended: whoever finds a note that is old ends the upload.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt, Result as StoreResult};

use super::Store;
use crate::error::Result;

/// From this length on an object goes in parts. S3 takes 5 GiB in one request; but one that breaks off begins anew.
pub(super) const LARGE: usize = 128 << 20;
/// Of one size but for the last, as some stores want it. S3 takes 10,000 of them.
pub(super) const PART: usize = 16 << 20;
const MOST_PARTS: usize = 10_000;
const AT_ONCE: usize = 4;

/// Below a log's name.
const NOTES: &str = "uploads";
/// S3's ids have some hundred characters.
const LONGEST_ID: usize = 4096;

/// Where a store takes objects in parts.
#[derive(Clone)]
pub(super) struct Uploads(pub(super) Arc<dyn MultipartStore>);

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uploads")
    }
}

impl Store {
    /// The same store, which takes what is longer than 128 MiB in parts.
    #[must_use]
    pub fn with_uploads(self, uploads: Arc<dyn MultipartStore>) -> Store {
        Store { uploads: Some(Uploads(uploads)), ..self }
    }

    /// How an object goes in parts, if it does: a file is written once however long it is.
    pub(super) fn in_parts(&self, bytes: &Bytes) -> Option<&Uploads> {
        self.uploads.as_ref().filter(|_| LARGE < bytes.len())
    }

    /// Puts an object in parts. It is there when all of them are, or not at all. What is there of one that fails is removed; of one
    /// that is dropped, or whose process is killed, the note stays.
    pub(super) async fn put_in_parts(&self, uploads: &Uploads, name: &str, bytes: &Bytes) -> StoreResult<()> {
        let path = self.path(name);
        let id = uploads.0.create_multipart(&path).await?;
        // Azure tells no id by which an upload could be ended.
        let note = (!id.is_empty()).then(|| note_of(name, &id));
        if let Some(note) = &note {
            self.objects.put(&self.path(note), id.clone().into()).await?;
        }
        let put = uploads.put(&path, &id, bytes).await;
        match (&put, note) {
            (Err(_), _) => uploads.abort(name, &path, &id).await,
            // One that stays is removed when it is old.
            (Ok(()), Some(note)) => drop(self.remove(&note).await),
            (Ok(()), None) => {}
        }
        put
    }

    /// The uploads below a log's name that began so long ago and have not ended, by their notes; ended, unless this only looks. How
    /// long they are is told nowhere. One that cannot be ended is not among them, and is tried again the next time.
    pub(super) async fn killed_uploads(
        &self,
        log: &str,
        older_than: Duration,
        look_only: bool,
    ) -> Result<Vec<(String, u64)>> {
        let Some(uploads) = &self.uploads else { return Ok(Vec::new()) };
        let mut killed = Vec::new();
        for (note, bytes, age) in self.list(&format!("{log}/{NOTES}")).await? {
            if older_than <= age && (look_only || self.end_upload(uploads, log, &note).await?) {
                killed.push((note, bytes));
            }
        }
        Ok(killed)
    }

    /// Ends the upload that a note is of, and removes the note; whether that was done.
    async fn end_upload(&self, uploads: &Uploads, log: &str, note: &str) -> Result<bool> {
        // Of one that is gone somebody else was faster.
        let Some((id, _)) = self.get_short(note, LONGEST_ID).await? else { return Ok(false) };
        let id = std::str::from_utf8(&id).ok().filter(|id| (1..=LONGEST_ID).contains(&id.len()));
        // What holds no id is nobody's note: an upload without one is the object itself to some stores.
        if let (Some(object), Some(id)) = (object_of(log, note), id)
            && let Err(error) = uploads.end(&self.path(&object), id).await
        {
            tracing::warn!(store = self.label(), object, %error, "parts of an upload that was killed stay");
            return Ok(false);
        }
        self.remove(note).await.map(|()| true)
    }

    /// Whether an object is the note of an upload. What looks like one in a directory, as a mirror of a bucket, is none.
    pub(crate) fn is_note(&self, log: &str, name: &str) -> bool {
        self.uploads.is_some() && object_of(log, name).is_some()
    }
}

impl Uploads {
    async fn put(&self, path: &Path, id: &str, bytes: &Bytes) -> StoreResult<()> {
        let (id, len) = (id.to_owned(), PART.max(bytes.len().div_ceil(MOST_PARTS)));
        let parts = (0..bytes.len()).step_by(len).map(|start| bytes.slice(start..bytes.len().min(start + len)));
        let put = futures_util::stream::iter(parts.enumerate())
            .map(|(number, part)| self.0.put_part(path, &id, number, part.into()));
        let parts = put.buffered(AT_ONCE).try_collect().await?;
        self.0.complete_multipart(path, &id, parts).await.map(|_| ())
    }

    /// Ends an upload that failed. Parts of it that are on their way may still arrive, and so the note stays until it is old: then it
    /// is ended once more.
    async fn abort(&self, name: &str, path: &Path, id: &str) {
        if let Err(error) = self.end(path, id).await {
            tracing::warn!(object = name, %error, "the parts of an upload that failed stay for now");
        }
    }

    /// Ends an upload; one that has ended already is no error.
    async fn end(&self, path: &Path, id: &str) -> StoreResult<()> {
        match self.0.abort_multipart(path, &id.to_owned()).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            ended => ended,
        }
    }
}

/// Where an upload is noted. Several of one object have notes of their own.
fn note_of(object: &str, id: &str) -> String {
    let (log, rest) = object.split_once('/').expect("an object lies below its log's name");
    let tag = blake3::hash(id.as_bytes()).to_hex();
    format!("{log}/{NOTES}/{rest}.{}", &tag[..16])
}

/// The object whose upload a note is of.
fn object_of(log: &str, note: &str) -> Option<String> {
    let noted = note.strip_prefix(log)?.strip_prefix('/')?.strip_prefix(NOTES)?.strip_prefix('/')?;
    Some(format!("{log}/{}", noted.rsplit_once('.')?.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use object_store::memory::InMemory;
    use object_store::multipart::PartId;
    use object_store::{MultipartId, PutPayload, PutResult};

    use super::*;

    #[test]
    fn a_note_tells_the_object_whose_upload_it_is_of() {
        for object in ["app/segments/1-ab/4096-cd", "app/a.b", "app/snapshots/1-ab/4096/0"] {
            let (one, other) = (note_of(object, "an id"), note_of(object, "another"));
            assert_ne!(one, other);
            assert_eq!((object_of("app", &one).as_deref(), object_of("other", &one)), (Some(object), None));
        }
        for name in ["app/manifest", "app/uploads", "app/uploadsx/a.b", "apps/uploads/a.b", "app/segments/uploads/a.b"]
        {
            assert_eq!(object_of("app", name), None, "{name}");
        }
    }

    /// Answers by an upload's id, and knows which were to be ended.
    #[derive(Default)]
    struct Asked(Mutex<Vec<String>>);

    #[async_trait::async_trait]
    impl MultipartStore for Asked {
        async fn create_multipart(&self, _path: &Path) -> StoreResult<MultipartId> {
            Ok("failing".to_owned())
        }

        async fn put_part(&self, _: &Path, _: &MultipartId, _: usize, _: PutPayload) -> StoreResult<PartId> {
            Err(StoreError::Generic { store: "asked", source: "503 slow down".into() })
        }

        async fn complete_multipart(&self, _: &Path, _: &MultipartId, _: Vec<PartId>) -> StoreResult<PutResult> {
            unreachable!("no part was put")
        }

        async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> StoreResult<()> {
            self.0.lock().unwrap().push(format!("{path} {id}"));
            match id.as_str() {
                "ended" => Err(StoreError::NotFound { path: path.to_string(), source: "NoSuchUpload".into() }),
                "denied" => Err(StoreError::Generic { store: "asked", source: "AccessDenied".into() }),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test]
    async fn every_upload_that_can_be_ended_is_and_nothing_else_is_touched() {
        let asked = Arc::new(Asked::default());
        let store = Store::of(Arc::new(InMemory::new()), "memory").with_uploads(Arc::<Asked>::clone(&asked));
        let long = "x".repeat(LONGEST_ID + 1);
        let notes = ["denied", "ended", "killed", "", &long].map(|id| (note_of(&format!("app/{}", id.len()), id), id));
        for (note, id) in &notes {
            store.replace(note, Bytes::copy_from_slice(id.as_bytes())).await.unwrap();
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(store.killed_uploads("app", hour, false).await.unwrap(), [], "they may be under way");
        let found = store.killed_uploads("app", Duration::ZERO, true).await.unwrap();
        assert_eq!((found.len(), asked.0.lock().unwrap().len()), (5, 0));
        assert_eq!(store.killed_uploads("app", Duration::ZERO, false).await.unwrap().len(), 4);
        let mut ended = std::mem::take(&mut *asked.0.lock().unwrap());
        ended.sort();
        assert_eq!(ended, ["app/5 ended", "app/6 denied", "app/6 killed"], "nothing without an id");
        let left = store.killed_uploads("app", Duration::ZERO, true).await.unwrap();
        assert_eq!(left.iter().map(|(note, _)| note).collect::<Vec<_>>(), [&notes[0].0], "which is tried again");
    }

    /// What is on its way when it is ended may arrive afterwards.
    #[tokio::test]
    async fn an_upload_that_fails_is_ended_at_once_and_once_more_when_its_note_is_old() {
        let asked = Arc::new(Asked::default());
        let store = Store::of(Arc::new(InMemory::new()), "memory").with_uploads(Arc::<Asked>::clone(&asked));
        store.replace("app/large", vec![0; LARGE + 1].into()).await.unwrap_err();
        assert_eq!(*asked.0.lock().unwrap(), ["app/large failing"]);
        assert_eq!(store.killed_uploads("app", Duration::ZERO, false).await.unwrap().len(), 1);
        assert_eq!(*asked.0.lock().unwrap(), ["app/large failing"; 2]);
        assert_eq!(store.list("app").await.unwrap(), []);
    }
}
