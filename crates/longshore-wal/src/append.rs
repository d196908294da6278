//! Appending: mint under the lock, copy into the active segment, and nothing that waits.

use longshore_format::{
    Chain, Content, Cursor, Draft, EpochEntry, EpochHistory, Flags, Kind, Lsn, Minted, Name, RECORD_HEADER_LEN,
    SegmentHeader, payload_crc,
};

use crate::active::Active;
use crate::clock::Clock;
use crate::shared::Shared;
use crate::{Error, Event, Full, Result, Role, Wal};

/// A record to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordDraft<'a> {
    /// What it is: 256 or above.
    pub kind: Kind,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> RecordDraft<'a> {
    /// A record of the first of the user's kinds.
    pub fn user(payload: &'a [u8]) -> RecordDraft<'a> {
        RecordDraft { kind: Kind::USER, payload }
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where its first record starts.
    pub start: Lsn,
    /// Where its last record ends: the position to wait for.
    pub end: Lsn,
}

impl Wal {
    /// Appends a batch as one run: all of it counts or none. It is in the log when this returns, and durable once
    /// [`Wal::durable`] has reached [`Appended::end`]; `kill -9` of the process loses nothing of it. A batch fits into one
    /// segment; more is a [`Run`](crate::Run).
    ///
    /// `expect` is where the caller believes the log to end; anywhere else, nothing is appended ([`Error::WrongEnd`]),
    /// so that a retry after a lost answer cannot write twice. Never blocks on the disk: past a limit it returns
    /// [`Error::Full`] with figures, see [`Wal::wait_room`].
    pub fn append(&self, batch: &[RecordDraft<'_>], expect: Option<Lsn>) -> Result<Appended> {
        let shared = self.shared();
        let checked = Checked::of(batch, shared)?;
        let mut appender = shared.lock(&shared.append)?;
        appender.may_mint(shared)?;
        appender.no_run()?;
        appender.check_end(expect)?;
        appender.admit(shared, checked.bytes)?;
        let mut start = None;
        for (index, record) in batch.iter().enumerate() {
            let first = if index == 0 { Flags::FIRST } else { Flags::NONE };
            let last = if index + 1 == batch.len() { Flags::LAST } else { Flags::NONE };
            let minted = appender.mint(shared, record.kind, first | last, record.payload, checked.crc(index), None)?;
            start.get_or_insert(minted.start);
        }
        let end = appender.publish(shared);
        Ok(Appended { start: start.expect("a batch is not empty"), end })
    }

    /// Appends a named point; returns where it ends, which is the position that the name stands for.
    pub fn mark(&self, name: &Name) -> Result<Lsn> {
        let shared = self.shared();
        let payload = name.as_str().as_bytes();
        let mut appender = shared.lock(&shared.append)?;
        appender.may_mint(shared)?;
        appender.no_run()?;
        appender.admit(shared, extent(payload.len()))?;
        appender.mint(shared, Kind::MARK, Flags::SINGLE, payload, payload_crc(payload), None)?;
        Ok(appender.publish(shared))
    }
}

/// What must hold of a batch whatever the log's state; found out, and hashed, before the append lock is taken.
struct Checked {
    bytes: u64,
    crcs: Crcs,
}

/// Most batches are one record, which is worth not allocating for.
enum Crcs {
    One(u32),
    Many(Vec<u32>),
}

impl Checked {
    #[inline]
    fn of(batch: &[RecordDraft<'_>], shared: &Shared) -> Result<Checked> {
        let mut bytes = 0;
        for record in batch {
            check_record(shared, record.kind, record.payload)?;
            bytes += extent(record.payload.len());
        }
        let crcs = match batch {
            [] => return Err(Error::Invalid("a batch has at least one record; add one")),
            [record] => Crcs::One(payload_crc(record.payload)),
            _ => Crcs::Many(batch.iter().map(|record| payload_crc(record.payload)).collect()),
        };
        Ok(Checked { bytes, crcs })
    }

    #[inline]
    fn crc(&self, index: usize) -> u32 {
        match &self.crcs {
            Crcs::One(crc) => *crc,
            Crcs::Many(crcs) => crcs[index],
        }
    }
}

#[inline]
pub(crate) fn check_record(shared: &Shared, kind: Kind, payload: &[u8]) -> Result<()> {
    let max = shared.view.size.max_payload();
    if !kind.is_user() {
        return Err(Error::ReservedKind(kind));
    }
    if max < payload.len() {
        return Err(Error::TooLong { len: payload.len(), max });
    }
    Ok(())
}

/// How many bytes a record with so long a payload takes.
#[inline]
pub(crate) fn extent(payload_len: usize) -> u64 {
    (RECORD_HEADER_LEN as u64 + payload_len as u64).next_multiple_of(8)
}

/// The writing end of the log; there is one, behind the append lock.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(crate) cursor: Cursor,
    pub(crate) history: EpochHistory,
    /// Absent between a full segment's `Roll` and the next segment's first record.
    pub(crate) active: Option<Active>,
    pub(crate) clock: Clock,
    pub(crate) content: Content,
    /// Whether somebody holds a [`Run`](crate::Run).
    pub(crate) in_run: bool,
    /// Set once this writer accepted a later epoch than its own: it mints nothing more.
    pub(crate) fenced: Option<Error>,
}

/// Kept free at the end of a body for the `Roll`, and before it for the `Abort` of an open run, so that a dropped transaction
/// never needs a new segment; and for the `EpochStart` of a promotion, the longest there is. If that went behind a `Roll`, the
/// fork that it names would lie behind a record that the old writer's log has not.
pub(crate) const RESERVE: u64 =
    2 * RECORD_HEADER_LEN as u64 + (RECORD_HEADER_LEN + EpochHistory::MAX_LEN).next_multiple_of(8) as u64;

impl Appender {
    pub(crate) fn position(&self) -> Lsn {
        self.cursor.position()
    }

    pub(crate) fn chain(&self) -> &Chain {
        self.cursor.chain()
    }

    #[inline]
    pub(crate) fn may_mint(&self, shared: &Shared) -> Result<()> {
        shared.alive()?;
        match shared.settings.role {
            Role::Writer => self.fenced.as_ref().map_or(Ok(()), |fenced| Err(fenced.clone())),
            Role::Follower => Err(Error::Invalid("a follower appends only what its upstream sends; append there")),
        }
    }

    #[inline]
    pub(crate) fn no_run(&self) -> Result<()> {
        match self.in_run {
            false => Ok(()),
            true => Err(Error::RunOpen { start: self.chain().run.unwrap_or(self.position()) }),
        }
    }

    #[inline]
    fn check_end(&self, expect: Option<Lsn>) -> Result<()> {
        let end = self.position();
        match expect {
            Some(expected) if self.cursor.size().normalise(expected) != end => Err(Error::WrongEnd { expected, end }),
            _ => Ok(()),
        }
    }

    /// Whether `bytes` of records can be appended now, all of them.
    #[inline]
    pub(crate) fn admit(&self, shared: &Shared, bytes: u64) -> Result<()> {
        match shared.refusal(self.position(), bytes) {
            None => Ok(()),
            Some(Refusal::Full(full)) => Err(Error::Full(full)),
            Some(Refusal::NeverFits) => Err(Error::Invalid("a batch fits into one segment; append a run instead")),
        }
    }

    /// Mints a record and copies it in, rolling before it if need be. What is copied counts once it is published.
    #[inline]
    pub(crate) fn mint(
        &mut self,
        shared: &Shared,
        kind: Kind,
        flags: Flags,
        payload: &[u8],
        payload_crc: u32,
        life: Option<EpochEntry>,
    ) -> Result<Minted> {
        let size = self.cursor.size();
        let offset = size.offset_in(self.position());
        // The log's own records use up the reserve, that is what it is for.
        let user = kind.is_user() || kind == Kind::MARK;
        let fits = match user {
            true => offset + extent(payload.len()) + RESERVE <= size.body_end_offset(),
            false => self.cursor.fits(payload.len()),
        };
        if !fits {
            self.roll(shared)?;
        }
        if self.active.is_none() {
            self.begin(shared)?;
        }
        let (time, step) = self.clock.now(&*shared.env);
        if let Some(step) = step {
            shared.view.events.push(Event::ClockStepped { micros: step.0 });
        }
        let draft = Draft {
            kind,
            flags,
            time,
            durable: shared.view.durable.get(),
            payload_len: payload.len(),
            payload_crc,
            life,
        };
        self.copy_in(shared, &draft, payload)
    }

    #[inline]
    fn copy_in(&mut self, shared: &Shared, draft: &Draft, payload: &[u8]) -> Result<Minted> {
        let minted = self.cursor.mint(draft);
        if let Some(life) = draft.life {
            self.history.push(life).expect("the cursor accepted the life");
        }
        let offset = self.cursor.size().offset_in(minted.start);
        let active = self.active.as_mut().expect("a segment was begun");
        active.put(offset, &minted, payload).map_err(|error| shared.poison(error))?;
        Ok(minted)
    }

    /// Ends the active segment.
    fn roll(&mut self, shared: &Shared) -> Result<()> {
        // Refused before the `Roll` is written: what is begun here can be finished.
        self.may_begin(shared)?;
        let draft = Draft {
            kind: Kind::ROLL,
            flags: Flags::NONE,
            time: self.chain().time,
            durable: shared.view.durable.get(),
            payload_len: 0,
            payload_crc: payload_crc(&[]),
            life: None,
        };
        let minted = self.copy_in(shared, &draft, &[])?;
        self.end_segment(self.cursor.size().offset_in(minted.start) + minted.extent);
        Ok(())
    }

    pub(crate) fn end_segment(&mut self, offset: u64) {
        if let Some(mut full) = self.active.take() {
            full.publish(offset);
        }
    }

    /// Whether one of the log's own records can be minted without another segment.
    pub(crate) fn has_place_for(&self, payload_len: usize) -> bool {
        self.active.is_some() && self.cursor.fits(payload_len)
    }

    /// Rolls to the next segment if need be, so that the position is where one of the log's own records will start.
    pub(crate) fn make_place_for(&mut self, shared: &Shared, payload_len: usize) -> Result<()> {
        if !self.cursor.fits(payload_len) {
            self.roll(shared)?;
        }
        match self.active {
            Some(_) => Ok(()),
            None => self.begin(shared),
        }
    }

    /// Whether there is a segment to begin. Whether it is time for one was asked when the batch was admitted, and is not
    /// asked again: a sync that ends meanwhile would change the answer, and leave half a batch in the log.
    fn may_begin(&self, shared: &Shared) -> Result<()> {
        if self.active.as_ref().is_some_and(|active| self.cursor.size().next_base(active.base).is_none()) {
            return Err(Error::Full(Full::NotReady));
        }
        shared.refuse_without_spare().map_or(Ok(()), |full| Err(Error::Full(full)))
    }

    /// Begins the segment of the position.
    pub(crate) fn begin(&mut self, shared: &Shared) -> Result<()> {
        self.may_begin(shared)?;
        let spare = shared.take_spare()?;
        let (log, size, chain) = (self.cursor.log(), self.cursor.size(), *self.chain());
        let header = SegmentHeader { log, content: self.content, size, chain, history: self.history.clone() };
        let (active, segment) = Active::begin(spare, header).map_err(|error| shared.poison(error))?;
        shared.view.push(segment.into());
        self.active = Some(active);
        shared.wake_keeper.wake();
        Ok(())
    }

    /// Hands what was minted to the syncer; returns where the log ends now.
    #[inline]
    pub(crate) fn publish(&mut self, shared: &Shared) -> Lsn {
        let end = self.position();
        if let Some(active) = &mut self.active {
            active.publish(self.cursor.size().offset_in(end));
        }
        shared.set_end(end);
        end
    }
}

/// Why an append cannot be admitted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not now.
    Full(Full),
    /// Never.
    NeverFits,
}

impl Shared {
    /// Why `bytes` of records could not be appended at `end`, if so.
    #[inline]
    pub(crate) fn refusal(&self, end: Lsn, bytes: u64) -> Option<Refusal> {
        if let Some(full) = self.refuse_now(end, bytes) {
            return Some(Refusal::Full(full));
        }
        let size = self.view.size;
        let offset = size.offset_in(end);
        let begun = size.header_len() < offset || self.view.get(size.base_of(end)).is_some();
        if begun && offset + bytes + RESERVE <= size.body_end_offset() {
            return None;
        }
        if size.body_end_offset() < size.header_len() + bytes + RESERVE {
            return Some(Refusal::NeverFits);
        }
        let next = if begun { size.next_base(end) } else { Some(size.base_of(end)) };
        next.and_then(|next| self.refuse_begin(next)).map(Refusal::Full)
    }

    /// Whether too much waits already, or somebody holds the log beyond its cap.
    #[inline]
    pub(crate) fn refuse_now(&self, end: Lsn, bytes: u64) -> Option<Full> {
        let before = end.since(self.view.synced.get());
        let limit = self.settings.unsynced_limit;
        // Something larger than the limit is taken when it is alone: it could never go otherwise.
        if before > 0 && limit < before + bytes {
            return Some(Full::Unsynced { waiting: before + bytes, limit });
        }
        self.held()
    }

    /// Why the segment at `next` could not be begun now, if so: none is prepared, or two would be unsealed before it of
    /// which the older could be sealed. What is not durable cannot be sealed, and does not hold up a burst.
    pub(crate) fn refuse_begin(&self, next: Lsn) -> Option<Full> {
        if let Some(full) = self.refuse_without_spare() {
            return Some(full);
        }
        let (size, sealed) = (self.view.size, self.view.sealed.get());
        let before = next.checked_sub(size.get()).unwrap_or(Lsn::ZERO);
        let can_seal = size.next_base(sealed).is_some_and(|end| size.first_in(end) <= self.view.durable.get());
        (sealed < before && can_seal).then_some(Full::NotReady)
    }

    /// Why no segment can be begun, if none is prepared. Only an appender takes one, so what is there stays there for as
    /// long as the append lock is held.
    fn refuse_without_spare(&self) -> Option<Full> {
        let spares = self.spares.lock().ok()?;
        spares.is_empty().then(|| spares.trouble().unwrap_or(Full::NotReady))
    }
}
