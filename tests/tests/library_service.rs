//! A node as its clients, its operators and its sinks see it, over mutual TLS in one process.

#[path = "library/support.rs"]
#[expect(dead_code, reason = "shared with another test program")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore::apply::{Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use longshore::format::{Record, SegmentHeader};
use longshore::transport::tls::{ClientTls, TlsFiles};
use longshore::transport::{
    Append, Client, ClientSettings, Connector, Create, Draft, Forget, Forgettable, LimitsChange, Promote, Read,
    SnapshotOutline, SnapshotPlace,
};
use longshore::{
    Content, DatabaseImage, ErrorKind, Event, Kind, Lsn, Name, OpenSink, Primary, Replica, SnapshotError, Snapshotter,
};
use longshore_protocol::{Hello, Holding, Offer};
use support::{Agent, PATIENCE, World, append, durability, segments, until, within};
use tokio_stream::StreamExt;

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_appends_waits_marks_and_reads_over_the_network() -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let client = connect(&world, "primary", &served).await;
    let log = Name::new("orders")?;

    let first = client.append(batch("orders", &["one", "two"], "local")).await?;
    let noon = client.mark(&log, &Name::new("noon")?).await?;
    let last = client.append(Append { expect: Some(noon), ..batch("orders", &["three"], "local") }).await?;
    let twice = client.append(Append { expect: Some(noon), ..batch("orders", &["three"], "local") }).await.unwrap_err();
    assert_eq!(twice.value_of("end"), Some(&*last.end.to_string()), "{twice}");
    assert_eq!(client.wait(&log, last.end, &durability("local"), Duration::from_secs(5)).await?, last.end);

    // What one read keeps and what the next begins with part at the same place.
    for (start, end, payloads) in [
        (None, None, vec!["one", "two", "three"]),
        (None, Some("mark:noon".to_owned()), vec!["one", "two"]),
        (Some("mark:noon".to_owned()), None, vec!["three"]),
        (Some(first.end.to_string()), Some(last.end.to_string()), vec!["three"]),
        (Some("latest".to_owned()), None, vec![]),
    ] {
        assert_eq!(read(&client, start.clone(), end.clone()).await?, payloads, "{start:?} {end:?}");
    }
    let exclusive = Read { exclusive: true, ..reading(None, Some(last.end.to_string())) };
    assert_eq!(payloads(client.read(exclusive).await?).await?, ["one", "two"]);
    let nowhere = client.read(reading(Some("mark:never".to_owned()), None)).await.err().unwrap();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound, "{nowhere}");

    // Nobody confirms: durable here, and the position to wait for is a fact of the error.
    let request = Append { timeout: Duration::from_millis(50), ..batch("orders", &["four"], "replicas:1") };
    let unconfirmed = client.append(request).await.unwrap_err();
    assert_eq!(unconfirmed.kind(), ErrorKind::Unconfirmed);
    assert_eq!(unconfirmed.value_of("position"), Some(&*primary.end().to_string()));

    // A replica's client may not append, nor look at what it was not granted.
    let stranger = connect(&world, "eu-west", &served).await;
    assert_eq!(stranger.append(batch("orders", &["no"], "local")).await.unwrap_err().kind(), ErrorKind::Denied);
    let create =
        Create { log: Name::new("users")?, content: Content::Bytes, segment_size: primary.status().segment_size };
    client.create(create.clone()).await?;
    assert_eq!(client.create(create).await.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(client.status(None).await?.logs.len(), 2);
    let promoted = client.promote(&Promote::of(log.clone())).await.unwrap();
    assert!(promoted.promoted && promoted.epoch == 1, "it writes the log already: nothing is done");
    drop((client, stranger));
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_follows_gets_what_is_appended_later() -> Outcome {
    let world = World::new(&[]);
    let primary = world.create("primary", "orders");
    append(&primary, 1, 10, "local").await;
    let served = Agent::serve(&primary).await;
    let client = connect(&world, "primary", &served).await;
    let mut batches = client.read(Read { follow: true, ..reading(Some("latest".to_owned()), None) }).await?;
    for n in 0..3 {
        primary.append(&[format!("later {n}")])?;
        let batch = within(batches.next()).await.expect("it goes on")?;
        assert_eq!(batch[0].payload, format!("later {n}").as_bytes());
    }
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_a_replica_says_what_it_frees_and_then_frees_it() -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 5, 100, "replicas:1").await;
    let client = connect(&world, "primary", &served).await;
    let log = Name::new("orders")?;
    let request =
        |replica: &str, plan| Forget { log: log.clone(), what: Forgettable::Replica(replica.parse().unwrap()), plan };
    let refused = client.forget(&request("eu-west", false)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "it is connected, and would go on without a slot: {refused}");
    replica.stop().await?;
    until("the replica is away", || primary.status().replicas.iter().all(|replica| !replica.connected)).await;
    append(&primary, 400, 10_000, "local").await;
    let change = LimitsChange { keep_bytes: Some(0), ..LimitsChange::default() };
    assert_eq!(client.limits(&log, change).await?.keep_bytes, 0);

    let plan = client.forget(&request("eu-west", true)).await?;
    assert!(!plan.forgotten && 2 << 20 <= plan.frees, "{plan:?}");
    assert_eq!(primary.status().replicas.len(), 1);
    assert_eq!(client.forget(&request("nobody", false)).await.unwrap_err().kind(), ErrorKind::NotFound);

    let done = client.forget(&request("eu-west", false)).await?;
    assert!(done.forgotten);
    assert!(primary.status().replicas.is_empty());
    until("the log is trimmed", || Lsn::new(4096) < primary.first()).await;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_a_replica_promises_nothing_that_somebody_else_still_needs() -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    append(&primary, 400, 10_000, "local").await;
    let client = connect(&world, "primary", &served).await;
    let log = Name::new("orders")?;
    let change = LimitsChange { keep_bytes: Some(0), ..LimitsChange::default() };
    client.limits(&log, change).await?;

    let request = Forget { log: log.clone(), what: Forgettable::Replica("eu-west".parse()?), plan: true };
    assert!(0 < client.forget(&request).await?.frees);
    primary.wal().hold(longshore::wal::Consumer::Archive, Some(primary.first()));
    assert_eq!(client.forget(&request).await?.frees, 0);
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shipped_ahead_is_confirmed_and_shown_once_it_is_durable_at_the_primary_f096() -> Outcome {
    let world = World::new(&["eu-west", "us-east"]);
    let mut settings = world.settings("primary");
    settings.network.ship_ahead = true;
    let primary = Primary::create(world.dir("primary"), "orders", Content::Bytes, &settings)?;
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 3, 100, "replicas:1").await;
    let below = world.follow("us-east", &replica).await;
    let before = append(&primary, 3, 100, "replicas:2").await;

    // The log's own thread syncs nothing meanwhile, as if the disk stood still.
    let gathering = primary.wal().gather();
    let ticket = primary.append(&[b"ahead"])?;
    primary.wal().offer();
    let have_it = || primary.status().replicas.iter().all(|replica| replica.durable == ticket.position());
    until("the replicas have it on their disks, also the one that follows the other", have_it).await;
    assert_eq!(primary.wal().durable().get(), before);
    assert_eq!(primary.reached(&durability("replicas:1")), before, "the primary's disk counts, too");
    let orders = Name::new("orders")?;
    let clients = [connect(&world, "primary", &replica).await, connect(&world, "primary", &below).await];
    for client in &clients {
        assert_eq!(client.positions(&orders).await?.durable, before, "neither shows it");
    }

    drop(gathering);
    within(ticket.wait(durability("replicas:2"))).await?;
    for client in &clients {
        client.wait(&orders, ticket.position(), &durability("local"), PATIENCE).await?;
    }
    below.stop().await?;
    replica.stop().await?;
    served.stop().await?;
    assert_eq!(segments(&world.dir("primary"), "orders"), segments(&world.dir("us-east"), "orders"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_stream_of_a_replica_is_served() -> Outcome {
    // F-091: two streams alive after a reconnect.
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    append(&primary, 5, 100, "local").await;
    let served = Agent::serve(&primary).await;
    let client = connect(&world, "eu-west", &served).await;
    let log = Name::new("orders")?;
    let header = SegmentHeader::decode(&client.describe(&log).await?.header).unwrap();
    let hello = || empty_copy("eu-west", &header);
    let mut older = client.follow(&log, hello()).await?;
    within(older.receive()).await.expect("it is welcome")?;
    let mut newer = client.follow(&log, hello()).await?;
    within(newer.receive()).await.expect("it is welcome")?;
    let ended = loop {
        match within(older.receive()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error.to_string(),
            None => break "nothing".to_owned(),
        }
    };
    assert!(ended.contains("newer stream"), "{ended}");
    drop((older, newer, client));
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_asked_to_stop_ships_what_is_durable_first() -> Outcome {
    // F-078
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 5, 100, "replicas:1").await;
    let last = primary.append(&["the last"])?;
    served.stop().await?;
    assert!(primary.append(&["too late"]).is_err());
    let held = replica.node.status().logs[0].durable;
    assert!(last.position() <= held, "{} is not in the replica, which ends at {held}", last.position());
    replica.stop().await?;
    assert_eq!(segments(&world.dir("primary"), "orders"), segments(&world.dir("eu-west"), "orders"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_sink_refuses_stops_applying_and_not_receiving() -> Outcome {
    // F-106
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let applied = Arc::new(AtomicU64::new(0));
    let open: OpenSink = {
        let applied = Arc::clone(&applied);
        Arc::new(move || Ok(Box::new(Picky { applied: Arc::clone(&applied), held: None })))
    };
    let replica = Replica::open(world.dir("eu-west"), &world.replica_settings("eu-west", &served))?;
    let events = replica.events();
    let replica = Agent::replica(replica.apply(Some("orders"), "picky", open)?).await;
    append(&primary, 10, 100, "replicas:1/applied").await;
    primary.append(&["poison"])?;
    append(&primary, 10, 100, "replicas:1").await;

    let mut reason = String::new();
    until("applying stops", || {
        while let Some(event) = events.take() {
            if let Event::ApplyStopped { sink, reason: why, .. } = event {
                reason = format!("{sink}: {why}");
            }
        }
        !reason.is_empty()
    })
    .await;
    assert!(reason.contains("picky: ") && reason.contains("poisonous"), "{reason}");
    assert_eq!(applied.load(Ordering::Relaxed), 10);
    let status = replica.node.status();
    assert!(status.logs[0].sinks[0].problem.is_some());
    let at_primary = primary.status().replicas.remove(0);
    assert!(at_primary.applied < at_primary.durable && 0 < at_primary.applied_lag.bytes);
    replica.stop().await?;
    served.stop().await?;
    Ok(())
}

/// Counts runs, and refuses one.
struct Picky {
    applied: Arc<AtomicU64>,
    held: Option<Lsn>,
}

impl Sink for Picky {
    fn name(&self) -> String {
        "picky".to_owned()
    }
    fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
        Ok(self.held.map(|lsn| Held { lsn, crc: None }))
    }
    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        match record.payload {
            b"poison" => Err(SinkError::new(Failure::Refused, "this record is poisonous; look at it")),
            _ => Ok(()),
        }
    }
    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.held = Some(run.lsn);
        Ok(())
    }
    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
    fn durable(&self) -> Option<Lsn> {
        self.held
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Numbers, as many to a record as it takes for the outline to come in several pieces.
struct Numbers(Lsn);

impl Snapshotter for Numbers {
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
        Ok(Box::new(NumbersImage { position: self.0, next: 0 }))
    }
}

struct NumbersImage {
    position: Lsn,
    next: u8,
}

impl DatabaseImage for NumbersImage {
    fn position(&self) -> Lsn {
        self.position
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        self.next += 1;
        Ok((self.next <= 100).then(|| vec![self.next; (1 << 20) + usize::from(self.next)]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_outlined_in_pieces_and_sent_in_parts() -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    append(&primary, 3, 100, "local").await;
    let served = Agent::serve(&primary).await;
    let client = connect(&world, "eu-west", &served).await;
    let (log, most) = (Name::new("orders")?, SnapshotOutline::MOST);
    let none = client.snapshot_outline(&log, None, most).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Preflight, "{none}");
    primary.node().offer_snapshots("orders", Arc::new(Numbers(primary.end())))?;

    let mut whole = Vec::new();
    let mut chunks = client.snapshot(&log, None).await?.chunks;
    while let Some(chunk) = chunks.next().await {
        whole.extend_from_slice(&chunk?);
    }
    // Every record where the outline says that it is.
    let (mut resume, mut places, mut pieces) = (None, Vec::new(), 0);
    loop {
        let outline = client.snapshot_outline(&log, resume, most).await?.unwrap();
        assert_eq!((outline.place.position, outline.len), (primary.end(), whole.len() as u64));
        let mut at = outline.place.offset;
        assert!(resume.is_none_or(|place| place == outline.place));
        if outline.records.is_empty() {
            break;
        }
        for record in &outline.records {
            let payload = &whole[at as usize + 8..][..record.len as usize];
            assert_eq!(record.digest, blake3::hash(payload).as_bytes()[..16]);
            places.push(at);
            at += 8 + u64::from(record.len);
        }
        resume = Some(SnapshotPlace { position: primary.end(), offset: at });
        pieces += 1;
    }
    assert_eq!(places.len(), 100);
    assert!(1 < pieces, "one answer is no longer than it has to be");
    assert_eq!(resume.unwrap().offset + 8, whole.len() as u64);
    assert_eq!(client.snapshot_outline(&log, None, 2).await?.unwrap().records.len(), 2);

    let parts = [0..52, places[3]..places[5], places[40]..places[40] + 1, places[99]..whole.len() as u64];
    let mut chunks = client.snapshot_ranges(&log, primary.end(), &parts).await?;
    let mut sent = Vec::new();
    while let Some(chunk) = chunks.next().await {
        sent.extend_from_slice(&chunk?);
    }
    let expected: Vec<u8> =
        parts.iter().flat_map(|part| &whole[part.start as usize..part.end as usize]).copied().collect();
    assert!(sent == expected);

    // Where nothing begins, what is not there, and a snapshot that never was: it is told of another, or refused.
    let inside = SnapshotPlace { position: primary.end(), offset: places[7] + 99 };
    let error = client.snapshot_outline(&log, Some(inside), most).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for offset in [0, 51, u64::MAX] {
        let elsewhere = SnapshotPlace { position: primary.end(), offset };
        assert_eq!(client.snapshot_outline(&log, Some(elsewhere), 1).await?.unwrap().place.offset, places[0]);
    }
    let other = SnapshotPlace { position: Lsn::new(5000), offset: places[5] };
    let begun = client.snapshot_outline(&log, Some(other), 1).await?.unwrap();
    assert_eq!(begun.place, SnapshotPlace { position: primary.end(), offset: places[0] });
    for (position, part, kind) in [
        (other.position, 0..52, ErrorKind::NotFound),
        (primary.end(), 5..whole.len() as u64 + 1, ErrorKind::Invalid),
        (primary.end(), 5..u64::MAX, ErrorKind::Invalid),
    ] {
        let mut all = Vec::new();
        let outcome = async {
            let mut chunks = client.snapshot_ranges(&log, position, &[part]).await?;
            while let Some(chunk) = chunks.next().await {
                all.push(chunk?);
            }
            Ok::<_, longshore::transport::Error>(())
        };
        let error = outcome.await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    // Once it is gone, it is not made again for whoever asks for parts of it.
    std::fs::remove_file(world.dir("primary").join("orders.snapshot"))?;
    let error = client.snapshot_ranges(&log, primary.end(), &parts).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    served.stop().await?;
    Ok(())
}

async fn connect(world: &World, identity: &str, agent: &Agent) -> Client {
    let files = TlsFiles::in_directory(&world.dir("tls"), &identity.parse().unwrap());
    let connector = Connector::new(ClientTls::load(files).unwrap(), ClientSettings::default());
    within(connector.connect(&agent.address.to_string().parse().unwrap())).await.unwrap()
}

/// What a replica says that has just made its copy.
fn empty_copy(replica: &str, header: &SegmentHeader) -> Hello {
    let start = header.chain.position;
    Hello {
        node: replica.parse().unwrap(),
        offer: Offer::ours(),
        holding: Holding {
            log: header.log,
            content: header.content,
            segment_size: header.size,
            history: header.history.clone(),
            first: start,
            end: start,
            last_crc: header.chain.link,
            lost: None,
            applied: None,
            accepted: header.chain.life.epoch,
        },
    }
}

fn batch(log: &str, payloads: &[&str], safe: &str) -> Append {
    let draft = |payload: &&str| Draft { kind: Kind::USER, payload: payload.as_bytes().to_vec().into() };
    Append {
        log: log.parse().unwrap(),
        records: payloads.iter().map(draft).collect(),
        expect: None,
        wait: Some(durability(safe)),
        timeout: Duration::from_secs(30),
    }
}

fn reading(start: Option<String>, end: Option<String>) -> Read {
    Read { log: Name::new("orders").unwrap(), start, end, exclusive: false, follow: false }
}

async fn read(
    client: &Client,
    start: Option<String>,
    end: Option<String>,
) -> Result<Vec<String>, longshore::transport::Error> {
    payloads(client.read(reading(start, end)).await?).await
}

async fn payloads(
    mut batches: longshore::transport::RecordBatches,
) -> Result<Vec<String>, longshore::transport::Error> {
    let mut payloads = Vec::new();
    while let Some(batch) = within(batches.next()).await {
        let users = batch?.into_iter().filter(|record| record.kind.is_user());
        payloads.extend(users.map(|record| String::from_utf8(record.payload.to_vec()).unwrap()));
    }
    Ok(payloads)
}
