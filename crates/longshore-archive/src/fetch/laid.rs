//! A segment's file in the directory that is fetched into.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use longshore_format::{Footer, Lsn, SegmentDigest, SegmentSize};

use super::partial::Partial;
use super::segment::{PIECE, Stored};
use crate::blocking::blocking;
use crate::error::Result;
use crate::manifest::SegmentEntry;

/// What a log is fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To stay: a file has its name once it is durable, and is believed from then on.
    Stay,
    /// To be read and removed: nothing waits for the disk. What an earlier fetch has left is hashed before it is believed: after a
    /// power cut it may not be what it was.
    Scratch,
}

/// Whether a segment is here already.
pub(super) async fn is_here(path: PathBuf, wanted: &SegmentEntry, size: SegmentSize, purpose: Purpose) -> Result<bool> {
    if !has_footer_of(&path, wanted, size) {
        return Ok(false);
    }
    let digest = wanted.digest.clone();
    match purpose {
        Purpose::Stay => Ok(true),
        // One that cannot be read is fetched anew.
        Purpose::Scratch => blocking(move || Ok(digest_of(&path, size).is_ok_and(|here| here == digest))).await,
    }
}

/// Writes a segment to where it belongs, if it is what was sealed.
pub(super) async fn lay(segment: Stored, path: PathBuf, purpose: Purpose) -> Result<()> {
    let body = segment.body().await?;
    blocking(move || {
        let mut file = Partial::create(path)?;
        segment.check(body, |piece| file.write(piece))?;
        file.complete(segment.size().get(), purpose)
    })
    .await
}

/// What has a footer was checked before it got its name.
fn has_footer_of(path: &Path, wanted: &SegmentEntry, size: SegmentSize) -> bool {
    let mut trailer = [0; Footer::TRAILER_LEN];
    let at = size.get() - Footer::TRAILER_LEN as u64;
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut trailer, at));
    let footer = read.ok().and_then(|()| Footer::decode(&trailer, Lsn::new(wanted.base), size).ok());
    footer.is_some_and(|footer| footer.digest.to_string() == wanted.digest)
}

/// The digest of what a file holds before its footer.
fn digest_of(path: &Path, size: SegmentSize) -> std::io::Result<String> {
    let (mut file, mut digest, mut piece) = (File::open(path)?, SegmentDigest::new(), vec![0; PIECE]);
    while digest.offset() < size.body_end_offset() {
        let room = (size.body_end_offset() - digest.offset()).min(PIECE as u64) as usize;
        file.read_exact(&mut piece[..room])?;
        digest.update(&piece[..room]);
    }
    Ok(digest.finish(size).to_string())
}
