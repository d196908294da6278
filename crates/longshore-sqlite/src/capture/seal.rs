//! Copying the `-wal` back into the database, so that it stays short, and never beyond what is in the log.
//!
//! A writer that never pauses is ahead of every checkpoint by the little that it commits meanwhile, and so never begins the
//! `-wal` anew: a file that grows makes each of its syncs cost twice. Most is therefore copied back, and synced, while nobody
//! waits; then writers are held up for the rest.
//!
//! Nothing may be overwritten in the `-wal` that is not *durable* in the log. If the log lost its unsynced end in a power cut
//! then, the transactions would still be in the database file, and comparing would find what they left. But it would find it
//! as one run: no reader of the log could ever see those transactions apart, nor a moment between them, and all of the
//! database would have to be read. So each checkpoint waits for the log's sync, which is the one that the runs before it wait
//! for anyhow: first, or, where writers are held up and so cannot begin the `-wal` anew, beside its own syncs.

use std::time::{Duration, Instant};

use longshore_format::ErrorKind;

use super::copy::PATIENCE;
use super::note::Written;
use super::view::published;
use super::{Capture, shipped};
use crate::error::Error;
use crate::pages::WalPlace;
use crate::points::reached;
use crate::priority::no_longer_yielding;
use crate::shm::{Granted, Slot};
use crate::wal_format::frame_offset;

/// What is remembered between checkpoints.
#[derive(Debug, Default)]
pub(super) struct Seals {
    /// When to try again what could not be finished, and how long that was put off.
    again: Option<(Instant, Duration)>,
    /// Since when a reader has been in the way.
    pinned: Option<Instant>,
    /// Since when, and which frame, there is something to finish.
    due: Option<(Instant, u32)>,
    /// Up to where the `-wal` was copied when it was looked at last, and since when.
    still: Option<(WalPlace, Instant)>,
}

impl Seals {
    fn are_put_off(&self) -> bool {
        self.again.is_some_and(|(again, _)| Instant::now() < again)
    }

    /// For how long nobody has committed.
    fn still_for(&mut self, place: WalPlace) -> Duration {
        let now = Instant::now();
        let since = self.still.filter(|(seen, _)| *seen == place).map_or(now, |(_, since)| since);
        self.still = Some((place, since));
        now - since
    }

    fn begin(&mut self, frame: u32) {
        self.due.get_or_insert_with(|| (Instant::now(), frame));
    }

    fn note(&mut self, finished: bool, left: Left) {
        let longer = self.again.map_or(SHORTEST_PAUSE, |(_, pause)| LONGEST_PAUSE.min(2 * pause));
        self.again = (!finished).then(|| (Instant::now() + longer, longer));
        self.pinned = (left == Left::Pinned).then(|| self.pinned.unwrap_or_else(Instant::now));
        self.due = self.due.filter(|_| !finished);
    }

    pub(super) fn pinned_for(&self) -> Option<Duration> {
        self.pinned.map(|since| since.elapsed())
    }
}

/// What a checkpoint left in the `-wal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing: the next writer begins it anew.
    Nothing,
    /// What was committed meanwhile.
    Tail,
    /// What a reader still needs.
    Pinned,
}

/// Until another attempt when a reader, or a long transaction, was in the way: the first time, and at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often writers are held up to finish, where they were too far ahead.
const ATTEMPTS: u32 = 3;

/// For how long writers are held up at once so that they are caught up with.
const LONGEST_HOLD: Duration = Duration::from_millis(10);
/// With more frames to copy than this they are not held up to finish.
const MOST_FRAMES: u32 = 512;
/// Nor with more than this to copy back.
const MOST_FRAMES_LEFT: u32 = 2048;
/// A disk that takes longer for the syncs before writers are held up is waited for, for so long.
const CALM: Duration = Duration::from_millis(15);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How much is cut off at once.
const PIECE: u64 = 8 << 20;
/// What they get in between.
const BREATH: Duration = Duration::from_millis(1);

impl Capture {
    /// Checkpoints if the `-wal` has grown enough, and cuts a long file back.
    pub(super) fn seal_if_due(&mut self) -> Result<(), Error> {
        let still = self.seals.still_for(self.shipped.place);
        self.cut_back()?;
        let due = self.settings.checkpoint_from <= self.frames_len(self.shipped.place.frame);
        let truncate = self.is_long() && self.settings.truncate_after <= still;
        if !(due || truncate) || self.seals.are_put_off() && !self.is_outrun(0)? {
            return Ok(());
        }
        if !truncate && self.left(u32::MAX, 0)? == Left::Nothing {
            return Ok(());
        }
        self.seals.begin(self.shipped.place.frame);
        self.status.checkpoints += 1;
        let sealed = self.seal(truncate);
        // The file was written by this one: it need not be compared for that.
        self.written = Written::of(&self.path);
        shipped::note_written(&self.settings.hashes, self.written);
        let left = match sealed {
            // Where somebody is held up it is not waited for room: the next turn waits, then this is tried again.
            Err(Error::Log(error)) if error.kind() == ErrorKind::Full => Left::Tail,
            left => left?,
        };
        self.seals.note(left == Left::Nothing && !(truncate && self.is_long()), left);
        Ok(())
    }

    fn seal(&mut self, truncate: bool) -> Result<Left, Error> {
        let mut left = self.braked(Capture::copy_back)?;
        reached("copied back");
        for _ in 0..ATTEMPTS {
            if left == Left::Pinned || left == Left::Nothing && !(truncate && self.is_long()) {
                break;
            }
            left = match self.braked(|capture| capture.is_prepared(truncate))? {
                true => self.hold_and_finish(truncate)?,
                false => Left::Tail,
            };
        }
        Ok(left)
    }

    /// Cuts off what lies behind the last committed frame of a long file: frames from before it was begun anew. A piece at a
    /// time, for a file system takes its time over long ones.
    fn cut_back(&mut self) -> Result<(), Error> {
        while self.is_long() && self.to_cut()?.is_some() {
            // A power cut must not bring the header of those frames back, some of them being gone.
            self.braked(|capture| capture.view.sync())?;
            let cut = self.held(|capture, _| match capture.to_cut()? {
                Some(len) => capture.view.cut(len).map(|()| true),
                None => Ok(false),
            })?;
            reached("cut");
            if cut != Some(true) {
                break;
            }
            std::thread::sleep(BREATH);
        }
        Ok(())
    }

    /// How long the file is to be after the next cut; `None` unless its header is that of a frame that was copied.
    fn to_cut(&self) -> Result<Option<u64>, Error> {
        let (index, _) = published(&self.guard, self.size)?;
        let place = self.shipped.place;
        if place.frame == 0 || place.salts != index.salts {
            return Ok(None);
        }
        let (len, needed) = (self.view.file_len(), frame_offset(self.size, index.max_frame + 1));
        let until = needed.max(self.settings.truncate_from / 2);
        Ok((until < len).then(|| until.max(len.saturating_sub(PIECE))))
    }

    /// Copies until writers are at most a little ahead. If they commit faster than this copies they are braked.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        while self.settings.checkpoint_from / 2 < self.ahead()? && self.braked(|capture| capture.copy(PATIENCE))? != 0 {
        }
        Ok(())
    }

    /// Bytes that are committed and were not copied.
    fn ahead(&self) -> Result<u64, Error> {
        let (index, _) = published(&self.guard, self.size)?;
        let place = self.shipped.place;
        let ahead = if index.salts == place.salts { index.max_frame.saturating_sub(place.frame) } else { 0 };
        Ok(self.frames_len(ahead))
    }

    fn is_long(&self) -> bool {
        self.settings.truncate_from < self.view.file_len()
    }

    /// Whether a better moment cannot be waited for.
    fn is_overdue(&self) -> bool {
        self.seals.due.is_none_or(|(since, frame)| {
            let grown = self.frames_len(self.shipped.place.frame.saturating_sub(frame));
            LONGEST_WAIT <= since.elapsed() || self.settings.truncate_from / 3 <= grown
        })
    }

    pub(super) fn frames_len(&self, frames: u32) -> u64 {
        u64::from(frames) * self.view.frame_len() as u64
    }

    /// Copies back what is in the log, and holds nobody up: a read mark of ours keeps the checkpoint from going further.
    fn copy_back(&mut self) -> Result<Left, Error> {
        self.reader.connection().execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
        reached("a read mark is set");
        let copied = published(&self.guard, self.size).and_then(|(marked, _)| {
            self.copy(Duration::ZERO)?;
            self.wait_durable()?;
            self.checkpoint("PASSIVE").map(|()| marked)
        });
        self.reader.connection().execute_batch("ROLLBACK")?;
        self.left(copied?.max_frame, self.settings.checkpoint_from / 2)
    }

    /// Does before writers are held up what can be done before; and where that shows a disk that is slow for the moment, they
    /// are not to be held up now.
    fn is_prepared(&mut self, truncate: bool) -> Result<bool, Error> {
        if MOST_FRAMES_LEFT < self.not_copied_back()? {
            // Less was committed meanwhile than the last time: it took less long.
            self.copy_back()?;
        }
        let begun = Instant::now();
        self.checkpointer.sync_database()?;
        reached("synced");
        if truncate {
            self.view.forget_cached();
        }
        if CALM < begun.elapsed() && !self.is_overdue() {
            return Ok(false);
        }
        while self.copy(Duration::ZERO)? != 0 && self.frames_len(MOST_FRAMES / 2) < self.ahead()? {}
        Ok(true)
    }

    /// Holds writers up for the little that came since, so that the next one begins the `-wal` anew.
    fn hold_and_finish(&mut self, truncate: bool) -> Result<Left, Error> {
        let finished = self.held(|capture, until| {
            let Some((place, index)) = capture.committed()? else { return capture.finish_held(truncate) };
            if MOST_FRAMES < index.max_frame - place.frame {
                return Ok(Left::Tail);
            }
            capture.view.sync()?;
            capture.copy_synced(place, &index, Some(until), Duration::ZERO)?;
            match capture.shipped.place.frame == index.max_frame {
                true => capture.finish_held(truncate),
                false => Ok(Left::Tail),
            }
        })?;
        Ok(finished.unwrap_or(Left::Tail))
    }

    /// Does something while writers are held up, and is told until when it may. An application that is at it goes first: then `None`, and the next turn tries
    /// again.
    pub(super) fn held<T>(
        &mut self,
        work: impl FnOnce(&mut Capture, Instant) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        // The lock itself, not a transaction: that would leave a read mark, which a TRUNCATE would have to wait for.
        if !self.guard.take(Slot::Write, self.settings.lock_wait)? {
            return Ok(None);
        }
        let (held, before) = (Instant::now(), std::mem::take(&mut self.held));
        let done = no_longer_yielding(|| {
            reached("writers are held");
            let done = work(self, held + LONGEST_HOLD);
            reached("finished");
            self.guard.unlock(Slot::Write)?;
            reached("released");
            done
        });
        self.status.longest_hold = self.status.longest_hold.max(before + held.elapsed());
        done.map(Some)
    }

    fn finish_held(&mut self, truncate: bool) -> Result<Left, Error> {
        if truncate {
            self.checkpointer.grant(Granted::Both);
            let truncated = self.checkpoint("TRUNCATE");
            self.checkpointer.grant(Granted::Checkpoint);
            truncated?;
        } else {
            self.checkpoint("PASSIVE")?;
        }
        self.wait_durable()?;
        self.left(u32::MAX, 0)
    }

    /// What is left in the `-wal`. A checkpoint was free to copy back all up to the frame `marked`; that it did without up to
    /// `tail` bytes of that is no sign of a reader: a transaction reads first, and is in the way for its moment.
    fn left(&self, marked: u32, tail: u64) -> Result<Left, Error> {
        let (index, backfill) = published(&self.guard, self.size)?;
        let missed = index.max_frame.min(marked).saturating_sub(backfill);
        Ok(match index.max_frame.saturating_sub(backfill) {
            0 => Left::Nothing,
            _ if self.frames_len(missed) <= tail => Left::Tail,
            _ => Left::Pinned,
        })
    }

    fn not_copied_back(&self) -> Result<u32, Error> {
        let (index, backfill) = published(&self.guard, self.size)?;
        Ok(index.max_frame.saturating_sub(backfill))
    }

    fn wait_durable(&self) -> Result<(), Error> {
        self.log.wait_blocking(self.shipped.lsn, None).map(|_| ()).map_err(Error::Log)
    }

    /// Readers that are in the way are an ordinary outcome.
    pub(super) fn checkpoint(&self, mode: &str) -> Result<(), Error> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let outcome = self.checkpointer.connection().query_row(&sql, [], |_| Ok(()));
        match outcome {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
            other => Ok(other?),
        }
    }
}
