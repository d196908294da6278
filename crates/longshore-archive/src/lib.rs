//! Sealed segments into an object store, and back out as an ordinary log directory.
#![forbid(unsafe_code)]

pub mod estimate;
