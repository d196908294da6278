//! The failover simulator over the rules of the protocol.
//!
//! ```text
//! cargo test -p longshore-testkit --test failover_sim -- --nocapture                 2,000 seeds
//! LONGSHORE_SEEDS=1000000 cargo test --release … -- --ignored --nocapture             as many as one has time for
//! LONGSHORE_SEED=4711 cargo test … seeds                                              one again
//! ```

use std::time::Instant;

use longshore_testkit::failover_sim::{run_seed, run_seeds};
use longshore_testkit::seeds::number;

fn campaign(seeds: u64) {
    if let Some(seed) = number("LONGSHORE_SEED") {
        match run_seed(seed) {
            Ok(tally) => println!("{tally}"),
            Err(violation) => panic!("seed {seed}:\n{violation}"),
        }
        return;
    }
    let seeds = number("LONGSHORE_SEEDS").unwrap_or(seeds);
    let first = number("LONGSHORE_FIRST_SEED").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let tally = run_seeds(first..first + seeds, threads).unwrap_or_else(|failure| panic!("{failure}"));
    let seconds = started.elapsed().as_secs_f64();
    let speed = seeds as f64 / seconds;
    println!(
        "{seeds} seeds in {seconds:.1} s on {threads} threads, {speed:.0} a second, {} events\n{tally}",
        tally.events
    );

    assert_eq!(tally.seeds, seeds);
    if 1_500 <= seeds {
        for (what, count) in tally.rows() {
            assert!(0 < count, "never: {what}");
        }
    }
}

#[test]
fn seeds_of_failovers_keep_every_promise_f085_f086_f111_f113() {
    campaign(2_000);
}

#[test]
#[ignore = "a million seeds"]
fn a_million_failovers_keep_every_promise() {
    campaign(1_000_000);
}
