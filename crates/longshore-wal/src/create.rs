//! Making a new log.

use std::sync::Arc;

use longshore_format::{
    Chain, Content, Control, Digest, Epoch, EpochEntry, EpochHistory, Incarnation, LogId, Lsn, Policy, SegmentHeader,
    SegmentSize, WriterId,
};
use longshore_storage::{Access, Directory, Environment, File, Trouble};

use crate::control_file::{self, ControlFile};
use crate::names::{LOCK, Names};
use crate::prepare::{TEMPORARY, remove_if_there};
use crate::{Error, Result, Wal};

/// What a new log is to be.
#[derive(Clone, Debug, Default)]
pub struct CreateSpec {
    /// Its identity; drawn at random unless given.
    pub log: Option<LogId>,
    /// What its records mean.
    pub content: Content,
    /// The size of its segments.
    pub segment_size: SegmentSize,
}

/// Where a follower's new log begins, as its upstream says ([`Wal::start_point`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerSpec {
    /// The header of the first segment it will hold.
    pub header: SegmentHeader,
    /// The digest of the segment before that one; [`Digest::NONE`] if there is none.
    pub before: Digest,
    /// The newest policies whose records it does not hold, oldest first, each with where its record ends. What ends behind
    /// the beginning is passed over.
    pub policies: Vec<(Lsn, Policy)>,
}

impl FollowerSpec {
    /// The policies that a copy which ends at `end` may know.
    fn policies_to(&self, end: Lsn) -> Vec<(Lsn, Policy)> {
        let known = self.policies.iter().filter(|(at, _)| *at <= end);
        let skipped = known.clone().count().saturating_sub(Control::POLICIES_LIMIT);
        known.skip(skipped).cloned().collect()
    }
}

impl Wal {
    /// Creates a log in a directory that holds none. Durable when it returns.
    pub fn create(dir: Arc<dyn Directory>, env: &dyn Environment, spec: &CreateSpec) -> Result<LogId> {
        let mut bytes = [0; 40];
        env.random(&mut bytes).map_err(Error::io("draw a random number"))?;
        let (id, rest) = bytes.split_first_chunk::<16>().expect("40 bytes");
        let (writer, rest) = rest.split_first_chunk::<16>().expect("24 bytes");
        let incarnation = Incarnation::new(u64::from_le_bytes(*rest.first_chunk().expect("8 bytes")));
        let writer = WriterId::from_bytes(*writer);
        let life = EpochEntry { start: SegmentSize::FIRST_LSN, epoch: Epoch { number: 1, writer }, incarnation };
        let header = SegmentHeader {
            log: spec.log.unwrap_or(LogId::from_bytes(*id)),
            content: spec.content,
            size: spec.segment_size,
            chain: Chain::first(life),
            history: EpochHistory::new(life),
        };
        begin(&dir, &header, vec![writer], None, Vec::new())?;
        Ok(header.log)
    }

    /// Creates a follower's log that begins where the upstream's does. Durable when it returns.
    pub fn create_follower(dir: Arc<dyn Directory>, spec: &FollowerSpec) -> Result<()> {
        let before = Some(spec.before).filter(|digest| *digest != Digest::NONE);
        begin(&dir, &spec.header, Vec::new(), before, spec.policies_to(spec.header.chain.position))
    }

    /// Takes back what [`adopt`](Self::adopt) made of segment files, which stay as they are. Without it there is nothing to do.
    ///
    /// # Errors
    /// What the system says.
    pub fn unadopt(dir: &Arc<dyn Directory>) -> Result<()> {
        match dir.remove(control_file::NAME) {
            Err(error) if Trouble::of(&error) != Trouble::NotFound => Err(Error::io("remove the control file")(error)),
            _ => Ok(()),
        }
    }

    /// Whether a directory is a log already. Segment files alone are none.
    ///
    /// # Errors
    /// `Corrupt` if that cannot be told.
    pub fn is_begun(dir: &Arc<dyn Directory>) -> Result<bool> {
        match ControlFile::read(dir) {
            Err(Error::NotFound { .. }) => Ok(false),
            read => read.map(|_| true),
        }
    }

    /// Whether a directory holds at most what a creation leaves that does not come to its end: no control file, and a segment without a
    /// record. It is no log, nobody was told of one, and a creation there begins anew (F-070). Of a log only the names are read.
    pub fn is_unfinished(dir: &Arc<dyn Directory>) -> Result<bool> {
        let mut entries = dir.list().map_err(Error::io("list the log's directory"))?;
        entries.retain(|entry| entry.name != LOCK && !entry.name.ends_with(TEMPORARY));
        match &entries[..] {
            [] => Ok(true),
            [only] => Ok(only.regular && is_blank_segment(dir, &only.name)?),
            _ => Ok(false),
        }
    }

    /// Makes a follower's log of segment files that were laid into `dir`, from the one of `spec` on without a gap, up to the
    /// boundary `end`; the last one may have zeros from there on. It knows the policies of `spec` up to there. Durable when it returns.
    /// What was adopted before, and reached less far, is adopted anew.
    ///
    /// # Errors
    /// `Exists` if it is a log of another kind already. Whether the files hold is found out when it is opened.
    pub fn adopt(dir: &Arc<dyn Directory>, spec: &FollowerSpec, history: &EpochHistory, end: Lsn) -> Result<()> {
        dir.sync().map_err(Error::io("sync the log's directory"))?;
        let before = Some(spec.before).filter(|digest| *digest != Digest::NONE);
        let control = Control {
            log: spec.header.log,
            content: spec.header.content,
            size: spec.header.size,
            writers: Vec::new(),
            history: history.clone(),
            highest: history.current().epoch,
            before,
            durable: end,
            clean: None,
            lost: None,
            slots: Vec::new(),
            policies: spec.policies_to(end),
            shown: None,
            intent: None,
        };
        match ControlFile::read(dir) {
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(there) if !is_adopted_alike(&there, &control) => return Err(Error::Exists { path: dir.path_hint() }),
            Ok(there) if there.history == control.history && end <= there.durable => return Ok(()),
            Ok(there) if end < there.durable => return Err(Error::Exists { path: dir.path_hint() }),
            Ok(_) => dir.remove(control_file::NAME).map_err(Error::io("remove an earlier control file"))?,
        }
        ControlFile::create(dir, control)
    }
}

/// Whether both are of one log that was adopted, and differ at most in how far it reaches.
fn is_adopted_alike(there: &Control, now: &Control) -> bool {
    let Control { history, highest, durable, policies, .. } = now.clone();
    Control { history, highest, durable, policies, ..there.clone() } == *now
}

/// Whether a file is a segment without a record.
fn is_blank_segment(dir: &Arc<dyn Directory>, name: &str) -> Result<bool> {
    let file = dir.open(name, Access::Read).map_err(Error::io("open a file of the log's directory"))?;
    let mut bytes = [0; SegmentHeader::LEN];
    let read = file.read_at(&mut bytes, 0).map_err(Error::io("read a segment's header"))?;
    match SegmentHeader::decode(&bytes[..read]) {
        Ok(header) if header.size.file_name(header.base()) == name => is_blank(&file, header.base(), header.size),
        _ => Ok(false),
    }
}

fn is_blank(file: &Arc<dyn File>, base: Lsn, size: SegmentSize) -> Result<bool> {
    Ok(crate::evidence::body_from(file, base, size.header_len(), size.get())?.is_empty())
}

/// Lays out the first segment, then the control file, which is what makes the directory a log.
fn begin(
    dir: &Arc<dyn Directory>,
    header: &SegmentHeader,
    writers: Vec<WriterId>,
    before: Option<Digest>,
    policies: Vec<(Lsn, Policy)>,
) -> Result<()> {
    make_way(dir, header.size)?;
    let name = header.size.file_name(header.base());
    let temporary = format!("{name}{TEMPORARY}");
    let write = || {
        remove_if_there(&**dir, &temporary)?;
        let file = dir.create(&temporary)?;
        file.allocate(header.size.get())?;
        file.zero_fill(0..header.size.get())?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync()?;
        dir.rename(&temporary, &name)?;
        dir.sync()
    };
    write().map_err(|error| {
        let _given_back = dir.remove(&temporary);
        Error::io("create the first segment")(error)
    })?;
    let position = header.chain.position;
    ControlFile::create(
        dir,
        Control {
            log: header.log,
            content: header.content,
            size: header.size,
            writers,
            history: header.history.clone(),
            highest: header.chain.life.epoch,
            before,
            durable: position,
            clean: Some(position),
            lost: None,
            slots: Vec::new(),
            policies,
            shown: None,
            intent: None,
        },
    )
}

/// Refuses a directory that holds a log, or what is left of one (F-049); removes what an interrupted creation left.
fn make_way(dir: &Arc<dyn Directory>, size: SegmentSize) -> Result<()> {
    let exists = || Error::Exists { path: dir.path_hint() };
    let entries = dir.list().map_err(Error::io("list the log's directory"))?;
    if entries.iter().any(|entry| entry.name == control_file::NAME) {
        return Err(exists());
    }
    let bases = Names::of(dir, size)?.bases;
    for base in bases {
        let name = size.file_name(base);
        let file = dir.open(&name, Access::Read).map_err(Error::io("open a segment"))?;
        // Without control file and without a record it is a creation that did not finish.
        if !is_blank(&file, base, size)? {
            return Err(exists());
        }
        dir.remove(&name).map_err(Error::io("remove an unfinished log"))?;
    }
    Ok(())
}
