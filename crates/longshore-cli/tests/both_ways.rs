//! An application's database on each side of a log whose role moves, there and back, without any agent started again.

mod common;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Agent, eventually, run};
use rusqlite::{Connection, ErrorCode};
use serde_json::Value;
use tempfile::TempDir;

/// Two agents that know each other's addresses before they run: `p` begins with an application's database, `a` with none.
struct Site {
    dir: TempDir,
    addresses: BTreeMap<&'static str, String>,
}

const NODES: [&str; 2] = ["p", "a"];

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let grants = NODES.map(|name| format!("--name {name}=admin,append,read,replicate,promote")).join(" ");
        run(dir.path(), &format!("certs tls {grants}")).ok();
        // Held at once, so that no two are the same.
        let ports = NODES.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses =
            NODES.into_iter().zip(ports.iter().map(|port| port.local_addr().unwrap().to_string())).collect();
        let site = Self { dir, addresses };
        site.app("app.db").execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body)").unwrap();
        site
    }

    fn at(&self) -> &Path {
        self.dir.path()
    }

    fn server(&self, name: &str) -> String {
        format!("{name}@{}", self.addresses[name])
    }

    fn start(&self, name: &str, args: &str) -> Agent {
        let upstreams = NODES.map(|name| format!(" --upstream {}", self.server(name))).concat();
        let identity =
            format!("--tls-dir tls --identity {name} --log-accept-weak-storage true --replica-backoff-max 200ms");
        let listen = format!("--listen {} --http 127.0.0.1:0", self.addresses[name]);
        Agent::start_at(self.at(), &format!("{args}{upstreams} --data-dir {name} {identity} {listen}"))
    }

    fn primary(&self) -> Agent {
        self.start("p", "primary --sqlite app.db --log app --init --ack-durability replicas:1 --ack-voters p,a")
    }

    fn replica(&self) -> Agent {
        self.start("a", "replica --apply app=sqlite:copy.db")
    }

    /// Moves the role to a node.
    fn move_to(&self, verb: &str, name: &str) -> String {
        let args = format!("{verb} --server {} --log app --tls-dir tls --identity p", self.server(name));
        let mut told = None;
        eventually("the role moves", || {
            let ran = run(self.at(), &args);
            told = Some(ran.stdout.clone());
            ran.code == 0
        });
        told.unwrap()
    }

    fn status(&self, name: &str) -> Value {
        let args = format!("status --server {} --tls-dir tls --identity p --json", self.server(name));
        run(self.at(), &args).json()["logs"][0].clone()
    }

    /// An application, which waits for nobody.
    fn app(&self, database: &str) -> Connection {
        let db = Connection::open(self.at().join(database)).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::ZERO).unwrap();
        db
    }

    fn rows(&self, database: &str) -> Option<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(self.at().join(database), flags).ok()?;
        db.busy_timeout(Duration::from_secs(10)).ok()?;
        let rows = "SELECT group_concat(body) FROM (SELECT body FROM rows ORDER BY id)";
        db.query_row(rows, [], |row| row.get(0)).ok()
    }

    fn equal(&self, expected: &str) {
        for database in ["app.db", "copy.db"] {
            let mut held = None;
            eventually(&format!("{database} holds {expected}"), || {
                held = self.rows(database);
                held.as_deref() == Some(expected)
            });
        }
    }
}

fn insert(db: &Connection, body: &str) -> rusqlite::Result<usize> {
    db.execute("INSERT INTO rows (body) VALUES (?1)", [body])
}

fn is_busy(outcome: &rusqlite::Result<usize>) -> bool {
    outcome.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

/// A row that is written as soon as it can be.
fn insert_once_let(db: &Connection, body: &str) {
    eventually("it may be written", || match insert(db, body) {
        Ok(rows) => rows == 1,
        outcome => {
            assert!(is_busy(&outcome), "{outcome:?}");
            false
        }
    });
}

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

/// While no agent runs nobody keeps an application from writing a database that is the log's by then.
#[test]
fn f_095_what_an_application_wrote_while_its_agent_was_stopped_is_kept_before_it_is_replaced() {
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

    let p = site.primary();
    site.equal("one,two,three");
    assert_eq!(site.rows("app.db-longshore-kept-1").as_deref(), Some("one,two,into nothing"));
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
