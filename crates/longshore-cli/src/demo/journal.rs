//! The application's own journal: what it knows to have committed, written without longshore.
//!
//! A line is written and synced after each commit. It is what the proofs hold a recovery against.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::str::FromStr;

use crate::quantity::now;

/// One committed order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) item: String,
    pub(crate) quantity: i64,
}

/// An order, and when the application had it committed: microseconds UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) time: u64,
    pub(crate) order: Order,
}

/// The journal, open for appending.
pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// Durable when it returns.
    pub(crate) fn write(&mut self, order: &Order) -> io::Result<()> {
        let entry = Entry { time: now(), order: order.clone() };
        self.0.write_all(format!("{entry}\n").as_bytes())?;
        self.0.sync_data()
    }
}

/// Everything in the journal, oldest first.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    BufReader::new(File::open(path)?).lines().map(|line| line?.parse().map_err(io::Error::other)).collect()
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Order { id, item, quantity } = &self.order;
        write!(f, "{} {id} {item} {quantity}", self.time)
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("not a line of the journal: {line:?}");
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or_else(wrong);
        let (time, id, item, quantity) = (word()?, word()?, word()?, word()?);
        let order = Order {
            id: id.parse().map_err(|_| wrong())?,
            item: item.to_owned(),
            quantity: quantity.parse().map_err(|_| wrong())?,
        };
        Ok(Self { time: time.parse().map_err(|_| wrong())?, order })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        assert_eq!(read(&path).unwrap(), []);
        let order = Order { id: 7, item: "anchor".into(), quantity: 3 };
        Journal::open(&path).unwrap().write(&order).unwrap();
        Journal::open(&path).unwrap().write(&order).unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].order, order);
        assert!(entries[0].time <= entries[1].time);
    }
}
