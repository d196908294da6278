//! Two stores in one bucket: what it copies itself from one prefix to the other, so that none of it passes through this machine,
//! and whether one lies in the other.

use longshore_format::Name;
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt};
use url::Url;

use super::Store;
use crate::error::{Error, Result};

/// Which bucket of which endpoint a store is, as far as its address tells. The rest, the environment says to all stores of this
/// process alike.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    scheme: String,
    name: String,
    account: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
}

impl Bucket {
    /// Of an address.
    pub(super) fn of(url: &Url) -> Bucket {
        let option = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let [account, endpoint, region] = ["account", "endpoint", "region"].map(option);
        let name = url.host_str().unwrap_or_default().to_owned();
        Bucket { scheme: url.scheme().to_owned(), name, account, endpoint, region }
    }

    /// Whether two may be one, although one address says more than the other: surely two are only two servers, or two accounts.
    fn may_be(&self, other: &Bucket) -> bool {
        (&self.scheme, &self.name) == (&other.scheme, &other.name)
            && !differ(self.account.as_ref(), other.account.as_ref())
            && !differ(self.server(), other.server())
    }

    /// The server that its endpoint names; AWS has many names for one.
    fn server(&self) -> Option<(String, Option<u16>)> {
        let url = Url::parse(self.endpoint.as_deref()?).ok()?;
        let host = url.host_str().filter(|host| !host.ends_with(".amazonaws.com"))?;
        Some((host.to_owned(), url.port_or_known_default()))
    }
}

/// Whether both are told, and not the same.
fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// What became of an object that the store was to copy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It is there, as long as its source, and the store keeps the same checksum of both.
    Equal,
    /// It is there and as long, and of its checksum the store says nothing that can be compared.
    Untold,
    /// It is not there, or is another.
    Other,
}

impl Store {
    /// Whether this store can copy objects of another itself: they are one bucket.
    pub(crate) fn is_one_bucket_with(&self, other: &Store) -> bool {
        self.bucket.is_some() && self.bucket == other.bucket
    }

    /// Has the store copy an object of another prefix of its bucket under the same name; `source` is what it said of it. What
    /// somebody else has put there meanwhile stays, where the store knows how.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::Store`] is what the store said, which may not
    /// allow it, or not know it.
    pub(crate) async fn copy_within(&self, from: &Store, name: &str, source: &ObjectMeta) -> Result<Made> {
        let (source_path, path) = (from.path(name), self.path(name));
        let copied = match self.objects.copy_if_not_exists(&source_path, &path).await {
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => return Ok(Made::Other),
            // S3, unless it is told how.
            Err(StoreError::NotSupported { .. } | StoreError::NotImplemented { .. }) => {
                self.objects.copy(&source_path, &path).await
            }
            copied => copied,
        };
        copied.map_err(|error| self.failed(name, error))?;
        Ok(match self.stat(name).await? {
            Some(copy) if copy.size == source.size => compared(source, &copy),
            _ => Made::Other,
        })
    }

    /// Refuses a copy of a log into the store itself, and one of which objects lie among those of the other: whoever cleans up
    /// there would take them for some that nobody needs.
    pub(crate) fn must_be_apart(&self, to: &Store, log: &Name) -> Result<()> {
        let among = |path: &[String]| path.first().is_some_and(|first| first == log.as_str());
        let is_apart = self.below(to).is_none() && to.below(self).is_none_or(|path| !among(&path));
        match is_apart {
            true => Ok(()),
            false => Err(Error::Overlap { from: self.label().to_owned(), to: to.label().to_owned() }),
        }
    }

    /// The names from this store down to another that lies in it; `None` if it lies elsewhere.
    fn below(&self, other: &Store) -> Option<Vec<String>> {
        if let (Some(ours), Some(theirs)) = (&self.local, &other.local) {
            let [ours, theirs] = [ours, theirs].map(|dir| dir.canonicalize().unwrap_or_else(|_| dir.clone()));
            let path = theirs.strip_prefix(&ours).ok()?;
            return Some(path.iter().map(|name| name.to_string_lossy().into_owned()).collect());
        }
        if !self.bucket.as_ref()?.may_be(other.bucket.as_ref()?) {
            return None;
        }
        let names = |store: &Store| store.prefix.parts().map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
        names(other).strip_prefix(&names(self)[..]).map(<[String]>::to_vec)
    }
}

#[cfg(test)]
impl Store {
    /// A prefix of a bucket that is in memory.
    pub(crate) fn in_bucket(objects: std::sync::Arc<dyn object_store::ObjectStore>, prefix: &str) -> Store {
        let bucket = Bucket::of(&Url::parse("s3://bucket").expect("it is an address"));
        Store { prefix: prefix.into(), bucket: Some(bucket.into()), ..Store::of(objects, prefix) }
    }
}

/// Two that are one length. Only an MD5 speaks of the bytes; every other e-tag is a name, of an upload in parts, of a key, or
/// of a version, and two of them say nothing.
fn compared(source: &ObjectMeta, copy: &ObjectMeta) -> Made {
    match (md5(source), md5(copy)) {
        (Some(source), Some(copy)) if source == copy => Made::Equal,
        _ => Made::Untold,
    }
}

fn md5(meta: &ObjectMeta) -> Option<&str> {
    let tag = meta.e_tag.as_deref()?.trim_matches('"');
    (tag.len() == 32 && tag.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bucket_is_one_name_at_one_endpoint() {
        let bucket = |url: &str| Bucket::of(&Url::parse(url).unwrap());
        let here = bucket("s3://bucket/a?endpoint=http://here&region=eu-west-1");
        assert_eq!(here, bucket("s3://bucket/b/c?region=eu-west-1&endpoint=http://here"));
        for other in [
            "s3://other/a?endpoint=http://here&region=eu-west-1",
            "s3://bucket/a?endpoint=http://there&region=eu-west-1",
            "s3://bucket/a?endpoint=http://here&region=cn-north-1",
            "gs://bucket/a?endpoint=http://here&region=eu-west-1",
            "az://bucket/a?endpoint=http://here&region=eu-west-1&account=ours",
        ] {
            assert_ne!(here, bucket(other), "{other}");
        }
    }

    #[test]
    fn an_address_that_says_more_may_still_be_of_the_same_bucket() {
        let bucket = |url: &str| Bucket::of(&Url::parse(url).unwrap());
        for (one, other, may_be) in [
            ("s3://b/a", "s3://b/a?region=eu-west-1", true),
            ("s3://b/a?region=eu-central-1", "s3://b/a?region=eu-west-1", true),
            ("s3://b/a", "s3://b/a?endpoint=https://s3.eu-west-1.amazonaws.com", true),
            (
                "s3://b/a?endpoint=https://s3.amazonaws.com",
                "s3://b/a?endpoint=https://s3.eu-west-1.amazonaws.com",
                true,
            ),
            ("s3://b/a?endpoint=https://here", "s3://b/a?endpoint=https://here:443/", true),
            ("az://b/a", "az://b/a?account=ours", true),
            ("s3://b/a", "s3://c/a", false),
            ("s3://b/a", "gs://b/a", false),
            ("s3://b/a?endpoint=http://here:9000", "s3://b/a?endpoint=http://there:9000", false),
            ("s3://b/a?endpoint=http://here:9000", "s3://b/a?endpoint=http://here:9001", false),
            ("az://b/a?account=ours", "az://b/a?account=theirs", false),
        ] {
            let (one, other) = (bucket(one), bucket(other));
            assert_eq!((one.may_be(&other), other.may_be(&one)), (may_be, may_be), "{one:?} {other:?}");
        }
    }

    #[test]
    fn only_the_checksum_of_the_bytes_speaks_of_the_bytes() {
        let meta = |e_tag: Option<&str>| ObjectMeta {
            location: "a".into(),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: 3,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        };
        let [one, other] = ["\"900150983cd24fb0d6963f7d28e17f72\"", "\"d41d8cd98f00b204e9800998ecf8427e\""];
        for (source, copy, expected) in [
            (Some(one), Some(one), Made::Equal),
            (Some(one), Some(one.trim_matches('"')), Made::Equal),
            (Some(one), Some(other), Made::Untold),
            (Some("\"1\""), Some("\"1\""), Made::Untold),
            (
                Some("\"900150983cd24fb0d6963f7d28e17f72-2\""),
                Some("\"900150983cd24fb0d6963f7d28e17f72-2\""),
                Made::Untold,
            ),
            (Some(one), None, Made::Untold),
            (None, None, Made::Untold),
        ] {
            assert_eq!(compared(&meta(source), &meta(copy)), expected, "{source:?} {copy:?}");
        }
    }
}
