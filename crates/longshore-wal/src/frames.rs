//! A follower's way of appending: the upstream's bytes, checked whole before one of them is stored.

use longshore_format::{Cursor, Epoch, EpochEntry, Kind, Lsn, Policy, Record, Step};

use crate::append::Appender;
use crate::reader::fault_of;
use crate::shared::Shared;
use crate::{Error, Result, Role, Wal};

impl Wal {
    /// For a follower: stores frames that an upstream sent, which start where this log ends. Order, epoch, every
    /// checksum and every link are checked first; if anything does not hold, nothing is stored. Returns where the log
    /// ends now.
    ///
    /// `sender` is the epoch that whoever sent them had accepted. Once this node has accepted a later one, nothing comes of
    /// the earlier one any more, not even what was under way: [`Error::Fenced`] (F-111).
    ///
    /// Past a limit it returns [`Error::Full`], with nothing stored; see [`Wal::wait_room`].
    pub fn append_frames(&self, sender: Epoch, start: Lsn, frames: &[u8]) -> Result<Lsn> {
        let shared = self.shared();
        let mut appender = shared.lock(&shared.append)?;
        shared.alive()?;
        if shared.settings.role != Role::Follower {
            return Err(Error::Invalid("only a follower stores frames; open the log as one"));
        }
        let accepted = self.accepted_epoch();
        if sender.number < accepted.number {
            return Err(Error::Fenced { epoch: sender.to_string(), accepted: accepted.to_string() });
        }
        let end = appender.position();
        if shared.view.size.normalise(start) != end {
            return Err(Error::OutOfOrder { end, start });
        }
        let checked = check(&appender, frames)?;
        admit(shared, &appender, frames.len() as u64, &checked)?;
        shared.announce_policies(&checked.policies)?;
        if !checked.lives.is_empty() {
            shared.announce_lives(&checked.lives)?;
        }
        store(shared, &mut appender, frames, &checked)?;
        for life in &checked.lives {
            appender.history.push(*life).expect("the cursor accepted the life");
        }
        appender.cursor = checked.cursor;
        let end = appender.publish(shared);
        drop(appender);
        if let Some(promise) = checked.promise {
            self.show_up_to(promise);
        }
        Ok(end)
    }
}

/// Frames of which every record holds.
struct Checked {
    /// Behind the last of them.
    cursor: Cursor,
    /// In which segment, from which offset on, how many bytes go.
    pieces: Vec<Piece>,
    lives: Vec<EpochEntry>,
    policies: Vec<(Lsn, Policy)>,
    /// What the writer knew to be durable on its own disk when it wrote the last of them.
    promise: Option<Lsn>,
}

struct Piece {
    base: Lsn,
    offset: u64,
    len: usize,
    /// The segment ends with it.
    full: bool,
}

fn check(appender: &Appender, frames: &[u8]) -> Result<Checked> {
    let mut cursor = appender.cursor.clone();
    let size = cursor.size();
    let (mut pieces, mut lives, mut policies) = (Vec::<Piece>::new(), Vec::new(), Vec::new());
    let mut promise = None;
    let mut rest = frames;
    while !rest.is_empty() {
        let (position, life) = (cursor.position(), cursor.chain().life);
        let (base, offset) = (size.base_of(position), size.offset_in(position));
        let body = &rest[..rest.len().min((size.body_end_offset() - offset) as usize)];
        let record = match cursor.read(body) {
            Step::Record(record) => record,
            step => return Err(Error::BadFrame { position, fault: fault_of(step) }),
        };
        let len = record.extent() as usize;
        promise = promise.max(record.durable);
        rest = &rest[len..];
        if cursor.chain().life != life {
            lives.push(cursor.chain().life);
        }
        if record.kind == Kind::POLICY {
            policies.push((record.end, policy_of(&record)?));
        }
        let full = size.base_of(cursor.position()) != base;
        match pieces.last_mut() {
            Some(piece) if piece.base == base => {
                piece.len += len;
                piece.full = full;
            }
            _ => pieces.push(Piece { base, offset, len, full }),
        }
    }
    Ok(Checked { cursor, pieces, lives, policies, promise })
}

fn policy_of(record: &Record<'_>) -> Result<Policy> {
    let newer = Error::Invalid("the upstream sent a policy that this version cannot read; upgrade this node first");
    Policy::decode(record.payload).ok_or(newer)
}

/// Whether the pieces can be stored now, all of them.
fn admit(shared: &Shared, appender: &Appender, bytes: u64, checked: &Checked) -> Result<()> {
    let to_begin: Vec<Lsn> = match &appender.active {
        Some(active) => checked.pieces.iter().map(|piece| piece.base).filter(|base| *base != active.base).collect(),
        None => checked.pieces.iter().map(|piece| piece.base).collect(),
    };
    let refused = shared.refuse_now(appender.position(), bytes).or_else(|| match to_begin[..] {
        [] => None,
        [base, ..] => shared.refuse_begin(base),
    });
    match refused {
        Some(full) => Err(Error::Full(full)),
        None if to_begin.len() > 1 => {
            Err(Error::Invalid("frames of one message reach into one new segment at most; split them"))
        }
        None => Ok(()),
    }
}

fn store(shared: &Shared, appender: &mut Appender, frames: &[u8], checked: &Checked) -> Result<()> {
    let mut rest = frames;
    for piece in &checked.pieces {
        if appender.active.is_none() {
            appender.begin(shared)?;
        }
        let (bytes, after) = rest.split_at(piece.len);
        rest = after;
        let active = appender.active.as_mut().expect("a segment was begun");
        active.put_frames(piece.offset, bytes).map_err(|error| shared.poison(error))?;
        if piece.full {
            appender.end_segment(piece.offset + piece.len as u64);
        }
    }
    Ok(())
}
