//! A shop that keeps its orders in SQLite, with a log beside the database.
//!
//! ```text
//! cargo run -p longshore --example rusqlite -- /tmp/shop
//! ```
//!
//! Run it again: it goes on. Kill it anywhere: on the next start the database is brought up to the log.
//! Replicas follow with `longshore replica --apply sqlite:orders.db` once the log is served.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore::{Content, Durability, ErrorKind, Output, Primary, Replay, Settings};
use longshore_sqlite::{Recorder, SqliteOutput, bring_up};
use rusqlite::{Connection, params};

/// How long an order may take to become durable here.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut temporary = std::env::temp_dir();
    temporary.push(format!("longshore-shop-{}", std::process::id()));
    let home = std::env::args().nth(1).map_or(temporary, PathBuf::from);
    std::fs::create_dir_all(&home)?;

    let mut shop = Shop::open(&home)?;
    for item in ["anchor", "rope", "lantern"] {
        let order = shop.order(item, 2)?;
        println!("order {order}: 2 × {item}");
    }
    println!("{} orders, {} items sold", shop.orders()?, shop.sold()?);
    shop.close()?;
    prove(&home)
}

/// A database and its log.
struct Shop {
    log: Primary,
    database: Recorder,
}

impl Shop {
    fn open(home: &Path) -> Result<Shop, Box<dyn Error>> {
        let (data, path) = (home.join("log"), home.join("shop.db"));
        let log = match Primary::open(&data, "orders", &Settings::default()) {
            // Only when it is set up: a log that was lost is never replaced by an empty one in silence.
            Err(error) if error.kind() == ErrorKind::NotFound && !path.exists() => {
                Primary::create(&data, "orders", Content::Sql, &Settings::default())?
            }
            log => log?,
        };
        // The last run may have ended between the append and the commit.
        bring_up(log.source(), &path)?;
        let database = Recorder::new(Connection::open(&path)?, log.id())?;
        let mut shop = Shop { log, database };
        shop.set_up()?;
        Ok(shop)
    }

    fn set_up(&mut self) -> Result<(), Box<dyn Error>> {
        if self.database.reader().table_exists(None, "orders")? {
            return Ok(());
        }
        self.transact(|tx| {
            tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, pieces INTEGER)", params![])?;
            tx.execute("CREATE TABLE sold (only INTEGER PRIMARY KEY, pieces INTEGER)", params![])?;
            tx.execute("INSERT INTO sold VALUES (1, 0)", params![])?;
            Ok(())
        })
    }

    fn order(&mut self, item: &str, pieces: i64) -> Result<i64, Box<dyn Error>> {
        self.transact(|tx| {
            tx.execute("INSERT INTO orders (item, pieces) VALUES (?1, ?2)", params![item, pieces])?;
            let order = tx.reader().last_insert_rowid();
            tx.execute("UPDATE sold SET pieces = pieces + ?1", params![pieces])?;
            Ok(order)
        })
    }

    /// The one order: statements, append, wait, position, commit.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut longshore_sqlite::Recording<'_>) -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        let mut transaction = self.database.begin()?;
        let result = work(&mut transaction)?;
        let recorded = transaction.record()?;
        let ticket = self.log.append(recorded.payloads())?;
        ticket.wait_blocking(Durability::LOCAL, PATIENCE)?;
        recorded.commit(ticket.position())?;
        Ok(result)
    }

    fn orders(&self) -> rusqlite::Result<i64> {
        self.database.reader().query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
    }

    fn sold(&self) -> rusqlite::Result<i64> {
        self.database.reader().query_row("SELECT pieces FROM sold", [], |row| row.get(0))
    }

    fn close(self) -> Result<(), Box<dyn Error>> {
        Ok(self.log.close()?)
    }
}

/// The log alone gives the database back.
fn prove(home: &Path) -> Result<(), Box<dyn Error>> {
    let restored = home.join("restored.db");
    let _from_an_earlier_run = std::fs::remove_file(&restored);
    let output = Output::file(SqliteOutput, &restored);
    let replayed = Replay::open(home.join("log"), "orders")?.run(&output, |_| ControlFlow::Continue(()))?;
    assert_eq!(contents(&restored)?, contents(&home.join("shop.db"))?);
    println!("{} transactions restored into {}, equal", replayed.runs, restored.display());
    Ok(())
}

fn contents(path: &Path) -> rusqlite::Result<Vec<(i64, String, i64)>> {
    let database = Connection::open(path)?;
    let mut orders = database.prepare("SELECT id, item, pieces FROM orders ORDER BY id")?;
    orders.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}
