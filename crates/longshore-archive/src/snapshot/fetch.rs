//! A snapshot out of a store, into a file that has its name once it is whole.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{PIECE, Piece, SnapshotFetched, check_len, piece, pieces};
use crate::archive::{Archive, Copy};
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::files::{io, partial_of, private};
use crate::manifest::SnapshotEntry;

impl Archive {
    /// Fetches a snapshot into a file, its list and each of its pieces from the first store that has it whole. Interrupted, it
    /// goes on where it was; the file has its name once it is whole. `watch` is told of each piece.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Corrupt`] name what no store has whole; [`Error::Io`]; what the stores say.
    pub async fn fetch_snapshot(
        &self,
        wanted: &SnapshotEntry,
        path: &Path,
        mut watch: impl FnMut(SnapshotFetched),
    ) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let same = |entry: &&SnapshotEntry| (entry.position, entry.len) == (wanted.position, wanted.len);
        let named = self.copies().iter().filter_map(|copy| Some((copy, copy.manifest.snapshots.iter().find(same)?)));
        let (named, mut trouble) = (Vec::from_iter(named), None);
        for (at, (copy, _)) in named.iter().enumerate() {
            match self.lay_snapshot(&named, at, path, &mut watch).await {
                // Another store does not help if the disk here is full.
                laid @ (Ok(()) | Err(Error::Io { .. })) => return laid,
                Err(error) => {
                    tracing::warn!(store = copy.store.label(), %error, "another store is asked");
                    trouble = Some(Error::or(trouble, error));
                }
            }
        }
        Err(trouble.expect("the store whose snapshot it is was asked"))
    }

    /// Lays out what the list of one store says, with pieces from any.
    async fn lay_snapshot(
        &self,
        named: &[Named<'_>],
        at: usize,
        path: &Path,
        watch: &mut impl FnMut(SnapshotFetched),
    ) -> Result<()> {
        let (copy, entry) = named[at];
        let place = self.place(copy);
        let pieces = Arc::new(pieces(&place, entry).await?);
        let (partial, there) = (partial_of(path), Arc::clone(&pieces));
        let mut file = blocking(move || Partial::open(partial, &there)).await?;
        // The store that had the last piece is asked first: one that does not answer is not waited for at each.
        let mut nearest = at;
        for wanted in &pieces[file.pieces..] {
            let bytes;
            (nearest, bytes) = self.first_whole_piece(named, nearest, wanted).await?;
            file = blocking(move || file.with(&bytes)).await?;
            watch(SnapshotFetched { bytes: file.len, of: entry.len });
        }
        check_len(&place, entry, file.len)?;
        let path = path.to_owned();
        blocking(move || file.complete(&path)).await
    }

    /// A piece, from the first store that has it whole, and which that is. Its name tells its digest: whoever has it has the same.
    async fn first_whole_piece(&self, named: &[Named<'_>], nearest: usize, wanted: &Piece) -> Result<(usize, Vec<u8>)> {
        let mut trouble = None;
        for at in (nearest..named.len()).chain(0..nearest) {
            let (copy, entry) = named[at];
            match piece(&self.place(copy), entry, wanted).await {
                Ok(bytes) => return Ok((at, bytes)),
                Err(error) => {
                    tracing::warn!(store = copy.store.label(), %error, "another store is asked for a piece");
                    trouble = Some(Error::or(trouble, error));
                }
            }
        }
        Err(trouble.expect("the store whose list it is was asked"))
    }
}

/// A store, and what it names the snapshot.
type Named<'a> = (&'a Copy, &'a SnapshotEntry);

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
