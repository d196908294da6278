//! The README is run as it stands: what it promises a reader works when it is typed in.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

/// The text of a section, up to the next heading of its level.
fn section(heading: &str) -> String {
    let readme = include_str!("../../../README.md");
    let begin = readme.find(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &readme[begin + 1..];
    rest[..rest[3..].find("\n## ").map_or(rest.len(), |end| end + 3)].to_owned()
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part[..part.find("```").expect("the fence is closed")].to_owned()).collect()
}

/// Ports that nobody has now, each another.
fn free_ports<const N: usize>() -> [String; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap().port().to_string())
}

/// Runs the blocks one after the other in one shell. An agent would keep its terminal: it is put
/// into the background, and the next block waits until it serves. Ports are replaced by free ones.
fn run(dir: &Path, blocks: &[String]) -> String {
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n");
    for (number, block) in blocks.iter().enumerate() {
        let lines = block.replace("\\\n", " ");
        for line in lines.lines() {
            if line.starts_with("longshore primary") || line.starts_with("longshore replica") {
                script += &format!("{line} > agent{number}.out &\n");
                script += &format!("until grep -q ^http agent{number}.out; do kill -0 $! ; sleep 0.05; done\n");
            } else {
                script += &format!("{line}\n");
            }
        }
    }
    let [listen, http, free @ ..] = free_ports::<12>();
    let ports = ["7420", "7421", "7430", "7431", "7520", "7521", "7530", "7531", "7540", "7541"];
    for (port, free) in ports.into_iter().zip(free) {
        script = script.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{free}"));
    }
    // A primary's own ports are defaults where a section does not name them.
    if !script.contains("--listen") || script.contains("--upstream primary@") {
        let address = script.split("--upstream primary@").nth(1).map(|rest| rest.split_whitespace().next().unwrap());
        let listen = address.map_or(format!("127.0.0.1:{listen}"), str::to_owned);
        let defaults = format!("longshore primary --listen {listen} --http 127.0.0.1:{http} ");
        script = script.replace("longshore primary ", &defaults);
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_longshore"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

#[test]
fn agents_across_regions_and_disaster_recovery_work_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let told = run(dir.path(), &blocks(&section("Agents across regions"), "sh"));
    assert!(told.contains("eu-west") && told.contains("equal to the one at"), "{told}");
    std::fs::remove_dir_all(dir.path().join("primary")).unwrap();
    let told = run(dir.path(), &blocks(&section("Disaster recovery"), "sh"));
    assert!(told.contains("intact"), "{told}");
    let restored = std::fs::read_to_string(dir.path().join("restored.jsonl")).unwrap();
    assert_eq!(restored.lines().count(), 2);
    assert_eq!(restored, std::fs::read_to_string(dir.path().join("orders.jsonl")).unwrap());
}

#[test]
fn an_application_on_sqlite_is_in_two_regions_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let app = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);").unwrap();
    let mut blocks = blocks(&section("An application on SQLite"), "sh");
    let wait = "until [ -e copy.db ] && longshore read --data-dir eu-west --log app | grep -q .; do sleep 0.05; done\n";
    blocks.insert(blocks.len() - 2, wait.to_owned());
    let told = run(dir.path(), &blocks);
    assert!(told.contains("app.db can be captured"), "{told}");
    assert_eq!(told.matches("pages are what the log says").count(), 2, "{told}");
    for copy in ["copy.db", "restored.db"] {
        let copy = rusqlite::Connection::open(dir.path().join(copy)).unwrap();
        let sum: i64 = copy.query_row("SELECT sum(x) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 3);
    }
}

#[test]
fn a_region_is_lost_and_comes_back_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut blocks = blocks(&section("Lose a region"), "sh");
    let position = |starts: &str| blocks.iter().position(|block| block.starts_with(starts)).unwrap();
    let (append, back) = (position("export LONGSHORE_IDENTITY"), position("longshore switchover"));
    // It is back once it follows.
    let status = "longshore status --server eu@127.0.0.1:7520";
    blocks.insert(back, format!("until {status} | grep -q '(replica, .*epoch 2'; do sleep 0.05; done\n"));
    // The disaster: of the jobs of this shell, the first is the primary.
    blocks.insert(append + 1, "kill -9 %1 && wait %1 || true\n".to_owned());
    // Both replicas are there before anything is written.
    let others = "[ -e us/shop/control ] && [ -e ap/shop/control ]";
    blocks.insert(append, format!("until {others}; do sleep 0.05; done\n"));
    let told = run(dir.path(), &blocks);
    for says in
        ["us would write shop in epoch 2", "fence   whole", "us writes shop in epoch 2", "eu writes shop in epoch 3"]
    {
        assert!(told.contains(says), "{says} is not in {told}");
    }
    assert!(told.contains("shop (primary, bytes, epoch 3"), "{told}");
}

/// The runbook, from its first block to its last, in one directory.
#[test]
fn the_recovery_runbook_works_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let app = rusqlite::Connection::open(dir.path().join("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);").unwrap();
    let runbook =
        include_str!("../../../docs/RECOVERY.md").replace("   ```", "```").replace("\n   longshore", "\nlongshore");
    let mut blocks = blocks(&runbook.replace("\n   mkdir", "\nmkdir"), "sh");
    let wait = "until longshore archive ls --from $STORE | grep -q ^app; do sleep 0.05; done\n";
    blocks.insert(1, wait.to_owned());
    // The disaster.
    let region_is_gone = blocks.iter().rposition(|block| block.starts_with("longshore archive ls")).unwrap();
    blocks.insert(region_is_gone, "kill -9 $! && wait $! || true; rm -r data\n".to_owned());
    // It goes on with one of the two logs, and on the ports of the other's agent.
    let or = blocks.iter().position(|block| block.contains("--continue")).unwrap();
    blocks.insert(or, "kill $! && wait $!\n".to_owned());
    let told = run(dir.path(), &blocks);
    for says in ["RTO", "intact", "1 transactions", "copied", "goes on in data3: epoch 2"] {
        assert!(told.contains(says), "{says} is not in {told}");
    }
    let restored = rusqlite::Connection::open(dir.path().join("restored.db")).unwrap();
    let sum: i64 = restored.query_row("SELECT sum(x) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 3);
}

/// The example is the library's first one, which runs as its documentation test.
#[test]
fn the_embedding_example_is_the_one_that_is_tested() {
    let library = include_str!("../../longshore/src/lib.rs");
    let documented: Vec<_> = library.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let example = blocks(&section("Embedding"), "rust").remove(0);
    let mut rest = documented.iter();
    for line in example.lines().filter(|line| !line.is_empty()) {
        assert!(rest.any(|documented| *documented == line), "not in the library's example: {line}");
    }
    assert!(example.lines().count() <= 10);
}

#[test]
fn the_test_command_is_the_one_that_ci_runs() {
    let readme = include_str!("../../../README.md");
    let ci = include_str!("../../../.ci/run");
    let command = "cargo test --workspace";
    assert!(blocks(readme, "sh").contains(&format!("{command}\n")));
    assert!(ci.contains(&format!("step {command}\n")));
}
