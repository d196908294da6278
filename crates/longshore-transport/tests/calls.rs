//! Every call, from a typed method to a service and back.

mod common;

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use common::{
    PATIENCE, Pki, Running, agent,
    agent::{FILE_LEN, append, draft, hello, summary},
    connector, eventually, name, quick,
};
use longshore_format::{Content, ErrorKind, Lsn, SegmentSize};
use longshore_protocol::{Ack, NodeId, ToReplica, ToUpstream};
use longshore_transport::{
    Access, ClientSettings, Connector, Create, Draft, Error, Forget, Forgettable, LimitsChange, Promote, Read,
    RecordOutline, Server, ServerSettings, SnapshotOutline, SnapshotPlace,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_program_appends_waits_and_reads() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "app").connect(&agent.pinned()).await.unwrap();

    let appended = client.append(append(vec![draft("one"), draft("two")])).await.unwrap();
    assert_eq!((appended.start, appended.end), (Lsn::new(4096), Lsn::new(4096 + 70)));
    let again = longshore_transport::Append { expect: Some(Lsn::new(1)), ..append(vec![draft("x")]) };
    let error = client.append(again).await.unwrap_err();
    assert_eq!((error.kind(), error.value_of("position")), (ErrorKind::Preflight, Some("4166")));

    let local = "local".parse().unwrap();
    assert_eq!(client.wait(&name("orders"), appended.end, &local, PATIENCE).await.unwrap(), appended.end);
    let far = "replicas:2/applied".parse().unwrap();
    let error = client.wait(&name("orders"), appended.end, &far, Duration::from_millis(1500)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    assert_eq!(
        error.to_string(),
        "4166 is not confirmed for replicas:2/applied after 1.5s; wait again, do not append again"
    );

    let read =
        Read { log: name("orders"), start: None, end: Some("latest".to_owned()), exclusive: true, follow: false };
    let batches: Vec<_> = client.read(read).await.unwrap().collect().await;
    let records: Vec<_> = batches.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(records, agent.agent.seen(|seen| seen.records.clone()));

    let positions = client.positions(&name("orders")).await.unwrap();
    assert_eq!(positions.replicas.len(), 2);
    assert_eq!(positions.replicas[0].ack, Ack::new(Lsn::new(30), Lsn::new(20), Lsn::new(10)).unwrap());
    assert_eq!(client.mark(&name("orders"), &name("before")).await.unwrap(), Lsn::new(6));
    assert!(client.healthy().await.unwrap());
    agent.stop().await;
}

#[tokio::test]
async fn a_replica_lists_describes_and_follows() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    assert_eq!(client.server(), Some(&name("primary")));
    assert_eq!(client.logs().await.unwrap(), vec![summary("orders"), summary("users")]);
    let description = client.describe(&name("users")).await.unwrap();
    assert_eq!((description.summary, description.header.len()), (summary("users"), 4096));

    let mut channel = client.follow(&name("orders"), hello("replica")).await.unwrap();
    let welcome = channel.receive().await.unwrap().unwrap();
    assert!(matches!(welcome, ToReplica::Welcome(welcome) if welcome.session.0 == 42));
    for len in [1, 1000, 1 << 20] {
        let ack = Ack::new(Lsn::new(len), Lsn::ZERO, Lsn::ZERO).unwrap();
        channel.send(ToUpstream::Ack { ack, relayed: Vec::new() }).await.unwrap();
        let frames = channel.receive().await.unwrap().unwrap();
        assert!(matches!(frames, ToReplica::Frames(frames) if frames.bytes.len() as u64 == len));
    }
    // The service's error is the replica's, whole.
    channel.send(ToUpstream::Heartbeat).await.unwrap();
    let error = channel.receive().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.value_of("at")), (ErrorKind::Diverged, Some("4711")));
    assert!(channel.receive().await.is_none());
    agent.stop().await;
}

#[tokio::test]
async fn a_replica_that_goes_away_ends_its_stream_at_the_upstream() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let mut channel = client.follow(&name("orders"), hello("replica")).await.unwrap();
    channel.receive().await.unwrap().unwrap();
    drop(channel);
    eventually(|| agent.agent.seen(|seen| seen.ended.len() == 1)).await;
    agent.stop().await;
}

#[tokio::test]
async fn segments_are_listed_and_fetched() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let segments = client.segments(&name("orders")).await.unwrap();
    assert_eq!(segments.len(), 2001);
    assert!(segments[0].seal.is_some() && segments[2000].seal.is_none());

    let file = client.fetch_segment(&name("orders"), Lsn::ZERO).await.unwrap();
    assert_eq!(file.len, FILE_LEN as u64);
    let bytes: Vec<Bytes> = file.chunks.map(Result::unwrap).collect().await;
    assert!(bytes.concat().iter().enumerate().all(|(index, byte)| *byte == index as u8));
    assert_eq!(bytes.concat().len(), FILE_LEN);
    let error = client.fetch_segment(&name("orders"), Lsn::new(1)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    agent.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_gone_on_with_where_it_was_left() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let take = async |resume| {
        let snapshot = client.snapshot(&name("orders"), resume).await.unwrap();
        let mut bytes = Vec::new();
        let mut chunks = snapshot.chunks;
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        (snapshot.place, snapshot.len, bytes)
    };
    let (position, begin) = (Lsn::new(7000), |offset| SnapshotPlace { position: Lsn::new(7000), offset });
    let (place, len, whole) = take(None).await;
    assert_eq!((place, len, whole.len() as u64), (begin(0), len, len));
    for offset in [1, len / 2, len] {
        let (place, _, rest) = take(Some(SnapshotPlace { position, offset })).await;
        assert_eq!((place, &rest[..]), (begin(offset), &whole[offset as usize..]));
    }
    let (place, _, other) = take(Some(SnapshotPlace { position: Lsn::new(6000), offset: 5 })).await;
    assert_eq!((place, other), (begin(0), whole), "another one is sent from its beginning");
    agent.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_outlined_and_fetched_in_parts() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let log = name("orders");
    let (position, all) = (Lsn::new(7000), FILE_LEN / 1000);
    let outline = async |offset, most| {
        let resume = (0 < offset).then_some(SnapshotPlace { position, offset });
        client.snapshot_outline(&log, resume, most).await.unwrap().unwrap()
    };
    let first = outline(0, usize::MAX).await;
    assert_eq!((first.place, first.len), (SnapshotPlace { position, offset: 0 }, FILE_LEN as u64));
    assert_eq!(first.records.len(), all.min(SnapshotOutline::MOST));
    assert_eq!(first.records[3], RecordOutline { len: 1000, digest: [3; 16] });
    let rest = outline(5000, 2).await;
    assert_eq!((rest.place.offset, rest.records.len()), (5000, 2));
    assert_eq!(outline(FILE_LEN as u64, 2).await.records, [], "all of them were told");

    let take = async |ranges: &[Range<u64>]| {
        let mut chunks = client.snapshot_ranges(&log, position, ranges).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    };
    let ranges = [3..5, 5..6, 250..260, 100_000..300_000];
    let expected: Vec<u8> = ranges.iter().cloned().flatten().map(|index| index as u8).collect();
    assert!(take(&ranges).await.unwrap() == expected);
    let many: Vec<_> = (0..SnapshotOutline::MOST_RANGES as u64).map(|index| 2 * index..2 * index + 1).collect();
    assert_eq!(take(&many).await.unwrap().len(), many.len());
    let whole = 0..u64::MAX - 1;
    let mut too_many = many.clone();
    too_many.push(1 << 20..1 << 21);
    for nonsense in [&[5..6, 3..4][..], &[1..2, 3..3], &too_many, &[7..9, 8..10]] {
        let error: Error = take(nonsense).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let error = client.snapshot_ranges(&log, Lsn::new(6000), &[whole]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    agent.stop().await;
}

#[tokio::test]
async fn an_operator_sees_and_changes() {
    let pki = Pki::new();
    pki.edit_grants("\"admin\"", "\"admin\", \"promote\"");
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "primary").connect(&agent.pinned()).await.unwrap();
    assert_eq!(client.status(None).await.unwrap(), agent::full_status());
    assert_eq!(client.status(Some(&name("orders"))).await.unwrap(), agent::full_status());
    let forget =
        Forget { log: name("orders"), what: Forgettable::Replica(NodeId::new("replica").unwrap()), plan: true };
    assert!(!client.forget(&forget).await.unwrap().forgotten);
    assert!(client.forget(&Forget { plan: false, ..forget }).await.unwrap().forgotten);
    let log = name("orders");
    assert_eq!(client.limits(&log, LimitsChange::default()).await.unwrap(), agent::LIMITS);
    let change = LimitsChange { keep_bytes: Some(0), ..LimitsChange::default() };
    assert_eq!(client.limits(&log, change).await.unwrap().keep_bytes, 0);

    let create = Create { log: name("new"), content: Content::Sql, segment_size: SegmentSize::DEFAULT };
    client.create(create.clone()).await.unwrap();
    assert_eq!(client.create(Create { log, ..create }).await.unwrap_err().kind(), ErrorKind::Busy);
    agent.stop().await;
}

#[tokio::test]
async fn who_may_promote_surveys_fences_and_promotes() {
    let pki = Pki::new();
    pki.edit_grants("\"admin\"", "\"admin\", \"promote\"");
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "primary").connect(&agent.pinned()).await.unwrap();
    let log = name("orders");
    assert_eq!(client.survey(&log, Some(Lsn::new(8000))).await.unwrap(), agent::surveyed());
    assert_eq!(client.fence(&log, agent::epoch()).await.unwrap(), agent::surveyed());
    let later = longshore_format::Epoch { number: 99, ..agent::epoch() };
    assert_eq!(client.fence(&log, later).await.unwrap_err().kind(), ErrorKind::Fenced);
    let peers = vec!["b@127.0.0.1:2".to_owned()];
    let to = Some(Lsn::new(8000));
    for plan in [true, false] {
        let promote = Promote {
            log: log.clone(),
            plan,
            accept_loss: false,
            switchover: false,
            to,
            peers: peers.clone(),
            given_up: Some(agent::epoch()),
        };
        assert_eq!(client.promote(&promote).await.unwrap(), agent::promoted(!plan));
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_oversized_batch_is_refused_and_the_connection_lives_on() {
    // F-099
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "app").connect(&agent.pinned()).await.unwrap();
    let huge = Draft { payload: Bytes::from(vec![0; 3 << 20]), ..draft("") };
    let error = client.append(append(vec![huge])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = client.append(append(vec![draft(""); 70_000])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = client.append(append(Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(agent.agent.seen(|seen| seen.callers.is_empty()));
    client.append(append(vec![draft("fits")])).await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn stopping_ends_streams_with_a_reason_and_leaves_nothing_behind() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let mut channel = client.follow(&name("orders"), hello("replica")).await.unwrap();
    channel.receive().await.unwrap().unwrap();
    let fake = agent.agent.clone();
    agent.stop().await;
    let error = channel.receive().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.message(), "the agent is stopping");
    assert_eq!(fake.seen(|seen| seen.ended.clone()), [("replica".to_owned(), Some(ErrorKind::Unavailable))]);
    eventually(|| client.is_closed()).await;
    let error = client.logs().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn plaintext_works_on_loopback_only() {
    let agent = Running::with_access(Access::plaintext_on_loopback(), quick()).await;
    let connector = Connector::plaintext_on_loopback(name("replica"), ClientSettings::default());
    let client = connector.connect(&agent.by_host()).await.unwrap();
    assert_eq!(client.server(), None);
    let mut channel = client.follow(&name("orders"), hello("replica")).await.unwrap();
    channel.receive().await.unwrap().unwrap();
    assert_eq!(agent.agent.seen(|seen| seen.callers.clone()), ["replica"]);

    let error = connector.connect(&"192.0.2.1:1".parse().unwrap()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let fake = agent.agent.clone();
    let server = Server::new(Access::plaintext_on_loopback(), ServerSettings::default(), fake.services());
    let error = timeout(PATIENCE, server.serve(listener, CancellationToken::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    drop((channel, client));
    agent.stop().await;
}

#[tokio::test]
async fn a_role_for_one_call_is_none_for_another() {
    // F-124
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let app = connector(pki.path(), "app").connect(&agent.pinned()).await.unwrap();
    let error = app.follow(&name("orders"), hello("app")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(
        error.to_string(),
        "app does not have the role replicate for log orders; write under [app] in the agent's grants.toml: \
         logs.orders = [\"replicate\"]"
    );
    let replica = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let denied = [
        replica.append(append(vec![draft("x")])).await.err(),
        replica.mark(&name("orders"), &name("m")).await.err(),
        replica.fence(&name("orders"), agent::epoch()).await.err(),
        replica.promote(&promote_request()).await.err(),
        app.limits(&name("orders"), LimitsChange::default()).await.err(),
        replica.positions(&name("orders")).await.err(),
    ];
    assert!(denied.iter().all(|error| error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Denied)));
    // Nobody sees what is not theirs.
    assert!(replica.status(None).await.unwrap().logs.is_empty());
    assert!(app.logs().await.unwrap().is_empty());
    assert!(agent.agent.seen(|seen| seen.callers.is_empty()));

    // The line printed is the line that helps, without a restart.
    pki.edit_grants("[app]", "[app]\nlogs.orders = [\"replicate\"]");
    agent.access.reload().unwrap();
    app.follow(&name("orders"), hello("app")).await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn a_name_in_a_message_is_not_believed() {
    // F-124: the certificate is right, the message claims to be somebody else.
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let client = connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    let error = client.follow(&name("orders"), hello("other")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("the certificate is of replica, the message says other"), "{error}");
    assert!(agent.agent.seen(|seen| seen.callers.is_empty()));
    agent.stop().await;
}

fn promote_request() -> Promote {
    Promote { accept_loss: true, ..Promote::of(name("orders")) }
}
