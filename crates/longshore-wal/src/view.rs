//! A log as its readers see it: segments, and how far they may look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use longshore_format::{
    Chain, Content, Control, Corruption, Digest, Fault, Footer, FooterFault, HeaderFault, LogId, Lsn, Policy,
    SegmentHeader, SegmentSize,
};
use longshore_storage::{Access, Directory, File, RegionReader, Trouble};

use crate::shared::lock;
use crate::window::{Pool, Source, Window};
use crate::{Error, Events, FollowerSpec, Result, SegmentInfo, SegmentState, Watermark};

/// What readers share with the owner of a log.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) id: LogId,
    pub(crate) content: Content,
    pub(crate) size: SegmentSize,
    /// What the first segment's footer names as its predecessor's digest, if it is the first this node ever held.
    pub(crate) before: Option<Digest>,
    /// Nothing at or after this is shown to anybody, but for what other nodes are [offered](Self::offered).
    pub(crate) durable: Watermark,
    /// What is durable on this disk; never before `durable`.
    pub(crate) synced: Watermark,
    /// What other nodes may be told of; never before `synced`.
    pub(crate) offered: Watermark,
    /// The base of the first segment that is not sealed.
    pub(crate) sealed: Watermark,
    pub(crate) pool: Arc<Pool>,
    pub(crate) events: Events,
    /// Where it is read no further though it goes on, if somebody reads it all the same.
    pub(crate) broken: Option<Broken>,
    /// Contiguous, oldest first. Locked for lines.
    segments: RwLock<VecDeque<Arc<Segment>>>,
}

/// How far a reader looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upto {
    /// As far as anybody is shown.
    Durable,
    /// As far as other nodes may be told.
    Offered,
}

/// What is wrong with a log that is read as far as it is whole.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) at: Lsn,
    pub(crate) error: Error,
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Lsn,
    /// Its file, and its map if it has one, until it is sealed; sealed ones are opened by whoever reads them, so that a
    /// long log does not hold thousands of files open.
    live: Mutex<Option<Live>>,
    header: OnceLock<SegmentHeader>,
    footer: OnceLock<Footer>,
    /// What is known of the sparse index of a segment without footer, or with a bad index.
    index: Mutex<Vec<Chain>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) file: Arc<dyn File>,
    pub(crate) map: Option<RegionReader>,
}

impl Segment {
    /// A segment that is sealed, as far as its neighbours tell; it is checked at first use.
    pub(crate) fn at_rest(base: Lsn) -> Segment {
        Segment {
            base,
            live: Mutex::new(None),
            header: OnceLock::new(),
            footer: OnceLock::new(),
            index: Mutex::default(),
        }
    }

    /// A segment that is written, or waits for its seal.
    pub(crate) fn live(header: SegmentHeader, live: Live) -> Segment {
        let segment = Segment::at_rest(header.base());
        *lock(&segment.live) = Some(live);
        segment.set_header(header);
        segment
    }

    pub(crate) fn set_header(&self, header: SegmentHeader) {
        let _known_already = self.header.set(header);
    }

    /// Makes a segment that was found at rest one that is written, or waits for its seal.
    pub(crate) fn set_live(&self, live: Live) {
        *lock(&self.live) = Some(live);
    }

    pub(crate) fn live_file(&self) -> Option<Live> {
        lock(&self.live).clone()
    }

    /// From now on it is read like any other sealed segment.
    pub(crate) fn set_sealed(&self, footer: Footer) {
        let _same = self.footer.set(Footer { index: None, ..footer });
        *lock(&self.live) = None;
        lock(&self.index).clear();
    }

    pub(crate) fn extend_index(&self, entries: &[Chain]) {
        let mut index = lock(&self.index);
        let known = index.last().map_or(Lsn::ZERO, |last| last.position);
        index.extend(entries.iter().filter(|entry| known < entry.position));
    }

    pub(crate) fn known_digest(&self) -> Option<Digest> {
        self.footer.get().map(|footer| footer.digest)
    }
}

impl View {
    /// The log that `control` describes, made of these segments.
    pub(crate) fn at_rest(
        dir: &Arc<dyn Directory>,
        control: &Control,
        durable: Lsn,
        sealed: Lsn,
        segments: VecDeque<Arc<Segment>>,
    ) -> View {
        View {
            dir: Arc::clone(dir),
            id: control.log,
            content: control.content,
            size: control.size,
            before: control.before,
            durable: Watermark::new(durable),
            synced: Watermark::new(durable),
            offered: Watermark::new(durable),
            sealed: Watermark::new(sealed),
            pool: Arc::default(),
            events: Events::default(),
            broken: None,
            segments: RwLock::new(segments),
        }
    }

    /// The same, of which no more is shown than this.
    pub(crate) fn showing(self, shown: Option<Lsn>) -> View {
        let durable = shown.map_or(self.durable.get(), |shown| shown.min(self.durable.get()));
        View { durable: Watermark::new(durable), ..self }
    }

    /// The same, at the end of which readers come to an error.
    pub(crate) fn with(self, broken: Option<Broken>) -> View {
        View { broken, ..self }
    }

    pub(crate) fn end_of(&self, upto: Upto) -> &Watermark {
        match upto {
            Upto::Durable => &self.durable,
            Upto::Offered => &self.offered,
        }
    }

    /// All that waiters wait for.
    pub(crate) fn watermarks(&self) -> [&Watermark; 4] {
        [&self.durable, &self.synced, &self.offered, &self.sealed]
    }

    pub(crate) fn first(&self) -> Lsn {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.front().map_or_else(|| self.durable.get(), |segment| self.size.first_in(segment.base))
    }

    pub(crate) fn push(&self, segment: Arc<Segment>) {
        assert!(self.push_if_next(segment), "segments are contiguous");
    }

    /// Adds a segment if it follows the last one.
    pub(crate) fn push_if_next(&self, segment: Arc<Segment>) -> bool {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let follows = segments.back().is_none_or(|last| self.size.next_base(last.base) == Some(segment.base));
        if follows {
            segments.push_back(segment);
        }
        follows
    }

    /// Takes the oldest segment out of the log if `accept` says so of the one after it.
    pub(crate) fn pop_first(&self, accept: impl FnOnce(&Segment) -> bool) -> Option<Arc<Segment>> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let accepted = accept(segments.get(1)?);
        accepted.then(|| segments.pop_front()).flatten()
    }

    pub(crate) fn count(&self) -> usize {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The segment at `base`, if the log has it.
    pub(crate) fn get(&self, base: Lsn) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let index = base.get().checked_sub(segments.front()?.base.get())? / self.size.get();
        segments.get(usize::try_from(index).ok()?).cloned()
    }

    /// As [`View::get`]; `TooOld` or `Beyond` if it is not there.
    pub(crate) fn segment_of(&self, lsn: Lsn) -> Result<Arc<Segment>> {
        self.get(self.size.base_of(lsn)).ok_or_else(|| match self.first() {
            first if lsn < first => Error::TooOld { lsn, first },
            _ => Error::Beyond { lsn, end: self.durable.get() },
        })
    }

    /// How far into the segment at `base` may be looked.
    pub(crate) fn limit_in(&self, base: Lsn, upto: Upto) -> u64 {
        let end = self.end_of(upto).get();
        match self.size.base_of(end) {
            current if base < current => self.size.body_end_offset(),
            current if base == current => self.size.offset_in(end),
            _ => 0,
        }
    }

    pub(crate) fn infos(&self) -> Vec<SegmentInfo> {
        let durable = self.durable.get();
        let active = self.size.base_of(durable);
        let info = |segment: &Arc<Segment>| SegmentInfo {
            base: segment.base,
            end: match self.size.next_base(segment.base) {
                Some(next) if segment.base < active => self.size.first_in(next),
                _ => durable,
            },
            state: match segment.base {
                base if base < self.sealed.get() => SegmentState::Sealed,
                base if base < active => SegmentState::Full,
                _ => SegmentState::Active,
            },
            digest: segment.known_digest(),
        };
        self.all().iter().map(info).collect()
    }

    /// The bytes of a segment: its map while it has one, else its file.
    pub(crate) fn source(&self, segment: &Segment) -> Result<Source> {
        if let Some(live) = segment.live_file() {
            return Ok(live.map.map_or(Source::File(live.file), Source::Map));
        }
        let name = self.size.file_name(segment.base);
        let opened = self.dir.open(&name, Access::Read);
        opened.map(Source::File).map_err(|error| match Trouble::of(&error) {
            Trouble::NotFound if self.get(segment.base).is_none() => {
                Error::TooOld { lsn: self.size.first_in(segment.base), first: self.first() }
            }
            Trouble::NotFound => Error::Gap {
                path: self.dir.path_hint(),
                expected: segment.base,
                found: self.size.next_base(segment.base).unwrap_or(Lsn::MAX),
            },
            _ => Error::io("open a segment")(error),
        })
    }

    pub(crate) fn window(&self, segment: &Segment) -> Result<Window> {
        Ok(Window::new(segment.base, self.source(segment)?, Arc::clone(&self.pool)))
    }

    /// A segment's header, read and checked at first use.
    pub(crate) fn header<'s>(&self, segment: &'s Segment, window: &mut Window) -> Result<&'s SegmentHeader> {
        if let Some(header) = segment.header.get() {
            return Ok(header);
        }
        let bytes = window.at(0, SegmentHeader::LEN, SegmentHeader::LEN, SegmentHeader::LEN as u64)?;
        let header = self.decode_header(segment.base, bytes)?;
        Ok(segment.header.get_or_init(|| header))
    }

    /// The state at a segment's first record; opens the file only the first time.
    pub(crate) fn chain_of(&self, segment: &Segment) -> Result<Chain> {
        match segment.header.get() {
            Some(header) => Ok(header.chain),
            None => Ok(self.header(segment, &mut self.window(segment)?)?.chain),
        }
    }

    /// The header that `bytes` hold, if it is that of the segment at `base` of this log.
    pub(crate) fn decode_header(&self, base: Lsn, bytes: &[u8]) -> Result<SegmentHeader> {
        let decoded = SegmentHeader::decode(bytes);
        let header = decoded.map_err(|fault| self.bad_header(base, fault))?;
        let same = header.log == self.id && header.content == self.content && header.size == self.size;
        if same && header.base() == base {
            return Ok(header);
        }
        let fault = match same {
            // F-037, F-035
            false => format!("its header is of another log ({}, not {})", header.log, self.id),
            true => format!("its header says that it begins at {}", header.base()),
        };
        Err(self.damaged(base, fault))
    }

    fn bad_header(&self, base: Lsn, fault: HeaderFault) -> Error {
        match fault {
            HeaderFault::NewerVersion(version) => {
                Error::NewerVersion { path: self.dir.path_hint(), file: self.size.file_name(base), version }
            }
            fault => self.damaged(base, fault.to_string()),
        }
    }

    /// A sealed segment's footer without its index, read and checked at first use.
    pub(crate) fn footer<'s>(&self, segment: &'s Segment) -> Result<&'s Footer> {
        if let Some(footer) = segment.footer.get() {
            return Ok(footer);
        }
        let footer = self.read_footer(segment, Footer::TRAILER_LEN as u64)?;
        // F-010: before a segment that is sealed a missing footer is corruption.
        let footer = footer.map_err(|fault| self.damaged(segment.base, fault.to_string()))?;
        Ok(segment.footer.get_or_init(|| footer))
    }

    /// Reads the last `len` bytes of a segment as its footer.
    pub(crate) fn read_footer(&self, segment: &Segment, len: u64) -> Result<Result<Footer, FooterFault>> {
        let file = match (segment.live_file(), self.source(segment)?) {
            (Some(live), _) => live.file,
            (None, Source::File(file)) => file,
            (None, Source::Map(_)) => return Ok(Err(FooterFault::Missing)),
        };
        let offset = self.size.get() - len;
        let mut bytes = vec![0; len as usize];
        let read = file.read_at(&mut bytes, offset).map_err(|source| Error::Unreadable {
            segment: segment.base,
            offset,
            source: Arc::new(source),
        })?;
        if read < bytes.len() {
            return Ok(Err(FooterFault::Short));
        }
        Ok(Footer::decode(&bytes, segment.base, self.size))
    }

    /// What is known of a segment's sparse index. A bad one costs time, never an error (F-011).
    pub(crate) fn index(&self, segment: &Segment) -> Result<Vec<Chain>> {
        if segment.base < self.sealed.get()
            && let Ok(footer) = self.read_footer(segment, self.size.footer_len())?
            && let Some(index) = footer.index
        {
            return Ok(index);
        }
        Ok(lock(&segment.index).clone())
    }

    /// Where a new follower's log would begin, of a log with these newest policies.
    pub(crate) fn start_point(&self, newest: &[(Lsn, Policy)]) -> Result<FollowerSpec> {
        let first = self.segment_of(self.first())?;
        let header = self.header(&first, &mut self.window(&first)?)?.clone();
        let policies = Control::policies_at(newest, header.chain.position).unwrap_or_default().to_vec();
        Ok(FollowerSpec { before: self.digest_before(header.base())?, header, policies })
    }

    /// What the segment at `base` names as its predecessor's digest.
    pub(crate) fn digest_before(&self, base: Lsn) -> Result<Digest> {
        if let Some(segment) = self.get(base)
            && base < self.sealed.get()
        {
            return Ok(self.footer(&segment)?.previous);
        }
        match base.get().checked_sub(self.size.get()).and_then(|previous| self.get(Lsn::new(previous))) {
            Some(previous) => Ok(self.footer(&previous)?.digest),
            None => Ok(self.before.unwrap_or(Digest::NONE)),
        }
    }

    pub(crate) fn corrupt(&self, position: Lsn, fault: Fault) -> Error {
        let corruption = Corruption { segment: self.size.base_of(position), position, fault };
        Error::Corrupt { path: self.dir.path_hint(), corruption }
    }

    pub(crate) fn damaged(&self, base: Lsn, fault: String) -> Error {
        Error::Damaged { path: self.dir.path_hint(), file: self.size.file_name(base), fault }
    }
}
