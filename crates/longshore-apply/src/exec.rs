//! Records to another program, line by line, and its positions back.
//!
//! The contract, with an example of twenty lines, is in `docs/EXEC.md`.

use std::fmt;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Lsn, Record};

use crate::json;
use crate::sink::{Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use crate::words;

mod child;
use child::Child;

/// Which program to run, and how long to wait for it.
///
/// From text it is split into words without a shell: white space separates, `'…'` and `"…"` hold a
/// word together, a backslash keeps the next character, and nothing is expanded.
///
/// ```
/// use longshore_apply::ExecSpec;
///
/// let spec: ExecSpec = "python3 'my apply.py' --db $HOME/x".parse().unwrap();
/// assert_eq!(spec.program, "python3");
/// assert_eq!(spec.arguments, ["my apply.py", "--db", "$HOME/x"]);
/// assert!("".parse::<ExecSpec>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long the program may take to print the position it holds. Default 30 s: an interpreter
    /// that starts cold and a database that recovers.
    pub start_timeout: Duration,
    /// How long it may take to end after its input has ended. Default 60 s.
    pub finish_timeout: Duration,
}

impl FromStr for ExecSpec {
    type Err = SinkError;

    fn from_str(text: &str) -> Result<Self, SinkError> {
        let refuse = |reason: &str| {
            let message = format!("exec:{text}: {reason}; try exec:python3 apply.py");
            SinkError::new(Failure::Content, message)
        };
        let mut words = words::split(text).map_err(|reason| refuse(&reason))?.into_iter();
        Ok(ExecSpec {
            program: words.next().ok_or_else(|| refuse("no program"))?,
            arguments: words.collect(),
            start_timeout: Duration::from_secs(30),
            finish_timeout: Duration::from_secs(60),
        })
    }
}

/// The program alone: its arguments may hold what does not belong in a message.
impl fmt::Display for ExecSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec:{}", self.program)
    }
}

/// A program that takes records as JSON lines ([`json`]) on its standard input.
///
/// It first prints the position it holds, `0` for none, then each position that it has made durable.
/// Its standard error is ours. When it ends before its input does, or prints anything else, the sink
/// fails; a new sink starts it again, and it goes on from the position it then prints.
pub struct ExecSink {
    spec: ExecSpec,
    running: Option<Running>,
}

struct Running {
    child: Arc<Child>,
    /// Gone once the input has ended.
    stdin: Option<ChildStdin>,
    buffer: String,
    committed: Option<Lsn>,
}

impl ExecSink {
    /// A sink that starts the program when it is opened.
    pub fn new(spec: ExecSpec) -> Self {
        ExecSink { spec, running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("a sink is opened before anything else")
    }

    fn write(&mut self) -> Result<(), SinkError> {
        let running = self.running();
        running.child.check(running.committed)?;
        let written = match &mut running.stdin {
            Some(stdin) => stdin.write_all(running.buffer.as_bytes()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        running.buffer.clear();
        // A pipe breaks because the program ended: how it ended says more.
        written.map_err(|error| running.child.ended(error))
    }
}

impl Sink for ExecSink {
    fn name(&self) -> String {
        self.spec.to_string()
    }

    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        let mut process = Command::new(&self.spec.program)
            .args(&self.spec.arguments)
            .env("LONGSHORE_SCHEMA", json::SCHEMA.to_string())
            .env("LONGSHORE_LOG_ID", log.id.to_string())
            .env("LONGSHORE_CONTENT", log.content.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C reaches us, and we end it in order.
            .process_group(0)
            .spawn()
            .map_err(|error| SinkError::io(self.name(), error))?;
        let stdin = process.stdin.take();
        let child = Child::watch(self.name(), process);
        let held = child.held(self.spec.start_timeout)?;
        let committed = held.map(|held| held.lsn);
        let buffer = String::with_capacity(2 * BUFFER);
        self.running = Some(Running { child, stdin, buffer, committed });
        Ok(held)
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        let buffer = &mut self.running().buffer;
        json::write_line(buffer, record);
        if buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.running().committed = Some(run.lsn);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.write()
    }

    fn durable(&self) -> Option<Lsn> {
        self.running.as_ref().and_then(|running| running.child.durable())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.write()?;
        let timeout = self.spec.finish_timeout;
        let running = self.running();
        running.stdin = None;
        running.child.finish(running.committed, timeout)
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let child = Arc::clone(&self.running.as_ref()?.child);
        Some(Box::new(move || child.interrupt()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stdin = None;
        self.child.kill();
    }
}

/// Lines gather until there are this many bytes or the log is drained: the size of a pipe.
const BUFFER: usize = 64 << 10;
