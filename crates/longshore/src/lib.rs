//! The embeddable library: a write-ahead log in your program, its copies in other regions.
//!
//! Four types do the work:
//!
//! * [`Primary`] writes a log. `append` never waits; a [`Ticket`] waits, for this disk or for replicas.
//! * [`Replica`] follows the logs of a primary, or of another replica, and applies them.
//! * [`Replay`] turns a log back into a database, at any point in time.
//! * [`Node`] is what the first two have inside: every log under one data directory, to be served together.
//!
//! ```
//! use longshore::{Content, Durability, Primary, Settings};
//! use std::time::Duration;
//!
//! # let place = tempfile::tempdir()?;
//! # let data_dir = place.path();
//! let primary = Primary::create(data_dir, "orders", Content::Bytes, &Settings::default())?;
//! let ticket = primary.append(&["an order"])?;
//! ticket.wait_blocking(Durability::LOCAL, Duration::from_secs(10))?;
//! println!("order is durable at {}", ticket.position());
//! primary.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Beside a database there is one order
//!
//! Run the statements in an open transaction of the host database, append the run, wait `local`, store
//! its position in the same transaction, commit. On start an applier first brings the host database up
//! to the log's end. Nothing ever writes database and log independently, and so a crash between any
//! two of these steps leaves a database that is a prefix of its log.
//!
//! # What is promised
//!
//! `local` waits, and waits weaker than the log's policy, are never protected by failover. A timeout
//! never means "not written": see [`Error::Unconfirmed`].

#![forbid(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

mod error;
mod event;
pub mod lease;
mod node;
mod primary;
mod replay;
mod replica;
mod roles;
mod server;
pub mod settings;
mod subscribe;
mod ticket;

mod applying;
mod archived;
mod archiving;
mod captured;
mod housekeeper;
mod log;
mod metrics;
mod standing;
mod status;
mod tails;
mod uncaptured;
mod upstream_state;
mod wal_settings;

mod chunks;
mod claim;
mod convert;
mod read;
mod rivals;
mod services;
mod upstream_end;

mod ask;
mod dial;
mod failover;
mod lanes;
mod link;
mod local_copy;
mod parting;
mod policy;
mod promotion;
mod pursue;
mod rejoin;
mod seeding;
mod snapshot;
// The two loops are public for the link simulator alone, which runs them over simulated disks.
#[doc(hidden)]
pub mod feed;
mod feed_state;
#[doc(hidden)]
pub mod follow;
mod follow_store;

pub use applying::OpenSink;
pub use archived::Sources;
pub use archiving::ArchiveStatus;
pub use captured::{BothWays, Captured, ListKept, OpenCapture, OpenSinkOf};
pub use error::{Error, Result};
pub use event::{Event, Events};
pub use node::{CheckPayload, Node};
pub use primary::{Primary, Transaction};
pub use rejoin::{Aside, Rejoin, RejoinPlan};
pub use replay::{Foreseen, Output, Replay, ReplayPlan, Replayed, Room, Stage};
pub use replica::{OfferSnapshots, Replica};
pub use server::Server;
pub use settings::Settings;
pub use subscribe::{Records, Subscription};
pub use ticket::Ticket;

pub use longshore_apply as apply;
pub use longshore_apply::{DatabaseImage, SnapshotError, Snapshotter};
pub use longshore_archive as archive;
pub use longshore_format as format;
pub use longshore_format::{Content, ErrorKind, Flags, Kind, LogId, Lsn, Name};
pub use longshore_protocol::{Ack, Durability, NodeId, Quorum, Region};
pub use longshore_transport as transport;
pub use longshore_transport::{LogStatus, OwnedRecord, Positions, ReplicaPosition, ReplicaStatus, Status, StoreStatus};
pub use longshore_wal as wal;
pub use longshore_wal::{Pressure, RecordDraft};

/// A file of this node alone, empty.
pub(crate) fn private_file(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// What this crate's locks guard is whole after every line, so a panic elsewhere takes nothing down with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random number, for pauses and for ids that should differ from those of an earlier life: nothing that must be secret.
pub(crate) fn random(environment: &dyn longshore_storage::Environment) -> u64 {
    let mut bytes = [0; 8];
    // On a machine without random bytes the clock serves nearly as well.
    match environment.random(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => environment.wall_micros().wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}
