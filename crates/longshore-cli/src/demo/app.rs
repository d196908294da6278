//! The order-entry application: plain SQLite, and nothing of longshore.
//!
//! It obeys lines on stdin and answers on stdout, so that the tour knows what it is doing:
//!
//! | line | does | answers |
//! |---|---|---|
//! | `run` | takes orders until told otherwise | – |
//! | `pause` | stops between two orders | `paused ORDERS` |
//! | `open` | begins an order, writes its rows, and stays inside the transaction | `open ID` |
//! | end of input | ends in order | – |

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::journal::{self, Journal, Order};
use crate::failure::Failure;

/// The order-entry application of the demo
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct DemoApp {
    /// Where its database and its journal are
    #[arg(long)]
    dir: PathBuf,
}

/// The name of the log that its database is captured into.
pub(super) const LOG: &str = "orders";
const ITEMS: [&str; 6] = ["anchor", "buoy", "capstan", "davit", "ensign", "fender"];
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders
        (id INTEGER PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL, note TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, sold INTEGER NOT NULL);";
/// Not faster than this, so that the view has something to show.
const PACE: Duration = Duration::from_micros(700);

impl DemoApp {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let commands = commands();
        let mut shop = Shop::open(&self.dir)?;
        tell("ready");
        shop.obey(&commands)
    }
}

/// What the tour says, line by line; closed at the end of input.
fn commands() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The tour has gone away when this fails; the end of input says so too.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

struct Shop {
    db: Connection,
    journal: Journal,
    next: i64,
}

impl Shop {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::file("journal in", dir, &error);
        let db = Connection::open(dir.join("orders.db"))?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")?;
        db.execute_batch(SCHEMA)?;
        for item in ITEMS {
            db.execute("INSERT OR IGNORE INTO stock VALUES (?1, 0)", params![item])?;
        }
        let journal_path = dir.join("journal");
        let known = journal::read(&journal_path).map_err(failed)?.last().map_or(0, |entry| entry.order.id);
        let journal = Journal::open(&journal_path).map_err(failed)?;
        let mut shop = Self { db, journal, next: 1 };
        shop.complete_journal(known)?;
        Ok(shop)
    }

    /// A crash between commit and journal leaves an order that only the database knows.
    fn complete_journal(&mut self, known: i64) -> Result<(), Failure> {
        let unknown = orders_after(&self.db, known)?;
        for order in &unknown {
            self.journal.write(order).map_err(|error| Failure::internal(format!("journal: {error}")))?;
        }
        self.next = unknown.last().map_or(known, |order| order.id) + 1;
        Ok(())
    }

    fn obey(&mut self, commands: &Receiver<String>) -> Result<(), Failure> {
        let mut running = false;
        loop {
            let command = match running {
                false => commands.recv().map_err(|_| TryRecvError::Disconnected),
                true => commands.try_recv(),
            };
            match command.as_deref() {
                Ok("run") => running = true,
                Ok("pause") => {
                    running = false;
                    tell(&format!("paused {}", self.next - 1));
                }
                Ok("open") => self.stay_open()?,
                Ok(other) => return Err(Failure::invalid(format!("the demo's application knows no {other:?}"))),
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => self.take_order()?,
            }
        }
    }

    fn take_order(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let order = order(self.next);
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, &order)?;
        transaction.commit()?;
        self.journal.write(&order).map_err(|error| Failure::internal(format!("journal: {error}")))?;
        self.next += 1;
        std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
        Ok(())
    }

    /// Inside a transaction for ever: only a signal ends this.
    fn stay_open(&mut self) -> Result<(), Failure> {
        let order = order(self.next);
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write(&transaction, &order)?;
        tell(&format!("open {}", order.id));
        loop {
            std::thread::park();
        }
    }
}

fn order(id: i64) -> Order {
    let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64).unsigned_abs();
    let item = ITEMS[(mixed >> 32) as usize % ITEMS.len()].to_owned();
    Order { id, item, quantity: (mixed >> 8 & 15) as i64 + 1 }
}

fn write(transaction: &Transaction<'_>, order: &Order) -> rusqlite::Result<()> {
    let Order { id, item, quantity } = order;
    let note = format!("order {id}: {quantity} × {item}; ").repeat(96);
    transaction.execute("INSERT INTO orders VALUES (?1, ?2, ?3, ?4)", params![id, item, quantity, note])?;
    transaction.execute("UPDATE stock SET sold = sold + ?1 WHERE item = ?2", params![quantity, item])?;
    // Old orders are archived by cutting their notes: updates travel as well as inserts do.
    if id % 10 == 0 {
        transaction.execute("UPDATE orders SET note = '' WHERE id <= ?1 AND note <> ''", params![id - 100])?;
    }
    Ok(())
}

/// The orders of a database beyond `id`.
pub(super) fn orders_after(db: &Connection, id: i64) -> Result<Vec<Order>, Failure> {
    let read = || {
        let mut statement = db.prepare("SELECT id, item, quantity FROM orders WHERE id > ?1 ORDER BY id")?;
        let rows =
            statement.query_map([id], |row| Ok(Order { id: row.get(0)?, item: row.get(1)?, quantity: row.get(2)? }))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    Ok(read()?)
}
