//! Agents that archive: waits for it, the status of it, and a mark that is followed there and back.

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{Agent, Ran, eventually, longshore, run, run_with};
use serde_json::Value;
use tempfile::TempDir;

const PRIMARY: &str = "--tls-dir tls --identity primary";

/// A directory with certificates, a log `orders` under `p`, and two stores `a` and `b`.
fn site() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    run(dir.path(), "init --data-dir p --log orders --segment-size 1MiB").ok();
    for store in ["a", "b"] {
        std::fs::create_dir(dir.path().join(store)).unwrap();
    }
    dir
}

fn store(dir: &Path, name: &str) -> String {
    format!("file://{}", dir.join(name).display())
}

fn primary(dir: &Path, more: &str) -> Agent {
    let archive = format!("--archive {} --archive-every 20ms", store(dir, "a"));
    Agent::start(dir, &format!("primary --data-dir p {PRIMARY} {archive} {more}"))
}

fn server(agent: &Agent) -> String {
    format!("--server primary@{} {PRIMARY}", agent.address)
}

fn append(dir: &Path, agent: &Agent, rest: &str) -> Ran {
    run_with(dir, &format!("append {} --log orders {rest}", server(agent)), b"a record\n")
}

fn log(dir: &Path, agent: &Agent) -> Value {
    run(dir, &format!("status {} --json", server(agent))).json()["logs"][0].clone()
}

/// From here on nothing of the log's tail can be put into the store: a file stands where a directory should.
fn break_store(dir: &Path, name: &str) {
    let tail = dir.join(name).join("orders/tail");
    eventually("the tail of the log is archived", || tail.is_dir());
    std::fs::rename(&tail, dir.join("tail.aside")).unwrap();
    std::fs::write(&tail, "in the way").unwrap();
}

fn mend_store(dir: &Path, name: &str) {
    let tail = dir.join(name).join("orders/tail");
    std::fs::remove_file(&tail).unwrap();
    std::fs::rename(dir.join("tail.aside"), &tail).unwrap();
}

#[test]
fn a_wait_for_archived_ends_when_it_is_and_by_time_while_the_store_is_broken() {
    let dir = site();
    let at = dir.path();
    let p = primary(at, "");
    let position: u64 = append(at, &p, "--wait archived:1").ok().trim().parse().unwrap();
    let archived = log(at, &p)["stores"][0]["archived"].as_u64().unwrap();
    assert!(position <= archived, "{position} was confirmed, and {archived} is archived");

    let end = log(at, &p)["end"].clone();
    let told = append(at, &p, "--wait archived:2").fails(2);
    assert!(told.contains("archives into 1 stores") && told.contains("--archive"), "{told}");
    let refused = append(at, &p, "--wait archived:1/applied");
    assert!(refused.code == 2 && refused.stderr.contains("write archived:K without a stage"), "{}", refused.stderr);
    assert_eq!(log(at, &p)["end"], end, "nothing was appended for what cannot be had");

    break_store(at, "a");
    let told = append(at, &p, "--wait archived:1 --wait-timeout 700ms").fails(12);
    assert!(told.contains("not confirmed as archived:1"), "{told}");
    eventually("the trouble is shown", || log(at, &p)["stores"][0]["trouble"].is_string());
    for _ in 0..8 {
        let store = log(at, &p)["stores"][0].clone();
        assert!(store["trouble"].is_string(), "it is shown until the store takes something: {store}");
    }
    let text = run(at, &format!("status {}", server(&p))).ok();
    assert!(text.contains("FAILING"), "{text}");

    mend_store(at, "a");
    append(at, &p, "--wait archived:1 --wait-timeout 60s").ok();
    let mended = log(at, &p)["stores"][0].clone();
    assert_eq!(mended["trouble"], Value::Null);
    assert!(0.6 <= mended["longest_lag_seconds"].as_f64().unwrap(), "{mended}");
    assert_eq!(p.terminate(), 0);
}

#[test]
fn a_policy_of_archived_needs_stores_and_is_kept_like_any_other() {
    let dir = site();
    let at = dir.path();
    let policy = "--ack-durability archived:1";
    let mut refused = longshore(at)
        .args(format!("primary --data-dir p {PRIMARY} {policy}").split_whitespace())
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-accept-weak-storage", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ended = None;
    eventually("a primary without stores refuses the policy", || {
        ended = refused.try_wait().unwrap();
        ended.is_some()
    });
    let told = std::io::read_to_string(refused.stderr.take().unwrap()).unwrap();
    assert_eq!(ended.unwrap().code(), Some(2), "{told}");
    assert!(told.contains("archives into 0 stores") && told.contains("--archive"), "{told}");

    let p = primary(at, &format!("{policy} --ack-shortfall refuse"));
    eventually("the store has answered", || append(at, &p, "--wait archived:1").code == 0);
    break_store(at, "a");
    append(at, &p, "").ok();
    eventually("appends are refused", || append(at, &p, "").code == 11);
    mend_store(at, "a");
    eventually("appends are taken again", || append(at, &p, "").code == 0);
    assert_eq!(p.terminate(), 0);
}

#[test]
fn the_status_shows_every_store_with_what_it_was_asked_for() {
    let dir = site();
    let at = dir.path();
    let p = primary(at, &format!("--archive {}", store(at, "b")));
    append(at, &p, "--wait archived:2").ok();
    let log = log(at, &p);
    for (shown, name) in log["stores"].as_array().unwrap().iter().zip(["a", "b"]) {
        assert_eq!(shown["store"], store(at, name));
        assert_eq!((&shown["archived"], &shown["lag"]["bytes"]), (&log["durable"], &0.into()), "{shown}");
        let count = |field: &str| shown[field].as_u64().unwrap();
        // At least the manifest was looked for, an object made, and the manifest changed.
        assert!(1 <= count("objects") && 2 <= count("put_requests") && 1 <= count("get_requests"), "{shown}");
        assert!(0 < count("bytes") && count("bytes") < count("sent_bytes"), "the manifest is sent, too: {shown}");
        assert_eq!((&shown["ended"], &shown["trouble"], &shown["usd"]), (&false.into(), &Value::Null, &0.0.into()));
        assert!(shown["predicted"]["rpo_seconds"].as_f64().unwrap() < 1.0, "{shown}");
        let line = format!("longshore_archive_put_requests_total{{log=\"orders\",store=\"{}\"}}", store(at, name));
        eventually("metrics of the store", || p.get("/metrics").contains(&line));
    }
    let text = run(at, &format!("status {}", server(&p))).ok();
    let row = |head: &str| text.lines().filter(|line| line.trim_start().starts_with(head)).count();
    assert_eq!(row(&store(at, "a")), 3, "where it is, how it goes, what it cost: {text}");
    for told in ["ARCHIVE", "archiving", "PREDICTED", "SINCE THE START", "$0.0000"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(p.terminate(), 0);
}

#[test]
fn check_follows_a_mark_to_every_replica_and_back_out_of_every_archive() {
    let dir = site();
    let at = dir.path();
    std::fs::write(at.join("keys"), "first QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=\n").unwrap();
    std::fs::set_permissions(at.join("keys"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (a, b) = (store(at, "a"), store(at, "b"));
    let p = primary(at, &format!("--archive {b} --archive-keys file:keys"));
    let follow = format!("replica --data-dir r --upstream primary@{} --apply orders=jsonl:out.jsonl", p.address);
    let r = Agent::start(at, &format!("{follow} --tls-dir tls --identity eu-west --replica-backoff-max 200ms"));
    append(at, &p, "--wait replicas:1/applied").ok();

    let check = format!("check {} --log orders --archive {a} --archive {b}", server(&p));
    let text = run(at, &format!("{check} --archive-keys file:keys --data-dir p")).ok();
    let hops = [
        "connected to primary@",
        "status of orders",
        "appended at primary",
        "durable at primary",
        "received at eu-west",
        "durable at eu-west",
        "applied at eu-west",
        &format!("archived in {a}"),
        &format!("read back from {a}"),
        &format!("archived in {b}"),
        &format!("read back from {b}"),
    ];
    for hop in hops {
        let line = text.lines().find(|line| line.starts_with(hop));
        assert!(line.is_some_and(|line| line.ends_with("ok")), "{hop}: {text}");
    }
    for told in [
        "of log orders",
        "this machine",
        "own certificate",
        "certificate of primary",
        "permissions of the directory",
        "file system of p",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let around = format!("{check} --archive-keys file:keys --data-dir p --json");
    let document = run(at, &around).json();
    assert_eq!((&document["ok"], document["hops"].as_array().unwrap().len()), (&true.into(), hops.len()));
    assert!(document["clock_ahead_seconds"].as_f64().unwrap().abs() < 1.0, "one machine has one clock: {document}");
    let mark = document["mark"].as_str().unwrap();
    let held = run(at, &format!("read {} --log orders --end mark:{mark}", server(&p))).code;
    assert_eq!(held, 0, "the mark is in the log");

    // Without the keys nothing comes back out.
    let told = run(at, &format!("{check} --timeout 5s")).fails(8);
    assert!(told.contains(&format!("archived in {a}: ")) && told.contains("another hop failed"), "{told}");
    assert_eq!((r.terminate(), p.terminate()), (0, 0));
}

#[test]
fn check_names_the_hop_at_which_a_mark_is_stuck() {
    let dir = site();
    let at = dir.path();
    let p = primary(at, "");
    let follow = format!("replica --data-dir r --upstream primary@{}", p.address);
    let r = Agent::start(at, &format!("{follow} --tls-dir tls --identity eu-west --replica-backoff-max 200ms"));
    append(at, &p, "--wait replicas:1").ok();
    append(at, &p, "--wait archived:1").ok();
    let check = |rest: &str| run(at, &format!("check {} --log orders {rest}", server(&p)));

    // A replica without a sink applies nothing, which is right only if somebody says so.
    let told = check("--timeout 3s").fails(12);
    assert!(told.contains("applied at eu-west: nothing is applied there"), "{told}");
    let archive = format!("--stage durable --archive {}", store(at, "a"));
    check(&archive).ok();

    // A store that the agent does not know.
    let told = check(&format!("--stage durable --timeout 3s --archive {}", store(at, "b"))).fails(3);
    assert!(told.contains(&format!("archived in {}: log orders is not archived there", store(at, "b"))), "{told}");
    assert!(told.contains("primary does not archive there"), "{told}");
    let told = check("--stage durable --archive file:///no/such/place").fails(3);
    assert!(told.contains("archive opened: "), "{told}");

    // The agent cannot archive any more.
    break_store(at, "a");
    let ran = check(&format!("{archive} --timeout 3s"));
    let hop = format!("archived in {}", store(at, "a"));
    assert!(ran.stdout.lines().any(|line| line.starts_with(&hop) && line.ends_with("FAILED")), "{}", ran.stdout);
    assert!(ran.stdout.lines().any(|line| line.starts_with("durable at eu-west") && line.ends_with("ok")));
    let told = ran.fails(12);
    assert!(told.contains(&format!("{hop}: it is archived to ")), "{told}");
    assert!(told.contains("primary says of it: ") && told.contains("Not a directory"), "{told}");
    let document = check(&format!("{archive} --timeout 3s --json"));
    let failed: Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!((&failed["schema"], &failed["ok"]), (&1.into(), &false.into()));
    assert_eq!(failed["hops"].as_array().unwrap().last().unwrap()["kind"], "unconfirmed");
    mend_store(at, "a");

    // A replica that is gone.
    assert_eq!(r.terminate(), 0);
    let told = check("--timeout 3s").fails(12);
    assert!(told.contains("received at eu-west: it is away"), "{told}");
    // Nobody at all.
    assert_eq!(p.terminate(), 0);
    let gone = run(at, &format!("check --server primary@127.0.0.1:1 {PRIMARY} --log orders"));
    let told = gone.fails(11);
    assert!(told.contains("connected to primary@127.0.0.1:1"), "{told}");
    assert!(run(at, "check").fails(2).contains("neither --sqlite nor --server"));
    assert!(run(at, "check --server x:1").fails(2).contains("--log"));
}
