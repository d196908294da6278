//! What a look at an archive may find.

use longshore_format::Lsn;

use crate::error::Error;

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
    /// The error that it is to a restore; `None` for what does no harm.
    pub fn into_error(self) -> Option<Error> {
        match self {
            Finding::Missing { store, object, start, end } => Some(Error::Missing { store, object, start, end }),
            Finding::Corrupt { store, object, what, .. } => Some(Error::Corrupt { store, object, what }),
            Finding::AcknowledgedGap { .. } | Finding::InFlight { .. } | Finding::Unnamed { .. } => None,
        }
    }
}
