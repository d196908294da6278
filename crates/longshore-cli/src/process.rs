//! A process of this binary, for the tour and the measurements: started, talked to, ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running process of this binary. Dropped, it is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `longshore ARGS`; what it says on stderr goes to a file in `dir`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        dir: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::internal(format!("cannot start {name}: {error}"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(format!("{name}.stderr")))
            .map_err(failed)?;
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, stdin, lines })
    }

    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        let stdin = self.stdin.as_mut().expect("it is told nothing after its end");
        writeln!(stdin, "{line}").map_err(|error| self.gone(&error.to_string()))
    }

    /// Waits for a line that begins with `word`, and returns what follows it.
    pub(crate) fn hear(&mut self, word: &str) -> Result<String, Failure> {
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).map_err(|_| self.gone(&format!("no `{word}` came from it")))?;
            if let Some(rest) = line.strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|error| self.gone(&error.to_string()))
    }

    /// SIGTERM, and the end of its input.
    pub(crate) fn terminate(&mut self) -> Result<ExitStatus, Failure> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(|error| self.gone(&error.to_string()))?;
        self.end()
    }

    /// The end of its input; waits until it has ended.
    pub(crate) fn end(&mut self) -> Result<ExitStatus, Failure> {
        self.stdin = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) => return Err(self.gone("it does not end")),
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
    }

    fn gone(&self, what: &str) -> Failure {
        Failure::internal(format!("{}: {what}", self.name))
            .next(format!("run it with --keep and look into {}.stderr", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
