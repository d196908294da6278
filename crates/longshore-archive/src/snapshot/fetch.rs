//! A snapshot out of a store, into a file that has its name once it is whole.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{PIECE, Piece, SnapshotFetched, check_len, piece, pieces};
use crate::archive::{Archive, Copy};
use crate::blocking::blocking;
use crate::error::Result;
use crate::files::{io, partial_of, private};
use crate::manifest::SnapshotEntry;

impl Archive {
    /// Fetches a snapshot into a file. Interrupted, it goes on where it was; the file has its name once it is whole. `watch` is
    /// told of each piece.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing) and [`Error::Corrupt`](crate::Error::Corrupt) name what no store has whole; [`Error::Io`](crate::Error::Io); what the stores say.
    pub async fn fetch_snapshot(
        &self,
        wanted: &SnapshotEntry,
        path: &Path,
        mut watch: impl FnMut(SnapshotFetched),
    ) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let mut trouble = None;
        for copy in self.copies() {
            let same = |entry: &&SnapshotEntry| (entry.position, entry.len) == (wanted.position, wanted.len);
            let Some(entry) = copy.manifest.snapshots.iter().find(same) else { continue };
            match self.lay_snapshot(copy, entry, path, &mut watch).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(store = copy.store.label(), %error, "another store is asked");
                    trouble = trouble.or(Some(error));
                }
            }
        }
        Err(trouble.expect("the store whose snapshot it is was asked"))
    }

    async fn lay_snapshot(
        &self,
        copy: &Copy,
        entry: &SnapshotEntry,
        path: &Path,
        watch: &mut impl FnMut(SnapshotFetched),
    ) -> Result<()> {
        let place = self.place(copy);
        let pieces = Arc::new(pieces(&place, entry).await?);
        let (partial, there) = (partial_of(path), Arc::clone(&pieces));
        let mut file = blocking(move || Partial::open(partial, &there)).await?;
        for wanted in &pieces[file.pieces..] {
            let bytes = piece(&place, entry, wanted).await?;
            file = blocking(move || file.with(&bytes)).await?;
            watch(SnapshotFetched { bytes: file.len, of: entry.len });
        }
        check_len(&place, entry, file.len)?;
        let path = path.to_owned();
        blocking(move || file.complete(&path)).await
    }
}

/// A snapshot of which the first pieces are here.
struct Partial {
    path: PathBuf,
    file: File,
    pieces: usize,
    len: u64,
}

impl Partial {
    /// Keeps of what an interrupted fetch has left the pieces that hold.
    fn open(path: PathBuf, wanted: &[Piece]) -> Result<Partial> {
        let mut file = private(&path).map_err(io(&path))?;
        let (mut pieces, mut len) = (0, 0);
        let mut bytes = Vec::new();
        for piece in wanted {
            bytes.clear();
            let read = Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut bytes).map_err(io(&path))?;
            if read == 0 || blake3::hash(&bytes).to_hex().as_str() != piece.digest {
                break;
            }
            pieces += 1;
            len += read as u64;
        }
        file.set_len(len).and_then(|()| file.seek(SeekFrom::Start(len))).map_err(io(&path))?;
        Ok(Partial { path, file, pieces, len })
    }

    /// With one more piece.
    fn with(mut self, bytes: &[u8]) -> Result<Partial> {
        self.file.write_all(bytes).map_err(io(&self.path))?;
        self.pieces += 1;
        self.len += bytes.len() as u64;
        Ok(self)
    }

    /// Makes it durable, and gives it its name.
    fn complete(self, path: &Path) -> Result<()> {
        self.file.sync_all().and_then(|()| std::fs::rename(&self.path, path)).map_err(io(path))
    }
}
