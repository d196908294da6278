//! Records behind the place where a log seems to end.

use std::sync::Arc;

use longshore_format::{Chain, Control, Corruption, Cursor, EpochEntry, Lsn, Resync, SegmentHeader, Step};
use longshore_storage::{Access, Directory};

use crate::evidence::{lives, promise};
use crate::window::longest_record;

/// A place where no good record is, and what is known there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beyond {
    pub(crate) corruption: Corruption,
    /// How far the bad record reaches, if its header can be believed about that.
    pub(crate) extent: Option<u64>,
    /// The state there.
    pub(crate) chain: Chain,
}

impl Beyond {
    /// Whether a later record that this node minted says that this place was durable on its disk. What cannot be read
    /// says nothing.
    pub(crate) fn is_vouched_for(
        &self,
        dir: &Arc<dyn Directory>,
        control: &Control,
        mut bases: impl Iterator<Item = Lsn>,
    ) -> bool {
        let lives = lives(control, self.chain.life);
        bases.any(|base| self.is_vouched_for_in(dir, control, base, &lives).unwrap_or(false))
            && !self.is_there_by_now(dir, control).unwrap_or(false)
    }

    /// Whether a living owner has written the record meanwhile, and what vouches for it after it.
    fn is_there_by_now(&self, dir: &Arc<dyn Directory>, control: &Control) -> Option<bool> {
        let size = control.size;
        let file = dir.open(&size.file_name(self.corruption.segment), Access::Read).ok()?;
        let mut bytes = vec![0; longest_record(size)];
        let read = file.read_at(&mut bytes, size.offset_in(self.chain.position)).ok()?;
        let mut cursor = Cursor::new(control.log, size, self.chain);
        Some(matches!(cursor.read(&bytes[..read]), Step::Record(_)))
    }

    fn is_vouched_for_in(
        &self,
        dir: &Arc<dyn Directory>,
        control: &Control,
        base: Lsn,
        lives: &[EpochEntry],
    ) -> Option<bool> {
        let size = control.size;
        let file = dir.open(&size.file_name(base), Access::Read).ok()?;
        let mut header = vec![0; SegmentHeader::LEN];
        file.read_at(&mut header, 0).ok()?;
        let search = match SegmentHeader::decode(&header) {
            _ if base == self.corruption.segment => {
                let start = self.corruption.position.checked_add(self.extent.unwrap_or(0))?;
                Resync::new(control.log, size, lives, start, &[])
            }
            Ok(header) if header.log == control.log && header.base() == base => Resync::in_segment(&header, lives, &[]),
            _ => Resync::new(control.log, size, lives, size.first_in(base), &[]),
        };
        Some(promise(control, &file, search).ok()?.is_some_and(|promise| self.corruption.position < promise))
    }
}
