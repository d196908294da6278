//! A transaction of any size is one run, and takes no memory to speak of.
//!
//! Alone in its file: what a process has taken at most cannot be told apart by test.

mod rig;

use std::process::Command;

use rig::{Rig, drain};
use rusqlite::Connection;

const BLOB: u64 = 100 << 20;
/// Above all 16 MiB of pages that wait to be applied. Then there are the page numbers, frames and hashes of a transaction, 28
/// bytes a page or 0.7 MiB of this one, a MiB of frames that are read ahead, the connections' caches of 2 MiB, and the segments
/// of the log that are mapped.
const BOUND: u64 = 32 << 20;
const DIR: &str = "LONGSHORE_TEST_LARGE_TRANSACTION";

/// Not a test: the application, which has the blob in memory and so is another process.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn an_application() {
    let Ok(path) = std::env::var(DIR) else { return };
    let app = Connection::open(path).unwrap();
    app.execute_batch(&format!("INSERT INTO items (body) VALUES (randomblob({BLOB}))")).unwrap();
}

/// The most memory that this process has taken since the last call, and what it takes now, in bytes.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    };
    // Resets the peak to what is taken now.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    (kib("VmHWM:") << 10, kib("VmRSS:") << 10)
}

#[test]
fn a_blob_of_100_mib_is_one_run_in_bounded_memory() {
    let rig = Rig::new();
    let app = rig.app();
    app.execute_batch("CREATE TABLE items (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
    let mut capture = rig.attach();
    rig.apply();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_application", "--ignored"])
        .env(DIR, rig.at("app.db"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let (_, before) = memory();
    assert_eq!(drain(&mut capture), 1);
    let (captured, _) = memory();
    rig.apply();
    let (applied, _) = memory();
    let (captured, applied) = (captured.saturating_sub(before), applied.saturating_sub(before));
    println!("captured in {} MiB, applied in {} MiB", captured >> 20, applied >> 20);
    assert!(captured < BOUND && applied < BOUND, "{captured} and {applied} bytes");

    let replica = Connection::open(rig.at("replica.db")).unwrap();
    let blob = |db: &Connection| -> Vec<u8> { db.query_row("SELECT body FROM items", [], |row| row.get(0)).unwrap() };
    let (here, there) = (blob(&app), blob(&replica));
    assert_eq!((here.len() as u64, there.len() as u64), (BLOB, BLOB));
    assert!(here == there, "what was applied is not what was committed");
}
