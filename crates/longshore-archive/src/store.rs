//! An object store, as an archive needs it: objects that are made once, and one that is changed by compare-and-swap.
//!
//! Nothing here trusts an answer that did not come. A put whose answer was lost is read back and compared: what is there is
//! what was put, or somebody else was faster.

mod answer;
mod body;
mod ledger;
mod local;
mod region;
mod uploads;
mod url;
mod within;

pub use ledger::{Ledger, Meter};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

use crate::blocking::blocking;
use crate::error::{Error, Result};
pub(crate) use body::Body;

use crate::estimate::RegionId;
pub(crate) use answer::{Answer, refuses};
use uploads::Uploads;
use within::Bucket;
pub(crate) use within::Made;

/// A store, and the prefix under which archives lie in it. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Where it takes long objects in parts.
    uploads: Option<Uploads>,
    prefix: Path,
    label: Arc<str>,
    /// A directory cannot compare and swap by itself.
    local: Option<PathBuf>,
    region: Option<RegionId>,
    /// Which bucket it is, where it could copy objects itself.
    bucket: Option<Arc<Bucket>>,
    /// What is asked of a directory past `objects` is counted here.
    meter: Option<Meter>,
}

/// Which version of an object was read, for [`Store::swap`].
#[derive(Clone, Debug)]
pub struct Version(Seen);

#[derive(Clone, Debug)]
enum Seen {
    Tagged(UpdateVersion),
    Content(blake3::Hash),
}

impl Store {
    /// The store at `url`: `s3://BUCKET/PREFIX?endpoint=&region=`, `gs://BUCKET/PREFIX?endpoint=&region=`,
    /// `az://CONTAINER/PREFIX?account=&endpoint=&region=` or `file:///DIRECTORY`; of the latter clouds' buckets the region says
    /// only what their prices are. Credentials are found as each cloud's own tools find them. Nothing is asked of the store yet.
    ///
    /// # Errors
    /// [`Error::Url`]; [`Error::Feature`] for a cloud that this program was built without.
    pub fn open(url: &str) -> Result<Store> {
        let region = region::region_of(url, |name| std::env::var(name).ok());
        Ok(Store { region, ..url::open(url)? })
    }

    /// A store that was made elsewhere: for tests, and for kinds of stores that have no address here. However long an object is, it
    /// goes in one request, but for [`with_uploads`](Self::with_uploads).
    pub fn of(objects: Arc<dyn ObjectStore>, label: &str) -> Store {
        Store {
            objects,
            uploads: None,
            prefix: Path::default(),
            label: label.into(),
            local: None,
            region: None,
            bucket: None,
            meter: None,
        }
    }

    /// Its address, as it is shown: without anything secret.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The provider and region that it is in, where its address or the environment says so.
    pub fn region(&self) -> Option<&RegionId> {
        self.region.as_ref().filter(|region| region.name() != region::UNKNOWN)
    }

    /// Whose prices it has: its provider and region, which is called `unknown` if only the provider is known; some prices are the
    /// same in all regions. `None` of a directory, and of an endpoint of one's own.
    pub fn priced_as(&self) -> Option<&RegionId> {
        self.region.as_ref()
    }

    /// Whether it is a directory, which nobody bills.
    pub fn is_directory(&self) -> bool {
        self.local.is_some()
    }

    fn path(&self, name: &str) -> Path {
        let parts = self.prefix.parts().map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
        Path::from_iter(parts.iter().map(String::as_str).chain(name.split('/')))
    }

    pub(crate) fn failed(&self, name: &str, source: StoreError) -> Error {
        let store = self.label.to_string();
        match Answer::of(&source) {
            Answer::NoBucket(reason) => Error::NoBucket { store, reason },
            _ => Error::Store { store, object: name.to_owned(), source },
        }
    }

    /// Whether an error says no more than that an object is not there: its bucket is.
    fn is_absent(error: &StoreError) -> bool {
        matches!(error, StoreError::NotFound { .. }) && !matches!(Answer::of(error), Answer::NoBucket(_))
    }

    /// An object, whole; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::Store`] is what the store said.
    pub async fn get(&self, name: &str) -> Result<Option<(Bytes, Version)>> {
        let Some((got, tag)) = self.ask(name).await? else { return Ok(None) };
        let bytes = got.bytes().await.map_err(|error| self.failed(name, error))?;
        let version = self.version(tag, &bytes);
        Ok(Some((bytes, version)))
    }

    /// As [`get`](Self::get), of an object that should be short: of one that is longer, no more than `limit` bytes and one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_short(&self, name: &str, limit: usize) -> Result<Option<(Bytes, Version)>> {
        let Some((got, tag)) = self.ask(name).await? else { return Ok(None) };
        let (mut pieces, mut bytes) = (got.into_stream(), BytesMut::new());
        while bytes.len() <= limit
            && let Some(piece) = pieces.try_next().await.map_err(|error| self.failed(name, error))?
        {
            let room = limit + 1 - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let version = self.version(tag, &bytes);
        Ok(Some((bytes.freeze(), version)))
    }

    /// What the store answers, before the bytes.
    async fn ask(&self, name: &str) -> Result<Option<(GetResult, UpdateVersion)>> {
        let got = match self.objects.get(&self.path(name)).await {
            Err(error) if Store::is_absent(&error) => return self.must_be_mounted().map(|()| None),
            got => got.map_err(|error| self.failed(name, error))?,
        };
        let tag = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
        Ok(Some((got, tag)))
    }

    fn version(&self, tag: UpdateVersion, bytes: &[u8]) -> Version {
        Version(match self.local {
            Some(_) => Seen::Content(blake3::hash(bytes)),
            None => Seen::Tagged(tag),
        })
    }

    /// How long an object is; `None` if there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get); but a bucket that is missing looks like an object that is.
    pub async fn len(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.stat(name).await?.map(|meta| meta.size))
    }

    /// What the store says of an object; `None` if there is none.
    pub(crate) async fn stat(&self, name: &str) -> Result<Option<ObjectMeta>> {
        match self.objects.head(&self.path(name)).await {
            Err(error) if Store::is_absent(&error) => Ok(None),
            got => Ok(Some(got.map_err(|error| self.failed(name, error))?)),
        }
    }

    /// Makes an object; `false` if there is another of that name, which stays.
    ///
    /// One that goes in parts is made whether or not another is made at the same time: the names of what is so long tell what
    /// they hold.
    ///
    /// # Errors
    /// As [`get`](Self::get). After one the object may be there.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.must_be_mounted()?;
        if self.in_parts(&bytes).is_some() {
            return match self.len(name).await? {
                Some(_) => Ok(false),
                None => self.replace(name, bytes).await.map(|()| true),
            };
        }
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(&self.path(name), bytes.clone().into(), options).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                self.is_there(name, &bytes).await
            }
            // What became of it is not known.
            Err(error) => match self.is_there(name, &bytes).await {
                Ok(true) => Ok(true),
                _ => Err(self.failed(name, error)),
            },
        }
    }

    /// Makes an object, or puts it in the place of one that nobody relies on.
    ///
    /// # Errors
    /// As [`get`](Self::get). After one the object may be there.
    pub async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.must_be_mounted()?;
        let put = match self.in_parts(&bytes) {
            Some(uploads) => self.put_in_parts(uploads, name, &bytes).await,
            None => self.objects.put(&self.path(name), bytes.clone().into()).await.map(|_| ()),
        };
        let Err(error) = put else { return Ok(()) };
        // What became of it is not known.
        match self.is_there(name, &bytes).await {
            Ok(true) => Ok(()),
            _ => Err(self.failed(name, error)),
        }
    }

    /// A directory that is gone is never made anew: a volume that is not mounted looks like one.
    fn must_be_mounted(&self) -> Result<()> {
        match &self.local {
            Some(root) if !root.is_dir() => Err(Error::NoDirectory { url: self.label.to_string() }),
            _ => Ok(()),
        }
    }

    /// Changes an object that was `seen` like this, or makes it where none was seen. `None` if somebody else changed it since.
    ///
    /// # Errors
    /// As [`get`](Self::get). After one it may have been changed.
    pub async fn swap(&self, name: &str, bytes: Bytes, seen: Option<Version>) -> Result<Option<Version>> {
        self.must_be_mounted()?;
        if let Some(root) = &self.local {
            if let Some(meter) = &self.meter {
                meter.swap(bytes.len() as u64);
            }
            return local::swap(root, name, bytes, seen).await;
        }
        let mode = match seen {
            Some(Version(Seen::Tagged(tag))) => PutMode::Update(tag),
            Some(Version(Seen::Content(_))) | None => PutMode::Create,
        };
        match self.objects.put_opts(&self.path(name), bytes.clone().into(), PutOptions::from(mode)).await {
            Ok(put) => Ok(Some(Version(Seen::Tagged(put.into())))),
            Err(error) => match self.get(name).await {
                Ok(Some((there, version))) if there == bytes => Ok(Some(version)),
                Ok(_)
                    if Store::is_absent(&error)
                        || matches!(error, StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) =>
                {
                    Ok(None)
                }
                _ => Err(self.failed(name, error)),
            },
        }
    }

    /// Removes an object; one that is gone already is no error.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self.objects.delete(&self.path(name)).await {
            Ok(()) => Ok(()),
            Err(error) if Store::is_absent(&error) => Ok(()),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// The names below `under`, with their lengths and ages. Slow where there are many: never in steady state.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn list(&self, under: &str) -> Result<Vec<(String, u64, Duration)>> {
        let listed = self.objects.list(Some(&self.path(under))).try_collect().await;
        let found: Vec<_> = listed.map_err(|error| self.failed(under, error))?;
        let now = SystemTime::now();
        // What a store's clock dates later is new.
        let age = |meta: &ObjectMeta| now.duration_since(meta.last_modified.into()).unwrap_or_default();
        Ok(found.iter().map(|meta| (self.name_of(&meta.location), meta.size, age(meta))).collect())
    }

    /// As many names below `under` as a store tells in one answer.
    pub(crate) async fn first_names(&self, under: &str) -> Result<Vec<String>> {
        let listed = self.objects.list(Some(&self.path(under))).take(ONE_ANSWER).try_collect().await;
        let found: Vec<_> = listed.map_err(|error| self.failed(under, error))?;
        Ok(found.iter().map(|meta| self.name_of(&meta.location)).collect())
    }

    fn name_of(&self, path: &Path) -> String {
        let strip = self.prefix.parts().count();
        path.parts().skip(strip).map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")
    }

    /// What puts have left below a log's name that were killed: parts of files that were not written to for so long, with their
    /// length, and notes of uploads that began so long ago. Removed, unless this only looks.
    ///
    /// # Errors
    /// [`Error::Io`]; as [`get`](Self::get).
    pub(crate) async fn killed_puts(
        &self,
        log: &str,
        older_than: Duration,
        look_only: bool,
    ) -> Result<Vec<(String, u64)>> {
        let Some(root) = self.local.clone() else { return self.killed_uploads(log, older_than, look_only).await };
        let below = root.join(log);
        let found = blocking(move || {
            let parts = local::parts(&below, older_than).map_err(|source| Error::Io { path: below.clone(), source })?;
            for (path, _) in parts.iter().filter(|_| !look_only) {
                std::fs::remove_file(path).map_err(|source| Error::Io { path: path.clone(), source })?;
            }
            Ok(parts)
        })
        .await?;
        let name = |path: &std::path::Path| path.strip_prefix(&root).unwrap_or(path).display().to_string();
        Ok(found.into_iter().map(|(path, len)| (name(&path), len)).collect())
    }

    /// The names of the directories at the top.
    pub(crate) async fn top(&self) -> Result<Vec<String>> {
        let prefix = (self.prefix.parts().count() > 0).then_some(&self.prefix);
        let listed =
            self.objects.list_with_delimiter(prefix).await.map_err(|error| self.failed("the list of logs", error))?;
        let last = |path: &Path| path.parts().next_back().map(|part| part.as_ref().to_owned());
        Ok(listed.common_prefixes.iter().filter_map(last).collect())
    }

    async fn is_there(&self, name: &str, bytes: &Bytes) -> Result<bool> {
        Ok(self.get(name).await?.is_some_and(|(there, _)| there == *bytes))
    }
}

/// As many names as S3, Google and Azure tell at least in one answer.
const ONE_ANSWER: usize = 1000;
