//! What makes two writes of one lease different, whoever writes the same otherwise.

use std::fmt;

/// Of which life of a process a write is, and which one of that life.
///
/// No two writes of a lease have one stamp. So an object that is seen twice was not written in between, a renewal whose answer
/// was lost is never taken for the next one, and a store whose versions are digests of the content tells every write apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Random bits that a process draws when it begins to take part.
    pub life: u64,
    /// Counts its writes, those whose answers were lost too.
    pub count: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}", self.life, self.count)
    }
}

/// The stamps of one life, each given once.
#[derive(Debug)]
pub struct Stamps {
    life: u64,
    given: u64,
}

impl Stamps {
    /// Those of a life that drew these random bits.
    pub fn new(life: u64) -> Stamps {
        Stamps { life, given: 0 }
    }

    /// One that was not given before.
    pub fn fresh(&mut self) -> Stamp {
        // At a write every microsecond this lasts for half a million years.
        self.given += 1;
        Stamp { life: self.life, count: self.given }
    }

    /// Whether this life wrote it.
    pub fn gave(&self, stamp: Stamp) -> bool {
        stamp.life == self.life
    }
}
