//! Beside a database there is one order, and the host may die between any two of its steps.
//!
//! The host is this test program again, run as a process of its own, which kills itself at a named
//! step. After each death the primary's database is brought up to its log, two replicas follow and
//! apply, and all three databases must hold the same rows: every transaction that the host had
//! reported as committed, in order and once, and none that it had not begun (F-070, F-071).

#[path = "library/support.rs"]
#[expect(dead_code, reason = "shared with another test program")]
mod support;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use longshore::{Content, Durability, OpenSink, Primary, Replica, Settings};
use longshore_sqlite::{Recorder, SqlSink, bring_up};
use rusqlite::{Connection, params};
use support::{Agent, World, durability, within};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Where the host dies, in the order in which it gets there.
const STEPS: [&str; 6] = ["begun", "executed", "recorded", "appended", "durable", "committed"];

/// The host lives for so many transactions before it gets to the step at which it dies.
const BEFORE_DEATH: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_at_any_step_and_its_replicas_hold_the_same_transactions() -> Outcome {
    let world = World::new(&["eu-west", "us-east"]);
    Primary::create(world.dir("primary"), "orders", Content::Sql, &world.settings("primary"))?.close()?;
    let (database, journal) = (world.dir("orders.db"), world.dir("journal"));
    Connection::open(&database)?.execute_batch("CREATE TABLE unrelated (x)")?;
    for (round, step) in STEPS.iter().enumerate() {
        let died = Command::new(std::env::current_exe()?)
            .args(["--exact", "the_host_process", "--nocapture"])
            .env("LONGSHORE_TEST_HOST", world.dir(""))
            .env("LONGSHORE_TEST_STEP", step)
            .output()?;
        assert!(!died.status.success(), "the host was to die at {step:?}");
        let told = String::from_utf8_lossy(&died.stderr);
        assert!(told.contains("dying as asked"), "it died otherwise at {step:?}: {told}");

        let primary = world.open("primary", "orders");
        bring_up(primary.source(), &database)?;
        let served = Agent::serve(&primary).await;
        let replicas = [apply(&world, "eu-west", &served).await?, apply(&world, "us-east", &served).await?];
        within(primary.ticket(primary.end()).wait(durability("replicas:2/applied"))).await?;
        for replica in replicas {
            replica.stop().await?;
        }
        served.stop().await?;

        let rows = rows(&database)?;
        assert_eq!(rows, self::rows(&world.dir("eu-west.db"))?, "after dying at {step}");
        assert_eq!(rows, self::rows(&world.dir("us-east.db"))?, "after dying at {step}");
        // A counter without a gap: nothing twice, nothing missing, nothing out of order.
        let numbers: Vec<_> = rows.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
        let reported = std::fs::read_to_string(&journal)?.lines().count() as u64;
        let held = numbers.len() as u64;
        assert!(reported <= held && held <= reported + 1 + round as u64, "{reported} reported, {held} held");
        // From the moment it was appended, a transaction survives the process.
        let appended =
            STEPS.iter().position(|known| known == step) >= STEPS.iter().position(|known| *known == "appended");
        let survives = held == before(round, true);
        assert_eq!(appended, survives, "{held} after dying at {step}");
    }
    Ok(())
}

/// How many transactions there are after a round, with or without the one at which the host died.
fn before(round: usize, with: bool) -> u64 {
    let survivors = STEPS[..round].iter().filter(|step| ["appended", "durable", "committed"].contains(*step)).count();
    (round as u64 + 1) * BEFORE_DEATH + survivors as u64 + u64::from(with)
}

/// The host: a program with a database and a log, that dies where it was told to. Not a test by itself.
#[test]
fn the_host_process() {
    let (Ok(place), Ok(step)) = (std::env::var("LONGSHORE_TEST_HOST"), std::env::var("LONGSHORE_TEST_STEP")) else {
        return;
    };
    let error = host(Path::new(&place), &step).unwrap_err();
    panic!("the host was to die at {step}: {error}");
}

fn host(place: &Path, step: &str) -> Outcome {
    let primary = Primary::open(place.join("primary"), "orders", &Settings::default())?;
    bring_up(primary.source(), place.join("orders.db"))?;
    let mut journal = std::fs::OpenOptions::new().append(true).create(true).open(place.join("journal"))?;
    let mut recorder = Recorder::new(Connection::open(place.join("orders.db"))?, primary.id())?;
    for round in 0..=BEFORE_DEATH {
        let die_at = |reached: &str| {
            if round == BEFORE_DEATH && reached == step {
                eprintln!("dying as asked");
                kill_myself();
            }
        };
        let mut transaction = recorder.begin()?;
        die_at("begun");
        transaction
            .execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, note TEXT) STRICT", params![])?;
        let note = "x".repeat(round as usize * 1000);
        transaction.execute("INSERT INTO orders SELECT COALESCE(MAX(number), 0) + 1, ?1 FROM orders", params![note])?;
        die_at("executed");
        let recorded = transaction.record()?;
        die_at("recorded");
        let ticket = primary.append(recorded.payloads())?;
        die_at("appended");
        ticket.wait_blocking(Durability::LOCAL, Duration::from_secs(30))?;
        die_at("durable");
        recorded.commit(ticket.position())?;
        die_at("committed");
        writeln!(journal, "{}", ticket.position())?;
        journal.sync_data()?;
    }
    Err("it never got to that step".into())
}

/// As hard as it gets: no destructor runs.
fn kill_myself() {
    let me = std::process::id().to_string();
    Command::new("kill").args(["-9", &me]).status().expect("there is a kill command");
    loop {
        std::thread::park();
    }
}

async fn apply(world: &World, identity: &str, upstream: &Agent) -> Result<Agent, longshore::Error> {
    let path = world.dir(&format!("{identity}.db"));
    let label = format!("sqlite:{}", path.display());
    let open: OpenSink = Arc::new(move || Ok(Box::new(SqlSink::new(&path))));
    let replica = Replica::open(world.dir(identity), &world.replica_settings(identity, upstream))?;
    Ok(Agent::replica(replica.apply(None, &label, open)?).await)
}

fn rows(database: &Path) -> Result<Vec<(i64, String)>, rusqlite::Error> {
    let connection = Connection::open(database)?;
    let mut select = connection.prepare("SELECT number, note FROM orders ORDER BY number")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
