//! The order of runs: which record may stand where.

use crate::{Fault, Flags, Kind, Lsn};

/// The start of the open run, if any, after a record of this kind and these flags at `start`, when
/// `open` was the open run's before it.
#[inline]
pub(crate) fn after(open: Option<Lsn>, kind: Kind, flags: Flags, start: Lsn) -> Result<Option<Lsn>, Fault> {
    if kind.is_user() {
        return continued(open, flags, start);
    }
    let refuse = Err(Fault::Flags(flags.bits()));
    match kind {
        Kind::MARK if flags == Flags::SINGLE => continued(open, flags, start),
        Kind::ROLL if flags == Flags::NONE => Ok(open),
        Kind::EPOCH_START | Kind::INCARNATION if flags == Flags::NONE => Ok(None),
        Kind::ABORT if flags == Flags::NONE => match open {
            Some(_) => Ok(None),
            None => Err(Fault::RunOrder),
        },
        Kind::POLICY if flags == Flags::NONE => match open {
            None => Ok(None),
            Some(_) => Err(Fault::RunOrder),
        },
        Kind::MARK | Kind::ROLL | Kind::EPOCH_START | Kind::INCARNATION | Kind::ABORT | Kind::POLICY => refuse,
        _ if !flags.contains(Flags::IGNORABLE) => Err(Fault::UnknownKind(kind.get())),
        // A later version's record: passed over, and like a mark it stands between runs.
        _ if flags == Flags::IGNORABLE || flags == Flags::IGNORABLE | Flags::SINGLE => match open {
            None => Ok(None),
            Some(_) => Err(Fault::RunOrder),
        },
        _ => refuse,
    }
}

/// A record that is itself part of a run.
#[inline]
fn continued(open: Option<Lsn>, flags: Flags, start: Lsn) -> Result<Option<Lsn>, Fault> {
    if !Flags::SINGLE.contains(flags) {
        return Err(Fault::Flags(flags.bits()));
    }
    let run = match (open, flags.contains(Flags::FIRST)) {
        (None, true) => start,
        (Some(run), false) => run,
        (Some(_), true) | (None, false) => return Err(Fault::RunOrder),
    };
    Ok((!flags.contains(Flags::LAST)).then_some(run))
}
