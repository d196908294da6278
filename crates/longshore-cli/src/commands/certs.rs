//! `longshore certs`: a development authority, certificates and grants.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

/// Make a development authority, a certificate for each name, and grants.toml
#[derive(Debug, Args)]
#[command(after_help = "\
Run again, it adds names and never replaces the authority. Roles: append, read, replicate, promote,
admin. localhost, 127.0.0.1 and ::1 are in every certificate.

Example:
  longshore certs tls --name primary=admin,append,read --name eu-west=replicate \\
      --host primary=db1.example.net")]
pub(crate) struct Certs {
    /// Where the files are, or will be
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// A name and its roles, for every log
    #[arg(long, value_name = "NAME=ROLE[,ROLE]…", required = true)]
    name: Vec<String>,

    /// A further host name or address to put into NAME's certificate
    #[arg(long, value_name = "NAME=DNS|IP")]
    host: Vec<String>,

    /// The region NAME stands in; without it, its name
    #[arg(long, value_name = "NAME=REGION")]
    region: Vec<String>,

    /// How long the certificates are good for
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = crate::quantity::duration)]
    valid: std::time::Duration,
}

impl Certs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        todo!()
    }
}
