//! What is to become of a replica's log: the decision on a `Hello`.

use std::fmt;

use longshore_format::{Content, Epoch, EpochHistory, ErrorKind, Fork, LogId, Lsn, SegmentSize};

use crate::Holding;

/// What the upstream decided about a replica's copy of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Frames follow from here, the end of the replica's log.
    Continue {
        /// The position.
        at: Lsn,
    },
    /// The replica is ahead on the same history; another verdict follows once the upstream has caught up.
    Wait {
        /// The end of what is durable at the upstream.
        end: Lsn,
    },
    /// The histories prove that the replica's log left the common past here. It sets the rest aside, if its own record
    /// before the fork is the same one, and opens a new stream.
    Truncate {
        /// Where the common past ends.
        fork: Lsn,
        /// The header checksum of the upstream's record that ends there.
        crc: u32,
    },
    /// The log cannot bring the replica up to date: it needs a new copy.
    Reseed {
        /// Why.
        reason: ReseedReason,
        /// The oldest position the upstream has.
        first_available: Lsn,
    },
    /// The upstream itself is behind an epoch that the replica has seen.
    Stale {
        /// That epoch.
        epoch: Epoch,
    },
    /// Nothing explains the difference: nothing is changed, an operator decides.
    Diverged {
        /// The first position that is known to differ.
        at: Lsn,
        /// What differs.
        why: Difference,
    },
}

/// Why a replica needs a new copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReseedReason {
    /// The upstream has trimmed what comes next (F-094).
    TooOld,
    /// The fork lies in what one of the two has trimmed, so that the common past cannot be checked.
    ForkTrimmed,
    /// The sink has applied past the fork and cannot rewind.
    AppliedPastFork,
    /// The epoch histories, of at most 64 lives, no longer overlap.
    NoCommonLife,
}

/// What differs between two logs that nothing explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// They are two logs, perhaps of one name.
    OtherLog,
    /// One log, but its content or its segment size is not the same.
    OtherShape,
    /// Two writers minted the same epoch number (F-112).
    TwoWriters,
    /// The writer does not know a life of its own epoch: its log was restored, or its disk lost it.
    ForgottenLife,
    /// One epoch, other bytes (F-097).
    Bytes,
}

/// What [`decide`] must know of the upstream's log, as of one moment.
pub trait LogState {
    /// Why a record could not be looked up.
    type Error;

    /// Which log.
    fn log(&self) -> LogId;
    /// What its records mean.
    fn content(&self) -> Content;
    /// The size of its segments.
    fn segment_size(&self) -> SegmentSize;
    /// Its lives.
    fn history(&self) -> &EpochHistory;
    /// The highest epoch accepted here.
    fn accepted(&self) -> Epoch;
    /// The oldest position held.
    fn first(&self) -> Lsn;
    /// The end of what is durable.
    fn end(&self) -> Lsn;
    /// Whether this node mints the records, rather than following another.
    fn writes(&self) -> bool;

    /// The last boundary at or before `at`, and the header checksum of the record that ends there.
    ///
    /// `at` is within `first..=end`. At `first` it is the link that the first record carries.
    fn boundary(&self, at: Lsn) -> Result<(Lsn, u32), Self::Error>;
}

/// Decides on a replica's copy of the log.
///
/// For [`Difference::Bytes`] the position is the latest one known to be equal; [`Reception`](crate::Reception) finds the
/// exact one by asking. Fails only when the log cannot be read.
pub fn decide<L: LogState>(replica: &Holding, log: &L) -> Result<Verdict, L::Error> {
    if replica.log != log.log() {
        return Ok(Verdict::Diverged { at: log.first(), why: Difference::OtherLog });
    }
    if replica.content != log.content() || replica.segment_size != log.segment_size() {
        return Ok(Verdict::Diverged { at: log.first(), why: Difference::OtherShape });
    }
    let verdict = by_history(replica, log)?;
    // Whoever only follows may hear of the epoch in time, but can send nothing to a node that has already.
    let serves = log.writes() || matches!(verdict, Verdict::Continue { .. });
    if serves && log.accepted().number < replica.accepted.number {
        return Ok(Verdict::Stale { epoch: replica.accepted });
    }
    Ok(verdict)
}

/// What the lives of the two logs say.
fn by_history<L: LogState>(replica: &Holding, log: &L) -> Result<Verdict, L::Error> {
    match log.history().fork(&replica.history) {
        Fork::Unrelated => Ok(reseed(ReseedReason::NoCommonLife, log)),
        Fork::Ahead { at } if at < replica.end => truncate(at, replica, log),
        Fork::Same | Fork::Ahead { .. } => same_branch(replica, log),
        // A node that only follows may simply not have received that life yet.
        Fork::Behind { at } if !log.writes() && log.end() <= at => Ok(Verdict::Wait { end: log.end() }),
        Fork::Behind { at } => unknown_life(at.min(log.end()), replica, log),
        Fork::Forked { at } => unknown_life(at, replica, log),
    }
}

/// The replica's log is, by its history, a part of ours, or runs ahead of it.
fn same_branch<L: LogState>(replica: &Holding, log: &L) -> Result<Verdict, L::Error> {
    if log.end() < replica.end {
        return Ok(Verdict::Wait { end: log.end() });
    }
    if replica.end < log.first() {
        return Ok(reseed(ReseedReason::TooOld, log));
    }
    if log.boundary(replica.end)? == (replica.end, replica.last_crc) {
        return Ok(Verdict::Continue { at: replica.end });
    }
    Ok(Verdict::Diverged { at: log.first().max(replica.first), why: Difference::Bytes })
}

/// The replica had a life that we do not know, after the last one that both had.
fn unknown_life<L: LogState>(fork: Lsn, replica: &Holding, log: &L) -> Result<Verdict, L::Error> {
    let (ours, theirs) = (log.history().current().epoch, replica.history.current().epoch);
    if ours.number < theirs.number {
        return Ok(Verdict::Stale { epoch: theirs });
    }
    if theirs.number < ours.number {
        return truncate(fork, replica, log);
    }
    if ours.writer == theirs.writer && !log.writes() {
        // A copy that was shipped ahead may hold what its writer has lost, and will set it aside once it hears of that.
        return Ok(Verdict::Wait { end: fork });
    }
    let why = if ours.writer == theirs.writer { Difference::ForgottenLife } else { Difference::TwoWriters };
    Ok(Verdict::Diverged { at: fork, why })
}

/// The histories prove that what the replica has after `fork` is no part of the log.
fn truncate<L: LogState>(fork: Lsn, replica: &Holding, log: &L) -> Result<Verdict, L::Error> {
    if replica.applied.is_some_and(|applied| fork < applied) {
        return Ok(reseed(ReseedReason::AppliedPastFork, log));
    }
    if fork < log.first() || fork < replica.first {
        return Ok(reseed(ReseedReason::ForkTrimmed, log));
    }
    let (boundary, crc) = log.boundary(fork)?;
    if boundary == fork {
        Ok(Verdict::Truncate { fork, crc })
    } else {
        Ok(Verdict::Diverged { at: boundary, why: Difference::Bytes })
    }
}

fn reseed<L: LogState>(reason: ReseedReason, log: &L) -> Verdict {
    Verdict::Reseed { reason, first_available: log.first() }
}

impl Verdict {
    /// The error that the replica's operator sees; `None` for verdicts that go on by themselves.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Continue { .. } | Self::Wait { .. } | Self::Truncate { .. } => None,
            Self::Reseed { .. } => Some(ErrorKind::TooOld),
            Self::Stale { .. } => Some(ErrorKind::Fenced),
            Self::Diverged { .. } => Some(ErrorKind::Diverged),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue { at } => write!(f, "continue at {at}"),
            Self::Wait { end } => write!(f, "wait: the upstream ends at {end}"),
            Self::Truncate { fork, .. } => write!(f, "truncate to the fork at {fork}"),
            // The log that is there is no worse for it, and a copy that is begun anew would lose the tail.
            Self::Reseed { reason: reason @ ReseedReason::AppliedPastFork, .. } => {
                write!(
                    f,
                    "{reason}: the replica sets aside what lies beyond and gives its sink a snapshot, or says itself what is to be \
                     done there"
                )
            }
            Self::Reseed { reason, first_available } => {
                write!(
                    f,
                    "{reason}; the first available position is {first_available}: set the local copy aside and start again with --reseed"
                )
            }
            Self::Stale { epoch } => {
                write!(f, "the upstream is behind epoch {epoch}: let the replica follow the node that was promoted")
            }
            Self::Diverged { at, why } => write!(
                f,
                "diverged at {at}: {why}; nothing was changed: compare with verify --against, then decide which copy wins"
            ),
        }
    }
}

impl fmt::Display for ReseedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooOld => "the upstream no longer has what comes next",
            Self::ForkTrimmed => "the fork lies before what is still kept",
            Self::AppliedPastFork => "the sink has applied past the fork and cannot rewind",
            Self::NoCommonLife => "the epoch histories no longer overlap",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherLog => "the upstream's log has another id",
            Self::OtherShape => "content or segment size are not the same",
            Self::TwoWriters => "two writers minted one epoch number",
            Self::ForgottenLife => "the writer does not know a life of its own epoch: was its log restored?",
            Self::Bytes => "one epoch, other bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Life, epoch, lsn};
    use longshore_format::LogId;

    fn check(what: &str, upstream: &Fake, replica: &Holding, expected: Verdict) {
        let verdict = decide(replica, upstream).unwrap();
        assert_eq!(verdict, expected, "{what}");
        assert!(!verdict.to_string().is_empty());
    }

    #[test]
    fn a_copy_that_only_its_sink_is_past_is_not_to_be_begun_anew() {
        let text = |reason| reseed(reason, &Fake::new(&[(1, 1, 1, 9)])).to_string();
        assert!(text(ReseedReason::TooOld).contains("--reseed"));
        let told = text(ReseedReason::AppliedPastFork);
        assert!(!told.contains("--reseed") && told.contains("snapshot"), "{told}");
    }

    fn follower(lives: &[Life]) -> Fake {
        Fake { writes: false, ..Fake::new(lives) }
    }

    #[test]
    fn a_replica_whose_log_is_a_prefix_continues_at_its_end_f084() {
        let upstream = Fake::new(&[(1, 1, 1, 10), (1, 1, 2, 10), (2, 2, 3, 10)]);
        let rows: [(&[Life], usize); 7] = [
            (&[(1, 1, 1, 0)], 0),
            (&[(1, 1, 1, 1)], 1),
            (&[(1, 1, 1, 10)], 10),
            (&[(1, 1, 1, 10), (1, 1, 2, 0)], 10),
            (&[(1, 1, 1, 10), (1, 1, 2, 7)], 17),
            (&[(1, 1, 1, 10), (1, 1, 2, 10)], 20),
            (&[(1, 1, 1, 10), (1, 1, 2, 10), (2, 2, 3, 10)], 30),
        ];
        for (lives, at) in rows {
            let replica = Fake::new(lives).holding();
            check("prefix", &upstream, &replica, Verdict::Continue { at: lsn(at) });
        }
    }

    #[test]
    fn an_upstream_behind_on_the_same_history_lets_the_replica_wait_f095() {
        let replica = Fake::new(&[(1, 1, 1, 20)]).holding();
        let wait = |records| Verdict::Wait { end: lsn(records) };
        check("the same life", &Fake::new(&[(1, 1, 1, 10)]), &replica, wait(10));

        let replica = Fake::new(&[(1, 1, 1, 20), (1, 1, 2, 5), (2, 2, 3, 5)]).holding();
        check("a follower without that life yet", &follower(&[(1, 1, 1, 20)]), &replica, wait(20));
        let behind = follower(&[(1, 1, 1, 20), (1, 1, 2, 4)]);
        check("a follower without that epoch yet", &behind, &replica, wait(24));
    }

    #[test]
    fn a_fork_that_the_histories_prove_is_truncated_f095() {
        let rows: [(&str, &[Life], &[Life], usize); 4] = [
            ("the writer opened again before the replica's end", &[(1, 1, 1, 10), (1, 1, 2, 50)], &[(1, 1, 1, 15)], 10),
            ("a promotion", &[(1, 1, 1, 10), (2, 2, 9, 3)], &[(1, 1, 1, 15)], 10),
            (
                "a dead branch with a life of its own",
                &[(1, 1, 1, 10), (2, 2, 9, 30)],
                &[(1, 1, 1, 12), (1, 1, 2, 5)],
                10,
            ),
            ("a dead branch that left earlier", &[(1, 1, 1, 20), (3, 3, 9, 30)], &[(1, 1, 1, 12), (2, 2, 2, 50)], 12),
        ];
        for (what, upstream, replica, fork) in rows {
            let (upstream, replica) = (Fake::new(upstream), Fake::new(replica).holding());
            let crc = upstream.crc_at(lsn(fork)).unwrap();
            check(what, &upstream, &replica, Verdict::Truncate { fork: lsn(fork), crc });
        }
    }

    #[test]
    fn a_log_that_cannot_bring_the_replica_up_to_date_says_so_and_from_where_it_could_f094() {
        let reseed = |reason, first| Verdict::Reseed { reason, first_available: lsn(first) };
        let trimmed = |lives: &[Life], first| Fake { first: lsn(first), ..Fake::new(lives) };

        let replica = Fake::new(&[(1, 1, 1, 10)]).holding();
        let upstream = trimmed(&[(1, 1, 1, 50)], 11);
        check("too old", &upstream, &replica, reseed(ReseedReason::TooOld, 11));
        let upstream = trimmed(&[(1, 1, 1, 50)], 10);
        check("just old enough", &upstream, &replica, Verdict::Continue { at: lsn(10) });

        let replica = Fake::new(&[(1, 1, 1, 20)]).holding();
        let upstream = trimmed(&[(1, 1, 1, 10), (2, 2, 2, 50)], 11);
        check("fork trimmed", &upstream, &replica, reseed(ReseedReason::ForkTrimmed, 11));
        let upstream = Fake::new(&[(1, 1, 1, 10), (2, 2, 2, 50)]);
        let kept_little = Holding { first: lsn(15), ..replica.clone() };
        check("there too", &upstream, &kept_little, reseed(ReseedReason::ForkTrimmed, 0));

        let crc = upstream.crc_at(lsn(10)).unwrap();
        let truncate = Verdict::Truncate { fork: lsn(10), crc };
        for (applied, expected) in
            [(None, truncate), (Some(10), truncate), (Some(11), reseed(ReseedReason::AppliedPastFork, 0))]
        {
            let replica = Holding { applied: applied.map(lsn), ..replica.clone() };
            check("a sink", &upstream, &replica, expected);
        }

        let stranger = Fake::new(&[(1, 5, 5, 20)]).holding();
        check("nothing in common", &upstream, &stranger, reseed(ReseedReason::NoCommonLife, 0));
    }

    #[test]
    fn an_upstream_behind_an_epoch_is_stale_f111() {
        let replica = Fake::new(&[(1, 1, 1, 10), (2, 2, 2, 5)]).holding();
        let stale = Verdict::Stale { epoch: epoch(2, 2) };
        check("a writer, not past the fork", &Fake::new(&[(1, 1, 1, 8)]), &replica, stale);
        check("a writer past the fork", &Fake::new(&[(1, 1, 1, 12)]), &replica, stale);
        check("a follower past the fork", &follower(&[(1, 1, 1, 12)]), &replica, stale);
        let other_branch = Fake::new(&[(1, 1, 1, 12), (1, 1, 7, 3)]);
        check("a writer with a life of its own", &other_branch, &replica, stale);
    }

    #[test]
    fn an_upstream_behind_an_epoch_that_the_replica_only_accepted_is_stale_too_f113() {
        let upstream = Fake::new(&[(1, 1, 1, 10)]);
        let fenced = Holding { accepted: epoch(2, 2), ..Fake::new(&[(1, 1, 1, 8)]).holding() };
        check("fenced by a promotion", &upstream, &fenced, Verdict::Stale { epoch: epoch(2, 2) });
        let same = Holding { accepted: epoch(1, 1), ..fenced };
        check("not fenced", &upstream, &same, Verdict::Continue { at: lsn(8) });
        let relay = follower(&[(1, 1, 1, 10)]);
        let fenced = Holding { accepted: epoch(2, 2), ..same };
        check("a relay that has not heard of it", &relay, &fenced, Verdict::Stale { epoch: epoch(2, 2) });
        let ahead = Holding { accepted: epoch(2, 2), ..Fake::new(&[(1, 1, 1, 12)]).holding() };
        check("a relay that is behind may hear in time", &relay, &ahead, Verdict::Wait { end: lsn(10) });
    }

    #[test]
    fn what_the_histories_do_not_explain_has_diverged_f097_f112() {
        let at = |at, why| Verdict::Diverged { at: lsn(at), why };
        let upstream = Fake::new(&[(1, 1, 1, 20)]);

        let other = Fake { log: LogId::from_bytes([2; 16]), ..Fake::new(&[(1, 1, 1, 5)]) };
        check("another log", &upstream, &other.holding(), at(0, Difference::OtherLog));

        let mut shape = Fake::new(&[(1, 1, 1, 5)]).holding();
        shape.content = Content::Sql;
        check("other content", &upstream, &shape, at(0, Difference::OtherShape));
        shape = Holding { segment_size: SegmentSize::DEFAULT, content: Content::Bytes, ..shape };
        check("other segments", &upstream, &shape, at(0, Difference::OtherShape));

        let bytes = Fake::salted(&[(1, 1, 1, 15)], 7, 5).holding();
        check("other bytes", &upstream, &bytes, at(0, Difference::Bytes));

        let crooked = Fake::new(&[(1, 1, 1, 15)]).holding();
        let crooked = Holding { end: Lsn::new(crooked.end.get() - 8), ..crooked };
        check("no boundary", &upstream, &crooked, at(0, Difference::Bytes));

        let promoted_twice = Fake::new(&[(1, 1, 1, 12), (2, 3, 9, 4)]).holding();
        let upstream = Fake::new(&[(1, 1, 1, 10), (2, 2, 2, 10)]);
        check("two writers", &upstream, &promoted_twice, at(10, Difference::TwoWriters));

        let remembered = Fake::new(&[(1, 1, 1, 10), (1, 1, 2, 5)]).holding();
        let restored = Fake::new(&[(1, 1, 1, 8), (1, 1, 9, 50)]);
        check("a restored primary", &restored, &remembered, at(8, Difference::ForgottenLife));
        let restored = Fake::new(&[(1, 1, 1, 8)]);
        check("and before it wrote", &restored, &remembered, at(8, Difference::ForgottenLife));
        let shipped_ahead = follower(&[(1, 1, 1, 12)]);
        check("a copy of what the writer lost", &shipped_ahead, &remembered, Verdict::Wait { end: lsn(10) });
    }

    #[test]
    fn only_verdicts_that_need_somebody_have_an_error_kind() {
        let reason = ReseedReason::TooOld;
        for (verdict, kind) in [
            (Verdict::Continue { at: lsn(1) }, None),
            (Verdict::Wait { end: lsn(1) }, None),
            (Verdict::Truncate { fork: lsn(1), crc: 1 }, None),
            (Verdict::Reseed { reason, first_available: lsn(1) }, Some(ErrorKind::TooOld)),
            (Verdict::Stale { epoch: epoch(2, 2) }, Some(ErrorKind::Fenced)),
            (Verdict::Diverged { at: lsn(1), why: Difference::Bytes }, Some(ErrorKind::Diverged)),
        ] {
            assert_eq!(verdict.kind(), kind);
        }
    }
}
