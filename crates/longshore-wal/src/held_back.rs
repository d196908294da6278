//! What is shipped while it is still synced, and what a follower therefore holds and shows to nobody.
//!
//! A writer may offer to its followers what it is making durable at the moment ([`Wal::offered`]), so that its disk and theirs
//! work at the same time. Should it lose that in a power cut, it goes on without it in a new life, and what a follower holds
//! of it is set aside like any other tail (F-096). So until the writer has said that it is durable there, no
//! reader of an open follower's sees it: nothing is applied or archived that may yet be taken back. Followers that hold back
//! themselves are offered it, so that the longest copy can be had when the writer is gone; and a directory that is read
//! without its owner ([`ReadLog`](crate::ReadLog)) is read to its end.

use std::sync::atomic::{Ordering, fence};

use longshore_format::Lsn;

use crate::shared::Shared;
use crate::view::Upto;
use crate::{Reader, Result, Role, Wal, Watermark};

impl Wal {
    /// Up to where everything is durable on this disk. A follower may show less of it: [`Wal::durable`].
    pub fn synced(&self) -> &Watermark {
        &self.shared().view.synced
    }

    /// Up to where other nodes may be told of this log: what is [synced](Wal::synced), and what a writer is syncing now.
    pub fn offered(&self) -> &Watermark {
        &self.shared().view.offered
    }

    /// For a writer: offers all that was appended, as each sync does when it begins. For simulators, whose syncs take no time, and tests.
    pub fn offer(&self) {
        if self.role() == Role::Writer {
            self.shared().view.offered.advance(self.end());
        }
    }

    /// As [`Wal::reader`], for other nodes' eyes only: it goes on up to what is [offered](Wal::offered).
    pub fn offered_reader(&self, from: Lsn) -> Result<Reader> {
        self.reader_up_to(Upto::Offered, from)
    }

    /// Whether this follower may hold what it does not show.
    pub fn holds_back(&self) -> bool {
        self.shared().shown_to.load(Ordering::Relaxed) < u64::MAX
    }

    /// For a follower: shows nothing beyond `from` before [`Wal::show_up_to`] says so; also after a restart, for which it waits for the
    /// disk unless that is known already. What is shown beyond `from` stays shown.
    pub fn hold_back(&self, from: Lsn) -> Result<()> {
        let shared = self.shared();
        shared.alive()?;
        shared.shown_to.store(from.get(), Ordering::Relaxed);
        if shared.control.look(|control| control.shown) != Some(from) {
            shared.control.change(|control| control.shown = Some(from));
            shared.control.sync().map_err(|error| shared.poison(error))?;
        }
        shared.show();
        Ok(())
    }

    /// For a follower: its writer has made durable what lies before `to`. It is written down with the next sync: an older position is
    /// also true.
    pub fn show_up_to(&self, to: Lsn) {
        let shared = self.shared();
        if shared.alive().is_ok() && shared.shown_to.fetch_max(to.get(), Ordering::Relaxed) < to.get() {
            shared.control.change(|control| control.shown = control.shown.map(|shown| shown.max(to)));
            shared.show();
        }
    }

    /// For a follower: whatever comes is durable at its writer already.
    pub fn show_all(&self) {
        let shared = self.shared();
        if shared.alive().is_ok() && shared.shown_to.swap(u64::MAX, Ordering::Relaxed) < u64::MAX {
            shared.control.change(|control| control.shown = None);
            shared.show();
        }
    }
}

impl Shared {
    /// Shows readers what is on this disk and may be shown. Whoever moved one of the two calls it afterwards; of two who move them
    /// at once, the fence lets one see both.
    pub(crate) fn show(&self) {
        fence(Ordering::SeqCst);
        let shown_to = Lsn::new(self.shown_to.load(Ordering::Relaxed));
        let (before, now) = (self.view.durable.get(), shown_to.min(self.view.synced.get()));
        self.view.durable.advance(now);
        if self.view.size.base_of(before) < self.view.size.base_of(now) {
            self.wake_keeper.wake();
        }
    }
}
