//! Where a copy of a log and its upstream's part, from the upstream's verdicts alone.

use longshore_format::Lsn;
use longshore_protocol::{Difference, Verdict};

/// The search for the longest beginning of a copy that its upstream would go on from.
///
/// The first verdict is on the whole copy. One that names where the two part is not believed: the next is asked for on the copy
/// as it would be if it ended there, until one says that it would go on.
#[derive(Debug)]
pub(crate) struct Search {
    /// The end of the copy.
    end: Lsn,
    why: Option<String>,
}

/// What to do after a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: the copy can follow as it is.
    Fits,
    /// Ask about the copy as if it ended at its last boundary up to here.
    Ask(Lsn),
    /// The copy that was asked about is the one.
    Cut {
        /// Why it is not all of it.
        why: String,
    },
}

impl Search {
    /// A search in a copy that ends at `end`.
    pub(crate) fn new(end: Lsn) -> Self {
        Self { end, why: None }
    }

    /// Takes the verdict on the copy as if it ended at `asked`. An error gives back one that no cut changes.
    pub(crate) fn on(&mut self, asked: Lsn, verdict: Verdict) -> Result<Next, Verdict> {
        let (at, why) = match verdict {
            Verdict::Continue { .. } | Verdict::Wait { .. } if asked == self.end && self.why.is_none() => {
                return Ok(Next::Fits);
            }
            Verdict::Continue { at } if at == asked => {
                return self.why.take().map(|why| Next::Cut { why }).ok_or(verdict);
            }
            Verdict::Truncate { fork, .. } => {
                (fork, format!("the histories part at {fork}, where the upstream's began another life"))
            }
            Verdict::Diverged { at, why: why @ (Difference::Bytes | Difference::ForgottenLife) } => {
                (at, why.to_string())
            }
            _ => return Err(verdict),
        };
        // Each question is about less than the one before, so that the search ends.
        if asked <= at {
            return Err(verdict);
        }
        self.why.get_or_insert(why);
        Ok(Next::Ask(at))
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::{Epoch, WriterId};
    use longshore_protocol::ReseedReason;

    use super::*;

    fn at(lsn: u64) -> Lsn {
        Lsn::new(lsn)
    }

    fn truncate(fork: u64) -> Verdict {
        Verdict::Truncate { fork: at(fork), crc: 7 }
    }

    fn differs(lsn: u64) -> Verdict {
        Verdict::Diverged { at: at(lsn), why: Difference::Bytes }
    }

    fn go_on(lsn: u64) -> Verdict {
        Verdict::Continue { at: at(lsn) }
    }

    /// What becomes of a copy that ends at 900, with these verdicts on it as if it ended at each position: where it is cut, or
    /// `None` if no cut helps; and whether the reason says so.
    fn check(verdicts: &[(u64, Verdict)], expected: Option<u64>, reason: &str) {
        let mut search = Search::new(at(900));
        for (number, (asked, verdict)) in verdicts.iter().enumerate() {
            let last = number + 1 == verdicts.len();
            match search.on(at(*asked), *verdict) {
                Ok(Next::Ask(next)) => assert_eq!(next, at(verdicts[number + 1].0), "{verdicts:?}"),
                Ok(Next::Cut { why }) => {
                    assert!(last && why.contains(reason), "{why}: {verdicts:?}");
                    assert_eq!(expected, Some(*asked), "{verdicts:?}");
                }
                Ok(Next::Fits) => assert!(last && expected == Some(900), "{verdicts:?}"),
                Err(refused) => assert!(last && expected.is_none() && refused == *verdict, "{verdicts:?}"),
            }
        }
    }

    #[test]
    fn a_copy_is_cut_only_where_the_upstream_would_go_on_f095_f097() {
        let wait = |end| Verdict::Wait { end: at(end) };
        check(&[(900, go_on(900))], Some(900), "");
        check(&[(900, wait(800))], Some(900), "");
        check(&[(900, truncate(500)), (500, go_on(500))], Some(500), "histories part at 500");
        check(&[(900, differs(500)), (500, go_on(500))], Some(500), "other bytes");
        // F-118: the histories name where the next segment begins; what ends the segment before is not the same in both.
        check(&[(900, truncate(600)), (600, differs(550)), (550, go_on(550))], Some(550), "histories part at 600");
        let forgotten = Verdict::Diverged { at: at(700), why: Difference::ForgottenLife };
        check(&[(900, forgotten), (700, differs(300)), (300, go_on(300))], Some(300), "does not know a life");
    }

    #[test]
    fn where_no_cut_helps_nothing_is_cut() {
        let two = Verdict::Diverged { at: at(500), why: Difference::TwoWriters };
        let epoch = Epoch { number: 3, writer: WriterId::from_bytes([3; 16]) };
        let reseed = Verdict::Reseed { reason: ReseedReason::ForkTrimmed, first_available: at(800) };
        for verdict in [two, Verdict::Stale { epoch }, reseed] {
            check(&[(900, verdict)], None, "");
        }
        // Nothing is equal, the upstream is behind the cut, or it answers about another place.
        check(&[(900, differs(500)), (500, differs(500))], None, "");
        check(&[(900, truncate(500)), (500, Verdict::Wait { end: at(400) })], None, "");
        check(&[(900, truncate(500)), (500, go_on(400))], None, "");
        check(&[(900, differs(950))], None, "");
    }
}
