//! An application's database on each side of a log whose role moves, there and back, without any agent started again.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::two_nodes::{Site, insert, insert_once_let, is_busy};
use common::{Agent, eventually, run};
use rusqlite::Connection;
use serde_json::Value;

#[test]
fn f_095_f_117_an_application_writes_on_either_side_and_what_never_left_is_kept_and_read_by_nobody() {
    let site = Site::new();
    let (p, a) = (site.primary(), site.replica());
    let app = site.app("app.db");
    insert(&app, "one").unwrap();
    insert(&app, "two").unwrap();
    site.equal("one,two");

    // Nothing leaves any more. The primary goes on, and so does the application, until both are frozen.
    assert_eq!(a.terminate(), 0);
    let end = site.status("p")["end"].as_u64();
    insert(&app, "never left").unwrap();
    eventually("it is captured", || end < site.status("p")["end"].as_u64());
    p.signal("-STOP");
    let a = site.replica();
    site.move_to("promote", "a");
    let other = site.app("copy.db");
    insert_once_let(&other, "three");

    // The old primary comes back: its database is closed to writers, then to readers, then it is the new one's.
    p.signal("-CONT");
    eventually("nobody writes at the old place", || is_busy(&insert(&app, "too late")));
    let (mut seen, mut refused) = (Vec::new(), 0);
    eventually("it holds what was written elsewhere", || {
        refused += usize::from(is_busy(&insert(&app, "too late")));
        seen.extend(site.rows("app.db"));
        seen.last().is_some_and(|rows| rows.ends_with("three"))
    });
    assert!(0 < refused);
    let kept = seen.pop().unwrap();
    let late = kept.contains("too late");
    assert!(!late && kept == "one,two,three", "{kept}");
    assert!(seen.iter().all(|rows| rows.starts_with("one,two,never left")), "of the old branch until then: {seen:?}");
    insert(&other, "four").unwrap();
    site.equal("one,two,three,four");
    assert!(is_busy(&insert(&app, "too late")));

    let status = site.status("p");
    assert_eq!(status["role"], "replica", "{status}");
    let tail = status["tails"][0]["place"].as_str().unwrap().to_owned();
    run(site.at(), &format!("replay --from p --log app --tail {tail} --into sqlite:lost.db")).ok();
    assert!(site.rows("lost.db").unwrap().starts_with("one,two,never left"));

    // And back, to the same connection of the same application.
    site.move_to("switchover", "p");
    insert_once_let(&app, "five");
    let is_captured = |name| site.status(name)["sinks"][0]["captured"] == true;
    eventually("status says which is captured", || is_captured("p") && !is_captured("a"));
    eventually("nobody writes at the other place", || is_busy(&insert(&other, "too late")));
    site.equal("one,two,three,four,five");
    let at = |database: &str, data: &str| {
        eventually("it is what the log says", || {
            run(site.at(), &format!("verify --data-dir {data} --sqlite {database}")).code == 0
        });
    };
    at("app.db", "p");
    at("copy.db", "a");
    let kept = site.at().read_dir().unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(kept.filter(|name| name.contains("-kept-")).count(), 0, "whatever was committed is in a log");
    assert_eq!((a.terminate(), p.terminate()), (0, 0));
}

/// The agent dies with its region, and the application does not. What it commits is in the tail once the agent is back.
#[test]
fn f_117_what_an_application_wrote_beside_a_dead_agent_is_in_the_tail_when_that_returns() {
    let site = Site::new();
    let (mut p, a) = (site.primary(), site.replica());
    let app = site.app("app.db");
    insert(&app, "one").unwrap();
    site.equal("one");
    p.signal("-KILL");
    p.child.wait().unwrap();
    insert(&app, "beside a dead agent").unwrap();
    site.move_to("promote", "a");
    let other = site.app("copy.db");
    insert_once_let(&other, "two");

    let p = site.primary();
    site.equal("one,two");
    assert!(is_busy(&insert(&app, "too late")));
    let tail = site.status("p")["tails"][0]["place"].as_str().unwrap().to_owned();
    run(site.at(), &format!("replay --from p --log app --tail {tail} --into sqlite:lost.db")).ok();
    assert_eq!(site.rows("lost.db").as_deref(), Some("one,beside a dead agent"));
    assert!(!site.at().join("app.db-longshore-kept-1").exists(), "nothing but that was committed");
    site.move_to("switchover", "p");
    insert_once_let(&app, "three");
    site.equal("one,two,three");
    assert_eq!((a.terminate(), p.terminate()), (0, 0));
}

/// The role has moved to `a`, which goes on; the agent of `p` is stopped, and an application writes beside it.
struct Beside {
    site: Site,
    a: Agent,
    app: Connection,
    other: Connection,
}

impl Beside {
    fn begin() -> Self {
        let site = Site::new();
        let (p, a) = (site.primary(), site.replica());
        let app = site.app("app.db");
        insert(&app, "one").unwrap();
        site.equal("one");
        site.move_to("switchover", "a");
        let other = site.app("copy.db");
        insert_once_let(&other, "two");
        site.equal("one,two");
        assert_eq!(p.terminate(), 0);
        insert(&app, "into nothing").unwrap();
        insert(&other, "three").unwrap();
        Self { site, a, app, other }
    }
}

/// While no agent runs nobody keeps an application from writing a database that is the log's by then.
#[test]
fn f_095_what_an_application_wrote_while_its_agent_was_stopped_is_kept_before_it_is_replaced() {
    let Beside { site, a, app, other } = Beside::begin();

    let p = site.primary();
    site.equal("one,two,three");
    assert_eq!(site.rows("app.db-longshore-kept-1").as_deref(), Some("one,two,into nothing"));
    eventually("the copy is counted", || p.get("/metrics").contains("longshore_database_kept{log=\"app\"} 1\n"));
    let kept = &site.status("p")["sinks"][0]["kept"];
    assert!(kept[0].as_str().unwrap().ends_with("/app.db-longshore-kept-1") && kept.get(1).is_none(), "{kept}");
    // It is as good as any other by now.
    assert_eq!(p.terminate(), 0);
    insert(&other, "four").unwrap();
    let p = site.primary();
    site.equal("one,two,three,four");
    assert!(!site.at().join("app.db-longshore-kept-2").exists());
    site.move_to("switchover", "p");
    insert_once_let(&app, "five");
    site.equal("one,two,three,four,five");
    assert_eq!((a.terminate(), p.terminate()), (0, 0));
}

/// The other region goes dark before its database could be sent from there.
#[test]
fn f_095_a_node_that_is_promoted_while_its_database_holds_what_no_log_does_makes_it_anew_from_the_log() {
    let Beside { site, a, app, other: _other } = Beside::begin();
    let p = site.start("p", "replica");
    eventually("the log is there", || site.status("p")["end"] == site.status("a")["end"]);
    assert_eq!((p.terminate(), a.terminate()), (0, 0));

    let p = site.primary();
    let problem = || site.status("p")["sinks"][0]["problem"].as_str().map(str::to_owned);
    eventually("it is found", || problem().is_some_and(|problem| problem.contains("snapshot")));
    site.move_to("promote --accept-loss", "p");
    insert_once_let(&app, "four");
    assert_eq!(site.rows("app.db").as_deref(), Some("one,two,three,four"));
    assert_eq!(site.rows("app.db-longshore-kept-1").as_deref(), Some("one,two,into nothing"));
    assert!(!site.at().join("app.db-longshore-kept-2").exists());
    eventually("it is ready", || p.get("/readyz").starts_with("HTTP/1.1 200"));
    let _a = site.replica();
    site.equal("one,two,three,four");
}

/// The copy of a node that never wrote the log is the log's as well, and nobody keeps writers out of it while its agent is stopped.
#[test]
fn f_095_what_somebody_wrote_into_a_copy_while_its_agent_was_stopped_is_kept_and_comes_into_no_log() {
    let site = Site::new();
    let (p, a) = (site.primary(), site.replica());
    let app = site.app("app.db");
    insert_once_let(&app, "one");
    site.equal("one");
    assert_eq!(a.terminate(), 0);
    assert_eq!(site.rows("copy.db").as_deref(), Some("one"), "whoever reads changes nothing");
    let a = site.replica();
    insert_once_let(&app, "two");
    site.equal("one,two");
    assert!(!site.at().join("copy.db-longshore-kept-1").exists());
    assert_eq!(a.terminate(), 0);
    insert(&site.app("copy.db"), "stray").unwrap();
    insert(&app, "three").unwrap();

    let a = site.replica();
    site.equal("one,two,three");
    assert_eq!(site.rows("copy.db-longshore-kept-1").as_deref(), Some("one,two,stray"));
    let kept = &site.status("a")["sinks"][0]["kept"];
    assert!(kept[0].as_str().unwrap().ends_with("/copy.db-longshore-kept-1") && kept.get(1).is_none(), "{kept}");
    site.move_to("switchover", "a");
    insert_once_let(&site.app("copy.db"), "four");
    site.equal("one,two,three,four");
    assert_eq!((a.terminate(), p.terminate()), (0, 0));
    run(site.at(), "replay --from a --log app --to latest --into sqlite:replayed.db").ok();
    assert_eq!(site.rows("replayed.db").as_deref(), Some("one,two,three,four"));
}

/// What an application was told is committed is on the other side after a switchover, whenever it comes.
#[test]
fn f_117_a_switchover_under_writes_loses_no_commit() {
    let site = Site::new();
    let (_p, _a) = (site.primary(), site.replica());
    insert_once_let(&site.app("app.db"), "0");
    eventually("both are there", || site.rows("copy.db").is_some());
    let mut written = 1;
    for (here, node) in [("app.db", "a"), ("copy.db", "p"), ("app.db", "a")] {
        let (app, stop) = (site.app(here), Arc::new(AtomicBool::new(false)));
        insert_once_let(&app, &written.to_string());
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            let mut rows = written + 1;
            while !stopped.load(Ordering::Relaxed) {
                match insert(&app, &rows.to_string()) {
                    Ok(_) => rows += 1,
                    outcome => assert!(is_busy(&outcome), "{outcome:?}"),
                }
            }
            rows
        });
        site.move_to("switchover", node);
        eventually("it is applied to, and captured there", || is_busy(&insert(&site.app(here), "never")));
        stop.store(true, Ordering::Relaxed);
        written = writer.join().unwrap();
        let expected = (0..written).map(|row| row.to_string()).collect::<Vec<_>>().join(",");
        site.equal(&expected);
    }
}

/// An application at `p` whose transaction is under way.
fn kept_open() -> (Site, [Agent; 2], Connection) {
    let site = Site::new();
    let agents = [site.primary(), site.replica()];
    let app = site.app("app.db");
    insert_once_let(&app, "one");
    site.equal("one");
    app.execute_batch("BEGIN IMMEDIATE; INSERT INTO rows (body) VALUES ('left')").unwrap();
    (site, agents, app)
}

/// What it commits after the role has moved is in no log, and the next move tells nothing of it.
fn commits(site: &Site, app: Connection) {
    app.execute_batch("COMMIT").unwrap();
    drop(app);
    site.equal("one");
    let told = site.move_to("switchover", "p");
    assert!(!told.contains("left behind"), "nobody kept anything open: {told}");
}

/// The switchover waits for it as long as it may; then it says where what that transaction commits is found.
#[test]
fn f_117_a_transaction_that_is_kept_open_over_a_switchover_is_told() {
    let (site, _agents, app) = kept_open();
    let told = serde_json::from_str::<Value>(&site.move_to("switchover --json", "a")).unwrap();
    assert_eq!(told["plan"]["left_open"], Value::Null, "{told}");
    assert_eq!(told["done"]["left_open"], "p", "{told}");
    assert_eq!(told["done"]["policy"], "replicas:1", "{told}");
    commits(&site, app);
}

/// Whoever tries again asks a node that has stopped by then: nothing is left open for this epoch, and yet it was.
#[test]
fn f_117_a_transaction_that_is_kept_open_is_told_by_the_attempt_that_succeeds_and_by_whoever_asks_again() {
    let (site, _agents, app) = kept_open();
    // As far as an attempt came that ended before its epoch began.
    site.move_to("fence", "p");
    let told = site.move_to("promote", "a");
    assert!(told.contains("left behind: a transaction was under way at p"), "{told}");
    let told = site.move_to("promote", "a");
    assert!(told.contains("a writes app already"), "{told}");
    assert!(told.contains("left behind: a transaction was under way at p"), "{told}");
    commits(&site, app);
}

#[test]
fn a_replica_that_is_started_again_goes_on_with_all_its_databases() {
    const TWO: &str = "replica --apply app=sqlite:copy.db --apply app=sqlite:second.db";
    let site = Site::new();
    let (p, a) = (site.primary(), site.start("a", TWO));
    let app = site.app("app.db");
    insert_once_let(&app, "one");
    let both = |expected: &str| {
        site.equal(expected);
        eventually("the second one, too", || site.rows("second.db").as_deref() == Some(expected));
    };
    both("one");
    assert_eq!(a.terminate(), 0);
    let a = site.start("a", TWO);
    insert_once_let(&app, "two");
    both("one,two");
    assert_eq!((a.terminate(), p.terminate()), (0, 0));
}
