//! The crash simulator over the log: thousands of seeds, and every crash point of small workloads.
//!
//! ```text
//! cargo test -p longshore-testkit --test crash_sim -- --nocapture          20,000 seeds
//! LONGSHORE_SEEDS=1000000 cargo test …                                     as many as one has time for
//! LONGSHORE_SEED=4711 cargo test … seeds                                   one again
//! ```

use std::time::Instant;

use longshore_testkit::crash_sim::{PointsOf, crash_points, run_seed, run_seeds};
use longshore_testkit::seeds::number;

#[test]
fn seeds_of_six_crashes_each_keep_every_promise() {
    if let Some(seed) = number("LONGSHORE_SEED") {
        match run_seed(seed) {
            Ok(tally) => println!("{tally}"),
            Err(violation) => panic!("seed {seed}:\n{violation}"),
        }
        return;
    }
    let seeds = number("LONGSHORE_SEEDS").unwrap_or(20_000);
    let first = number("LONGSHORE_FIRST_SEED").unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let tally = run_seeds(first..first + seeds, threads).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{seeds} seeds in {:.1} s on {threads} threads\n{tally}", started.elapsed().as_secs_f64());

    assert_eq!(tally.seeds, seeds);
    assert!(tally.crashes >= 6 * seeds, "six crashes a seed");
    assert!(tally.workload_operations >= 100 * seeds, "a hundred operations a seed");
    assert!(tally.boundaries_crossed >= 2 * seeds, "two segment boundaries a seed");
    if seeds < 100 {
        return;
    }
    for (what, count) in [
        ("sectors dropped", tally.disk.sectors_dropped),
        ("words torn", tally.disk.words_torn),
        ("entries lost", tally.disk.entries_lost),
        ("lengths lost", tally.disk.lengths_lost),
        ("allocations lost", tally.disk.allocations_lost),
        ("sync errors", tally.disk.sync_errors),
        ("read errors", tally.disk.read_errors),
        ("kills", tally.disk.kills),
        ("tails cut", tally.tails_cut),
        ("read beside", tally.read_beside),
        ("corruptions refused", tally.corruptions_refused),
        ("recoveries crashed", tally.recoveries_crashed),
        ("records dropped", tally.records_dropped),
        ("segments sealed", tally.segments_sealed),
        ("segments trimmed", tally.segments_trimmed),
        ("segments compared", tally.segments_compared),
        ("frames refused", tally.frames_refused),
        ("logs poisoned", tally.logs_poisoned),
        ("clean opens", tally.clean_opens),
        ("full disks", tally.full_disks),
    ] {
        assert!(count > 0, "{what}: none at all");
    }
}

fn every_point(of: PointsOf, seeds: u64) {
    let started = Instant::now();
    let mut points = 0;
    for seed in 1..=seeds {
        match crash_points(of, seed) {
            Ok((_, there_were)) => {
                assert!(there_were > 0);
                points += there_were;
            }
            Err(violation) => panic!("{of:?}, seed {seed}:\n{violation}"),
        }
    }
    println!("{of:?}: {points} crash points in {:.1} s", started.elapsed().as_secs_f64());
}

#[test]
fn a_primary_of_three_segments_survives_every_crash_point() {
    every_point(PointsOf::Primary, 3);
}

#[test]
fn a_follower_of_three_segments_survives_every_crash_point() {
    every_point(PointsOf::Follower, 5);
}

#[test]
fn f_073_a_recovery_survives_a_crash_at_every_point() {
    every_point(PointsOf::Recovery, 40);
}

#[test]
fn a_creation_survives_a_crash_at_every_point() {
    every_point(PointsOf::Creation, 10);
}

#[test]
fn a_truncation_to_a_fork_survives_a_crash_at_every_point() {
    every_point(PointsOf::Truncation, 20);
}
