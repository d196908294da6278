//! What a lease relies on, asked of a store: one suite for every kind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use longshore::ErrorKind;
use longshore::format::{Epoch, WriterId};
use longshore::lease::{Found, Lease, LeaseObject, LeaseState, LeaseStore, Swap, Ttl, Version};

/// What a stand-in does not do as the store that it stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Races {
    /// Of several that swap at once, one wins.
    OneWins,
    /// It compares and then writes, so that two may win.
    NotTested,
}

/// The whole suite, of a store in which there is no object yet.
pub(crate) async fn conforms(store: Arc<dyn LeaseStore>, races: Races) {
    an_object_is_changed_by_whoever_saw_it_last(&*store).await;
    if races == Races::OneWins {
        of_several_one_wins(&*store).await;
    }
    what_is_far_too_long_is_not_taken_in(&*store).await;
    two_nodes_hand_it_to_each_other(store).await;
}

async fn an_object_is_changed_by_whoever_saw_it_last(store: &dyn LeaseStore) {
    let none = store.read().await.unwrap();
    assert_eq!(none.object, None);
    let one = swapped(store, &none.version, "one").await;
    assert_eq!(conflict(store, &none.version, "too late").await.object.unwrap(), "one");
    assert_eq!(store.read().await.unwrap().object.unwrap(), "one");
    let two = swapped(store, &one, "two").await;
    let there = conflict(store, &one, "too late").await;
    assert_eq!(there.object.unwrap(), "two");
    // What stood in the way is what to swap next, as is what was read and what was answered.
    swapped(store, &there.version, "three").await;
    let read = store.read().await.unwrap();
    assert_eq!(read.object.unwrap(), "three");
    swapped(store, &read.version, "four").await;
    conflict(store, &two, "much too late").await;
    assert_eq!(store.read().await.unwrap().object.unwrap(), "four");
    conflict(store, &Version::Absent, "not absent").await;
}

async fn of_several_one_wins(store: &dyn LeaseStore) {
    for round in 0..5 {
        let seen = store.read().await.unwrap().version;
        let racers = (0..8).map(|n| store.swap(&seen, Bytes::from(format!("round {round}, racer {n}"))));
        let swaps: Vec<_> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = (0..8).filter(|n| matches!(swaps[*n], Swap::Swapped(_))).collect();
        assert_eq!(winners.len(), 1, "{swaps:?}");
        let there = store.read().await.unwrap().object.unwrap();
        assert_eq!(there, format!("round {round}, racer {}", winners[0]));
    }
}

/// Bytes from a store are never taken in without a limit.
async fn what_is_far_too_long_is_not_taken_in(store: &dyn LeaseStore) {
    let seen = store.read().await.unwrap().version;
    let long = match store.swap(&seen, vec![b'x'; 1 << 20].into()).await.unwrap() {
        Swap::Swapped(version) => version,
        Swap::Conflict(found) => panic!("{found:?}"),
    };
    if let Ok(Found { object, .. }) = store.read().await {
        let len = object.unwrap().len();
        assert!(LeaseObject::MAX_LEN < len && len < 64 << 10, "{len}");
    }
    swapped(store, &long, "short again").await;
}

/// The real thing, in real time.
async fn two_nodes_hand_it_to_each_other(store: Arc<dyn LeaseStore>) {
    let seen = store.read().await.unwrap().version;
    let epoch = |number, byte| Epoch { number, writer: WriterId::from_bytes([byte; 16]) };
    let free = LeaseObject { holder: None, epoch: epoch(3, 0), ttl: Ttl::DEFAULT, stamp: stamp() };
    swapped(&*store, &seen, &free.encode()).await;
    let ttl = Ttl::new(Duration::from_secs(2)).unwrap();
    let join = |name: &str| Lease::join(store.clone(), name.parse().unwrap(), ttl).unwrap();
    let (a, b) = (join("a"), join("b"));
    a.watch().wait_for(|state| *state == LeaseState::Free).await.unwrap();
    assert_eq!(taken(&a, 1).await, epoch(4, 1));
    b.watch()
        .wait_for(|state| matches!(state, LeaseState::Other { holder, .. } if holder.as_str() == "a"))
        .await
        .unwrap();
    while let Err(error) = a.release().await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    b.watch().wait_for(|state| *state == LeaseState::Free).await.unwrap();
    assert_eq!(taken(&b, 2).await, epoch(5, 2));
    a.watch()
        .wait_for(|state| matches!(state, LeaseState::Other { holder, .. } if holder.as_str() == "b"))
        .await
        .unwrap();
    // It goes, and nobody gives it back.
    b.close().await;
    a.watch().wait_for(|state| *state == LeaseState::Free).await.unwrap();
    assert_eq!(taken(&a, 3).await, epoch(6, 3));
    a.close().await;
}

/// As whoever wants it does: what is not known after an answer that came too late is asked again.
async fn taken(lease: &Lease, writer: u8) -> Epoch {
    loop {
        match lease.take(WriterId::from_bytes([writer; 16]), 0).await {
            Ok(epoch) => return epoch,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }
}

fn stamp() -> longshore_protocol::lease::Stamp {
    longshore_protocol::lease::Stamp { life: 1, count: 1 }
}

async fn swapped(store: &dyn LeaseStore, expected: &Version, object: &str) -> Version {
    match store.swap(expected, object.to_owned().into()).await.unwrap() {
        Swap::Swapped(version) => version,
        Swap::Conflict(found) => panic!("{} had {found:?} in the way of {object}", store.label()),
    }
}

async fn conflict(store: &dyn LeaseStore, expected: &Version, object: &str) -> Found {
    match store.swap(expected, object.to_owned().into()).await.unwrap() {
        Swap::Conflict(found) => found,
        Swap::Swapped(_) => panic!("{} let {object} through", store.label()),
    }
}
