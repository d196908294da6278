//! How fast it is; by hand.

use super::*;

/// `cargo test -p longshore-sqlite --lib -- --ignored --nocapture how_fast`
#[test]
#[ignore = "measures"]
fn how_fast_small_transactions_are_applied() {
    let (mut place, mut sink) = Place::counting(4096);
    let rows = format!("SELECT 0, hex(randomblob(300)) FROM json_each('[{}1]')", "1,".repeat(20_000));
    place.apply(&mut sink, &format!("INSERT INTO t (n, pad) {rows}"));
    for group in [1, 10, 100] {
        let small = |n| format!("UPDATE t SET n = n + 1 WHERE id = {n} * 17; UPDATE counter SET n = {n}");
        let runs: Vec<Payloads> = (1..1000).map(|n| place.primary.run(&small(n))).collect();
        let begun = std::time::Instant::now();
        for (n, run) in (1..).zip(&runs) {
            place.give(&mut sink, run);
            if n % group == 0 {
                sink.sync().unwrap();
            }
        }
        sink.sync().unwrap();
        let rate = runs.len() as f64 / begun.elapsed().as_secs_f64();
        println!("groups of {group}: {rate:.0} transactions/s");
    }
}

/// Beside `cp` and a sync of the same database.
#[test]
#[ignore = "measures"]
fn how_fast_a_whole_database_is_restored() {
    let mut place = Place::new(4096);
    place.primary.db.execute_batch("CREATE TABLE t (x)").unwrap();
    for _ in 0..40 {
        place.primary.db.execute("INSERT INTO t VALUES (randomblob(10 << 20))", []).unwrap();
    }
    let run = place.primary.ship_whole();
    let time = |work: &mut dyn FnMut()| {
        let begun = std::time::Instant::now();
        work();
        begun.elapsed()
    };
    for _ in 0..3 {
        let copy = place.dir.path().join("copy.db");
        let copied = time(&mut || {
            std::fs::copy(place.dir.path().join("primary.db"), &copy).unwrap();
            std::fs::File::open(&copy).unwrap().sync_all().unwrap();
        });
        std::fs::remove_file(&copy).unwrap();
        let partial = place.dir.path().join("restored.db.partial");
        let restored = time(&mut || {
            let mut sink = sink_at(&partial);
            Log::new().give(&mut sink, &run).unwrap();
            sink.finish().unwrap();
        });
        let completed = time(&mut || {
            longshore_apply::FileOutput::complete(&crate::SqliteOutput, &partial, longshore_apply::Check::Quick)
                .unwrap();
        });
        std::fs::remove_file(&partial).unwrap();
        println!("cp and sync {copied:?}, restored {restored:?}, checked {completed:?}");
    }
}
