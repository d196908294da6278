//! A lease that this node has, and for how long it trusts it.

use std::time::Duration;

use longshore_format::Epoch;

use super::{LeaseObject, Stamp};

/// What a holder goes by: its last write that was answered.
#[derive(Debug)]
pub(super) struct Holder {
    object: LeaseObject,
    until: Duration,
}

impl Holder {
    /// By a write that was answered with yes, and was `sent` then: it landed no earlier than that.
    pub(super) fn new(object: LeaseObject, sent: Duration) -> Holder {
        let until = sent.saturating_add(object.ttl.trust());
        Holder { object, until }
    }

    /// The epoch that it began.
    pub(super) fn epoch(&self) -> Epoch {
        self.object.epoch
    }

    /// From when on it must not act: another may have the lease soon.
    pub(super) fn until(&self) -> Duration {
        self.until
    }

    /// Whether it may still act.
    pub(super) fn trusts(&self, now: Duration) -> bool {
        now < self.until
    }

    /// The next write. What it says counts once it was answered, and not if the answer is lost.
    pub(super) fn renewal(&self, stamp: Stamp) -> LeaseObject {
        LeaseObject { stamp, ..self.object.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Stamps, Ttl};
    use super::*;
    use crate::fake::{epoch, node, secs};

    #[test]
    fn a_holder_stops_when_seven_tenths_have_passed_since_it_sent() {
        let stamps = &mut Stamps::new(1);
        let object =
            LeaseObject { holder: Some(node("a")), epoch: epoch(1, 1), ttl: Ttl::DEFAULT, stamp: stamps.fresh() };
        let holder = Holder::new(object.clone(), secs(100));
        let millis = |after: u64| secs(100) + Duration::from_millis(after);
        for (now, trusts) in [
            (millis(0), true),
            (millis(6_999), true),
            (millis(7_000), false),
            (millis(11_000), false),
            // After a suspend, too.
            (secs(4_000), false),
            (Duration::MAX, false),
        ] {
            assert_eq!(holder.trusts(now), trusts, "{now:?}");
        }
        assert_eq!(holder.until(), secs(107));
        let renewal = holder.renewal(stamps.fresh());
        assert_ne!(renewal, object);
        assert_eq!(LeaseObject { stamp: object.stamp, ..renewal }, object);
    }
}
