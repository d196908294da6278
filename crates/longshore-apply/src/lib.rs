//! Records into a sink, each once and in order, up to a target.
//!
//! One loop serves live apply on a replica and recovery from a directory: a [`Source`] opens readers
//! over a log, an [`Applier`] finds complete runs in it and hands them to a [`Sink`], and a [`Target`]
//! says where to stop. Nothing here waits or needs a runtime: [`Applier::step`] does a bounded
//! amount of work and says what it found, so that a task, a thread or a test can drive it.
//!
//! # What a sink may rely on
//!
//! * It is given whole runs only, in the order of the log. The applier finds a run's LAST record
//!   before it gives the sink the FIRST, then reads the run again: memory stays bounded whatever the
//!   size of a run, and an aborted run is never seen.
//! * It is asked once, in [`Sink::open`], for the position it holds, and is given nothing at or
//!   before it. A sink that stores the position in the same transaction as the data (SQLite does)
//!   thereby applies each run **exactly once**, whenever the process dies. A sink whose position can
//!   be lost or fall behind its data is given the records after that older position again: **at least
//!   once**, never a gap (F-106, F-107). Positions grow strictly, so such a sink can drop what it has.
//! * The process may be killed between any two calls. An [`Applier`] that is dropped looks the same to
//!   the sink as one that was killed; there is no call that undoes a half-given run.
//!
//! # What stops an applier
//!
//! A record that the sink refuses stops the applier with the position and the reason, and it stays
//! stopped. Receiving and storing the log are not its business and go on (F-106).

#![forbid(unsafe_code)]

mod sink;
mod source;
mod target;

mod applier;
mod runs;

mod error;
mod plan;

mod fresh;
mod output;
mod snapshot;

pub mod json;
mod jsonl;
mod tail;

mod exec;
mod words;

pub mod conformance;

pub use self::applier::{Applier, Interrupt, Progress, Step};
pub use self::error::Error;
pub use self::exec::{ExecSink, ExecSpec};
pub use self::fresh::Partial;
pub use self::jsonl::{JsonLinesFile, JsonLinesStream};
pub use self::output::{Check, FileOutput, JsonLinesOutput, Rate};
pub use self::plan::{Cut, LastRun, Next, Plan, Planner};
pub use self::sink::{Failure, Held, LogFacts, RunEnd, Sink, SinkError};
pub use self::snapshot::{DatabaseImage, SnapshotError, Snapshotter};
pub use self::source::{Records, Source};
pub use self::target::{Edge, ParseTargetError, Point, Target};
