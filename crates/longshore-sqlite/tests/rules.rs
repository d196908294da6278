//! What may be in a log, decided alike where it is recorded and where it is applied.

mod support;

use longshore_format::ErrorKind;
use longshore_sqlite::Denied;
use rusqlite::params;
use support::Place;

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b DEFAULT 7)",
    "CREATE TABLE log (what TEXT)",
    "CREATE TRIGGER tr AFTER DELETE ON t BEGIN INSERT INTO log VALUES ('gone ' || old.id); END",
    "CREATE VIEW v AS SELECT a FROM t",
    "CREATE VIRTUAL TABLE words USING fts5(body)",
];

#[test]
fn deterministic_statements_are_taken_and_leave_equal_databases() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        SCHEMA.iter().for_each(|sql| {
            tx.execute(sql, params![]).unwrap();
        })
    });
    for sql in [
        "INSERT INTO t (a) VALUES (abs(-3)), (upper('x') || hex(x'00ff')), (NULL)",
        "INSERT INTO t (a, b) SELECT a, count(*) OVER () FROM t ORDER BY id",
        "INSERT INTO t (id, a) VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET a = excluded.a RETURNING id",
        "INSERT OR IGNORE INTO t (id) VALUES (1)",
        "REPLACE INTO t (id, a) VALUES (2, json_object('k', json_array(1, 2)))",
        "UPDATE t SET a = a ->> '$.k[1]' WHERE json_valid(a)",
        "DELETE FROM t WHERE id = 3",
        "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 50) INSERT INTO t (a) SELECT printf('%03d', x) FROM n",
        "ALTER TABLE t ADD COLUMN c DEFAULT 'new'",
        "ALTER TABLE t RENAME COLUMN b TO bb",
        "ALTER TABLE log RENAME TO journal",
        "ALTER TABLE t DROP COLUMN c",
        "CREATE UNIQUE INDEX i ON t (lower(a), id)",
        "CREATE TABLE copy AS SELECT * FROM t WHERE a LIKE '%1%'",
        "DROP VIEW v",
        "DROP TABLE copy",
        "INSERT INTO words VALUES ('the quick brown fox'), ('lazy dog')",
        "INSERT INTO t (a) SELECT rowid FROM words WHERE words MATCH 'fox'",
        "DELETE FROM words WHERE words MATCH 'dog'",
        "CREATE TABLE IF NOT EXISTS t (x)",
        "REINDEX",
    ] {
        place.transact(&mut host, |tx| {
            tx.execute(sql, params![]).unwrap_or_else(|error| panic!("{sql}: {error}"));
        });
    }
    place.replicate("replica.db").unwrap();
    assert_eq!(place.dump("replica.db"), place.dump("host.db"));
}

#[test]
fn statements_that_may_differ_elsewhere_are_refused_when_recorded_and_when_applied() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        SCHEMA.iter().for_each(|sql| {
            tx.execute(sql, params![]).unwrap();
        })
    });
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TRIGGER shaky AFTER INSERT ON log BEGIN UPDATE t SET a = random(); END", params![]).unwrap();
        tx.execute("CREATE VIEW dice AS SELECT random() AS face", params![]).unwrap();
    });
    let function = |name: &str| Denied::Function(name.to_owned());
    let cases: Vec<(&str, Denied)> = vec![
        ("INSERT INTO t (a) VALUES (random())", function("random")),
        ("INSERT INTO t (a) VALUES (RandomBlob(4))", function("randomblob")),
        ("UPDATE t SET a = datetime('now')", function("datetime")),
        ("UPDATE t SET a = CURRENT_TIMESTAMP", function("current_timestamp")),
        ("UPDATE t SET a = strftime('%s', 'now')", function("strftime")),
        ("CREATE TABLE x (at TEXT DEFAULT CURRENT_TIMESTAMP)", function("current_timestamp")),
        ("INSERT INTO log VALUES ('x')", function("random")),
        ("INSERT INTO t (a) SELECT face FROM dice", function("random")),
        ("UPDATE t SET a = last_insert_rowid()", function("last_insert_rowid")),
        ("UPDATE t SET a = changes()", function("changes")),
        ("UPDATE t SET a = sqlite_version()", function("sqlite_version")),
        ("UPDATE t SET a = load_extension('x')", function("load_extension")),
        ("UPDATE t SET a = from_the_host()", function("from_the_host")),
        ("CREATE TABLE u (x DEFAULT (random()))", function("random")),
        ("PRAGMA user_version = 3", Denied::Pragma("user_version".into())),
        ("PRAGMA writable_schema = on", Denied::Pragma("writable_schema".into())),
        ("ATTACH ':memory:' AS other", Denied::Attach),
        ("VACUUM", Denied::Attach),
        ("VACUUM INTO 'x.db'", Denied::Attach),
        ("BEGIN", Denied::Transaction),
        ("COMMIT", Denied::Transaction),
        ("ROLLBACK", Denied::Transaction),
        ("SAVEPOINT s", Denied::Transaction),
        ("RELEASE longshore_run", Denied::Transaction),
        ("ROLLBACK TO longshore_run", Denied::Transaction),
        ("CREATE TEMP TABLE x (a)", Denied::Temporary),
        ("CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", Denied::Temporary),
        ("CREATE VIRTUAL TABLE x USING dbstat", Denied::Module("dbstat".into())),
        ("UPDATE _longshore_position SET lsn = 9", Denied::Position),
        ("DELETE FROM _Longshore_Position", Denied::Position),
        ("DROP TABLE _longshore_position", Denied::Position),
        ("ALTER TABLE _longshore_position RENAME TO x", Denied::Position),
        ("INSERT INTO t (a) SELECT lsn FROM _longshore_position", Denied::Position),
        ("SELECT 1", Denied::Reading),
        ("-- nothing", Denied::Reading),
    ];
    place.replicate("replica.db").unwrap();
    let before = place.dump("replica.db");
    for (sql, expected) in cases {
        let mut recording = host.begin().unwrap();
        match recording.execute(sql, params![]) {
            Err(longshore_sqlite::Error::Denied { denied, .. }) => {
                assert_eq!(same(denied), same(expected.clone()), "{sql}")
            }
            // SQLite itself does not know it, or not inside a transaction.
            Err(error) => {
                let others = ["no such module", "no such function", "cannot VACUUM"];
                assert!(others.iter().any(|text| error.to_string().contains(text)), "{sql}: {error}");
            }
            Ok(_) => panic!("recorded: {sql}"),
        }
        drop(recording);

        // The same from a client that did not ask: a poison record, which stops the sink by name.
        let fork = Place::new();
        SCHEMA.iter().for_each(|sql| {
            fork.append(&[sql]);
        });
        fork.append(&[
            "CREATE TRIGGER shaky AFTER INSERT ON log BEGIN UPDATE t SET a = random(); END",
            "CREATE VIEW dice AS SELECT random() AS face",
        ]);
        let good = longshore_apply::Source::end(&fork.log);
        fork.append(&[sql]);
        let error = fork.replicate("replica.db").expect_err(sql);
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Diverged), "{sql}: {error}");
        assert!(error.to_string().contains(&format!("from {good}")), "{error}");
        assert_eq!(fork.dump("replica.db"), before, "{sql} left nothing behind");
    }
}

/// SQLite tells the name as it was written.
fn same(denied: Denied) -> String {
    format!("{denied:?}").to_lowercase()
}

#[test]
fn two_statements_in_one_and_wrong_parameters_are_refused() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (a)", params![]).unwrap();
    });
    let mut recording = host.begin().unwrap();
    for (sql, parameters) in [
        ("INSERT INTO t VALUES (1); DELETE FROM t", params![]),
        ("INSERT INTO t VALUES (?1)", params![]),
        ("INSERT INTO t VALUES (?1)", params![1, 2]),
        ("INSERT INTO nowhere VALUES (1)", params![]),
        ("nonsense", params![]),
    ] {
        recording.execute(sql, parameters).expect_err(sql);
    }
    recording.execute("INSERT INTO t VALUES (?1); ", params![5]).unwrap();
    recording.roll_back();
}

#[test]
fn a_hosts_own_writes_and_settings_are_refused_outside_a_recording() {
    let place = Place::new();
    let mut host = place.host();
    place.transact(&mut host, |tx| {
        tx.execute("CREATE TABLE t (a)", params![]).unwrap();
    });
    let insert = "INSERT INTO t VALUES (1)";
    place.transact(&mut host, |tx| {
        tx.execute(insert, params![]).unwrap();
        let sum: i64 = tx.reader().query_row("SELECT sum(a) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 1, "a transaction reads its own writes");
        assert!(tx.reader().prepare_cached(insert).is_err(), "also when the statement is cached");
        assert!(tx.reader().execute_batch("COMMIT").is_err());
    });
    for sql in [
        insert,
        "CREATE TABLE u (a)",
        "BEGIN",
        "PRAGMA foreign_keys = on",
        "PRAGMA case_sensitive_like = on",
        "ATTACH ':memory:' AS x",
    ] {
        assert!(host.reader().execute_batch(sql).is_err(), "{sql}");
    }
    for sql in [
        "SELECT random(), datetime('now'), lsn FROM _longshore_position",
        "PRAGMA foreign_keys",
        "PRAGMA table_info(t)",
        "EXPLAIN SELECT 1",
    ] {
        host.reader().prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// A database that was there before its log may have such columns; they must be given a value.
#[test]
fn a_column_default_that_reads_the_clock_is_refused_where_it_is_used() {
    let place = Place::new();
    let mut host = place.host_with("CREATE TABLE stamped (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP)");
    let mut recording = host.begin().unwrap();
    assert!(recording.execute("INSERT INTO stamped (id) VALUES (1)", params![]).is_err());
    recording.execute("INSERT INTO stamped VALUES (1, ?1)", params!["2026-11-22"]).unwrap();
}
