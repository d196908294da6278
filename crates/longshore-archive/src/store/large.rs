//! Objects that are too long for one request: in parts, several on their way at once.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, Result};

/// From this length on an object goes in parts. S3 takes 5 GiB in one request; but one that breaks off begins anew.
pub(super) const LARGE: usize = 128 << 20;

/// Of one size but for the last, as some stores want it. S3 takes 10,000 of them.
const PART: usize = 16 << 20;
const MOST_PARTS: usize = 10_000;
const AT_ONCE: usize = 4;

/// Puts an object in parts. It is there when all of them are, or not at all: what is there of one that fails is removed.
///
/// Not of one that is cancelled, or whose process is killed: a rule of the bucket has to remove those.
pub(super) async fn put(objects: &dyn ObjectStore, path: &Path, bytes: &Bytes) -> Result<()> {
    let mut upload = objects.put_multipart(path).await?;
    let len = PART.max(bytes.len().div_ceil(MOST_PARTS));
    let parts = (0..bytes.len()).step_by(len).map(|start| bytes.slice(start..bytes.len().min(start + len)));
    let put = futures_util::stream::iter(parts).map(|part| upload.put_part(part.into()));
    let put = put.buffered(AT_ONCE).try_collect::<Vec<()>>().await;
    let done = match put {
        Ok(_) => upload.complete().await.map(|_| ()),
        Err(error) => Err(error),
    };
    if done.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(object = %path, %error, "the parts of an upload that failed stay in the bucket");
    }
    done
}
