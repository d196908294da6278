//! Candidates for a copy, side by side and the best first.
//!
//! Each candidate has a place in four orders: cost, round trip, RPO, shared fate. The sum of the
//! four places decides, the lower the better; what is not known has the last place of its order.
//! A candidate in the primary's own region or city comes after all others whatever it costs: it
//! is no copy elsewhere.

use std::cmp::Ordering;
use std::num::NonZero;
use std::time::Duration;

use super::{Link, Monthly, Prices, Recovery, RegionId, Restore, Rpo, SharedFate, Workload, archive_rpo, replica_rpo};

/// A place for a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub region: RegionId,
    /// The measured round trip; without one it is estimated from the distance.
    pub rtt: Option<Duration>,
}

/// What is the same for every candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// What is written and kept.
    pub workload: Workload,
    /// Bytes per second to each candidate.
    pub bandwidth: NonZero<u64>,
    /// Requests under way at once.
    pub parallel: NonZero<u32>,
    /// How often the primary syncs its log.
    pub sync_every: Duration,
    /// Bytes that wait to be sent to a replica.
    pub backlog_bytes: u64,
    /// Until somebody knows and decides.
    pub detect: Duration,
    /// Bytes of log that a database takes per second.
    pub apply_rate: NonZero<u64>,
}

impl Plan {
    /// The link of this plan with a round trip.
    pub fn link(&self, rtt: Duration) -> Link {
        Link { bandwidth: self.bandwidth, rtt, parallel: self.parallel }
    }
}

/// What a candidate comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Where.
    pub region: RegionId,
    /// Measured or estimated; `None` for a place on no map here.
    pub rtt: Option<Duration>,
    /// Of a replica there. `None` without a round trip, as the next two.
    pub replica_rpo: Option<Rpo>,
    /// Of an archive there.
    pub archive_rpo: Option<Rpo>,
    /// From an archive there.
    pub recovery: Option<Recovery>,
    /// Of an archive there.
    pub monthly: Monthly,
    /// From an archive there.
    pub restore: Restore,
    /// What it shares with the primary.
    pub fate: SharedFate,
}

impl Assessment {
    fn new(from: &RegionId, candidate: &Candidate, plan: &Plan, prices: &Prices) -> Assessment {
        let region = candidate.region.clone();
        let known = from.region().zip(region.region());
        let rtt = candidate.rtt.or_else(|| known.map(|(from, to)| from.rtt(to)));
        let link = rtt.map(|rtt| plan.link(rtt));
        let workload = &plan.workload;
        Assessment {
            rtt,
            replica_rpo: link.map(|link| replica_rpo(workload, &link, plan.sync_every, plan.backlog_bytes)),
            archive_rpo: link.map(|link| archive_rpo(workload, &link)),
            recovery: link.map(|link| Recovery::new(workload, link, plan.detect, plan.apply_rate)),
            monthly: Monthly::new(workload, prices, from, &region),
            restore: Restore::new(workload, prices, from, &region),
            fate: SharedFate::new(from, &region),
            region,
        }
    }
}

/// All candidates for a copy of what is at `from`, the best first.
pub fn rank(from: &RegionId, candidates: &[Candidate], plan: &Plan, prices: &Prices) -> Vec<Assessment> {
    let all: Vec<_> = candidates.iter().map(|candidate| Assessment::new(from, candidate, plan, prices)).collect();
    let orders: [fn(&Assessment, &Assessment) -> Ordering; 4] = [
        |a, b| unknown_last(a.monthly.usd(), b.monthly.usd(), |a, b| a.total_cmp(&b)),
        |a, b| unknown_last(a.rtt, b.rtt, |a, b| a.cmp(&b)),
        |a, b| unknown_last(a.replica_rpo, b.replica_rpo, |a, b| a.cmp(&b)),
        |a, b| a.fate.weight().cmp(&b.fate.weight()),
    ];
    // A place is how many are better.
    let place = |one: &Assessment, order: &fn(&Assessment, &Assessment) -> Ordering| {
        all.iter().filter(|other| order(other, one).is_lt()).count()
    };
    let key = |one: &Assessment| {
        let places: usize = orders.iter().map(|order| place(one, order)).sum();
        (one.fate.is_one_place(), places, one.fate.weight(), one.region.clone())
    };
    let mut ranked: Vec<_> = all.iter().map(|one| (key(one), one.clone())).collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    ranked.into_iter().map(|(_, one)| one).collect()
}

fn unknown_last<T>(a: Option<T>, b: Option<T>, known: impl Fn(T, T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => known(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::regions::tests::id;
    use super::super::workload::tests::workload;
    use super::*;

    fn plan() -> Plan {
        Plan {
            workload: workload(),
            bandwidth: NonZero::new(100_000_000).unwrap(),
            parallel: NonZero::new(8).unwrap(),
            sync_every: Duration::from_millis(10),
            backlog_bytes: 0,
            detect: Duration::from_secs(30),
            apply_rate: NonZero::new(50_000_000).unwrap(),
        }
    }

    fn ranked(candidates: &[&str]) -> Vec<Assessment> {
        let candidates: Vec<_> = candidates.iter().map(|region| Candidate { region: id(region), rtt: None }).collect();
        rank(&id("aws:eu-central-1"), &candidates, &plan(), &Prices::built_in())
    }

    #[test]
    fn cost_round_trip_loss_and_fate_decide_together() {
        let ranked = ranked(&[
            "hetzner:fsn1",
            "aws:eu-central-1",
            "aws:us-east-1",
            "gcp:europe-west1",
            "gcp:europe-west3",
            "aws:eu-west-1",
        ]);
        // Places in cost, RTT, RPO and fate (weights 2, 6, 2, 1, 3, 3):
        //   gcp:europe-west1   3 + 2 + 2 + 0 =  7
        //   aws:eu-west-1      1 + 3 + 3 + 3 = 10
        //   aws:us-east-1      1 + 4 + 4 + 1 = 10, and shares less than aws:eu-west-1
        //   hetzner:fsn1       5 + 5 + 5 + 1 = 16
        // Then those in the primary's own city:
        //   aws:eu-central-1   0 + 0 + 0 + 5 =  5
        //   gcp:europe-west3   4 + 0 + 0 + 3 =  7
        let order: Vec<_> = ranked.iter().map(|one| one.region.to_string()).collect();
        let expected = [
            "gcp:europe-west1",
            "aws:us-east-1",
            "aws:eu-west-1",
            "hetzner:fsn1",
            "aws:eu-central-1",
            "gcp:europe-west3",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn a_place_on_no_map_has_no_round_trip_until_one_is_measured() {
        let unknown = &ranked(&["hetzner:fsn1"])[0];
        assert_eq!((unknown.rtt, unknown.replica_rpo, unknown.recovery), (None, None, None));
        let measured = Candidate { region: id("hetzner:fsn1"), rtt: Some(Duration::from_millis(8)) };
        let known = &rank(&id("aws:eu-central-1"), &[measured], &plan(), &Prices::built_in())[0];
        assert_eq!(known.replica_rpo, Some(Rpo::Within(Duration::from_millis(18))));
    }

    #[test]
    fn no_candidates_rank_as_none() {
        assert!(ranked(&[]).is_empty());
    }
}
