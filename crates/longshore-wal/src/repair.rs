//! Putting a good copy in the place of one damaged, or missing, sealed segment.
//!
//! The copy is first written beside the damaged file and checked there: its header, every record, its footer and digest,
//! that it continues the segment before it and that the one after continues it. Only then is the damaged file renamed to
//! `<name>.corrupt-<unixtime>` and the copy to its name, with the directory synced after each. Whenever it is
//! interrupted, the log is as damaged as it was or repaired, the damaged bytes are kept, and running it again finishes
//! the work.
//!
//! What ties the copy to this log is stronger than checksums: its footer names the BLAKE3 digest of the segment before it,
//! and the next segment's names the copy's.

use std::io::Read;
use std::sync::Arc;

use longshore_format::{Chain, Control, Digest, ErrorKind, Footer, FooterFault, HeaderFault, Lsn, SegmentHeader, SegmentSize};
use longshore_storage::{Access, Directory, File, Trouble};

use crate::Error;
use crate::control_file::ControlFile;
use crate::inspect::{self, Before, Depth, Examined, Finding};
use crate::names::CORRUPT;
use crate::window::Pool;

/// What a repair would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The segment: its base.
    pub base: Lsn,
    /// Its file.
    pub file: String,
    /// How many bytes the copy has, and must fit on the disk beside what is there.
    pub size: u64,
    /// What is wrong with it now.
    pub findings: Vec<Finding>,
    /// The digest that the copy must have, as far as this log says: its own footer, or the next segment's.
    pub digest: Option<Digest>,
    /// What the segment before has, which the copy must name; `None` only if that one is damaged too.
    pub previous: Option<Digest>,
    /// The name under which the damaged file is kept; `None` if there is none.
    pub aside: Option<String>,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was planned.
    pub plan: Plan,
    /// The digest of the segment now.
    pub digest: Digest,
    /// How many records it has.
    pub records: u64,
}

/// Why a segment was not repaired. Nothing was replaced, unless the error comes from the last steps, which says so by
/// being [`RepairError::Log`] with an operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The log itself cannot be read well enough, or is in use.
    #[error(transparent)]
    Log(#[from] Error),
    /// The number is no segment's.
    #[error("{asked} is no segment of this log; its segments begin at multiples of {size}")]
    NotASegment {
        /// What was asked for.
        asked: Lsn,
        /// The segment size.
        size: SegmentSize,
    },
    /// The segment is where the log is still being written.
    #[error("segment {base} is not sealed: what is wrong at a log's end is judged when it is opened")]
    NotSealed {
        /// Which.
        base: Lsn,
    },
    /// There is nothing to repair.
    #[error("segment {base} is intact; nothing to repair")]
    Intact {
        /// Which.
        base: Lsn,
    },
    /// The segment before is damaged too, so that nothing proves where this one continues.
    #[error("the segment before, {base}, is damaged too; repair that one first")]
    PreviousDamaged {
        /// That one.
        base: Lsn,
    },
    /// The copy could not be read.
    #[error("the copy could not be read: {0}; try another source")]
    Source(#[source] std::io::Error),
    /// The copy does not hold.
    #[error("the copy is no good: {0}; try another source")]
    BadCopy(Finding),
    /// The copy is whole, but not of these bytes.
    #[error("the copy has digest {found}, this log's segment has {expected}: the histories differ, take another source")]
    OtherBytes {
        /// What this log says the segment has.
        expected: Digest,
        /// What the copy has.
        found: Digest,
    },
    /// The copy does not join what comes after it here.
    #[error("the segment after does not continue the copy: the histories differ, take another source")]
    DoesNotJoin,
}

impl RepairError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RepairError::Log(error) => error.kind(),
            RepairError::NotASegment { .. } | RepairError::NotSealed { .. } | RepairError::Intact { .. } => {
                ErrorKind::Invalid
            }
            RepairError::PreviousDamaged { .. } => ErrorKind::Preflight,
            RepairError::Source(_) => ErrorKind::Unavailable,
            RepairError::BadCopy(_) => ErrorKind::Corrupt,
            RepairError::OtherBytes { .. } | RepairError::DoesNotJoin => ErrorKind::Diverged,
        }
    }
}

type Result<T, E = RepairError> = std::result::Result<T, E>;

/// Looks what a repair of the segment at `base` would do at `now` (seconds since 1970 UTC), and changes nothing.
pub fn plan(dir: &Arc<dyn Directory>, base: Lsn, now: u64) -> Result<Plan> {
    Site::survey(dir, base).map(|site| site.plan(now))
}

/// Replaces the segment at `base` by the bytes of `source`, which are those of a whole sealed segment file: another
/// directory's ([`open_copy`]) or a peer's. Takes the log's lock: nobody may have it open. `now`, in seconds since 1970
/// UTC, names the damaged file that is kept.
pub fn repair(dir: &Arc<dyn Directory>, base: Lsn, now: u64, source: &mut dyn Read) -> Result<Repaired> {
    let _lock = dir.lock().map_err(Error::io("lock the log"))?;
    let site = Site::survey(dir, base)?;
    let plan = site.plan(now);
    let temporary = format!("{base:020}{TEMPORARY}");
    remove_if_there(dir, &temporary)?;
    let free = dir.free_space().map_err(Error::io("ask for free space"))?;
    if free < plan.size {
        return Err(Error::Full(crate::Full::NoSpace { needed: plan.size }).into());
    }
    let checked = site.bring_in(&temporary, source).and_then(|file| {
        let checked = site.check(&file)?;
        file.sync().map_err(Error::io("sync the copy"))?;
        Ok(checked)
    });
    let (digest, records) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            remove_if_there(dir, &temporary)?;
            return Err(error);
        }
    };
    put_in_place(dir, &plan, &temporary)?;
    Ok(Repaired { plan, digest, records })
}

/// The bytes of the segment at `base` in another copy of the log, to repair from.
pub fn open_copy(dir: &Arc<dyn Directory>, base: Lsn) -> Result<impl Read + use<>> {
    let size = ControlFile::read(dir)?.size;
    let file = dir.open(&size.file_name(base), Access::Read).map_err(Error::io("open the copy"))?;
    Ok(Bytes { file, offset: 0 })
}

/// A file read from its beginning.
struct Bytes {
    file: Arc<dyn File>,
    offset: u64,
}

impl Read for Bytes {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A damaged segment and its neighbours.
struct Site<'a> {
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
}

impl<'a> Site<'a> {
    fn survey(dir: &'a Arc<dyn Directory>, base: Lsn) -> Result<Site<'a>> {
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
        let mut site = Site {
            dir,
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

    fn plan(&self, now: u64) -> Plan {
        let file = self.size().file_name(self.base);
        Plan {
            base: self.base,
            size: self.size().get(),
            findings: self.findings.clone(),
            digest: self.named_by_next.or(self.own),
            previous: self.previous,
            aside: self.there.then(|| format!("{file}{}{now}", CORRUPT)),
            file,
        }
    }

    /// Writes the copy to a file of its own, and nothing more than a segment's worth.
    fn bring_in(&self, name: &str, source: &mut dyn Read) -> Result<Arc<dyn File>> {
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
    fn check(&self, file: &Arc<dyn File>) -> Result<(Digest, u64)> {
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

/// The damaged file goes aside, durably, before the copy takes its name: at no moment is a crash able to lose either.
fn put_in_place(dir: &Arc<dyn Directory>, plan: &Plan, temporary: &str) -> Result<()> {
    // The copy's own name first, so that it cannot vanish together with the damaged one.
    dir.sync().map_err(Error::io("sync the log's directory"))?;
    if let Some(aside) = &plan.aside {
        dir.rename(&plan.file, aside).map_err(Error::io("put the damaged segment aside"))?;
        dir.sync().map_err(Error::io("sync the log's directory"))?;
    }
    dir.rename(temporary, &plan.file).map_err(Error::io("put the copy in place; run the repair again"))?;
    Ok(dir.sync().map_err(Error::io("sync the log's directory"))?)
}

fn remove_if_there(dir: &Arc<dyn Directory>, name: &str) -> Result<()> {
    match dir.remove(name) {
        Err(error) if Trouble::of(&error) != Trouble::NotFound => {
            Err(Error::io("remove an unfinished copy")(error).into())
        }
        _ => Ok(()),
    }
}

/// A name that opening the log removes, if a crash left it.
const TEMPORARY: &str = ".repair.tmp";
/// How much of a copy is in memory at once.
const PIECE: usize = 1 << 20;
