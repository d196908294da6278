//! Real processes: the `longshore` binary found, run, watched and killed.
//!
//! Every process belongs to a [`Running`], whose drop kills it by its id and reaps it, so that a
//! failing test leaves nothing behind. Ports are the ones the agents print; none is fixed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

/// How long any single step of a whole-system test may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `longshore` binary of this build: `LONGSHORE_BIN`, or the one beside the running test, built
/// first if it is missing or older than the sources.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("LONGSHORE_BIN") {
            return PathBuf::from(named);
        }
        let test = std::env::current_exe().expect("a running test has a path");
        let profile = test.parent().and_then(Path::parent).expect("tests run in target/PROFILE/deps");
        let binary = profile.join("longshore");
        if modified(&binary) < newest_source() {
            build(profile);
        }
        assert!(binary.is_file(), "{} was not built", binary.display());
        binary
    })
}

/// A command of the binary, with nothing of the caller's environment that would change its settings.
pub fn longshore<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGSHORE_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs a command to its end with `input` on stdin.
pub fn run_with(mut command: Command, input: &[u8]) -> Output {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let input = input.to_vec();
    // A child that ends early closes the pipe; what it printed says why.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the child was started by us");
    feeder.join().expect("feeding a pipe does not panic");
    output
}

/// Runs a command to its end; panics with everything it said unless it exits with 0.
pub fn must(command: Command, input: &[u8]) -> String {
    let shown = format!("{command:?}");
    let output = run_with(command, input);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}: {}\n--- stdout\n{out}\n--- stderr\n{err}", output.status);
    out.into_owned()
}

/// A process in the background whose lines of output are collected.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// When false, dropping kills; the process has been reaped already otherwise.
    reaped: bool,
}

impl Running {
    /// Starts a command; stdout and stderr are read line by line.
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let (sender, lines) = channel();
        let out = child.stdout.take().expect("stdout was piped");
        let err = child.stderr.take().expect("stderr was piped");
        for reader in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Running { child, lines, seen: Vec::new(), reaped: false }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts with `prefix` and returns what follows it; panics with all that
    /// the process said if it ends or takes too long.
    pub fn line(&mut self, prefix: &str) -> String {
        self.find(prefix, |line| line.strip_prefix(prefix).map(|rest| rest.trim().to_owned()))
    }

    /// Waits for a line that holds `text` and returns it; panics as [`line`](Self::line) does.
    pub fn line_with(&mut self, text: &str) -> String {
        self.find(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    fn find(&mut self, what: &str, matches: impl Fn(&str) -> Option<String>) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            if let Some(found) = self.seen[looked..].iter().find_map(|line| matches(line)) {
                return found;
            }
            looked = self.seen.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line {what:?} from {}; it said:\n{}", self.child.id(), self.seen.join("\n")),
            }
        }
    }

    /// The address an agent serves on.
    pub fn listening(&mut self) -> SocketAddr {
        self.line("listening ").parse().expect("an agent prints HOST:PORT")
    }

    /// What an agent says of itself at `/metrics`: the first series of that name.
    pub fn metric(&mut self, name: &str) -> Option<f64> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.line("http ")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Sends a signal by name: `TERM`, `KILL`, `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "could not send {name} to {}", self.child.id());
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and waits for the exit status.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.exit()
    }

    /// Waits for the process to end by itself.
    pub fn exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status =
            until("the process to end", deadline, || self.child.try_wait().expect("the child was started by us"));
        self.reaped = true;
        status
    }

    /// All that it has said so far.
    pub fn said(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    fn end(&mut self) {
        if !self.reaped {
            drop(self.child.kill());
            drop(self.child.wait());
            self.reaped = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks until there is an answer; panics, saying what for, after the deadline.
pub fn until<T>(what: &str, deadline: Instant, mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn build(profile: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bin", "longshore"]).current_dir(top());
    cargo.env("CARGO_TARGET_DIR", profile.parent().expect("target/PROFILE has a parent"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "the binary does not build");
}

/// The repository.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the testkit lies in the repository")
}

fn newest_source() -> SystemTime {
    fn newest(path: &Path) -> SystemTime {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => newest(&entry.path()),
                _ => modified(&entry.path()),
            })
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
    let sources = ["crates", "proto"].map(|dir| newest(&top().join(dir)));
    sources.into_iter().max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
