//! A node comes back with a tail: wherever the fork is, what lies behind it is kept, and the log follows.

#[path = "library/support.rs"]
#[expect(dead_code, reason = "each test file uses its part")]
mod support;

use std::error::Error;
use std::sync::Arc;

use longshore::wal::{ReadLog, tails};
use longshore::{Event, Lsn, Primary, wal};
use longshore_format::SegmentSize;
use longshore_storage::{Directory, FsDirectory};
use support::{Agent, World, append, copy_dir, durability, segments, until, within};

type Outcome = Result<(), Box<dyn Error>>;

/// How the log of the primary stands when its copy is made, and how it goes on.
struct Case {
    name: &'static str,
    /// Bytes that are left of the segment that the log ends in, if that matters.
    left: Option<u64>,
    before: usize,
    after: usize,
    /// The length of the records after.
    len: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn f_117_f_118_a_replica_rejoins_wherever_the_fork_is() -> Outcome {
    for case in [
        Case { name: "the first position", left: None, before: 0, after: 5, len: 100 },
        Case { name: "inside a segment", left: None, before: 20, after: 5, len: 100 },
        Case { name: "a tail of several segments", left: None, before: 20, after: 4000, len: 1000 },
        // The new life takes the place that is kept for such records; the dead branch had gone on in the next segment.
        Case { name: "where a segment ends", left: Some(2664), before: 5, after: 5, len: 100 },
    ] {
        rejoins(&case).await.map_err(|error| format!("{}: {error}", case.name))?;
    }
    Ok(())
}

async fn rejoins(case: &Case) -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    if 0 < case.before {
        append(&primary, case.before, 100, "replicas:1").await;
    }
    if let Some(left) = case.left {
        fill(&primary, left).await;
    }
    let fork = primary.end();
    until("the replica has all of it", || replica.node.status().logs.first().is_some_and(|log| log.durable == fork))
        .await;
    // While it is open: whoever opens the copy begins another life.
    copy_dir(&world.dir("primary"), &world.dir("old"));
    append(&primary, case.after, case.len, "replicas:1").await;
    let dead = primary.end();
    replica.stop().await?;
    served.stop().await?;
    drop(primary);

    let primary = world.open("old", "orders");
    append(&primary, 3, 300, "local").await;
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    let events = replica.node.events();
    append(&primary, 3, 300, "replicas:1").await;
    let mut aside = None;
    until("it says what it set aside", || {
        while let Some(event) = events.take() {
            if let Event::SetAside { from, to, place, .. } = event {
                aside = Some((from, to, place));
            }
        }
        aside.is_some()
    })
    .await;
    let status = replica.node.status().logs.remove(0);
    replica.stop().await?;
    served.stop().await?;
    assert_eq!(segments(&world.dir("old"), "orders"), segments(&world.dir("eu-west"), "orders"), "{}", case.name);

    let (from, to, place) = aside.unwrap();
    assert_eq!((from, to), (fork, dead), "{}", case.name);
    assert_eq!((status.tails.len(), &status.tails[0].place, status.tails[0].to), (1, &place, dead));
    let log: Arc<dyn Directory> = Arc::new(FsDirectory::open(world.dir("eu-west").join("orders"))?);
    let branch = ReadLog::open(tails::find(&log, &place)?.branch(&log)?)?;
    assert_eq!(
        users(&branch, branch.first())?,
        users(&ReadLog::open(Arc::new(FsDirectory::open(world.dir("primary").join("orders"))?))?, branch.first())?
    );
    assert_eq!(users(&branch, from)?, case.after);
    Ok(())
}

/// Appends until so many bytes are left of the segment.
async fn fill(primary: &Primary, left: u64) {
    let size = SegmentSize::new(1 << 20).unwrap();
    loop {
        let room = size.body_end_offset() - size.offset_in(primary.end()) - left;
        let len = (room - 32).min(100_000);
        // What remains must hold a record of its own.
        let len = if room - 32 - len < 64 && len < room - 32 { len - 64 } else { len };
        let ticket = primary.append(&[vec![b'x'; len as usize]]).unwrap();
        within(ticket.wait(durability("replicas:1"))).await.unwrap();
        if size.body_end_offset() - size.offset_in(primary.end()) == left {
            return;
        }
    }
}

fn users(log: &ReadLog, from: Lsn) -> wal::Result<usize> {
    let (mut reader, mut count) = (log.reader(from)?, 0);
    while let Some(record) = reader.next()? {
        count += usize::from(record.kind.is_user());
    }
    Ok(count)
}
