//! The commands over a directory: names, flags, output and exit codes are a contract.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{longshore, run, run_with};
use tempfile::TempDir;

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A directory with a log `orders` that holds `one` and `two` as two transactions.
fn with_log() -> TempDir {
    let dir = place();
    run(dir.path(), "init --data-dir d --log orders --segment-size 1MiB").ok();
    run_with(dir.path(), "append --data-dir d --log orders", b"one\n").ok();
    run_with(dir.path(), "append --data-dir d --log orders", b"two\n").ok();
    dir
}

/// All that people see, in the order in which they see them.
#[rustfmt::skip]
const COMMANDS: [&str; 24] = [
    "certs", "init", "primary", "replica", "check", "append", "read", "mark", "status", "dump", "verify", "repair", "rejoin",
    "forget", "promote", "switchover", "fence", "replay", "archive", "drill", "demo", "estimate", "bench", "config",
];

#[test]
fn every_command_has_help_with_what_it_does() {
    let dir = place();
    let all = run(dir.path(), "help").ok();
    for command in COMMANDS {
        assert!(all.contains(&format!("\n  {command} ")), "{command}");
        assert!(run(dir.path(), &format!("{command} --help")).ok().contains("Usage: longshore"), "{command}");
    }
    assert!(!all.contains("demo-app") && !all.contains("completions"), "helpers are hidden");
}

#[test]
fn completions_and_manual_pages_can_be_made() {
    let dir = place();
    assert!(run(dir.path(), "completions bash").ok().contains("longshore"));
    run(dir.path(), "man pages").ok();
    assert!(dir.path().join("pages/longshore-replay.1").exists());
}

#[test]
fn what_is_appended_is_read_back() {
    let dir = with_log();
    assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok(), "one\ntwo\n");
    let json = run(dir.path(), "read --data-dir d --log orders --format json").ok();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["payload"], "b25l");
    assert_eq!(first["schema"], 1);
}

#[test]
fn append_prints_the_last_position_and_targets_take_it() {
    let dir = with_log();
    let position = run_with(dir.path(), "append --data-dir d --log orders", b"three\nfour\n").ok();
    let position = position.trim();
    run_with(dir.path(), "append --data-dir d --log orders", b"five\n").ok();
    let upto = run(dir.path(), &format!("read --data-dir d --log orders --end {position}")).ok();
    assert_eq!(upto, "one\ntwo\nthree\nfour\n");
    let after = run(dir.path(), &format!("read --data-dir d --log orders --start lsn:{position}")).ok();
    assert_eq!(after, "five\n");
}

#[test]
fn framed_records_go_in_and_out_unchanged() {
    let dir = with_log();
    let mut framed = Vec::new();
    for payload in [&b"a\nb\0\xff"[..], b"", &[7; 100_000], b"last"] {
        framed.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        framed.extend(payload);
    }
    let start = run(dir.path(), "mark here --data-dir d --log orders").ok();
    run_with(dir.path(), "append --data-dir d --log orders --format framed", &framed).ok();
    let read = run(dir.path(), &format!("read --data-dir d --log orders --format framed --start {}", start.trim()));
    assert_eq!(read.bytes, framed);
}

#[test]
fn what_json_reads_json_appends() {
    let dir = with_log();
    let json = run(dir.path(), "read --data-dir d --log orders --format json").ok();
    run(dir.path(), "init --data-dir d --log copy").ok();
    run_with(dir.path(), "append --data-dir d --log copy --format json", json.as_bytes()).ok();
    assert_eq!(run(dir.path(), "read --data-dir d --log copy").ok(), "one\ntwo\n");
}

#[test]
fn an_append_that_expects_another_end_writes_nothing() {
    let dir = with_log();
    let end = run(dir.path(), "mark here --data-dir d --log orders").ok();
    let append = format!("append --data-dir d --log orders --expect {}", end.trim());
    run_with(dir.path(), &append, b"once\n").ok();
    run_with(dir.path(), &append, b"once\n").fails(8);
    assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok(), "one\ntwo\nonce\n");
}

#[test]
fn a_position_that_is_no_boundary_is_refused() {
    let dir = with_log();
    run(dir.path(), "read --data-dir d --log orders --end 4100").fails(2);
    run(dir.path(), "read --data-dir d --log orders --start 4100").fails(2);
    run(dir.path(), "replay --from d --log orders --to 4100 --into jsonl:-").fails(2);
}

#[test]
fn a_log_of_sql_takes_nothing_else() {
    let dir = place();
    run(dir.path(), "init --data-dir d --log orders --content sql").ok();
    run_with(dir.path(), "append --data-dir d --log orders", b"not sql\n").fails(2);
    assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok(), "");
}

#[test]
fn marks_are_targets() {
    let dir = with_log();
    run(dir.path(), "mark monday --data-dir d --log orders").ok();
    run_with(dir.path(), "append --data-dir d --log orders", b"three\n").ok();
    assert_eq!(run(dir.path(), "read --data-dir d --log orders --end mark:monday").ok(), "one\ntwo\n");
    assert_eq!(run(dir.path(), "read --data-dir d --log orders --start mark:monday").ok(), "three\n");
    run(dir.path(), "read --data-dir d --log orders --end mark:friday").fails(4);
}

#[test]
fn a_closed_pipe_ends_read_quietly() {
    let dir = with_log();
    let many = "a line that is long enough to fill a pipe soon\n".repeat(50_000);
    run_with(dir.path(), "append --data-dir d --log orders", many.as_bytes()).ok();
    let mut child = longshore(dir.path())
        .args(["read", "--data-dir", "d", "--log", "orders"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn wrong_requests_end_with_2() {
    let dir = with_log();
    for args in [
        "append --data-dir d --log Orders",
        "append --data-dir d --server h:1 --log orders",
        "init --data-dir d --log ../x",
        "init --data-dir d --log x --segment-size 63MiB",
        "read --data-dir d --log orders --end yesterday",
        "read --data-dir d --log orders --start time:2026-01-01",
        "replay --from d --log orders --to lsn:x --into jsonl:-",
        "status --server nowhere",
    ] {
        run_with(dir.path(), args, b"").fails(2);
    }
    for args in ["frobnicate", "init --data-dir d", "init --data-dir d --log x --segment-size many", "replay"] {
        assert_eq!(run(dir.path(), args).code, 2, "{args}");
    }
}

#[test]
fn what_is_not_there_ends_with_3() {
    let dir = with_log();
    for args in [
        "read --data-dir d --log nope",
        "read --data-dir nowhere --log orders",
        "append --data-dir d --log nope",
        "verify --data-dir nowhere",
        "dump --data-dir d --log nope",
        "replay --from d --log nope --into jsonl:-",
    ] {
        run(dir.path(), args).fails(3);
    }
}

#[test]
fn what_the_log_does_not_reach_ends_with_4() {
    let dir = with_log();
    run(dir.path(), "replay --from d --log orders --to lsn:999999 --into jsonl:-").fails(4);
    run(dir.path(), "replay --from d --log orders --to time:2100-01-01T00:00:00Z --into jsonl:-").fails(4);
}

#[test]
fn what_exists_is_never_overwritten_and_ends_with_7() {
    let dir = with_log();
    run(dir.path(), "init --data-dir d --log orders").fails(7);
    std::fs::write(dir.path().join("out.jsonl"), "precious").unwrap();
    run(dir.path(), "replay --from d --log orders --into jsonl:out.jsonl").fails(7);
    assert_eq!(std::fs::read_to_string(dir.path().join("out.jsonl")).unwrap(), "precious");
}

/// In a terminal of any width: a paragraph that is broken by hand is broken twice in a narrow one.
#[test]
fn what_help_says_at_its_end_is_broken_where_the_terminal_ends_and_nowhere_else() {
    const WIDTH: usize = 80;
    let dir = place();
    let help = run(dir.path(), "help").ok();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let words = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut commands: Vec<&str> = words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    assert_eq!(commands.pop(), Some("help"), "which has no flags");
    assert_eq!(commands, COMMANDS);
    for command in commands {
        let output = longshore(dir.path()).env("COLUMNS", WIDTH.to_string()).args([command, "-h"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let Some((_, end)) = text.split_once("--insecure-plaintext") else {
            panic!("{command}: no last flag in {text}")
        };
        let lines: Vec<&str> = end.lines().skip(1).collect();
        for line in &lines {
            assert!(line.chars().count() <= WIDTH, "{command}: {line}");
        }
        for pair in lines.windows(2).filter(|pair| !pair[0].is_empty() && pair[0].starts_with(|c: char| c != ' ')) {
            let Some(word) = pair[1].split(' ').next().filter(|word| !word.is_empty()) else { continue };
            assert!(WIDTH < pair[0].chars().count() + 1 + word.chars().count(), "{command}: {} / {}", pair[0], pair[1]);
        }
        for example in lines.windows(2).filter(|pair| pair[0].starts_with("  longshore ")) {
            let is_whole = example[1].is_empty() || example[1].starts_with("  ");
            assert!(is_whole, "{command}: {}", example[1]);
        }
    }
}

/// F-052
#[test]
fn a_log_that_an_agent_holds_is_busy() {
    let dir = with_log();
    run(dir.path(), "certs tls --name primary=admin").ok();
    let _agent = common::Agent::start(dir.path(), "primary --data-dir d --tls-dir tls --identity primary");
    run_with(dir.path(), "append --data-dir d --log orders", b"x\n").fails(7);
    assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok(), "one\ntwo\n");
}

#[test]
fn a_log_is_made_by_the_agent_of_its_directory_and_not_beside_it() {
    let dir = place();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    let agent = common::Agent::start(dir.path(), "primary --data-dir d --insecure-plaintext");
    let refused = run(dir.path(), "init --data-dir d --log late").fails(7);
    assert!(refused.contains("longshore init --server ADDR --log late"), "{refused}");
    assert!(!dir.path().join("d/late").exists(), "and nothing is made");
    let plain = format!("--server {} --insecure-plaintext", agent.address);
    run(dir.path(), &format!("init {plain} --log late")).ok();
    run_with(dir.path(), &format!("append {plain} --log late"), b"one\n").ok();
}

#[test]
fn a_log_may_be_called_lock_and_the_lock_is_taken_for_no_log() {
    let dir = place();
    run(dir.path(), "init --data-dir d --log lock").ok();
    let agent = common::Agent::start(dir.path(), "primary --data-dir d --insecure-plaintext");
    run_with(dir.path(), &format!("append --server {} --insecure-plaintext --log lock", agent.address), b"one\n").ok();
    assert_eq!(agent.terminate(), 0);
    assert!(dir.path().join("d/agent.lock").is_file());
    assert_eq!(run(dir.path(), "read --data-dir d --log lock").ok(), "one\n");
    let verified = run(dir.path(), "verify --data-dir d").ok();
    assert!(verified.contains("lock") && !verified.contains("agent.lock"), "{verified}");
}

#[test]
fn a_copy_is_fetched_from_a_store_only_once_there_is_something_to_repair() {
    let dir = place();
    let at = dir.path();
    run(at, "init --data-dir d --log orders --segment-size 1MiB").ok();
    let lines = "a line of a record that is repeated until segments are full\n".repeat(40_000);
    let end: u64 = run_with(at, "append --data-dir d --log orders", lines.as_bytes()).ok().trim().parse().unwrap();
    std::fs::create_dir(at.join("a")).unwrap();
    let store = format!("file://{}", at.join("a").display());
    let agent = common::Agent::start(at, &format!("primary --data-dir d --insecure-plaintext --archive {store}"));
    common::eventually("the log is archived", || {
        let listed = run(at, &format!("archive ls --from {store} --json"));
        listed.code == 0 && listed.json()["logs"][0]["end"].as_u64().is_some_and(|archived| end <= archived)
    });
    assert_eq!(agent.terminate(), 0);
    // Whoever fetched anything but the manifest would fail.
    std::fs::remove_dir_all(at.join("a/orders/segments")).unwrap();
    std::fs::remove_file(at.join("d/orders/00000000000001048576.seg")).unwrap();
    let repair = |flags: &str| run(at, &format!("repair --data-dir d --log orders --from {store} {flags}"));
    assert!(repair("--segment 0").fails(2).contains("intact"));
    assert!(repair("--segment 1048576 --plan").ok().contains("found: "));
    assert_ne!(repair("--segment 1048576").code, 0);
}

#[test]
fn errors_have_a_json_form() {
    let dir = with_log();
    for (args, kind, exit) in [
        ("verify --data-dir nowhere --json", "not-found", 3),
        ("status --json", "invalid", 2),
        ("status --data-dir d --json --unknown", "invalid", 2),
    ] {
        let ran = run(dir.path(), args);
        assert_eq!(ran.code, exit, "{args}");
        let error: serde_json::Value = serde_json::from_str(ran.stderr.trim()).unwrap();
        assert_eq!(error["schema"], 1);
        assert_eq!(error["error"]["kind"], kind, "{args}");
        assert_eq!(error["error"]["exit"], exit, "{args}");
        assert!(!error["error"]["next"].as_str().unwrap().is_empty());
    }
}

/// F-005, F-008
#[test]
fn a_flipped_bit_below_the_durable_end_is_found_and_repaired_from_a_copy() {
    let dir = place();
    run(dir.path(), "init --data-dir d --log orders --segment-size 1MiB").ok();
    let lines = "a line of a record that is repeated until segments are full\n".repeat(40_000);
    run_with(dir.path(), "append --data-dir d --log orders", lines.as_bytes()).ok();
    run(dir.path(), "verify --data-dir d --deep").ok();
    assert!(
        std::process::Command::new("cp").args(["-a", "d", "good"]).current_dir(dir.path()).status().unwrap().success()
    );
    let segment = dir.path().join("d/orders/00000000000001048576.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[500_000] ^= 4;
    std::fs::write(&segment, bytes).unwrap();

    let told = run(dir.path(), "verify --data-dir d --deep").fails(6);
    assert!(told.contains("segment 1048576"), "{told}");
    let verdict = run(dir.path(), "verify --data-dir d --deep --json");
    let verdict: serde_json::Value = serde_json::from_str(verdict.stdout.trim()).unwrap();
    assert_eq!(verdict["intact"], false);

    let repair = "repair --data-dir d --log orders --segment 1048576 --from good";
    assert!(run(dir.path(), &format!("{repair} --plan")).ok().contains("found: "));
    run(dir.path(), "verify --data-dir d --deep").fails(6);
    run(dir.path(), repair).ok();
    run(dir.path(), "verify --data-dir d --deep").ok();
    assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok(), lines);
    run(dir.path(), repair).fails(2);
}

#[test]
fn replay_prints_its_plan_and_makes_the_file_whole_or_not_at_all() {
    let dir = with_log();
    let position = run(dir.path(), "mark here --data-dir d --log orders").ok();
    run_with(dir.path(), "append --data-dir d --log orders", b"a mistake\n").ok();
    let replay = "replay --from d --log orders --to mark:here --into jsonl:out.jsonl";
    let plan = run(dir.path(), &format!("{replay} --plan")).ok();
    assert!(plan.contains("2 transactions") && plan.contains("left out: 1 records"), "{plan}");
    assert!(!dir.path().join("out.jsonl").exists());
    let plan = run(dir.path(), &format!("{replay} --plan --json")).json();
    assert_eq!(plan["transactions"], 2);
    run(dir.path(), replay).ok();
    assert_eq!(std::fs::read_to_string(dir.path().join("out.jsonl")).unwrap().lines().count(), 2);
    assert!(!position.is_empty());

    let stdout = run(dir.path(), "replay --from d --log orders --into jsonl:-").ok();
    assert_eq!(stdout.lines().count(), 3);
}

#[test]
fn dump_shows_what_a_directory_holds() {
    let dir = with_log();
    let text = run(dir.path(), "dump --data-dir d").ok();
    assert!(text.contains("log orders (bytes") && text.contains("active"), "{text}");
    let records = run(dir.path(), "dump --data-dir d --log orders --start 0 --json").ok();
    let records: Vec<serde_json::Value> =
        records.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().any(|record| record["payload_bytes"] == 3));
}

#[test]
fn certificates_are_added_and_never_replaced() {
    let dir = place();
    run(dir.path(), "certs tls --name primary=admin,append,read --host primary=db1.example.net").ok();
    let authority = std::fs::read(dir.path().join("tls/ca.pem")).unwrap();
    let primary = std::fs::read(dir.path().join("tls/primary.pem")).unwrap();
    let told = run(dir.path(), "certs tls --name primary=admin --name eu-west=replicate").ok();
    assert!(told.contains("primary.pem: was there, kept") && told.contains("eu-west.pem: issued"), "{told}");
    assert_eq!(std::fs::read(dir.path().join("tls/ca.pem")).unwrap(), authority);
    assert_eq!(std::fs::read(dir.path().join("tls/primary.pem")).unwrap(), primary);
    run(dir.path(), "certs tls --name eu-west").fails(2);
    run(dir.path(), "certs tls --name eu-west=king").fails(2);
    run(dir.path(), "certs tls --name a=read --host b=c").fails(2);
}

#[test]
fn append_says_exactly_how_many_records_are_in_when_it_must_stop() {
    for (format, good, bad) in
        [("json", "{\"payload\":\"YQ==\"}\n", "garbage\n"), ("framed", "\x01\0\0\0a", "\x09\0\0\0a")]
    {
        let dir = with_log();
        let input = good.repeat(10_000) + bad;
        let append = format!("append --data-dir d --log orders --format {format}");
        let said = run_with(dir.path(), &append, input.as_bytes()).fails(2);
        assert!(said.contains("record 10001 on stdin"), "{said}");
        assert!(said.contains("the first 10000 records of stdin are in, up to "), "{said}");
        assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok().lines().count(), 10_002);
    }
}

#[test]
fn append_beside_no_agent_waits_for_nobody() {
    let dir = with_log();
    let append = "append --data-dir d --log orders --wait replicas:1";
    let said = run_with(dir.path(), append, b"three\n").fails(2);
    assert!(said.contains("--wait replicas:1 needs an agent"), "{said}");
    assert_eq!(run(dir.path(), "read --data-dir d --log orders").ok(), "one\ntwo\n");
}

#[test]
fn a_flag_goes_before_an_environment_that_says_another_place() {
    let dir = with_log();
    let command = |args: &[&str], name: &str, value: &str| {
        longshore(dir.path()).args(args).env(name, value).stdin(Stdio::null()).output().unwrap()
    };
    let there = ["append", "--server", "primary@127.0.0.1:1", "--log", "orders", "--insecure-plaintext"];
    let said = String::from_utf8(command(&there, "LONGSHORE_DATA_DIR", "d").stderr).unwrap();
    assert!(said.contains("127.0.0.1:1") && !said.contains("--data-dir"), "{said}");
    let here = ["mark", "m", "--data-dir", "d", "--log", "orders"];
    let done = command(&here, "LONGSHORE_SERVER", "primary@127.0.0.1:1");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn plaintext_is_refused_beyond_loopback_before_anything_listens() {
    let dir = with_log();
    let agent = "primary --data-dir d --insecure-plaintext --listen 0.0.0.0:0 --http 127.0.0.1:0";
    let ran = run(dir.path(), agent);
    assert_eq!(ran.stdout, "", "it does not say that it listens");
    assert!(ran.fails(2).contains("not loopback"));
}

#[test]
fn certs_says_what_it_did_not_change() {
    let dir = place();
    run(dir.path(), "certs tls --name a=read").ok();
    assert!(run(dir.path(), "certs tls --name a=admin").ok().contains("kept with its roles in grants.toml"));
    assert!(run(dir.path(), "certs tls --name b=read --name b=admin").fails(2).contains("--name b is given twice"));
}
