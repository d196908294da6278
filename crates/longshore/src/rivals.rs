//! Two agents with one identity, of which only one at a time is served.
//!
//! A stream that a newer one replaces is nothing unusual: whoever was cut off comes back before its old stream is given up. But
//! nobody is cut off and comes back on the same connection, twice by turns.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use longshore_protocol::NodeId;

/// Who replaced whom as a replica of one log.
#[derive(Debug, Default)]
pub(crate) struct Rivals(BTreeMap<NodeId, Place>);

/// The place of one replica.
#[derive(Debug)]
struct Place {
    /// The connection that has it.
    held_by: SocketAddr,
    /// The last one that lost it, and to which.
    lost: Option<(SocketAddr, SocketAddr)>,
    /// The last two that were told of.
    told: Option<(SocketAddr, SocketAddr)>,
}

impl Rivals {
    /// A stream on this connection is served.
    pub(crate) fn served(&mut self, node: &NodeId, from: SocketAddr) {
        let place = self.0.entry(node.clone()).or_insert(Place { held_by: from, lost: None, told: None });
        place.held_by = from;
    }

    /// A stream on this connection ended because a newer one is served. The two connections, once they have replaced one
    /// another.
    pub(crate) fn replaced(&mut self, node: &NodeId, from: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
        let place = self.0.get_mut(node).filter(|place| place.held_by != from)?;
        let by = place.held_by;
        let before = place.lost.replace((from, by));
        let two = (from.min(by), from.max(by));
        let is_news = before == Some((by, from)) && place.told != Some(two);
        is_news.then(|| *place.told.insert(two))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_connections_that_replace_one_another_are_told_of_once() {
        let node = NodeId::new("eu-west").unwrap();
        let [a, b, c] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut rivals = Rivals::default();
        let mut take_over = |from: SocketAddr, by: SocketAddr| {
            rivals.served(&node, by);
            rivals.replaced(&node, from)
        };
        assert_eq!(take_over(a, a), None, "a stream anew on its own connection");
        assert_eq!(take_over(a, b), None, "somebody came back on another connection");
        assert_eq!(take_over(b, a), Some((a, b)));
        assert_eq!(take_over(a, b), None, "it was told");
        assert_eq!(take_over(b, c), None);
        assert_eq!(take_over(c, b), Some((b, c)), "another one");
    }
}
