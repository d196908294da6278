//! How much disk a plan says that a database takes: as much as the database, not as the log.

mod common;

use common::{Agent, run};
use rusqlite::Connection;

const MIB: u64 = 1 << 20;

#[test]
fn a_small_database_that_is_written_again_and_again_needs_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate").ok();
    let app = Connection::open(at.join("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=wal; PRAGMA busy_timeout=10000; CREATE TABLE t (x);").unwrap();
    app.execute_batch("INSERT INTO t VALUES (randomblob(1 << 20))").unwrap();
    let agent =
        Agent::start(at, "primary --data-dir p --sqlite app.db --log app --init --tls-dir tls --identity primary");
    for _ in 0..20 {
        app.execute_batch("UPDATE t SET x = randomblob(1 << 20)").unwrap();
    }
    assert_eq!(agent.terminate(), 0);

    let plan = run(at, "replay --from p --log app --to latest --into sqlite:copy.db --plan --json").ok();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let bytes = |name: &str| plan[name].as_u64().unwrap();
    assert!(20 * MIB < bytes("payload_bytes"), "{plan}");
    // Beside the database, what SQLite writes ahead.
    assert!(bytes("needed_bytes") < (64 + 4) * MIB, "{plan}");
    assert!(MIB < bytes("needed_bytes") - 64 * MIB, "{plan}");
}
