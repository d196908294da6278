//! One segment: what it is, and what is wrong with it.

use std::sync::Arc;

use longshore_format::{
    Chain, Content, Corruption, Digest, EpochEntry, Fault, Footer, FooterFault, HeaderFault, LogId, Lsn, SegmentHeader,
    SegmentSize,
};
use longshore_storage::File;

use super::{Finding, Scanned, digest_of, scan};
use crate::window::Pool;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Headers, footers and how they join, and every record that is not sealed yet. Takes milliseconds a segment.
    Seals,
    /// Every byte: each record, and the digest of each sealed segment.
    Records,
}

/// What a segment file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Full and sealed.
    Sealed,
    /// Full; its footer is not there yet.
    Full,
    /// The last one with records, to be gone on in.
    Active,
    /// Prepared; nothing was ever written to it.
    Prepared,
    /// Behind the end of the log: a crash left it, and the next open removes it.
    AfterEnd,
    /// Too damaged to tell, or not there.
    Unknown,
}

impl State {
    /// The state as JSON output spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Sealed => "sealed",
            State::Full => "full",
            State::Active => "active",
            State::Prepared => "prepared",
            State::AfterEnd => "after-end",
            State::Unknown => "unknown",
        }
    }
}

/// What was found about one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its base: the number in its file's name.
    pub base: Lsn,
    /// Its file.
    pub file: String,
    /// What it is.
    pub state: State,
    /// Where its last record ends.
    pub last: Lsn,
    /// How many records it has, the log's own included, as far as they hold.
    pub records: Option<u64>,
    /// The digest in its footer.
    pub digest: Option<Digest>,
    /// The time of the record before its first, in microseconds UTC; zero at a log's beginning.
    pub since: u64,
    /// The life its first record is in, then those that begin in it, as far as it was looked.
    pub lives: Vec<EpochEntry>,
    /// Whether every byte of it was looked at.
    pub proved: bool,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl SegmentReport {
    /// Whether nothing is damaged, as far as it was looked.
    pub fn is_intact(&self) -> bool {
        !self.findings.iter().any(Finding::is_damage)
    }

    pub(crate) fn unknown(base: Lsn, file: String, finding: Finding) -> SegmentReport {
        SegmentReport {
            base,
            file,
            state: State::Unknown,
            last: base,
            records: None,
            digest: None,
            since: 0,
            lives: Vec::new(),
            proved: false,
            findings: vec![finding],
        }
    }
}

/// What a segment is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pub(crate) log: LogId,
    pub(crate) content: Content,
    pub(crate) size: SegmentSize,
    /// The state behind the segment before, if it is known.
    pub(crate) end: Option<Chain>,
    /// The digest of the segment before, if it is known.
    pub(crate) digest: Option<Digest>,
}

/// A segment's report, and what the next one is held against.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) report: SegmentReport,
    pub(crate) header: Option<SegmentHeader>,
    /// Of a sealed segment.
    pub(crate) footer: Option<Footer>,
    pub(crate) footer_fault: Option<FooterFault>,
    pub(crate) scanned: Option<Scanned>,
}

/// Looks at one segment. What depends on its place in the log, such as whether it may lack a footer, is the caller's.
pub(crate) fn examine_segment(
    file: &Arc<dyn File>,
    base: Lsn,
    before: &Before,
    depth: Depth,
    pool: &Arc<Pool>,
) -> Result<Examined, Finding> {
    let size = before.size;
    let header = match read_header(file.as_ref(), base, before)? {
        Head::Prepared => return Ok(Examined::prepared(base, size)),
        Head::Good(header) => header,
    };
    let footer = read_footer(file.as_ref(), base, size)?;
    let mut report = SegmentReport {
        state: if footer.is_ok() { State::Sealed } else { State::Active },
        last: header.chain.position,
        since: header.chain.time,
        lives: vec![header.chain.life],
        findings: Vec::new(),
        ..SegmentReport::unknown(base, size.file_name(base), Finding::Index)
    };
    if before.end.is_some_and(|end| end != header.chain) {
        report.findings.push(Finding::Linkage);
    }
    let scanned = match footer.is_err() || depth == Depth::Records {
        true => Some(scan(&header, file, pool)?),
        false => None,
    };
    if let Ok(footer) = &footer {
        report.hold_against_footer(footer, before, scanned.is_some());
        if let Some(scanned) = &scanned {
            report.prove(footer, scanned, file.as_ref(), size)?;
        }
    }
    if let Some(scanned) = &scanned {
        report.take(scanned, footer.is_ok());
    }
    let footer_fault = footer.as_ref().err().copied();
    Ok(Examined { report, header: Some(header), footer: footer.ok(), footer_fault, scanned })
}

impl Examined {
    fn prepared(base: Lsn, size: SegmentSize) -> Examined {
        let unknown = SegmentReport::unknown(base, size.file_name(base), Finding::Index);
        let report = SegmentReport { state: State::Prepared, findings: Vec::new(), proved: true, ..unknown };
        Examined { report, header: None, footer: None, footer_fault: None, scanned: None }
    }

    /// The state that the next segment must begin with.
    pub(crate) fn end(&self) -> Option<Chain> {
        self.scanned.as_ref().filter(|scanned| scanned.full).map(|scanned| scanned.end)
    }
}

impl SegmentReport {
    /// What the footer alone says.
    fn hold_against_footer(&mut self, footer: &Footer, before: &Before, scanned: bool) {
        self.digest = Some(footer.digest);
        self.last = footer.last;
        self.records = Some(footer.records);
        if let Some(found) = before.digest
            && found != footer.previous
        {
            self.findings.push(Finding::Predecessor { named: footer.previous, found });
        }
        if footer.index.is_none() && !scanned {
            self.findings.push(Finding::Index);
        }
    }

    /// Holds the footer against the bytes it seals.
    fn prove(&mut self, footer: &Footer, scanned: &Scanned, file: &dyn File, size: SegmentSize) -> Result<(), Finding> {
        self.proved = true;
        if let Some(corruption) = scanned.corruption(size) {
            self.findings.push(Finding::Record(corruption));
        }
        let zeros_from = if scanned.full { scanned.used } else { u64::MAX };
        let (digest, stray) = digest_of(file, size, zeros_from)?;
        if let Some(offset) = stray {
            let position = self.base.checked_add(offset).unwrap_or(Lsn::MAX);
            let corruption = Corruption { segment: self.base, position, fault: Fault::NotZero };
            self.findings.push(Finding::Record(corruption));
        }
        if digest != footer.digest {
            self.findings.push(Finding::Digest { sealed: footer.digest, found: digest });
        }
        if scanned.full {
            for (what, same) in [
                ("number of records", scanned.records == footer.records),
                ("last position", scanned.last == footer.last),
            ] {
                if !same {
                    self.findings.push(Finding::FooterDisagrees { what });
                }
            }
            if footer.index.as_ref() != Some(&scanned.index) {
                self.findings.push(Finding::Index);
            }
        }
        Ok(())
    }

    fn take(&mut self, scanned: &Scanned, sealed: bool) {
        self.records = Some(scanned.records);
        self.last = scanned.last;
        self.proved = true;
        if !sealed && scanned.full {
            self.state = State::Full;
        }
        let lives = scanned.history.entries();
        let known = lives.iter().position(|life| *life == self.lives[0]);
        self.lives.extend_from_slice(&lives[known.map_or(0, |index| index + 1)..]);
    }
}

enum Head {
    Prepared,
    Good(SegmentHeader),
}

fn read_header(file: &dyn File, base: Lsn, before: &Before) -> Result<Head, Finding> {
    let mut bytes = vec![0; SegmentHeader::LEN];
    let read = file.read_at(&mut bytes, 0).map_err(|error| Finding::unreadable(0, &error))?;
    if read == 0 {
        // F-040
        return Ok(Head::Prepared);
    }
    let header = match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) => header,
        Err(HeaderFault::Empty) => return Ok(Head::Prepared),
        Err(fault) => return Err(fault.into()),
    };
    if header.log != before.log {
        return Err(Finding::OtherLog { found: header.log });
    }
    if header.content != before.content || header.size != before.size {
        return Err(Finding::OtherShape);
    }
    if header.base() != base {
        return Err(Finding::OtherPlace { found: header.base() });
    }
    Ok(Head::Good(header))
}

fn read_footer(file: &dyn File, base: Lsn, size: SegmentSize) -> Result<Result<Footer, FooterFault>, Finding> {
    let offset = size.body_end_offset();
    let mut bytes = vec![0; size.footer_len() as usize];
    let read = file.read_at(&mut bytes, offset).map_err(|error| Finding::unreadable(offset, &error))?;
    if read < bytes.len() {
        return Ok(Err(FooterFault::Short));
    }
    Ok(Footer::decode(&bytes, base, size))
}
