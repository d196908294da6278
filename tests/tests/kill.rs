//! F-070, F-071, F-076: real processes killed at random, two hundred times.
//!
//! A primary and two replicas that apply to files of JSON lines; a client that
//! appends numbered lines and learns which were acknowledged. After every kill the log is a prefix of
//! what was appended and holds all that was acknowledged; at the end all copies hold each line once.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use longshore_testkit::process::{PATIENCE, Running, until};
use longshore_testkit::seeds;
use longshore_testkit::sim_rng::Rng;
use longshore_testkit::site::{Site, ZERO};

/// Lines to an append: enough for a kill to fall into the middle of one.
const BATCH: u64 = 40;

fn kills() -> u64 {
    std::env::var("LONGSHORE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200)
}

fn numbers_of_json_lines(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let payloads = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let payloads = payloads.filter_map(|record| BASE64.decode(record["payload"].as_str()?).ok());
    payloads.filter_map(|payload| String::from_utf8(payload).ok()?.parse().ok()).collect()
}

/// An agent that is killed and started again in place.
struct Agent<'a> {
    running: Option<Running>,
    start: Box<dyn Fn() -> Running + 'a>,
}

impl<'a> Agent<'a> {
    fn new(start: impl Fn() -> Running + 'a) -> Agent<'a> {
        Agent { running: Some(start()), start: Box::new(start) }
    }

    fn kill_and_restart(&mut self) {
        self.running.take().expect("an agent is always running between kills").kill();
        self.running = Some((self.start)());
    }

    fn terminate(mut self) {
        let status = self.running.take().expect("an agent is always running between kills").terminate();
        assert!(status.success(), "{status}");
    }
}

#[test]
fn two_hundred_kills_lose_and_invent_nothing() {
    let seed = seeds::seed("-p longshore-testkit --test kill");
    let mut random = Rng::new(seed);
    let place = tempfile::tempdir().unwrap();
    let site = Site::new(place.path());

    // The port is the system's choice the first time, and then kept, as an operator's is.
    let mut first = site.primary(ZERO);
    let listen = first.listening().to_string();
    first.kill();
    let server = format!("primary@{listen}");
    let outputs = ["eu-west", "us-east"].map(|name| site.at(&format!("{name}.jsonl")));
    let applies = outputs.each_ref().map(|path| format!("jsonl:{path}"));
    let mut agents = [
        Agent::new(|| site.primary(&listen)),
        Agent::new(|| site.replica("eu-west", &server, &["--apply", &applies[0]])),
        Agent::new(|| site.replica("us-east", &server, &["--apply", &applies[1]])),
    ];

    let (mut acknowledged, mut held, mut refused) = (0_u64, 0_u64, 0);
    for _ in 0..kills() {
        let (victim, delay) = (random.index(agents.len()), Duration::from_micros(random.below(60_000)));
        let appended = std::thread::scope(|scope| {
            let appending = scope.spawn(|| site.append(&server, held + 1..=held + BATCH, "replicas:1"));
            // A moment that the seed chose; nothing relies on what it falls upon.
            std::thread::sleep(delay);
            agents[victim].kill_and_restart();
            appending.join().unwrap()
        });
        match appended {
            true => acknowledged = held + BATCH,
            false => refused += 1,
        }
        let lines = site.numbers(&server);
        held = lines.len() as u64;
        assert_eq!(lines, (1..=held).collect::<Vec<_>>(), "seed {seed}: not in order, or twice");
        assert!(acknowledged <= held, "seed {seed}: {acknowledged} were acknowledged, {held} are there");
    }
    println!("{} kills, {refused} appends cut short, {held} lines", kills());
    assert!(refused > 0, "no kill ever met an append: the test shows nothing");

    for output in &outputs {
        let deadline = Instant::now() + PATIENCE;
        let applied = until("the replicas to have applied everything", deadline, || {
            let applied = numbers_of_json_lines(Path::new(output));
            (applied.last() == Some(&held)).then_some(applied)
        });
        assert_eq!(applied, (1..=held).collect::<Vec<_>>(), "seed {seed}: {output} is not what was appended");
    }
    let [primary, eu, us] = agents;
    for agent in [eu, us] {
        agent.terminate();
    }
    for name in ["eu-west", "us-east"] {
        site.prove_equal(name, &server);
    }
    primary.terminate();
}
