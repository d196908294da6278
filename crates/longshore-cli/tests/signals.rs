//! What a person at a terminal or a service manager does to commands that take long: interrupt, ask twice, follow; and a
//! repair from an agent that serves.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Agent, eventually, longshore, run, run_with};
use tempfile::TempDir;

const PRIMARY: &str = "--tls-dir tls --identity primary";

/// A directory with certificates and a log `orders` under `p`, with some records.
fn site(records: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    run(dir.path(), "init --data-dir p --log orders --segment-size 1MiB").ok();
    append(dir.path(), records);
    dir
}

fn append(dir: &Path, records: usize) {
    let lines = "a record of some length, repeated until pipes and segments are full\n".repeat(records);
    run_with(dir, "append --data-dir p --log orders", lines.as_bytes()).ok();
}

fn start(dir: &Path, args: &str) -> Child {
    let mut command = longshore(dir);
    command.args(args.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_interrupted_replay_ends_with_130_and_the_same_command_resumes() {
    let dir = site(5000);
    let program = dir.path().join("program").display().to_string();
    // It never reads: once its pipe is full, the replay is certainly in the middle.
    script(dir.path(), "program", "#!/bin/sh\necho 0\ntouch started\nexec sleep 600\n");
    let replay = format!("replay --from p --log orders --into exec:{program}");
    let child = start(dir.path(), &replay);
    eventually("the program has started", || dir.path().join("started").exists());
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("resumes"), "{told}");

    let reads = "#!/bin/sh\necho 0\nwhile read -r line; do l=${line#*'\"lsn\":'}; done\necho ${l%%,*}\n";
    script(dir.path(), "program", reads);
    let told = run(dir.path(), &replay).ok();
    assert!(told.contains("5000 records"), "{told}");
}

#[test]
fn a_replay_that_follows_goes_on_as_the_log_grows_until_it_is_interrupted() {
    let dir = site(3);
    let lines = || std::fs::read_to_string(dir.path().join("out.jsonl")).map_or(0, |text| text.lines().count());
    let agent = Agent::start(dir.path(), &format!("primary --data-dir p {PRIMARY}"));
    let child = start(dir.path(), "replay --from p --log orders --into jsonl:out.jsonl --follow");
    eventually("what is there is applied", || lines() == 3);
    let there = format!("append --server primary@{} {PRIMARY} --log orders", agent.address);
    run_with(dir.path(), &there, b"four\nfive\n").ok();
    eventually("what came is applied", || lines() == 5);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((lines(), agent.terminate()), (5, 0));
}

#[test]
fn f_078_a_second_sigterm_ends_an_agent_at_once_and_loses_nothing() {
    let dir = site(10);
    let at = dir.path();
    let mut primary = Agent::start(at, &format!("primary --data-dir p {PRIMARY} --shutdown-ship-for 10m"));
    let server = format!("primary@{}", primary.address);
    let follow = format!("replica --data-dir r --upstream {server} --tls-dir tls --identity eu-west");
    let replica = Agent::start(at, &follow);
    let append = format!("append --server {server} {PRIMARY} --log orders");
    run_with(at, &format!("{append} --wait replicas:1"), b"eleven\n").ok();
    // From here on the replica takes nothing, and the primary would wait for it for ten minutes.
    replica.signal("-STOP");
    run_with(at, &append, b"twelve\n").ok();
    primary.signal("-TERM");
    eventually("appends are refused", || run_with(at, &append, b"thirteen\n").code != 0);
    assert!(primary.child.try_wait().unwrap().is_none(), "it ships what it can first");
    primary.signal("-TERM");
    let begun = std::time::Instant::now();
    assert_eq!(primary.child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed().as_secs() < 10, "at once");
    replica.signal("-CONT");
    let read = run(at, "read --data-dir p --log orders").ok();
    assert!(read.lines().any(|line| line == "twelve"), "{read}");
}

#[test]
fn a_segment_is_repaired_from_an_agent_that_serves() {
    let dir = site(40_000);
    let at = dir.path();
    assert!(Command::new("cp").args(["-a", "p", "d"]).current_dir(at).status().unwrap().success());
    let segment = at.join("d/orders/00000000000001048576.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[500_000] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    run(at, "verify --data-dir d --deep").fails(6);

    let agent = Agent::start(at, &format!("primary --data-dir p {PRIMARY}"));
    let from = format!("--from primary@{} {PRIMARY}", agent.address);
    let repair = format!("repair --data-dir d --log orders --segment 1048576 {from}");
    assert!(run(at, &format!("{repair} --plan")).ok().contains("found: "));
    run(at, "verify --data-dir d --deep").fails(6);
    run(at, &repair).ok();
    run(at, "verify --data-dir d --deep").ok();
    assert_eq!(agent.terminate(), 0);
}

/// Whoever read its trace has ended, or the disk that it went to is full.
#[test]
fn an_agent_whose_trace_nobody_takes_goes_on() {
    let dir = site(1);
    let nobody = || {
        let (_gone, end) = std::io::pipe().unwrap();
        Stdio::from(end)
    };
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let fates: [(&str, &dyn Fn() -> Stdio); 2] = [("a closed pipe", &nobody), ("a full disk", &full)];
    for (what, stderr) in fates {
        let ports = "--listen 127.0.0.1:0 --http 127.0.0.1:0 --log-accept-weak-storage true";
        let agent = Agent::start_telling(dir.path(), &format!("primary --data-dir p {PRIMARY} {ports}"), stderr());
        // Each reload is a line.
        agent.signal("-HUP");
        let append = format!("append --server primary@{} {PRIMARY} --log orders", agent.address);
        run_with(dir.path(), &append, b"one more\n").ok();
        assert!(agent.get("/readyz").starts_with("HTTP/1.1 200"), "{what}");
        assert_eq!(agent.terminate(), 0, "{what}");
        // Nor does a command that fails end otherwise than it should.
        let args = "status --data-dir nowhere";
        let ended = longshore(dir.path()).args(args.split_whitespace()).stdout(Stdio::null()).stderr(stderr()).status();
        assert_eq!(ended.unwrap().code(), Some(3), "{what}");
    }
}
