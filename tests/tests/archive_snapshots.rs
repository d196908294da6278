//! Databases that come back from snapshots in an archive, and replicas that live from it.

#[path = "archive_snapshots/continued.rs"]
mod continued;
#[path = "archive_snapshots/stage.rs"]
mod stage;

use std::path::Path;
use std::time::Instant;

use longshore_testkit::process::{PATIENCE, Running, longshore, must, run_with, until};
use serde_json::Value;
use stage::{Stage, agent, newest};

const SNAPSHOTS: [&str; 4] = ["--archive-snapshot-after", "1MiB", "--archive-keep-snapshots", "1"];

#[test]
fn a_database_comes_back_from_a_snapshot_when_what_came_before_it_is_forgotten() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write_until_forgotten();
    stage.ask(&["mark", "here", "--log", "app"]);
    stage.write(30);
    stage.end_primary();
    std::fs::remove_dir_all(stage.site.at("captured")).unwrap();
    let (store, into) = (stage.store(), stage.site.at("restored.db"));
    let replay = |to: &str, into: &str, more: &[&str]| {
        let into = format!("sqlite:{into}");
        let args = ["replay", "--from", &store, "--log", "app", "--to", to, "--into", &into];
        run_with(longshore([&args[..], more].concat()), b"")
    };
    let planned = replay("latest", &into, &["--plan"]);
    assert!(String::from_utf8_lossy(&planned.stdout).contains("snapshot  at "), "{planned:?}");
    assert!(!Path::new(&into).exists());
    let done = replay("latest", &into, &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    stage.assert_equal(&into);
    // What was written before the mark, and nothing after it.
    let marked = stage.site.at("marked.db");
    let done = replay("mark:here", &marked, &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(newest(&marked), Some(stage.rows - 30));
    // Before the oldest snapshot nothing can be had, and what can be is said.
    let early = replay("lsn:8192", &stage.site.at("early.db"), &[]);
    assert_eq!(early.status.code(), Some(4), "{}", String::from_utf8_lossy(&early.stderr));
    let drilled = longshore(["drill", "--from", &store, "--log", "app", "--scratch", &stage.site.at(".")]);
    must(drilled, b"");
}

#[test]
fn a_new_replica_begins_with_an_archived_snapshot_and_one_that_fell_behind_goes_on_from_the_archive() {
    let little = ["--retention-slot-cap", "2MiB", "--retention-keep-size", "1MiB", "--retention-interval", "100ms"];
    let mut stage = Stage::start(&[&SNAPSHOTS[..2], &["--archive-keep-snapshots", "3"], &little].concat());
    stage.write_until_forgotten();
    let upstream = ["--upstream", &stage.server.clone()];
    let mut replica = stage.replica("eu-west", &upstream);
    replica.line_with("fetching a snapshot");
    replica.listening();
    stage.assert_follows("eu-west");
    assert!(replica.terminate().success());

    // While it is away the primary forgets what it needs; the archive does not.
    let end = stage.listed().unwrap()["end"].as_u64().unwrap();
    until("the primary to forget", Instant::now() + PATIENCE, || {
        stage.write(50);
        let status: Value = serde_json::from_str(&stage.ask(&["status", "--json"])).unwrap();
        let log = status["logs"].as_array()?.iter().find(|log| log["name"] == "app")?.clone();
        (end < log["first"].as_u64()?).then_some(())
    });
    let mut replica = stage.replica("eu-west", &upstream);
    replica.line_with("caught up from the archive");
    stage.assert_follows("eu-west");
    stage.write(20);
    stage.assert_follows("eu-west");
    assert!(!replica.said().contains("fetching a snapshot"), "nothing began anew: {}", replica.said());
    assert!(replica.terminate().success());
    stage.end_primary();
    must(longshore(["verify", "--data-dir", &stage.site.at("eu-west")]), b"");
}

#[test]
fn a_replica_without_an_upstream_follows_the_archive_and_writes_nothing_there() {
    let mut stage = Stage::start(&SNAPSHOTS);
    stage.write_until_forgotten();
    let mut replica = stage.replica("us-east", &[]);
    replica.listening();
    for _ in 0..3 {
        stage.write(300);
        stage.assert_follows("us-east");
    }
    // Killed, it goes on where it was.
    replica.kill();
    stage.write(300);
    let mut replica = stage.replica("us-east", &[]);
    replica.listening();
    stage.assert_follows("us-east");
    stage.end_primary();
    let updated = stage.listed().unwrap()["updated"].clone();
    assert!(replica.terminate().success());
    assert_eq!(stage.listed().unwrap()["updated"], updated);
}

/// A replica archives to its own region's store, with snapshots of its own database, and its own replicas get them, too.
#[test]
fn a_replica_archives_snapshots_of_its_own_and_gives_them_to_its_replicas() {
    let little = ["--retention-slot-cap", "2MiB", "--retention-keep-size", "1MiB", "--retention-interval", "100ms"];
    let mut stage = Stage::start(&[&SNAPSHOTS[..], &little].concat());
    std::fs::create_dir(stage.site.at("regional")).unwrap();
    let (regional, data, copy) =
        (format!("file://{}", stage.site.at("regional")), stage.site.at("eu-west"), stage.copy("eu-west"));
    let (apply, server) = (format!("app=sqlite:{copy}"), stage.server.clone());
    let common = ["replica", "--data-dir", &data, "--apply", &apply, "--upstream", &server, "--replica-logs", "app"];
    let archive = ["--archive", &regional, "--archive-every", "20ms"];
    let mut replica =
        Running::start(agent(&stage.site, "eu-west", &[&common[..], &archive, &SNAPSHOTS, &little[2..]].concat()));
    let relay = format!("eu-west@{}", replica.listening());
    let listed = |store: &str| {
        let listed = longshore(["archive", "ls", "--from", store, "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&listed.stdout).ok().map(|listed| listed["logs"][0].clone())
    };
    until("the replica's archive to begin with a snapshot", Instant::now() + PATIENCE, || {
        stage.write(50);
        let listed = listed(&regional)?;
        (listed["first"].as_u64()? > 1 << 20 && !listed["snapshots"].as_array()?.is_empty()).then_some(())
    });
    stage.assert_follows("eu-west");

    // A replica of the replica, whose log has lost its beginning.
    until("the replica to forget", Instant::now() + PATIENCE, || {
        stage.write(50);
        let common = ["--server", &relay, "--tls-dir", stage.site.tls(), "--identity", "primary"];
        let status: Value =
            serde_json::from_str(&must(longshore([&["status", "--json"], &common[..]].concat()), b"")).unwrap();
        let log = status["logs"].as_array()?.iter().find(|log| log["name"] == "app")?.clone();
        (4096 < log["first"].as_u64()?).then_some(())
    });
    let (data, copy) = (stage.site.at("us-east"), stage.copy("us-east"));
    let apply = format!("app=sqlite:{copy}");
    let common = ["replica", "--data-dir", &data, "--apply", &apply, "--upstream", &relay, "--replica-logs", "app"];
    let mut second = Running::start(agent(&stage.site, "us-east", &common));
    second.line_with("fetching a snapshot");
    second.listening();
    stage.write(20);
    stage.assert_follows("us-east");
    assert!(second.terminate().success());
    assert!(replica.terminate().success());
    stage.end_primary();

    // Both regions are gone: the replica's store is enough.
    let into = stage.site.at("restored.db");
    let to = format!("sqlite:{into}");
    must(longshore(["replay", "--from", &regional, "--log", "app", "--into", &to]), b"");
    stage.assert_equal(&into);
}

/// F-093 for an archive: told to, a log goes on without a store that cannot be reached, and the store behind a gap.
#[test]
fn f_093_a_log_that_goes_on_without_its_archive_leaves_a_gap_that_is_named_and_a_new_snapshot() {
    let little = ["--retention-slot-cap", "2MiB", "--retention-keep-size", "1MiB", "--retention-interval", "100ms"];
    let drop = ["--retention-archive-at-cap", "drop"];
    let mut stage = Stage::start(&[&little[..], &drop].concat());
    stage.write(100);
    let end = until("the beginning to be archived", Instant::now() + PATIENCE, || {
        let listed = stage.listed()?;
        (0 < listed["tail_objects"].as_u64()?).then(|| listed["end"].as_u64()).flatten()
    });
    // The store is gone for a while.
    std::fs::rename(stage.site.at("store"), stage.site.at("away")).unwrap();
    until("the primary to forget what it did not archive", Instant::now() + PATIENCE, || {
        stage.write(50);
        let status: Value = serde_json::from_str(&stage.ask(&["status", "--json"])).unwrap();
        let log = status["logs"].as_array()?.iter().find(|log| log["name"] == "app")?.clone();
        (end + (2 << 20) < log["first"].as_u64()?).then_some(())
    });
    // What the agent may have begun in the meantime is none of the store.
    let _none = std::fs::remove_dir_all(stage.site.at("store"));
    std::fs::rename(stage.site.at("away"), stage.site.at("store")).unwrap();
    until("a gap and a snapshot behind it", Instant::now() + PATIENCE, || {
        let listed = stage.listed()?;
        (listed["gaps"].as_array()?.len() == 1 && !listed["snapshots"].as_array()?.is_empty()).then_some(())
    });
    stage.write(20);
    stage.end_primary();
    let into = stage.site.at("restored.db");
    let to = format!("sqlite:{into}");
    must(longshore(["replay", "--from", &stage.store(), "--log", "app", "--into", &to]), b"");
    stage.assert_equal(&into);
    let verified = must(longshore(["archive", "verify", "--from", &stage.store(), "--log", "app"]), b"");
    assert!(verified.contains("gap") && verified.contains("intact"), "{verified}");
    // A mark is looked for behind the gap alone, and whoever asks for one is told so.
    let other = format!("sqlite:{}", stage.site.at("marked.db"));
    let asked = ["replay", "--from", &stage.store(), "--log", "app", "--to", "mark:monday", "--into", &other];
    let told = run_with(longshore(asked), b"");
    let told = String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("behind the gap from") && told.contains("no mark is"), "{told}");
}

/// F-121 for what a restore begins with: an older snapshot, and more of the log, do as well.
#[test]
fn f_121_a_snapshot_that_is_damaged_is_left_out_for_an_older_one() {
    let mut stage = Stage::start(&SNAPSHOTS[..2]);
    until("three snapshots", Instant::now() + PATIENCE, || {
        stage.write(50);
        (2 < stage.listed()?["snapshots"].as_array()?.len()).then_some(())
    });
    stage.end_primary();
    let newest = stage.listed().unwrap()["snapshots"].as_array().unwrap().last().unwrap().as_u64().unwrap();
    let place = Path::new(&stage.site.at("store")).join("app/snapshots");
    let epoch = std::fs::read_dir(place).unwrap().next().unwrap().unwrap().path();
    let piece = std::fs::read_dir(epoch.join(format!("{newest:020}"))).unwrap().map(|entry| entry.unwrap().path());
    let piece =
        piece.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("000000")).unwrap();
    std::fs::write(&piece, b"not what it was").unwrap();
    let into = stage.site.at("restored.db");
    let to = format!("sqlite:{into}");
    let replay = longshore(["replay", "--from", &stage.store(), "--log", "app", "--into", &to]);
    let done = run_with(replay, b"");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.contains(&format!("the snapshot at {newest} is left out")), "{told}");
    stage.assert_equal(&into);
}

/// F-093 for an archive: what was written while the agent was down is longer than the cap, and none of it is trimmed before the
/// store has it.
#[test]
fn f_093_a_backlog_longer_than_the_cap_is_archived_without_a_gap() {
    let little = ["--retention-slot-cap", "4MiB", "--retention-keep-size", "1MiB", "--retention-interval", "20ms"];
    let mut stage = Stage::start(&little);
    stage.write(100);
    stage.end_primary();
    let last = stage.listed().unwrap()["end"].as_u64().unwrap();
    // What differs is found by comparing: one run of all of it.
    stage.db.execute_batch("CREATE TABLE big (body BLOB)").unwrap();
    for _ in 0..60 {
        stage.db.execute("INSERT INTO big VALUES (randomblob(200000))", []).unwrap();
    }
    let (data, app, store) = (stage.site.at("captured"), stage.site.at("app.db"), stage.store());
    let common = ["primary", "--data-dir", &data, "--sqlite", &app, "--log", "app", "--archive", &store];
    let rest = ["--archive-every", "20ms", "--log-segment-size", "1MiB"];
    let mut primary = Running::start(agent(&stage.site, "primary", &[&common[..], &rest, &little].concat()));
    primary.listening();
    stage.primary = Some(primary);
    stage.write(20);
    until("the backlog to be archived", Instant::now() + PATIENCE, || {
        let listed = stage.listed()?;
        assert!(listed["gaps"].as_array()?.is_empty(), "{listed}");
        (last + (10 << 20) < listed["end"].as_u64()?).then_some(())
    });
    stage.end_primary();
    let into = stage.site.at("restored.db");
    let to = format!("sqlite:{into}");
    must(longshore(["replay", "--from", &stage.store(), "--log", "app", "--into", &to]), b"");
    stage.assert_equal(&into);
}
