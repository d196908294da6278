//! Messages there and back, and messages that nobody should send.

use std::collections::BTreeSet;

use bytes::Bytes;
use longshore_format::{
    Content, Digest, Epoch, EpochEntry, EpochHistory, ErrorKind, Incarnation, LogId, Lsn, Policy, SegmentSize,
    Shortfall, Voter, WriterId,
};
use longshore_protocol::{
    Ack, Agreed, Difference, Feature, Frames, Hello, Holding, NodeAck, NodeId, Offer, Probed, Refusal, ReseedReason,
    SessionId, ToReplica, ToUpstream, Verdict, VersionRange, Welcome,
};
use proto::{to_replica::Message as Down, to_upstream::Message as Up};

use super::{hello, name, outline, replication, segment};
use crate::{LogDescription, LogSummary, Result, proto};

const EPOCH: Epoch = Epoch { number: u64::MAX, writer: WriterId::from_bytes([9; 16]) };

fn history(lives: u64) -> EpochHistory {
    let life = |index| EpochEntry {
        start: Lsn::new(4096 + index),
        epoch: Epoch { number: 1, ..EPOCH },
        incarnation: Incarnation::new(index),
    };
    EpochHistory::from_entries((0..lives).map(life).collect()).unwrap()
}

fn features(count: usize) -> BTreeSet<Feature> {
    (0..count).map(|index| Feature::new(&format!("f{index}")).unwrap()).collect()
}

fn greeting() -> Hello {
    Hello {
        node: NodeId::new("eu-west").unwrap(),
        offer: Offer {
            versions: VersionRange::new(1, u32::MAX).unwrap(),
            features: features(64),
            required: features(1),
            program: "p".repeat(64),
        },
        holding: Holding {
            log: LogId::from_bytes([1; 16]),
            content: Content::SqlitePages,
            segment_size: SegmentSize::MAX,
            history: history(64),
            first: Lsn::new(4096),
            end: Lsn::MAX,
            last_crc: u32::MAX,
            lost: Some(Lsn::MAX),
            applied: Some(Lsn::ZERO),
            accepted: longshore_format::Epoch { number: 9, writer: longshore_format::WriterId::from_bytes([9; 16]) },
        },
    }
}

#[test]
fn the_greatest_hello_arrives_as_it_left() {
    let log = name("orders").unwrap();
    let message = hello::open_message(&log, greeting());
    assert!(prost::Message::encoded_len(&message) < 16 << 10);
    assert_eq!(hello::parse_open(message).unwrap(), (log, greeting()));
}

#[test]
fn every_message_to_an_upstream_arrives_as_it_left() {
    let ack = Ack::new(Lsn::MAX, Lsn::new(5), Lsn::ZERO).unwrap();
    let relayed = vec![NodeAck { node: NodeId::new("far").unwrap(), ack }; 256];
    for message in [
        ToUpstream::Probed(Probed { at: Lsn::new(7), crc: Some(0) }),
        ToUpstream::Probed(Probed { at: Lsn::new(7), crc: None }),
        ToUpstream::Ack { ack, relayed },
        ToUpstream::Ack { ack: Ack::NONE, relayed: Vec::new() },
        ToUpstream::Credit { total: u64::MAX },
        ToUpstream::Sealed { base: Lsn::ZERO, digest: Digest::from_bytes([3; 32]) },
        ToUpstream::Heartbeat,
        ToUpstream::Refused(Refusal::new(ErrorKind::Full, "no space", None)),
    ] {
        let wire = replication::to_upstream_message(message.clone()).unwrap();
        assert_eq!(replication::parse_to_upstream(wire).unwrap(), message);
    }
}

#[test]
fn every_message_to_a_replica_arrives_as_it_left() {
    let welcome = Welcome {
        session: SessionId(u64::MAX),
        agreed: Agreed { version: 1, features: features(3) },
        node: NodeId::new("primary").unwrap(),
        epoch: EPOCH,
        durable: Lsn::new(9),
    };
    let (at, end, fork) = (Lsn::new(1), Lsn::new(2), Lsn::new(3));
    let reseed = |reason| Verdict::Reseed { reason, first_available: Lsn::new(4) };
    let diverged = |why| Verdict::Diverged { at: Lsn::MAX, why };
    let verdicts = [
        Verdict::Continue { at },
        Verdict::Wait { end },
        Verdict::Truncate { fork, crc: 5 },
        reseed(ReseedReason::TooOld),
        reseed(ReseedReason::ForkTrimmed),
        reseed(ReseedReason::AppliedPastFork),
        reseed(ReseedReason::NoCommonLife),
        Verdict::Stale { epoch: EPOCH },
        diverged(Difference::OtherLog),
        diverged(Difference::OtherShape),
        diverged(Difference::TwoWriters),
        diverged(Difference::ForgottenLife),
        diverged(Difference::Bytes),
    ];
    let bytes = Bytes::from(vec![6; 1 << 20]);
    let others = [
        ToReplica::Welcome(welcome),
        ToReplica::Probe { at },
        ToReplica::Frames(Frames { start: at, epoch: EPOCH, bytes }),
        ToReplica::Heartbeat { durable: end, epoch: EPOCH, retain: at, sent: end },
        ToReplica::Proved { base: at, end },
        ToReplica::Refused(Refusal::new(ErrorKind::Diverged, "differs", Some(fork))),
    ];
    for message in verdicts.map(ToReplica::Verdict).into_iter().chain(others) {
        let wire = replication::to_replica_message(message.clone()).unwrap();
        assert_eq!(replication::parse_to_replica(wire).unwrap(), message);
    }
}

/// The refusal of something malformed names what it was.
fn refused<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(expected), "{error}, not {expected}");
}

#[test]
fn a_hello_that_breaks_the_contract_is_refused() {
    // F-098 … F-101, F-125
    type Spoil = fn(&mut proto::Open);
    let cases: [(Spoil, &str); 15] = [
        (|open| open.log = "../x".to_owned(), "name"),
        (|open| open.node = "a".repeat(64), "name"),
        (|open| open.offer = None, "the offer is missing"),
        (|open| open.holding = None, "the holding is missing"),
        (|open| open.offer.as_mut().unwrap().newest_version = 0, "version range"),
        (|open| open.offer.as_mut().unwrap().features.push("x".to_owned()), "65 features"),
        (|open| open.offer.as_mut().unwrap().required_features = vec!["A".to_owned()], "name"),
        (|open| open.offer.as_mut().unwrap().program.push('p'), "program"),
        (|open| open.holding.as_mut().unwrap().log_id.truncate(15), "a log id of 15 bytes instead of 16"),
        (|open| open.holding.as_mut().unwrap().content = "jpeg".to_owned(), "content"),
        (|open| open.holding.as_mut().unwrap().segment_size = 3 << 20, "segment size"),
        (|open| open.holding.as_mut().unwrap().first = u64::MAX - 1, "ends before"),
        (|open| open.holding.as_mut().unwrap().history = None, "the history is missing"),
        (|open| entries(open).clear(), "history"),
        (|open| entries(open)[1].start = 0, "cannot follow"),
    ];
    fn entries(open: &mut proto::Open) -> &mut Vec<proto::EpochEntry> {
        &mut open.holding.as_mut().unwrap().history.as_mut().unwrap().entries
    }
    for (spoil, expected) in cases {
        let message = hello::open_message(&name("orders").unwrap(), greeting());
        let Some(Up::Open(mut open)) = message.message else { unreachable!() };
        open.holding.as_mut().unwrap().end = u64::MAX - 2;
        spoil(&mut open);
        refused(hello::parse_open(proto::ToUpstream { message: Some(Up::Open(open)) }), expected);
    }
}

#[test]
fn a_message_to_an_upstream_that_breaks_the_contract_is_refused() {
    let positions = |received, durable, applied| Some(proto::ack::Positions { received, durable, applied });
    let relayed = |count| vec![proto::ack::RelayedAck { node: "a".to_owned(), positions: positions(0, 0, 0) }; count];
    for (message, expected) in [
        (None, "the message is missing"),
        (Some(Up::Open(proto::Open::default())), "opened once"),
        (Some(Up::Ack(proto::Ack::default())), "the ack is missing"),
        (Some(Up::Ack(proto::Ack { own: positions(1, 2, 0), relayed: vec![] })), "malformed"),
        (Some(Up::Ack(proto::Ack { own: positions(2, 1, 0), relayed: relayed(257) })), "257 relayed acks"),
        (Some(Up::Sealed(proto::Sealed { base: 0, digest: vec![0; 31] })), "a digest of 31 bytes"),
        (Some(Up::Refused(proto::Refused { kind: "bored".to_owned(), ..Default::default() })), "unknown kind"),
    ] {
        refused(replication::parse_to_upstream(proto::ToUpstream { message }), expected);
    }
}

#[test]
fn a_message_to_a_replica_that_breaks_the_contract_is_refused() {
    use proto::verdict::Verdict as Wire;
    let epoch = || Some(super::epoch_message(&EPOCH));
    let frames = |start, len| Down::Frames(proto::Frames { start, epoch: epoch(), payload: vec![0; len].into() });
    let verdict = |verdict| Some(Down::Verdict(proto::Verdict { verdict }));
    let short = Some(proto::Epoch { number: 1, writer: vec![0; 3] });
    for (message, expected) in [
        (None, "the message is missing"),
        (Some(frames(0, 0)), "frames of 0 bytes"),
        (Some(frames(0, (1 << 20) + 1)), "frames of 1048577 bytes"),
        // F-100
        (Some(frames(u64::MAX - 9, 10)), "beyond the last position"),
        (
            Some(Down::Frames(proto::Frames { start: 0, epoch: None, payload: vec![0; 9].into() })),
            "an epoch is missing",
        ),
        (Some(Down::Heartbeat(proto::UpstreamHeartbeat { epoch: short, ..Default::default() })), "of 3 bytes"),
        (Some(Down::Proved(proto::Proved { base: 2, end: 1 })), "ends before it begins"),
        (Some(Down::Welcome(proto::Welcome { node: "A".to_owned(), ..Default::default() })), "name"),
        (verdict(None), "the verdict is missing"),
        (verdict(Some(Wire::Reseed(Default::default()))), "unknown reason"),
        (verdict(Some(Wire::Diverged(proto::verdict::Diverged { at: 1, why: 99 }))), "unknown difference"),
        (verdict(Some(Wire::Stale(Default::default()))), "an epoch is missing"),
    ] {
        refused(replication::parse_to_replica(proto::ToReplica { message }), expected);
    }
}

#[tokio::test]
async fn a_segment_file_arrives_whole_or_not_at_all() {
    use crate::Error;
    use tokio_stream::StreamExt;
    let chunk = |file_offset, len: usize, first: bool| proto::SegmentChunk {
        file_offset,
        data: vec![1; len].into(),
        file_size: if first { 100 } else { 0 },
        digest: if first { vec![2; 32] } else { vec![] },
    };
    let receive = async |chunks: Vec<proto::SegmentChunk>| -> Result<usize> {
        let chunks = tokio_stream::iter(chunks.into_iter().map(Ok::<_, Error>));
        let file = super::segment::parse_segment_file(chunks).await?;
        let bytes: Vec<Result<Bytes>> = file.chunks.collect().await;
        bytes.into_iter().try_fold(0, |len, bytes| Ok(len + bytes?.len()))
    };
    assert_eq!(receive(vec![chunk(0, 60, true), chunk(60, 40, false)]).await.unwrap(), 100);
    refused(receive(vec![]).await, "without bytes");
    refused(receive(vec![chunk(0, 60, false)]).await, "a digest of 0 bytes");
    refused(receive(vec![chunk(0, 60, true)]).await, "a chunk for 100 where 60 of 100 was due");
    refused(receive(vec![chunk(0, 60, true), chunk(50, 40, false)]).await, "a chunk for 50");
    refused(receive(vec![chunk(0, 60, true), chunk(60, 41, false)]).await, "was due");
    refused(receive(vec![chunk(0, 60, true), chunk(60, 40, false), chunk(100, 1, false)]).await, "was due");
    let huge = proto::SegmentChunk { file_size: u64::MAX, ..chunk(0, 1, true) };
    refused(receive(vec![huge]).await, "a segment of 18446744073709551615 bytes");
}

#[test]
fn an_outline_that_cannot_be_is_refused() {
    let record = |len: u32| [&len.to_le_bytes()[..], &[7; 16]].concat();
    let told = |file_size, file_offset, records: Vec<u8>| {
        outline::parse_outline(proto::SnapshotOutline { position: 5000, file_size, file_offset, records })
    };
    assert_eq!(told(100, 0, [record(40), record(60)].concat()).unwrap().records.len(), 2);
    assert_eq!(told(100, 100, Vec::new()).unwrap().records, []);
    for (what, len, offset, records) in [
        ("more than the file", 100, 0, [record(40), record(61)].concat()),
        ("more than is left of it", 100, 1, [record(40), record(60)].concat()),
        ("beyond its end", 100, 101, Vec::new()),
        ("a record of nothing", 100, 0, record(0)),
        ("a record that is cut", 100, 0, record(10)[..19].to_vec()),
        ("too many", u64::MAX, 0, record(10).repeat(crate::SnapshotOutline::MOST + 1)),
        ("lengths that overflow", u64::MAX, u64::MAX - 10, record(u32::MAX).repeat(9)),
    ] {
        let error = told(len, offset, records).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
    }
}

#[tokio::test]
async fn parts_of_a_snapshot_are_as_many_bytes_as_were_asked_for() {
    use tokio_stream::StreamExt;
    let chunks = |lens: &[usize]| {
        let chunk = |len: &usize| Ok(proto::SnapshotRangesChunk { data: vec![0; *len].into() });
        tokio_stream::iter(lens.iter().map(chunk).collect::<Vec<_>>())
    };
    for (lens, holds) in [(&[5, 0, 5][..], true), (&[5], false), (&[], false), (&[5, 6], false), (&[11], false)] {
        let arrived: Result<Vec<Bytes>> = outline::parse_range_chunks(chunks(lens), 10).collect().await;
        assert_eq!(arrived.is_ok(), holds, "{lens:?}");
    }
}

fn description(policies: usize) -> LogDescription {
    let voter = |index| Voter { node: name(&format!("node-{index:02}")).unwrap(), region: None };
    let policy = |index| Policy {
        writer: name("eu-west").unwrap(),
        durability: format!("replicas:{index}"),
        shortfall: Shortfall::Degrade(u32::MAX),
        degraded: true,
        voters: (0..Policy::MAX_VOTERS).map(voter).collect(),
    };
    LogDescription {
        summary: LogSummary {
            name: name("orders").unwrap(),
            id: LogId::from_bytes([1; 16]),
            content: Content::Bytes,
            segment_size: SegmentSize::MIN,
            first: Lsn::new(1 << 20),
            durable: Lsn::new(1 << 21),
            has_slot: false,
            accepted: None,
            writes: true,
            path: Vec::new(),
        },
        header: Bytes::from(vec![0; SegmentSize::MIN.header_len() as usize]),
        before: Digest::NONE,
        history: history(2),
        policies: (0..policies).map(|index| (Lsn::new(5000 + index as u64), policy(index))).collect(),
    }
}

#[test]
fn a_description_says_the_policies_and_one_from_before_there_were_any_says_none() {
    for policies in [0, 1, 4] {
        let sent = description(policies);
        assert_eq!(segment::parse_log_description(segment::log_description(sent.clone())).unwrap(), sent);
    }
    let message = segment::log_description(description(0));
    assert_eq!(message.policies, [], "what an older agent sends");
}

#[test]
fn policies_of_a_description_that_cannot_be_are_refused() {
    let check = |policies: usize, what: &str, damage: &dyn Fn(&mut proto::LogDescription)| {
        let mut message = segment::log_description(description(policies));
        damage(&mut message);
        let error = segment::parse_log_description(message).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    };
    check(5, "5 policies", &|_| {});
    check(2, "not in order", &|message| message.policies.swap(0, 1));
    check(2, "not in order", &|message| message.policies[1].end = message.policies[0].end);
    let length = segment::log_description(description(1)).policies[0].payload.len();
    for cut in 0..length {
        check(1, "policy", &|message| message.policies[0].payload.truncate(cut));
    }
    for at in 0..length {
        let mut message = segment::log_description(description(1));
        message.policies[0].payload[at] ^= 0x80;
        if let Ok(read) = segment::parse_log_description(message) {
            assert_ne!(read, description(1), "byte {at}");
        }
    }
}
