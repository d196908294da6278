//! A database that is no SQLite file, archived with its snapshots: what the retention has dropped of its log is not missed.

#[path = "../examples/redb.rs"]
#[allow(dead_code, reason = "its program is not run here")]
mod example;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore::apply::{LogFacts, RunEnd, Sink, Target};
use longshore::archive::{Archive, ArchiveSettings, Begin, Keep, Listed, Schedule, Store, Until, list};
use longshore::format::{Flags, Kind, LogId, Record};
use longshore::{Content, ErrorKind, Lsn, Output, Primary, Replay, Settings};
use redb::Database;

use example::{RedbSink, Snapshots, add, counter};

const LONG: Duration = Duration::from_secs(30);

fn listed(store: &Store) -> Option<Listed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_, listed) = runtime.block_on(list(store, None)).unwrap().pop()?;
    match listed {
        // Its first object is there already.
        Err(longshore::archive::Error::NoManifest { .. }) => None,
        listed => Some(listed.unwrap()),
    }
}

fn into_redb(path: &Path) -> Output {
    let path = path.to_owned();
    Output::stream(move || Box::new(RedbSink::create(&path).unwrap()) as Box<dyn Sink>)
}

/// Counters with names of ten thousand letters fill a segment fast.
fn name(index: usize) -> String {
    format!("{index}{}", "x".repeat(10_000))
}

#[test]
fn a_restore_begins_with_a_snapshot_where_the_log_has_lost_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("store")).unwrap();
    let store = Store::open(&format!("file://{}", dir.join("store").display())).unwrap();
    let mut settings = Settings::default();
    settings.log.segment_size = "1MiB".parse().unwrap();
    let log = Primary::create(dir.join("data"), "counters", Content::Bytes, &settings).unwrap();
    let database = Arc::new(Database::create(dir.join("counters.redb")).unwrap());
    log.node().offer_snapshots("counters", Arc::new(Snapshots { database: Arc::clone(&database) })).unwrap();
    let archive = ArchiveSettings {
        tail_every: Duration::from_millis(10),
        snapshots: Schedule { every: None, after: Some(1 << 20) },
        keep: Keep { snapshots: Some(1), age: None },
        ..ArchiveSettings::default()
    };
    log.node().archive_into(vec![store.clone()], archive);

    // A counter that is gone from what is written later: only a snapshot has it.
    add(&database, &log, "early", 41).unwrap();
    let begun = Instant::now();
    let mut added = 0;
    while listed(&store).is_none_or(|log| log.first.get() < 1 << 20) {
        assert!(begun.elapsed() < LONG, "nothing of the archive is forgotten: {:?}", listed(&store));
        add(&database, &log, &name(added % 7), 1).unwrap();
        added += 1;
    }
    add(&database, &log, "early", 1).unwrap();
    let counters = |database: &Database| -> Vec<u64> {
        let names = ["early".to_owned()].into_iter().chain((0..7).map(name));
        names.map(|name| counter(database, &name).unwrap()).collect()
    };
    let expected = counters(&database);
    assert_eq!((expected[0], expected[1..].iter().sum::<u64>()), (42, added as u64));
    log.close().unwrap();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let output = into_redb(&dir.join("restored.redb"));
    let replay = runtime.block_on(async {
        let archive = Archive::open(std::slice::from_ref(&store), &"counters".parse().unwrap(), None).await.unwrap();
        let begin = Replay::begins(&archive, &Target::LATEST, &output);
        assert!(matches!(begin, Begin::Snapshot(_)));
        let plan = archive.plan(Until::End, begin).unwrap();
        assert!(plan.snapshot.is_some() && 1 << 20 <= plan.first.get(), "{plan:?}");
        Replay::fetch(&archive, &plan, &dir.join("scratch"), |_| {}).await.unwrap()
    });
    replay.run(&output, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(counters(&Database::open(dir.join("restored.redb")).unwrap()), expected);
    // Run again it finds that it holds everything.
    let again = replay.run(&output, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(again.runs, 0);
    assert_eq!(counters(&Database::open(dir.join("restored.redb")).unwrap()), expected);

    // A sink that cannot begin with one is refused, for this log has lost its beginning.
    let lines = Output::file(longshore::apply::JsonLinesOutput, dir.join("out.jsonl"));
    assert_eq!(replay.run(&lines, |_| ControlFlow::Continue(())).unwrap_err().kind(), ErrorKind::TooOld);
}

#[test]
fn an_image_takes_the_place_of_what_a_sink_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counters.redb");
    let mut sink = RedbSink::create(&path).unwrap();
    assert!(sink.takes_image(Content::Bytes) && !sink.takes_image(Content::Sql));
    sink.open(&LogFacts { id: LogId::from_bytes([1; 16]), content: Content::Bytes }).unwrap();
    for (lsn, (name, image)) in [(100, ("old", false)), (200, ("new", true))] {
        if image { sink.begin_image() } else { sink.begin() }.unwrap();
        let (lsn, payload) = (Lsn::new(lsn), [&7_u64.to_le_bytes()[..], name.as_bytes()].concat());
        let (kind, flags) = (Kind::USER, Flags::FIRST);
        let record =
            Record { start: lsn, end: lsn, kind, flags, time: 0, durable: None, header_crc: 0, payload: &payload };
        sink.record(&record).unwrap();
        sink.commit(&RunEnd { start: lsn, lsn, crc: 0, time: 0, records: 1 }).unwrap();
    }
    assert_eq!(sink.durable(), Some(Lsn::new(200)));
    drop(sink);
    let database = Database::open(&path).unwrap();
    assert_eq!((counter(&database, "old").unwrap(), counter(&database, "new").unwrap()), (0, 7));
}
