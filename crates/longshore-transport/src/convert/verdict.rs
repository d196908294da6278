//! What the upstream decided about a replica's log.

use longshore_format::Lsn;
use longshore_protocol::{Difference, ReseedReason, Verdict};
use proto::verdict;

use super::{epoch, epoch_message, required};
use crate::{Error, Result, proto};

pub(super) fn verdict_message(verdict: &Verdict) -> proto::Verdict {
    use verdict::Verdict as Wire;
    let verdict = match *verdict {
        Verdict::Continue { at } => Wire::Continue(verdict::Continue { at: at.get() }),
        Verdict::Wait { end } => Wire::Wait(verdict::Wait { end: end.get() }),
        Verdict::Truncate { fork, crc } => Wire::Truncate(verdict::Truncate { fork: fork.get(), crc }),
        Verdict::Reseed { reason, first_available } => Wire::Reseed(verdict::Reseed {
            reason: reason_message(reason).into(),
            first_available: first_available.get(),
        }),
        Verdict::Stale { epoch } => Wire::Stale(verdict::Stale { epoch: Some(epoch_message(&epoch)) }),
        Verdict::Diverged { at, why } => {
            Wire::Diverged(verdict::Diverged { at: at.get(), why: difference_message(why).into() })
        }
    };
    proto::Verdict { verdict: Some(verdict) }
}

pub(super) fn parse_verdict(verdict: proto::Verdict) -> Result<Verdict> {
    use verdict::Verdict as Wire;
    Ok(match required(verdict.verdict, "the verdict")? {
        Wire::Continue(it) => Verdict::Continue { at: Lsn::new(it.at) },
        Wire::Wait(it) => Verdict::Wait { end: Lsn::new(it.end) },
        Wire::Truncate(it) => Verdict::Truncate { fork: Lsn::new(it.fork), crc: it.crc },
        Wire::Reseed(it) => {
            Verdict::Reseed { reason: parse_reason(it.reason())?, first_available: Lsn::new(it.first_available) }
        }
        Wire::Stale(it) => Verdict::Stale { epoch: epoch(it.epoch)? },
        Wire::Diverged(it) => Verdict::Diverged { at: Lsn::new(it.at), why: parse_difference(it.why())? },
    })
}

fn reason_message(reason: ReseedReason) -> verdict::reseed::Reason {
    use verdict::reseed::Reason;
    match reason {
        ReseedReason::TooOld => Reason::TooOld,
        ReseedReason::ForkTrimmed => Reason::ForkTrimmed,
        ReseedReason::AppliedPastFork => Reason::AppliedPastFork,
        ReseedReason::NoCommonLife => Reason::NoCommonLife,
    }
}

fn parse_reason(reason: verdict::reseed::Reason) -> Result<ReseedReason> {
    use verdict::reseed::Reason;
    Ok(match reason {
        Reason::Unspecified => return Err(Error::malformed("an unknown reason to re-seed")),
        Reason::TooOld => ReseedReason::TooOld,
        Reason::ForkTrimmed => ReseedReason::ForkTrimmed,
        Reason::AppliedPastFork => ReseedReason::AppliedPastFork,
        Reason::NoCommonLife => ReseedReason::NoCommonLife,
    })
}

fn difference_message(difference: Difference) -> verdict::diverged::Difference {
    use verdict::diverged::Difference as Wire;
    match difference {
        Difference::OtherLog => Wire::OtherLog,
        Difference::OtherShape => Wire::OtherShape,
        Difference::TwoWriters => Wire::TwoWriters,
        Difference::ForgottenLife => Wire::ForgottenLife,
        Difference::Bytes => Wire::Bytes,
    }
}

fn parse_difference(difference: verdict::diverged::Difference) -> Result<Difference> {
    use verdict::diverged::Difference as Wire;
    Ok(match difference {
        Wire::Unspecified => return Err(Error::malformed("an unknown difference")),
        Wire::OtherLog => Difference::OtherLog,
        Wire::OtherShape => Difference::OtherShape,
        Wire::TwoWriters => Difference::TwoWriters,
        Wire::ForgottenLife => Difference::ForgottenLife,
        Wire::Bytes => Difference::Bytes,
    })
}
