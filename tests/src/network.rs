//! Machines of a test: a network namespace each, on one bridge, whose links can be cut one way at a time.
//!
//! A namespace lives as long as the process that holds it, and that one as long as its stdin is open: so a test that is killed
//! leaves nothing behind. A cut sends frames to a hardware address that nobody has. They are lost without a word, as in a
//! network; connections stay open, and what goes the other way arrives.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::run_with;

/// A hardware address of no machine.
const NOBODY: &str = "02:00:00:00:ff:ff";

/// Several machines, and a hub from which the test reaches all of them.
#[derive(Debug)]
pub struct Network {
    hub: Space,
    machines: Vec<Space>,
}

impl Network {
    /// Makes machines 0 to `count`; `None`, with a word about it, where namespaces cannot be made.
    pub fn new(count: usize) -> Option<Network> {
        let Some(hub) = Space::new() else {
            println!("skipped: network namespaces cannot be made here; it takes root, unshare, nsenter and ip");
            return None;
        };
        hub.ip("link set lo up\nlink add br0 type bridge\nlink set br0 up\naddr add 10.0.0.254/24 dev br0\n");
        let mut network = Network { hub, machines: Vec::new() };
        for machine in 0..count {
            let space = Space::new().expect("the hub has one, too");
            let holder = space.holder.id();
            network.hub.ip(&format!(
                "link add m{machine} type veth peer name eth0 netns {holder}\nlink set m{machine} master br0 up\n"
            ));
            let (address, hardware) = (Self::address(machine), hardware(machine));
            space.ip(&format!(
                "link set lo up\nlink set eth0 address {hardware}\naddr add {address}/24 dev eth0\nlink set eth0 up\n"
            ));
            network.machines.push(space);
        }
        Some(network)
    }

    /// Where a machine is.
    pub fn address(machine: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(machine + 1).expect("a few machines")))
    }

    /// The same command, to be run on a machine. The process keeps its id, so that signals reach it.
    pub fn on(&self, machine: usize, command: &Command) -> Command {
        self.machines[machine].run(command)
    }

    /// Moves the calling thread to the hub, and so every socket that it opens from now on.
    pub fn enter(&self) {
        let place = File::open(self.hub.path()).expect("the holder lives");
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
    }

    /// Loses what goes from one machine to another, and nothing that comes back.
    pub fn cut(&self, from: usize, to: usize) {
        self.lead(from, to, NOBODY);
    }

    /// Ends a cut.
    pub fn heal(&self, from: usize, to: usize) {
        self.lead(from, to, &hardware(to));
    }

    fn lead(&self, from: usize, to: usize, hardware: &str) {
        let to = Self::address(to);
        self.machines[from].ip(&format!("neigh replace {to} lladdr {hardware} nud permanent dev eth0\n"));
    }
}

fn hardware(machine: usize) -> String {
    format!("02:00:00:00:00:{:02x}", machine + 1)
}

/// A network namespace, held by a process.
#[derive(Debug)]
struct Space {
    holder: Child,
}

impl Space {
    fn new() -> Option<Space> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo made; exec cat"]).stderr(Stdio::null());
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut said).ok()?;
        let space = Space { holder };
        (said == "made\n").then_some(space)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    fn run(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={}", self.path())).arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Runs lines of `ip`.
    fn ip(&self, lines: &str) {
        let mut ip = Command::new("ip");
        ip.args(["-batch", "-"]);
        let output = run_with(self.run(&ip), lines.as_bytes());
        assert!(output.status.success(), "{lines}{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
