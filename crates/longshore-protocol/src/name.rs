//! Names that come from people and peers, told apart by what they name (F-125).

use std::fmt;
use std::str::FromStr;

pub use longshore_format::Name;

use crate::Error;

macro_rules! named {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Name);

        impl $type {
            /// Checks a name.
            pub fn new(name: &str) -> Result<Self, Error> {
                Ok(Self(Name::new(name)?))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The name, whatever it names.
            pub fn as_name(&self) -> &Name {
                &self.0
            }
        }

        impl From<Name> for $type {
            fn from(name: Name) -> Self {
                Self(name)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self, Error> {
                Self::new(s)
            }
        }
    };
}

named! {
    /// Who a node is: the identity in its certificate, and the name of its slot and of its acks.
    NodeId
}
named! {
    /// Where a node is, as its upstream's grants say; never taken from a message.
    Region
}

pub(crate) use named;
