//! Single cases over real logs and in-memory channels: each verdict, and each kind of bad peer.

use std::sync::Arc;
use std::time::Duration;

use longshore::feed::{FeedReport, feed};
use longshore::follow::{FollowEnd, FollowReport, follow};
use longshore_format::{Digest, Epoch, ErrorKind, Lsn, WriterId};
use longshore_protocol::{
    Ack, Difference, Error as ProtocolError, Hello, Limits, NodeId, Offer, Peer, Probed, SessionId, ToReplica,
    ToUpstream, Verdict, VersionRange, Welcome,
};
use longshore_testkit::sim_rng::Rng;
use longshore_transport::{Channel, UpstreamEnd};
use longshore_wal::RecordDraft;
use tokio::time::timeout;

use crate::node::{Log, Node};

fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

fn peer() -> Peer {
    Peer { node: NodeId::new("eu-west").unwrap(), region: None, may_promote: false }
}

async fn append(node: &Node, records: usize, byte: u8) -> Lsn {
    for _ in 0..records {
        node.log.wal.append(&[RecordDraft::user(&[byte; 500])], None).unwrap();
        // The disk of the simulator prepares the next segment in its own time.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let end = node.log.wal.end();
    node.log.wal.durable().wait(end).await.unwrap();
    end
}

/// A primary with this many records, and an empty replica of it.
async fn pair(records: usize) -> (Node, Node) {
    let mut rng = Rng::new(7);
    let primary = Node::primary(&mut rng, "primary", false).unwrap();
    append(&primary, records, 1).await;
    let replica = Node::replica(&mut rng, "eu-west", &primary.log.wal.start_point().unwrap()).unwrap();
    (primary, replica)
}

/// The upstream's end of a stream of `peer`, served in the background; what came of it in the end.
fn serve(
    upstream: &Node,
    peer: Peer,
    limits: Limits,
    channel: UpstreamEnd,
) -> tokio::task::JoinHandle<(longshore::Result<()>, Vec<FeedReport>)> {
    let (log, id) = (Arc::clone(&upstream.log), upstream.id.clone());
    tokio::spawn(async move {
        let reports = std::sync::Mutex::new(Vec::new());
        let report = |report| reports.lock().unwrap().push(report);
        let ended = feed(&*log, &id, peer, channel, limits, &report).await;
        (ended, reports.into_inner().unwrap())
    })
}

fn hello(log: &Log) -> Hello {
    Hello { node: peer().node, offer: Offer::ours(), holding: crate::story::holding(&log.wal) }
}

/// Follows until the replica holds `until`, or the stream ends.
async fn catch_up(upstream: &Node, replica: &Node, until: Lsn) -> longshore::Result<Option<FollowEnd>> {
    let (mut replica_end, upstream_end) = Channel::pair();
    let served = serve(upstream, peer(), Limits::default(), upstream_end);
    replica_end.send(ToUpstream::Hello(Box::new(hello(&replica.log)))).await.unwrap();
    let ended = tokio::select! {
        ended = follow(&*replica.log, replica_end, Limits::default(), &|_: FollowReport| {}) => ended.map(Some),
        _ = replica.log.wal.durable().wait(until) => Ok(None),
    };
    drop(served.await.unwrap());
    ended
}

/// A scripted replica: the upstream's end is real, this end is the test's.
async fn dial(upstream: &Node, limits: Limits) -> (Channel<ToUpstream, ToReplica>, Served) {
    let (replica_end, upstream_end) = Channel::pair();
    (replica_end, serve(upstream, peer(), limits, upstream_end))
}

type Served = tokio::task::JoinHandle<(longshore::Result<()>, Vec<FeedReport>)>;

fn protocol(ended: longshore::Result<()>) -> ProtocolError {
    match ended {
        Err(longshore::Error::Protocol(error)) => error,
        other => panic!("a broken rule expected, not {other:?}"),
    }
}

#[test]
fn a_restored_primary_is_found_out_and_both_ends_name_the_first_differing_position_f095_f097() {
    for more in [0, 1, 40] {
        paused(async {
            let (primary, replica) = pair(30).await;
            primary.log.wal.close().unwrap();
            let mut rng = Rng::new(9);
            // The same bytes and a clean close: nothing in the histories tells the two apart.
            let (left, right) = (primary.reopened(&mut rng, 1), primary.reopened(&mut rng, 2));
            let fork = left.log.wal.end();
            let end = append(&left, 20, 3).await;
            append(&right, more, 4).await;
            assert!(catch_up(&left, &replica, end).await.unwrap().is_none());

            let ended = catch_up(&right, &replica, Lsn::MAX);
            if more == 0 {
                // It has written nothing yet: the replica is only ahead.
                assert!(timeout(Duration::from_secs(60), ended).await.is_err());
            } else {
                let diverged = Verdict::Diverged { at: fork, why: Difference::Bytes };
                assert_eq!(ended.await.unwrap(), Some(FollowEnd::Verdict(diverged)));
            }
            assert_eq!(replica.log.wal.end(), end, "nothing was changed");
        });
    }
}

#[test]
fn a_restored_primary_that_a_replica_is_ahead_of_is_told_so_f039_f095() {
    paused(async {
        let (primary, replica) = pair(30).await;
        primary.log.wal.close().unwrap();
        let mut rng = Rng::new(9);
        let (lost, restored) = (primary.reopened(&mut rng, 1), primary.reopened(&mut rng, 2));
        let end = append(&lost, 20, 3).await;
        assert!(catch_up(&lost, &replica, end).await.unwrap().is_none());

        let (mut ahead, served) = dial(&restored, Limits::default()).await;
        ahead.send(ToUpstream::Hello(Box::new(hello(&replica.log)))).await.unwrap();
        let verdict = loop {
            match ahead.receive().await.unwrap().unwrap() {
                ToReplica::Probe { at } => {
                    let crc = replica.log.wal.crc_at(at).ok();
                    ahead.send(ToUpstream::Probed(Probed { at, crc })).await.unwrap();
                }
                ToReplica::Verdict(verdict) => break verdict,
                _ => {}
            }
        };
        assert_eq!(verdict, Verdict::Wait { end: restored.log.wal.end() });
        drop(ahead);
        let (_, reports) = served.await.unwrap();
        assert!(reports.contains(&FeedReport::Ahead { holds: end }), "{reports:?}");
    });
}

#[test]
fn a_higher_epoch_is_written_down_before_anything_is_done_on_its_word_f113() {
    paused(async {
        let (primary, replica) = pair(10).await;
        let wal = &primary.log.wal;
        let own = wal.history().current().epoch;
        let higher = Epoch { number: own.number + 4, writer: WriterId::from_bytes([9; 16]) };
        let heartbeat =
            |epoch| ToReplica::Heartbeat { durable: wal.end(), epoch, retain: wal.first(), sent: wal.first() };
        let begin = [
            ToReplica::Welcome(Welcome {
                session: SessionId(1),
                agreed: Offer::ours().agree(&Offer::ours()).unwrap(),
                node: NodeId::new("primary").unwrap(),
                epoch: own,
                durable: wal.end(),
            }),
            ToReplica::Verdict(Verdict::Continue { at: replica.log.wal.end() }),
        ];

        // Says all of this, and then nothing, until the follower hangs up.
        let upstream = |says: Vec<ToReplica>| {
            let (replica_end, mut upstream) = Channel::pair();
            tokio::spawn(async move {
                for message in says {
                    upstream.send(message).await.unwrap();
                }
                while upstream.receive().await.is_some() {}
            });
            replica_end
        };
        let seen = |report| {
            if report == FollowReport::Epoch(higher) {
                let mut rng = Rng::new(3);
                let after = replica.reopened(&mut rng, 5);
                assert_eq!(after.log.wal.accepted_epoch(), higher, "a power cut at this moment does not forget it");
            }
        };
        let says = [&begin[..], &[heartbeat(own), heartbeat(higher)]].concat();
        let followed = follow(&*replica.log, upstream(says), Limits::default(), &seen);
        assert!(timeout(Duration::from_secs(1), followed).await.is_err(), "it follows");
        assert_eq!(replica.log.wal.accepted_epoch(), higher);

        let mut rng = Rng::new(11);
        let restarted = replica.reopened(&mut rng, 6);
        let says = [&begin[..], &[heartbeat(own)]].concat();
        let ended = follow(&*restarted.log, upstream(says), Limits::default(), &|_: FollowReport| {}).await;
        let fenced = ProtocolError::Fenced { current: higher, found: own };
        match ended {
            Err(longshore::Error::Protocol(error)) => assert_eq!(error.to_string(), fenced.to_string()),
            other => panic!("the old epoch's writer is refused after a restart, not {other:?}"),
        }
    });
}

#[test]
fn a_fork_that_the_histories_prove_is_to_be_truncated_f095() {
    paused(async {
        let (primary, replica) = pair(10).await;
        let mut rng = Rng::new(9);
        let fork = primary.log.wal.end();
        // An open after anything but a clean close begins a new life where the log ended.
        let restored = primary.reopened(&mut rng, 1);
        let end = append(&primary, 10, 3).await;
        append(&restored, 30, 4).await;
        assert!(catch_up(&primary, &replica, end).await.unwrap().is_none());
        match catch_up(&restored, &replica, Lsn::MAX).await.unwrap() {
            Some(FollowEnd::Verdict(Verdict::Truncate { fork: at, .. })) => assert_eq!(at, fork),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_peer_that_says_nothing_is_given_up_f088() {
    paused(async {
        let (primary, _) = pair(1).await;
        let (_silent, served) = dial(&primary, Limits::default()).await;
        let error = protocol(served.await.unwrap().0);
        assert!(matches!(error, ProtocolError::Stalled { .. }), "{error}");
    });
}

#[test]
fn a_peer_that_takes_credit_and_never_reads_ends_with_a_stall_f089() {
    paused(async {
        let (primary, replica) = pair(100).await;
        let (mut deaf, served) = dial(&primary, Limits { batch: 1, ..Limits::default() }).await;
        deaf.send(ToUpstream::Hello(Box::new(hello(&replica.log)))).await.unwrap();
        while !matches!(deaf.receive().await.unwrap().unwrap(), ToReplica::Verdict(_)) {}
        deaf.send(ToUpstream::Credit { total: 1 << 20 }).await.unwrap();
        let beating = deaf.sender();
        let beats = tokio::spawn(async move {
            while beating.send(ToUpstream::Heartbeat).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let (ended, _) = timeout(Duration::from_secs(120), served).await.expect("it ends").unwrap();
        let error = protocol(ended);
        assert!(matches!(error, ProtocolError::Stalled { .. }), "{error}");
        drop(deaf);
        beats.await.unwrap();
    });
}

#[test]
fn a_newer_program_is_refused_naming_both_versions_f108() {
    paused(async {
        let (primary, replica) = pair(1).await;
        let (mut newer, served) = dial(&primary, Limits::default()).await;
        let mut hello = hello(&replica.log);
        hello.offer.versions = VersionRange::new(7, 9).unwrap();
        hello.offer.program = "longshore 9.0.0".to_owned();
        newer.send(ToUpstream::Hello(Box::new(hello))).await.unwrap();
        let Some(Ok(ToReplica::Refused(refusal))) = newer.receive().await else { panic!("a refusal expected") };
        assert_eq!(refusal.kind, ErrorKind::Preflight);
        assert!(refusal.text.contains("7-9") && refusal.text.contains("version 1"), "{}", refusal.text);
        assert!(matches!(protocol(served.await.unwrap().0), ProtocolError::Version { .. }));
    });
}

#[test]
fn only_the_newest_stream_of_a_replica_is_served_f091() {
    paused(async {
        let (primary, replica) = pair(10).await;
        let (mut old, old_served) = dial(&primary, Limits::default()).await;
        old.send(ToUpstream::Hello(Box::new(hello(&replica.log)))).await.unwrap();
        while !matches!(old.receive().await.unwrap().unwrap(), ToReplica::Verdict(_)) {}

        let end = primary.log.wal.end();
        assert!(catch_up(&primary, &replica, end).await.unwrap().is_none());
        let ack = Ack::new(replica.log.wal.first(), replica.log.wal.first(), Lsn::ZERO).unwrap();
        old.send(ToUpstream::Ack { ack, relayed: Vec::new() }).await.unwrap();
        let (ended, reports) = old_served.await.unwrap();
        assert!(matches!(protocol(ended), ProtocolError::Superseded { .. }));
        let believed = reports.iter().any(|report| matches!(report, FeedReport::Acks(_) | FeedReport::Left));
        assert!(!believed, "{reports:?}");
        assert_eq!(reports.first(), Some(&FeedReport::Opened), "{reports:?}");
    });
}

#[test]
fn equal_digests_are_proof_and_others_end_with_the_first_differing_position_f097() {
    paused(async {
        let (primary, replica) = pair(200).await;
        let wal = &primary.log.wal;
        let end = wal.end();
        assert!(catch_up(&primary, &replica, end).await.unwrap().is_none());
        wal.sealed().wait(Lsn::new(65_536)).await.unwrap();
        let true_digest = wal.digest(Lsn::ZERO).unwrap().unwrap();

        let (mut other, served) = dial(&primary, Limits::default()).await;
        other.send(ToUpstream::Hello(Box::new(hello(&replica.log)))).await.unwrap();
        for digest in [true_digest, Digest::from_bytes([5; 32])] {
            other.send(ToUpstream::Sealed { base: Lsn::ZERO, digest }).await.unwrap();
        }
        let mut proved = false;
        // From here on this replica claims to hold nothing that the upstream holds.
        let verdict = loop {
            match other.receive().await.unwrap().unwrap() {
                ToReplica::Proved { .. } => proved = true,
                ToReplica::Probe { at } => {
                    other.send(ToUpstream::Probed(Probed { at, crc: None })).await.unwrap();
                }
                ToReplica::Verdict(verdict @ Verdict::Diverged { .. }) => break verdict,
                _ => {}
            }
        };
        assert!(proved);
        assert_eq!(verdict, Verdict::Diverged { at: wal.first(), why: Difference::Bytes });
        let (ended, reports) = served.await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Diverged);
        assert!(reports.contains(&FeedReport::Diverged { at: wal.first() }), "{reports:?}");
    });
}

#[test]
fn a_replica_whose_disk_is_full_stops_acking_and_lives_on_f062() {
    paused(async {
        let (primary, replica) = pair(400).await;
        replica.disk.set_capacity(replica.disk.used());
        let end = primary.log.wal.end();
        let full = timeout(Duration::from_secs(120), catch_up(&primary, &replica, end)).await;
        assert!(full.is_err(), "the stream stays open: {full:?}");
        let held = replica.log.wal.durable().get();
        assert!(held < end);
        replica.disk.set_capacity(u64::MAX);
        assert!(catch_up(&primary, &replica, end).await.unwrap().is_none(), "and goes on once there is room");
    });
}
