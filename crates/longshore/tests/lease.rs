//! A lease as a node holds it, takes it, loses it and gives it back, over time that passes at once.

#[path = "lease/clock.rs"]
mod clock;
#[path = "lease/memory.rs"]
mod memory;

use std::sync::Arc;
use std::time::Duration;

use clock::Machine;
use longshore::format::{Epoch, WriterId};
use longshore::lease::{Lease, LeaseObject, LeaseState, Ttl};
use longshore::{Error, ErrorKind};
use memory::{Manner, Memory};
use tokio::time::{Instant, timeout};

struct Member {
    lease: Lease,
    machine: Arc<Machine>,
}

fn join(name: &str, store: &Memory) -> Member {
    let machine = Arc::new(Machine::started());
    let (store, name) = (Arc::new(store.clone()), name.parse().unwrap());
    let lease = Lease::join_with(store, name, Ttl::DEFAULT, machine.clone()).unwrap();
    Member { lease, machine }
}

impl Member {
    /// Waits for a state, for longer than any test needs.
    async fn sees(&self, what: &str, is: impl Fn(&LeaseState) -> bool) -> LeaseState {
        let mut state = self.lease.watch();
        let last = state.clone();
        match timeout(Duration::from_secs(600), state.wait_for(|state| is(state))).await {
            Ok(seen) => seen.unwrap().clone(),
            Err(_) => panic!("never {what}, but {:?}", last.borrow().clone()),
        }
    }

    async fn sees_free(&self) {
        self.sees("free", |state| *state == LeaseState::Free).await;
    }

    async fn sees_held_by(&self, name: &str) -> Epoch {
        let is = |state: &LeaseState| matches!(state, LeaseState::Other { holder, .. } if holder.as_str() == name);
        match self.sees(name, is).await {
            LeaseState::Other { epoch, .. } => epoch,
            _ => unreachable!("it was waited for"),
        }
    }

    async fn sees_unknown(&self) {
        self.sees("unknown", |state| *state == LeaseState::Unknown).await;
    }
}

fn writer(byte: u8) -> WriterId {
    WriterId::from_bytes([byte; 16])
}

fn epoch(number: u64, byte: u8) -> Epoch {
    Epoch { number, writer: writer(byte) }
}

fn object(store: &Memory) -> LeaseObject {
    LeaseObject::decode(&store.object().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_held_for_as_long_as_it_is_renewed() {
    let store = Memory::default();
    let (began, a) = (Instant::now(), join("a", &store));
    a.sees_free().await;
    assert_eq!(began.elapsed(), Ttl::DEFAULT.patience(), "nobody may have had it, but nobody knows");
    assert_eq!(a.lease.take(writer(1), 4).await.unwrap(), epoch(5, 1));
    let first = object(&store);
    let b = join("b", &store);
    assert_eq!(b.sees_held_by("a").await, epoch(5, 1));
    let refused = b.lease.take(writer(2), 5).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("a holds the lease"), "{refused}");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(a.lease.held(), Some(epoch(5, 1)));
        assert_eq!(b.lease.held(), None);
    }
    let later = object(&store);
    assert_eq!((later.stamp.life, later.epoch), (first.stamp.life, first.epoch));
    let writes = later.stamp.count - first.stamp.count;
    assert!((390..=400).contains(&writes), "one every quarter of the ttl, not {writes}");
    a.lease.close().await;
    b.lease.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_holders_lease_is_free_after_its_ttl_and_taken_by_one() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    let (b, c) = (join("b", &store), join("c", &store));
    b.sees_held_by("a").await;
    c.sees_held_by("a").await;
    drop(a);
    let died = Instant::now();
    tokio::join!(b.sees_free(), c.sees_free());
    let waited = died.elapsed();
    assert!(
        Ttl::DEFAULT.patience() - Ttl::DEFAULT.rhythm() <= waited && waited <= Ttl::DEFAULT.patience(),
        "{waited:?}"
    );
    let (one, other) = tokio::join!(b.lease.take(writer(2), 0), c.lease.take(writer(3), 0));
    let (winner, loser) = match (&one, &other) {
        (Ok(epoch), Err(error)) | (Err(error), Ok(epoch)) => (*epoch, error),
        both => panic!("{both:?}"),
    };
    assert_eq!(winner.number, 2);
    assert_eq!(loser.kind(), ErrorKind::Unavailable, "{loser}");
    assert_eq!([&b, &c].iter().filter(|member| member.lease.held().is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_before_anybody_may_take_it_and_comes_back_in_its_epoch() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    let cut = Instant::now();
    store.be(Manner::IsSilent);
    a.sees_unknown().await;
    assert_eq!(cut.elapsed(), Ttl::DEFAULT.trust(), "told at the very moment, although an answer is waited for");
    assert_eq!(a.lease.held(), None);
    let trouble = a.lease.trouble().unwrap();
    assert!(trouble.contains("memory did not answer about the lease within 2s500ms"), "{trouble}");
    store.be(Manner::Answers);
    a.sees("held again", |state| matches!(state, LeaseState::Held { .. })).await;
    assert_eq!(a.lease.held(), Some(epoch(1, 1)), "nobody took it meanwhile, so no new epoch is needed");
    assert_eq!(a.lease.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn renewals_whose_answers_are_lost_do_not_count() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    let (cut, before) = (Instant::now(), object(&store));
    store.be(Manner::LosesAnswers);
    a.sees_unknown().await;
    assert_eq!(cut.elapsed(), Ttl::DEFAULT.trust());
    assert_ne!(object(&store), before, "one had landed");
}

#[tokio::test(start_paused = true)]
async fn what_a_late_answer_is_worth_counts_from_when_it_was_asked() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    let late = Duration::from_secs(2);
    store.be(Manner::Late(late));
    let asked = Instant::now();
    a.lease.take(writer(1), 0).await.unwrap();
    assert_eq!(asked.elapsed(), late);
    store.be(Manner::IsSilent);
    a.sees_unknown().await;
    assert_eq!(asked.elapsed(), Ttl::DEFAULT.trust());
}

#[tokio::test(start_paused = true)]
async fn a_suspended_holder_finds_itself_expired_before_it_does_anything() {
    // F-083: its timers do not see that time, its clock does.
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    let b = join("b", &store);
    b.sees_held_by("a").await;
    // All that a says is from before; the other one was awake.
    store.be(Manner::IsSilent);
    a.machine.suspend(Duration::from_secs(300));
    assert_eq!(a.lease.held(), None);
    assert!(matches!(*a.lease.watch().borrow(), LeaseState::Held { .. }), "as told before it fell asleep");
    drop(a);
    store.be(Manner::Answers);
    b.sees_free().await;
    b.lease.take(writer(2), 0).await.unwrap();
    let a = join("a", &store);
    assert_eq!(a.sees_held_by("b").await, epoch(2, 2));
    let refused = a.lease.keep(epoch(1, 1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    b.lease.release().await.unwrap();
    a.sees_free().await;
    assert_eq!(a.lease.keep(epoch(1, 1)).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_candidate_looks_again_before_it_takes_anything() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    let b = join("b", &store);
    b.sees_held_by("a").await;
    b.machine.suspend(Duration::from_secs(3600));
    // What it saw an hour ago says nothing; and a has renewed in between.
    assert!(b.lease.take(writer(2), 0).await.is_err());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(b.sees_held_by("a").await, epoch(1, 1));
    assert_eq!(a.lease.held(), Some(epoch(1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_switchover_waits_for_nobody() {
    let store = Memory::default();
    let (a, b) = (join("a", &store), join("b", &store));
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    b.sees_held_by("a").await;
    a.lease.release().await.unwrap();
    assert_eq!(a.lease.held(), None);
    let released = Instant::now();
    b.sees_free().await;
    assert!(released.elapsed() <= Ttl::DEFAULT.rhythm());
    assert_eq!(b.lease.take(writer(2), 0).await.unwrap(), epoch(2, 2));
    assert_eq!(a.sees_held_by("b").await, epoch(2, 2));
    a.lease.release().await.unwrap();
    assert_eq!(b.lease.held(), Some(epoch(2, 2)), "what is not one's own is not given back");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_nobody_hears_ends_it_here_all_the_same() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    store.be(Manner::IsSilent);
    let refused = a.lease.release().await.unwrap_err();
    assert!(matches!(refused, Error::LeaseSilent { .. }), "{refused}");
    assert_eq!(a.lease.held(), None);
    store.be(Manner::Answers);
    // It is not renewed either.
    a.sees_free().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_the_store_is_silent_is_told_so_in_time() {
    let store = Memory::default();
    store.be(Manner::IsSilent);
    let a = join("a", &store);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let asked = Instant::now();
    let refused = a.lease.take(writer(1), 0).await.unwrap_err();
    assert!(matches!(refused, Error::LeaseSilent { .. }), "{refused}");
    assert!(asked.elapsed() <= 2 * Ttl::DEFAULT.rhythm(), "what is under way, and its own");
}

#[tokio::test(start_paused = true)]
async fn a_take_whose_answer_was_lost_is_found_and_no_number_is_used_up() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    store.be(Manner::LosesAnswers);
    let lost = a.lease.take(writer(1), 0).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable);
    assert!(lost.to_string().contains("not known"), "{lost}");
    assert_eq!(object(&store).epoch, epoch(1, 1));
    assert_eq!(a.lease.held(), None);
    store.be(Manner::Answers);
    assert_eq!(a.lease.take(writer(1), 0).await.unwrap(), epoch(1, 1));
    assert_eq!(a.lease.take(writer(1), 0).await.unwrap(), epoch(1, 1), "it has it already");
    assert_eq!(a.lease.take(writer(2), 0).await.unwrap(), epoch(2, 2), "its own it may take anew");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_starts_again_keeps_its_epoch_at_once() {
    let store = Memory::default();
    let a = join("a", &store);
    a.sees_free().await;
    a.lease.keep(epoch(3, 7)).await.unwrap();
    assert_eq!(a.lease.held(), Some(epoch(3, 7)), "the first lease of a log that is written already");
    a.lease.close().await;
    let (again, began) = (join("a", &store), Instant::now());
    again.lease.keep(epoch(3, 7)).await.unwrap();
    assert_eq!((again.lease.held(), began.elapsed()), (Some(epoch(3, 7)), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_lease_is_named_and_never_overwritten() {
    let store = Memory::default();
    let (stranger, a) = (bytes::Bytes::from_static(b"somebody else's"), join("a", &store));
    a.sees_free().await;
    store.put(Some(stranger.clone()));
    tokio::time::sleep(2 * Ttl::DEFAULT.rhythm()).await;
    let trouble = a.lease.trouble();
    assert!(trouble.as_ref().is_some_and(|why| why.contains("no lease: it does not begin like one")), "{trouble:?}");
    a.sees_unknown().await;
    assert_eq!(a.lease.take(writer(1), 0).await.unwrap_err().kind(), ErrorKind::Preflight);
    assert_eq!(store.object(), Some(stranger));
    store.put(None);
    a.sees_free().await;
    a.lease.take(writer(1), 0).await.unwrap();
    assert_eq!(a.lease.trouble(), None);
}
