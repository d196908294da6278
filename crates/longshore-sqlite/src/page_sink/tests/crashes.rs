//! Ends at any moment, and positions that do not fit.

use super::*;

/// A process that is killed leaves some moment of the files; wherever that is, the next one goes on.
#[test]
fn a_crash_at_any_step_leaves_a_position_that_fits() {
    let (mut place, mut sink) = Place::counting(4096);
    for n in 1..5 {
        place.apply(&mut sink, &count(n));
    }
    let before = (place.log.clone(), place.primary.image());
    let sidecar_before = std::fs::read(Sidecar::path_of(&place.replica())).unwrap();
    let wal = crate::sidecar::beside(&place.replica(), "-wal");
    let wal_before = std::fs::metadata(&wal).unwrap().len();
    // Two runs in one group, one page of which goes there and back.
    let runs = [place.primary.run(&count(5)), place.primary.run(&count(6))];
    for run in &runs {
        place.give(&mut sink, run);
    }
    sink.sync().unwrap();
    let wal_after = std::fs::metadata(&wal).unwrap().len();
    assert!(wal_before + 3 * 4120 <= wal_after);
    let expected = dump(&place.primary.db);

    // Intent or not, and as much of the transaction as you like.
    let mut seen = [0, 0];
    let cuts = (wal_before..wal_after).step_by(1373).chain([wal_after - 1, wal_after]);
    for (number, (cut, has_intent)) in cuts.flat_map(|cut| [(cut, true), (cut, false)]).enumerate() {
        if !has_intent && cut == wal_after {
            continue; // The order forbids it; see the next test.
        }
        let copy = place.dir.path().join(format!("crash{number}"));
        crash(&place.replica(), &copy);
        let copy = copy.join("replica.db");
        std::fs::File::options().write(true).open(crate::sidecar::beside(&copy, "-wal")).unwrap().set_len(cut).unwrap();
        if !has_intent {
            std::fs::write(Sidecar::path_of(&copy), &sidecar_before).unwrap();
        }
        let mut sink = PageSink::new(&copy);
        let held = sink.open(&FACTS).unwrap();
        let is_after = has_intent && cut == wal_after;
        assert_eq!(held, if is_after { place.log.held } else { before.0.held }, "cut at {cut}, intent {has_intent}");
        seen[usize::from(is_after)] += 1;
        if !is_after {
            let mut log = before.0.clone();
            for run in &runs {
                log.give(&mut sink, run).unwrap();
            }
            sink.finish().unwrap();
        }
        assert!(dump(&Connection::open(&copy).unwrap()) == expected);
    }
    assert!(seen[0] > 4 && seen[1] == 1, "{seen:?}");
}

#[test]
fn a_position_that_is_older_than_the_database_is_noticed_and_nothing_written() {
    let (mut place, mut sink) = Place::counting(4096);
    let path = Sidecar::path_of(&place.replica());
    place.apply(&mut sink, &count(1));
    let old = std::fs::read(&path).unwrap();
    for n in 2..5 {
        place.apply(&mut sink, &count(n));
    }
    sink.finish().unwrap();
    drop(sink);
    let (before, new) = (std::fs::read(place.replica()).unwrap(), std::fs::read(&path).unwrap());
    std::fs::write(&path, &old).unwrap();
    let error = PageSink::new(place.replica()).open(&FACTS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged);
    assert!(error.to_string().contains("delete it"), "{error}");

    std::fs::remove_file(&path).unwrap();
    let error = PageSink::new(place.replica()).open(&FACTS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight);
    assert!(error.to_string().contains("replica.db-longshore"), "{error}");

    std::fs::write(&path, [0; 8192]).unwrap();
    assert_eq!(PageSink::new(place.replica()).open(&FACTS).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(before == std::fs::read(place.replica()).unwrap());
    std::fs::write(&path, &new).unwrap();
    place.sink();
}

#[test]
fn a_position_without_a_database_means_nothing() {
    let (mut place, mut sink) = Place::counting(4096);
    place.apply(&mut sink, &count(1));
    // What a crash leaves when somebody deletes the database alone: its -wal must not come back in the next one.
    let copy = place.dir.path().join("crash");
    crash(&place.replica(), &copy);
    let copy = copy.join("replica.db");
    std::fs::remove_file(&copy).unwrap();
    let mut sink = PageSink::new(&copy);
    assert_eq!(sink.open(&FACTS).unwrap(), None);
    place.primary.db.execute_batch("DROP TABLE t").unwrap();
    Log::new().give(&mut sink, &place.primary.ship_whole()).unwrap();
    sink.finish().unwrap();
    assert!(dump(&Connection::open(&copy).unwrap()) == dump(&place.primary.db));
}

/// The runs of a directory with a file for each payload, and the log as it is after each.
fn runs_in(directory: &Path) -> Vec<Payloads> {
    let payload = |run: usize, n: usize| std::fs::read(directory.join(format!("{run}.{n}"))).ok();
    let run = |run| (0..).map_while(|n| payload(run, n)).collect::<Payloads>();
    (0..).map(run).take_while(|run| !run.is_empty()).collect()
}

/// Which run follows the one that ends at what a sink holds.
fn after(held: Option<Held>, runs: &[Payloads], log: &mut Log) -> usize {
    let mut at = 0;
    while log.held != held {
        log.pass(&runs[at]);
        at += 1;
    }
    at
}

/// What the next test kills.
#[test]
#[ignore = "is run by the next test"]
fn a_process_that_applies() {
    let Some(directory) = std::env::var_os("LONGSHORE_TEST_RUNS") else { return };
    let (runs, mut log) = (runs_in(directory.as_ref()), Log::new());
    let mut sink = PageSink::new(Path::new(&directory).join("replica.db")).with_limit(40);
    let held = sink.open(&FACTS).unwrap();
    println!("\nready");
    let next = after(held, &runs, &mut log);
    for (n, run) in runs.iter().enumerate().skip(next) {
        log.give(&mut sink, run).unwrap();
        if n % 3 != 0 {
            sink.sync().unwrap();
        }
        println!("{n}");
    }
    sink.finish().unwrap();
    println!("finished");
}

/// The order of what is written: whenever it is killed, its position fits what it holds.
#[test]
fn a_process_that_is_killed_at_any_moment_holds_what_it_says() {
    use std::io::{BufRead, BufReader};
    let mut place = Place::new(4096);
    let directory = place.dir.path().join("runs");
    std::fs::create_dir(&directory).unwrap();
    let mut runs = vec![place.primary.run(
        "CREATE TABLE counter (n); INSERT INTO counter VALUES (0);
         CREATE TABLE t (id INTEGER PRIMARY KEY, n, pad); CREATE INDEX by_n ON t (n)",
    )];
    for n in 1..600 {
        let large = if n % 50 == 7 { "; UPDATE t SET pad = hex(randomblob(500))" } else { "" };
        runs.push(place.primary.run(&format!("{}{large}", count(n))));
    }
    for (number, run) in runs.iter().enumerate() {
        for (n, payload) in run.iter().enumerate() {
            std::fs::write(directory.join(format!("{number}.{n}")), payload).unwrap();
        }
    }
    let replica = directory.join("replica.db");
    let (mut kills, mut seed) = (0, 7_u64);
    loop {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["page_sink::tests::crashes::a_process_that_applies", "--exact", "--ignored", "--nocapture"])
            .env("LONGSHORE_TEST_RUNS", &directory)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "ready"), "it has begun");
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_finished = lines.by_ref().take((seed >> 33) as usize % 40).any(|line| line == "finished");
        // And some moment after that line.
        let spins = (seed >> 40) % 60_000;
        (0..spins).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        child.wait().unwrap();
        let held = PageSink::held(&replica).unwrap();
        let next = after(held, &runs, &mut Log::new());
        if is_finished {
            assert_eq!(next, runs.len());
            break;
        }
        kills += 1;
        let Some(expected) = next.checked_sub(1) else { continue };
        let db = Connection::open(&replica).unwrap();
        let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(one("SELECT n FROM counter"), expected as i64, "after {kills} kills");
        assert_eq!(one("SELECT coalesce(sum(n), 0) FROM t"), expected as i64);
        dump(&db);
    }
    assert!(kills > 15, "{kills}");
    std::fs::rename(&replica, place.replica()).unwrap();
    place.check_same_pages();
}
