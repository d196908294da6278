//! Runs the binary.
#![expect(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod two_nodes;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The binary, in `dir`, without settings from this environment.
pub fn longshore(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGSHORE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `longshore ARGS`, split at blanks.
pub fn run(dir: &Path, args: &str) -> Ran {
    Ran::of(longshore(dir).args(args.split_whitespace()).stdin(Stdio::null()).output().unwrap(), args)
}

/// Runs `longshore ARGS` with `input` on its stdin.
pub fn run_with(dir: &Path, args: &str, input: &[u8]) -> Ran {
    let mut child = longshore(dir)
        .args(args.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that refuses does not read its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran::of(output, args)
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub args: String,
    pub code: i32,
    pub stdout: String,
    pub bytes: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    fn of(output: Output, args: &str) -> Self {
        Self {
            args: args.to_owned(),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It did what it was asked: what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "longshore {}: {}", self.args, self.stderr);
        self.stdout
    }

    /// It failed with this exit code, said why, and what to try next: what it said.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "longshore {}: {}{}", self.args, self.stdout, self.stderr);
        assert!(self.stderr.contains("error: "), "longshore {}: {}", self.args, self.stderr);
        assert!(self.stderr.contains("next: "), "longshore {}: {}", self.args, self.stderr);
        self.stderr
    }

    /// One JSON document, with its schema number.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        let document: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(document["schema"], 1, "{text}");
        document
    }
}

/// A running agent; killed when it is dropped.
pub struct Agent {
    pub child: Child,
    pub address: String,
    pub http: String,
}

impl Agent {
    /// Starts one, on free ports, and waits until it serves.
    pub fn start(dir: &Path, args: &str) -> Self {
        let ports = "--listen 127.0.0.1:0 --http 127.0.0.1:0 --log-accept-weak-storage true";
        Self::start_at(dir, &format!("{args} {ports}"))
    }

    /// Starts one where its arguments say, and waits until it serves.
    pub fn start_at(dir: &Path, args: &str) -> Self {
        Self::start_telling(dir, args, Stdio::inherit())
    }

    /// As [`start_at`](Self::start_at), with its trace going elsewhere.
    pub fn start_telling(dir: &Path, args: &str, stderr: Stdio) -> Self {
        let mut command = longshore(dir);
        command.args(args.split_whitespace()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut hear = |word: &str| {
            let line = lines.next().expect("the agent serves").unwrap();
            line.strip_prefix(word).unwrap_or_else(|| panic!("{word}: {line}")).trim().to_owned()
        };
        let (address, http) = (hear("listening"), hear("http"));
        Self { child, address, http }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Its exit code after SIGTERM.
    pub fn terminate(mut self) -> i32 {
        self.signal("-TERM");
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// What it answers to a GET.
    pub fn get(&self, path: &str) -> String {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries until it holds, for at most half a minute.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 30, "{what} does not happen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
