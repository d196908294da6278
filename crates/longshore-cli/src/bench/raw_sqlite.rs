//! An application on plain SQLite: order entry, one transaction after another. No longshore crate is used
//! here. With an agent beside the database and without one, it is the same program.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

/// Opens the database and makes its tables.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer INTEGER, item TEXT, note TEXT);
         CREATE INDEX IF NOT EXISTS by_customer ON orders (customer);
         CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, sold INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS tick (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
         INSERT OR IGNORE INTO tick VALUES (1, 0);",
    )?;
    Ok(db)
}

/// Takes order `n`: how long it took to commit.
pub(crate) fn take_order(db: &mut Connection, n: i64) -> rusqlite::Result<Duration> {
    let begin = Instant::now();
    let order = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let item = format!("item {}", n % 100);
    let (customer, note) = (n.wrapping_mul(7919) % 10_000, format!("order {n} of {item}; ").repeat(8));
    let insert = "INSERT INTO orders (customer, item, note) VALUES (?1, ?2, ?3)";
    order.prepare_cached(insert)?.execute(params![customer, item, note])?;
    let sold = "INSERT INTO stock VALUES (?1, 1) ON CONFLICT (item) DO UPDATE SET sold = sold + 1";
    order.prepare_cached(sold)?.execute(params![item])?;
    order.prepare_cached("UPDATE tick SET n = ?1")?.execute(params![n])?;
    order.commit()?;
    Ok(begin.elapsed())
}
