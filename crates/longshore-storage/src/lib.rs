//! Where the bytes of a longshore log live: mapped regions, directories, durable syncs, locks.
//!
//! Everything above this crate sees the disk through two traits, [`Directory`] and [`File`], and the append path
//! through a pair of handles on one region of memory, [`RegionWriter`] and [`RegionReader`]. [`FsDirectory`] is the
//! real thing; the simulated disk of `longshore-testkit` is the other implementation, and both pass one conformance
//! suite.
//!
//! # The only `unsafe`
//!
//! Every other crate of the workspace forbids `unsafe`. Here it is in two files: `region/memory.rs` and `fork.rs`.
//! What their `SAFETY` comments refer to are these invariants:
//!
//! - **R1, one owner.** A region's memory is valid for reads and writes of its whole length from its creation until the
//!   last handle on it is dropped; every handle keeps it alive by an `Arc`.
//! - **R2, one writer.** A region has exactly one [`RegionWriter`], which cannot be cloned, and every store goes through
//!   `&mut` of it.
//! - **R3, published bytes are frozen.** `published` never decreases; a store at or before it is refused by an
//!   assertion; so a byte below it never changes again.
//! - **R4, readers stay below.** A [`RegionReader`] or [`RegionSlice`] hands out `&[u8]` only of bytes below a value of
//!   `published` that it has loaded with *acquire*; the writer stores it with *release* after the bytes.
//! - **R5, no other way in.** The published bytes of a mapped file change by no other way. Through the file that was
//!   mapped this crate refuses writes below `published` and a shorter length while the region lives. What is left is the
//!   proviso of every shared file map, which no program can lift: another process that ignores the directory lock, and a
//!   second handle on the same file that is written below `published`, which nothing in this workspace does (recovery
//!   writes before it maps; a footer lies beyond all that is ever published). A file that was cut short or unlinked is
//!   refused by [`File::sync`].

#[cfg(not(target_os = "linux"))]
compile_error!("longshore-storage knows Linux only: its promises rest on what fallocate, fdatasync and mmap do there");

mod directory;
mod environment;
mod file;
mod fork;
mod fs;
mod medium;
mod region;
mod trouble;

pub use directory::{Access, DirEntry, Directory, Lock};
pub use environment::{Environment, SystemEnvironment};
pub use file::{File, ZERO_FILL_STEP};
pub use fork::ForkGuard;
pub use fs::FsDirectory;
pub use medium::{Concern, Medium};
pub use region::{Living, OnWrite, Region, RegionReader, RegionSlice, RegionWatch, RegionWriter};
pub use trouble::Trouble;
