//! A role that moves between real agents: what is told before and after, what is refused, and what a kill leaves.

mod common;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Agent, Ran, eventually, longshore, run, run_with};
use serde_json::Value;
use tempfile::TempDir;

/// Agents that know each other's addresses before they run; the first is the primary.
struct Site {
    dir: TempDir,
    addresses: BTreeMap<&'static str, String>,
    policy: &'static str,
}

const NODES: [&str; 3] = ["p", "a", "b"];

impl Site {
    fn new(policy: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let grants = NODES.map(|name| format!("--name {name}=admin,append,read,replicate,promote")).join(" ");
        run(dir.path(), &format!("certs tls {grants} --name app=append,read")).ok();
        run(dir.path(), "init --data-dir p --log orders --segment-size 1MiB").ok();
        // Held at once, so that no two are the same.
        let ports = NODES.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses =
            NODES.into_iter().zip(ports.iter().map(|port| port.local_addr().unwrap().to_string())).collect();
        Self { dir, addresses, policy }
    }

    fn at(&self) -> &Path {
        self.dir.path()
    }

    /// How a node is called.
    fn server(&self, name: &str) -> String {
        format!("{name}@{}", self.addresses[name])
    }

    /// The one list that all nodes have.
    fn upstreams(&self) -> String {
        NODES.map(|name| format!(" --upstream {}", self.server(name))).concat()
    }

    fn start(&self, name: &str, args: &str) -> Agent {
        let identity =
            format!("--tls-dir tls --identity {name} --log-accept-weak-storage true --replica-backoff-max 200ms");
        let listen = format!("--listen {} --http 127.0.0.1:0", self.addresses[name]);
        Agent::start_at(self.at(), &format!("{args} --data-dir {name} {identity} {listen}"))
    }

    fn primary(&self) -> Agent {
        self.start("p", &format!("primary --ack-durability {} --ack-voters p,a,b{}", self.policy, self.upstreams()))
    }

    fn replica(&self, name: &str) -> Agent {
        self.start(name, &format!("replica{}", self.upstreams()))
    }

    fn command(&self, args: &str) -> String {
        format!("{args} --log orders --tls-dir tls --identity p")
    }

    fn run(&self, args: &str) -> Ran {
        run(self.at(), &self.command(args))
    }

    /// Appends one line and waits as the policy says.
    fn append(&self, name: &str, line: &str) -> Ran {
        let args = format!("append --server {} --wait {} --wait-timeout 30s", self.server(name), self.policy);
        run_with(self.at(), &self.command(&args), format!("{line}\n").as_bytes())
    }

    fn status(&self, name: &str) -> Value {
        let args = format!("status --server {} --tls-dir tls --identity p --json", self.server(name));
        run(self.at(), &args).json()["logs"][0].clone()
    }

    fn end(&self, name: &str) -> u64 {
        self.status(name)["durable"].as_u64().unwrap_or(0)
    }

    fn equal(&self, names: &[&str]) {
        eventually("all copies end alike", || names.iter().all(|name| self.end(name) == self.end(names[0])));
        let read = |name: &str| self.run(&format!("read --server {}", self.server(name))).ok();
        for name in names {
            assert_eq!(read(name), read(names[0]), "{name}");
        }
    }
}

/// F-117, and the plan before it.
#[test]
fn a_replica_is_promoted_and_the_old_primary_rejoins_when_it_returns() {
    let site = Site::new("replicas:1");
    let p = site.primary();
    let (a, b) = (site.replica("a"), site.replica("b"));
    let end: u64 = site.append("p", "before").ok().trim().parse().unwrap();
    eventually("both have it", || end <= site.end("a") && end <= site.end("b"));
    drop(p);

    let promote = format!("promote --server {}", site.server("a"));
    let plan = site.run(&format!("{promote} --plan")).ok();
    for told in ["a would write orders in epoch 2", "policy  replicas:1", "fence   whole", "lost    nothing"] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    assert_eq!(site.status("a")["role"], "replica", "a plan changes nothing");
    let told = site.run(&promote).ok();
    assert!(told.contains("a writes orders in epoch 2") && told.contains("next: "), "{told}");
    let told = site.run(&promote).ok();
    assert!(told.contains("a writes orders already, in epoch 2"), "{told}");
    site.append("a", "after").ok();

    let p = site.primary();
    site.equal(&["a", "b", "p"]);
    let status = site.status("p");
    assert_eq!((&status["role"], &status["accepted_epoch"]), (&"replica".into(), &2.into()), "{status}");
    assert_eq!(status["path"].as_array().unwrap().last(), Some(&"a".into()), "by itself or through b: {status}");
    assert_eq!(status["policy"]["voters"].as_array().unwrap().len(), 3, "{status}");
    // Metrics are set once a second.
    eventually("its metrics say so too", || p.get("/metrics").contains("longshore_log_epoch{log=\"orders\"} 2"));
    for agent in [p, b, a] {
        assert_eq!(agent.terminate(), 0);
    }
}

/// F-116: it is fenced first, and refuses what comes after.
#[test]
fn f_116_a_live_primary_is_fenced_before_another_writes() {
    let site = Site::new("replicas:1");
    let (_p, _a, _b) = (site.primary(), site.replica("a"), site.replica("b"));
    site.append("p", "before").ok();
    let told = site.run(&format!("promote --server {} --json", site.server("b"))).json();
    assert_eq!(told["done"]["promoted"], true, "{told}");
    assert!(told["done"]["write_pause_seconds"].as_f64().is_some(), "{told}");
    // It is refused there, whether it has begun to follow by then or not.
    let refused = site.append("p", "too late");
    assert!([2, 9].contains(&refused.code), "{}: {}", refused.code, refused.stderr);
    site.append("b", "after").ok();
    site.equal(&["b", "a", "p"]);
    assert!(!site.run(&format!("read --server {}", site.server("a"))).ok().contains("too late"));
}

#[test]
fn a_switchover_moves_the_role_there_and_back_with_nothing_lost() {
    let site = Site::new("replicas:1");
    let (_p, _a, _b) = (site.primary(), site.replica("a"), site.replica("b"));
    for (from, to) in [("p", "a"), ("a", "p"), ("p", "b")] {
        let line = format!("by {from}");
        eventually("it may be appended", || site.append(from, &line).code == 0);
        let switchover = format!("switchover --server {}", site.server(to));
        assert!(site.run(&format!("{switchover} --plan")).ok().contains(&format!("{to} would write orders")));
        let told = site.run(&switchover).ok();
        assert!(told.contains(&format!("{to} writes orders")) && told.contains("nobody could append for"), "{told}");
    }
    site.equal(&["b", "a", "p"]);
    let read = site.run(&format!("read --server {}", site.server("b"))).ok();
    let mut lines: Vec<&str> = read.lines().collect();
    lines.dedup();
    assert_eq!(lines, ["by p", "by a", "by p"]);
}

/// F-115: what another replica has beyond it is fetched; where the other cannot be reached it is refused, or the loss accepted.
#[test]
fn f_115_a_replica_that_is_behind_fetches_what_another_has_or_is_refused() {
    let site = Site::new("replicas:1");
    let (p, a, b) = (site.primary(), site.replica("a"), site.replica("b"));
    let end: u64 = site.append("p", "to all").ok().trim().parse().unwrap();
    eventually("both have it", || end <= site.end("a") && end <= site.end("b"));
    assert_eq!(b.terminate(), 0);
    let end: u64 = site.append("p", "to a alone").ok().trim().parse().unwrap();
    drop(p);

    // Without a, nobody who votes is left that could vouch for what was confirmed.
    a.signal("-STOP");
    let b = site.replica("b");
    let promote = format!("promote --server {}", site.server("b"));
    let told = site.run(&promote).fails(9);
    assert!(told.contains("a, p") && told.contains("--accept-loss"), "{told}");
    assert_eq!(site.status("b")["role"], "replica");
    a.signal("-CONT");

    let plan = site.run(&format!("{promote} --plan")).ok();
    assert!(plan.contains("that a has and this copy lacks"), "{plan}");
    site.run(&promote).ok();
    assert!(end <= site.end("b"));
    assert_eq!(site.run(&format!("read --server {}", site.server("b"))).ok(), "to all\nto a alone\n");
    site.append("b", "after").ok();
    site.equal(&["b", "a"]);
    assert_eq!(b.terminate(), 0);
}

#[test]
fn f_115_an_epoch_that_is_to_begin_before_the_end_needs_the_loss_accepted() {
    let site = Site::new("replicas:1");
    let (p, _a, _b) = (site.primary(), site.replica("a"), site.replica("b"));
    let first = site.append("p", "kept").ok();
    let end: u64 = site.append("p", "given up").ok().trim().parse().unwrap();
    eventually("both have it", || end <= site.end("a") && end <= site.end("b"));
    drop(p);
    let promote = format!("promote --server {} --to {}", site.server("a"), first.trim());
    let plan = site.run(&format!("{promote} --plan")).ok();
    assert!(plan.contains("lost    1 record, ") && plan.contains("held by a"), "{plan}");
    assert!(!plan.contains("an unknown"), "{plan}");
    let position: u64 = first.trim().parse().unwrap();
    let at = |to: u64| format!("promote --server {} --to {to} --plan", site.server("a"));
    for (to, code, told) in [
        (end + 8, 4, format!("it ends at {end}, before {}\nnext: the nearest position is {end}", end + 8)),
        (position + 1, 2, format!("{position}")),
    ] {
        let refused = site.run(&at(to)).fails(code);
        assert!(refused.contains(&told), "{refused}");
    }
    assert!(site.run(&promote).fails(9).contains("--accept-loss"));
    assert_eq!(site.status("a")["role"], "replica");
    assert_eq!(site.end("a"), end, "nothing was cut");
    site.run(&format!("{promote} --accept-loss")).ok();
    site.append("a", "after").ok();
    site.equal(&["a", "b"]);
    assert_eq!(site.run(&format!("read --server {}", site.server("b"))).ok(), "kept\nafter\n");
}

/// F-114: at whatever step the agent that is promoted dies, the same command goes on.
#[test]
fn f_114_a_promotion_that_was_killed_in_the_middle_is_run_again() {
    let site = Site::new("replicas:1");
    let (p, mut a, _b) = (site.primary(), site.replica("a"), site.replica("b"));
    let end: u64 = site.append("p", "before").ok().trim().parse().unwrap();
    eventually("both have it", || end <= site.end("a") && end <= site.end("b"));
    drop(p);
    // Each time killed a little later, until one is through before it is killed.
    let promote = site.command(&format!("promote --server {}", site.server("a")));
    for millis in (0..).step_by(20) {
        let mut promoting = start(site.at(), &promote);
        let begun = std::time::Instant::now();
        let mut ended = None;
        while ended.is_none() && begun.elapsed().as_millis() < millis {
            ended = promoting.try_wait().unwrap();
        }
        a.signal("-KILL");
        a.child.wait().unwrap();
        let ended = ended.unwrap_or_else(|| promoting.wait().unwrap());
        a = site.replica("a");
        eventually("a serves again", || site.status("a")["accepted_epoch"].as_u64().is_some());
        if ended.success() {
            break;
        }
    }
    run(site.at(), &promote).ok();
    let status = site.status("a");
    assert_eq!(status["role"], "primary", "also after a kill: {status}");
    site.append("a", "after").ok();
    site.equal(&["a", "b"]);
    assert_eq!(site.run(&format!("read --server {}", site.server("b"))).ok(), "before\nafter\n");
}

#[test]
fn an_agent_that_was_fenced_by_hand_stops_until_somebody_is_promoted() {
    let site = Site::new("replicas:1");
    let (p, _a, b) = (site.primary(), site.replica("a"), site.replica("b"));
    site.append("p", "before").ok();
    let fence = format!("fence --server {}", site.server("p"));
    let plan = site.run(&format!("{fence} --plan")).ok();
    assert!(plan.contains("p would accept epoch 2: it wrote epoch 1"), "{plan}");
    assert_eq!(site.status("p")["fenced"], false);
    let told = site.run(&fence).ok();
    assert!(told.contains("p accepted epoch 2") && told.contains("next: "), "{told}");
    let status = site.status("p");
    assert_eq!((&status["role"], &status["fenced"]), (&"fenced".into(), &true.into()));
    site.append("p", "refused").fails(9);
    eventually("metrics say so", || p.get("/metrics").contains("longshore_log_fenced{log=\"orders\"} 1"));
    site.run(&format!("{fence} --epoch 2")).fails(9);

    // Two of three voters, with the writer's own consent, are enough: it says itself that the epoch never began.
    assert_eq!(b.terminate(), 0);
    site.run(&format!("promote --server {}", site.server("a"))).ok();
    site.append("a", "after").ok();
    site.equal(&["a", "p"]);
}

/// A log whose writer was fenced, and an agent that knows nobody else.
#[test]
fn a_fenced_primary_that_knows_nobody_says_how_it_comes_back() {
    let site = Site::new("local");
    let alone = "primary";
    let p = site.start("p", alone);
    site.run(&format!("fence --server {}", site.server("p"))).ok();
    assert_eq!(p.terminate(), 0);
    let again = "primary --data-dir p --tls-dir tls --identity p --listen 127.0.0.1:0 --http 127.0.0.1:0";
    let told = run(site.at(), again).fails(9);
    assert!(told.contains("--upstream NAME@HOST:PORT"), "{told}");
    let told = run(site.at(), "status --data-dir p").ok();
    assert!(told.contains("orders (fenced") && told.contains("FENCED"), "{told}");
}

#[test]
fn what_local_promises_no_promotion_protects_and_it_says_so() {
    let site = Site::new("local");
    let p = site.start("p", "primary");
    let _a = site.replica("a");
    let end: u64 = site.append("p", "shipped").ok().trim().parse().unwrap();
    eventually("a has it", || end <= site.end("a"));
    drop(p);
    let promote = format!("promote --server {}", site.server("a"));
    let plan = site.run(&format!("{promote} --plan")).ok();
    assert!(plan.contains("fence   none: local needs no replica"), "{plan}");
    assert!(site.run(&promote).fails(9).contains("--accept-loss"));
    site.run(&format!("{promote} --accept-loss")).ok();
    site.append("a", "after").ok();
}

#[test]
fn a_request_that_cannot_be_is_refused_with_its_exit_code() {
    let site = Site::new("replicas:1");
    let (_p, _a) = (site.primary(), site.replica("a"));
    eventually("a has the log", || site.status("a")["role"] == "replica");
    let as_p = "--tls-dir tls --identity p";
    for verb in ["promote", "switchover", "fence"] {
        let (a, log) = (site.server("a"), "--log orders");
        let told = run(site.at(), &format!("{verb} --server {a} --log none {as_p}")).fails(3);
        assert!(told.contains("none"), "{told}");
        run(site.at(), &format!("{verb} --server {a} --log No! {as_p}")).fails(2);
        run(site.at(), &format!("{verb} --server 127.0.0.1:1 {log} {as_p}")).fails(11);
        let told = run(site.at(), &format!("{verb} --server {a} {log} --tls-dir tls --identity app")).fails(13);
        assert!(told.contains("promote") || verb == "fence", "{told}");
        run(site.at(), &format!("{verb} --server b@{} {log} {as_p}", site.addresses["a"])).fails(13);
    }
    let to = format!("promote --server {} --to 99999999 --accept-loss", site.server("a"));
    let told = site.run(&to);
    assert!([2, 4].contains(&told.code), "{}: {}", told.code, told.stderr);
    // Without anybody who writes there is no role to move.
    drop(_p);
    let told = site.run(&format!("switchover --server {}", site.server("a"))).fails(11);
    assert!(told.contains("longshore promote"), "{told}");
}

fn start(dir: &Path, args: &str) -> Child {
    let mut command: Command = longshore(dir);
    command.args(args.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn an_agent_that_was_fenced_is_not_fenced_again() {
    let site = Site::new("replicas:1");
    let (_p, _a, _b) = (site.primary(), site.replica("a"), site.replica("b"));
    site.append("p", "before").ok();
    let fence = format!("fence --server {}", site.server("p"));
    assert!(site.run(&fence).ok().contains("accepted epoch 2"));
    let again = site.run(&fence).ok();
    assert!(again.contains("accepted epoch 2 before") && again.contains("nothing was changed"), "{again}");
    assert_eq!(site.status("p")["accepted_epoch"], 2, "no epoch is used up");
}

/// A primary without upstreams asks nobody, and hears of it from the replica alone.
#[test]
fn a_primary_that_may_not_win_a_replica_back_goes_on_writing_what_it_can() {
    let site = Site::new("replicas:1");
    // Of four voters three have to accept an epoch, and two are silent.
    let _p = site.start("p", "primary --ack-durability replicas:1 --ack-voters p,a,b,c");
    let _a = site.replica("a");
    site.append("p", "before").ok();
    site.run(&format!("fence --server {}", site.server("a"))).ok();
    let append = site.command(&format!("append --server {} --wait local", site.server("p")));
    let told = site.run(&format!("promote --server {} --peer {}", site.server("p"), site.server("a"))).fails(9);
    assert!(told.contains("b") && told.contains("--accept-loss"), "{told}");
    run_with(site.at(), &append, b"after\n").ok();
}

#[test]
fn a_primary_whose_replica_waits_for_a_later_epoch_says_so_and_how_to_win_it_back() {
    let site = Site::new("replicas:1");
    let _p = site.start("p", "primary --ack-durability replicas:1 --ack-voters p,a");
    let _a = site.replica("a");
    site.append("p", "before").ok();
    let promote = format!("promote --server {}", site.server("p"));
    assert!(!site.run(&promote).ok().contains("warning"));
    site.run(&format!("fence --server {}", site.server("a"))).ok();
    let mut told = String::new();
    eventually("p has heard of it", || {
        told = site.run(&promote).ok();
        told.contains("p writes orders already, in epoch 1") && told.contains("warning: a has accepted epoch 2")
    });
    assert!(told.contains("with --peer a@HOST:PORT"), "{told}");
    let told = site.run(&format!("{promote} --peer {}", site.server("a"))).ok();
    assert!(told.contains("p writes orders in epoch 3"), "{told}");
    site.append("p", "after").ok();
    assert!(!site.run(&promote).ok().contains("warning"));
}

#[test]
fn who_appends_at_a_replica_is_told_where_to() {
    let site = Site::new("replicas:1");
    let (_p, _a) = (site.primary(), site.replica("a"));
    site.append("p", "before").ok();
    eventually("a knows its way", || !site.status("a")["path"].as_array().unwrap().is_empty());
    let refused = site.append("a", "here").fails(2);
    assert!(refused.contains("append at its primary, p"), "{refused}");
}

#[test]
fn who_confirms_without_what_the_policy_asks_for_says_so() {
    let site = Site::new("replicas:1");
    let degrade = format!(
        "primary --ack-durability replicas:1 --ack-voters p,a,b --ack-shortfall degrade --ack-degrade-after 100ms{}",
        site.upstreams()
    );
    let p = site.start("p", &degrade);
    let alone = site.append("p", "alone");
    assert!(alone.stderr.contains("orders is degraded: replicas:1 cannot be had"), "{}", alone.stderr);
    alone.ok();
    let ready = p.get("/readyz");
    assert!(ready.contains("200") && ready.contains("log orders is degraded"), "{ready}");
    let _a = site.replica("a");
    eventually("it is had again", || site.status("p")["policy"]["degraded"] == false);
    let together = site.append("p", "together");
    assert!(!together.stderr.contains("degraded"), "{}", together.stderr);
    together.ok();
    assert!(!p.get("/readyz").contains("degraded"));
}

/// A slot from when it wrote the log would look like a replica that is away, and then lost.
#[test]
fn who_wrote_the_log_before_shows_no_replicas_that_follow_another_by_now() {
    let site = Site::new("replicas:1");
    let (p, _a, _b) = (site.primary(), site.replica("a"), site.replica("b"));
    site.append("p", "one").ok();
    let replicas = |name: &str| {
        let status = site.status(name);
        let replicas = status["replicas"].as_array().unwrap().iter();
        replicas.map(|replica| replica["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("both follow", || replicas("p") == ["a", "b"]);
    eventually("the role moves", || site.run(&format!("switchover --server {}", site.server("a"))).code == 0);
    eventually("both follow the new one", || replicas("a") == ["b", "p"] && site.status("p")["role"] == "replica");
    // It may have come back before `b` left, which then follows by way of it.
    let is_missed = |replica: &Value| replica["connected"] != true;
    eventually("nobody is missed", || !site.status("p")["replicas"].as_array().unwrap().iter().any(is_missed));
    assert!(!run(site.at(), "status --data-dir p --json").json()["logs"][0]["replicas"].as_array().unwrap().is_empty());
    assert_eq!(p.terminate(), 0);
}
