//! Looking at a log's directory before it is opened: where the log ends, and whether what stands there is torn or corrupt.
//!
//! Changes nothing. *D* is the greatest position known durable on this node: the saved watermark, the acks saved with it,
//! and the promises in later records that this node itself minted. Below D a bad record is corruption, and the log is not
//! opened. At or above D it is where a crash tore the tail.

use std::collections::VecDeque;
use std::sync::Arc;

use longshore_format::{
    Bad, Chain, Control, Cursor, EpochHistory, Fault, Footer, HeaderFault, IndexBuilder, Lsn, SegmentHeader, Step,
};
use longshore_storage::{Access, Directory, File};

use crate::evidence::Evidence;
use crate::names::Names;
use crate::view::{Segment, View};
use crate::window::{READ_LEN, Source, Window, read_record};
use crate::{Error, Result};

/// What a log's directory holds.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The segments that belong to the log, oldest first; what lies after its end is not among them.
    pub(crate) bases: Vec<Lsn>,
    /// Segment files after the end: prepared ones, and what a crash left.
    pub(crate) later: Vec<Lsn>,
    /// The state at the end.
    pub(crate) chain: Chain,
    /// The lives up to there.
    pub(crate) history: EpochHistory,
    /// What was known durable by this node's own word.
    pub(crate) known: Lsn,
    /// The first segment that is not sealed.
    pub(crate) unsealed: Lsn,
    /// The segments that were gone through, of which the last is where the log ends.
    pub(crate) walked: Vec<Walked>,
    /// The log was cut below D, with leave: up to here bytes were lost that had been acknowledged.
    pub(crate) lost: Option<Lsn>,
    /// The log was closed in order and not touched since.
    pub(crate) clean: bool,
    pub(crate) names: Names,
}

/// A segment that was gone through record by record.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn File>,
    pub(crate) index: Vec<Chain>,
    records: u64,
    /// Where its `Roll` starts, if it is full.
    roll: Option<Lsn>,
}

impl Walked {
    pub(crate) fn base(&self) -> Lsn {
        self.header.base()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.roll.is_some()
    }
}

/// What to do about a bad record below D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BelowDurable {
    /// Refuse to open.
    Refuse,
    /// Cut there, and remember what was lost.
    Cut,
}

/// Why the walk ended.
enum Stop {
    /// Zeros after the last record.
    Zeros,
    /// No good record.
    Bad(Bad),
    /// The last segment is full, and there is no other.
    NoNext,
    /// The last segment is full, and the next one's header is empty.
    NotBegun,
    /// The last segment is full, and the next one's header does not hold, or does not continue it.
    BadHeader(Error),
}

impl Survey {
    pub(crate) fn of(dir: &Arc<dyn Directory>, control: &Control, below: BelowDurable) -> Result<Survey> {
        let mut names = Names::of(dir, control.size)?;
        let files = Files::new(dir, control);
        let known = control.known_durable();
        let bases = files.contiguous(&mut names, known)?;
        let start = files.start(&bases)?;
        let (walk, stop) = Walk::through(&files, &bases, start, known)?;
        let whole = matches!(stop, Stop::Zeros | Stop::NoNext | Stop::NotBegun);
        let lost = judge(&files, &bases, &walk, stop, below)?;
        let mut survey = walk.finish(&files, bases, known, lost, names)?;
        survey.clean = whole && control.clean == Some(survey.chain.position) && files.all_empty(&survey.later)?;
        Ok(survey)
    }

    /// The log as readers see it, ending where it was found to end.
    pub(crate) fn view(&self, dir: &Arc<dyn Directory>, control: &Control) -> View {
        let segment = |base: &Lsn| {
            let segment = Segment::at_rest(*base);
            if let Some(walked) = self.walked.iter().find(|walked| walked.base() == *base) {
                segment.set_header(walked.header.clone());
                segment.extend_index(&walked.index);
            }
            Arc::new(segment)
        };
        let segments = self.bases.iter().map(segment).collect();
        View::at_rest(dir, control, self.chain.position, self.unsealed, segments)
    }
}

/// The segment files, read for the survey.
pub(crate) struct Files<'a> {
    pub(crate) control: &'a Control,
    /// Without segments: it knows how to read and check parts of them.
    pub(crate) view: View,
}

/// How a segment's header turned out.
pub(crate) enum Head {
    Good(Box<SegmentHeader>),
    /// All zeros, or shorter than a header: never begun, as far as the disk knows (F-040).
    Empty,
    /// Torn, damaged, or of another log.
    Bad(Error),
}

impl<'a> Files<'a> {
    fn new(dir: &Arc<dyn Directory>, control: &'a Control) -> Files<'a> {
        Files { control, view: View::at_rest(dir, control, Lsn::MAX, Lsn::MAX, VecDeque::new()) }
    }

    /// The segments from the first on without a gap. Beyond a gap there may be prepared ones only (F-031, F-033).
    fn contiguous(&self, names: &mut Names, known: Lsn) -> Result<Vec<Lsn>> {
        let size = self.control.size;
        let mut bases = std::mem::take(&mut names.bases);
        let gap = |expected, found| Error::Gap { path: self.view.dir.path_hint(), expected, found };
        let Some(first) = bases.first() else {
            return Err(Error::NotFound { path: self.view.dir.path_hint(), missing: "every segment" });
        };
        if known < size.first_in(*first) {
            return Err(gap(known, *first));
        }
        let follows = |pair: &&[Lsn]| size.next_base(pair[0]) == Some(pair[1]);
        let reach = 1 + bases.windows(2).take_while(follows).count();
        let next = size.next_base(bases[reach - 1]).unwrap_or(Lsn::MAX);
        for beyond in &bases[reach..] {
            if !matches!(self.head(*beyond)?.0, Head::Empty) {
                return Err(gap(next, *beyond));
            }
        }
        if next <= known && known != size.first_in(next) {
            return Err(gap(next, known));
        }
        names.bases = bases.split_off(reach);
        Ok(bases)
    }

    /// The index of the segment to go through from: the one the saved watermark is in, or the first before it of those that
    /// are not sealed. Segments are sealed in order, soon after they are full, so that is not far back.
    fn start(&self, bases: &[Lsn]) -> Result<usize> {
        let size = self.control.size;
        let saved = size.normalise(self.control.durable);
        let mut start = bases.partition_point(|base| *base <= size.base_of(saved)).saturating_sub(1);
        // It may lie where a segment begins that is not durable itself; then the log may end before it.
        let at_start = saved == size.first_in(bases[start]);
        if at_start && start > 0 && !matches!(self.head(bases[start])?.0, Head::Good(_)) {
            start -= 1;
        }
        while start > 0 && !self.is_sealed(bases[start - 1])? {
            start -= 1;
        }
        Ok(start)
    }

    fn all_empty(&self, bases: &[Lsn]) -> Result<bool> {
        for base in bases {
            if !matches!(self.head(*base)?.0, Head::Empty) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_sealed(&self, base: Lsn) -> Result<bool> {
        Ok(self.footer(base)?.is_some())
    }

    fn footer(&self, base: Lsn) -> Result<Option<Footer>> {
        Ok(self.view.read_footer(&Segment::at_rest(base), Footer::TRAILER_LEN as u64)?.ok())
    }

    pub(crate) fn head(&self, base: Lsn) -> Result<(Head, Arc<dyn File>)> {
        let name = self.control.size.file_name(base);
        let file = self.view.dir.open(&name, Access::Read).map_err(Error::io("open a segment"))?;
        let mut bytes = vec![0; SegmentHeader::LEN];
        let read = read_at(&file, base, &mut bytes, 0)?;
        let head = match SegmentHeader::decode(&bytes[..read]) {
            Err(HeaderFault::Empty | HeaderFault::Short) => Head::Empty,
            _ => match self.view.decode_header(base, &bytes[..read]) {
                Ok(header) => Head::Good(Box::new(header)),
                Err(newer @ Error::NewerVersion { .. }) => return Err(newer),
                Err(error) => Head::Bad(error),
            },
        };
        Ok((head, file))
    }
}

/// Reads a part of a segment's file; an error of the device names the place (F-030).
pub(crate) fn read_at(file: &Arc<dyn File>, segment: Lsn, bytes: &mut [u8], offset: u64) -> Result<usize> {
    file.read_at(bytes, offset).map_err(|source| Error::Unreadable { segment, offset, source: Arc::new(source) })
}

/// Going through the last segments, record by record.
pub(crate) struct Walk {
    pub(crate) cursor: Cursor,
    pub(crate) history: EpochHistory,
    walked: Vec<Walked>,
    known: Lsn,
}

impl Walk {
    fn through(files: &Files<'_>, bases: &[Lsn], start: usize, known: Lsn) -> Result<(Walk, Stop)> {
        let (head, file) = files.head(bases[start])?;
        let header = match head {
            Head::Good(header) => *header,
            Head::Empty => return Err(files.view.damaged(bases[start], "its header is empty".into())),
            Head::Bad(error) => return Err(error),
        };
        let cursor = Cursor::new(files.control.log, files.control.size, header.chain);
        let mut walk = Walk { cursor, history: header.history.clone(), walked: Vec::new(), known };
        let mut segment = Walked { header, file, index: Vec::new(), records: 0, roll: None };
        for base in &bases[start + 1..] {
            if let Some(stop) = walk.segment(files, segment)? {
                return Ok((walk, stop));
            }
            segment = match files.head(*base)? {
                (Head::Good(header), file) if walk.is_continued_by(&header) => {
                    Walked { header: *header, file, index: Vec::new(), records: 0, roll: None }
                }
                (Head::Good(_), _) => {
                    let fault = "it does not continue the segment before it".to_owned();
                    return Ok((walk, Stop::BadHeader(files.view.damaged(*base, fault))));
                }
                (Head::Empty, _) => return Ok((walk, Stop::NotBegun)),
                (Head::Bad(error), _) => return Ok((walk, Stop::BadHeader(error))),
            };
        }
        let stop = walk.segment(files, segment)?.unwrap_or(Stop::NoNext);
        Ok((walk, stop))
    }

    fn is_continued_by(&self, header: &SegmentHeader) -> bool {
        header.chain == *self.cursor.chain() && header.history == self.history
    }

    /// Goes through one segment; `None` if it is full.
    fn segment(&mut self, files: &Files<'_>, mut segment: Walked) -> Result<Option<Stop>> {
        let size = self.cursor.size();
        let base = segment.base();
        let source = Source::File(Arc::clone(&segment.file));
        let mut window = Window::new(base, source, Arc::clone(&files.view.pool));
        let mut index = IndexBuilder::new(size);
        let stop = loop {
            let before = *self.cursor.chain();
            if size.base_of(before.position) != base {
                break None;
            }
            match read_record(&mut self.cursor, &mut window, READ_LEN, size.body_end_offset())? {
                Step::Record(record) => {
                    index.observe(&before);
                    segment.records += 1;
                    segment.roll = (size.base_of(record.end) != base).then_some(record.start);
                    if record.start < self.known && self.known < record.end {
                        return Err(inside_a_record(files, self.known));
                    }
                }
                Step::End => break Some(Stop::Zeros),
                Step::Bad(bad) => break Some(Stop::Bad(bad)),
                // The file itself ends here.
                Step::Short { .. } => break Some(Stop::Bad(Bad { fault: Fault::Cut, extent: None })),
            }
            let life = self.cursor.chain().life;
            if life != before.life {
                let pushed = self.history.push(life);
                pushed.map_err(|fault| Error::History { path: files.view.dir.path_hint(), fault })?;
            }
        };
        segment.index = index.finish();
        self.walked.push(segment);
        Ok(stop)
    }

    fn finish(
        self,
        files: &Files<'_>,
        bases: Vec<Lsn>,
        known: Lsn,
        lost: Option<Lsn>,
        mut names: Names,
    ) -> Result<Survey> {
        let last = self.walked.last().expect("the walk began somewhere").base();
        let kept = bases.partition_point(|base| *base <= last);
        let mut later = bases[kept..].to_vec();
        later.append(&mut names.bases);
        let mut unsealed = None;
        for segment in &self.walked {
            // F-010: the walk began with the first that may lack a footer.
            if unsealed.is_none() && !segment.has_footer(files)? {
                unsealed = Some(segment.base());
            }
        }
        let after_last = files.control.size.next_base(last).unwrap_or(Lsn::MAX);
        Ok(Survey {
            bases: bases[..kept].to_vec(),
            later,
            chain: *self.cursor.chain(),
            history: self.history,
            known,
            unsealed: unsealed.unwrap_or(after_last),
            walked: self.walked,
            lost,
            clean: false,
            names,
        })
    }
}

impl Walked {
    /// Whether the segment is sealed, by a footer that agrees with its records.
    fn has_footer(&self, files: &Files<'_>) -> Result<bool> {
        let Some(roll) = self.roll else { return Ok(false) };
        match files.footer(self.base())? {
            Some(footer) if footer.records == self.records && footer.last == roll => Ok(true),
            Some(_) => Err(files.view.damaged(self.base(), "its footer does not agree with its records".into())),
            None => Ok(false),
        }
    }
}

/// Tells a torn tail from corruption; returns what was lost by cutting below D, with leave.
fn judge(files: &Files<'_>, bases: &[Lsn], walk: &Walk, stop: Stop, below: BelowDurable) -> Result<Option<Lsn>> {
    let position = walk.cursor.position();
    let (fault, extent) = match &stop {
        Stop::Bad(bad) => (bad.fault, bad.extent),
        Stop::Zeros | Stop::NoNext | Stop::NotBegun | Stop::BadHeader(_) => (Fault::Missing, None),
    };
    let evidence = Evidence { files, walk, bases, position, extent };
    let durable = match walk.known {
        known if position < known => Some(known),
        // A whole record in its place that says the impossible was written like this, not torn (F-020, F-022, F-023).
        _ if !fault.can_be_torn() => Some(position),
        _ => evidence.promise()?,
    };
    match (durable, below) {
        (None, _) => Ok(None),
        (Some(durable), BelowDurable::Cut) => Ok(Some(durable)),
        (Some(_), BelowDurable::Refuse) => Err(match stop {
            Stop::BadHeader(error) => error,
            Stop::NotBegun => files.view.damaged(files.control.size.base_of(position), "its header is empty".into()),
            _ => files.view.corrupt(position, fault),
        }),
    }
}

fn inside_a_record(files: &Files<'_>, known: Lsn) -> Error {
    Error::Damaged {
        path: files.view.dir.path_hint(),
        file: crate::control_file::NAME.to_owned(),
        fault: format!("it says that the log is durable up to {known}, which is inside a record"),
    }
}
