//! A look at the place in an archive at which a restore stops: two segments at most, in memory, and nothing is written.

use std::time::{Duration, Instant};

use longshore_format::{Chain, Cursor, Kind, Lsn, Record, SegmentHeader, SegmentSize, Step};

use crate::archive::{Archive, Copy};
use crate::error::{Error, Result};
use crate::fetch::tail::{Lost, Tail};
use crate::manifest::SegmentEntry;
use crate::plan::Until;

/// What was seen where a restore stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Where it stops: where the last transaction ends that is kept, or where the segment after it begins.
    pub stop: Lsn,
    /// When the last transaction that is kept was committed, microseconds UTC, if that was seen.
    pub time: Option<u64>,
    /// The first transaction that is left out; `None` if the archive ends before there is one, or it cannot be looked at.
    pub next: Option<LeftOut>,
    /// A transaction at the archive's end that is not complete, and is left out.
    pub unfinished: Option<Lsn>,
    /// Why what comes after the stop cannot be looked at, if it cannot: it is not needed.
    pub beyond: Option<String>,
    /// What the look took.
    pub sample: Sample,
}

/// The first transaction that a target leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it starts.
    pub start: Lsn,
    /// Where it ends, when it was committed in microseconds UTC, and its records; `None` if its end lies further on than
    /// was looked.
    pub end: Option<(Lsn, u64, u64)>,
}

/// What a look took, and so about what the rest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sample {
    /// Bytes fetched, as they are stored.
    pub bytes: u64,
    /// How long that took.
    pub time: Duration,
    /// Records seen.
    pub records: u64,
    /// Bytes of log that they take.
    pub log_bytes: u64,
}

impl Archive {
    /// Looks at what lies around `until`. `keeps` says whether a transaction is kept that ends at a position and was
    /// committed at a time; once it says no, it says no to every later one.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Moment`] and [`Error::NotABoundary`] name the nearest that can be had, and where;
    /// [`Error::Missing`] and [`Error::Corrupt`] name what no store has whole.
    pub async fn peek(&self, until: Until, keeps: impl Fn(Lsn, u64) -> bool) -> Result<Glimpse> {
        let size = self.facts().size;
        let until = until.normalised(size);
        if let Until::Position(wanted) = until {
            self.check_reached(wanted)?;
        }
        let pieces = self.pieces();
        let begin = begin(&pieces, size, until);
        let mut look: Option<Look<'_, _>> = None;
        let mut sample = Sample::default();
        let (mut beyond, mut walked, mut expected) = (None, begin, None);
        for piece in pieces.iter().skip(begin).take(AT_MOST) {
            let started = Instant::now();
            let Tail { bytes, stored, lost, .. } = self.piece_or_hole(piece, expected).await?;
            sample.bytes += stored;
            sample.time += started.elapsed();
            if !bytes.is_empty() {
                let header =
                    SegmentHeader::decode(&bytes).map_err(|fault| self.bad(piece.base(), &fault.to_string()))?;
                let look = look.get_or_insert_with(|| Look::new(until, &keeps, &header.chain));
                self.walk(look, &header, &bytes, lost.as_ref().map_or(self.end(), |lost| lost.start))?;
            }
            if let Some(Lost { start, time, damage }) = lost {
                if look.is_none() || until.needs(start, time) {
                    return Err(damage.behind(self.first(), start));
                }
                beyond = Some(damage.to_string());
                break;
            }
            walked += 1;
            expected = size.next_base(piece.base());
            if look.as_ref().is_some_and(|look| look.next.is_some()) {
                break;
            }
        }
        let seen_all = walked == pieces.len();
        match look {
            Some(look) => {
                let glimpse = self.conclude(look, begin == 0, seen_all, until, sample)?;
                Ok(Glimpse { beyond, ..glimpse })
            }
            // Nothing is archived but the manifest.
            None => {
                let stop = self.end().min(self.first());
                Ok(Glimpse { stop, time: None, next: None, unfinished: None, beyond, sample })
            }
        }
    }

    fn walk(
        &self,
        look: &mut Look<'_, impl Fn(Lsn, u64) -> bool>,
        header: &SegmentHeader,
        bytes: &[u8],
        end: Lsn,
    ) -> Result<()> {
        let size = self.facts().size;
        let base = header.base();
        let body = &bytes[..bytes.len().min(size.body_end_offset() as usize)];
        let mut cursor = Cursor::new(header.log, header.size, header.chain);
        while size.base_of(cursor.position()) == base && cursor.position() < end {
            let at = usize::try_from(size.offset_in(cursor.position())).unwrap_or(usize::MAX);
            match cursor.read(body.get(at..).unwrap_or_default()) {
                Step::Record(record) => look.see(&record),
                Step::Bad(bad) => return Err(self.bad(base, &format!("at {}: {}", cursor.position(), bad.fault))),
                Step::Short { .. } | Step::End => return Err(self.bad(base, "its records end too early")),
            }
        }
        Ok(())
    }

    fn conclude<K>(
        &self,
        look: Look<'_, K>,
        from_the_beginning: bool,
        seen_all: bool,
        until: Until,
        sample: Sample,
    ) -> Result<Glimpse> {
        let (store, log) = (self.best().store.label().to_owned(), self.name().clone());
        if let (Until::Position(wanted), Some((below, above))) = (until, look.straddled) {
            // What comes before everything is refused, too.
            let below = if from_the_beginning && look.kept.is_none() { above } else { below };
            return Err(Error::NotABoundary { store, log, wanted, below, above });
        }
        if let (Until::Position(wanted), Some((first, _)), None, true) =
            (until, look.first, look.kept, from_the_beginning)
        {
            return Err(Error::Unreachable { store, log, wanted, first, end: self.end() });
        }
        if let Until::Time(wanted) = until {
            let nearest = match (look.first, look.kept) {
                (Some(first), None) if from_the_beginning => Some(first),
                (_, Some(last)) if seen_all && look.next.is_none() && look.time < wanted => Some(last),
                _ => None,
            };
            if let Some((nearest, time)) = nearest {
                return Err(Error::Moment { store, log, wanted, nearest, time });
            }
        }
        let open = look.open.map(|(start, _)| start);
        let next = look.next.or(open.filter(|_| !seen_all).map(|start| LeftOut { start, end: None }));
        let sample = Sample { records: look.records, log_bytes: look.log_bytes, ..sample };
        let unfinished = open.filter(|_| seen_all);
        Ok(Glimpse { stop: look.stop, time: look.stop_time, next, unfinished, beyond: None, sample })
    }

    /// Refuses a position that is not archived, with the nearest one of the store that comes nearest.
    fn check_reached(&self, wanted: Lsn) -> Result<()> {
        if (self.first()..=self.end()).contains(&wanted) {
            return Ok(());
        }
        let distance = |copy: &&Copy| {
            let (first, end) = (copy.manifest.first(), copy.manifest.end());
            wanted.get().abs_diff(wanted.clamp(first, end.max(first)).get())
        };
        let nearest = self.copies().iter().min_by_key(distance).unwrap_or(self.best());
        let (store, log) = (nearest.store.label().to_owned(), self.name().clone());
        Err(Error::Unreachable { store, log, wanted, first: nearest.manifest.first(), end: nearest.manifest.end() })
    }

    /// What the archive is made of: sealed segments, and the beginning of the one that is being written.
    fn pieces(&self) -> Vec<Piece<'_>> {
        let best = self.best();
        let sealed = best.segments.iter().map(Piece::Sealed);
        let tail = best.manifest.tail().first().map(|first| Piece::Tail { base: first.start, time: first.time });
        sealed.chain(tail).collect()
    }

    /// What can be had of a piece, where another base may have been expected: of a segment in between nobody knows any more.
    async fn piece_or_hole(&self, piece: &Piece<'_>, expected: Option<Lsn>) -> Result<Tail> {
        let had = match expected.filter(|expected| *expected != piece.base()) {
            Some(hole) => self.best().check_known(hole, self.name()).map(|()| Tail::default()),
            None => self.piece(piece).await,
        };
        match had {
            Err(damage) if damage.is_damage() => {
                let start = self.facts().size.first_in(piece.base());
                Ok(Tail { lost: Some(Lost { start, time: piece.time(), damage }), ..Tail::default() })
            }
            had => had,
        }
    }

    /// The bytes of a piece from its header on.
    async fn piece(&self, piece: &Piece<'_>) -> Result<Tail> {
        match piece {
            Piece::Sealed(entry) => {
                let bytes = self.segment(entry).await?;
                Ok(Tail { bytes, objects: 1, stored: entry.bytes, lost: None })
            }
            Piece::Tail { .. } => self.tail(self.best().manifest.tail()).await,
        }
    }

    fn bad(&self, base: Lsn, what: &str) -> Error {
        let best = self.best();
        let object = best.segment(base.get()).map_or(crate::manifest::MANIFEST, |entry| &entry.object);
        self.place(best).corrupt(object, format!("the segment at {base}: {what}"))
    }
}

enum Piece<'a> {
    Sealed(&'a SegmentEntry),
    Tail { base: u64, time: u64 },
}

impl Piece<'_> {
    fn base(&self) -> Lsn {
        match self {
            Piece::Sealed(entry) => Lsn::new(entry.base),
            Piece::Tail { base, .. } => Lsn::new(*base),
        }
    }

    /// When its first record was written.
    fn time(&self) -> u64 {
        match self {
            Piece::Sealed(entry) => entry.time,
            Piece::Tail { time, .. } => *time,
        }
    }
}

/// Which piece holds the stop: the last one that is needed.
fn begin(pieces: &[Piece<'_>], size: SegmentSize, until: Until) -> usize {
    match until {
        // The last complete transaction may lie before the tail.
        Until::End | Until::Somewhere => pieces.len().saturating_sub(AT_MOST),
        until => {
            let needed = |piece: &Piece<'_>| until.needs(size.first_in(piece.base()), piece.time());
            pieces.partition_point(needed).saturating_sub(1)
        }
    }
}

/// Transactions on both sides of a stop, as their records go by.
struct Look<'k, K> {
    until: Until,
    keeps: &'k K,
    stop: Lsn,
    stop_time: Option<u64>,
    /// The end of the first transaction that was seen, and its time.
    first: Option<(Lsn, u64)>,
    /// The same of the last one that is kept.
    kept: Option<(Lsn, u64)>,
    next: Option<LeftOut>,
    /// Where the transaction starts whose end is not seen yet, and its records so far.
    open: Option<(Lsn, u64)>,
    /// The record that lies across the position that was asked for.
    straddled: Option<(Lsn, Lsn)>,
    /// Of the last record.
    time: u64,
    records: u64,
    log_bytes: u64,
}

impl<'k, K> Look<'k, K> {
    fn new(until: Until, keeps: &'k K, chain: &Chain) -> Self {
        Look {
            until,
            keeps,
            stop: chain.run.unwrap_or(chain.position),
            stop_time: chain.run.is_none().then_some(chain.time).filter(|time| 0 < *time),
            first: None,
            kept: None,
            next: None,
            open: chain.run.map(|start| (start, 0)),
            straddled: None,
            time: chain.time,
            records: 0,
            log_bytes: 0,
        }
    }
}

impl<K: Fn(Lsn, u64) -> bool> Look<'_, K> {
    fn see(&mut self, record: &Record<'_>) {
        self.time = record.time;
        self.log_bytes += record.end.since(record.start);
        if let Until::Position(wanted) = self.until
            && record.start < wanted
            && wanted < record.end
        {
            self.straddled = Some((record.start, record.end));
        }
        match record.kind {
            Kind::ABORT | Kind::INCARNATION | Kind::EPOCH_START => self.open = None,
            kind if kind.is_user() || kind == Kind::MARK => self.take(record),
            _ => {}
        }
    }

    fn take(&mut self, record: &Record<'_>) {
        let (start, records) = self.open.take().unwrap_or((record.start, 0));
        let mark = record.kind == Kind::MARK;
        let records = records + u64::from(!mark);
        self.records += u64::from(!mark);
        if !record.is_last() {
            self.open = Some((start, records));
            return;
        }
        self.first = self.first.or(Some((record.end, record.time)));
        if self.next.is_none() && (self.keeps)(record.end, record.time) {
            (self.stop, self.stop_time) = (record.end, Some(record.time));
            self.kept = Some((record.end, record.time));
        } else if !mark && self.next.is_none() {
            self.next = Some(LeftOut { start, end: Some((record.end, record.time, records)) });
        }
    }
}

/// How many segments a look fetches.
const AT_MOST: usize = 2;
