//! Making appended bytes durable: one sync for all that waits, by whoever comes first.
//!
//! There is no timed wait to fill a group: while one sync runs the next group gathers by itself. A thread that waits for
//! its own append does the sync itself if nobody else is at it, which saves two thread switches.

use std::time::Duration;

use longshore_format::Lsn;

use crate::shared::Shared;
use crate::{Ended, Error, Result, Role, Wal};

/// What whoever syncs holds; there is one at a time.
#[derive(Debug, Default)]
pub(crate) struct Syncer;

/// A sync of at most so many bytes on a disk that took at most so long for the last one is quick. A group commit of a
/// dozen clients is not: receiving goes on beside it.
const LITTLE: u64 = 8 << 10;
const QUICK: Duration = Duration::from_micros(500);

impl Wal {
    /// Makes all that was appended durable with one sync per file; returns up to where. An error is final (F-063): the
    /// same sync is never tried again, because the second one lies.
    pub fn sync_once(&self) -> Result<Lsn> {
        let shared = self.shared();
        let mut syncer = shared.lock(&shared.sync)?;
        shared.sync_with(&mut syncer)
    }

    /// Waits until `lsn` is durable, on a follower that holds back at its writer, too, and helps: if no sync is running this
    /// thread does it.
    pub fn wait_blocking(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<Lsn> {
        let shared = self.shared();
        let deadline = timeout.map(|timeout| shared.env.monotonic().saturating_add(timeout));
        loop {
            let durable = shared.view.durable.get();
            if lsn <= durable {
                return Ok(durable);
            }
            if !shared.can_sync(lsn) || !shared.help_sync()? {
                let left = deadline.map(|deadline| deadline.saturating_sub(shared.env.monotonic()));
                return self.wait_for_others(lsn, left);
            }
        }
    }

    /// Makes what little was appended durable on this thread, unless somebody else is at it or the disk took its time for the
    /// last sync; whether it did. For a thread that others share: it is blocked for no longer than handing the sync to another
    /// thread, and hearing of it, would take. The saved watermark is left to [`Wal::note_synced`]: whoever waits for an ack need not wait
    /// for that, too.
    pub fn sync_if_quick(&self) -> Result<bool> {
        let shared = self.shared();
        let unsynced = shared.end().since(shared.view.synced.get());
        let is_quick = shared.lock(&shared.stats)?.last <= QUICK;
        if unsynced == 0 || LITTLE < unsynced || !is_quick {
            return Ok(false);
        }
        match shared.sync.try_lock() {
            Ok(mut syncer) => shared.sync_only(&mut syncer).map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// Writes down up to where everything is durable here, as each sync but the [quick](Wal::sync_if_quick) one does by itself.
    pub fn note_synced(&self) -> Result<()> {
        let shared = self.shared();
        shared.alive()?;
        shared.note_durable(shared.view.synced.get()).map_err(|error| shared.poison(error))
    }

    /// Waits until `lsn` is durable, on a follower that holds back at its writer, too; while somebody gathers ([`Wal::gather`]),
    /// until that ends. Needs the threads of [`Wal::start`]. Cancel safe.
    pub async fn wait(&self, lsn: Lsn) -> Result<Lsn> {
        self.durable().wait(lsn).await.map_err(|ended| Error::of_wait(ended, lsn))
    }

    /// Somebody else syncs, or the bytes are not appended yet. Helps again whenever the watermark moved short of `lsn`.
    fn wait_for_others(&self, lsn: Lsn, left: Option<Duration>) -> Result<Lsn> {
        let shared = self.shared();
        let deadline = left.map(|left| shared.env.monotonic().saturating_add(left));
        loop {
            let listener = shared.view.durable.listen();
            let durable = shared.view.durable.get();
            if lsn <= durable {
                return Ok(durable);
            }
            if let Some(ended) = shared.view.durable.ended() {
                return Err(Error::of_wait(ended.clone(), lsn));
            }
            if shared.can_sync(lsn) && shared.help_sync()? {
                continue;
            }
            match deadline.map(|deadline| deadline.saturating_sub(shared.env.monotonic())) {
                None => listener.wait(),
                Some(Duration::ZERO) => return Err(Error::of_wait(Ended::TimedOut, lsn)),
                Some(left) => {
                    let _ = listener.wait_for(left);
                }
            }
        }
    }
}

impl Shared {
    /// Whether a sync brings `lsn` nearer: it was appended, and is not on this disk yet.
    fn can_sync(&self, lsn: Lsn) -> bool {
        lsn <= self.end() && self.view.synced.get() < lsn
    }

    /// Syncs unless somebody else does; `false` if so.
    pub(crate) fn help_sync(&self) -> Result<bool> {
        let mut syncer = match self.sync.try_lock() {
            Ok(syncer) => syncer,
            Err(std::sync::TryLockError::WouldBlock) => return Ok(false),
            Err(std::sync::TryLockError::Poisoned(_)) => return self.lock(&self.sync).map(|_| true),
        };
        let outcome = self.sync_with(&mut syncer);
        drop(syncer);
        if outcome.as_ref().is_ok_and(|durable| *durable < self.end()) {
            // Whoever appended during this sync and found the lock taken is waiting for somebody to go on.
            self.view.durable.nudge();
            self.wake_syncer.wake();
        }
        outcome.map(|_| true)
    }

    pub(crate) fn sync_with(&self, syncer: &mut Syncer) -> Result<Lsn> {
        let before = self.view.synced.get();
        let synced = self.sync_only(syncer)?;
        if before < synced {
            self.note_durable(synced).map_err(|error| self.poison(error))?;
        }
        Ok(synced)
    }

    /// Syncs, and writes nothing down.
    fn sync_only(&self, _only_one: &mut Syncer) -> Result<Lsn> {
        self.alive()?;
        let target = self.end();
        let before = self.view.synced.get();
        if target <= before {
            return Ok(before);
        }
        if self.settings.role == Role::Writer {
            self.view.offered.advance(target);
        }
        let outcome = self.sync_files(before, target);
        self.room.ring();
        match outcome {
            Ok(()) => Ok(target),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Syncs each file that holds bytes from `synced` to `target`, in order. The watermark passes a segment's end only
    /// after that file's own sync.
    fn sync_files(&self, mut synced: Lsn, target: Lsn) -> Result<()> {
        let size = self.view.size;
        while synced < target {
            let base = size.base_of(synced);
            let segment = self.view.segment_of(synced)?;
            let live = segment.live_file().ok_or(Error::Invalid("a sealed segment has bytes to sync"))?;
            let began = self.env.monotonic();
            live.file.sync().map_err(Error::io("sync a segment"))?;
            let reached = match size.next_base(base) {
                Some(next) => target.min(size.first_in(next)),
                None => target,
            };
            let took = self.env.monotonic().saturating_sub(began);
            self.lock(&self.stats)?.note(took, reached.since(synced));
            if size.base_of(reached) != base
                && !self.view.dir.intact().map_err(Error::io("look at the log's directory"))?
            {
                // F-051, F-055: somebody replaced or unmounted it; what was synced may be gone with it.
                return Err(self
                    .view
                    .damaged(base, "the directory was replaced or unmounted under the running log".into()));
            }
            self.view.offered.advance(reached);
            self.view.synced.advance(reached);
            self.show();
            synced = reached;
        }
        Ok(())
    }

    /// Writes the watermark down. It need not be durable soon: any older one is also true.
    fn note_durable(&self, durable: Lsn) -> Result<()> {
        self.control.set_durable(durable);
        self.control.write()
    }
}
