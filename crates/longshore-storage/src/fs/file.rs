//! A real file, which knows about the one region that may be mapped from it.

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use memmap2::MmapOptions;
use rustix::fs::{AtFlags, FallocateFlags, FileType, Statx, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::region::RegionWatch;
use crate::trouble::{Locate, located};
use crate::{Access, File, Region, RegionReader, RegionWriter, ZERO_FILL_STEP};

#[derive(Debug)]
pub(super) struct FsFile {
    file: StdFile,
    path: String,
    /// The region mapped from this file last; locked for lines, never across a system call that waits for the disk.
    region: Mutex<RegionWatch>,
}

impl FsFile {
    pub(super) fn new(file: StdFile, path: String) -> FsFile {
        FsFile { file, path, region: Mutex::default() }
    }

    /// Refuses what is not a plain file of one name (F-050).
    pub(super) fn refuse_strange(&self, access: Access) -> io::Result<()> {
        let stat = self.stat()?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(self.refuse("not a regular file; move it out of the data directory"));
        }
        if access == Access::Write && stat.stx_nlink > 1 {
            return Err(
                self.refuse("the file has a second hard link, so a write would change that copy too; copy it instead")
            );
        }
        Ok(())
    }

    /// Not `fstat`: that also asks for the times, and since Linux 6.13 a file whose times were asked for gets exact new
    /// ones with its next change, which its next sync then has to write. After each sync of an append that would cost
    /// half as much again as the sync itself.
    fn stat(&self) -> io::Result<Statx> {
        let wanted = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::SIZE;
        rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, wanted).locate("look at", &self.path)
    }

    fn refuse(&self, reason: &str) -> io::Error {
        located("use", &self.path, io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    fn region(&self) -> RegionWatch {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a sync: what is durable must still be the whole region, under a name (F-054, F-055).
    fn check_whole(&self) -> io::Result<()> {
        let Some(living) = self.region().living() else {
            return Ok(());
        };
        let stat = self.stat()?;
        if stat.stx_size < living.len as u64 {
            return Err(self.refuse("the file was cut short while it was mapped; restart after restoring it"));
        }
        if stat.stx_nlink == 0 {
            return Err(self.refuse("the file was removed while it was mapped; restart after restoring it"));
        }
        Ok(())
    }
}

impl File for FsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.stat()?.stx_size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        fill(&self.file, buf, offset).locate("read", format!("{} at offset {offset}", self.path))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.region().living().is_some_and(|living| offset < living.published as u64) {
            return Err(self.refuse("a write below what is published of its mapped region"));
        }
        self.file.write_all_at(bytes, offset).locate("write", format!("{} at offset {offset}", self.path))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.allocate_by_writing(len),
            Err(error) => Err(located("allocate space for", &self.path, error)),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.region().living().is_some_and(|living| len < living.len as u64) {
            return Err(self.refuse("a length shorter than its mapped region"));
        }
        retry_on_intr(|| rustix::fs::ftruncate(&self.file, len)).locate("set the length of", &self.path)
    }

    fn sync(&self) -> io::Result<()> {
        retry_on_intr(|| rustix::fs::fdatasync(&self.file)).locate("sync", &self.path)?;
        self.check_whole()
    }

    fn uncache(&self) {
        let _only_a_hint = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn map(&self, len: usize) -> io::Result<(RegionWriter, RegionReader)> {
        if len == 0 || self.len()? < len as u64 {
            return Err(self.refuse("the file is shorter than the region to be mapped"));
        }
        self.allocate(len as u64)?;
        let mut region = self.region.lock().unwrap_or_else(PoisonError::into_inner);
        if region.living().is_some() {
            return Err(self.refuse("a region of this file is already mapped"));
        }
        let map = MmapOptions::new().len(len).map_raw(&self.file).locate("map", &self.path)?;
        let (writer, reader) = Region::map(map);
        *region = reader.watch();
        Ok((writer, reader))
    }
}

impl FsFile {
    /// For file systems without `fallocate`: what is there is written over with itself, the rest with zeros.
    fn allocate_by_writing(&self, len: u64) -> io::Result<()> {
        let there = self.len()?;
        let mut block = [0; ZERO_FILL_STEP];
        let mut at = 0;
        while at < there.min(len) {
            let read = self.read_at(&mut block, at)?;
            self.write_all_at(&block[..read], at)?;
            at += ZERO_FILL_STEP as u64;
        }
        self.zero_fill(there.min(len)..len)
    }
}

/// Reads until `buf` is full or the file ends: one call may be interrupted, or bring less than was asked for (F-066).
fn fill(file: &impl FileExt, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Moves at most three bytes at once, and is interrupted every other time.
    struct Stuttering {
        bytes: RefCell<Vec<u8>>,
        calls: Cell<u32>,
    }

    impl Stuttering {
        fn of(bytes: &[u8]) -> Stuttering {
            Stuttering { bytes: RefCell::new(bytes.to_vec()), calls: Cell::new(0) }
        }

        fn piece(&self, len: usize) -> io::Result<usize> {
            self.calls.set(self.calls.get() + 1);
            if self.calls.get() % 2 == 1 { Err(Errno::INTR.into()) } else { Ok(len.min(3)) }
        }
    }

    impl FileExt for Stuttering {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let bytes = self.bytes.borrow();
            let rest = &bytes[bytes.len().min(offset as usize)..];
            let len = self.piece(buf.len().min(rest.len()))?;
            buf[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }

        fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
            let len = self.piece(buf.len())?;
            let mut bytes = self.bytes.borrow_mut();
            let end = (offset as usize + len).max(bytes.len());
            bytes.resize(end, 0);
            bytes[offset as usize..][..len].copy_from_slice(&buf[..len]);
            Ok(len)
        }
    }

    #[test]
    fn f_066_interrupted_and_short_reads_go_on_until_all_is_read_or_the_file_ends() {
        let file = Stuttering::of(b"eleven here");
        let mut all = [0; 11];
        assert_eq!(fill(&file, &mut all, 0).unwrap(), 11);
        assert_eq!(&all, b"eleven here");
        let mut beyond = [7; 8];
        assert_eq!(fill(&file, &mut beyond, 7).unwrap(), 4);
        assert_eq!(&beyond, b"here\x07\x07\x07\x07");
        assert_eq!(fill(&file, &mut beyond, 11).unwrap(), 0);
    }

    #[test]
    fn f_066_interrupted_and_short_writes_go_on_until_all_is_written() {
        let file = Stuttering::of(b"");
        // What `FsFile` writes with.
        file.write_all_at(b"all of it", 2).unwrap();
        assert_eq!(*file.bytes.borrow(), b"\0\0all of it");
    }
}
