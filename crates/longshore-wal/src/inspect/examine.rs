//! The whole log, segment by segment.

use std::sync::Arc;

use longshore_format::{Control, Corruption, Digest, Fault, Lsn, SegmentSize};
use longshore_storage::{Access, Directory, Trouble};

use super::beyond::Beyond;
use super::names::{SegmentName, sorted_out};
use super::{Before, Depth, Examined, Finding, Other, SegmentReport, State, examine_segment};
use crate::Result;
use crate::control_file::ControlFile;
use crate::window::Pool;

/// What a log's directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it is, for people.
    pub path: String,
    /// The control file: identity, lives, replicas, and what is known durable.
    pub control: Control,
    /// How closely it was looked.
    pub depth: Depth,
    /// The segments, oldest first; a missing range is an entry too.
    pub segments: Vec<SegmentReport>,
    /// The first position.
    pub first: Lsn,
    /// Where the log ends, and how.
    pub tail: Tail,
    /// What else is in the directory.
    pub others: Vec<Other>,
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where the last good record ends.
    pub end: Lsn,
    /// What stands there, if it is neither nothing nor a clean end. At or behind the durable watermark it is what a crash
    /// leaves, or what a living owner is just writing, and is cut at the next open; before it, it is damage.
    pub torn: Option<Fault>,
}

impl Report {
    /// Whether nothing is damaged, as far as it was looked. A torn tail is no damage.
    pub fn is_intact(&self) -> bool {
        self.segments.iter().all(SegmentReport::is_intact)
    }

    /// The damage, with the segment it is in.
    pub fn damage(&self) -> impl Iterator<Item = (&SegmentReport, &Finding)> {
        let findings = |segment| SegmentReport::damage(segment).map(move |finding| (segment, finding));
        self.segments.iter().flat_map(findings)
    }
}

impl SegmentReport {
    fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_damage())
    }
}

/// Looks through the log in `dir`. Fails only if there is no control file to go by, or the directory cannot be listed.
///
/// What a living owner does meanwhile can look like damage, such as a segment that was not begun yet when it was looked
/// at, though the next one was. Damage that is found while the log moves is therefore looked for again.
pub fn examine(dir: &Arc<dyn Directory>, depth: Depth) -> Result<Report> {
    let mut report = look_through(dir, depth)?;
    for _ in 0..RETRIES {
        if report.is_intact() || ControlFile::read(dir)?.durable == report.control.durable {
            break;
        }
        report = look_through(dir, depth)?;
    }
    Ok(report)
}

const RETRIES: usize = 3;

fn look_through(dir: &Arc<dyn Directory>, depth: Depth) -> Result<Report> {
    let control = ControlFile::read(dir)?;
    let (names, others) = sorted_out(dir.as_ref(), control.size)?;
    let mut examiner = Examiner {
        dir,
        control: &control,
        depth,
        pool: Arc::default(),
        before: Before { log: control.log, content: control.content, size: control.size, end: None, digest: None },
        durable: control.known_durable(),
        tail: None,
        beyond: None,
        segments: Vec::new(),
        unsealed: Vec::new(),
    };
    names.iter().for_each(|name| examiner.look(name));
    examiner.judge_tail();
    examiner.judge_unsealed();
    let size = control.size;
    let first = examiner.segments.first().map_or(size.first_in(Lsn::ZERO), |segment| size.first_in(segment.base));
    examiner.judge_reach(first);
    let tail = examiner.tail.unwrap_or_else(|| Tail { end: examiner.last_known_end(first), torn: None });
    let segments = examiner.segments;
    Ok(Report { path: dir.path_hint(), control, depth, segments, first, tail, others })
}

struct Examiner<'a> {
    dir: &'a Arc<dyn Directory>,
    control: &'a Control,
    depth: Depth,
    pool: Arc<Pool>,
    /// What the next segment is held against.
    before: Before,
    /// What is known durable by this node's own word.
    durable: Lsn,
    /// Set where the log ends; what follows is behind the end.
    tail: Option<Tail>,
    /// Where records of ours that vouch for the end may be, if it is not clean.
    beyond: Option<Beyond>,
    segments: Vec<SegmentReport>,
    /// The segments that have a header and no good footer: their places in `segments`, and what their footers are.
    unsealed: Vec<(usize, longshore_format::FooterFault)>,
}

impl Examiner<'_> {
    fn look(&mut self, name: &SegmentName) {
        self.look_for_gap(name.base);
        let examined = self.open_and_examine(name);
        match examined {
            Ok(Some(examined)) => self.take(examined),
            // Trimmed by a living owner between listing and opening.
            Ok(None) if self.segments.is_empty() => {}
            Ok(None) => {
                let to = self.size().next_base(name.base).unwrap_or(Lsn::MAX);
                self.give_up(name, Finding::Missing { from: name.base, to });
            }
            Err(finding) => self.give_up(name, finding),
        }
    }

    fn size(&self) -> SegmentSize {
        self.before.size
    }

    fn look_for_gap(&mut self, base: Lsn) {
        let Some(last) = self.segments.last() else {
            if base == Lsn::ZERO {
                self.before.digest = Some(Digest::NONE);
            }
            return;
        };
        let next = self.size().next_base(last.base).unwrap_or(Lsn::MAX);
        if next == base || last.state == State::Prepared || self.tail.is_some() {
            return;
        }
        let missing = Finding::Missing { from: next, to: base };
        self.segments.push(SegmentReport::unknown(next, self.size().file_name(next), missing));
        (self.before.end, self.before.digest) = (None, None);
    }

    fn open_and_examine(&self, name: &SegmentName) -> Result<Option<Examined>, Finding> {
        if !name.regular {
            return Err(Finding::NotAFile);
        }
        let file = match self.dir.open(&name.name, Access::Read) {
            Ok(file) => file,
            Err(error) if Trouble::of(&error) == Trouble::NotFound => return Ok(None),
            Err(error) => return Err(Finding::unreadable(0, &error)),
        };
        examine_segment(&file, name.base, &self.before, self.depth, &self.pool).map(Some)
    }

    fn give_up(&mut self, name: &SegmentName, finding: Finding) {
        // What stands behind the end, a torn header above all, is removed at the next open: no damage.
        let behind = self.durable <= self.size().first_in(name.base);
        let mut report = SegmentReport::unknown(name.base, name.name.clone(), finding);
        if behind && self.tail.is_none() {
            let torn = Some(Fault::Missing);
            self.tail = Some(Tail { end: self.last_known_end(self.size().first_in(name.base)), torn });
        }
        if behind {
            (report.state, report.findings) = (State::AfterEnd, Vec::new());
        }
        self.segments.push(report);
        (self.before.end, self.before.digest) = (None, None);
    }

    fn take(&mut self, examined: Examined) {
        let end = examined.end();
        let Examined { mut report, header, footer, footer_fault, scanned } = examined;
        if header.is_none() {
            self.segments.push(report);
            return;
        }
        if self.tail.is_some() {
            report.state = State::AfterEnd;
            report.findings.clear();
            self.segments.push(report);
            return;
        }
        self.data_after_prepared();
        if let Some(fault) = footer_fault {
            self.unsealed.push((self.segments.len(), fault));
        }
        if let Some(scanned) = scanned.as_ref().filter(|_| footer.is_none())
            && let Some(corruption) = scanned.corruption(self.size())
        {
            self.end_at(&mut report, corruption);
            let extent = scanned.stop.and_then(|bad| bad.extent);
            self.beyond = Some(Beyond { corruption, extent, chain: scanned.end });
        }
        self.segments.push(report);
        (self.before.end, self.before.digest) = (end, footer.map(|footer| footer.digest));
    }

    /// The log ends here, or there is damage here.
    fn end_at(&mut self, report: &mut SegmentReport, corruption: Corruption) {
        let Corruption { position, fault, .. } = corruption;
        let ordinary = matches!(fault, Fault::Missing);
        if position < self.durable || !fault.can_be_torn() {
            report.state = State::Unknown;
            report.findings.push(Finding::Record(corruption));
            return;
        }
        self.tail = Some(Tail { end: position, torn: (!ordinary).then_some(fault) });
    }

    /// F-004 against F-005: if a later record of ours says that the place was durable, it is damaged, not torn.
    fn judge_tail(&mut self) {
        let (Some(tail), Some(beyond)) = (self.tail, &self.beyond) else { return };
        let size = self.size();
        let here = size.base_of(tail.end);
        let bases = self.segments.iter().map(|segment| segment.base).filter(|base| here <= *base);
        if !beyond.is_vouched_for(self.dir, self.control, bases) {
            return;
        }
        let damage = Finding::Record(beyond.corruption);
        if let Some(report) = self.segments.iter_mut().find(|segment| segment.base == here) {
            report.findings.push(damage);
        }
    }

    /// F-040: a segment that was never begun stands before one with records.
    fn data_after_prepared(&mut self) {
        for earlier in self.segments.iter_mut().filter(|earlier| earlier.state == State::Prepared) {
            earlier.state = State::Unknown;
            earlier.findings.push(Finding::Header(longshore_format::HeaderFault::Empty));
        }
    }

    /// F-010: segments are sealed in order, so those that lack a footer are the last ones. They are two, or as many as a burst
    /// ran over before anything of it was durable.
    fn judge_unsealed(&mut self) {
        let sealed = self.segments.iter().rfind(|segment| segment.state == State::Sealed).map(|segment| segment.base);
        for (index, fault) in std::mem::take(&mut self.unsealed) {
            let report = &mut self.segments[index];
            if Some(report.base) < sealed {
                report.findings.push(Finding::Footer(fault));
            }
        }
    }

    /// F-033: what is known durable must be there.
    fn judge_reach(&mut self, first: Lsn) {
        let end = self.tail.map_or_else(|| self.last_known_end(first), |tail| tail.end);
        let already = !self.segments.iter().all(SegmentReport::is_intact);
        if already || self.durable <= self.size().normalise(end) {
            return;
        }
        let from = self.size().base_of(end);
        let missing = Finding::Missing { from: end, to: self.durable };
        match self.segments.iter_mut().find(|segment| segment.base == from) {
            Some(report) => report.findings.push(missing),
            None => {
                let file = self.size().file_name(from);
                self.segments.push(SegmentReport::unknown(from, file, missing));
            }
        }
    }

    /// Where the last segment with records ends, if no tail was found in it.
    fn last_known_end(&self, none: Lsn) -> Lsn {
        let last = self.segments.iter().rfind(|segment| matches!(segment.state, State::Sealed | State::Full));
        let next = last.and_then(|segment| self.size().next_base(segment.base));
        next.map_or(none, |next| self.size().first_in(next))
    }
}
