//! What an operator is told of a node that writes the log of a database and captures none: by a promotion, by the status, by
//! `/readyz` and by the metrics.

mod common;

use std::time::Duration;

use common::two_nodes::{Site, insert, insert_once_let};
use common::{Agent, eventually, run};

const READY: &str = "HTTP/1.1 200";
const NOT_READY: &str = "HTTP/1.1 503";

fn is_uncaptured(agent: &Agent) -> bool {
    agent.get("/metrics").contains("longshore_log_uncaptured{log=\"app\"} 1\n")
}

#[test]
fn a_relay_needs_no_database_and_a_writer_without_one_says_so() {
    let site = Site::new();
    let (p, a) = (site.primary(), site.start("a", "replica"));
    let app = site.app("app.db");
    insert(&app, "one").unwrap();
    let is_there =
        || site.status("a")["end"] == site.status("p")["end"] && site.status("a")["policy"] != serde_json::Value::Null;
    eventually("it is there", is_there);
    let told = a.get("/readyz");
    assert!(told.starts_with(READY) && told.ends_with("ok\n"), "{told}");
    assert_eq!(site.status("a")["problem"], serde_json::Value::Null);

    let why = "no database is captured into it here: applications cannot write it by SQLite at this node";
    let asked = format!("switchover --plan --server {} --log app --tls-dir tls --identity p", site.server("a"));
    let plan = run(site.at(), &asked).ok();
    assert!(plan.contains("warning") && plan.contains(why), "{plan}");
    let plan = run(site.at(), &format!("{asked} --json")).json();
    assert!(plan["plan"]["warnings"][0].as_str().unwrap().starts_with(why), "{plan}");
    let done = site.move_to("switchover", "a");
    assert!(done.contains(&format!("\nwarning: {why}")), "{done}");

    let status = site.status("a");
    assert!(status["problem"].as_str().unwrap().contains(why), "{status}");
    let text = run(site.at(), &format!("status --server {} --tls-dir tls --identity p", site.server("a"))).ok();
    assert!(text.contains("NOT CAPTURED: no database"), "{text}");
    let told = a.get("/readyz");
    assert!(told.starts_with(NOT_READY) && told.contains("log app: no database is captured into it here"), "{told}");
    eventually("it is measured", || is_uncaptured(&a));
    eventually("who follows is ready", || p.get("/readyz").starts_with(READY));
    assert!(!is_uncaptured(&p));

    // Given one, it is what it is to be.
    assert_eq!(a.terminate(), 0);
    run(site.at(), "replay --from a --log app --to latest --into sqlite:copy.db").ok();
    let a = site.replica();
    insert_once_let(&site.app("copy.db"), "two");
    eventually("it is ready", || a.get("/readyz").starts_with(READY));
    assert_eq!(site.status("a")["problem"], serde_json::Value::Null);
    site.equal("one,two");
}

#[test]
fn a_primary_without_the_database_of_its_log_is_not_ready() {
    let site = Site::new();
    assert_eq!(site.primary().terminate(), 0);
    let p = site.start("p", "primary");
    let told = p.get("/readyz");
    assert!(
        told.starts_with(NOT_READY) && told.contains("then start the agent with it, a primary with --sqlite"),
        "{told}"
    );
}

#[test]
fn a_database_that_does_not_come_up_is_told_by_the_promotion_until_it_does() {
    let site = Site::new();
    let (_p, a) = (site.primary(), site.replica());
    insert(&site.app("app.db"), "one").unwrap();
    site.equal("one");
    let at = |name: &str| site.at().join(name);
    std::fs::rename(at("copy.db"), at("elsewhere.db")).unwrap();
    let done = site.move_to("switchover", "a");
    assert!(done.contains("\nwarning: sqlite:copy.db is not captured") && done.contains("No such file"), "{done}");
    let told = a.get("/readyz");
    assert!(told.starts_with(NOT_READY) && told.contains("log app: sqlite:copy.db is not captured"), "{told}");
    assert!(told.contains("log app is not captured from sqlite:copy.db: "), "{told}");
    let problem = site.status("a")["problem"].to_string();
    assert!(problem.contains("sqlite:copy.db is not captured"), "{problem}");
    eventually("it is measured", || is_uncaptured(&a));

    std::fs::rename(at("elsewhere.db"), at("copy.db")).unwrap();
    eventually("it is ready", || a.get("/readyz").starts_with(READY));
    insert_once_let(&site.app("copy.db"), "two");
    site.equal("one,two");
}

/// What cannot be appended stays in the `-wal`, and nobody would look for it there.
#[test]
fn a_capture_that_pauses_is_told_for_as_long_as_it_lasts() {
    let site = Site::new();
    let small = "--log-segment-size 1MiB --retention-slot-cap 2MiB --retention-at-cap block --retention-interval 100ms";
    let p = site.start("p", &format!("primary --sqlite app.db --log app --init {small}"));
    let a = site.replica();
    let app = site.app("app.db");
    insert(&app, "one").unwrap();
    site.equal("one");
    assert_eq!(a.terminate(), 0);
    app.busy_timeout(Duration::from_secs(30)).unwrap();
    let is_paused = || p.get("/metrics").contains("longshore_capture_paused{log=\"app\"} 1\n");
    for _ in 0..20 {
        app.execute("INSERT INTO rows (body) VALUES (hex(randomblob(200000)))", []).unwrap();
    }
    eventually("the log is full", is_paused);
    // Each looks at its own times.
    let mut told = String::new();
    eventually("it is told", || {
        told = p.get("/readyz");
        told.starts_with(NOT_READY)
    });
    assert!(told.contains("log app is not captured from sqlite:app.db: "), "{told}");
    let sink = &site.status("p")["sinks"][0];
    assert!(sink["problem"].as_str().unwrap().contains("what is committed meanwhile is captured"), "{sink}");
    assert_eq!(sink["captured"], true, "{sink}");
    let why = sink["problem"].as_str().unwrap().split("; what is committed").next().unwrap().to_owned();
    let mark = run(site.at(), &format!("mark now --server {} --log app --tls-dir tls --identity p", site.server("p")));
    assert!(mark.code != 0 && mark.stderr.contains(&why), "{}", mark.stderr);
    // Also while it is tried again, which it was often by now: a mark waits for seconds.
    assert!(p.get("/readyz").starts_with(NOT_READY));

    let _a = site.replica();
    eventually("it goes on", || !is_paused() && p.get("/readyz").starts_with(READY));
    assert_eq!(site.status("p")["sinks"][0]["problem"], serde_json::Value::Null);
    let all = site.rows("app.db").unwrap();
    site.equal(&all);
}

#[test]
fn a_second_agent_says_who_captures_the_database_and_waits_for_its_end() {
    let (site, other) =
        (Site::new(), "primary --sqlite app.db --log app --init --data-dir other --tls-dir tls --identity p");
    let p = site.primary();
    let second = Agent::start(site.at(), other);
    let by = format!("process {} (longshore) holds the checkpoint lock", p.child.id());
    let mut told = String::new();
    eventually("it says who", || {
        told = second.get("/readyz");
        told.contains(&by)
    });
    assert!(told.starts_with(NOT_READY), "{told}");
    let status = format!("status --server p@{} --tls-dir tls --identity p --json", second.address);
    let sink = &run(site.at(), &status).json()["logs"][0]["sinks"][0];
    assert!(sink["problem"].as_str().unwrap().contains(&by), "{sink}");
    assert_eq!(p.terminate(), 0);
    eventually("it captures", || second.get("/readyz").starts_with(READY));
    assert_eq!(second.terminate(), 0);
}
