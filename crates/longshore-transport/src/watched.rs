//! What was read from files that may be replaced while an agent runs.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;

use crate::{Result, lock};

/// What some files held when they were last of use. Whoever reads it gets all of one moment.
pub(crate) struct Watched<T> {
    paths: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T> + Send + Sync>,
    /// What the files looked like when they were last read, also when they were of no use then. Held while they are
    /// read, so that what was read last is what counts.
    stamp: Mutex<Stamp>,
    current: ArcSwap<T>,
}

impl<T> Watched<T> {
    /// Reads the files at `paths` for the first time; what cannot be used is refused.
    pub(crate) fn open(paths: Vec<PathBuf>, read: impl Fn() -> Result<T> + Send + Sync + 'static) -> Result<Self> {
        let stamp = Mutex::new(stamp(&paths));
        let current = ArcSwap::from_pointee(read()?);
        Ok(Watched { paths, read: Box::new(read), stamp, current })
    }

    /// What counts now.
    pub(crate) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Reads the files again. When they are of no use, what they held before stays.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut known = lock(&self.stamp);
        let now = stamp(&self.paths);
        self.read_as(now, &mut known)
    }

    /// The same, if the files have changed since they were last read. True when there is something new.
    pub(crate) fn reload_if_changed(&self) -> Result<bool> {
        let mut known = lock(&self.stamp);
        let now = stamp(&self.paths);
        if *known == now {
            return Ok(false);
        }
        self.read_as(now, &mut known).map(|()| true)
    }

    /// The stamp was taken first: a file that changes while it is read is read again next time.
    fn read_as(&self, now: Stamp, known: &mut Stamp) -> Result<()> {
        *known = now;
        self.current.store(Arc::new((self.read)()?));
        Ok(())
    }
}

/// What files look like from outside: changes whenever one of them is replaced or rewritten.
type Stamp = Vec<FileStamp>;

fn stamp(paths: &[PathBuf]) -> Stamp {
    paths.iter().map(|path| FileStamp::of(path)).collect()
}

/// What one file looks like from outside; all zero when it is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    fn of(path: &Path) -> FileStamp {
        let stamp = |metadata: Metadata| FileStamp {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        fs::metadata(path).map(stamp).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::ErrorKind;

    use super::*;
    use crate::Error;

    #[test]
    fn what_is_of_no_use_is_reported_once_and_the_old_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("number");
        let write = |text: &str| {
            // Replaced, so that it looks different however soon that is.
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
        };
        write("1");
        let file = path.clone();
        let read = move || {
            let number = fs::read_to_string(&file).ok().and_then(|text| text.parse::<u32>().ok());
            number.ok_or_else(|| Error::new(ErrorKind::Preflight, "it is no number", "write one"))
        };
        let watched = Watched::open(vec![path.clone()], read).unwrap();
        assert_eq!((watched.reload_if_changed().unwrap(), *watched.current()), (false, 1));
        write("2");
        assert_eq!((watched.reload_if_changed().unwrap(), *watched.current()), (true, 2));
        write("none");
        assert!(watched.reload_if_changed().is_err());
        assert_eq!((watched.reload_if_changed().unwrap(), *watched.current()), (false, 2));
        assert!(watched.reload().is_err(), "it is read whenever somebody asks");
        fs::remove_file(&path).unwrap();
        assert!(watched.reload_if_changed().is_err(), "that a file is gone is a change");
        write("3");
        assert_eq!((watched.reload_if_changed().unwrap(), *watched.current()), (true, 3));
    }
}
