//! The link simulator: the real loops of both ends over simulated disks and links that fail in every way.
//!
//! ```text
//! cargo test -p longshore-testkit --test link_sim                              the usual seeds
//! LONGSHORE_SEEDS=100000 cargo test -p longshore-testkit --test link_sim       as many as one has time for
//! LONGSHORE_SEED=4711 cargo test -p longshore-testkit --test link_sim          one again
//! ```
//!
//! One seed is one story: a primary writes, one or two replicas follow it (the second may follow the first), while links
//! are cut, stalled, one-way, slow, or repeat, swap, lose and damage messages, and any node may lose power. Then all goes
//! well again. At every moment no ack that an upstream believes is beyond what the replica's disk holds after a crash
//! (F-096, F-105); in the end every log is a byte-identical copy (F-084 … F-092). tokio's time is paused, all tasks run on
//! one thread, and every choice follows from the seed.

mod cases;
mod line;
mod node;
mod story;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use longshore_testkit::seeds::number;

use crate::tally::Tally;

/// Runs seeds on all processors until one fails.
fn run(seeds: std::ops::Range<u64>) -> Result<Tally, String> {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new((Tally::default(), None::<(u64, String)>));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds.end <= seed {
                return;
            }
            let outcome = story::run(seed);
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(tally) => total.0 += tally,
                // The lowest seed that fails is reported, whichever thread is faster.
                Err(what) if total.1.as_ref().is_none_or(|(found, _)| seed < *found) => {
                    total.1 = Some((seed, what));
                    next.store(seeds.end, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    match total.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (tally, None) => Ok(tally),
        (_, Some((seed, what))) => Err(format!(
            "{what}\nagain: LONGSHORE_SEED={seed} cargo test -p longshore-testkit --test link_sim -- --nocapture"
        )),
    }
}

#[test]
fn whatever_links_and_power_do_copies_end_equal_and_acks_are_true() {
    if let Some(seed) = number("LONGSHORE_SEED") {
        println!("{}", story::run(seed).unwrap_or_else(|what| panic!("{what}")));
        return;
    }
    let seeds = number("LONGSHORE_SEEDS").unwrap_or(3_000);
    let first = number("LONGSHORE_FIRST_SEED").unwrap_or(0);
    let began = Instant::now();
    let tally = run(first..first + seeds).unwrap_or_else(|what| panic!("{what}"));
    println!("{seeds} seeds in {:.1} s\n{tally}", began.elapsed().as_secs_f64());
    if 500 <= seeds {
        tally.assert_everything_happened();
    }
}

#[test]
fn one_seed_tells_one_story() {
    for seed in [3, 4, 5] {
        assert_eq!(story::run(seed).unwrap(), story::run(seed).unwrap(), "seed {seed}");
    }
}
