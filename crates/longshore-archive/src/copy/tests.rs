//! Copies from one prefix of a bucket to another, while somebody else is at work there.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use longshore_format::{ErrorKind, Name};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;
use crate::manifest::tests::manifest;
use crate::manifest::{MANIFEST, TailEntry};

const BEFORE: &str = "tail/before";
const AFTER: &str = "tail/after";
const FIRST: &str = "tail/first";

/// What happens once, at a request.
struct Event {
    request: &'static str,
    of: &'static str,
    /// What somebody else has put, or removed, just before.
    first: Vec<(&'static str, Option<Bytes>)>,
    /// What the store answers, where it does not do what was asked.
    answer: Option<StoreResult<()>>,
}

/// A bucket in memory.
#[derive(Clone, Default)]
struct Bucket(Arc<Inner>);

#[derive(Default)]
struct Inner {
    objects: InMemory,
    events: Mutex<Vec<Event>>,
    copies: Mutex<Vec<String>>,
}

impl Bucket {
    fn at(&self, request: &'static str, of: &'static str) -> Expected<'_> {
        Expected { bucket: self, event: Event { request, of, first: Vec::new(), answer: None } }
    }

    async fn put(&self, path: &str, bytes: Bytes) {
        self.0.objects.put(&path.into(), bytes.into()).await.unwrap();
    }

    async fn content(&self, path: &str) -> Option<Bytes> {
        self.0.objects.get(&path.into()).await.ok()?.bytes().await.ok()
    }

    fn store(&self, prefix: &str) -> Store {
        Store::in_bucket(Arc::new(self.clone()), prefix)
    }

    /// What is to be done with a request: nothing, if an answer is there.
    async fn asked(&self, request: &str, of: &Path) -> Option<StoreResult<()>> {
        let event = {
            let mut events = self.0.events.lock().unwrap();
            let at = events.iter().position(|event| (event.request, event.of) == (request, of.as_ref()))?;
            events.remove(at)
        };
        for (path, bytes) in event.first {
            match bytes {
                Some(bytes) => self.put(path, bytes).await,
                None => self.0.objects.delete(&path.into()).await.unwrap(),
            }
        }
        event.answer
    }
}

struct Expected<'a> {
    bucket: &'a Bucket,
    event: Event,
}

impl Expected<'_> {
    fn put(mut self, path: &'static str, bytes: Bytes) -> Self {
        self.event.first.push((path, Some(bytes)));
        self
    }

    fn remove(mut self, path: &'static str) -> Self {
        self.event.first.push((path, None));
        self
    }

    fn go_on(self) {
        self.bucket.0.events.lock().unwrap().push(self.event);
    }

    fn answer(mut self, answer: StoreResult<()>) {
        self.event.answer = Some(answer);
        self.go_on();
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a bucket in memory")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> StoreResult<PutResult> {
        if let Some(answer) = self.asked("put", location).await {
            answer?;
        }
        self.0.objects.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.0.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if let Some(answer) = self.asked(if options.head { "head" } else { "get" }, location).await {
            answer?;
        }
        self.0.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        let bucket = self.clone();
        let delete = move |location: StoreResult<Path>| {
            let bucket = bucket.clone();
            async move {
                let location = location?;
                match bucket.asked("delete", &location).await {
                    Some(answer) => answer?,
                    None => bucket.0.objects.delete(&location).await?,
                }
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.0.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.0.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.0.copies.lock().unwrap().push(to.to_string());
        let request = if matches!(options.mode, CopyMode::Create) { "copy anew" } else { "copy over" };
        match self.asked(request, to).await {
            Some(answer) => answer,
            None => self.0.objects.copy_opts(from, to, options).await,
        }
    }
}

/// An archive below `from`, whose tail is made of `objects`, to be copied below `to`.
struct Stage {
    bucket: Bucket,
    name: Name,
}

impl Stage {
    async fn of(objects: &[&'static str]) -> Stage {
        let stage = Stage { bucket: Bucket::default(), name: "app".parse().unwrap() };
        for object in objects {
            stage.bucket.put(&format!("from/app/{object}"), stage.sealed(object)).await;
        }
        stage.bucket.put("from/app/manifest", stage.manifest(objects)).await;
        stage
    }

    fn seal(&self, object: &str, plain: &[u8]) -> Bytes {
        let (store, id) = (self.bucket.store("from"), Some(manifest().facts().unwrap().log));
        let place = Place { store: &store, log: &self.name, id, keys: None, level: None };
        place.seal(object, plain).unwrap()
    }

    fn sealed(&self, object: &str) -> Bytes {
        self.seal(object, format!("what {object} holds").as_bytes())
    }

    /// A bit is another.
    fn damaged(&self, object: &str) -> Bytes {
        let mut bytes = self.sealed(object).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.into()
    }

    fn manifest(&self, objects: &[&str]) -> Bytes {
        let mut manifest = manifest();
        for (at, object) in (0..).zip(objects) {
            let (bytes, object) = (self.sealed(object).len() as u64, (*object).to_owned());
            manifest.add_tail(TailEntry { start: at, end: at + 1, object, bytes, time: 0, level: 0 });
        }
        self.seal(MANIFEST, &serde_json::to_vec(&manifest).unwrap())
    }

    async fn copy(&self) -> Result<Copied> {
        let (from, to) = (self.bucket.store("from"), self.bucket.store("to"));
        copy(&from, &to, &self.name, None, CopyPlan::default(), |_| {}).await
    }

    async fn assert_copied(&self, objects: &[&str]) {
        for object in objects {
            assert_eq!(
                self.bucket.content(&format!("to/app/{object}")).await.unwrap(),
                self.sealed(object),
                "{object}"
            );
        }
    }

    /// The archiver puts a tail together with what has come since, at a request.
    fn replaces_at(&self, request: &'static str, of: &'static str) -> Expected<'_> {
        let at =
            self.bucket.at(request, of).remove("from/app/tail/before").put("from/app/tail/after", self.sealed(AFTER));
        at.put("from/app/manifest", self.manifest(&[FIRST, AFTER]))
    }
}

fn told(text: &str) -> Box<dyn std::error::Error + Send + Sync> {
    text.into()
}

fn denied() -> StoreError {
    StoreError::PermissionDenied { path: "to".to_owned(), source: told("AccessDenied") }
}

fn busy() -> StoreError {
    StoreError::Generic { store: "memory", source: told("503 SlowDown") }
}

/// An object is gone between a look at it and its copy.
#[tokio::test]
async fn what_an_archiver_replaces_while_it_is_copied_is_found_in_the_manifest_that_is_read_anew() {
    let stage = Stage::of(&[FIRST, BEFORE]).await;
    // Through here, because the store refuses.
    stage.bucket.at("copy anew", "to/app/tail/first").answer(Err(denied()));
    stage.replaces_at("get", "from/app/tail/before").go_on();
    let copied = stage.copy().await.unwrap();
    stage.assert_copied(&[FIRST, AFTER]).await;
    assert_eq!((copied.objects, copied.copied, copied.by_store), (2, 2, 0));
    assert!(copied.refused.unwrap().contains("AccessDenied"), "it is told, whatever came after");
    assert_eq!(*stage.bucket.0.copies.lock().unwrap(), ["to/app/tail/first"], "and not asked again");

    // By the store, which does not find it.
    let stage = Stage::of(&[FIRST, BEFORE]).await;
    stage.replaces_at("copy anew", "to/app/tail/before").go_on();
    let copied = stage.copy().await.unwrap();
    stage.assert_copied(&[FIRST, AFTER]).await;
    let len = [FIRST, AFTER].map(|object| stage.sealed(object).len() as u64).iter().sum::<u64>();
    assert_eq!((copied.copied, copied.by_store, copied.bytes, copied.refused), (2, 2, len, None));
}

/// What was copied counts, also if the archive does not name it any more.
#[tokio::test]
async fn a_copy_that_begins_anew_counts_what_it_has_copied_before() {
    let stage = Stage::of(&[BEFORE, FIRST]).await;
    let at = stage.bucket.at("head", "from/app/tail/first").remove("from/app/tail/first");
    at.put("from/app/tail/after", stage.sealed(AFTER)).put("from/app/manifest", stage.manifest(&[AFTER])).go_on();
    let copied = stage.copy().await.unwrap();
    stage.assert_copied(&[BEFORE, AFTER]).await;
    assert_eq!((copied.objects, copied.copied, copied.by_store), (2, 2, 2));
}

#[tokio::test]
async fn a_store_that_is_busy_is_asked_again_for_the_next_object() {
    let stage = Stage::of(&[FIRST, BEFORE]).await;
    stage.bucket.at("copy anew", "to/app/tail/first").answer(Err(busy()));
    let copied = stage.copy().await.unwrap();
    stage.assert_copied(&[FIRST, BEFORE]).await;
    assert_eq!((copied.copied, copied.by_store, copied.refused), (2, 1, None));
}

/// An agent archives into the target, too.
#[tokio::test]
async fn what_somebody_else_has_put_meanwhile_stays_if_it_holds() {
    let stage = Stage::of(&[FIRST]).await;
    stage.bucket.put("from/app/tail/first", stage.damaged(FIRST)).await;
    stage.bucket.at("copy anew", "to/app/tail/first").put("to/app/tail/first", stage.sealed(FIRST)).go_on();
    let refused = stage.copy().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    stage.assert_copied(&[FIRST]).await;

    // Of a store that only copies over what is there, what was made is not left if it does not hold.
    let stage = Stage::of(&[FIRST]).await;
    stage.bucket.put("from/app/tail/first", stage.damaged(FIRST)).await;
    let unknown = StoreError::NotSupported { source: told("not known") };
    stage.bucket.at("copy anew", "to/app/tail/first").answer(Err(unknown));
    let refused = stage.copy().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert_eq!(stage.bucket.content("to/app/tail/first").await, None);
    assert_eq!(stage.bucket.0.copies.lock().unwrap().len(), 2, "it was asked to");
}

/// As one that is not yet done with it.
#[tokio::test]
async fn a_copy_that_does_not_hold_is_replaced_through_here_also_where_it_cannot_be_removed() {
    let stage = Stage::of(&[FIRST]).await;
    stage.bucket.at("copy anew", "to/app/tail/first").put("to/app/tail/first", stage.damaged(FIRST)).answer(Ok(()));
    stage.bucket.at("delete", "to/app/tail/first").answer(Err(busy()));
    let copied = stage.copy().await.unwrap();
    stage.assert_copied(&[FIRST]).await;
    assert_eq!((copied.copied, copied.by_store), (1, 0));
}

/// As Azure may: it answers before it is done, and lets nobody write or remove the object meanwhile.
#[tokio::test]
async fn a_copy_that_a_store_has_only_begun_fails_and_is_there_when_it_is_run_again() {
    let stage = Stage::of(&[FIRST]).await;
    stage.bucket.at("copy anew", "to/app/tail/first").put("to/app/tail/first", Bytes::new()).answer(Ok(()));
    for request in ["put", "delete"] {
        let pending = StoreError::Generic { store: "memory", source: told("409 PendingCopyOperation") };
        stage.bucket.at(request, "to/app/tail/first").answer(Err(pending));
    }
    let refused = stage.copy().await.unwrap_err();
    assert!(
        refused.kind() == ErrorKind::Unavailable && refused.to_string().contains("to: app/tail/first"),
        "{refused}"
    );
    assert_eq!(stage.bucket.content("to/app/manifest").await, None, "nobody takes it for an archive");
    // By then the store has done it.
    stage.bucket.put("to/app/tail/first", stage.sealed(FIRST)).await;
    assert_eq!(stage.copy().await.unwrap().copied, 0);
    stage.assert_copied(&[FIRST]).await;
    assert_eq!(stage.bucket.content("to/app/manifest").await.unwrap(), stage.manifest(&[FIRST]));
}
