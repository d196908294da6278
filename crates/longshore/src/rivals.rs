//! Two agents with one identity, of which only one at a time is served.
//!
//! A stream that a newer one replaces is nothing unusual: whoever was cut off comes back before its old stream is given up, and an
//! agent that moves a stream between its two connections ([`lanes`](crate::lanes)) may open the new one before the end of the old
//! one is heard, there and, once it has caught up, back again. But no agent takes the place of one connection by another, back,
//! and once more, each within a minute of the one before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use longshore_protocol::NodeId;

/// Who replaced whom as a replica of one log.
#[derive(Debug, Default)]
pub(crate) struct Rivals(BTreeMap<NodeId, Place>);

/// The place of one replica.
#[derive(Debug, Default)]
struct Place {
    /// The connection whose stream has it, while one does.
    held_by: Option<SocketAddr>,
    /// The last time that one connection took it from another.
    taken: Option<Taken>,
    /// The last two that were told of.
    told: Option<(SocketAddr, SocketAddr)>,
}

#[derive(Debug)]
struct Taken {
    from: SocketAddr,
    by: SocketAddr,
    at: Duration,
    /// How often these two have taken it from one another by turns, this time included.
    turns: u32,
}

impl Rivals {
    /// A stream on this connection is the replica's newest now, at `now` of the monotonic clock. Two connections, once they push
    /// each other out.
    pub(crate) fn opened(&mut self, node: &NodeId, by: SocketAddr, now: Duration) -> Option<(SocketAddr, SocketAddr)> {
        let place = self.0.entry(node.clone()).or_default();
        let from = place.held_by.replace(by).filter(|from| *from != by)?;
        let before = place.taken.take();
        let before = before.filter(|before| (before.by, before.from) == (from, by) && now <= before.at + MEMORY);
        let turns = before.map_or(0, |before| before.turns).saturating_add(1);
        place.taken = Some(Taken { from, by, at: now, turns });
        let two = (from.min(by), from.max(by));
        let is_news = 3 <= turns && place.told != Some(two);
        is_news.then(|| *place.told.insert(two))
    }

    /// The replica's newest stream has ended: whoever opens the next one replaces nobody.
    pub(crate) fn left(&mut self, node: &NodeId) {
        if let Some(place) = self.0.get_mut(node) {
            place.held_by = None;
        }
    }
}

/// How long one turn is remembered: longer than the longest pause of an agent that dials again, unless its settings say more.
const MEMORY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams on these connections open one after the other, as many seconds apart: the pairs that are told of.
    fn told(rivals: &mut Rivals, apart: u64, opened: &[u16]) -> Vec<(u16, u16)> {
        let node = NodeId::new("eu-west").unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let open = |(turn, port): (u64, &u16)| rivals.opened(&node, at(*port), Duration::from_secs(turn * apart));
        let told = (0..).zip(opened).filter_map(open);
        told.map(|(one, other)| (one.port(), other.port())).collect()
    }

    #[test]
    fn two_connections_that_replace_one_another_by_turns_are_told_of_once() {
        for (apart, opened, expected) in [
            (1, &[1, 1, 1, 1, 1][..], &[][..]),             // streams anew on one connection
            (1, &[1, 2, 3, 4, 5], &[]),                     // cut off again and again
            (1, &[1, 2, 1], &[]),                           // moved to its other connection, and back
            (1, &[1, 2, 1, 2], &[(1, 2)]),                  // two agents
            (60, &[2, 1, 2, 1, 2, 1, 2, 1], &[(1, 2)]),     // as slow as they may be
            (61, &[1, 2, 1, 2, 1, 2], &[]),                 // too far apart to have to do with one another
            (1, &[1, 2, 2, 1, 1, 2], &[(1, 2)]),            // one comes again before the other does
            (1, &[1, 2, 3, 1, 2, 3, 1, 2], &[]),            // three, of which no two take turns
            (1, &[1, 2, 1, 2, 3, 2, 3], &[(1, 2), (2, 3)]), // another pair
        ] {
            assert_eq!(told(&mut Rivals::default(), apart, opened), expected, "{opened:?}, {apart} s apart");
        }
    }

    #[test]
    fn whoever_comes_after_another_has_left_pushes_nobody_out() {
        let node = NodeId::new("eu-west").unwrap();
        let mut rivals = Rivals::default();
        for _ in 0..9 {
            for port in [1, 2] {
                assert_eq!(told(&mut rivals, 1, &[port]), []);
                rivals.left(&node);
            }
        }
    }
}
