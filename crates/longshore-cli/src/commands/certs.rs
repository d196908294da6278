//! `longshore certs`: a development authority, certificates and grants.

use std::path::PathBuf;

use clap::Args;
use longshore_transport::certs::{self, Host, Identity};
use longshore_transport::grants::Role;

use crate::connect::name;
use crate::failure::Failure;
use crate::output;

/// Make a development authority, a certificate for each name, and grants.toml
#[derive(Debug, Args)]
#[command(after_help = "\
Run again, it adds names and never replaces the authority or a certificate. Roles: append, read, \
replicate, promote, admin. localhost, 127.0.0.1 and ::1 are in every certificate. A name that \
replicates stands in a region of its own name until grants.toml says otherwise.

Example:
  longshore certs tls --name primary=admin,append,read --name eu-west=replicate \\
      --host primary=db1.example.net")]
pub(crate) struct Certs {
    /// Where the files are, or will be
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// A name and its roles, for every log. Repeat it for several
    #[arg(long, value_name = "NAME=ROLE[,ROLE]…", required = true)]
    name: Vec<String>,

    /// A further host name or address to put into NAME's certificate. Repeat it for several
    #[arg(long, value_name = "NAME=DNS|IP")]
    host: Vec<String>,
}

impl Certs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut identities: Vec<Identity> = self.name.iter().map(|text| identity(text)).collect::<Result<_, _>>()?;
        for (index, identity) in identities.iter().enumerate() {
            if identities[..index].iter().any(|before| before.name == identity.name) {
                return Err(Failure::invalid(format!("--name {} is given twice", identity.name))
                    .next(format!("write its roles together: --name {}=ROLE,ROLE", identity.name)));
            }
        }
        for text in &self.host {
            let (whose, host) = pair("host", text, "NAME=DNS|IP")?;
            let whose = name("host", whose)?;
            let host: Host = host.parse()?;
            match identities.iter_mut().find(|identity| identity.name == whose) {
                Some(identity) => identity.hosts.push(host),
                None => {
                    return Err(Failure::invalid(format!("--host {text}: no --name is called {whose}"))
                        .next(format!("add --name {whose}=ROLE")));
                }
            }
        }
        let issued = certs::init(&self.dir, &identities)?;
        let mut told = String::new();
        if issued.new_ca {
            told += &format!("{}: a new authority\n", self.dir.join("ca.pem").display());
        }
        for name in &issued.issued {
            told += &format!("{}: issued\n", self.dir.join(format!("{name}.pem")).display());
        }
        for name in &issued.kept {
            told += &format!(
                "{}: was there, kept with its roles in grants.toml\n",
                self.dir.join(format!("{name}.pem")).display()
            );
        }
        output::print(&told)
    }
}

fn identity(text: &str) -> Result<Identity, Failure> {
    let (who, roles) = pair("name", text, "NAME=ROLE[,ROLE]…")?;
    let roles: Result<Vec<Role>, _> = roles.split(',').map(str::parse).collect();
    Ok(Identity { name: name("name", who)?, roles: roles?, hosts: Vec::new() })
}

fn pair<'a>(flag: &str, text: &'a str, form: &str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .ok_or_else(|| Failure::invalid(format!("--{flag} {text:?} has no `=`")).next(format!("write {form}")))
}
