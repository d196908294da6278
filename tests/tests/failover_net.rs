//! A region is lost, with real agents on machines of their own: links cut both ways and one way, frozen, killed, promoted
//! twice at once, and there and back again. A client appends throughout, and at the end all that was confirmed to it at the
//! log's policy is on every node, once.
//!
//! The machines are network namespaces, which takes root; without it the tests say that they were skipped.

#[path = "failover_net/cluster.rs"]
mod cluster;
#[path = "failover_net/ledger.rs"]
mod ledger;

use std::time::Duration;

use cluster::{Cluster, POLICY, append, connect, fill};
use ledger::Writer;
use longshore::ErrorKind;
use longshore::transport::FenceState;

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// The writer is cut off from the other nodes by `cut`, not from its clients; b is promoted, and the old writer comes back.
fn loses_its_region(cut: fn(&Cluster)) {
    Cluster::tell(async |cluster| {
        let client = Writer::start(cluster);
        client.confirms(50).await;
        cut(cluster);
        let promoted = cluster.promote(B).await.unwrap();
        assert_eq!(promoted.fence, FenceState::Whole, "b and c are enough: {promoted:?}");
        let old = connect(&cluster.connector(), A).await.unwrap();
        let refused = append(&old, u64::MAX, POLICY).await.unwrap_err();
        assert!(matches!(refused, ErrorKind::Unconfirmed | ErrorKind::Fenced | ErrorKind::Unavailable), "{refused:?}");
        client.confirms(50).await;
        cluster.heal();
        client.check(cluster, B).await;
    });
}

#[test]
fn f_085_a_writer_that_is_cut_off_confirms_nothing_and_another_takes_its_place() {
    loses_its_region(|cluster| {
        cluster.part(A, B);
        cluster.part(A, C);
    });
}

#[test]
fn f_086_a_writer_that_is_heard_by_nobody_is_replaced() {
    loses_its_region(|cluster| {
        cluster.network.cut(A, B);
        cluster.network.cut(A, C);
    });
}

#[test]
fn f_086_a_writer_that_hears_nobody_is_replaced() {
    loses_its_region(|cluster| {
        cluster.network.cut(B, A);
        cluster.network.cut(C, A);
    });
}

#[test]
fn f_111_a_frozen_writer_confirms_nothing_once_it_goes_on() {
    Cluster::tell(async |cluster| {
        let client = Writer::start(cluster);
        client.confirms(50).await;
        let old = connect(&cluster.connector(), A).await.unwrap();
        cluster.signal(A, "STOP");
        let asked = tokio::spawn(async move {
            let asked = (0..8).map(|number| append(&old, u64::MAX - number, POLICY));
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(answer.await);
            }
            answers
        });
        cluster.promote(B).await.unwrap();
        client.confirms(20).await;
        cluster.signal(A, "CONT");
        let answers = asked.await.unwrap();
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        client.check(cluster, B).await;
    });
}

#[test]
fn a_writer_that_was_killed_comes_back_as_a_replica() {
    Cluster::tell(async |cluster| {
        let client = Writer::start(cluster);
        client.confirms(50).await;
        cluster.kill(A);
        cluster.promote(B).await.unwrap();
        client.confirms(50).await;
        cluster.start(A);
        client.check(cluster, B).await;
    });
}

#[test]
fn f_111_a_writer_that_still_reaches_one_voter_stops_as_soon_as_that_one_is_told() {
    Cluster::tell(async |cluster| {
        let client = Writer::start(cluster);
        client.confirms(50).await;
        cluster.part(A, B);
        // It goes on with c, and what is confirmed meanwhile must come to b from there.
        client.confirms(50).await;
        let promoted = cluster.promote(B).await.unwrap();
        assert_eq!(promoted.fence, FenceState::Whole, "{promoted:?}");
        client.confirms(50).await;
        cluster.heal();
        client.check(cluster, B).await;
    });
}

#[test]
fn f_112_of_two_promotions_at_once_one_wins() {
    Cluster::tell(async |cluster| {
        let client = Writer::start(cluster);
        client.confirms(50).await;
        cluster.kill(A);
        let (b, c) = tokio::join!(cluster.promote(B), cluster.promote(C));
        // Both may be refused, each by the other; then an operator tries again.
        let writer = match (&b, &c) {
            (Ok(b), Ok(c)) if b.epoch < c.epoch => C,
            (_, Ok(_)) if b.is_err() => C,
            (Ok(_), _) => B,
            _ => {
                cluster.promote(C).await.unwrap();
                C
            }
        };
        if let (Ok(b), Ok(c)) = (&b, &c) {
            assert_ne!(b.epoch, c.epoch, "no number has two writers");
        }
        client.confirms(50).await;
        cluster.start(A);
        client.check(cluster, writer).await;
    });
}

#[test]
fn f_117_the_role_goes_to_and_fro_and_only_what_is_new_is_sent() {
    Cluster::tell(async |cluster| {
        // A log whose copies would be noticed.
        let first = connect(&cluster.connector(), A).await.unwrap();
        for _ in 0..16 {
            fill(&first, 200 << 10).await;
        }
        let client = Writer::start(cluster);
        let mut pauses = Vec::new();
        for to in [B, A, B, A, B, A] {
            client.confirms(20).await;
            let before = cluster.status(to).await.unwrap().durable;
            client.pause();
            let switched = cluster.switchover(to).await.unwrap();
            client.confirms(20).await;
            let pause = switched.write_pause.expect("somebody wrote it");
            println!("a write pause of {pause:?}, and of {:?} as the client saw it", client.pause());
            pauses.push(pause);
            let status = cluster.status(to).await.unwrap();
            let sent: u64 = status.replicas.iter().map(|replica| replica.sent_bytes).sum();
            assert!(sent <= 4 * status.durable.since(before) + (64 << 10), "{sent} bytes were sent from {before} on");
            assert!(sent < 1 << 20 && 3 << 20 < status.durable.get(), "{sent} bytes sent of {}", status.durable);
        }
        pauses.sort();
        assert!(pauses[2] < Duration::from_secs(1), "{pauses:?}");
        client.check(cluster, A).await;
    });
}
