//! A file that a thread of its own writes, while what comes next is read.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Writes pieces in the order in which they are given, and has the disk begin with each at once: syncing the file at its end
/// takes a moment. A few pieces wait at most. Dropped early, it leaves the rest unwritten.
#[derive(Debug)]
pub(crate) struct WriteBehind {
    file: Arc<File>,
    /// Until it is finished, or an error was told.
    writing: Option<Writing>,
    /// Buffers that were written and can be filled again.
    spare: Receiver<Vec<u8>>,
}

#[derive(Debug)]
struct Writing {
    queue: SyncSender<Piece>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug)]
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

/// Pieces that wait.
const WAITING: usize = 4;

impl WriteBehind {
    pub(crate) fn new(file: File) -> io::Result<WriteBehind> {
        let (file, (queue, pieces), (done, spare)) = (Arc::new(file), sync_channel(WAITING), channel());
        let target = Arc::clone(&file);
        let thread = std::thread::Builder::new()
            .name("longshore-restore".to_owned())
            .spawn(move || write_all(&target, &pieces, &done))?;
        Ok(WriteBehind { file, writing: Some(Writing { queue, thread }), spare })
    }

    /// Gives a piece, and returns an empty buffer for the next one. It may wait for the disk.
    ///
    /// # Errors
    /// Whatever the disk said to an earlier piece.
    pub(crate) fn write(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut next = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(bytes.capacity()));
        let queue = self.writing.as_ref().map(|writing| &writing.queue);
        if queue.is_none_or(|queue| queue.send(Piece { offset, bytes }).is_err()) {
            self.join()?;
        }
        next.clear();
        Ok(next)
    }

    /// Waits for everything, makes the file `len` bytes long and durable.
    ///
    /// # Errors
    /// Whatever the disk said to any of it.
    pub(crate) fn finish(&mut self, len: u64) -> io::Result<()> {
        self.join()?;
        self.file.set_len(len)?;
        self.file.sync_all()
    }

    fn join(&mut self) -> io::Result<()> {
        let broken = || io::Error::other("it was not written whole before");
        let Writing { queue, thread } = self.writing.take().ok_or_else(broken)?;
        drop(queue);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes panicked")))
    }
}

fn write_all(file: &File, pieces: &Receiver<Piece>, done: &Sender<Vec<u8>>) -> io::Result<()> {
    let mut written = 0..0;
    for Piece { offset, bytes } in pieces {
        file.write_all_at(&bytes, offset)?;
        let end = offset + bytes.len() as u64;
        if offset != written.end || STRIDE <= end - written.start {
            begin_with(file, &written);
            written = offset..end;
        }
        written.end = end;
        // Nobody fills it again once everything was given.
        let _last_ones = done.send(bytes);
    }
    begin_with(file, &written);
    Ok(())
}

/// On Linux this begins to write back, and drops only pages that were written back before.
fn begin_with(file: &File, written: &Range<u64>) {
    if let Some(len) = NonZeroU64::new(written.end - written.start) {
        let _only_a_hint = rustix::fs::fadvise(file, written.start, Some(len), rustix::fs::Advice::DontNeed);
    }
}

/// How much the disk is given at once: of 256 KiB at a time, 2 GiB took it half as long again.
const STRIDE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_arrive_whole_and_in_order() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let mut behind = WriteBehind::new(File::create(&path).unwrap()).unwrap();
        let mut buffer = Vec::new();
        for piece in 0..100u8 {
            buffer.extend([piece; 1000]);
            buffer = behind.write(u64::from(piece) * 1000, buffer).unwrap();
            assert!(buffer.is_empty());
        }
        behind.finish(100_500).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 100_500);
        for (index, byte) in bytes.into_iter().enumerate() {
            assert_eq!(byte, if index < 100_000 { (index / 1000) as u8 } else { 0 });
        }
    }

    #[test]
    fn a_disk_that_refuses_is_heard_of() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut behind = WriteBehind::new(full).unwrap();
        let refused = (0..100).find_map(|piece| behind.write(piece, vec![1]).err());
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        assert!(behind.finish(1).is_err(), "what is not whole is never taken for it");
    }
}
