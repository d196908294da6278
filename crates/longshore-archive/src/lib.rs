//! Sealed segments into an object store, and back out as an ordinary log directory.
//!
//! An [`Archiver`] follows one log into one [`Store`]; several stores each have their own, and none holds up another. What is
//! archived is what the manifest of the log names: see [`manifest`]. [`Archive`] reads it back, from the best copy among
//! several stores, and lays it out as a directory that is an ordinary log.
#![forbid(unsafe_code)]

pub mod envelope;
pub mod estimate;
pub mod keys;
pub mod manifest;

mod archive;
mod archiver;
#[cfg(any(feature = "s3", feature = "kms"))]
mod aws;
mod copy;
mod error;
mod fetch;
mod prune;
mod store;
mod verify;

pub use archive::{Archive, Listed, list};
pub use archiver::{ArchiveSettings, Archiver, Round};
pub use copy::{Copied, copy};
pub use error::{Error, Result};
pub use fetch::{FetchPlan, Fetched, Until};
pub use prune::{Pruned, orphans};
pub use store::{Store, Version};
pub use verify::{Finding, Verified, verify};
