//! When it is written down what was shipped: seldom, and often enough that the next attach reads little of the log.
//!
//! An agent that is killed after weeks would leave the hashes of weeks ago. Reading the log from there takes long while nobody
//! copies the `-wal` back; and where the log was trimmed beyond that, all of the database would be shipped anew.

use longshore_format::Lsn;

use super::{Capture, shipped};
use crate::error::Error;

/// Up to where it is written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    lsn: Lsn,
    /// Up to where it was to be, when that was tried last.
    tried: Lsn,
}

/// So much of the log is read in a moment.
const SOON_READ: u64 = 128 << 20;
/// A large database's hashes are a small part of what is written besides.
const SMALL_PART: u64 = 32;

impl Saved {
    pub(super) fn at(lsn: Lsn) -> Saved {
        Saved { lsn, tried: lsn }
    }

    /// Whether a file of `len` bytes is to be written for a log of segments of `segment` bytes that begins at `first` and was
    /// captured up to `shipped`.
    fn is_old(self, first: Lsn, shipped: Lsn, segment: u64, len: u64) -> bool {
        let grown = shipped.since(self.tried);
        let is_soon_trimmed = self.lsn.since(first) < segment && len.max(segment / 2) <= grown;
        is_soon_trimmed || SOON_READ.max(SMALL_PART * len) <= grown
    }
}

impl Capture {
    /// Writes down what was shipped and what it was shipped from.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        self.saved.tried = self.shipped.lsn;
        self.log.wait_blocking(self.shipped.lsn, None).map_err(Error::Log)?;
        shipped::save(&self.shipped, &self.note_of_it()?, &self.settings.hashes, &self.log)?;
        self.saved = Saved::at(self.shipped.lsn);
        Ok(())
    }

    /// The same at the end of an attach. A file that somebody wrote meanwhile is noted, also where the process does not end in
    /// order.
    pub(super) fn save_unless(&mut self, is_untouched: bool) -> Result<(), Error> {
        if is_untouched { self.save_if_due() } else { self.save() }
    }

    /// The same while it goes on. Where it cannot be written, as on a disk that is full, the next attach only takes longer.
    pub(super) fn save_if_due(&mut self) -> Result<(), Error> {
        let (first, segment) = (self.log.first(), self.log.segment_size().get());
        if !self.saved.is_old(first, self.shipped.lsn, segment, shipped::file_len(&self.shipped)) {
            return Ok(());
        }
        self.braked(|capture| match capture.save() {
            Err(error @ Error::Io { .. }) => {
                tracing::warn!(file = %capture.settings.hashes.display(), %error, "not written; the next start takes longer");
                Ok(())
            }
            saved => saved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_down_before_much_of_the_log_lies_behind_them_or_it_is_trimmed() {
        const MIB: u64 = 1 << 20;
        let is_old = |first, saved, shipped, len| {
            let [first, saved, shipped] = [first, saved, shipped].map(|mib: u64| Lsn::new(mib * MIB));
            Saved::at(saved).is_old(first, shipped, 64 * MIB, len)
        };
        for (first, saved, shipped, len, is) in [
            // Nothing came.
            (0, 0, 0, 100, false),
            (0, 100, 227, 100, false),
            (0, 100, 228, 100, true),
            // Of a large database it takes longer than reading some of the log.
            (0, 100, 228, 5 * MIB, false),
            (0, 100, 260, 5 * MIB, true),
            // What stands in the log's first segment goes next.
            (50, 100, 131, 5 * MIB, false),
            (50, 100, 132, 5 * MIB, true),
            // But not for each bit of a large one's.
            (50, 100, 132, 40 * MIB, false),
            (50, 100, 140, 40 * MIB, true),
        ] {
            assert_eq!(is_old(first, saved, shipped, len), is, "{first} {saved} {shipped} {len}");
        }
        let at = |mib| Lsn::new(mib * MIB);
        let failed = Saved { tried: at(228), ..Saved::at(at(100)) };
        assert!(!failed.is_old(at(0), at(355), 64 * MIB, 100), "not tried at once again");
        assert!(failed.is_old(at(0), at(356), 64 * MIB, 100));
        assert!(failed.is_old(at(50), at(260), 64 * MIB, 100), "what is written down is where it was");
    }
}
