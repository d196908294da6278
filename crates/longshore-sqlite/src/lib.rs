//! SQLite beside a log: statements recorded as a transaction runs, and applied with their position
//! in one transaction.
//!
//! What `sqlite:PATH` means for a log depends on what it holds: [`SqliteSink`] and [`SqliteOutput`] choose. A log of content
//! `sqlite-pages` holds what changed in the file of a database that any application writes; [`PageSink`] applies it beside
//! readers.
//!
//! A log of content `sql` holds what was executed, not pages: [`Recorder`] runs a host's statements
//! and collects them, [`SqlSink`] runs them again elsewhere. Both let the same [`rules`](Denied) decide
//! what may be in a log: statements that leave equal databases equal, and nothing else.
//!
//! # The one order
//!
//! Nothing writes database and log independently. A host does, for each transaction:
//!
//! 1. run the statements in an open transaction, through [`Recorder::begin`];
//! 2. append the run that came of it, and wait until it is durable here;
//! 3. store its position in the same transaction, and commit: [`Recorded::commit`].
//!
//! Whenever it dies, the log is at most ahead of the database, by runs that are complete; on start
//! [`bring_up()`] applies those. [`Recorder`] makes any other order impossible to write.
//!
//! ```
//! use longshore_sqlite::Recorder;
//! use rusqlite::{Connection, params};
//!
//! # fn append_and_wait(_: &[Vec<u8>]) -> Result<longshore_format::Lsn, longshore_sqlite::Error> {
//! #     Ok(longshore_format::Lsn::new(8192))
//! # }
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("orders.db");
//! # let log = longshore_format::LogId::from_bytes([1; 16]);
//! let mut db = Recorder::new(Connection::open(path)?, log)?;
//!
//! let mut transaction = db.begin()?;
//! transaction.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)", params![])?;
//! transaction.execute("INSERT INTO orders (item) VALUES (?1)", params!["anchor"])?;
//! let recorded = transaction.record()?;
//! let position = append_and_wait(recorded.payloads())?;
//! recorded.commit(position)?;
//!
//! assert_eq!(db.position()?.unwrap().lsn, position);
//! let refused = db.begin()?.execute("UPDATE orders SET item = random()", params![]).unwrap_err();
//! assert!(refused.to_string().contains("random"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

mod recorder;
mod sink;

mod bring_up;
mod output;

mod execute;
mod rules;

mod message;
mod position;
mod settings;

mod log_database;
mod page_sink;
mod sqlite_sink;

mod new_file;
mod replica_image;
mod replica_wal;
mod sidecar;
mod write_behind;

mod capture;
mod check;
mod verify;

mod pages;
mod shm;
mod wal_format;

mod error;
mod points;
mod priority;
mod proto;

#[cfg(test)]
mod testing;

pub use self::bring_up::bring_up;
pub use self::capture::{Capture, CaptureReport, CaptureSettings, CaptureStatus, CaptureStep, Capturing, Holder};
pub use self::check::{Finding, Severity, check, must_be_fit};
pub use self::error::Error;
pub use self::log_database::LogDatabase;
pub use self::message::{Batch, validate};
pub use self::output::SqliteOutput;
pub use self::page_sink::PageSink;
pub use self::position::{Position, read_position, store_position};
pub use self::recorder::{Recorded, Recorder, Recording};
pub use self::replica_image::ReplicaSnapshotter;
pub use self::rules::Denied;
pub use self::sink::SqlSink;
pub use self::sqlite_sink::SqliteSink;
pub use self::verify::{PagesProgress, PagesVerdict, check_pages};
