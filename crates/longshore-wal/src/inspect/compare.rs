//! This log's segments against a peer's.

use longshore_format::{Digest, Lsn};

use super::{Report, State};

/// A segment as a peer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSegment {
    /// Its base.
    pub base: Lsn,
    /// Its digest, if the peer has sealed it.
    pub digest: Option<Digest>,
}

/// How a log compares with a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Each sealed segment of this log, in order.
    pub segments: Vec<(Lsn, Compared)>,
    /// The log is proved equal from its first segment that both have up to here; `None` if that one is not.
    pub equal_to: Option<Lsn>,
}

/// How one sealed segment compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compared {
    /// The same bytes.
    Equal,
    /// Other bytes.
    Differs {
        /// The digest here.
        here: Digest,
        /// The digest there.
        there: Digest,
    },
    /// The peer has not sealed it yet.
    NotSealedThere,
    /// The peer does not have it: trimmed, or not reached yet.
    NotThere,
}

impl Comparison {
    /// The first segment that both have and that differs.
    pub fn first_difference(&self) -> Option<Lsn> {
        self.segments.iter().find(|(_, compared)| matches!(compared, Compared::Differs { .. })).map(|(base, _)| *base)
    }
}

/// Holds the digests in the footers of a log against a peer's. That the bytes here are those their footers seal is what
/// [`Depth::Records`](super::Depth::Records) proves.
pub fn compare(report: &Report, peer: &[PeerSegment]) -> Comparison {
    let mut segments = Vec::new();
    for segment in report.segments.iter().filter(|segment| segment.state == State::Sealed) {
        let Some(here) = segment.digest else { continue };
        let there = peer.iter().find(|there| there.base == segment.base).map(|there| there.digest);
        let compared = match there {
            None => Compared::NotThere,
            Some(None) => Compared::NotSealedThere,
            Some(Some(there)) if there == here => Compared::Equal,
            Some(Some(there)) => Compared::Differs { here, there },
        };
        segments.push((segment.base, compared));
    }
    let shared = segments.iter().skip_while(|(_, compared)| *compared == Compared::NotThere);
    let last_equal = shared.take_while(|(_, compared)| *compared == Compared::Equal).last();
    let equal_to = last_equal.and_then(|(base, _)| report.control.size.next_base(*base));
    Comparison { segments, equal_to }
}
