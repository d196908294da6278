//! What a node has seen of a lease, and whether that is enough to take it.

use std::time::Duration;

use longshore_format::{Epoch, WriterId};

use super::{LeaseObject, Stamp, Ttl};

/// What the store answered so far, on this node's own clock.
#[derive(Debug)]
pub(super) struct Candidate {
    own: Ttl,
    /// The longest that anybody may trust what is gone.
    longest: Ttl,
    seen: Option<Seen>,
}

/// One content, and from when to when it was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The object; `None` where there is none.
    pub(super) object: Option<LeaseObject>,
    /// When the first answer with it had arrived. It was written before, so that to count from here is to count late.
    first: Duration,
    /// When the last one had.
    last: Duration,
}

impl Candidate {
    pub(super) fn new(ttl: Ttl) -> Candidate {
        Candidate { own: ttl, longest: ttl, seen: None }
    }

    /// An answer of the store has arrived.
    pub(super) fn saw(&mut self, object: Option<LeaseObject>, now: Duration) {
        if let Some(seen) = self.seen.as_mut().filter(|seen| seen.object == object) {
            seen.last = now;
            return;
        }
        if let Some(object) = &object {
            self.longest = self.own.max(object.ttl);
        }
        self.seen = Some(Seen { object, first: now, last: now });
    }

    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// What to put where there is no object: nobody's, and not free before it was seen for as long as any other.
    ///
    /// Somebody may have removed what another still trusts. Of nothing one cannot say how long it has been the same nothing; of
    /// this one can.
    pub(super) fn placeholder(&self, stamp: Stamp) -> LeaseObject {
        LeaseObject { holder: None, epoch: NONE, ttl: self.longest, stamp }
    }
}

impl Seen {
    /// Whether anybody may take it: it was given back, or whoever had it has stopped by itself.
    pub(super) fn is_free(&self) -> bool {
        self.object.as_ref().is_some_and(|object| {
            let given_back = object.holder.is_none() && object.epoch.number != NONE.number;
            given_back || object.ttl.patience() <= self.last.saturating_sub(self.first)
        })
    }

    /// When to look again after `now`, so that the wait ends with an answer and not long after.
    pub(super) fn look_at(&self, now: Duration, rhythm: Duration) -> Duration {
        let soon = now.saturating_add(rhythm);
        let Some(object) = &self.object else {
            return now;
        };
        let over = self.first.saturating_add(object.ttl.patience());
        if now < over { soon.min(over) } else { soon }
    }

    /// When what is known becomes too old to be told.
    pub(super) fn known_until(&self, ttl: Ttl) -> Duration {
        self.last.saturating_add(ttl.get())
    }
}

/// Of a lease that nobody had yet.
const NONE: Epoch = Epoch { number: 0, writer: WriterId::from_bytes([0; 16]) };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{epoch, node};

    fn object(holder: Option<&str>, count: u64) -> Option<LeaseObject> {
        let stamp = Stamp { life: 1, count };
        Some(LeaseObject { holder: holder.map(node), epoch: epoch(3, 1), ttl: Ttl::DEFAULT, stamp })
    }

    /// What is seen when, in milliseconds, and whether it may be taken after the last of it. The ttl is 10 s.
    #[test]
    fn it_may_be_taken_after_it_was_seen_unchanged_for_longer_than_its_ttl() {
        let (a, b, free) = (object(Some("a"), 1), object(Some("a"), 2), object(None, 3));
        let place = Some(Candidate::new(Ttl::DEFAULT).placeholder(Stamp { life: 2, count: 1 }));
        type Row<'a> = (&'a str, &'a [(u64, &'a Option<LeaseObject>)], bool);
        let rows: &[Row<'_>] = &[
            ("seen once says nothing", &[(0, &a)], false),
            ("however late", &[(3_600_000, &a)], false),
            ("one ttl is not enough", &[(0, &a), (10_000, &a)], false),
            ("a millisecond too early", &[(500, &a), (11_499, &a)], false),
            ("1.1 ttl is", &[(500, &a), (11_500, &a)], true),
            ("looked at in between", &[(0, &a), (5_000, &a), (11_000, &a)], true),
            ("a renewal begins it anew", &[(0, &a), (9_000, &b), (11_000, &b)], false),
            ("until that is old", &[(0, &a), (9_000, &b), (20_000, &b)], true),
            ("a suspend counts as time, after another look", &[(0, &a), (600_000, &a)], true),
            ("and shows whoever was awake", &[(0, &a), (600_000, &b)], false),
            ("what was given back waits for nobody", &[(0, &a), (1_000, &free)], true),
            ("given back, then taken", &[(0, &free), (1_000, &a)], false),
            ("what is not there may have been removed", &[(0, &None), (600_000, &None)], false),
            ("what stands in its place is waited for", &[(0, &None), (1, &place), (11_000, &place)], false),
            ("like any other", &[(0, &None), (1, &place), (11_001, &place)], true),
            ("a clock that steps back is no time", &[(20_000, &a), (5_000, &a)], false),
        ];
        for (why, answers, free) in rows {
            let mut candidate = Candidate::new(Ttl::DEFAULT);
            for (at, object) in *answers {
                candidate.saw((*object).clone(), Duration::from_millis(*at));
            }
            assert_eq!(candidate.seen().unwrap().is_free(), *free, "{why}");
        }
    }

    #[test]
    fn the_ttl_that_counts_is_the_holders() {
        let long = Ttl::new(Duration::from_secs(60)).unwrap();
        let theirs = object(Some("a"), 1).map(|object| LeaseObject { ttl: long, ..object });
        let mut candidate = Candidate::new(Ttl::DEFAULT);
        let secs = Duration::from_secs;
        candidate.saw(theirs.clone(), secs(0));
        candidate.saw(theirs, secs(65));
        assert!(!candidate.seen().unwrap().is_free());
        // Removed by somebody, it is missed for as long as whoever had it may still trust it.
        candidate.saw(None, secs(66));
        assert_eq!(candidate.placeholder(Stamp { life: 2, count: 1 }).ttl, long);
    }

    #[test]
    fn the_last_look_is_when_the_wait_is_over() {
        let mut candidate = Candidate::new(Ttl::DEFAULT);
        let (mut now, mut looks) = (Duration::from_secs(5), 0);
        candidate.saw(object(Some("a"), 1), now);
        while !candidate.seen().unwrap().is_free() {
            now = candidate.seen().unwrap().look_at(now, Ttl::DEFAULT.rhythm());
            candidate.saw(object(Some("a"), 1), now);
            looks += 1;
        }
        assert_eq!((now, looks), (Duration::from_secs(16), 5));
        let later = candidate.seen().unwrap().look_at(now, Ttl::DEFAULT.rhythm());
        assert_eq!(later, now + Ttl::DEFAULT.rhythm());
    }
}
