//! The stage: directories, certificates, the application and the replicas.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::app::LOG;
use super::proxy::Proxy;
use crate::failure::Failure;
use crate::process::Process;

/// The replicas, each in a region of its name.
pub(super) const REGIONS: [&str; 2] = ["eu-west", "us-east"];

/// Where everything of one tour is.
pub(super) struct Site {
    pub(super) dir: PathBuf,
}

impl Site {
    /// An empty directory.
    pub(super) fn create() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("longshore-demo-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| Failure::file("directory", &dir, &error))?;
        Ok(Self { dir })
    }

    /// A directory for each node, and development certificates.
    pub(super) fn furnish(&self) -> Result<(), Failure> {
        for part in ["primary", "eu-west", "us-east"] {
            let dir = self.dir.join(part);
            std::fs::create_dir(&dir).map_err(|error| Failure::file("directory", &dir, &error))?;
        }
        self.command(&[
            "certs",
            &self.path("tls"),
            "--name",
            "primary=admin,append,read,replicate",
            "--name",
            "eu-west=replicate,read",
            "--name",
            "us-east=replicate,read",
        ])?;
        Ok(())
    }

    /// A path inside, as an argument.
    pub(super) fn path(&self, relative: &str) -> String {
        self.dir.join(relative).display().to_string()
    }

    /// The log directory of a node.
    pub(super) fn data_dir(&self, node: &str) -> PathBuf {
        self.dir.join(node).join("log")
    }

    /// The database of a node.
    pub(super) fn database(&self, node: &str) -> PathBuf {
        self.dir.join(node).join("orders.db")
    }

    /// The application's own journal.
    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join("primary/journal")
    }

    /// The application, on its own database.
    pub(super) fn application(&self) -> Result<Process, Failure> {
        let mut process = Process::start("application", &self.dir, ["demo-app", "--dir", &self.path("primary")])?;
        process.hear("ready")?;
        Ok(process)
    }

    /// The primary, beside the application's database: where it listens stays the same over a restart.
    pub(super) fn primary(&self, listen: Option<SocketAddr>) -> Result<(Process, SocketAddr), Failure> {
        let listen = listen.unwrap_or(([127, 0, 0, 1], 0).into()).to_string();
        let mut args: Vec<String> = vec![
            "primary".into(),
            "--data-dir".into(),
            self.data_dir("primary").display().to_string(),
            "--sqlite".into(),
            self.database("primary").display().to_string(),
            "--log".into(),
            LOG.into(),
            "--init".into(),
            "--listen".into(),
            listen,
            "--http".into(),
            "127.0.0.1:0".into(),
            // Small segments, so that a short tour seals some and proves them equal.
            "--log-segment-size".into(),
            "1MiB".into(),
            "--log-accept-weak-storage".into(),
            "true".into(),
        ];
        args.extend(self.identity("primary"));
        let mut process = Process::start("primary", &self.dir, &args)?;
        let listening = address(&process.hear("listening")?)?;
        Ok((process, listening))
    }

    /// A replica that applies to its own database.
    pub(super) fn replica(&self, name: &str, upstream: SocketAddr) -> Result<Process, Failure> {
        let mut args: Vec<String> = vec![
            "replica".into(),
            "--data-dir".into(),
            self.data_dir(name).display().to_string(),
            "--upstream".into(),
            format!("primary@{upstream}"),
            "--apply".into(),
            format!("{LOG}=sqlite:{}", self.database(name).display()),
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--http".into(),
            "127.0.0.1:0".into(),
            "--log-accept-weak-storage".into(),
            "true".into(),
            "--replica-backoff-max".into(),
            "500ms".into(),
        ];
        args.extend(self.identity(name));
        let mut process = Process::start(name, &self.dir, &args)?;
        process.hear("listening")?;
        Ok(process)
    }

    /// The flags by which a process proves who it is.
    pub(super) fn identity(&self, name: &str) -> [String; 4] {
        ["--tls-dir".into(), self.path("tls"), "--identity".into(), name.into()]
    }

    /// Runs `longshore ARGS` to its end: its output, or what it said when it failed.
    pub(super) fn command<S: AsRef<str>>(&self, args: &[S]) -> Result<String, Failure> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let ran = std::env::current_exe().and_then(|exe| Command::new(exe).args(&args).output());
        let output = ran.map_err(|error| Failure::internal(format!("cannot run longshore {}: {error}", args[0])))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let told = String::from_utf8_lossy(&output.stderr);
                let told = told.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&told);
                Err(Failure::internal(format!("longshore {} failed ({}): {told}", args[0], output.status)))
            }
        }
    }

    /// Removes everything, unless it is wanted.
    pub(super) fn leave(self, keep: bool) -> Option<PathBuf> {
        if keep {
            return Some(self.dir);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        None
    }
}

/// The link to a replica that can be cut.
pub(super) fn link(target: SocketAddr) -> Result<Proxy, Failure> {
    Proxy::start(target)
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| Failure::internal(format!("{text:?} is not where the primary listens")))
}

/// Flips one bit of one replicated record, far from both ends of a log.
pub(super) fn corrupt(data_dir: &Path) -> Result<String, Failure> {
    use std::os::unix::fs::FileExt;
    let log = data_dir.join(LOG);
    let failed = |error| Failure::file("log", &log, &error);
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&log)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    segments.sort();
    let first = segments.first().ok_or_else(|| Failure::internal("the replica has no segment to corrupt"))?;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(first).map_err(failed)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, BROKEN_AT).map_err(failed)?;
    file.write_all_at(&[byte[0] ^ 0x10], BROKEN_AT).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(format!("one bit at byte {BROKEN_AT} of {}", first.display()))
}

/// Inside the first records of the first segment.
const BROKEN_AT: u64 = 200_000;
