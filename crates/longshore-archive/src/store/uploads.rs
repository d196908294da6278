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
const LARGE: usize = 128 << 20;
/// Of one size but for the last, as some stores want it. S3 takes 10,000 of them.
const PART: usize = 16 << 20;
const MOST_PARTS: usize = 10_000;
const AT_ONCE: usize = 4;

/// Below a log's name.
const NOTES: &str = "uploads";
/// S3's ids have some hundred characters.
const LONGEST_ID: usize = 4096;

/// A store that tells an upload's id, so that another process can end it.
#[derive(Clone)]
pub(super) struct Uploads(pub(super) Arc<dyn MultipartStore>);

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uploads")
    }
}

impl Store {
    /// How an object goes in parts, if it does: a file is written once however long it is.
    pub(super) fn in_parts(&self, bytes: &Bytes) -> Option<&Uploads> {
        self.uploads.as_ref().filter(|_| LARGE < bytes.len())
    }

    /// Puts an object in parts. It is there when all of them are, or not at all: what is there of one that fails is removed. What
    /// one leaves that is dropped, or whose process is killed, is noted.
    pub(super) async fn put_in_parts(&self, uploads: &Uploads, name: &str, bytes: &Bytes) -> StoreResult<()> {
        let path = self.path(name);
        let id = uploads.0.create_multipart(&path).await?;
        let note = note(name, &id);
        let put = async {
            self.objects.put(&self.path(&note), id.clone().into()).await?;
            uploads.put(&path, &id, bytes).await
        };
        let put = put.await;
        let ended = match &put {
            Ok(()) => Ok(()),
            Err(_) => uploads.abort(&path, &id).await,
        };
        // A note that outlives its upload is removed with those that are old.
        match ended {
            Ok(()) => drop(self.remove(&note).await),
            Err(error) => {
                tracing::warn!(object = name, %error, "the parts of an upload that failed stay in the bucket")
            }
        }
        put
    }

    /// The uploads below a log's name that were begun so long ago and have not ended, by their notes; ended, unless this only
    /// looks. How long they are is told nowhere.
    pub(super) async fn killed_uploads(
        &self,
        log: &str,
        older_than: Duration,
        look_only: bool,
    ) -> Result<Vec<(String, u64)>> {
        let Some(uploads) = &self.uploads else { return Ok(Vec::new()) };
        let mut killed = self.list(&format!("{log}/{NOTES}")).await?;
        killed.retain(|(_, _, age)| older_than <= *age);
        for (note, _, _) in killed.iter().filter(|_| !look_only) {
            // Of one that is gone somebody else was faster.
            let Some((id, _)) = self.get_short(note, LONGEST_ID).await? else { continue };
            if let Some(object) = object_of(log, note) {
                let ended = uploads.abort(&self.path(&object), &String::from_utf8_lossy(&id)).await;
                ended.map_err(|error| self.failed(&object, error))?;
            }
            self.remove(note).await?;
        }
        Ok(killed.into_iter().map(|(note, bytes, _)| (note, bytes)).collect())
    }
}

impl Uploads {
    async fn put(&self, path: &Path, id: &String, bytes: &Bytes) -> StoreResult<()> {
        let len = PART.max(bytes.len().div_ceil(MOST_PARTS));
        let parts = (0..bytes.len()).step_by(len).map(|start| bytes.slice(start..bytes.len().min(start + len)));
        let put = futures_util::stream::iter(parts.enumerate())
            .map(|(number, part)| self.0.put_part(path, id, number, part.into()));
        let parts = put.buffered(AT_ONCE).try_collect().await?;
        self.0.complete_multipart(path, id, parts).await.map(|_| ())
    }

    /// Ends an upload; one that has ended already is no error.
    async fn abort(&self, path: &Path, id: &str) -> StoreResult<()> {
        match self.0.abort_multipart(path, &id.to_owned()).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            aborted => aborted,
        }
    }
}

/// Whether an object is the note of an upload.
pub(crate) fn is_note(log: &str, name: &str) -> bool {
    object_of(log, name).is_some()
}

/// Where an upload is noted. Several of one object have notes of their own.
fn note(object: &str, id: &str) -> String {
    let (log, rest) = object.split_once('/').unwrap_or(("", object));
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
    use super::*;

    #[test]
    fn a_note_tells_the_object_whose_upload_it_is_of() {
        for object in ["app/segments/1-ab/4096-cd", "app/a.b", "app/snapshots/1-ab/4096/0"] {
            let (one, other) = (note(object, "an id"), note(object, "another"));
            assert!(one != other && is_note("app", &one) && !is_note("other", &one), "{one}");
            assert_eq!(object_of("app", &one).as_deref(), Some(object));
        }
        for name in ["app/manifest", "app/uploads", "app/uploadsx/a.b", "apps/uploads/a.b", "app/segments/uploads/a.b"]
        {
            assert!(!is_note("app", name), "{name}");
        }
    }
}
