//! Failover under every fault at once, and whether the rules of the protocol kept what they promise.
//!
//! One seed is one history of four nodes: a primary, three replicas, links between them, in every third seed a store with a
//! lease, and in every second one a store that the log is archived in. Links are cut both ways and one way, messages are late,
//! lost, repeated and overtake each other; nodes crash, lose what was not durable, sleep for minutes, and have their clocks
//! set; several of them are promoted at the worst moment, policies change meanwhile, the store is away or its answers are. Then
//! nothing goes wrong any more, and all must come to one log.
//!
//! Every decision is the protocol's own: [`Reception`](longshore_protocol::Reception), `Session`, `Follower`, `AckTable`,
//! `Promotion`, `Archived` and `Tenant` run as they are. Around them are loops as thin as those of the library. There are no
//! threads and no sleeps: one queue of events, in an order that follows from the seed.
//!
//! Looked at after every event: what was acknowledged at the policy is in the log of every later writer; no two records are
//! acknowledged at one position, and no two writers acknowledge under one number; logs part only where an epoch begins; an
//! accepted epoch never goes back; at no moment do two nodes trust the lease; what was acknowledged as archived is in the
//! store, in the log that goes on or in a branch that has a name. What is not modelled is in `docs/CONTRIBUTING.md`.

mod archive;
mod archived;
mod bucket;
mod calm;
mod clock;
mod consult;
mod copy;
mod follow;
mod ledger;
mod net;
mod node;
mod promote;
mod record;
mod serve;
mod shape;
mod tally;
mod tenancy;
mod trouble;
mod world;
mod write;

use std::ops::Range;

pub use self::tally::Tally;
use self::world::World;
use crate::seed_run::{Failure, Simulator, Violation};

/// Runs one seed. One that breaks a promise is run again, to tell what was done before.
pub fn run_seed(seed: u64) -> Result<Tally, Violation> {
    let mut world = World::new(seed, false);
    match world.run() {
        Ok(()) => Ok(world.tally),
        Err(what) => {
            let mut world = World::new(seed, true);
            let again = world.run();
            assert_eq!(again, Err(what.clone()), "one seed is one history");
            Err(Violation { what, trace: world.trace.unwrap_or_default() })
        }
    }
}

/// Runs the seeds of a range on `threads` threads and adds up what they did.
pub fn run_seeds(seeds: Range<u64>, threads: usize) -> Result<Tally, Failure> {
    Simulator { run: run_seed, test: "-p longshore-testkit --test failover_sim seeds" }.run_all(seeds, threads)
}
