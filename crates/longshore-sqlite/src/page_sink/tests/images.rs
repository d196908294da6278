//! What a sink holds, as an image.

use super::*;

/// The database that an image makes, and what its counter says.
fn made_of(image: &mut dyn DatabaseImage) -> i64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seeded.db");
    let mut sink = PageSink::new(&path);
    sink.open(&FACTS).unwrap();
    let mut log = Log { at: image.position(), held: None };
    let mut payloads = Payloads::new();
    while let Some(payload) = image.next_payload().unwrap() {
        assert!(payload.len() <= MAX_PAYLOAD);
        payloads.push(payload);
    }
    log.give(&mut sink, &payloads).unwrap();
    sink.finish().unwrap();
    let db = Connection::open(&path).unwrap();
    let sound: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let (n, sum) = db
        .query_row("SELECT n, (SELECT coalesce(sum(n), 0) FROM t) FROM counter", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .unwrap();
    assert_eq!(n, sum, "a sum of one transaction");
    n
}

#[test]
fn a_snapshot_of_a_replica_is_exactly_its_position_while_it_is_applied_to() {
    let (mut place, mut sink) = Place::counting(4096);
    let snapshotter = ReplicaSnapshotter::new(place.replica(), MAX_PAYLOAD);
    let counted = Mutex::new(HashMap::from([(place.log.at, 0)]));
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut image = snapshotter.begin().unwrap();
                let position = image.position();
                let n = made_of(&mut *image);
                assert_eq!(counted.lock().unwrap().get(&position), Some(&n), "at {position}");
                taken.fetch_add(1, Ordering::Relaxed);
            }
        });
        let stopping = Stop(&stop);
        let mut n = 0;
        while n < 400 || taken.load(Ordering::Relaxed) < 20 {
            n += 1;
            let run = place.primary.run(&count(n));
            // Noted before anybody can see it.
            let mut after = place.log.clone();
            after.pass(&run);
            counted.lock().unwrap().insert(after.at, n as i64);
            place.give(&mut sink, &run);
            if n % 3 == 0 {
                sink.sync().unwrap();
            }
        }
        drop(stopping);
    });
    sink.finish().unwrap();
    // One that nobody takes to its end ends, too, and a database that is not there is an error.
    drop(snapshotter.begin().unwrap());
    assert!(ReplicaSnapshotter::new(place.dir.path().join("none.db"), MAX_PAYLOAD).begin().is_err());
}

/// The records of an image, as they come.
fn records(image: &mut dyn DatabaseImage) -> Payloads {
    std::iter::from_fn(|| image.next_payload().unwrap()).collect()
}

/// Whether the database stands in its file or in its `-wal`, and whether or not anybody may read it.
#[test]
fn what_is_held_is_the_image_that_a_snapshot_would_be() {
    let (mut place, mut sink) = Place::counting(4096);
    assert!(PageSink::new(place.dir.path().join("none.db")).open(&FACTS).unwrap().is_none());
    let rows = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO t SELECT i, i, randomblob(200) FROM n";
    place.apply(&mut sink, rows);
    let snapshotter = ReplicaSnapshotter::new(place.replica(), MAX_PAYLOAD);
    for reopened in [false, true] {
        if reopened {
            drop(sink);
            sink = place.sink();
        }
        let expected = records(&mut *snapshotter.begin().unwrap());
        assert!(8 < expected.len());
        let mut held = sink.held_image().unwrap().unwrap();
        assert_eq!(held.position(), place.log.held.unwrap().lsn);
        assert!(records(&mut *held) == expected);
        // Begun before and after nobody can read it any more, and on another thread.
        let mut before = sink.held_image().unwrap().unwrap();
        sink.withhold().unwrap();
        let mut after = sink.held_image().unwrap().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(records(&mut *before) == expected && records(&mut *after) == expected));
        });
        drop((before, after));
        place.apply(&mut sink, "UPDATE counter SET n = n + 1");
    }
    // The fence stands: no lock went with what was read.
    let writer = Connection::open(place.replica()).unwrap();
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(writer.execute_batch("INSERT INTO counter VALUES (7)").is_err());
    drop((writer, sink));
    place.check_same_pages();
}

#[test]
fn an_image_that_is_held_but_for_a_page_writes_that_page_alone() {
    let (mut place, mut sink) = Place::counting(4096);
    let rows = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                INSERT INTO t SELECT i, i, randomblob(200) FROM n";
    place.apply(&mut sink, rows);
    sink.finish().unwrap();
    let State::There { group, .. } = &sink.open.as_ref().unwrap().state else { panic!("it is there") };
    let (before, pages) = (group.frames(), group.pages());
    place.primary.run("UPDATE t SET pad = zeroblob(200) WHERE id = 1500");
    let whole = place.primary.ship_whole();
    place.give(&mut sink, &whole);
    sink.sync().unwrap();
    let State::There { group, .. } = &sink.open.as_ref().unwrap().state else { panic!("it is there") };
    assert!(100 < pages && group.frames() - before <= 3, "{} frames for {pages} pages", group.frames() - before);
    drop(sink);
    place.check_same_pages();
}
