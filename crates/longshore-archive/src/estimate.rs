//! What a copy elsewhere takes, before there is one: time, bandwidth, loss and money.
//!
//! Everything here is arithmetic on what the caller states; nothing is measured and nothing is
//! sent. A figure that is not known is `None`, never a guess. Arithmetic is in `f64`, and a time
//! too long for a [`Duration`] is [`Duration::MAX`].
//!
//! ```
//! use std::num::NonZero;
//! use std::time::Duration;
//! use longshore_archive::estimate::{Link, Rule, Transfer};
//!
//! let link = Link {
//!     bandwidth: NonZero::new(100_000_000).unwrap(),
//!     rtt: Duration::from_millis(80),
//!     parallel: NonZero::new(8).unwrap(),
//! };
//! // 1,000 × 1 MB / 100 MB/s = 10 s, and 1,000 × 80 ms / 8 = 10 s.
//! let transfer = Transfer { objects: 1_000, mean_bytes: 1_000_000, link };
//! assert_eq!(transfer.total(), Duration::from_secs(20));
//! assert_eq!(transfer.rule(), Rule::Bandwidth);
//! ```

use std::time::Duration;

mod cost;
mod fate;
mod objectives;
mod prices;
mod rank;
mod regions;
mod transfer;
mod workload;

pub use cost::{Item, Monthly, Restore, Spent, link};
pub use fate::{Nearness, SharedFate};
pub use objectives::{Recovery, Rpo, archive_rpo, replica_rpo};
pub use prices::{Price, PriceFault, Prices};
pub use rank::{Assessment, Candidate, Plan, rank};
pub use regions::{Continent, Region, RegionFault, RegionId};
pub use transfer::{Link, Rule, Transfer};
pub use workload::{Every, Ratio, Workload};

/// Seconds as a duration; what is too long, or is no number, is as long as can be.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The name most like `name`, if one is like it at all.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likely = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    likely.filter(|(likeness, _)| *likeness > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
