//! Finding the first record in which two logs differ, by asking for few checksums.

use longshore_format::Lsn;

use crate::{Error, LogState, Probed, Result};

/// A bisection between a position up to which two logs are equal and one up to which they are not.
///
/// It works because a record's header checksum covers the one before: equal checksums at a boundary mean equal logs
/// up to there. It asks about 20 to 40 times, one round trip each.
#[derive(Debug, Clone)]
pub struct Locate {
    same: Lsn,
    differs: Lsn,
    asked: Option<(Lsn, u32)>,
}

/// The next step of a [`Locate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Located {
    /// Ask the replica which record ends here.
    Ask(Lsn),
    /// The first differing record begins here.
    At(Lsn),
}

impl Locate {
    /// The logs are taken to be equal up to `same`, and known not to be up to `differs`.
    pub fn new(same: Lsn, differs: Lsn) -> Self {
        Self { same, differs: differs.max(same), asked: None }
    }

    /// What to ask next, or the answer. Without an answer to the last question it is asked again.
    pub fn step<L: LogState>(&mut self, log: &L) -> Result<Located, L::Error> {
        if let Some((at, _)) = self.asked {
            return Ok(Located::Ask(at));
        }
        let end = self.differs.get().min(log.end().get().saturating_add(1));
        let mut low = self.same.get();
        // The last boundary before the middle; where a long record leaves none, before the middle of the upper half.
        while low.saturating_add(1) < end {
            let middle = low + (end - low) / 2;
            let (at, crc) = log.boundary(Lsn::new(middle))?;
            if self.same < at {
                self.asked = Some((at, crc));
                return Ok(Located::Ask(at));
            }
            low = middle;
        }
        Ok(Located::At(self.same))
    }

    /// Takes the answer to the last question.
    pub fn answer(&mut self, probed: Probed) -> Result<()> {
        match self.asked.take() {
            Some((at, crc)) if at == probed.at => {
                if probed.crc == Some(crc) {
                    self.same = at
                } else {
                    self.differs = at
                };
                Ok(())
            }
            _ => Err(Error::OutOfTurn { what: "the answer to a probe" }),
        }
    }
}
