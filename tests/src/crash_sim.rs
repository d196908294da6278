//! Crashes of a log on a simulated disk, and whether it kept its promises.
//!
//! One seed is one history of a log: it is written, synced, sealed, crashed six times and reopened each time. A
//! ledger holds every record in one of three states: *unset* (never appended, or dropped by a
//! crash), *maybe* (appended, not known durable) and *set* (acknowledged durable, or read from the log). After any crash
//! the log must be a prefix of what was appended, hold everything that is set, and nothing that was dropped may ever
//! return.
//!
//! There are no threads and no hooks: the log's own steps (sync, prepare, seal) are called one at a time, in an order
//! that follows from the seed, as are the crashes, the clock and every choice of the disk.

mod beside;
mod damage;
mod downs;
mod follower;
mod ledger;
mod node;
mod points;
mod primary;
mod runs;
mod source;
mod steps;
mod tally;
mod truncation;

use std::ops::Range;

pub use self::points::{PointsOf, crash_points};
pub use self::tally::Tally;
pub use crate::seed_run::Violation;
use crate::seed_run::{Failure, Simulator};
use crate::sim_rng::Rng;

/// Runs one seed: every third is a follower's log beside that of the primary that it follows, which
/// crashes as well; the others are a primary's alone.
pub fn run_seed(seed: u64) -> Result<Tally, Violation> {
    let mut rng = Rng::new(seed);
    let tally = if seed.is_multiple_of(3) { follower::run(&mut rng) } else { primary::run(&mut rng) }?;
    assert!(
        tally.crashes >= 6 && tally.workload_operations >= 100 && tally.boundaries_crossed >= 2,
        "too short: {tally}"
    );
    Ok(tally)
}

/// Runs the seeds of a range on `threads` threads and adds up what they did.
pub fn run_seeds(seeds: Range<u64>, threads: usize) -> Result<Tally, Failure> {
    Simulator { run: run_seed, test: "-p longshore-testkit --test crash_sim seeds" }.run_all(seeds, threads)
}
