//! Services that keep a few records in memory and remember who called.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use longshore_format::{
    Content, Digest, Epoch, EpochEntry, EpochHistory, ErrorKind, Flags, Incarnation, Kind, LogId, Lsn, SegmentSize,
    WriterId,
};
use longshore_protocol::{
    Ack, Agreed, Durability, Frames, Hello, Holding, Name, NodeId, Offer, Policy, Region, SessionId, Shortfall,
    ToReplica, ToUpstream, Welcome, Witness,
};
use longshore_transport::{
    AdminService, Append, Appended, BoxStream, Caller, Create, Error, FenceState, Forget, Forgotten, Lag, LeaseHolder,
    LeaseStatus, Limits, LimitsChange, LogDescription, LogService, LogStatus, LogSummary, Loss, NodeReport,
    OwnedRecord, Positions, Promote, Promoted, PromotionService, Read, RecordBatches, RecordOutline, ReignStatus,
    ReplicaPosition, ReplicaStatus, ReplicationService, Seal, Segment, SegmentFile, Services, SinkStatus, Snapshot,
    SnapshotOutline, SnapshotPlace, Standing, Status, StoreStatus, Surveyed, TailStatus, UpstreamEnd, UpstreamStatus,
    async_trait, grants::Role,
};

use super::name;

/// A fake; clones share it.
#[derive(Clone, Default)]
pub struct FakeAgent(Arc<Mutex<Seen>>);

#[derive(Default)]
pub struct Seen {
    pub records: Vec<OwnedRecord>,
    /// How streams ended: who, and with what.
    pub ended: Vec<(String, Option<ErrorKind>)>,
    /// Who ever reached a service.
    pub callers: Vec<String>,
}

pub const FILE_LEN: usize = 300_000;

impl FakeAgent {
    pub fn services(&self) -> Services {
        let shared = Arc::new(self.clone());
        Services { replication: shared.clone(), log: shared.clone(), admin: shared.clone(), promotion: shared }
    }

    pub fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn note(&self, caller: &Caller) {
        self.seen(|seen| seen.callers.push(caller.identity().to_string()));
    }
}

pub fn epoch() -> Epoch {
    Epoch { number: 3, writer: WriterId::from_bytes([9; 16]) }
}

pub fn hello(node: &str) -> Hello {
    let start = SegmentSize::FIRST_LSN;
    let life = EpochEntry { start, epoch: epoch(), incarnation: Incarnation::new(77) };
    Hello {
        node: NodeId::new(node).unwrap(),
        offer: Offer::ours(),
        holding: Holding {
            log: LogId::from_bytes([7; 16]),
            content: Content::Sql,
            segment_size: SegmentSize::MIN,
            history: EpochHistory::new(life),
            first: start,
            end: Lsn::new(5000),
            last_crc: 0xfeed_f00d,
            lost: Some(Lsn::new(6000)),
            applied: None,
            accepted: epoch(),
        },
    }
}

fn expected_hello(node: &str) -> Hello {
    hello(node)
}

pub fn summary(log: &str) -> LogSummary {
    LogSummary {
        name: name(log),
        id: LogId::from_bytes([7; 16]),
        content: Content::Sql,
        segment_size: SegmentSize::MIN,
        first: Lsn::new(4096),
        durable: Lsn::new(9000),
        has_slot: true,
        accepted: Some(epoch()),
        writes: false,
        path: ["relay", "primary"].map(|name| NodeId::new(name).unwrap()).to_vec(),
    }
}

#[async_trait]
impl ReplicationService for FakeAgent {
    async fn logs(&self, caller: &Caller) -> Result<Vec<LogSummary>, Error> {
        let logs = ["orders", "users"].map(summary);
        Ok(logs.into_iter().filter(|log| caller.may(Role::Replicate, &log.name)).collect())
    }

    async fn describe(&self, _: &Caller, log: &Name) -> Result<LogDescription, Error> {
        let history = hello("eu-west").holding.history;
        let header = Bytes::from(vec![3; 4096]);
        Ok(LogDescription {
            summary: summary(log.as_str()),
            header,
            before: Digest::NONE,
            history,
            policies: Vec::new(),
        })
    }

    /// Welcomes, then answers every ack with frames of as many bytes as it says it received.
    async fn stream(&self, caller: Caller, log: Name, mut channel: UpstreamEnd) -> Result<(), Error> {
        self.note(&caller);
        let mut result = Ok(());
        while let Some(message) = channel.receive().await {
            match message {
                Ok(ToUpstream::Hello(hello)) => {
                    assert_eq!(*hello, expected_hello(caller.identity().as_str()));
                    let welcome = Welcome {
                        session: SessionId(42),
                        agreed: Agreed { version: 1, features: Default::default() },
                        node: NodeId::new("primary").unwrap(),
                        epoch: epoch(),
                        durable: Lsn::new(9000),
                    };
                    channel.send(ToReplica::Welcome(welcome)).await?;
                }
                Ok(ToUpstream::Ack { ack, .. }) => {
                    let bytes = Bytes::from(vec![1; usize::try_from(ack.received().get()).unwrap()]);
                    channel.send(ToReplica::Frames(Frames { start: Lsn::new(5000), epoch: epoch(), bytes })).await?;
                }
                Ok(ToUpstream::Heartbeat) => {
                    let error = Error::new(ErrorKind::Diverged, format!("{log} has diverged"), "call an operator");
                    result = Err(error.fact("at", 4711));
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let ended = (caller.identity().to_string(), result.as_ref().err().map(Error::kind));
        self.seen(|seen| seen.ended.push(ended));
        result
    }

    async fn segments(&self, _: &Caller, _: &Name) -> Result<Vec<Segment>, Error> {
        let seal = Seal { digest: Digest::from_bytes([5; 32]) };
        let sealed = |index: u64| Segment {
            base: Lsn::new(index << 16),
            end: Lsn::new((index << 16) + 60_000),
            seal: Some(seal),
        };
        let active = Segment { base: Lsn::new(2000 << 16), end: Lsn::new((2000 << 16) + 5000), seal: None };
        Ok((0..2000).map(sealed).chain([active]).collect())
    }

    async fn fetch_segment(&self, _: &Caller, _: &Name, base: Lsn) -> Result<SegmentFile, Error> {
        if base != Lsn::ZERO {
            return Err(Error::new(ErrorKind::NotFound, format!("no segment begins at {base}"), "list the segments"));
        }
        let bytes: Vec<u8> = (0..FILE_LEN).map(|index| index as u8).collect();
        let chunks: Vec<_> = bytes.chunks(100_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let chunks = Box::pin(tokio_stream::iter(chunks));
        Ok(SegmentFile { len: FILE_LEN as u64, digest: Digest::from_bytes([5; 32]), chunks })
    }

    /// One snapshot, at 7000; another one cannot be gone on with.
    async fn snapshot(&self, _: &Caller, _: &Name, resume: Option<SnapshotPlace>) -> Result<Snapshot, Error> {
        let position = Lsn::new(7000);
        let offset = resume.filter(|place| place.position == position).map_or(0, |place| place.offset);
        let bytes: Vec<u8> = (offset..FILE_LEN as u64).map(|index| index as u8).collect();
        let chunks: Vec<_> = bytes.chunks(100_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let place = SnapshotPlace { position, offset };
        Ok(Snapshot { place, len: FILE_LEN as u64, chunks: Box::pin(tokio_stream::iter(chunks)) })
    }

    /// Of the same snapshot, as records of 1000 bytes.
    async fn snapshot_outline(
        &self,
        _: &Caller,
        _: &Name,
        resume: Option<SnapshotPlace>,
        most: usize,
    ) -> Result<SnapshotOutline, Error> {
        let position = Lsn::new(7000);
        let offset = resume.filter(|place| place.position == position).map_or(0, |place| place.offset);
        let left = ((FILE_LEN as u64 - offset) / 1000) as usize;
        let record = |index: usize| RecordOutline { len: 1000, digest: [index as u8; 16] };
        let records = (0..left.min(most)).map(record).collect();
        Ok(SnapshotOutline { place: SnapshotPlace { position, offset }, len: FILE_LEN as u64, records })
    }

    async fn snapshot_ranges(
        &self,
        _: &Caller,
        _: &Name,
        position: Lsn,
        ranges: Vec<Range<u64>>,
    ) -> Result<BoxStream<Bytes>, Error> {
        if position != Lsn::new(7000) {
            return Err(Error::new(ErrorKind::NotFound, format!("no snapshot at {position}"), "ask for another"));
        }
        let part = |range: Range<u64>| Ok(range.map(|index| index as u8).collect::<Bytes>());
        Ok(Box::pin(tokio_stream::iter(ranges.into_iter().map(part).collect::<Vec<_>>())))
    }
}

#[async_trait]
impl LogService for FakeAgent {
    async fn create(&self, caller: &Caller, request: Create) -> Result<LogId, Error> {
        self.note(caller);
        match request.log.as_str() {
            "orders" => Err(Error::new(ErrorKind::Busy, "log orders exists", "choose another name")),
            _ => Ok(LogId::from_bytes([8; 16])),
        }
    }

    async fn append(&self, caller: &Caller, request: Append) -> Result<Appended, Error> {
        self.note(caller);
        self.seen(|seen| {
            let start = seen.records.last().map_or(4096, |record| record.end.get());
            if request.expect.is_some_and(|expected| expected.get() != start) {
                let error = Error::new(ErrorKind::Preflight, format!("the log ends at {start}"), "read what came");
                return Err(error.fact("position", start));
            }
            let mut at = start;
            for draft in request.records {
                let end = at + 32 + draft.payload.len() as u64;
                let (start, end) = (Lsn::new(at), Lsn::new(end));
                let record =
                    OwnedRecord { start, end, kind: draft.kind, flags: Flags::FIRST, time: 1, payload: draft.payload };
                at = end.get();
                seen.records.push(record);
            }
            Ok(Appended { start: Lsn::new(start), end: Lsn::new(at) })
        })
    }

    async fn read(&self, caller: &Caller, request: Read) -> Result<RecordBatches, Error> {
        self.note(caller);
        let records = self.seen(|seen| seen.records.clone());
        let batches = tokio_stream::iter([Ok(records), Ok(Vec::new())]);
        match request.follow {
            false => Ok(Box::pin(batches)),
            true => Ok(Box::pin(tokio_stream::StreamExt::chain(batches, tokio_stream::pending()))),
        }
    }

    async fn wait(
        &self,
        _: &Caller,
        _: &Name,
        position: Lsn,
        durability: &Durability,
        timeout: Duration,
    ) -> Result<Lsn, Error> {
        if *durability == Durability::LOCAL {
            return Ok(position);
        }
        let message = format!("{position} is not confirmed for {durability} after {timeout:?}");
        Err(Error::new(ErrorKind::Unconfirmed, message, "wait again, do not append again").fact("position", position))
    }

    async fn positions(&self, _: &Caller, _: &Name) -> Result<Positions, Error> {
        let ack = Ack::new(Lsn::new(30), Lsn::new(20), Lsn::new(10)).unwrap();
        let replica = |replica: &str, region: Option<&str>| ReplicaPosition {
            replica: NodeId::new(replica).unwrap(),
            region: region.map(|region| Region::new(region).unwrap()),
            connected: region.is_some(),
            ack,
        };
        let replicas = vec![replica("a", Some("eu-west")), replica("b", None)];
        Ok(Positions { first: Lsn::new(1), end: Lsn::new(3), durable: Lsn::new(2), replicas })
    }

    async fn mark(&self, _: &Caller, _: &Name, name: &Name) -> Result<Lsn, Error> {
        Ok(Lsn::new(name.as_str().len() as u64))
    }
}

pub fn full_status() -> Status {
    let lag = Lag { bytes: 5, seconds: 0.25 };
    let replica = ReplicaStatus {
        name: NodeId::new("replica").unwrap(),
        region: Some(Region::new("eu-west").unwrap()),
        provider: Some("aws".to_owned()),
        connected: true,
        lost: false,
        sent: Lsn::new(6),
        received: Lsn::new(5),
        durable: Lsn::new(4),
        applied: Lsn::new(3),
        received_lag: lag,
        durable_lag: lag,
        applied_lag: Lag::default(),
        proved_equal_to: Lsn::new(2),
        proof_age: Some(Duration::from_millis(1500)),
        ship_rate: 1e6,
        catch_up: None,
        headroom_bytes: Some(7),
        headroom: Some(Duration::from_secs(9)),
        seen_ago: Some(Duration::from_millis(250)),
        sent_bytes: 11,
    };
    let log = LogStatus {
        name: name("orders"),
        id: LogId::from_bytes([7; 16]),
        content: Content::SqlitePages,
        segment_size: SegmentSize::DEFAULT,
        writer: false,
        first: Lsn::new(1),
        end: Lsn::new(3),
        durable: Lsn::new(2),
        epoch: epoch(),
        last_time: Some(99),
        append_rate: 12.5,
        disk_used: 1,
        disk_free: 2,
        poisoned: Some("sync failed".to_owned()),
        problem: Some("nothing goes into it".to_owned()),
        replicas: vec![replica],
        upstream: Some(UpstreamStatus {
            address: "primary@h:1".to_owned(),
            state: "following".to_owned(),
            problem: None,
            durable: Lsn::new(8),
            heard_ago: Some(Duration::from_millis(125)),
        }),
        sinks: vec![SinkStatus {
            sink: "jsonl:x".to_owned(),
            applied: Lsn::new(1),
            lag,
            problem: Some("full".to_owned()),
            captured: true,
            kept: vec!["/srv/x-longshore-kept-1".to_owned()],
            readers_saw: Some(Lsn::new(3)),
        }],
        stores: vec![
            StoreStatus {
                store: "s3://bucket/prefix".to_owned(),
                region: Some("aws:eu-west-1".to_owned()),
                archived: Some(Lsn::new(2)),
                lag,
                longest_lag: Duration::from_millis(1750),
                objects: 21,
                bytes: 22,
                trouble: Some("slow down".to_owned()),
                ended: true,
                rate: 2.5,
                tail_every: Duration::from_millis(500),
                put_requests: 23,
                get_requests: 24,
                sent_bytes: 25,
                received_bytes: 26,
            },
            StoreStatus {
                store: "file:///mnt/archive".to_owned(),
                region: None,
                archived: None,
                lag: Lag::default(),
                longest_lag: Duration::ZERO,
                objects: 0,
                bytes: 0,
                trouble: None,
                ended: false,
                rate: 0.0,
                tail_every: Duration::from_secs(1),
                put_requests: 0,
                get_requests: 0,
                sent_bytes: 0,
                received_bytes: 0,
            },
        ],
        tails: vec![TailStatus {
            place: "diverged/2-31".to_owned(),
            from: Lsn::new(2),
            to: Lsn::new(30),
            disk: 32,
            epoch: epoch(),
            set_aside: 31,
        }],
        reign: ReignStatus {
            policy: Some(Policy {
                writer: NodeId::new("primary").unwrap(),
                durability: "regions:2@eu,us".parse().unwrap(),
                shortfall: Shortfall::Degrade { after: Duration::from_secs(3) },
                degraded: true,
                voters: [
                    (NodeId::new("eu-west").unwrap(), Some(Region::new("eu").unwrap())),
                    (NodeId::new("primary").unwrap(), None),
                ]
                .into(),
            }),
            fenced: true,
            accepted: 7,
            path: vec![NodeId::new("b").unwrap(), NodeId::new("primary").unwrap()],
            lease: Some(LeaseStatus {
                holder: LeaseHolder::Node(NodeId::new("b").unwrap()),
                epoch: 7,
                valid: Some(Duration::from_millis(1500)),
                trouble: Some("its store is silent".to_owned()),
            }),
        },
    };
    Status {
        node: "primary".to_owned(),
        version: "0.1.0".to_owned(),
        time_micros: 5,
        certificate_days_left: Some(-1),
        logs: vec![log],
    }
}

pub const LIMITS: Limits =
    Limits { slot_cap: Some(5), slot_idle: None, keep_bytes: 6, keep_age: Duration::from_secs(7) };

#[async_trait]
impl AdminService for FakeAgent {
    async fn status(&self, caller: &Caller, log: Option<&Name>) -> Result<Status, Error> {
        let mut status = full_status();
        status.logs.retain(|it| {
            log.is_none_or(|log| *log == it.name)
                && (caller.may(Role::Read, &it.name) || caller.may(Role::Admin, &it.name))
        });
        Ok(status)
    }

    async fn forget(&self, _: &Caller, request: Forget) -> Result<Forgotten, Error> {
        let (oldest_before, oldest_after) = (Lsn::new(1), Lsn::new(9));
        Ok(Forgotten { oldest_before, oldest_after, frees: 8, written: Some((1, 2)), forgotten: !request.plan })
    }

    async fn limits(&self, _: &Caller, _: &Name, change: LimitsChange) -> Result<Limits, Error> {
        Ok(Limits { keep_bytes: change.keep_bytes.unwrap_or(LIMITS.keep_bytes), ..LIMITS })
    }
}

/// A copy of a log with everything that can be said of one.
pub fn surveyed() -> Surveyed {
    let life = EpochEntry { start: Lsn::new(4096), epoch: epoch(), incarnation: Incarnation::new(3) };
    let voters = [(NodeId::new("a").unwrap(), Some(Region::new("eu-west").unwrap()))].into();
    let policy = Policy {
        writer: NodeId::new("primary").unwrap(),
        durability: "replicas:2".parse().unwrap(),
        shortfall: Shortfall::Degrade { after: Duration::from_secs(9) },
        degraded: false,
        voters,
    };
    Surveyed {
        log: LogId::from_bytes([7; 16]),
        witness: Witness {
            node: NodeId::new("replica").unwrap(),
            history: EpochHistory::new(life),
            first: Lsn::new(4096),
            end: Lsn::new(9000),
            accepted: epoch(),
            writes: true,
            lost: Some(Lsn::new(9008)),
            policies: vec![(Lsn::new(5000), policy)],
            time: 77,
            gave_way: vec![epoch(), longshore_format::Epoch { number: 99, ..epoch() }],
            given_up: vec![epoch(), longshore_format::Epoch { number: 98, ..epoch() }],
        },
        records_since: Some(5),
        left_open: true,
    }
}

/// The answer to a promotion with everything that can be said of one.
pub fn promoted(promoted: bool) -> Promoted {
    let report = |node: &str, problem: Option<&str>| NodeReport {
        node: node.to_owned(),
        address: "a@127.0.0.1:1".to_owned(),
        problem: problem.map(str::to_owned),
        end: problem.is_none().then_some(Lsn::new(9000)),
        epoch: 3,
        writes: false,
        votes: true,
        fenced: problem.is_none(),
        archive: node == "b",
        standing: (node == "b").then_some(Standing::Later),
    };
    let loss = Loss { bytes: 9, records: Some(2), time: Some(Duration::from_millis(1500)), holder: "b".to_owned() };
    Promoted {
        promoted,
        epoch: 4,
        position: Lsn::new(9000),
        nodes: vec![report("a", None), report("b", Some("it did not answer"))],
        policy: Some("replicas:2".to_owned()),
        fence: FenceState::Open(vec![NodeId::new("b").unwrap()]),
        loss: Some(loss),
        write_pause: Some(Duration::from_millis(250)),
        warnings: vec!["nobody can write it".to_owned()],
        left_open: Some("primary".to_owned()),
    }
}

#[async_trait]
impl PromotionService for FakeAgent {
    async fn survey(&self, _: &Caller, _: &Name, since: Option<Lsn>) -> Result<Surveyed, Error> {
        assert_eq!(since, Some(Lsn::new(8000)));
        Ok(surveyed())
    }

    async fn fence(&self, _: &Caller, log: &Name, accept: Epoch) -> Result<Surveyed, Error> {
        match accept == epoch() {
            true => Ok(surveyed()),
            false => Err(Error::new(ErrorKind::Fenced, format!("log {log} has accepted another"), "take a higher one")),
        }
    }

    async fn promote(&self, _: &Caller, request: Promote) -> Result<Promoted, Error> {
        assert_eq!((request.to, &request.peers[..]), (Some(Lsn::new(8000)), &["b@127.0.0.1:2".to_owned()][..]));
        Ok(promoted(!request.plan))
    }
}

/// A record to append.
pub fn draft(text: &str) -> longshore_transport::Draft {
    longshore_transport::Draft { kind: Kind::USER, payload: Bytes::copy_from_slice(text.as_bytes()) }
}

pub fn append(records: Vec<longshore_transport::Draft>) -> Append {
    Append { log: name("orders"), records, expect: None, wait: None, timeout: Duration::from_secs(1) }
}
