//! Frames into a follower's log: new ones appended, known ones compared.

use longshore_format::Lsn;
use longshore_protocol::{Error as ProtocolError, Fit, Follower, Frames};
use longshore_wal::{Error as WalError, Wal};

use crate::error::Result;

/// What became of frames.
pub(crate) enum Stored {
    /// All of them are in the log, which ends here.
    To(Lsn),
    /// The log is full for now; nothing was stored.
    NoRoom,
}

/// Stores frames that a follower accepted.
pub(crate) async fn store(wal: &Wal, follower: &Follower, frames: &Frames) -> Result<Stored> {
    let skip = match follower.fit(frames.start, frames.bytes.len())? {
        Fit::Append => 0,
        Fit::Overlap { skip } => skip,
        Fit::Duplicate => frames.bytes.len(),
    };
    if 0 < skip {
        compare(wal, frames.start, &frames.bytes[..skip]).await?;
    }
    if skip == frames.bytes.len() {
        return Ok(Stored::To(follower.position()));
    }
    // All but what was skipped starts where the log ends, whose position is the normalised one.
    match wal.append_frames(frames.epoch, follower.position(), &frames.bytes[skip..]) {
        Ok(end) => Ok(Stored::To(end)),
        Err(WalError::Full(_)) => Ok(Stored::NoRoom),
        Err(error) => Err(error.into()),
    }
}

/// Frames that are already held must be the same bytes; other ones at the same position are a divergence (F-090).
async fn compare(wal: &Wal, start: Lsn, mut theirs: &[u8]) -> Result<()> {
    let mut reader = match wal.offered_reader(start) {
        Err(WalError::NotABoundary { nearest, .. }) => return Err(ProtocolError::Diverged { at: nearest }.into()),
        reader => reader?,
    };
    while !theirs.is_empty() {
        let at = reader.position();
        // What was only just received may not be durable yet, and is not readable before.
        reader.ready().await?;
        let Some(ours) = reader.next_frames(theirs.len())? else { continue };
        let len = ours.bytes.len();
        if theirs.get(..len) != Some(&ours.bytes[..]) {
            return Err(ProtocolError::Diverged { at }.into());
        }
        theirs = &theirs[len..];
    }
    Ok(())
}
