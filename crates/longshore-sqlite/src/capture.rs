//! An unmodified application's database, captured: every transaction that it commits becomes one run of a log.
//!
//! The application writes its database in WAL mode, in whatever process, and knows nothing of this. Nothing is ever written
//! into its database. What makes it safe is one lock: while [`Capture`] holds SQLite's checkpoint lock (the *guard*), nobody
//! else copies frames from the `-wal` into the database file, so
//!
//! - the `-wal` begins anew only after a checkpoint of ours, which never goes beyond what was copied into the log;
//! - database file and committed frames together are the database at any published position, without a read transaction.
//!
//! What is committed is what the wal-index says, never what the `-wal` alone looks like: a valid frame beyond is a ghost of a
//! writer that died. A run is appended only after the `-wal` was synced, so a power cut cannot leave the log ahead of the
//! database.

mod attach;
mod base;
mod becomes;
mod brake;
mod bring_up;
mod copy;
mod give_way;
mod holder;
mod note;
mod remake;
mod replaced;
mod saved;
mod seal;
mod shipped;
mod snapshot;
mod thread;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_format::Lsn;
use longshore_wal::Wal;

use self::base::Base;
use self::brake::Brake;
use self::copy::PATIENCE;
pub use self::holder::Holder;
use self::note::{FileId, Written};
use self::saved::Saved;
use self::seal::Seals;
pub use self::thread::{CaptureReport, Capturing};
use self::view::View;
pub(crate) use self::view::published;
use crate::error::Error;
use crate::log_database::{LogDatabase, identity_of};
use crate::pages::{PageSize, PageTable};
use crate::shm::WalFile;

/// How a database is captured.
#[derive(Debug, Clone)]
pub struct CaptureSettings {
    /// Where the hashes of what was shipped are kept from one run of the agent to the next: a file beside the log, made with
    /// mode 0600. Without it, or when it is lost, they are gathered from the log.
    pub hashes: PathBuf,
    /// The `-wal` is copied back into the database when more of it than this is in use; a writer that never pauses is then
    /// held up for a moment, so that it begins the `-wal` anew. One that makes it longer by another quarter meanwhile is
    /// braked. Default 16 MiB: four times SQLite's own, for each time costs the application a moment.
    pub checkpoint_from: u64,
    /// A file longer than this is cut back once nothing needs it. Default 48 MiB, to stay below 64.
    pub truncate_from: u64,
    /// A long file whose frames are all copied back is emptied when nobody has committed for so long. Default 300 ms.
    pub truncate_after: Duration,
    /// How long to wait for the write lock at once, which an application may hold. Default 20 ms.
    pub lock_wait: Duration,
    /// How long to try to attach while others hold the locks. Default 30 s.
    pub attach_within: Duration,
    /// What keeps writers out once the log is another's, and until it is captured into again. Without it that ends with the
    /// [`Capturing`].
    pub database: Option<Arc<LogDatabase>>,
    /// Another file than the one that was captured, or an older copy of it, is meant to be there: it takes the place of the one
    /// before everywhere. Default `false`: it is refused.
    pub replaced: bool,
}

impl CaptureSettings {
    /// The defaults.
    pub fn new(hashes: impl Into<PathBuf>) -> CaptureSettings {
        CaptureSettings {
            hashes: hashes.into(),
            checkpoint_from: 16 << 20,
            truncate_from: 48 << 20,
            truncate_after: Duration::from_millis(300),
            lock_wait: Duration::from_millis(20),
            attach_within: Duration::from_secs(30),
            database: None,
            replaced: false,
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureStep {
    /// So many transactions were appended.
    Captured(u64),
    /// Nothing new was committed.
    Idle,
}

/// How a capture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureStatus {
    /// Where the last transaction ends in the log.
    pub position: Lsn,
    /// How long the `-wal` is, in bytes.
    pub wal_bytes: u64,
    /// Transactions appended since it was attached.
    pub transactions: u64,
    /// Pages in them.
    pub pages: u64,
    /// Payload bytes of those runs.
    pub bytes: u64,
    /// What the same pages would have taken whole.
    pub whole_bytes: u64,
    /// Times that the database had to be compared with what was shipped.
    pub resyncs: u64,
    /// Times that the `-wal` was copied back.
    pub checkpoints: u64,
    /// The longest time that a writer was held up by this.
    pub longest_hold: Duration,
    /// Since when something, a reader that sits most likely, keeps the `-wal` from beginning anew.
    pub pinned_for: Option<Duration>,
    /// The log is another's, and nobody writes the database.
    pub fenced: bool,
}

/// A database that is being captured. Dropping it is as `kill -9`: the next one finds its place.
pub struct Capture {
    /// Holds the checkpoint lock as long as it lives.
    guard: WalFile,
    /// Checkpoints, with that lock granted.
    checkpointer: WalFile,
    /// Reads, for moments: its read mark is how far a checkpoint may go.
    reader: WalFile,
    brake: Brake,
    view: View,
    /// What was shipped, up to the end of the log.
    shipped: PageTable,
    saved: Saved,
    size: PageSize,
    log: Wal,
    settings: CaptureSettings,
    seals: Seals,
    status: CaptureStatus,
    /// How many frames the last step copied.
    stepped: u32,
    /// For how long writers were held up just now, if none has committed since.
    held: Duration,
    /// The database file's device and inode: another file under the name is another database.
    identity: (u64, u64),
    /// The same, as it is noted for the next one.
    file: FileId,
    /// When the file was written last that is as it was shipped: by a checkpoint of ours, or by anybody before it was looked at.
    written: Option<Written>,
    path: PathBuf,
    looked: Instant,
    /// What says that an application writes it, if a log was ever applied to it.
    base: Option<Base>,
}

/// How often it is looked whether the file is still the same.
const LOOK: Duration = Duration::from_secs(1);

impl Capture {
    /// Copies what was committed since, and copies the `-wal` back if it has grown. A bounded amount of work unless one
    /// transaction is large.
    ///
    /// # Errors
    /// [`Error::Unstable`] and what SQLite says about busy locks pass: attach again. `Full` of the log is waited for here, for
    /// a while, and then given back; nothing is lost, the `-wal` keeps what was not copied.
    pub fn step(&mut self) -> Result<CaptureStep, Error> {
        if LOOK <= self.looked.elapsed() {
            self.looked = Instant::now();
            self.check_identity()?;
            self.raise_base_if_due()?;
        }
        let (place, before) = (self.shipped.place, self.status.transactions);
        if self.is_behind()? {
            self.braked(|capture| capture.copy(PATIENCE))?;
            self.catch_up()?;
        }
        let now = self.shipped.place;
        self.stepped = if now.salts == place.salts { now.frame - place.frame } else { now.frame };
        let transactions = self.status.transactions - before;
        self.seal_if_due()?;
        self.save_if_due()?;
        Ok(if transactions == 0 { CaptureStep::Idle } else { CaptureStep::Captured(transactions) })
    }

    /// How much of the `-wal` the last step copied.
    fn stepped_bytes(&self) -> u64 {
        self.frames_len(self.stepped)
    }

    /// How much longer the `-wal` may become before it is copied back.
    fn until_checkpoint(&self) -> u64 {
        self.settings.checkpoint_from.saturating_sub(self.frames_len(self.shipped.place.frame))
    }

    /// Whether there is no time for a pause before the next step: as much as in this one, and the `-wal` is too long.
    fn is_pressed(&self) -> Result<bool, Error> {
        self.is_outrun(self.stepped)
    }

    /// How it goes.
    pub fn status(&self) -> CaptureStatus {
        CaptureStatus {
            position: self.shipped.lsn,
            wal_bytes: self.view.file_len(),
            pinned_for: self.seals.pinned_for(),
            ..self.status
        }
    }

    /// Copies the last transactions and writes down what was shipped, so that the next attach is quick.
    pub fn detach(mut self) -> Result<CaptureStatus, Error> {
        self.copy(PATIENCE)?;
        self.save()?;
        self.raise_base()?;
        Ok(self.status())
    }

    fn check_identity(&self) -> Result<(), Error> {
        match identity_of(&self.path)? {
            same if same == self.identity => Ok(()),
            _ => Err(Error::Replaced { path: self.path.clone() }),
        }
    }
}

#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod tests;
