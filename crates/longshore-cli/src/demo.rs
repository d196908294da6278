//! The tour: real processes on loopback, a crash, a cut link, a recovery, and the proofs.
//!
//! ```text
//!   demo (this process) ─ certificates, proxy, live view, proofs
//!    ├─ order-entry application on its orders.db, with nothing of longshore in it
//!    ├─ longshore primary --sqlite orders.db ─ its log ────────────────────────┐ mutual TLS
//!    ├─ longshore replica eu-west ─ its log ─ its orders.db  ◀─────────────────┤
//!    └─ longshore replica us-east ─ its log ─ its orders.db  ◀── proxy (stalls)┘
//! ```

pub(crate) mod app;
mod failover;
mod journal;
mod proofs;
mod proxy;
mod report;
mod site;
mod story;
mod view;

use crate::failure::Failure;
use report::Report;
use site::Site;

/// How the tour is to be told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Tell of a region that is lost, instead.
    pub(crate) failover: bool,
    /// Break it before the proofs.
    pub(crate) break_it: bool,
    /// Keep the directory.
    pub(crate) keep: bool,
}

/// Tells it, and reports. An error is the stage falling down; a proof that fails is in the report.
pub(crate) fn tell(options: Options) -> Result<Report, Failure> {
    let site = Site::create()?;
    let told = if options.failover { failover::act(&site, options) } else { story::act(&site, options) };
    let kept = site.leave(options.keep || told.is_err());
    if let (Some(directory), Err(_)) = (&kept, &told) {
        eprintln!("what was left behind is in {}", directory.display());
    }
    let mut report = told?;
    report.directory = kept.map(|directory| directory.display().to_string());
    Ok(report)
}
