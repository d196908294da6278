//! The proofs: logs equal segment by segment, databases equal row by row, and a replay to a moment
//! in the middle equal to what the application itself had written down by then.

use std::net::SocketAddr;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::app::{LOG, orders_after};
use super::journal::{self, Order};
use super::report::Proof;
use super::site::{REGIONS, Site};
use crate::failure::Failure;
use crate::quantity::rfc3339;

/// A replica's log is intact, and equal to the primary's.
pub(super) fn log_equal(site: &Site, region: &str, primary: SocketAddr) -> Proof {
    let mut args = vec![
        "verify".to_owned(),
        "--data-dir".into(),
        site.data_dir(region).display().to_string(),
        "--deep".into(),
        "--against".into(),
        format!("primary@{primary}"),
    ];
    args.extend(site.identity("primary"));
    let outcome = site.command(&args).map(|told| last_line(&told));
    Proof::of(format!("the log in {region} is intact and equal to the primary's"), outcome)
}

/// The primary's own log is intact.
pub(super) fn log_intact(site: &Site) -> Proof {
    let dir = site.data_dir("primary").display().to_string();
    let outcome = site.command(&["verify", "--data-dir", &dir, "--deep"]).map(|told| last_line(&told));
    Proof::of("the primary's log is intact", outcome)
}

/// All databases hold the same schema and rows.
pub(super) fn databases_equal(site: &Site) -> Proof {
    let outcome = || {
        let ours = dump(&site.database("primary"))?;
        for region in REGIONS {
            let theirs = dump(&site.database(region))?;
            if let Some(row) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
                let (ours, theirs) = (shortened(&ours[row]), shortened(&theirs[row]));
                return Err(Failure::internal(format!("{region} differs: {ours} here, {theirs} there")));
            }
            if ours.len() != theirs.len() {
                let (ours, theirs) = (ours.len(), theirs.len());
                return Err(Failure::internal(format!("{region} has {theirs} rows, the primary {ours}")));
            }
        }
        Ok(format!("{} rows each, compared one by one", ours.len()))
    };
    Proof::of("the databases of primary, eu-west and us-east are equal", outcome())
}

/// The transaction that was open when the primary was killed is nowhere, and everything that the
/// application had committed is everywhere.
pub(super) fn nothing_lost(site: &Site, open: &Order) -> Proof {
    let outcome = || {
        let entries = journal::read(&site.journal()).map_err(|error| Failure::internal(error.to_string()))?;
        let committed: Vec<Order> = entries.into_iter().map(|entry| entry.order).collect();
        for node in ["primary"].iter().chain(&REGIONS) {
            same_orders(&committed, &orders(&site.database(node))?, node)?;
        }
        Ok(format!(
            "{} committed orders on three nodes; order {} was open and was begun anew",
            committed.len(),
            open.id
        ))
    };
    Proof::of("nothing committed was lost, nothing uncommitted survived kill -9", outcome())
}

/// A replay to `moment` holds exactly what the journal had by then.
pub(super) fn replayed(site: &Site, moment: u64) -> Proof {
    let outcome = || {
        let target = format!("time:{}", rfc3339(moment));
        let (from, into) = (site.data_dir("eu-west").display().to_string(), site.path("replayed.db"));
        let into_flag = format!("sqlite:{into}");
        site.command(&["replay", "--from", &from, "--log", LOG, "--to", &target, "--into", &into_flag])?;
        let entries = journal::read(&site.journal()).map_err(|error| Failure::internal(error.to_string()))?;
        let all = entries.len();
        let by_then: Vec<Order> =
            entries.into_iter().filter(|entry| entry.time <= moment).map(|entry| entry.order).collect();
        same_orders(&by_then, &orders(Path::new(&into))?, "the replay")?;
        Ok(format!("{} of {all} orders, to {}", by_then.len(), rfc3339(moment)))
    };
    Proof::of("a replay to a moment in the middle is what the application's journal had by then", outcome())
}

fn same_orders(expected: &[Order], found: &[Order], whose: &str) -> Result<(), Failure> {
    let differing = expected.iter().zip(found).find(|(expected, found)| expected != found);
    match differing {
        Some((expected, found)) => {
            Err(Failure::internal(format!("{whose} has {found:?} where the journal has {expected:?}")))
        }
        None if expected.len() == found.len() => Ok(()),
        None => Err(Failure::internal(format!("{whose} has {} orders, the journal {}", found.len(), expected.len()))),
    }
}

/// How many orders a database holds; of a replica's also while it is applied to.
pub(super) fn count_orders(path: &Path) -> Result<u64, Failure> {
    let count: i64 = open(path)?.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn orders(path: &Path) -> Result<Vec<Order>, Failure> {
    orders_after(&open(path)?, 0)
}

/// Schema and rows as text, but for what longshore keeps in the database for itself.
fn dump(path: &Path) -> Result<Vec<String>, Failure> {
    let db = open(path)?;
    let read = || -> rusqlite::Result<_> {
        let mut lines = Vec::new();
        let mut tables = db.prepare(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%longshore%' ORDER BY name",
        )?;
        let tables: Vec<(String, String)> =
            tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        for (table, sql) in tables {
            lines.push(sql);
            let mut rows = db.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY 1"))?;
            let columns = rows.column_count();
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let values: Vec<_> = (0..columns).map(|n| row.get_ref(n)).collect::<rusqlite::Result<_>>()?;
                lines.push(format!("{table} {values:?}"));
            }
        }
        Ok(lines)
    };
    Ok(read()?)
}

fn open(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Ok(Connection::open_with_flags(path, flags)?)
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

fn last_line(text: &str) -> String {
    text.trim_end().lines().next_back().unwrap_or_default().trim().to_owned()
}
