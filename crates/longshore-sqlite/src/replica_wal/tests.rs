use rusqlite::Connection;
use tempfile::TempDir;

use super::copy_back::CHECKPOINT_FRAMES;
use super::*;
use crate::testing::{crash, dump};

/// A database of `pages` pages or a few more that SQLite made.
fn made(page_bytes: u32, rows: u32) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_bytes}; PRAGMA journal_mode=wal; PRAGMA synchronous=off; CREATE TABLE t (x)"
    ))
    .unwrap();
    let mut insert = db.prepare("INSERT INTO t VALUES (zeroblob(?1))").unwrap();
    db.execute_batch("BEGIN").unwrap();
    for _ in 0..rows {
        insert.execute([page_bytes * 3 / 4]).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    (dir, path)
}

/// The pages of the table of `made` are leaves but for the first few, with zeros where rows are: whatever is written to the
/// end of such a page is its first row's.
fn leaves(db: &ReplicaDb) -> Vec<u32> {
    let mut bytes = vec![0; db.page_size().bytes()];
    (3..=db.pages())
        .filter(|page| {
            db.read(*page, &mut bytes).unwrap();
            bytes[0] == 13
        })
        .collect()
}

fn stamp(db: &mut ReplicaDb, pages: &[u32], with: u8) {
    let mut bytes = vec![0; db.page_size().bytes()];
    for page in pages {
        db.read(*page, &mut bytes).unwrap();
        *bytes.last_mut().unwrap() = with;
        db.append(*page, &bytes).unwrap();
    }
}

/// How many rows end with each byte, as SQLite sees it.
fn stamps(db: &Connection, with: u8) -> usize {
    let sql = "SELECT count(*) FROM t WHERE substr(x, -1) = ?1";
    db.query_row(sql, [&[with][..]], |row| row.get::<_, i64>(0)).unwrap() as usize
}

fn is_sound(db: &Connection) {
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// More frames than two regions of the wal-index hold, in one transaction and in many.
#[test]
fn sqlite_reads_what_is_written_across_regions_of_the_index() {
    for at_once in [true, false] {
        let (dir, path) = made(512, 3000);
        let mut db = ReplicaDb::open(&path).unwrap();
        let (reader, leaves) = (Connection::open(&path).unwrap(), leaves(&db));
        assert!(leaves.len() > 2900);
        // A reader that sits, so that the -wal is not begun anew.
        let sitting = Connection::open(&path).unwrap();
        stamp(&mut db, &leaves[..1], 1);
        db.commit(db.pages()).unwrap();
        let transaction = sitting.unchecked_transaction().unwrap();
        let seen = dump(&transaction);
        for round in 2..7 {
            for pages in leaves.chunks(if at_once { usize::MAX } else { 37 }) {
                stamp(&mut db, pages, round);
                db.commit(db.pages()).unwrap();
                checkpoint_if_due(&mut db);
            }
            assert_eq!(stamps(&reader, round), leaves.len(), "round {round}");
            is_sound(&reader);
        }
        assert!(db.frames() > 4062 + 2 * 4096, "{}", db.frames());
        assert!(dump(&transaction) == seen);
        // And recovered from the file alone.
        crash(&path, &dir.path().join("crash"));
        let recovered = Connection::open(dir.path().join("crash/a.db")).unwrap();
        assert!(dump(&recovered) == dump(&reader));
        let mut own = vec![0; 512];
        db.read(leaves[5], &mut own).unwrap();
        assert_eq!(own.last(), Some(&6));
        // A second ReplicaDb finds the same frames.
        let (pages, frames) = (db.pages(), db.frames.clone());
        drop(db);
        let again = ReplicaDb::open(&path).unwrap();
        assert_eq!((again.pages(), again.frames.len()), (pages, frames.len()));
        assert!(again.frames == frames);
    }
}

#[test]
fn the_wal_begins_anew_when_readers_allow() {
    let (_dir, path) = made(1024, 500);
    let mut db = ReplicaDb::open(&path).unwrap();
    let leaves = leaves(&db);
    let reader = Connection::open(&path).unwrap();
    let (mut greatest, mut begun) = (0, 0);
    for round in 0..60 {
        let before = db.frames();
        stamp(&mut db, &leaves[..200], round);
        db.commit(db.pages()).unwrap();
        checkpoint_if_due(&mut db);
        greatest = greatest.max(db.frames());
        begun += u32::from(db.frames() < before);
        assert_eq!(stamps(&reader, round), if round == 0 { 500 } else { 200 }, "round {round}");
    }
    assert!(greatest < 1400 && begun >= 8, "{greatest} frames, begun {begun} times");
    is_sound(&reader);
    let transaction = reader.unchecked_transaction().unwrap();
    assert_eq!(stamps(&transaction, 59), 200);
    for round in 60..80 {
        stamp(&mut db, &leaves[..200], round);
        db.commit(db.pages()).unwrap();
        checkpoint_if_due(&mut db);
        assert_eq!(stamps(&transaction, 59), 200, "what a reader sees stays");
    }
    assert!(db.frames() > 3000);
    drop(transaction);
    for round in 80..90 {
        stamp(&mut db, &leaves[..200], round);
        db.commit(db.pages()).unwrap();
        checkpoint_if_due(&mut db);
    }
    assert!(db.frames() < 1400, "{}", db.frames());
    assert_eq!(stamps(&reader, 89), 200);
    is_sound(&reader);
}

/// All of it can be copied, and is not to be overwritten for all that.
#[test]
fn frames_that_a_reader_reads_are_not_overwritten() {
    let (_dir, path) = made(1024, 500);
    let mut db = ReplicaDb::open(&path).unwrap();
    let leaves = leaves(&db);
    for round in 1..7 {
        stamp(&mut db, &leaves[..250], round);
        db.commit(db.pages()).unwrap();
    }
    let reader = Connection::open(&path).unwrap();
    let transaction = reader.unchecked_transaction().unwrap();
    assert_eq!(stamps(&transaction, 6), 250);
    let frames = db.frames();
    assert!(frames > CHECKPOINT_FRAMES);
    checkpoint_if_due(&mut db);
    assert_eq!(db.frames(), frames, "the reader has the last of them");
    drop(transaction);
    db.tried_at = 0;
    checkpoint_if_due(&mut db);
    assert_eq!(db.frames(), 0);
    stamp(&mut db, &leaves[..3], 7);
    db.commit(db.pages()).unwrap();
    assert_eq!((stamps(&reader, 6), stamps(&reader, 7)), (247, 3));
    is_sound(&reader);
}

/// SQLite spills a large transaction's frames and enters them before it commits. Killed then, it leaves them.
#[test]
fn what_a_dead_writer_left_in_the_index_is_cleaned() {
    for beyond in [1, 5, 100, 3000] {
        let (_dir, path) = made(512, 3000);
        let mut db = ReplicaDb::open(&path).unwrap();
        let leaves = leaves(&db);
        stamp(&mut db, &leaves[..10], 1);
        db.commit(db.pages()).unwrap();
        // As walIndexAppend leaves it, with pages that come again.
        index::append(&db.fence.file, db.frames(), &leaves[leaves.len() - beyond.min(leaves.len())..]).unwrap();
        let reader = Connection::open(&path).unwrap();
        for round in 2..5 {
            stamp(&mut db, &leaves[100..100 + 40 * usize::from(round)], round);
            db.commit(db.pages()).unwrap();
            assert_eq!(stamps(&reader, round), 40 * usize::from(round));
            is_sound(&reader);
        }
        let listed = index::pages(&db.fence.file, db.frames()).unwrap();
        let after = index::pages(&db.fence.file, db.frames() + 50).unwrap();
        assert!(after[listed.len()..].iter().all(|page| *page == 0), "nothing is left beyond the end");
        index::check(&db.fence.file, db.frames());
    }
}

#[test]
fn what_was_forgotten_is_never_seen_and_what_comes_next_is() {
    let (dir, path) = made(4096, 300);
    let mut db = ReplicaDb::open(&path).unwrap();
    let leaves = leaves(&db);
    let reader = Connection::open(&path).unwrap();
    for (round, written) in [(1, 0), (2, 300), (3, 20)] {
        stamp(&mut db, &leaves[..written.min(leaves.len())], 99);
        db.forget();
        assert_eq!(stamps(&reader, 99), 0);
        stamp(&mut db, &leaves[..7], round);
        db.commit(db.pages()).unwrap();
        assert_eq!(stamps(&reader, round), 7);
        let copy = dir.path().join(format!("crash{round}"));
        crash(&path, &copy);
        let recovered = Connection::open(copy.join("a.db")).unwrap();
        assert_eq!((stamps(&recovered, 99), stamps(&recovered, round)), (0, 7));
        is_sound(&recovered);
    }
}

#[test]
fn the_fence_is_up_as_long_as_it_lives_and_readers_may_come_and_go() {
    let (_dir, path) = made(4096, 10);
    let pages = leaves(&ReplicaDb::open(&path).unwrap());
    for round in 1..4 {
        let mut db = ReplicaDb::open(&path).unwrap();
        let stray = Connection::open(&path).unwrap();
        stray.busy_timeout(Duration::ZERO).unwrap();
        assert!(stray.execute_batch("INSERT INTO t VALUES (1)").is_err());
        stamp(&mut db, &pages, round);
        db.commit(db.pages()).unwrap();
        assert!(stray.execute_batch("INSERT INTO t VALUES (1)").is_err());
        assert_eq!(stamps(&stray, round), pages.len());
        drop(db);
        // SQLite goes on where we stopped, and we where it did.
        stray.execute_batch("CREATE TABLE IF NOT EXISTS u (x); INSERT INTO u VALUES (1)").unwrap();
        is_sound(&stray);
    }
}

/// The counter that a change of page 1 leaves is this copy's own, as in SQLite.
#[test]
fn page_1_says_who_wrote_it_and_when() {
    let (_dir, path) = made(4096, 10);
    let mut db = ReplicaDb::open(&path).unwrap();
    let mut first = vec![0; 4096];
    db.read(1, &mut first).unwrap();
    let counter = u32::from_be_bytes(*first[24..].first_chunk().unwrap());
    let mut theirs = first.clone();
    theirs[24..28].fill(9);
    theirs[92..100].fill(9);
    theirs[60..64].copy_from_slice(&77_u32.to_be_bytes()); // PRAGMA user_version
    db.append(1, &theirs).unwrap();
    db.commit(db.pages()).unwrap();
    db.read(1, &mut first).unwrap();
    assert_eq!(first[24..28], (counter + 1).to_be_bytes());
    assert_eq!(first[92..96], (counter + 1).to_be_bytes());
    assert_eq!(first[96..100], rusqlite::version_number().to_be_bytes());
    let version: u32 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 77);
}

fn checkpoint_if_due(db: &mut ReplicaDb) {
    if db.copy_back_if_due().unwrap() {
        db.begin_anew().unwrap();
    }
}
