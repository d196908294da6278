//! What a fork set aside, in the hands of an operator: shown, read, replayed, verified, forgotten (F-095, F-117).

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{Agent, eventually, longshore, run, run_with};
use tempfile::TempDir;

const PRIMARY: &str = "--tls-dir tls --identity primary";

/// A primary whose log went back: its replica under `r` holds `three` and `four`, which the primary under `old`, an older copy
/// of it that goes on by itself, has not. Returns the place and the primary.
fn forked(apply: &str) -> (TempDir, Agent) {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    run(at, "init --data-dir p --log orders --segment-size 1MiB").ok();
    let primary = Agent::start(at, &format!("primary --data-dir p {PRIMARY}"));
    let replica = replica(at, &primary, apply);
    append(at, &primary, "one", "replicas:1");
    append(at, &primary, "two", "replicas:1");
    // While it runs: whoever opens the copy finds no clean end, and begins another life.
    assert!(Command::new("cp").args(["-r", "p", "old"]).current_dir(at).status().unwrap().success());
    let wait = if apply.is_empty() { "replicas:1" } else { "replicas:1/applied" };
    append(at, &primary, "three", wait);
    append(at, &primary, "four", wait);
    assert_eq!((replica.terminate(), primary.terminate()), (0, 0));
    let primary = Agent::start(at, &format!("primary --data-dir old {PRIMARY}"));
    append(at, &primary, "another three", "local");
    (dir, primary)
}

fn replica(at: &Path, upstream: &Agent, more: &str) -> Agent {
    let upstream = &upstream.address;
    let follow = format!("replica --data-dir r --upstream primary@{upstream} {more}");
    Agent::start(at, &format!("{follow} --tls-dir tls --identity eu-west --replica-backoff-max 200ms"))
}

fn append(at: &Path, primary: &Agent, record: &str, wait: &str) {
    let command = format!("append --server primary@{} {PRIMARY} --log orders --wait {wait}", primary.address);
    run_with(at, &command, format!("{record}\n").as_bytes()).ok();
}

fn read(at: &Path, more: &str) -> String {
    run(at, &format!("read --data-dir r --log orders {more}")).ok()
}

/// The only tail of the replica's log, as its status shows it.
fn tail(at: &Path) -> serde_json::Value {
    let status = run(at, "status --data-dir r --json").json();
    let tails = status["logs"][0]["tails"].as_array().unwrap().clone();
    assert_eq!(tails.len(), 1, "{tails:?}");
    tails[0].clone()
}

#[test]
fn f_117_a_replica_rejoins_and_its_tail_is_shown_read_replayed_and_forgotten() {
    let (dir, primary) = forked("");
    let at = dir.path();
    let replica = replica(at, &primary, "");
    append(at, &primary, "another four", "replicas:1");
    assert_eq!(read(at, ""), "one\ntwo\nanother three\nanother four\n");

    let tail = tail(at);
    let place = tail["place"].as_str().unwrap();
    assert_eq!(tail["bytes"].as_u64().unwrap(), tail["to"].as_u64().unwrap() - tail["from"].as_u64().unwrap());
    let server = format!("--server eu-west@{} {PRIMARY}", replica.address);
    assert!(run(at, "status --data-dir r").ok().contains(&format!("tail {place}: ")));
    let counted = [
        "longshore_log_tails{log=\"orders\"} 1".to_owned(),
        format!("longshore_log_tail_bytes{{log=\"orders\"}} {}", tail["bytes"]),
    ];
    eventually("metrics of the tail", || {
        let metrics = replica.get("/metrics");
        counted.iter().all(|line| metrics.contains(line))
    });
    let online = run(at, &format!("status {server} --json"));
    // Whoever may read it.
    assert_eq!(online.json()["logs"][0]["tails"][0]["place"].as_str(), Some(place));

    let of_tail = format!("--tail {place}");
    assert_eq!(read(at, &of_tail), "three\nfour\n");
    assert_eq!(read(at, &format!("{of_tail} --start lsn:4096")), "one\ntwo\nthree\nfour\n");
    let dump = run(at, &format!("dump --data-dir r --log orders {of_tail} --end latest")).ok();
    assert!(dump.starts_with(&format!("tail {place} of log orders")), "{dump}");
    assert!(dump.contains(&format!("leaves the history that won at {}", tail["from"])), "{dump}");
    assert_eq!(dump.lines().filter(|line| line.ends_with("  run")).count(), 2, "{dump}");
    let verdict = run(at, &format!("verify --data-dir r --log orders --deep {of_tail} --json")).json();
    assert_eq!((&verdict["intact"], &verdict["end"], &verdict["tail"]), (&true.into(), &tail["to"], &tail["place"]));

    let lost = run(at, &format!("replay --from r --log orders {of_tail} --into jsonl:-")).ok();
    let payloads: Vec<_> = lost.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect();
    let payloads: Vec<_> = payloads.iter().map(|line| line["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, ["dGhyZWU=", "Zm91cg=="], "three and four: the transactions that were not taken over");
    run(at, &format!("replay --from r --log orders {of_tail} --into jsonl:lost.jsonl")).ok();
    assert_eq!(std::fs::read_to_string(at.join("lost.jsonl")).unwrap(), lost);

    let forget = |place: &str| run(at, &format!("forget --data-dir r --log orders --tail {place}"));
    assert!(forget("diverged/1-2").fails(3).contains(place), "the ones there are");
    assert!(
        forget(&format!("{place} --plan"))
            .ok()
            .starts_with(&format!("would forget {place} of orders: 2 transactions, 2 records"))
    );
    assert_eq!(read(at, &of_tail), "three\nfour\n");
    let through = |place: &str| {
        let server = format!("--server eu-west@{} --tls-dir tls --identity primary", replica.address);
        run(at, &format!("forget {server} --log orders --tail {place}"))
    };
    let told = through(&format!("{place} --plan")).ok();
    assert!(told.starts_with(&format!("would forget {place} of orders: 2 transactions, 2 records")), "{told}");
    assert!(through("diverged/1-2").fails(3).contains(place), "the ones there are");
    through("../../p/orders").fails(3);
    // As a crash in the middle leaves it.
    let (lying, begun) = (at.join("r/orders").join(place), at.join("r/orders").join(format!("{place}.forgotten")));
    std::fs::rename(&lying, &begun).unwrap();
    assert!(through(place).ok().starts_with(&format!("forgot {place}")), "by the running agent");
    assert!(!begun.exists());
    forget(place).fails(3);
    run(at, &format!("read --data-dir r --log orders {of_tail}")).fails(3);
    eventually("metrics without a tail", || replica.get("/metrics").contains("longshore_log_tails{log=\"orders\"} 0"));
    assert_eq!((replica.terminate(), primary.terminate()), (0, 0));
    assert_eq!(read(at, ""), "one\ntwo\nanother three\nanother four\n");
}

/// The replica's agent, which ends because a person must decide: what it said.
fn refused(at: &Path, upstream: &Agent, more: &str) -> String {
    let follow =
        format!("replica --data-dir r --upstream primary@{} {more} --tls-dir tls --identity eu-west", upstream.address);
    let mut command = longshore(at);
    command.args(follow.split_whitespace()).args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.args(["--log-accept-weak-storage", "true"]).stdout(Stdio::null()).stderr(Stdio::piped());
    // Killed, should it not end by itself.
    let mut agent = Agent { child: command.spawn().unwrap(), address: String::new(), http: String::new() };
    let mut code = None;
    eventually("the agent ends", || {
        code = agent.child.try_wait().unwrap();
        code.is_some()
    });
    let said = std::io::read_to_string(agent.child.stderr.take().unwrap()).unwrap();
    assert_eq!(code.unwrap().code(), Some(9), "{said}");
    said
}

fn rejoin(at: &Path, upstream: &Agent, more: &str) -> String {
    let upstream = &upstream.address;
    format!(
        "rejoin --data-dir {}/r --log orders --upstream primary@{upstream} --tls-dir tls --identity eu-west {more}",
        at.display()
    )
}

#[test]
fn f_095_a_replica_that_is_to_rejoin_by_hand_changes_nothing_until_it_is_told() {
    let (dir, primary) = forked("");
    let at = dir.path();
    let said = refused(at, &primary, "--rejoin manual");
    assert!(said.contains("left the history of") && said.contains("80 bytes from there to 4256"), "{said}");
    assert!(said.contains("longshore rejoin --data-dir r --log orders --upstream primary@"), "{said}");
    assert_eq!(read(at, ""), "one\ntwo\nthree\nfour\n");

    let plan = run(at, &rejoin(at, &primary, "--plan --json")).json();
    assert_eq!(
        (&plan["aside"]["from"], &plan["aside"]["to"], &plan["end"]),
        (&4176.into(), &4256.into(), &4256.into())
    );
    assert_eq!((&plan["aside"]["records"], &plan["aside"]["transactions"]), (&2.into(), &2.into()));
    assert_eq!(plan["place"], serde_json::Value::Null);
    let lives = |of: &str| plan[of].as_array().unwrap().len();
    assert_eq!((lives("history"), lives("upstream_history")), (1, 2));
    assert!(plan["why"].as_str().unwrap().contains("the histories part at 4176"), "{plan}");
    let text = run(at, &rejoin(at, &primary, "--plan")).ok();
    assert!(text.contains("nothing was changed") && text.contains("2 transactions, 2 records"), "{text}");
    assert_eq!(read(at, ""), "one\ntwo\nthree\nfour\n");

    let done = run(at, &rejoin(at, &primary, "")).ok();
    let tail = tail(at);
    assert!(done.contains(&format!("set aside as {}", tail["place"].as_str().unwrap())), "{done}");
    assert_eq!((&tail["from"], &tail["to"]), (&plan["aside"]["from"], &plan["aside"]["to"]));
    let again = run(at, &rejoin(at, &primary, "")).ok();
    assert!(again.contains("nothing is in the way"), "{again}");
    let replica = replica(at, &primary, "--rejoin manual");
    append(at, &primary, "another four", "replicas:1");
    assert_eq!(read(at, ""), "one\ntwo\nanother three\nanother four\n");
    let busy = run(at, &rejoin(at, &primary, "--plan")).fails(7);
    assert!(busy.contains("stop the agent"), "{busy}");
    assert_eq!((replica.terminate(), primary.terminate()), (0, 0));
}

#[test]
fn f_097_what_the_histories_do_not_explain_is_set_aside_only_by_an_operator() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    run(at, "init --data-dir p --log orders --segment-size 1MiB").ok();
    run_with(at, "append --data-dir p --log orders", b"one\n").ok();
    // A clean copy goes on in the same life: nothing tells the two apart but their bytes.
    assert!(Command::new("cp").args(["-r", "p", "old"]).current_dir(at).status().unwrap().success());
    let first = Agent::start(at, &format!("primary --data-dir p {PRIMARY}"));
    let replica_of_first = replica(at, &first, "");
    append(at, &first, "two", "replicas:1");
    append(at, &first, "three", "replicas:1");
    assert_eq!((replica_of_first.terminate(), first.terminate()), (0, 0));
    let primary = Agent::start(at, &format!("primary --data-dir old {PRIMARY}"));
    for record in ["another two", "another three", "another four"] {
        append(at, &primary, record, "local");
    }

    let said = refused(at, &primary, "");
    assert!(said.contains("one epoch, other bytes") && said.contains("rejoin --plan"), "{said}");
    let plan = run(at, &rejoin(at, &primary, "--plan --json")).json();
    assert_eq!(
        (&plan["aside"]["from"], &plan["aside"]["records"]),
        (&4136.into(), &2.into()),
        "the first position that differs"
    );
    assert_eq!(plan["why"], "one epoch, other bytes");
    assert_eq!(plan["history"], plan["upstream_history"]);
    assert_eq!(read(at, ""), "one\ntwo\nthree\n");

    run(at, &rejoin(at, &primary, "")).ok();
    let replica = replica(at, &primary, "");
    append(at, &primary, "another five", "replicas:1");
    assert_eq!(read(at, ""), "one\nanother two\nanother three\nanother four\nanother five\n");
    assert_eq!(read(at, &format!("--tail {}", tail(at)["place"].as_str().unwrap())), "two\nthree\n");
    assert_eq!((replica.terminate(), primary.terminate()), (0, 0));

    // Another log of the same name is no copy: nothing is set aside of it.
    run(at, "init --data-dir q --log orders --segment-size 1MiB").ok();
    let stranger = Agent::start(at, &format!("primary --data-dir q {PRIMARY}"));
    let other = run(at, &rejoin(at, &stranger, "")).fails(9);
    assert!(other.contains("another id"), "{other}");
    assert_eq!(stranger.terminate(), 0);
}

#[test]
fn f_095_a_sink_that_cannot_be_taken_back_stops_the_rejoin_until_it_is_moved_away() {
    let apply = "--apply orders=jsonl:out.jsonl";
    let (dir, primary) = forked(apply);
    let at = dir.path();
    let said = refused(at, &primary, apply);
    assert!(said.contains("jsonl:out.jsonl has applied more of it") && said.contains("longshore rejoin"), "{said}");
    assert_eq!(read(at, ""), "one\ntwo\nthree\nfour\n");
    run(at, &rejoin(at, &primary, "")).ok();

    // Still there: it is found out that it holds what was set aside, however far the log has come by then.
    let held_back = replica(at, &primary, apply);
    append(at, &primary, "another four", "replicas:1");
    let server = format!("--server eu-west@{} {PRIMARY}", held_back.address);
    let problem = || {
        let status = run(at, &format!("status {server} --json")).json();
        status["logs"][0]["sinks"][0]["problem"].as_str().unwrap_or_default().to_owned()
    };
    eventually("the sink stops", || problem().contains("move what it has made away"));
    assert!(problem().contains(tail(at)["place"].as_str().unwrap()), "{}", problem());
    assert_eq!(held_back.terminate(), 0);
    std::fs::rename(at.join("out.jsonl"), at.join("old.jsonl")).unwrap();
    let replica = replica(at, &primary, apply);
    append(at, &primary, "another five", "replicas:1/applied");
    assert_eq!((replica.terminate(), primary.terminate()), (0, 0));
    assert_eq!(std::fs::read_to_string(at.join("out.jsonl")).unwrap().lines().count(), 5);
}

#[test]
fn f_095_a_database_of_a_branch_that_died_is_seeded_anew_and_read_by_nobody_until_then() {
    use rusqlite::Connection;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "certs tls --name primary=admin,append,read,replicate --name eu-west=replicate,read").ok();
    let write = |database: &str, sql: &str| {
        let db = Connection::open(at.join(database)).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        db.execute_batch(sql).unwrap();
        // Kept open it would keep its `-wal`, which the copy below needs no part of.
        db.close().unwrap();
    };
    let rows = |database: &str| {
        let db = Connection::open_with_flags(at.join(database), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        db.busy_timeout(std::time::Duration::from_secs(10)).ok()?;
        let rows = "SELECT group_concat(body) FROM (SELECT body FROM rows ORDER BY id)";
        db.query_row(rows, [], |row| row.get::<_, String>(0)).ok()
    };
    let agent = |data: &str, database: &str| {
        Agent::start(at, &format!("primary --data-dir {data} --sqlite {database} --log app --init {PRIMARY}"))
    };
    let follow = |upstream: &Agent| replica(at, upstream, "--replica-logs app --apply app=sqlite:copy.db");

    write(
        "app.db",
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, body); INSERT INTO rows (body) VALUES ('one'), ('two')",
    );
    let first = agent("p", "app.db");
    let of_first = follow(&first);
    eventually("the copy has both rows", || rows("copy.db").as_deref() == Some("one,two"));
    // The same database and log, some time ago.
    for (from, to) in
        [("p", "old"), ("app.db", "old.db"), ("app.db-wal", "old.db-wal"), ("app.db-longshore", "old.db-longshore")]
    {
        if at.join(from).exists() {
            assert!(Command::new("cp").args(["-r", from, to]).current_dir(at).status().unwrap().success());
        }
    }
    write("app.db", "INSERT INTO rows (body) VALUES ('dead')");
    eventually("the copy has the third row", || rows("copy.db").as_deref() == Some("one,two,dead"));
    assert_eq!((of_first.terminate(), first.terminate()), (0, 0));

    let primary = agent("old", "old.db");
    write("old.db", "INSERT INTO rows (body) VALUES ('alive')");
    let replica = follow(&primary);
    let mut seen = Vec::new();
    eventually("the copy is of the other branch", || {
        seen.extend(rows("copy.db"));
        seen.last().is_some_and(|last| last == "one,two,alive")
    });
    // A reader sees the one branch or the other, and what died never again.
    assert!(seen.iter().all(|rows| ["one,two,dead", "one,two,alive"].contains(&rows.as_str())), "{seen:?}");
    let place = tail(at)["place"].as_str().unwrap().to_owned();
    write("old.db", "INSERT INTO rows (body) VALUES ('and on')");
    eventually("the copy goes on", || rows("copy.db").as_deref() == Some("one,two,alive,and on"));
    assert_eq!((replica.terminate(), primary.terminate()), (0, 0));

    // The database as it was on the branch that died, with the row that was not taken over.
    run(at, &format!("replay --from r --log app --tail {place} --into sqlite:lost.db")).ok();
    assert_eq!(rows("lost.db").as_deref(), Some("one,two,dead"));
    run(at, "replay --from r --log app --into sqlite:now.db").ok();
    assert_eq!(rows("now.db").as_deref(), Some("one,two,alive,and on"));
    run(at, &format!("forget --data-dir r --log app --tail {place}")).ok();
}

#[test]
fn a_tail_is_asked_for_only_where_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    run(at, "init --data-dir d --log orders --segment-size 1MiB").ok();
    for command in [
        "dump --data-dir d --tail x",
        "verify --data-dir d --log orders --tail x --against h:1",
        "read --data-dir d --log orders --tail x --follow",
        "read --server h:1 --log orders --tail x",
        "replay --from d --log orders --tail x --into jsonl:- --follow",
        "replay --from file:///nowhere --log orders --tail x --into jsonl:-",
        "forget --server h:1 --log orders --replica x --tail x",
        "forget --data-dir d --log orders --replica x",
        "forget --data-dir d --log orders",
    ] {
        run(at, command).fails(2);
    }
    let none = run(at, "replay --from d --log orders --tail x --into jsonl:-").fails(3);
    assert!(none.contains("it has none"), "{none}");
}
