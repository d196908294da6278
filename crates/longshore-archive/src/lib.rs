//! Sealed segments into an object store, and back out as an ordinary log directory.
//!
//! An [`Archiver`] follows one log into one [`Store`]; several stores each have their own, and none holds up another. What is
//! archived is what the manifest of the log names: see [`manifest`]. [`Archive`] reads it back, from the best copy among
//! several stores, and lays it out as a directory that is an ordinary log.
#![forbid(unsafe_code)]

pub mod credentials;
pub mod envelope;
pub mod estimate;
pub mod keys;
pub mod manifest;

mod archive;
mod archiver;
#[cfg(any(feature = "s3", feature = "kms"))]
mod aws;
mod blocking;
mod copy;
mod error;
mod fetch;
mod files;
mod fork;
mod gap;
mod keep;
mod listed;
mod listing;
mod peek;
mod place;
mod plan;
mod prune;
mod snapshot;
mod store;
mod trace;
mod verify;

pub use archive::Archive;
pub use archiver::{ArchiveSettings, Archiver, Round};
pub use copy::{Copied, CopyPlan, copy};
pub use error::{Error, Result};
pub use fetch::{CutShort, Fetched};
pub use fork::ForkEntry;
pub use gap::GapEntry;
pub use keep::Keep;
pub use listed::{Listed, list};
pub use peek::{Glimpse, LeftOut, Sample};
pub use plan::{Begin, FetchPlan, Reach, Until};
pub use prune::{Pruned, forget, orphans};
pub use snapshot::{Schedule, SnapshotFacts, SnapshotFetched};
pub use store::{Ledger, Meter, Store, Version};
pub use trace::{archived_to, read_mark};
pub use verify::{Finding, Proven, Verified, verify, verify_since};
