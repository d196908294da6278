//! The command tree. Each command's flags stand in its own file under `commands/`.

use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use longshore::settings::TlsSettings;

use crate::commands::Command;

/// Ship a write-ahead log to other regions, replay it there in order, and prove that you can come
/// back from it.
#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Every flag can also be set by the environment (LONGSHORE_ and the flag: LONGSHORE_DATA_DIR) or in
the TOML file named by --config. A flag goes before the environment, the environment before the file.

Exit codes: 0 done, 2 invalid request or settings, 3 not found, 4 out of reach, 5 gap, 6 corrupt,
7 busy, 8 preflight, 9 fenced or diverged, 10 final check failed, 11 unavailable or full,
12 unconfirmed, 13 denied, 1 internal, 130 interrupted.

Examples:
  longshore demo                                          see it all work in a minute
  longshore certs tls --name primary=admin,append,read --name eu-west=replicate
  longshore init --data-dir data --log orders
  longshore primary --data-dir data --tls-dir tls --identity primary";

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Every command")]
pub(crate) struct Global {
    /// A TOML file of settings: flags without their dashes as keys, a [table] per command
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What to report on stderr: error, warn, info, debug, or a tracing filter
    #[arg(long, global = true, value_name = "FILTER", default_value = "warn,longshore=info")]
    pub(crate) trace: String,

    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// Who this process is, and whom it believes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity (commands that use the network)")]
pub(crate) struct Tls {
    /// The directory `longshore certs` made: ca.pem, NAME.pem, NAME.key, grants.toml
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) tls_dir: Option<PathBuf>,

    /// Which NAME.pem and NAME.key of --tls-dir to use
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) identity: Option<String>,

    /// The authority that peers' certificates must come from (instead of --tls-dir's ca.pem)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// This process's certificate (instead of --tls-dir's NAME.pem)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// This process's private key, mode 0600 (instead of --tls-dir's NAME.key)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Who may do what here, for agents (instead of --tls-dir's grants.toml)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_grants: Option<PathBuf>,

    /// Speak without TLS: loopback addresses only, and loudly logged
    #[arg(long, global = true)]
    pub(crate) insecure_plaintext: bool,
}

impl Tls {
    /// The identity `name` of a directory that `longshore certs` made.
    pub(crate) fn in_directory(dir: &Path, name: &str) -> Self {
        Self {
            tls_dir: Some(dir.to_owned()),
            identity: Some(name.to_owned()),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_grants: None,
            insecure_plaintext: false,
        }
    }

    /// As the library has them.
    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings {
            dir: self.tls_dir.clone(),
            identity: self.identity.clone(),
            ca: self.tls_ca.clone(),
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            grants: self.tls_grants.clone(),
            plaintext: self.insecure_plaintext,
        }
    }
}
