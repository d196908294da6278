//! A reader that opens the log's directory beside the writer: what it may show, and that it changes nothing.

use longshore_format::Lsn;
use longshore_wal::ReadLog;

use super::node::{Node, Step, broken};

impl Node {
    /// Opens the log for reading only, as another process might, and reads all of it: a prefix of what is durable, down to
    /// the byte, and nothing in the directory changes.
    pub(super) fn read_beside(&mut self) -> Step {
        // What is durable is in the ledger from here on.
        self.read()?;
        let before = self.disk.stats().operations;
        let read = ReadLog::open(self.directory_or_down()?)
            .and_then(|log| self.compare_beside(&log).map(|verdict| (log, verdict)));
        let (log, verdict) = match read {
            Ok(read) => read,
            Err(error) => return Err(self.judge(&error, "read beside the writer")),
        };
        let (end, durable) = (log.end(), self.wal().durable().get());
        self.note(|| format!("read beside the writer up to {end} of {durable}"));
        if let Err(what) = verdict {
            return broken(format!("beside the writer: {what}"));
        }
        if !log.has_owner() || durable < end {
            return broken(format!("beside the writer, at {durable}, a reader was shown up to {end}"));
        }
        if log.first() != self.wal().first() {
            return broken(format!("beside the writer the log begins at {}, not {}", log.first(), self.wal().first()));
        }
        if self.disk.stats().operations != before {
            return broken("a reader beside the writer changed something");
        }
        self.tally.read_beside += 1;
        Ok(())
    }

    /// Reads everything in `log`; the first difference from what the ledger has set, if there is one.
    fn compare_beside(&self, log: &ReadLog) -> longshore_wal::Result<Result<(), String>> {
        let mut reader = log.reader(log.first())?;
        let mut reached = log.first();
        let mut known = self.ledger.set_from(log.first()).iter();
        while let Some(record) = reader.next()? {
            reached = record.end;
            match known.next() {
                Some(seen) if seen.is(&record) => {}
                other => return Ok(Err(format!("{}..{} was read, but is {other:?}", record.start, record.end))),
            }
        }
        let same = self.same_boundary(reached, log.end());
        Ok(if same { Ok(()) } else { Err(format!("it ends at {}, readers get only up to {reached}", log.end())) })
    }

    /// A full segment's end is the next one's beginning.
    fn same_boundary(&self, one: Lsn, other: Lsn) -> bool {
        self.size.normalise(one) == self.size.normalise(other)
    }
}
