//! The place of a damaged segment: what this log itself knows about the bytes that belong there.

use std::io::Read;
use std::sync::Arc;

use longshore_format::{Chain, Control, Digest, Footer, FooterFault, HeaderFault, Lsn, SegmentHeader, SegmentSize};
use longshore_storage::{Access, Directory, File, Trouble};

use super::{Plan, RepairError, Result};
use crate::Error;
use crate::control_file::ControlFile;
use crate::inspect::{self, Before, Depth, Examined, Finding};
use crate::names::CORRUPT;
use crate::window::Pool;

/// A damaged segment and its neighbours.
pub(super) struct Site<'a> {
    dir: &'a Arc<dyn Directory>,
    control: Control,
    base: Lsn,
    findings: Vec<Finding>,
    /// Whether there is a file of its name.
    there: bool,
    /// The digest in its own footer, if that holds.
    own: Option<Digest>,
    /// The digest of the segment before, if anything says so.
    previous: Option<Digest>,
    /// What the segment after begins with, if it is there and holds.
    next: Option<Chain>,
    /// What the segment after says that this one's digest is, if it is sealed.
    named_by_next: Option<Digest>,
    pool: Arc<Pool>,
    /// Every name in the directory.
    names: Vec<String>,
}

impl<'a> Site<'a> {
    pub(super) fn survey(dir: &'a Arc<dyn Directory>, base: Lsn) -> Result<Site<'a>> {
        let control = ControlFile::read(dir)?;
        let size = control.size;
        if size.offset_in(base) != 0 {
            return Err(RepairError::NotASegment { asked: base, size });
        }
        let pool = Arc::default();
        let unknown = Before { log: control.log, content: control.content, size, end: None, digest: None };
        let look = |base, depth| examine(dir, base, &unknown, depth, &pool);
        let next = size.next_base(base).map_or(Look::Absent, |next| look(next, Depth::Seals));
        let next_header = next.examined().and_then(|next| next.header.clone());
        let durable = size.normalise(control.durable);
        if durable < size.next_base(base).map_or(Lsn::MAX, |next| size.first_in(next)) && next_header.is_none() {
            return Err(RepairError::NotSealed { base });
        }
        let here = look(base, Depth::Records);
        let own = here.examined().and_then(|here| here.footer.as_ref()).map(|footer| footer.digest);
        let named_by_next = next.examined().and_then(|next| next.footer.as_ref()).map(|footer| footer.previous);
        let names = dir.list().map_err(Error::io("list the log's directory"))?;
        let mut site = Site {
            dir,
            names: names.into_iter().map(|entry| entry.name).collect(),
            base,
            there: !matches!(here, Look::Absent),
            findings: Vec::new(),
            own,
            previous: None,
            next: next_header.map(|header| header.chain),
            named_by_next,
            pool: Arc::clone(&pool),
            control,
        };
        site.previous = site.digest_before(&look)?;
        site.findings = site.findings_of(here);
        if site.findings.iter().all(|finding| !finding.is_damage()) {
            return Err(RepairError::Intact { base });
        }
        Ok(site)
    }

    fn size(&self) -> SegmentSize {
        self.control.size
    }

    /// What the copy's footer must name as the digest of the segment before.
    fn digest_before(&self, look: &dyn Fn(Lsn, Depth) -> Look) -> Result<Option<Digest>> {
        let Some(before) = self.base.checked_sub(self.size().get()) else { return Ok(Some(Digest::NONE)) };
        match look(before, Depth::Seals) {
            // The log begins here on this node, or the one before was trimmed.
            Look::Absent => Ok(self.control.before),
            Look::Seen(examined) => match examined.footer {
                Some(footer) => Ok(Some(footer.digest)),
                None => Err(RepairError::PreviousDamaged { base: before }),
            },
            Look::Bad(_) => Err(RepairError::PreviousDamaged { base: before }),
        }
    }

    fn findings_of(&self, here: Look) -> Vec<Finding> {
        let size = self.size();
        let mut findings = match here {
            Look::Absent => {
                let to = size.next_base(self.base).unwrap_or(Lsn::MAX);
                vec![Finding::Missing { from: self.base, to }]
            }
            Look::Bad(finding) => vec![finding],
            Look::Seen(here) => {
                let mut findings = here.report.findings;
                if here.header.is_none() {
                    findings.push(Finding::Header(HeaderFault::Empty));
                }
                findings.extend(here.footer_fault.map(Finding::Footer));
                if let (Some(named), Some(footer)) = (self.previous, &here.footer)
                    && footer.previous != named
                {
                    findings.push(Finding::Predecessor { named: footer.previous, found: named });
                }
                findings
            }
        };
        if let (Some(named), Some(own)) = (self.named_by_next, self.own)
            && named != own
        {
            findings.push(Finding::Digest { sealed: named, found: own });
        }
        findings
    }

    /// What was put aside before keeps its name.
    fn name_aside(&self, file: &str, now: u64) -> String {
        let taken = |name: &String| self.names.contains(name);
        (now..).map(|second| format!("{file}{CORRUPT}{second}")).find(|name| !taken(name)).expect("names are many")
    }

    pub(super) fn plan(&self, now: u64) -> Plan {
        let file = self.size().file_name(self.base);
        Plan {
            base: self.base,
            size: self.size().get(),
            findings: self.findings.clone(),
            digest: self.named_by_next.or(self.own),
            previous: self.previous,
            aside: self.there.then(|| self.name_aside(&file, now)),
            file,
        }
    }

    /// Writes the copy to a file of its own, and nothing more than a segment's worth.
    pub(super) fn bring_in(&self, name: &str, source: &mut dyn Read) -> Result<Arc<dyn File>> {
        let file = self.dir.create(name).map_err(Error::io("create a file for the copy"))?;
        let size = self.size().get();
        file.allocate(size).map_err(Error::io("allocate a file for the copy"))?;
        let mut buffer = vec![0; PIECE];
        let mut offset = 0;
        while offset < size {
            let wanted = (size - offset).min(PIECE as u64) as usize;
            let read = match source.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(RepairError::BadCopy(Finding::Length { len: offset, size })),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RepairError::Source(error)),
            };
            file.write_all_at(&buffer[..read], offset).map_err(Error::io("write the copy"))?;
            offset += read as u64;
        }
        Ok(file)
    }

    /// Checks the copy as it stands in its file: by itself, and against everything this log knows about it.
    pub(super) fn check(&self, file: &Arc<dyn File>) -> Result<(Digest, u64)> {
        let Control { log, content, size, .. } = self.control;
        let before = Before { log, content, size, end: None, digest: self.previous };
        let seen = inspect::examine_segment(file, self.base, &before, Depth::Records, &self.pool);
        let seen = seen.map_err(RepairError::BadCopy)?;
        if let Some(finding) = seen.report.findings.iter().find(|finding| finding.is_damage()) {
            return Err(RepairError::BadCopy(finding.clone()));
        }
        let (Some(footer), Some(scanned), Some(header)) = (&seen.footer, &seen.scanned, &seen.header) else {
            let fault = seen.footer_fault.unwrap_or(FooterFault::Missing);
            return Err(RepairError::BadCopy(Finding::Footer(fault)));
        };
        for expected in [self.named_by_next, self.own].into_iter().flatten() {
            if expected != footer.digest {
                return Err(RepairError::OtherBytes { expected, found: footer.digest });
            }
        }
        if self.next.is_some_and(|next| next != scanned.end) {
            return Err(RepairError::DoesNotJoin);
        }
        self.write_footer(file, header, footer, scanned)?;
        Ok((footer.digest, footer.records))
    }

    /// The copy's index may be damaged, which is no damage to its bytes: it gets the one its records give.
    fn write_footer(
        &self,
        file: &Arc<dyn File>,
        header: &SegmentHeader,
        footer: &Footer,
        scanned: &inspect::Scanned,
    ) -> Result<()> {
        let footer = Footer { index: Some(scanned.index.clone()), ..footer.clone() };
        let bytes = footer.encode(header.size).expect("a segment has no more entries than its index can have");
        let write = file.write_all_at(&bytes, header.size.body_end_offset());
        Ok(write.map_err(Error::io("write the copy"))?)
    }
}

/// How looking at a segment turned out.
enum Look {
    Absent,
    Bad(Finding),
    Seen(Box<Examined>),
}

impl Look {
    fn examined(&self) -> Option<&Examined> {
        match self {
            Look::Seen(examined) => Some(examined),
            Look::Absent | Look::Bad(_) => None,
        }
    }
}

fn examine(dir: &Arc<dyn Directory>, base: Lsn, before: &Before, depth: Depth, pool: &Arc<Pool>) -> Look {
    let file = match dir.open(&before.size.file_name(base), Access::Read) {
        Ok(file) => file,
        Err(error) if Trouble::of(&error) == Trouble::NotFound => return Look::Absent,
        Err(error) => return Look::Bad(Finding::unreadable(0, &error)),
    };
    match inspect::examine_segment(&file, base, before, depth, pool) {
        Ok(examined) => Look::Seen(Box::new(examined)),
        Err(finding) => Look::Bad(finding),
    }
}

/// How much of a copy is in memory at once.
const PIECE: usize = 1 << 20;
