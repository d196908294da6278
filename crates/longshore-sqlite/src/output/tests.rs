use super::*;
use crate::testing::{FACTS, LOG, Log, Primary, dump};
use longshore_apply::{Failure, LogFacts};
use longshore_format::ErrorKind;

fn names_beside(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("primary.db")).collect();
    names.sort();
    names
}

fn row(n: u32) -> String {
    format!("INSERT INTO t VALUES ({n}, hex(randomblob(500))); UPDATE t SET x = 'gone' WHERE id < {n} - 20")
}

#[test]
fn a_database_of_pages_is_restored_whole_and_can_be_followed_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut primary, mut log) = (Primary::new(dir.path(), 4096), Log::new());
    let path = dir.path().join("restored.db");
    let partial = Partial::of(&path);
    assert_eq!(SqliteOutput.held(partial.partial()).unwrap(), None);
    // Interrupted again and again, at whatever was durable then.
    let mut runs = vec![primary.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")];
    let mut given = 0;
    for n in 1..90 {
        runs.push(primary.run(&row(n)));
    }
    let mut ends = Vec::new();
    while given < runs.len() {
        let mut sink = SqliteOutput.sink(partial.partial());
        assert_eq!(sink.open(&FACTS).unwrap(), log.held);
        for (number, run) in runs.iter().enumerate().skip(given).take(17) {
            log.give(sink.as_mut(), run).unwrap();
            ends.push(log.clone());
            if number % 5 == 0 {
                sink.sync().unwrap();
            }
        }
        // What was not synced is given again.
        let durable = sink.durable();
        drop(sink);
        given = 1 + ends.iter().position(|log| log.held.map(|held| held.lsn) == durable).unwrap();
        ends.truncate(given);
        log = ends[given - 1].clone();
        assert_eq!(SqliteOutput.held(partial.partial()).unwrap(), log.held);
        if given == 86 {
            let mut sink = SqliteOutput.sink(partial.partial());
            sink.open(&FACTS).unwrap();
            for run in &runs[given..] {
                log.give(sink.as_mut(), run).unwrap();
                ends.push(log.clone());
            }
            sink.finish().unwrap();
            given = runs.len();
        }
    }
    assert_eq!(SqliteOutput.held(partial.partial()).unwrap(), log.held);
    SqliteOutput.complete(partial.partial(), Check::Quick).unwrap();
    assert_eq!(names_beside(&path), ["restored.db-longshore", "restored.db.partial"]);
    // Killed before it got its name: it is still what it was, and completed again.
    assert_eq!(SqliteOutput.held(partial.partial()).unwrap(), log.held);
    let mut sink = SqliteOutput.sink(partial.partial());
    assert_eq!(sink.open(&FACTS).unwrap(), log.held);
    sink.finish().unwrap();
    drop(sink);
    SqliteOutput.complete(partial.partial(), Check::Quick).unwrap();
    partial.complete().unwrap();
    assert_eq!(names_beside(&path), ["restored.db", "restored.db-longshore"]);
    assert_eq!(std::fs::read(&path).unwrap()[18..20], [2, 2], "it is in WAL mode, as the original");
    assert!(dump(&Connection::open(&path).unwrap()) == dump(&primary.db));

    let mut live = SqliteOutput.sink(&path);
    assert_eq!(live.open(&FACTS).unwrap(), log.held);
    log.give(live.as_mut(), &primary.run(&row(1000))).unwrap();
    live.finish().unwrap();
    assert!(dump(&Connection::open(&path).unwrap()) == dump(&primary.db));
}

#[test]
fn a_restored_database_that_is_damaged_is_not_completed() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::new(dir.path(), 4096);
    let path = dir.path().join("restored.db.partial");
    let run = primary.run("CREATE TABLE t (x); INSERT INTO t SELECT hex(randomblob(9000)) FROM json_each('[1,2,3,4]')");
    let mut sink = SqliteOutput.sink(&path);
    sink.open(&FACTS).unwrap();
    Log::new().give(sink.as_mut(), &run).unwrap();
    sink.finish().unwrap();
    drop(sink);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..4200].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let error = SqliteOutput.complete(&path, Check::Quick).unwrap_err();
    assert_eq!(error.failure(), Failure::Check, "{error}");
}

/// What a look of each depth says of a restored database whose bytes were changed.
fn looks(sql: &str, damage: impl Fn(&mut Vec<u8>)) -> [Option<String>; 3] {
    [Check::None, Check::Quick, Check::Full].map(|check| {
        let dir = tempfile::tempdir().unwrap();
        let mut primary = Primary::new(dir.path(), 4096);
        primary.db.pragma_update(None, "foreign_keys", false).unwrap();
        let path = dir.path().join("restored.db.partial");
        let mut sink = SqliteOutput.sink(&path);
        sink.open(&FACTS).unwrap();
        Log::new().give(sink.as_mut(), &primary.run(sql)).unwrap();
        sink.finish().unwrap();
        drop(sink);
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let found = SqliteOutput.complete(&path, check).err();
        found.map(|failure| {
            assert_eq!(failure.failure(), Failure::Check, "{failure}");
            failure.to_string()
        })
    })
}

#[test]
fn a_full_look_finds_what_a_quick_one_does_not() {
    let sql = "CREATE TABLE t (x); CREATE INDEX i ON t (x); INSERT INTO t VALUES ('needle')";
    let [none, quick, full] = looks(sql, |bytes| {
        let at = bytes.windows(6).position(|bytes| bytes == b"needle").unwrap();
        bytes[at] = b'N';
    });
    assert_eq!((none, quick), (None, None));
    assert!(full.unwrap().contains("missing from index i"));

    let sql = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id)); INSERT INTO c VALUES (7)";
    let [none, quick, full] = looks(sql, |_| {});
    assert_eq!((none, quick), (None, None));
    assert!(full.unwrap().contains("row 1 of table c refers to a row of p that is not there"));

    let [none, quick, full] = looks("CREATE TABLE t (x); INSERT INTO t VALUES (1)", |bytes| bytes[4096..].fill(0xff));
    assert_eq!(none, None);
    assert!(quick.is_some() && full.is_some());
}

#[test]
fn a_sink_is_what_the_log_holds() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str, content| SqliteSink::new(dir.path().join(name)).open(&LogFacts { id: LOG, content });
    assert_eq!(open("sql.db", Content::Sql).unwrap(), None);
    assert_eq!(open("pages.db", Content::SqlitePages).unwrap(), None);
    assert!(dir.path().join("sql.db").exists() && !dir.path().join("pages.db").exists());
    let error = open("none.db", Content::Bytes).unwrap_err();
    assert_eq!(error.failure(), Failure::Content);
    assert!(error.to_string().contains("jsonl:PATH or exec:CMD"), "{error}");
    assert!(SqliteOutput.check_content(Content::SqlitePages).is_ok());
    assert!(SqliteOutput.check_content(Content::Bytes).is_err());
    // One is never taken for the other.
    let error = open("sql.db", Content::SqlitePages).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight, "{error}");
    let mut primary = Primary::new(dir.path(), 4096);
    let mut sink = SqliteSink::new(dir.path().join("pages.db"));
    sink.open(&FACTS).unwrap();
    Log::new().give(&mut sink, &primary.run("CREATE TABLE t (x)")).unwrap();
    drop(sink);
    let error = open("pages.db", Content::Sql).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Preflight, "{error}");
}
