//! The one list of what can go wrong, as far as a program needs to tell cases apart.

use std::fmt;

/// What to do about an error. Every crate's `Error` has a `kind()`; layers above match on nothing
/// else, and exit codes and gRPC status both follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Change the request or the settings.
    Invalid,
    /// There is nothing there to read or restore.
    NotFound,
    /// The log no longer reaches back that far; the first position it does reach is named.
    TooOld,
    /// The log or archive does not reach that target; the nearest it does reach is named.
    Unreachable,
    /// A range is missing; it is named.
    Gap,
    /// Stop; take these bytes from another copy.
    Corrupt,
    /// The output exists, or another process holds the log.
    Busy,
    /// Space, permission or version: nothing was changed.
    Preflight,
    /// A later epoch exists; this node steps down.
    Fenced,
    /// Two histories; an operator decides which one wins.
    Diverged,
    /// Restored, but the final check did not hold.
    CheckFailed,
    /// Try again later.
    Unavailable,
    /// A limit is reached: wait for the log to drain, or free space.
    Full,
    /// Durable here, not confirmed there in time: wait again for the position, do not append again.
    Unconfirmed,
    /// Certificate or role: get it granted; the line to add is named.
    Denied,
    /// A sync failed before: reopen the log.
    Poisoned,
    /// A bug; report it.
    Internal,
    /// Interrupted by the user: run it again, it resumes.
    Interrupted,
}

impl ErrorKind {
    /// Every kind, in the order of the table in the design.
    pub const ALL: [ErrorKind; 18] = [
        ErrorKind::Invalid,
        ErrorKind::NotFound,
        ErrorKind::TooOld,
        ErrorKind::Unreachable,
        ErrorKind::Gap,
        ErrorKind::Corrupt,
        ErrorKind::Busy,
        ErrorKind::Preflight,
        ErrorKind::Fenced,
        ErrorKind::Diverged,
        ErrorKind::CheckFailed,
        ErrorKind::Unavailable,
        ErrorKind::Full,
        ErrorKind::Unconfirmed,
        ErrorKind::Denied,
        ErrorKind::Poisoned,
        ErrorKind::Internal,
        ErrorKind::Interrupted,
    ];

    /// The exit code of a command that ended with an error of this kind.
    pub const fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Poisoned | ErrorKind::Internal => 1,
            ErrorKind::Invalid => 2,
            ErrorKind::NotFound => 3,
            ErrorKind::TooOld | ErrorKind::Unreachable => 4,
            ErrorKind::Gap => 5,
            ErrorKind::Corrupt => 6,
            ErrorKind::Busy => 7,
            ErrorKind::Preflight => 8,
            ErrorKind::Fenced | ErrorKind::Diverged => 9,
            ErrorKind::CheckFailed => 10,
            ErrorKind::Unavailable | ErrorKind::Full => 11,
            ErrorKind::Unconfirmed => 12,
            ErrorKind::Denied => 13,
            ErrorKind::Interrupted => 130,
        }
    }

    /// The kind in lower-case kebab, as JSON output and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not-found",
            ErrorKind::TooOld => "too-old",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Gap => "gap",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Busy => "busy",
            ErrorKind::Preflight => "preflight",
            ErrorKind::Fenced => "fenced",
            ErrorKind::Diverged => "diverged",
            ErrorKind::CheckFailed => "check-failed",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Full => "full",
            ErrorKind::Unconfirmed => "unconfirmed",
            ErrorKind::Denied => "denied",
            ErrorKind::Poisoned => "poisoned",
            ErrorKind::Internal => "internal",
            ErrorKind::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorKind;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_its_own_spelling() {
        let spellings: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(spellings.len(), ErrorKind::ALL.len());
    }
}
