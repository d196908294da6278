//! A program that is run once: a line in, a line out, within a time.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::wipe;

/// How a program ended.
pub(super) struct Ended {
    /// What it printed, up to [`LONGEST_OUTPUT`].
    pub(super) output: Vec<u8>,
    /// Its exit status, or why it was killed.
    pub(super) status: Result<ExitStatus, String>,
    stderr: Receiver<Vec<u8>>,
}

impl Ended {
    /// The first 500 characters of its standard error.
    pub(super) fn stderr(&self) -> String {
        // It comes when the program has ended. Something it left behind may hold its standard error
        // open; that is not waited for.
        let bytes = self.stderr.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().chars().take(STDERR_CHARS).collect()
    }
}

/// Runs a program, and kills it and all that it started once the time is up.
///
/// Three threads move the bytes, so that neither side waits for a full pipe. They end with the
/// program's pipes and are not joined: a process that escaped its group may keep a pipe open.
pub(super) fn run(program: &str, arguments: &[String], input: Vec<u8>, timeout: Duration) -> io::Result<Ended> {
    let deadline = Instant::now() + timeout;
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    feed(process.stdin.take().expect("the input was asked for as a pipe"), input);
    let output = collect(process.stdout.take().expect("the output was asked for as a pipe"), LONGEST_OUTPUT + 1);
    let stderr = collect(process.stderr.take().expect("it was asked for as a pipe"), STDERR_CHARS * 4);
    let (output, status) = match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(output) if LONGEST_OUTPUT < output.len() => {
            (output, Err(format!("its answer is longer than {LONGEST_OUTPUT} bytes")))
        }
        Ok(output) => {
            let status = wait(&mut process, deadline)?;
            (output, status.ok_or_else(|| too_slow(timeout)))
        }
        Err(_) => (Vec::new(), Err(too_slow(timeout))),
    };
    if status.is_err() {
        kill(process);
    }
    Ok(Ended { output, status, stderr })
}

fn feed(mut stdin: impl Write + Send + 'static, mut input: Vec<u8>) {
    thread::spawn(move || {
        // A program that does not read its input says why in other ways.
        let _unread = stdin.write_all(&input);
        wipe(&mut input);
    });
}

/// Sends the first `longest` bytes, and reads on to the end so that the program is not held up.
fn collect(mut pipe: impl Read + Send + 'static, longest: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::with_capacity(longest);
        // What was read before an error is all there is.
        let _cut = pipe.by_ref().take(longest as u64).read_to_end(&mut bytes);
        let _nobody_waits = sender.send(bytes);
        let _rest = io::copy(&mut pipe, &mut io::sink());
    });
    receiver
}

/// Its exit status, or `None` if it still runs at the deadline.
fn wait(process: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if deadline <= Instant::now() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Kills a program that has not been waited for, with all that it started.
fn kill(mut process: Child) {
    if let Some(group) = Pid::from_raw(process.id().cast_signed()) {
        // It may end this very moment; then there is nothing left to kill.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let _reaped = process.wait();
}

fn too_slow(timeout: Duration) -> String {
    format!("it took longer than {timeout:?} and was killed")
}

/// The longest output that is taken.
pub(super) const LONGEST_OUTPUT: usize = 64 << 10;
const STDERR_CHARS: usize = 500;
