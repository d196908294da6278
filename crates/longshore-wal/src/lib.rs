//! The segmented log: append, group commit, read in order, recover, retain.
//!
//! A [`Wal`] is a directory of segments, each of which is mapped while it is written. Appending copies into the map;
//! one sync makes all that waits durable and moves one [`Watermark`]; a [`Reader`] follows it, and nothing that is not
//! durable leaves through it, but for what followers are [offered](Wal::offered) and hold back. A follower's log is made of its
//! upstream's bytes, by [`Wal::append_frames`].
//!
//! Every step that takes time (sync, prepare, seal) is a method that does it once and returns, so that a simulator can
//! drive the log without threads; [`Wal::start`] runs the same steps in two threads.
//!
//! ```
//! use longshore_storage::{FsDirectory, SystemEnvironment};
//! use longshore_wal::{CreateSpec, RecordDraft, Settings, Wal};
//! use std::sync::Arc;
//!
//! let place = tempfile::tempdir()?;
//! let dir = Arc::new(FsDirectory::create(&place.path().join("orders"))?);
//! let env = Arc::new(SystemEnvironment);
//! Wal::create(dir.clone(), env.as_ref(), &CreateSpec::default())?;
//!
//! let (wal, _recovery) = Wal::open(dir, env, Settings::default())?;
//! let threads = wal.start();
//! let appended = wal.append(&[RecordDraft::user(b"hello")], None)?;
//! wal.wait_blocking(appended.end, None)?;
//!
//! let mut reader = wal.reader(wal.first())?;
//! while let Some(record) = reader.next()? {
//!     if record.kind.is_user() {
//!         assert_eq!(record.payload, b"hello");
//!     }
//! }
//! drop(reader);
//! threads.stop();
//! wal.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod shared;
mod wal;

mod control_file;
mod create;
mod evidence;
mod mend;
mod names;
mod open;
mod recovery;
mod survey;

mod accept;
mod active;
mod append;
mod bell;
mod clock;
mod fill;
mod frames;
mod gather;
mod held_back;
mod policies;
mod prepare;
mod promote;
mod run;
mod seal;
mod syncer;
mod threads;
mod watermark;

mod read_log;
mod reader;
mod segments;
mod view;
mod window;

mod retention;
mod slots;
mod truncate;

pub mod inspect;
pub mod repair;
pub mod tails;

mod error;
mod event;
mod settings;
mod stats;

pub use append::{Appended, RecordDraft};
pub use bell::{Bell, Listening};
pub use create::{CreateSpec, FollowerSpec};
pub use error::{Error, Full, Result};
pub use event::{Event, Events};
pub use fill::Filling;
pub use gather::Gathering;
pub use promote::Promotion;
pub use read_log::ReadLog;
pub use reader::{Chunk, Reader};
pub use recovery::Recovery;
pub use retention::{AtCap, Consumer, Decision, Extent, Need, Retention};
pub use run::Run;
pub use segments::{SegmentInfo, SegmentReader, SegmentState};
pub use settings::{Role, Settings};
pub use slots::{Dropped, SlotAck, SlotState, Trimmed};
pub use stats::{Pressure, SyncStats};
pub use threads::Threads;
pub use truncate::{SetAside, set_aside};
pub use wal::Wal;
pub use watermark::{Ended, Watermark};
