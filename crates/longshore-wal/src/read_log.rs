//! A log opened for reading only: nothing in its directory changes, and no lock is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_format::{Content, Control, Digest, EpochHistory, ErrorKind, LogId, Lsn, SegmentSize};
use longshore_storage::{Access, Directory};

use crate::control_file::ControlFile;
use crate::names::Names;
use crate::reader::{locate, locate_time};
use crate::survey::{BelowDurable, Survey};
use crate::view::{Broken, Segment, Upto, View};
use crate::{Error, FollowerSpec, Reader, Result, SegmentInfo, SegmentReader};

/// A log opened for reading only. A torn tail is cut in memory; beside a live owner it ends at the durable position
/// that the owner last wrote down, and [`ReadLog::refresh`] looks again.
#[derive(Clone, Debug)]
pub struct ReadLog {
    view: Arc<View>,
    owned: Arc<AtomicBool>,
}

impl ReadLog {
    /// Opens the log in `dir`. Works on read-only media and without permission to write.
    pub fn open(dir: Arc<dyn Directory>) -> Result<ReadLog> {
        // Asked before control is read: an owner that comes later starts from what is read here, or further on.
        let owned = is_owned(&dir)?;
        let control = ControlFile::read(&dir)?;
        let view = match owned {
            true => beside_owner(&dir, &control)?,
            false => Survey::of(&dir, &control, BelowDurable::Refuse)?.view(&dir, &control),
        };
        Ok(ReadLog { view: Arc::new(view), owned: Arc::new(AtomicBool::new(owned)) })
    }

    /// As [`open`](Self::open), of a log that need not be whole: where a segment is missing, or a record that must be good is
    /// not, readers come to the error that says so, and not to an end.
    ///
    /// # Errors
    /// As [`open`](Self::open), where nothing of it can be read.
    pub fn open_damaged(dir: Arc<dyn Directory>) -> Result<ReadLog> {
        match ReadLog::open(Arc::clone(&dir)) {
            Err(error) if matches!(error.kind(), ErrorKind::Gap | ErrorKind::Corrupt) => {
                let owned = is_owned(&dir)?;
                let view = up_to_damage(&dir, &ControlFile::read(&dir)?, error)?;
                Ok(ReadLog { view: Arc::new(view), owned: Arc::new(AtomicBool::new(owned)) })
            }
            opened => opened,
        }
    }

    /// Why it ends where it does, if it is read no further though it goes on.
    pub fn damage(&self) -> Option<Error> {
        let broken = self.view.broken.as_ref().filter(|broken| broken.at == self.end());
        broken.map(|broken| broken.error.clone())
    }

    /// Whether another process owned the log when it was opened or last refreshed.
    pub fn has_owner(&self) -> bool {
        self.owned.load(Ordering::Relaxed)
    }

    /// Looks how far a live owner has come by now; returns the new end. Readers see it at once.
    pub fn refresh(&self) -> Result<Lsn> {
        let dir = &self.view.dir;
        self.owned.store(is_owned(dir)?, Ordering::Relaxed);
        let control = ControlFile::read(dir)?;
        let size = self.view.size;
        let durable = size.normalise(control.durable);
        for base in Names::of(dir, size)?.bases.into_iter().filter(|base| *base <= durable) {
            self.view.push_if_next(Arc::new(Segment::at_rest(base)));
        }
        // Only what has its segment here: a listing may have missed one that was begun just then.
        let last = self.view.all().last().map_or(Lsn::ZERO, |segment| segment.base);
        let after = size.next_base(last).map_or(Lsn::MAX, |next| size.first_in(next));
        self.view.durable.advance(durable.min(after));
        self.view.sealed.advance(last.checked_sub(size.get()).unwrap_or(Lsn::ZERO));
        Ok(self.end())
    }

    /// A reader at the boundary `from`.
    pub fn reader(&self, from: Lsn) -> Result<Reader> {
        locate(&self.view, Upto::Durable, from)
    }

    /// The first position.
    pub fn first(&self) -> Lsn {
        self.view.first()
    }

    /// The end.
    pub fn end(&self) -> Lsn {
        self.view.durable.get()
    }

    /// Which log.
    pub fn id(&self) -> LogId {
        self.view.id
    }

    /// What its records mean.
    pub fn content(&self) -> Content {
        self.view.content
    }

    /// The size of its segments.
    pub fn segment_size(&self) -> SegmentSize {
        self.view.size
    }

    /// Its lives up to the end.
    pub fn history(&self) -> Result<EpochHistory> {
        let Some(last) = self.view.all().into_iter().rfind(|segment| segment.base <= self.end()) else {
            return Err(Error::NotFound { path: self.view.dir.path_hint(), missing: "every segment" });
        };
        let mut history = self.view.header(&last, &mut self.view.window(&last)?)?.history.clone();
        let mut reader = locate(&self.view, Upto::Durable, self.view.size.first_in(last.base))?;
        while reader.next()?.is_some() {
            let life = reader.chain().life;
            if life != *history.current() {
                let pushed = history.push(life);
                pushed.map_err(|fault| Error::History { path: self.view.dir.path_hint(), fault })?;
            }
        }
        Ok(history)
    }

    /// Its segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.view.infos()
    }

    /// The digest of a sealed segment; `None` if it is not sealed or not here.
    pub fn digest(&self, base: Lsn) -> Result<Option<Digest>> {
        self.view.digest(base)
    }

    /// The bytes of a sealed segment's file.
    pub fn segment(&self, base: Lsn) -> Result<SegmentReader> {
        SegmentReader::open(&self.view, base)
    }

    /// Says that nobody reads the segment at a base again soon: what the system keeps of it in memory can go to others.
    pub fn uncache(&self, base: Lsn) {
        // It is a hint: what cannot be opened is told to whoever reads it.
        if let Ok(file) = self.view.dir.open(&self.view.size.file_name(base), Access::Read) {
            file.uncache();
        }
    }

    /// Where a new follower's log would begin: the first segment kept here.
    pub fn start_point(&self) -> Result<FollowerSpec> {
        self.view.start_point(&ControlFile::read(&self.view.dir)?.policies)
    }

    /// The header checksum of the record that ends at the boundary `lsn`.
    pub fn crc_at(&self, lsn: Lsn) -> Result<u32> {
        self.reader(lsn).map(|reader| reader.chain().link)
    }

    /// The boundary before the first record later than `time` (microseconds UTC).
    pub fn position_at(&self, time: u64) -> Result<Lsn> {
        locate_time(&self.view, time)
    }
}

/// Whether a live process owns the log.
fn is_owned(dir: &Arc<dyn Directory>) -> Result<bool> {
    dir.locked().map_err(Error::io("look at the log's lock"))
}

/// The log up to the watermark that a live owner wrote down.
fn beside_owner(dir: &Arc<dyn Directory>, control: &Control) -> Result<View> {
    let size = control.size;
    let durable = size.normalise(control.durable);
    let bases: Vec<Lsn> = Names::of(dir, size)?.bases.into_iter().filter(|base| *base <= durable).collect();
    if let Some(gap) = gap_in(dir, size, &bases) {
        return Err(gap.error);
    }
    Ok(at_rest(dir, control, durable, bases))
}

/// The log up to what is known durable, or to the first segment that is missing; what is damaged before that, whoever reads it
/// comes to. There it ends with what kept it from being opened.
fn up_to_damage(dir: &Arc<dyn Directory>, control: &Control, error: Error) -> Result<View> {
    let (size, known) = (control.size, control.known_durable());
    let mut bases = Names::of(dir, size)?.bases;
    let gap = gap_in(dir, size, &bases);
    if let Some(gap) = &gap {
        bases.retain(|base| *base < gap.at);
    }
    let after = bases.last().and_then(|last| size.next_base(*last)).map_or(Lsn::MAX, |next| size.first_in(next));
    let at = last_good(&Arc::new(at_rest(dir, control, after, bases.clone())), known.min(after));
    let broken = gap.filter(|gap| gap.at == at).unwrap_or(Broken { at, error });
    bases.retain(|base| *base <= broken.at);
    if bases.is_empty() {
        return Err(broken.error);
    }
    Ok(at_rest(dir, control, broken.at, bases).with(Some(broken)))
}

/// Where the last good record ends that lies behind what is known durable, which the watermark tells only now and then.
fn last_good(view: &Arc<View>, known: Lsn) -> Lsn {
    let Ok(mut reader) = locate(view, Upto::Durable, known) else { return known };
    while let Ok(Some(_)) = reader.next() {}
    reader.position()
}

/// The first segment that is missing before others.
fn gap_in(dir: &Arc<dyn Directory>, size: SegmentSize, bases: &[Lsn]) -> Option<Broken> {
    let pair = bases.windows(2).find(|pair| size.next_base(pair[0]) != Some(pair[1]))?;
    let expected = size.next_base(pair[0]).unwrap_or(Lsn::MAX);
    Some(Broken { at: size.first_in(expected), error: Error::Gap { path: dir.path_hint(), expected, found: pair[1] } })
}

fn at_rest(dir: &Arc<dyn Directory>, control: &Control, durable: Lsn, bases: Vec<Lsn>) -> View {
    // Which of them are sealed is asked of each at first use; the newest two may not be.
    let sealed = bases.iter().rev().nth(1).or(bases.first()).copied().unwrap_or(Lsn::ZERO);
    let segments = bases.into_iter().map(|base| Arc::new(Segment::at_rest(base))).collect();
    View::at_rest(dir, control, durable, sealed, segments)
}
