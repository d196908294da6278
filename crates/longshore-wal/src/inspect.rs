//! What a log's directory holds, and whether it is intact: read only, without the lock, beside a live owner or not.
//!
//! [`examine()`] goes through every segment and says what it found as data; a damaged log is a report, not an error.
//! [`compare()`] holds the digests of the segments against a peer's. [`Listing`] lists records, also those that an ordinary
//! reader does not show: behind the durable watermark, and behind damage.
//!
//! ```
//! # use longshore_storage::{FsDirectory, SystemEnvironment};
//! # use longshore_wal::{CreateSpec, Wal};
//! use longshore_wal::inspect::{self, Depth};
//! # use std::sync::Arc;
//! # let place = tempfile::tempdir()?;
//! # let dir: Arc<dyn longshore_storage::Directory> = Arc::new(FsDirectory::create(&place.path().join("orders"))?);
//! # Wal::create(dir.clone(), &SystemEnvironment, &CreateSpec::default())?;
//!
//! let report = inspect::examine(&dir, Depth::Records)?;
//! assert!(report.is_intact());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod beyond;
mod compare;
mod examine;
mod finding;
mod listing;
mod names;
mod scan;
mod segment;

pub use compare::{Compared, Comparison, PeerSegment, compare};
pub use examine::{Report, Tail, examine};
pub use finding::Finding;
pub use listing::Listing;
pub use names::{Other, OtherKind};
pub use segment::{Depth, SegmentReport, State};

pub(crate) use scan::{Scanned, digest_of, scan};
pub(crate) use segment::{Before, Examined, examine_segment};
