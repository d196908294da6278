//! Two agents beside an application's database each.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use serde_json::Value;
use tempfile::TempDir;

use super::{Agent, eventually, run};

/// Two agents that know each other's addresses before they run: `p` begins with an application's database, `a` with none.
pub struct Site {
    pub dir: TempDir,
    pub addresses: BTreeMap<&'static str, String>,
}

const NODES: [&str; 2] = ["p", "a"];

impl Site {
    pub fn new() -> Self {
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

    pub fn at(&self) -> &Path {
        self.dir.path()
    }

    pub fn server(&self, name: &str) -> String {
        format!("{name}@{}", self.addresses[name])
    }

    pub fn start(&self, name: &str, args: &str) -> Agent {
        let upstreams = NODES.map(|name| format!(" --upstream {}", self.server(name))).concat();
        let identity =
            format!("--tls-dir tls --identity {name} --log-accept-weak-storage true --replica-backoff-max 200ms");
        let listen = format!("--listen {} --http 127.0.0.1:0", self.addresses[name]);
        Agent::start_at(self.at(), &format!("{args}{upstreams} --data-dir {name} {identity} {listen}"))
    }

    pub fn primary(&self) -> Agent {
        self.start("p", "primary --sqlite app.db --log app --init --ack-durability replicas:1 --ack-voters p,a")
    }

    pub fn replica(&self) -> Agent {
        self.start("a", "replica --apply app=sqlite:copy.db")
    }

    /// Moves the role to a node.
    pub fn move_to(&self, verb: &str, name: &str) -> String {
        let args = format!("{verb} --server {} --log app --tls-dir tls --identity p", self.server(name));
        let mut told = None;
        eventually("the role moves", || {
            let ran = run(self.at(), &args);
            told = Some(ran.stdout.clone());
            ran.code == 0
        });
        told.unwrap()
    }

    pub fn status(&self, name: &str) -> Value {
        let args = format!("status --server {} --tls-dir tls --identity p --json", self.server(name));
        run(self.at(), &args).json()["logs"][0].clone()
    }

    /// An application, which waits for nobody.
    pub fn app(&self, database: &str) -> Connection {
        let db = Connection::open(self.at().join(database)).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::ZERO).unwrap();
        db
    }

    pub fn rows(&self, database: &str) -> Option<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(self.at().join(database), flags).ok()?;
        db.busy_timeout(Duration::from_secs(10)).ok()?;
        let rows = "SELECT group_concat(body) FROM (SELECT body FROM rows ORDER BY id)";
        db.query_row(rows, [], |row| row.get(0)).ok()
    }

    pub fn equal(&self, expected: &str) {
        for database in ["app.db", "copy.db"] {
            let mut held = None;
            eventually(&format!("{database} holds {expected}"), || {
                held = self.rows(database);
                held.as_deref() == Some(expected)
            });
        }
    }
}

pub fn insert(db: &Connection, body: &str) -> rusqlite::Result<usize> {
    db.execute("INSERT INTO rows (body) VALUES (?1)", [body])
}

pub fn is_busy(outcome: &rusqlite::Result<usize>) -> bool {
    outcome.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

/// A row that is written as soon as it can be.
pub fn insert_once_let(db: &Connection, body: &str) {
    eventually("it may be written", || match insert(db, body) {
        Ok(rows) => rows == 1,
        outcome => {
            assert!(is_busy(&outcome), "{outcome:?}");
            false
        }
    });
}
