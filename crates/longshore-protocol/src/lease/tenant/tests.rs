//! The rules one by one: one or two nodes and an object, asked by hand.

use super::*;
use crate::fake::{node, secs};
use crate::lease::Stamp;

fn tenant(name: &str, life: u64) -> Tenant {
    Tenant::new(node(name), Ttl::DEFAULT, life)
}

fn mint(writer: u8) -> Claim {
    Claim::Mint { writer: WriterId::from_bytes([writer; 16]), above: 0 }
}

fn epoch(number: u64, writer: u8) -> Epoch {
    crate::fake::epoch(number, writer)
}

fn theirs(number: u64) -> LeaseObject {
    let stamp = Stamp { life: 999, count: number };
    LeaseObject { holder: Some(node("them")), epoch: epoch(number, 99), ttl: Ttl::DEFAULT, stamp }
}

/// A node that took a lease that was given back, asking at `at`.
fn holder(at: Duration) -> (Tenant, LeaseObject) {
    let mut tenant = tenant("us", 1);
    tenant.found(Some(LeaseObject { holder: None, ..theirs(4) }), at);
    let bid = tenant.bid(mint(1)).unwrap();
    tenant.swapped(bid.clone(), at, at);
    (tenant, bid)
}

fn renewal(tenant: &mut Tenant, now: Duration) -> LeaseObject {
    match tenant.due(now) {
        Some(Due::Swap(object)) => object,
        other => panic!("no renewal at {now:?}, but {other:?}"),
    }
}

#[test]
fn whoever_takes_it_begins_the_next_epoch_with_a_writer_of_its_own() {
    let place = LeaseObject { holder: None, epoch: epoch(0, 0), ..theirs(0) };
    let rows = [
        (Some(LeaseObject { holder: None, ..theirs(4) }), 0, 5),
        (Some(LeaseObject { holder: None, ..theirs(4) }), 4, 5),
        (Some(LeaseObject { holder: None, ..theirs(4) }), 7, 8),
        (Some(place.clone()), 0, 1),
        (Some(place), 3, 4),
    ];
    for (there, above, number) in rows {
        let mut tenant = tenant("us", 1);
        tenant.found(there.clone(), secs(1));
        tenant.found(there, secs(12));
        let writer = WriterId::from_bytes([1; 16]);
        let bid = tenant.bid(Claim::Mint { writer, above }).unwrap();
        assert_eq!((bid.holder.as_ref(), bid.epoch), (Some(&node("us")), epoch(number, 1)));
        tenant.swapped(bid, secs(12), secs(13));
        assert_eq!(tenant.state(secs(13)), LeaseState::Held { epoch: epoch(number, 1), until: secs(19) });
    }
}

#[test]
fn a_number_that_has_no_next_is_refused() {
    let mut tenant = tenant("us", 1);
    tenant.found(Some(LeaseObject { holder: None, ..theirs(LeaseObject::MAX_NUMBER) }), secs(1));
    assert!(matches!(tenant.bid(mint(1)), Err(Error::NoLease { .. })));
    let above = Claim::Mint { writer: WriterId::from_bytes([1; 16]), above: u64::MAX };
    tenant.found(Some(LeaseObject { holder: None, ..theirs(1) }), secs(2));
    assert!(matches!(tenant.bid(above), Err(Error::NoLease { .. })));
}

#[test]
fn another_nodes_lease_is_not_taken_before_it_is_over() {
    let mut tenant = tenant("us", 1);
    assert!(matches!(tenant.bid(mint(1)), Err(Error::LeaseUnknown)));
    tenant.found(Some(theirs(4)), secs(1));
    assert_eq!(tenant.state(secs(1)), LeaseState::Other { holder: node("them"), epoch: epoch(4, 99) });
    tenant.found(Some(theirs(4)), secs(11));
    let Err(Error::LeaseHeld { holder, epoch: held }) = tenant.bid(mint(1)) else { panic!("it is theirs") };
    assert_eq!((holder, held), (node("them"), epoch(4, 99)));
    tenant.found(Some(theirs(4)), secs(12));
    assert_eq!(tenant.state(secs(12)), LeaseState::Free);
    // With an answer lost, what was seen says nothing about what to swap against.
    tenant.lost(secs(12), secs(12));
    assert!(matches!(tenant.bid(mint(1)), Err(Error::LeaseUnknown)));
    tenant.found(Some(theirs(4)), secs(13));
    tenant.bid(mint(1)).unwrap();
}

#[test]
fn a_holder_renews_every_quarter_and_counts_from_before_it_sent() {
    let (mut tenant, _) = holder(secs(100));
    assert_eq!(tenant.wake(secs(100)), secs(100) + Duration::from_millis(2_500));
    assert_eq!(tenant.due(secs(102)), None);
    let sent = secs(103);
    let first = renewal(&mut tenant, sent);
    // The answer took three seconds.
    tenant.swapped(first, sent, secs(106));
    assert_eq!(tenant.state(secs(106)), LeaseState::Held { epoch: epoch(5, 1), until: secs(110) });
    assert_eq!(tenant.wake(secs(106)), secs(106), "the next one is due");
    // This one comes when it is of no use any more.
    let second = renewal(&mut tenant, secs(106));
    tenant.swapped(second, secs(106), secs(113));
    assert_eq!(tenant.state(secs(113)).held(secs(113)), None);
}

#[test]
fn a_renewal_whose_answer_is_lost_is_no_renewal() {
    let (mut tenant, _) = holder(secs(100));
    let renewal_lost = renewal(&mut tenant, secs(103));
    tenant.lost(secs(103), secs(103));
    assert_eq!(tenant.due(secs(103)), None, "what failed at once is not asked again at once");
    assert_eq!(tenant.due(secs(104)), Some(Due::Read), "what is there is not known");
    tenant.lost(secs(104), secs(106));
    assert_eq!(tenant.due(secs(106)), Some(Due::Read), "time enough has passed");
    // It had landed; that makes it what to go on from, and nothing else.
    tenant.found(Some(renewal_lost.clone()), secs(106));
    assert_eq!(tenant.state(secs(106)), LeaseState::Held { epoch: epoch(5, 1), until: secs(107) });
    assert_eq!(tenant.state(secs(107)), LeaseState::Unknown);
    let next = renewal(&mut tenant, secs(107));
    assert_ne!(next, renewal_lost, "nobody could tell the answer to one from that to the other");
    // Nobody has taken it meanwhile, as the answer shows: it is held again.
    tenant.swapped(next, secs(107), secs(108));
    assert_eq!(tenant.state(secs(108)), LeaseState::Held { epoch: epoch(5, 1), until: secs(114) });
}

#[test]
fn a_holder_that_was_suspended_finds_itself_expired_before_anything_else() {
    // F-083
    let (mut tenant, object) = holder(secs(100));
    assert_eq!(tenant.state(secs(101)).held(secs(101)), Some(epoch(5, 1)));
    // Also what it was told before it fell asleep is void.
    let told = tenant.state(secs(101));
    let awake = secs(400);
    assert_eq!(told.held(awake), None);
    assert_eq!(tenant.state(awake), LeaseState::Unknown);
    // Somebody else took it.
    let _refused = renewal(&mut tenant, awake);
    tenant.found(Some(theirs(6)), secs(401));
    assert_eq!(tenant.state(secs(401)), LeaseState::Other { holder: node("them"), epoch: epoch(6, 99) });
    assert_eq!(tenant.due(secs(410)), Some(Due::Read));
    // What it had itself is over for ever, even if it is seen again.
    tenant.found(Some(object), secs(411));
    assert_eq!(tenant.state(secs(411)).held(secs(411)), None);
}

#[test]
fn an_answer_to_a_take_that_was_lost_is_found_when_it_is_asked_again() {
    let mut tenant = tenant("us", 1);
    tenant.found(Some(LeaseObject { holder: None, ..theirs(4) }), secs(1));
    let bid = tenant.bid(mint(1)).unwrap();
    tenant.lost(secs(1), secs(3));
    tenant.found(Some(bid.clone()), secs(4));
    assert_eq!(tenant.state(secs(4)), LeaseState::Unknown, "nobody said that it has it");
    let again = tenant.bid(mint(1)).unwrap();
    assert_eq!(again.epoch, bid.epoch, "no number is used up");
    assert_ne!(again.stamp, bid.stamp);
    assert_eq!(tenant.bid(mint(2)).unwrap().epoch, epoch(6, 2), "another writer is another epoch");
}

#[test]
fn a_primary_that_starts_again_goes_on_in_its_epoch_at_once() {
    let (_, object) = holder(secs(100));
    let mut reborn = tenant("us", 2);
    reborn.found(Some(object.clone()), secs(1));
    assert_eq!(reborn.state(secs(1)), LeaseState::Other { holder: node("us"), epoch: epoch(5, 1) });
    assert!(matches!(reborn.bid(mint(2)), Err(Error::LeaseHeld { .. })));
    assert_eq!(reborn.bid(Claim::Keep(epoch(5, 1))).unwrap().epoch, epoch(5, 1));
    // Under another name the same log is a copy, of which nobody knows whether the other one runs.
    let mut copy = tenant("copy", 2);
    copy.found(Some(object), secs(1));
    assert!(matches!(copy.bid(Claim::Keep(epoch(5, 1))), Err(Error::LeaseHeld { .. })));
}

#[test]
fn an_epoch_is_not_kept_once_a_later_one_was_begun() {
    let there = Some(LeaseObject { holder: None, ..theirs(4) });
    type Check = fn(Result<LeaseObject>) -> bool;
    let rows: [(Epoch, Check); 4] = [
        (
            epoch(3, 1),
            |bid| matches!(bid, Err(Error::Fenced { current, found }) if current.number == 4 && found.number == 3),
        ),
        (epoch(4, 1), |bid| matches!(bid, Err(Error::TwoWriters { .. }))),
        (epoch(4, 99), |bid| bid.is_ok_and(|bid| bid.epoch == epoch(4, 99))),
        (epoch(9, 1), |bid| bid.is_ok_and(|bid| bid.epoch == epoch(9, 1))),
    ];
    for (kept, check) in rows {
        let mut tenant = tenant("us", 1);
        tenant.found(there.clone(), secs(1));
        assert!(check(tenant.bid(Claim::Keep(kept))), "{kept}");
    }
}

#[test]
fn what_is_given_back_is_not_acted_on_and_free_for_the_next_at_once() {
    let (mut us, _) = holder(secs(100));
    let free = us.resign().unwrap().unwrap();
    assert_eq!((free.holder.as_ref(), free.epoch), (None, epoch(5, 1)));
    assert_eq!(us.state(secs(100)).held(secs(100)), None, "before it is sent");
    us.swapped(free.clone(), secs(100), secs(101));
    assert_eq!(us.state(secs(101)), LeaseState::Free);
    assert_eq!(us.resign().unwrap(), Some(free.clone()).filter(|_| false), "there is nothing to give back");
    let mut next = tenant("next", 2);
    next.found(Some(free), secs(7));
    assert_eq!(next.state(secs(7)), LeaseState::Free);
    assert_eq!(next.bid(mint(2)).unwrap().epoch, epoch(6, 2));
}

#[test]
fn what_another_has_is_not_given_back() {
    let mut tenant = tenant("us", 1);
    assert!(matches!(tenant.resign(), Err(Error::LeaseUnknown)));
    tenant.found(Some(theirs(4)), secs(1));
    assert_eq!(tenant.resign().unwrap(), None);
}

#[test]
fn what_was_not_heard_for_a_ttl_is_not_known_any_more() {
    let mut tenant = tenant("us", 1);
    assert_eq!(tenant.state(secs(0)), LeaseState::Unknown);
    tenant.found(Some(theirs(4)), secs(1));
    tenant.lost(secs(4), secs(4));
    assert!(matches!(tenant.state(secs(10)), LeaseState::Other { .. }));
    assert_eq!(tenant.state(secs(11)), LeaseState::Unknown);
    // A failed look is repeated soon, and the change of the state wakes whoever tells it.
    assert_eq!(tenant.wake(secs(4)), secs(5));
    let later = secs(10) + Duration::from_millis(900);
    tenant.lost(later, later);
    assert_eq!(tenant.wake(later), secs(11));
}

#[test]
fn an_object_that_somebody_removed_ends_the_lease_and_frees_it_late() {
    let (mut us, _) = holder(secs(100));
    let _refused = renewal(&mut us, secs(103));
    us.found(None, secs(104));
    assert_eq!(us.state(secs(104)), LeaseState::Unknown);
    assert!(matches!(us.bid(mint(2)), Err(Error::LeaseUnknown)));
    // Nobody can say for how long it has been missing, so each node that misses it puts nobody's there.
    let Some(Due::Swap(place)) = us.due(secs(104)) else { panic!("something is due") };
    assert_eq!((place.holder.as_ref(), place.epoch.number), (None, 0));
    us.swapped(place.clone(), secs(104), secs(105));
    assert!(matches!(us.bid(mint(2)), Err(Error::LeaseUnknown)), "although it wrote that itself");
    assert_eq!(us.resign().unwrap(), None);
    us.found(Some(place.clone()), secs(115));
    assert_eq!(us.state(secs(115)), LeaseState::Unknown);
    us.found(Some(place), secs(116));
    assert_eq!(us.state(secs(116)), LeaseState::Free);
    assert_eq!(us.bid(Claim::Mint { writer: WriterId::from_bytes([2; 16]), above: 5 }).unwrap().epoch, epoch(6, 2));
}
