//! What a look at an archive may find.

use longshore_format::{ErrorKind, Lsn};

use crate::error::{Error, Result};

/// Something about an archive that is not as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// An object is gone.
    Missing {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// Where what it held starts.
        start: Lsn,
        /// And ends.
        end: Lsn,
    },
    /// An object does not hold.
    Corrupt {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// What is wrong with it.
        what: String,
        /// Where what it should hold starts.
        start: Lsn,
        /// And ends.
        end: Lsn,
    },
    /// A range that is in no archive, which is known: the log went on without it.
    AcknowledgedGap {
        /// Which store.
        store: String,
        /// Where it starts.
        start: Lsn,
        /// And ends.
        end: Lsn,
        /// When it was seen, microseconds UTC.
        time: u64,
    },
    /// An object that no manifest names yet: an archiver is about to, or was killed. Nothing is wrong.
    InFlight {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// Where it starts and ends, as far as its name says.
        range: Option<(Lsn, Lsn)>,
        /// How long it is.
        bytes: u64,
    },
    /// An object that no manifest names and that is too old to be on its way. It does no harm.
    Unnamed {
        /// Which store.
        store: String,
        /// Which object.
        object: String,
        /// Where it starts and ends, as far as its name says.
        range: Option<(Lsn, Lsn)>,
        /// How long it is.
        bytes: u64,
    },
}

impl Finding {
    /// What it is to a look that an object which should hold a range cannot be had; any other error is one here, too.
    pub(crate) fn of(error: Error, (start, end): (Lsn, Lsn)) -> Result<Finding> {
        match error {
            Error::Missing { store, object, start, end } => Ok(Finding::Missing { store, object, start, end }),
            Error::Corrupt { store, object, what } => Ok(Finding::Corrupt { store, object, what, start, end }),
            Error::Envelope { store, object, source } if source.kind() == ErrorKind::Corrupt => {
                Ok(Finding::Corrupt { store, object, what: source.to_string(), start, end })
            }
            error => Err(error),
        }
    }

    /// The positions that it is about, as far as they are known.
    pub fn range(&self) -> Option<(Lsn, Lsn)> {
        match *self {
            Finding::Missing { start, end, .. }
            | Finding::Corrupt { start, end, .. }
            | Finding::AcknowledgedGap { start, end, .. } => Some((start, end)),
            Finding::InFlight { range, .. } | Finding::Unnamed { range, .. } => range,
        }
    }

    /// The error that it is to a restore; `None` for what does no harm.
    pub fn into_error(self) -> Option<Error> {
        match self {
            Finding::Missing { store, object, start, end } => Some(Error::Missing { store, object, start, end }),
            Finding::Corrupt { store, object, what, .. } => Some(Error::Corrupt { store, object, what }),
            Finding::AcknowledgedGap { .. } | Finding::InFlight { .. } | Finding::Unnamed { .. } => None,
        }
    }
}
