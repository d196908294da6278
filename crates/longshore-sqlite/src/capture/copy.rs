//! Copying: committed frames become runs, a transaction each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_format::{ErrorKind, Lsn};
use longshore_wal::{RecordDraft, Run, Wal};

use super::Capture;
use super::view::{Place, published};
use crate::error::Error;
use crate::pages::{Commit, Form, KIND, LONGEST_PAYLOAD, PageHash, RunWriter, WalPlace, page_hash, patch_between};
use crate::points::reached;
use crate::wal_format::{FrameHead, IndexHeader};

/// A transaction as it stands in the `-wal`.
struct Transaction {
    /// Each page's last frame.
    frames: BTreeMap<u32, u32>,
    commit: Commit,
}

/// A transaction of more pages is not copied while writers are held up.
const LONG: usize = 128;

impl Capture {
    /// Copies everything that is committed; how many transactions that was. Each append waits for room as long as `patience`.
    pub(super) fn copy(&mut self, patience: Duration) -> Result<u64, Error> {
        let Some((place, index)) = self.committed()? else { return Ok(0) };
        self.view.sync()?;
        reached("the -wal is synced");
        self.copy_synced(place, &index, None, patience)
    }

    /// What is committed and was not copied, if anything: where it begins, and the wal-index that says where it ends.
    pub(super) fn committed(&mut self) -> Result<Option<(WalPlace, IndexHeader)>, Error> {
        let (index, _) = published(&self.guard, self.size)?;
        let mut place = self.shipped.place;
        if index.salts != place.salts {
            if index.max_frame == 0 {
                return Ok(None);
            }
            match self.view.begin(index.salts)? {
                Some(begun) => place = begun,
                None => return Err(Error::Unstable),
            }
        }
        if index.max_frame < place.frame {
            return Err(Error::BrokenWal {
                frame: index.max_frame,
                what: "is the last, and later ones were copied already",
            });
        }
        if index.max_frame == place.frame {
            return Ok(None);
        }
        // An attach that found all of the -wal copied back did not look at it; a reader may have kept it from beginning anew, or it
        // had begun anew and held nothing yet.
        if self.view.header.is_none_or(|header| header.salts != place.salts) && self.view.begin(place.salts)?.is_none()
        {
            return Err(Error::Unstable);
        }
        if place.frame == 0 {
            // Until its first frame is written, the wal-index has the sum of a -wal from before.
            place.checksum = self.view.header.ok_or(Error::Unstable)?.checksum;
        }
        Ok(Some((place, index)))
    }

    /// Copies what was synced, from `place` to the end of `index`. With a deadline, as far as it gets until then, and no
    /// transaction that is long by itself.
    pub(super) fn copy_synced(
        &mut self,
        mut place: WalPlace,
        index: &IndexHeader,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Result<u64, Error> {
        let mut transactions = 0;
        let _together = self.log.gather();
        while place.frame < index.max_frame && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let transaction = self.read_transaction(place, index.max_frame)?;
            if deadline.is_some() && LONG < transaction.frames.len() {
                break;
            }
            place = transaction.commit.place;
            if place.frame == index.max_frame && place.checksum != index.checksum {
                return Err(Error::BrokenWal {
                    frame: place.frame,
                    what: "has another checksum than the wal-index says",
                });
            }
            self.ship(&transaction, patience)?;
            reached("a run is appended");
            transactions += 1;
        }
        Ok(transactions)
    }

    /// Reads the frames of the next transaction, each checked: below the last published frame everything must hold.
    fn read_transaction(&mut self, mut place: WalPlace, last: u32) -> Result<Transaction, Error> {
        let header = self.view.header.ok_or(Error::Unstable)?;
        let mut frames = BTreeMap::new();
        while place.frame < last {
            let frame = self.view.frame(place.frame + 1, last)?;
            let head = FrameHead::decode(frame);
            let sum = FrameHead::sum(frame, header.big_endian, place.checksum);
            place = WalPlace { frame: place.frame + 1, checksum: sum, ..place };
            if head.salts != place.salts || head.checksum != sum || head.page == 0 {
                return Err(Error::BrokenWal { frame: place.frame, what: "is published and does not hold" });
            }
            frames.insert(head.page, place.frame);
            if head.commit != 0 {
                frames.split_off(&(head.commit.saturating_add(1)));
                return Ok(Transaction { frames, commit: Commit { pages: head.commit, place } });
            }
        }
        Err(Error::BrokenWal { frame: last, what: "is the last that is published and ends no transaction" })
    }

    /// Appends a transaction as one run, in bounded memory whatever its size.
    fn ship(&mut self, transaction: &Transaction, patience: Duration) -> Result<(), Error> {
        let mut out = Shipping::changes(self, patience);
        let (mut base, mut next) = (vec![0; self.size.bytes()], vec![0; self.size.bytes()]);
        for (page, frame) in &transaction.frames {
            self.view.page_of_frame(*frame, &mut next)?;
            let mut known = self.shipped.hash(*page);
            if let Some(hash) = known {
                let place = self.view.page(&self.guard, *page, &mut base)?;
                known = known.filter(|_| place == Place::Wal || page_hash(*page, &base) == hash);
            }
            out.page(*page, known.map(|hash| (hash, &base[..])), &next)?;
        }
        let shipped = out.finish(transaction.commit)?;
        for (page, frame) in &transaction.frames {
            self.view.frames.insert(*page, *frame);
        }
        self.note(shipped, transaction.commit);
        Ok(())
    }

    /// Appends the pages that differ from what was shipped, or all of them, as the database is at `commit`.
    pub(super) fn ship_difference(&mut self, commit: Commit, image: bool) -> Result<(), Error> {
        let mut out = if image { Shipping::image(self) } else { Shipping::changes(self, PATIENCE) };
        let mut next = vec![0; self.size.bytes()];
        let lock_page = self.size.lock_page();
        for page in (1..=commit.pages).filter(|page| *page != lock_page) {
            self.view.page(&self.guard, page, &mut next)?;
            if image || self.shipped.hash(page) != Some(page_hash(page, &next)) {
                out.page(page, None, &next)?;
            }
        }
        let shipped = out.finish(commit)?;
        self.note(shipped, commit);
        Ok(())
    }

    fn note(&mut self, run: Shipped, commit: Commit) {
        for (page, hash) in run.hashes {
            self.shipped.set(page, hash);
        }
        self.shipped.end_at(run.lsn, commit);
        self.status.transactions += 1;
        self.status.pages += run.pages;
        self.status.bytes += run.bytes;
        self.status.whole_bytes += run.pages * self.size.bytes() as u64;
    }
}

/// A run on its way into the log.
struct Shipping {
    writer: RunWriter,
    log: Wal,
    patience: Duration,
    /// Begun with the second record: most runs are one.
    run: Option<Run>,
    zeros: Vec<u8>,
    hashes: Vec<(u32, PageHash)>,
    pages: u64,
    bytes: u64,
}

/// A run that is in the log.
struct Shipped {
    lsn: Lsn,
    hashes: Vec<(u32, PageHash)>,
    pages: u64,
    bytes: u64,
}

impl Shipping {
    fn changes(capture: &Capture, patience: Duration) -> Shipping {
        Shipping::new(capture, RunWriter::changes(capture.size, max_payload(&capture.log)), patience)
    }

    fn image(capture: &Capture) -> Shipping {
        Shipping::new(capture, RunWriter::image(capture.size, max_payload(&capture.log)), PATIENCE)
    }

    fn new(capture: &Capture, writer: RunWriter, patience: Duration) -> Shipping {
        let (log, zeros) = (capture.log.clone(), vec![0; capture.size.bytes()]);
        Shipping { writer, log, patience, run: None, zeros, hashes: Vec::new(), pages: 0, bytes: 0 }
    }

    /// Adds a page: what changed of it if that is shorter, else all of it.
    fn page(&mut self, page: u32, base: Option<(PageHash, &[u8])>, next: &[u8]) -> Result<(), Error> {
        let result = page_hash(page, next);
        let mut change = None;
        if let Some((hash, base)) = base {
            if hash == result {
                return Ok(());
            }
            let patch = patch_between(base, next);
            // A patch of most of the page saves nothing and could not be applied twice.
            change = (patch.len() < next.len() / 4 * 3).then_some((Form::Delta { base: hash, result }, patch));
        }
        let (form, patch) = change.unwrap_or_else(|| (Form::Whole, patch_between(&self.zeros, next)));
        self.hashes.push((page, result));
        self.pages += 1;
        match self.writer.add(page, form, &patch) {
            Some(full) => self.append(&full),
            None => Ok(()),
        }
    }

    fn append(&mut self, payload: &[u8]) -> Result<(), Error> {
        let Shipping { run, log, bytes, patience, .. } = self;
        let run = match run {
            Some(run) => run,
            None => run.insert(log.begin().map_err(Error::Log)?),
        };
        *bytes += payload.len() as u64;
        with_room(log, *patience, payload.len(), || run.append(KIND, payload))
    }

    fn finish(self, commit: Commit) -> Result<Shipped, Error> {
        let Shipping { writer, log, patience, run, hashes, pages, bytes, .. } = self;
        let payload = writer.finish(commit);
        let bytes = bytes + payload.len() as u64;
        let lsn = match run {
            None => with_room(&log, patience, payload.len(), || {
                log.append(&[RecordDraft { kind: KIND, payload: &payload }], None).map(|appended| appended.end)
            })?,
            Some(mut run) => {
                with_room(&log, patience, payload.len(), || run.append(KIND, &payload))?;
                with_room(&log, patience, payload.len(), || run.finish())?
            }
        };
        Ok(Shipped { lsn, hashes, pages, bytes })
    }
}

/// How long a record may be.
pub(super) fn max_payload(log: &Wal) -> usize {
    log.segment_size().max_payload().min(LONGEST_PAYLOAD)
}

/// Tries again while the log is full: what waits in the `-wal` meanwhile is safe there.
fn with_room<T>(
    log: &Wal,
    patience: Duration,
    bytes: usize,
    mut append: impl FnMut() -> longshore_wal::Result<T>,
) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        match append() {
            Err(error) if error.kind() == ErrorKind::Full && begun.elapsed() < patience => {
                log.wait_room_blocking(bytes as u64, Some(Duration::from_millis(100))).map_err(Error::Log)?;
            }
            outcome => return outcome.map_err(Error::Log),
        }
    }
}

/// How long one append waits for room before the caller hears of it, unless somebody is held up meanwhile.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
