//! `longshore config --show`: what is in force, and why.

use std::ffi::OsString;

use clap::Args;

use crate::failure::Failure;
use crate::output;
use crate::settings::{self, Origin, Shown};

/// Print every setting of a command, its value and where that comes from
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  LONGSHORE_LISTEN=0.0.0.0:7420 longshore config --show primary --data-dir data")]
pub(crate) struct Config {
    /// Print the settings in force (there is nothing else to do, yet)
    #[arg(long, required = true)]
    show: bool,

    /// One JSON document
    #[arg(long)]
    json: bool,

    /// The command, with flags to try out
    #[arg(value_name = "COMMAND", default_value = "primary", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Config {
    pub(crate) fn run(self, config: Option<&std::path::Path>) -> Result<(), Failure> {
        // `config --show primary --json` means this command's --json, unless the other has one too.
        let mut args = vec![OsString::from("longshore")];
        if let Some(path) = config {
            args.extend([OsString::from("--config"), path.into()]);
        }
        args.extend(self.command);
        let resolved = settings::resolve(args)?;
        if self.json {
            return output::print_json(&resolved);
        }
        let mut table = output::table(&["SETTING", "VALUE", "FROM"]);
        for shown in &resolved.settings {
            table.add_row([shown.key.clone(), shown.values.join(" "), from(shown)]);
        }
        output::print(&output::render(&mut table))
    }
}

fn from(shown: &Shown) -> String {
    let source = shown.source.as_deref().unwrap_or_default();
    match shown.origin {
        Origin::Flag => "flag".into(),
        Origin::Environment => format!("environment {source}"),
        Origin::File => format!("file {source}"),
        Origin::Default => "default".into(),
        Origin::Unset => "not set".into(),
    }
}
