//! The agents as processes: they serve, say where, follow, and end as asked.

mod common;

use std::path::Path;

use common::{Agent, eventually, run, run_with};
use tempfile::TempDir;

const PRIMARY: &str = "--tls-dir tls --identity primary";

/// A directory with certificates and a log `orders` under `p`.
fn site() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    run(dir.path(), "init --data-dir p --log orders --segment-size 1MiB").ok();
    dir
}

fn primary(dir: &Path) -> Agent {
    Agent::start(dir, &format!("primary --data-dir p {PRIMARY}"))
}

fn replica(dir: &Path, upstream: &Agent) -> Agent {
    let upstream = &upstream.address;
    let follow = format!("replica --data-dir r --upstream primary@{upstream} --apply orders=jsonl:out.jsonl");
    Agent::start(dir, &format!("{follow} --tls-dir tls --identity eu-west --replica-backoff-max 200ms"))
}

#[test]
fn a_replica_follows_applies_and_is_proved_equal() {
    let dir = site();
    let (p, at) = (primary(dir.path()), dir.path());
    let r = replica(at, &p);
    let server = format!("--server primary@{} {PRIMARY}", p.address);
    let lines = "a record of some length, repeated until segments are full\n".repeat(30_000);
    let append = format!("append {server} --log orders --wait replicas:1/applied --wait-timeout 60s");
    let position = run_with(at, &append, lines.as_bytes()).ok();
    let status = run(at, &format!("status {server} --json")).json();
    let log = &status["logs"][0];
    assert_eq!(log["end"].to_string(), position.trim());
    let replica = &log["replicas"][0];
    assert_eq!((replica["name"].as_str(), replica["connected"].as_bool()), (Some("eu-west"), Some(true)));
    assert_eq!(replica["applied"], log["end"]);
    assert_eq!(replica["applied_lag"]["bytes"], 0);

    let verify = format!("verify --data-dir r --deep --against primary@{} {PRIMARY}", p.address);
    let verdict = run(at, &format!("{verify} --json")).json();
    assert_eq!(verdict["against"]["equal_to"], log["end"]);
    assert!(verdict["against"]["equal_segments"].as_u64().unwrap() >= 1);

    assert!(r.get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(p.get("/livez").ends_with("ok\n"));
    eventually("metrics with the replica's lag", || {
        p.get("/metrics").contains("longshore_replica_lag_bytes{log=\"orders\",replica=\"eu-west\"")
    });
    assert_eq!(r.terminate(), 0);
    assert_eq!(p.terminate(), 0);
    assert_eq!(std::fs::read_to_string(at.join("out.jsonl")).unwrap().lines().count(), 30_000);
}

#[test]
fn an_append_over_the_network_waits_while_the_log_is_full() {
    let dir = site();
    // Small segments, of which few are ready: what is on stdin comes faster than they are filled.
    let p = primary(dir.path());
    let append = format!("append --server primary@{} {PRIMARY} --log orders --wait-timeout 60s", p.address);
    let lines = format!("{}\n", "x".repeat(1000)).repeat(16_000);
    let end: u64 = run_with(dir.path(), &append, lines.as_bytes()).ok().trim().parse().unwrap();
    assert!(16_000_000 < end, "{end}");
    assert_eq!(p.terminate(), 0);
}

#[test]
fn what_no_sink_could_take_is_refused_over_the_network_too() {
    let dir = site();
    let at = dir.path();
    run(at, "init --data-dir p --log statements --content sql").ok();
    run(at, "init --data-dir p --log pages --content sqlite-pages").ok();
    let p = primary(at);
    let append = |log: &str| format!("append --server primary@{} {PRIMARY} --log {log}", p.address);
    assert!(run_with(at, &append("statements"), b"no SQL record\n").fails(2).contains("SQL"));
    assert!(run_with(at, &append("pages"), b"no page\n").fails(2).contains("--sqlite"));
    for log in ["statements", "pages"] {
        assert_eq!(run(at, &format!("read --data-dir p --log {log}")).ok(), "", "nothing was appended to {log}");
    }
    run_with(at, &append("orders"), b"anything\n").ok();
    assert_eq!(p.terminate(), 0);
}

#[test]
fn a_replica_that_is_away_stays_in_the_status_until_it_is_forgotten() {
    let dir = site();
    let (p, at) = (primary(dir.path()), dir.path());
    let r = replica(at, &p);
    let server = format!("--server primary@{} {PRIMARY}", p.address);
    let append = format!("append {server} --log orders --wait replicas:1");
    run_with(at, &append, b"one\n").ok();
    r.terminate();
    run_with(at, &format!("append {server} --log orders"), b"two\n").ok();
    let away = || {
        let status = run(at, &format!("status {server} --json")).json();
        status["logs"][0]["replicas"][0].clone()
    };
    eventually("the replica is away", || away()["connected"] == false);
    assert!(away()["durable_lag"]["bytes"].as_u64().unwrap() > 0);
    let text = run(at, &format!("status {server}")).ok();
    assert!(text.contains("eu-west") && text.contains("away"), "{text}");

    let forget = format!("forget {server} --log orders --replica eu-west");
    assert!(run(at, &format!("{forget} --plan")).ok().starts_with("would forget"));
    assert_eq!(away()["name"], "eu-west");
    assert!(run(at, &forget).ok().starts_with("forgot"));
    assert_eq!(away(), serde_json::Value::Null);
    run(at, &forget).fails(3);
}

#[test]
fn a_wait_that_cannot_be_had_ends_with_12_and_the_record_is_there() {
    let dir = site();
    let p = primary(dir.path());
    let server = format!("--server {} {PRIMARY}", p.address);
    let append = format!("append {server} --log orders --wait replicas:1 --wait-timeout 200ms");
    run_with(dir.path(), &append, b"alone\n").fails(12);
    assert_eq!(run(dir.path(), &format!("read {server} --log orders")).ok(), "alone\n");
}

/// F-124
#[test]
fn who_may_not_is_told_what_to_have_granted() {
    let dir = site();
    let (p, at) = (primary(dir.path()), dir.path());
    let stranger = format!("--server {} --tls-dir tls --identity eu-west", p.address);
    let told = run_with(at, &format!("append {stranger} --log orders"), b"x\n").fails(13);
    assert!(told.contains("grant") || told.contains("append"), "{told}");
    run(at, "certs other --name primary=admin").ok();
    run(at, &format!("status --server {} --tls-dir other --identity primary", p.address)).fails(13);
    run(at, &format!("status --server eu-west@{} {PRIMARY}", p.address)).fails(13);
    run(at, "status --server 127.0.0.1:1 --tls-dir tls --identity primary").fails(11);
    run(at, &format!("status --server {} ", p.address)).fails(2);
}

#[test]
fn a_lost_volume_is_not_a_new_replica() {
    let dir = site();
    let (p, at) = (primary(dir.path()), dir.path());
    let r = replica(at, &p);
    let server = format!("--server primary@{} {PRIMARY}", p.address);
    run_with(at, &format!("append {server} --log orders --wait replicas:1"), b"one\n").ok();
    r.terminate();
    std::fs::remove_dir_all(at.join("r")).unwrap();
    let follow = format!(
        "replica --data-dir r --upstream primary@{} --tls-dir tls --identity eu-west --listen 127.0.0.1:0 \
         --http 127.0.0.1:0",
        p.address
    );
    // F-049
    run(at, &format!("primary --data-dir nowhere --listen 127.0.0.1:0 --http 127.0.0.1:0 {PRIMARY}")).fails(3);
    assert!(!at.join("nowhere").exists());
    let told = run(at, &follow).fails(8);
    assert!(told.contains("is the volume mounted"), "{told}");
    assert!(!at.join("r/orders").exists());
    let r = Agent::start(at, &follow.replace("--listen 127.0.0.1:0 --http 127.0.0.1:0", "--reseed"));
    run_with(at, &format!("append {server} --log orders --wait replicas:1"), b"two\n").ok();
    assert_eq!(r.terminate(), 0);
    assert_eq!(run(at, "read --data-dir r --log orders").ok(), "one\ntwo\n");
}

/// F-078
#[test]
fn sigterm_ends_an_agent_with_0_and_sighup_does_not() {
    let dir = site();
    let mut p = primary(dir.path());
    p.signal("-HUP");
    let server = format!("--server {} {PRIMARY}", p.address);
    run_with(dir.path(), &format!("append {server} --log orders"), b"after the signal\n").ok();
    assert!(p.child.try_wait().unwrap().is_none());
    assert_eq!(p.terminate(), 0);
    assert_eq!(run(dir.path(), "read --data-dir p --log orders").ok(), "after the signal\n");
}

#[test]
fn logs_are_created_marked_and_read_through_an_agent() {
    let dir = site();
    let (p, at) = (primary(dir.path()), dir.path());
    let server = format!("--server {} {PRIMARY}", p.address);
    run(at, &format!("init {server} --log audit --segment-size 1MiB")).ok();
    run(at, &format!("init {server} --log audit")).fails(7);
    run_with(at, &format!("append {server} --log audit"), b"a\nb\n").ok();
    run(at, &format!("mark here {server} --log audit")).ok();
    let end = run_with(at, &format!("append {server} --log audit"), b"c\n").ok();
    assert_eq!(run(at, &format!("read {server} --log audit --end mark:here")).ok(), "a\nb\n");
    assert_eq!(run(at, &format!("read {server} --log audit --start mark:here --end {end}")).ok(), "c\n");
    let expect = format!("append {server} --log audit --expect 4096");
    run_with(at, &expect, b"d\n").fails(8);
}

#[test]
fn a_taken_port_is_found_out_before_anything_is_made() {
    let dir = site();
    let (at, held) = (dir.path(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let taken = held.local_addr().unwrap();
    for (flags, flag) in [
        (format!("--listen {taken} --http 127.0.0.1:0"), "--listen"),
        (format!("--listen 127.0.0.1:0 --http {taken}"), "--http"),
    ] {
        let told = run(at, &format!("replica --data-dir new --upstream h:1 {PRIMARY} {flags}")).fails(7);
        assert!(told.contains(&taken.to_string()) && told.contains(flag), "{told}");
        assert!(!at.join("new").exists());
    }
}

#[test]
fn what_keeps_an_agent_from_serving_is_found_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let database = |name: &str, mode: &str| {
        let app = rusqlite::Connection::open(at.join(name)).unwrap();
        app.pragma_update(None, "journal_mode", mode).unwrap();
        app.execute_batch("CREATE TABLE rows (body)").unwrap();
    };
    database("fit.db", "wal");
    database("unfit.db", "delete");
    let ports = "--listen 127.0.0.1:0 --http 127.0.0.1:0";
    for (args, code) in [
        ("--sqlite missing.db --insecure-plaintext", 8),
        ("--sqlite unfit.db --insecure-plaintext", 8),
        ("--sqlite fit.db --tls-dir tls --identity primary", 8),
        ("--sqlite fit.db --insecure-plaintext --ack-durability archived:1", 2),
        ("--sqlite fit.db --insecure-plaintext --archive nothing://there", 2),
        ("--sqlite fit.db --insecure-plaintext --log-prepared-segments 0", 2),
    ] {
        let told = run(at, &format!("primary --data-dir d --log app --init {ports} {args}")).fails(code);
        assert!(code != 8 || told.contains("nothing was changed"), "{told}");
        assert!(
            !at.join("d").exists(),
            "{args}: and it is not, nor is there what the next start takes for a mounted volume"
        );
    }
    for (args, code) in [
        ("--upstream h:1 --tls-dir tls --identity eu-west", 8),
        ("--upstream h:1 --insecure-plaintext --replica-backoff-max 1ms", 2),
        ("--upstream h:1 --insecure-plaintext --replica-logs NONE", 2),
        ("--upstream h:1 --insecure-plaintext --archive nothing://there", 2),
        ("--upstream h:1 --insecure-plaintext --apply NONE=jsonl:out", 2),
    ] {
        run(at, &format!("replica --data-dir d {ports} {args}")).fails(code);
        assert!(!at.join("d").exists(), "{args}");
    }
    run(at, "init --data-dir d --log NONE").fails(2);
    run(at, &format!("primary --data-dir d --insecure-plaintext {ports}")).fails(3);
    assert!(!at.join("d").exists());
}

#[test]
fn who_is_to_write_a_replica_s_copy_is_told_whose_it_is_and_makes_nothing() {
    let dir = site();
    let (p, at) = (primary(dir.path()), dir.path());
    let r = replica(at, &p);
    eventually("the replica has the log", || at.join("r/orders/control").exists() && r.get("/readyz").contains("200"));
    assert_eq!(r.terminate(), 0);
    let app = rusqlite::Connection::open(at.join("app.db")).unwrap();
    app.pragma_update(None, "journal_mode", "wal").unwrap();
    for log in ["orders", "app"] {
        let init = format!(
            "primary --data-dir r --sqlite app.db --log {log} --init {PRIMARY} --listen 127.0.0.1:0 --http 127.0.0.1:0"
        );
        let told = run(at, &init).fails(9);
        assert!(told.contains("r holds a replica's copy") && told.contains("`longshore replica`"), "{told}");
        assert!(!at.join("r/app").exists());
    }
}

#[test]
fn two_agents_with_one_identity_are_told_of_once_with_both_addresses() {
    let dir = site();
    let (at, listen) = (dir.path(), "--listen 127.0.0.1:0 --http 127.0.0.1:0 --log-accept-weak-storage true");
    let trace = std::fs::File::create(at.join("trace")).unwrap();
    let p = Agent::start_telling(at, &format!("primary --data-dir p {PRIMARY} {listen}"), trace.into());
    let follow = |data_dir: &str| {
        let args =
            format!("replica --data-dir {data_dir} --upstream primary@{} --tls-dir tls --identity eu-west", p.address);
        let trace = std::fs::File::create(at.join(format!("{data_dir}.trace"))).unwrap();
        Agent::start_telling(at, &format!("{args} --reseed --replica-backoff-max 200ms {listen}"), trace.into())
    };
    let _both = (follow("r"), follow("copy"));
    let told = |name: &str, what: &str| std::fs::read_to_string(at.join(name)).unwrap().matches(what).count();
    let ends = "a newer stream of eu-west is open";
    let two = "two agents are eu-west, at 127.0.0.1:";
    eventually("it is told", || 0 < told("trace", two));
    let before = told("trace", ends);
    eventually("they go on pushing each other out", || before + 4 < told("trace", ends));
    assert_eq!(told("trace", two), 1);
    assert!(
        0 < told("r.trace", "another agent has this identity")
            && 0 < told("copy.trace", "another agent has this identity")
    );
}
