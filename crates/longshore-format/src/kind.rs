//! What a record is.

use std::fmt;
use std::ops::BitOr;

/// What a record is: 0–255 belong to the log, 256 and up to the user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u16);

impl Kind {
    /// The segment is full; the next record is in the next segment. No payload.
    pub const ROLL: Kind = Kind(1);
    /// The open run ends here and none of it counts. No payload.
    pub const ABORT: Kind = Kind(2);
    /// An epoch begins: [`payload::EpochStart`](crate::payload::EpochStart).
    pub const EPOCH_START: Kind = Kind(3);
    /// Writing begins again after something other than a clean close:
    /// [`payload::NewIncarnation`](crate::payload::NewIncarnation).
    pub const INCARNATION: Kind = Kind(4);
    /// A named point: [`payload::Mark`](crate::payload::Mark).
    pub const MARK: Kind = Kind(5);
    /// What the log promises from here on, and whose copies count: [`Policy`](crate::Policy). Stands between runs.
    pub const POLICY: Kind = Kind(6);
    /// The first of the user's kinds, and the default of appends that name none.
    pub const USER: Kind = Kind(256);

    /// The kind with this number.
    pub const fn new(number: u16) -> Kind {
        Kind(number)
    }

    /// The kind's number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether records of this kind are the user's.
    pub const fn is_user(self) -> bool {
        self.0 >= Kind::USER.0
    }

    /// Whether a record of this kind begins a new life, and so changes the seed.
    pub const fn begins_life(self) -> bool {
        matches!(self, Kind::EPOCH_START | Kind::INCARNATION)
    }
}

/// The name of a log kind, the number of any other.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::ROLL => f.pad("roll"),
            Kind::ABORT => f.pad("abort"),
            Kind::EPOCH_START => f.pad("epoch-start"),
            Kind::INCARNATION => f.pad("incarnation"),
            Kind::MARK => f.pad("mark"),
            Kind::POLICY => f.pad("policy"),
            Kind(number) => fmt::Display::fmt(&number, f),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({self})")
    }
}

/// Bits beside the kind. A run's first record has `FIRST`, its last `LAST`, a run of one both.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// No bit.
    pub const NONE: Flags = Flags(0);
    /// The first record of a run.
    pub const FIRST: Flags = Flags(1);
    /// The last record of a run.
    pub const LAST: Flags = Flags(2);
    /// A reader that does not know this kind (which must be a log kind) may pass over it.
    pub const IGNORABLE: Flags = Flags(4);
    /// A run of one record.
    pub const SINGLE: Flags = Flags(3);
    /// Every bit that has a meaning.
    pub const ALL: Flags = Flags(7);

    /// The flags with these bits, whatever they are.
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all bits of `other` are set here.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#x})", self.0)
    }
}
