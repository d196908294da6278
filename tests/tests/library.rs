//! The library end to end in one process: a primary, replicas and a cascade over mutual TLS on loopback.

#[path = "library/support.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use longshore::{Content, ErrorKind, Event, Lsn, Node, Primary, Replica};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, Wal};
use support::{Agent, World, append, copy_dir, durability, segments, until, within};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_follows_and_resumes_at_the_exact_position() -> Outcome {
    // F-084, F-104: nothing twice, no gap, across segments and restarts of either end.
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 300, 10_000, "replicas:1").await;
    replica.stop().await?;

    append(&primary, 300, 10_000, "local").await;
    let replica = world.follow("eu-west", &served).await;
    let end = append(&primary, 10, 100, "replicas:1").await;
    assert!(primary.end() <= end);

    until("every sealed segment is proved equal", || {
        let replica = &primary.status().replicas[0];
        replica.proved_equal_to.get() >= 5 << 20 && replica.proof_age.is_some()
    })
    .await;
    replica.stop().await?;
    served.stop().await?;
    assert_eq!(segments(&world.dir("primary"), "orders"), segments(&world.dir("eu-west"), "orders"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_serves_several_logs_to_several_replicas() -> Outcome {
    let world = World::new(&["eu-west", "us-east"]);
    let node = Node::primary(world.dir("primary"), &world.settings("primary"))?;
    let logs = ["orders", "users", "events"].map(|name| node.create_log(name, Content::Bytes).unwrap());
    let served = Agent::serve_node(&node).await;
    let replicas = [world.follow("eu-west", &served).await, world.follow("us-east", &served).await];
    for log in &logs {
        append(log, 50, 5_000, "regions:2@eu-west,us-east").await;
    }
    // A log that is made later is found by itself.
    let later = node.create_log("later", Content::Bytes)?;
    append(&later, 5, 100, "replicas:2").await;
    for replica in replicas {
        assert_eq!(replica.node.names().len(), 4);
        replica.stop().await?;
    }
    served.stop().await?;
    for log in ["orders", "users", "events", "later"] {
        for copy in ["eu-west", "us-east"] {
            assert_eq!(segments(&world.dir("primary"), log), segments(&world.dir(copy), log), "{log} in {copy}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_a_replica_counts_once_at_the_primary() -> Outcome {
    let world = World::new(&["eu-west", "ap-south"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let middle = world.follow("eu-west", &served).await;
    append(&primary, 10, 100, "replicas:1").await;
    let below = world.follow("ap-south", &middle).await;
    append(&primary, 10, 100, "replicas:2").await;
    append(&primary, 10, 100, "regions:2@eu-west,ap-south").await;

    // Only the one that is connected here has a slot here; the other one's is in the middle.
    let positions = primary.positions();
    assert_eq!(positions.replicas.len(), 2);
    let late = primary.append(&["more"])?.wait_blocking(durability("replicas:3"), Duration::from_millis(50));
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Unconfirmed);
    below.stop().await?;
    middle.stop().await?;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_stays_visible_with_its_lag() -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    let held = append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    until("it is seen to be gone", || !primary.status().replicas[0].connected).await;
    append(&primary, 5, 1000, "local").await;

    let away = |primary: &Primary| {
        let replica = primary.status().replicas.remove(0);
        assert_eq!(replica.name.as_str(), "eu-west");
        assert!(!replica.connected);
        assert_eq!(replica.durable, held);
        assert!(5000 <= replica.durable_lag.bytes, "{:?}", replica.durable_lag);
        assert!(replica.seen_ago.is_some());
        replica.durable_lag.seconds
    };
    away(&primary);
    until("its lag in seconds grows", || 0.3 < away(&primary)).await;
    served.stop().await?;
    drop(primary);

    // The slot survives the primary's own restart, and so does the knowledge of how old it is.
    let primary = world.open("primary", "orders");
    assert!(0.3 < away(&primary));
    primary.close()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_waits_at_every_level_and_says_what_is_unconfirmed() -> Outcome {
    // F-085: a timeout is never a false success, and never means "not written".
    let world = World::new(&["eu-west", "us-east"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    let ticket = primary.append(&["one"])?;
    for reached in ["local/received", "local", "replicas:1/received", "replicas:1", "regions:1", "regions:1@eu-west"] {
        assert!(ticket.position() <= within(ticket.wait(durability(reached))).await?, "{reached}");
    }
    for missing in ["replicas:2", "regions:2", "regions:1@us-east", "replicas:1/applied", "local/applied"] {
        let error = ticket.wait_blocking(durability(missing), Duration::from_millis(30)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unconfirmed, "{missing}");
        assert!(error.to_string().contains("do not append again"), "{error}");
    }
    // Waiting again for the position, when there are enough, succeeds without appending again.
    let second = world.follow("us-east", &served).await;
    within(ticket.wait(durability("regions:2@eu-west,us-east"))).await?;

    // A position that was never reached is not waited for.
    let beyond = Lsn::new(primary.end().get() + 8);
    assert_eq!(primary.ticket(beyond).wait(durability("local")).await.unwrap_err().kind(), ErrorKind::Unreachable);
    replica.stop().await?;
    second.stop().await?;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_replica_volume_is_not_taken_for_a_new_replica() -> Outcome {
    // F-049
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;

    std::fs::remove_dir_all(world.dir("eu-west").join("orders"))?;
    // What a mount point looks like when nothing is mounted.
    std::fs::create_dir(world.dir("eu-west").join("orders"))?;
    let refused = world.follow("eu-west", &served).await.ended().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Preflight);
    assert!(refused.to_string().contains("is the volume mounted?"), "{refused}");

    let mut settings = world.replica_settings("eu-west", &served);
    settings.replica.reseed = true;
    let replica = world.follow_with(&world.dir("eu-west"), &settings).await;
    append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    served.stop().await?;
    assert_eq!(segments(&world.dir("primary"), "orders"), segments(&world.dir("eu-west"), "orders"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn f_070_a_log_whose_creation_was_killed_is_made_anew() -> Outcome {
    let world = World::new(&["eu-west"]);
    for node in ["primary", "eu-west"] {
        let place = world.dir(node).join("orders");
        std::fs::create_dir_all(&place)?;
        let directory = Arc::new(FsDirectory::open(&place)?);
        Wal::create(directory, &SystemEnvironment, &CreateSpec::default())?;
        // Killed before that.
        std::fs::rename(place.join("control"), place.join("control.tmp"))?;
    }
    let primary = world.create("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_never_created_in_place_of_a_lost_one() -> Outcome {
    // F-049, F-052
    let world = World::new(&[]);
    let settings = world.settings("primary");
    let error = Primary::open(world.dir("primary"), "orders", &settings).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("is the volume mounted?"), "{error}");

    let primary = world.create("primary", "orders");
    let again = Primary::create(world.dir("primary"), "orders", Content::Bytes, &settings).err().unwrap();
    assert_eq!(again.kind(), ErrorKind::Busy);
    let held = Primary::open(world.dir("primary"), "orders", &settings).err().unwrap();
    assert_eq!(held.kind(), ErrorKind::Busy);
    primary.close()?;
    world.open("primary", "orders").close()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_of_the_same_name_has_diverged() -> Outcome {
    let world = World::new(&["eu-west"]);
    let first = world.create("primary", "orders");
    let served = Agent::serve(&first).await;
    let replica = world.follow("eu-west", &served).await;
    append(&first, 5, 100, "replicas:1").await;
    replica.stop().await?;
    served.stop().await?;

    let before = segments(&world.dir("eu-west"), "orders");
    let other = world.create("other", "orders");
    append(&other, 5, 100, "local").await;
    let served = Agent::serve(&other).await;
    let refused = world.follow("eu-west", &served).await.ended().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Diverged, "{refused}");
    assert!(refused.to_string().contains("nothing was changed"), "{refused}");
    served.stop().await?;
    assert_eq!(before, segments(&world.dir("eu-west"), "orders"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_differ_are_refused_by_the_first_position_that_does() -> Outcome {
    // F-097: one epoch, one incarnation, other bytes. Nothing changes, both ends name the position.
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    append(&primary, 20, 100, "local").await;
    primary.close()?;
    drop(primary);
    copy_dir(&world.dir("primary"), &world.dir("restored"));

    let primary = world.open("primary", "orders");
    let fork = primary.end();
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    served.stop().await?;

    let restored = world.open("restored", "orders");
    assert_eq!(restored.end(), fork);
    append(&restored, 500, 100, "local").await;
    let served = Agent::serve(&restored).await;
    let events = restored.events();
    let refused = world.follow("eu-west", &served).await.ended().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Diverged, "{refused}");
    assert!(refused.to_string().contains(&fork.to_string()), "{refused} should name {fork}");
    let mut named = false;
    until("the upstream names it, too", || {
        while let Some(event) = events.take() {
            named |= matches!(event, Event::Diverged { position, .. } if position == fork);
        }
        named
    })
    .await;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_primary_hears_that_its_replica_holds_more() -> Outcome {
    // F-039, F-095: the same history, only shorter. The replica waits, and whoever writes is told before it appends.
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    append(&primary, 20, 100, "local").await;
    primary.close()?;
    drop(primary);
    copy_dir(&world.dir("primary"), &world.dir("restored"));

    let primary = world.open("primary", "orders");
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    let end = append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    served.stop().await?;

    let restored = world.open("restored", "orders");
    let served = Agent::serve(&restored).await;
    let events = restored.events();
    let replica = world.follow("eu-west", &served).await;
    until("the primary is told", || {
        std::iter::from_fn(|| events.take()).any(|event| {
            matches!(event, Event::BehindReplica { durable, replica, holds, .. }
                if durable == restored.durable() && replica.as_str() == "eu-west" && holds == end)
        })
    })
    .await;
    replica.stop().await?;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_beyond_the_cap_loses_its_place_by_name() -> Outcome {
    // F-093, F-094
    let world = World::new(&["eu-west", "us-east"]);
    let mut settings = world.settings("primary");
    settings.retention.slot_cap = Some(longshore::settings::ByteSize::mib(3));
    settings.retention.keep_size = Some(longshore::settings::ByteSize::mib(1));
    let primary = Primary::create(world.dir("primary"), "orders", Content::Bytes, &settings)?;
    let events = primary.events();
    let served = Agent::serve(&primary).await;
    let replica = world.follow("eu-west", &served).await;
    let held = append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    let headroom = primary.status().replicas[0].headroom_bytes;
    assert!(headroom.is_some_and(|bytes| 0 < bytes && bytes <= 3 << 20), "{headroom:?}");

    append(&primary, 8 * 100, 10_000, "local").await;
    let mut lost = None;
    until("the replica is dropped", || {
        while let Some(event) = events.take() {
            if let Event::ReplicaLost { replica, position, .. } = event {
                lost = Some((replica.to_string(), position));
            }
        }
        lost.is_some()
    })
    .await;
    assert_eq!(lost.unwrap(), ("eu-west".to_owned(), held));
    assert!(primary.status().replicas[0].lost);
    until("the log is trimmed", || Lsn::new(4096) < primary.first()).await;

    let refused = world.follow("eu-west", &served).await.ended().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooOld, "{refused}");
    // A new replica begins where the log does.
    let new = world.follow("us-east", &served).await;
    append(&primary, 5, 100, "regions:1@us-east").await;
    new.stop().await?;
    served.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_replica_is_cut_off_and_comes_back_when_it_is_granted_again() -> Outcome {
    let world = World::new(&["eu-west"]);
    let primary = world.create("primary", "orders");
    let server = primary.listen().await?;
    let (address, access) = (server.local_addr(), server.access());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async { drop(stopped.await) }));
    let mut settings = world.settings("eu-west");
    settings.replica.upstreams = vec![format!("primary@{address}")];
    let replica = Agent::replica(Replica::open(world.dir("eu-west"), &settings)?).await;
    append(&primary, 5, 100, "replicas:1").await;

    world.grant("[primary]\nlogs.\"*\" = [\"admin\"]\n");
    access.reload()?;
    until("its stream ends", || !primary.status().replicas[0].connected).await;
    world.grant("[eu-west]\nlogs.\"*\" = [\"replicate\"]\n");
    access.reload()?;
    append(&primary, 5, 100, "replicas:1").await;
    replica.stop().await?;
    drop(stop);
    within(running).await??;
    Ok(())
}

#[test]
fn a_primary_by_itself_needs_no_runtime() -> Outcome {
    let world = World::new(&[]);
    let primary = world.create("primary", "orders");
    let mut transaction = primary.begin()?;
    transaction.append("one")?;
    transaction.append("two")?;
    let ticket = transaction.finish()?;
    drop(transaction);
    drop(primary.begin()?);
    let mark = primary.mark("noon")?;
    let last = primary.append(&["three"])?;
    assert!(ticket.position() < mark.position() && mark.position() < last.position());
    last.confirm_blocking()?;

    let users =
        primary.subscribe(primary.first())?.into_iter().map(Result::unwrap).filter(|record| record.kind.is_user());
    let payloads: Vec<_> = users.take(3).map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect();
    assert_eq!(payloads, ["one", "two", "three"]);

    let twice = primary.append_records(&[longshore::RecordDraft::user(b"four")], Some(last.start())).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Preflight, "{twice}");
    assert_eq!(primary.mark("No Noon").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(primary.append(&[""; 0]).unwrap_err().kind(), ErrorKind::Invalid);
    primary.close()?;
    assert!(primary.append(&["late"]).is_err());
    Ok(())
}
