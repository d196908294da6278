//! `bench ship`: catch-up over mutual TLS to a durable replica, what it costs, and memory.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_format::SegmentHeader;
use longshore_protocol::{Hello, Holding, Offer, ToUpstream};
use longshore_transport::{Client, ReplicaEnd};
use tokio::runtime::Runtime;

use super::agents::Site;
use super::measure::median;
use super::report::Row;
use super::wal::make_log;
use super::{Plan, RECORD, raw_append};
use crate::failure::Failure;
use crate::runtime;

/// What the replica catches up.
const AMOUNT: u64 = 2 << 30;
/// The log behind the memory rows.
const LARGE: u64 = 10 << 30;
/// A day would be longer than anybody waits.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, Failure> {
    let site = Site::new(&plan.dir)?;
    let mut rows = catch_up(plan, &site)?;
    rows.extend(memory(plan, &site)?);
    Ok(rows)
}

/// Rate and processor time, ours and raw in turn.
fn catch_up(plan: &Plan, site: &Site) -> Result<Vec<Row>, Failure> {
    let total = plan.amount(AMOUNT, 64 << 20);
    plan.progress.say("making a log to catch up");
    let data = site.path("primary");
    make_log(&data.join("bench"), total)?;
    let raw_file = site.path("raw.in");
    raw_append::segment(&raw_file, total).map_err(|error| Failure::file("raw input", &raw_file, &error))?;
    let (mut ours, mut raw) = (Figures::default(), Figures::default());
    for _ in plan.runs("catch-up") {
        raw.add(raw_transfer(site, &raw_file)?, total);
        ours.add(our_transfer(site, &data)?, total);
    }
    let (size, file) = (total >> 20, "bench/raw_tls.rs");
    Ok(vec![
        Row::new(
            format!("catch-up of {size} MiB of {RECORD} B records, mutual TLS, durable"),
            "MiB/s",
            median(ours.rate),
        )
        .beside(median(raw.rate), file)
        .ratio_at_least(0.6),
        Row::new("processor time, both ends together", "CPU-s/GiB", median(ours.cpu))
            .beside(median(raw.cpu), file)
            .at_most(3.5),
    ])
}

#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

impl Figures {
    fn add(&mut self, (time, cpu): (Duration, f64), bytes: u64) {
        self.rate.push((bytes >> 20) as f64 / time.as_secs_f64());
        self.cpu.push(cpu / (bytes as f64 / f64::from(1 << 30)));
    }
}

fn raw_transfer(site: &Site, from: &Path) -> Result<(Duration, f64), Failure> {
    let into = site.path("raw.out");
    let mut sender = site.worker("send", &[from.as_os_str()])?;
    let address = sender.hear("listening")?;
    let begun = Instant::now();
    let mut receiver = site.worker("receive", &[address.as_ref(), into.as_os_str()])?;
    let receiver_cpu = seconds(&receiver.hear("cpu")?)?;
    let time = begun.elapsed();
    let sender_cpu = seconds(&sender.hear("cpu")?)?;
    let _ = std::fs::remove_file(&into);
    Ok((time, sender_cpu + receiver_cpu))
}

/// From the start of the replica's process until the primary knows it durable.
fn our_transfer(site: &Site, data: &Path) -> Result<(Duration, f64), Failure> {
    let primary = site.primary(data)?;
    let watch = site.watch(&primary, "replica")?;
    let before = primary.cpu_seconds();
    let begun = Instant::now();
    let replica = site.replica("replica", primary.address())?;
    watch.wait_durable(PATIENCE)?;
    let time = begun.elapsed();
    let cpu = primary.cpu_seconds() - before + replica.cpu_seconds();
    replica.stop()?;
    // The next replica holds nothing; what the primary remembers of this one would make it done at once.
    site.forget(&primary, "bench", "replica")?;
    primary.stop()?;
    site.remove("replica")?;
    Ok((time, cpu))
}

/// Memory beyond mapped pages, while one replica catches up a large log and one never reads.
fn memory(plan: &Plan, site: &Site) -> Result<Vec<Row>, Failure> {
    let total = plan.amount(LARGE, 256 << 20);
    plan.progress.say("memory: making a large log");
    let data = site.path("large");
    make_log(&data.join("bench"), total)?;
    plan.progress.say("memory: a replica catches up, another never reads");
    let primary = site.primary(&data)?;
    let idle = primary.anonymous_memory();
    let runtime = runtime::for_commands()?;
    let _deaf = Deaf::connect(&runtime, site, primary.address())?;
    let watch = site.watch(&primary, "replica")?;
    let replica = site.replica("replica", primary.address())?;
    let (mut most_primary, mut most_replica) = (idle, 0);
    let mut begun = Instant::now();
    while !watch.is_durable()? && begun.elapsed() < PATIENCE {
        most_primary = most_primary.max(primary.anonymous_memory());
        most_replica = most_replica.max(replica.anonymous_memory());
        std::thread::sleep(Duration::from_millis(50));
    }
    begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        most_primary = most_primary.max(primary.anonymous_memory());
        std::thread::sleep(Duration::from_millis(50));
    }
    replica.stop()?;
    primary.stop()?;
    site.remove("replica")?;
    let size = total >> 20;
    let row = |name: String, bytes: u64| Row::new(name, "MiB", bytes as f64 / f64::from(1 << 20)).at_most(96.0);
    Ok(vec![
        row(format!("memory beyond mapped pages: primary with {size} MiB of log, idle"), idle),
        row("the same, most, with a replica that catches up and one that never reads".into(), most_primary),
        row(format!("memory beyond mapped pages: replica, most, while it catches up {size} MiB"), most_replica),
    ])
}

/// A replica that grants all the credit there is, and never reads.
struct Deaf {
    _client: Client,
    _channel: ReplicaEnd,
}

impl Deaf {
    fn connect(runtime: &Runtime, site: &Site, address: SocketAddr) -> Result<Self, Failure> {
        runtime.block_on(async {
            let client = site.connect("deaf", address).await?;
            let log = longshore_format::Name::new("bench").expect("a name");
            let header = SegmentHeader::decode(&client.describe(&log).await?.header)
                .map_err(|fault| Failure::internal(format!("the primary described its log wrongly: {fault}")))?;
            let start = header.chain.position;
            let holding = Holding {
                log: header.log,
                content: header.content,
                segment_size: header.size,
                accepted: header.chain.life.epoch,
                history: header.history,
                first: start,
                end: start,
                last_crc: header.chain.link,
                lost: None,
                applied: None,
            };
            let node = longshore_protocol::NodeId::new("deaf").expect("a name");
            let mut channel = client.follow(&log, Hello { node, offer: Offer::ours(), holding }).await?;
            // The welcome and the verdict are read, so that frames flow.
            for _ in 0..2 {
                let message = channel.receive().await.transpose()?;
                message.ok_or_else(|| Failure::internal("the primary ended the stream of the deaf replica"))?;
            }
            channel.send(ToUpstream::Credit { total: u64::MAX }).await?;
            Ok(Self { _client: client, _channel: channel })
        })
    }
}

fn seconds(text: &str) -> Result<f64, Failure> {
    text.parse().map_err(|_| Failure::internal(format!("a worker said {text:?} for its processor time")))
}
