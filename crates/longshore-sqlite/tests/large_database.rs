//! A database of more than 2 GiB: past the page that SQLite locks bytes of and never uses, and past 31 bits of offset.
//!
//! Blobs of zeros make it large quickly, in the log they take next to nothing. A debug build needs 35 s.

mod rig;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use longshore_apply::FileOutput;
use longshore_sqlite::{CaptureSettings, SqliteOutput};
use rig::{Rig, drain};
use rusqlite::Connection;
use rustix::fs::{SeekFrom, seek};

const PAGE: u64 = 65536;
/// Where the bytes are that SQLite locks.
const LOCKED: u64 = 1 << 30;

fn blob(app: &Connection, mib: u64) {
    app.execute_batch(&format!("INSERT INTO items (body) VALUES (zeroblob({}))", mib << 20)).unwrap();
}

fn pages(db: &Connection) -> u64 {
    db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

/// Whether nothing was ever written where the locked bytes are, as far as the file system tells.
fn is_untouched(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    match seek(&file, SeekFrom::Data(LOCKED)) {
        Ok(data) => LOCKED + PAGE <= data,
        Err(error) => error == rustix::io::Errno::NXIO,
    }
}

/// Every byte of two database files, but for what differs between copies of one on page 1.
fn assert_same_file(path: &Path, reference: &Path) {
    let files = [path, reference].map(|path| File::open(path).unwrap());
    let mut bytes = [vec![0; 1 << 20], vec![0; 1 << 20]];
    for offset in (0..).step_by(1 << 20) {
        let mut read = [0; 2];
        for ((file, bytes), read) in files.iter().zip(&mut bytes).zip(&mut read) {
            *read = file.read_at(bytes, offset).unwrap();
            if offset == 0 {
                bytes[24..28].fill(0);
                bytes[92..100].fill(0);
            }
        }
        assert_eq!(read[0], read[1], "as long, at {offset}");
        assert!(bytes[0][..read[0]] == bytes[1][..read[1]], "differs in the MiB at {offset}");
        if read[0] == 0 {
            return;
        }
    }
}

#[test]
#[ignore = "takes half a minute and 6 GiB of disk: .ci/large runs it"]
fn a_database_of_2_gib_is_captured_applied_and_restored_without_the_page_of_the_locks() {
    let begun = Instant::now();
    let rig = Rig::new();
    let app = Connection::open(rig.at("app.db")).unwrap();
    app.execute_batch(&format!(
        "PRAGMA page_size={PAGE}; PRAGMA auto_vacuum=full; PRAGMA journal_mode=off; PRAGMA synchronous=off;
         CREATE TABLE items (id INTEGER PRIMARY KEY, body BLOB);"
    ))
    .unwrap();
    for mib in [500, 500, 40] {
        blob(&app, mib);
    }
    app.pragma_update(None, "journal_mode", "wal").unwrap();
    println!("{:?}: made", begun.elapsed());

    let mut capture = rig.attach();
    assert_eq!(capture.status().pages, pages(&app) - 1, "an image is all pages but that one");
    rig.apply();
    println!("{:?}: an image", begun.elapsed());
    // Back to before that page, and over it again in a transaction; then over 2 GiB.
    app.execute_batch("DELETE FROM items WHERE id = 3").unwrap();
    assert!(pages(&app) * PAGE < LOCKED);
    assert_eq!(drain(&mut capture), 1);
    rig.apply();
    for mib in [40, 520, 520] {
        blob(&app, mib);
        assert_eq!(drain(&mut capture), 1);
        rig.apply();
        println!("{:?}: {} pages", begun.elapsed(), pages(&app));
    }
    assert!(pages(&app) * PAGE > 2 << 30);

    // As after any end but one in order: what was shipped is gathered from the log, and compared.
    drop(capture);
    app.execute_batch("UPDATE items SET body = 'small' WHERE id = 1").unwrap();
    let busy: bool = app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert!(!busy);
    let capture = rig.try_attach(CaptureSettings::new(rig.at("other.pages"))).unwrap();
    assert_eq!(capture.status().resyncs, 1);
    println!("{:?}: compared", begun.elapsed());
    rig.apply();
    drop(capture);

    // One after the other: two copies are enough for a disk.
    let assert_equal = |name: &str| {
        SqliteOutput.complete(&rig.at(name), longshore_apply::Check::Quick).unwrap();
        assert!(is_untouched(&rig.at(name)), "{name}");
        assert_same_file(&rig.at(name), &rig.at("app.db"));
        std::fs::remove_file(rig.at(name)).unwrap();
        println!("{:?}: {name} is the same", begun.elapsed());
    };
    assert_equal("replica.db");
    rig.apply_to("restored.db");
    assert_equal("restored.db");
}
