//! The layers put on top of each other, and where each value came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind as Usage;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde::Serialize;

use super::Refusal;
use super::file::{Known, SettingsFile, nearest};
use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::tell;

/// What every variable of the environment that sets a flag begins with.
const PREFIX: &str = "LONGSHORE_";

/// Reads every layer and gives the command to run with its settings.
pub(crate) fn load(args: Vec<OsString>) -> Result<Cli, Refusal> {
    let matches = matches(&args, Needed::AsDeclared)?.0;
    Cli::from_arg_matches(&matches).map_err(Refusal::Usage)
}

/// A setting, its value and where that came from, for `config --show`.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) key: String,
    /// Empty when nothing sets it and it has no default.
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
    /// The variable, or the file, that the value came from.
    pub(crate) source: Option<String>,
}

/// The layer a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    Flag,
    Environment,
    File,
    Default,
    Unset,
}

/// The settings a command would run with.
#[derive(Debug, Serialize)]
pub(crate) struct Resolved {
    pub(crate) command: String,
    pub(crate) settings: Vec<Shown>,
}

/// The settings `args` (a command and its flags) would run with, without running it. What the
/// command demands may be missing.
pub(crate) fn resolve(args: Vec<OsString>) -> Result<Resolved, Refusal> {
    let (matches, tree, file) = matches(&args, Needed::Nothing)?;
    let (name, inner) = matches.subcommand().ok_or_else(|| {
        Refusal::File(
            Failure::invalid("no command to show the settings of").next("name one, as `config --show primary`"),
        )
    })?;
    let command = tree.find_subcommand(name).expect("clap matched a command it was given");
    let settings = command
        .get_arguments()
        .chain(tree.get_arguments())
        .filter(|arg| arg.get_long().is_some() && !is_built_in(arg))
        .map(|arg| shown(arg, inner, name, file.as_ref()))
        .collect();
    Ok(Resolved { command: name.to_owned(), settings })
}

fn shown(arg: &Arg, matches: &ArgMatches, command: &str, file: Option<&SettingsFile>) -> Shown {
    let key = arg.get_long().expect("only flags are shown").to_owned();
    let id = arg.get_id().as_str();
    let values = if arg.get_action().takes_values() {
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned()).collect()
    } else {
        vec![matches.get_flag(id).to_string()]
    };
    let in_file = file.filter(|file| file.value(command, &key).is_some());
    let (origin, source) = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => (Origin::Flag, None),
        Some(ValueSource::EnvVariable) => (Origin::Environment, Some(variable(&key))),
        _ if in_file.is_some() => (Origin::File, in_file.map(|file| file.path.display().to_string())),
        _ if values.is_empty() => (Origin::Unset, None),
        _ => (Origin::Default, None),
    };
    Shown { key, values, origin, source }
}

/// Whether what a command demands must be there.
#[derive(Clone, Copy, PartialEq)]
enum Needed {
    AsDeclared,
    Nothing,
}

fn matches(args: &[OsString], needed: Needed) -> Result<(ArgMatches, Command, Option<SettingsFile>), Refusal> {
    let plain = Cli::command();
    let known = known_flags(&plain);
    warn_of_misspelt_variables(&known);
    let file = match config_path(args) {
        Some(path) => Some(SettingsFile::read(&path, &known).map_err(Refusal::File)?),
        None => None,
    };
    let tree = layered(plain.clone(), args, file.as_ref(), needed);
    match tree.clone().try_get_matches_from(args) {
        Ok(matches) => Ok((matches, tree, file)),
        Err(error) => Err(blame(error, args, plain, file.as_ref(), needed)),
    }
}

/// Names the file when the value that was refused stands there.
fn blame(
    error: clap::Error,
    args: &[OsString],
    plain: Command,
    file: Option<&SettingsFile>,
    needed: Needed,
) -> Refusal {
    let bad_value = |kind| matches!(kind, Usage::InvalidValue | Usage::ValueValidation);
    let Some(file) = file.filter(|_| bad_value(error.kind())) else {
        return Refusal::Usage(error);
    };
    let without = layered(plain, args, None, needed).try_get_matches_from(args);
    if without.is_err_and(|error| bad_value(error.kind())) {
        return Refusal::Usage(error);
    }
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let failure = Failure::invalid(format!("settings file {}: {what}", file.path.display()));
    Refusal::File(failure.next("correct that line; `longshore config --show` prints what is in force"))
}

/// The command tree with the environment under every flag and the file in place of defaults.
fn layered(tree: Command, args: &[OsString], file: Option<&SettingsFile>, needed: Needed) -> Command {
    let beaten = beaten(args);
    let layer = |command: Command, name: &str| {
        command.mut_args(|arg| match arg.get_long().is_some_and(|flag| beaten.contains(&flag)) {
            true => arg.required(false),
            false => layered_arg(arg, name, file, needed),
        })
    };
    let names: Vec<String> = tree.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    // A global flag belongs to the root; a command's own table cannot set it, the top level can.
    let mut tree = layer(tree, "");
    for name in names {
        tree = tree.mut_subcommand(&name, |command| layer(command, &name));
    }
    tree
}

/// Flags that say the same in another way than one on the command line does: what other layers say of them does not count.
fn beaten(args: &[OsString]) -> Vec<&'static str> {
    let given = |flag: &str| {
        let is_it = |arg: &str| arg.strip_prefix("--").and_then(|arg| arg.split('=').next()) == Some(flag);
        args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg.to_str().is_some_and(is_it))
    };
    let pairs = [("server", "data-dir"), ("data-dir", "server")];
    pairs.into_iter().filter(|(flag, other)| given(flag) && !given(other)).map(|(_, other)| other).collect()
}

fn layered_arg(arg: Arg, command: &str, file: Option<&SettingsFile>, needed: Needed) -> Arg {
    let arg = if needed == Needed::Nothing { arg.required(false) } else { arg };
    let Some(flag) = arg.get_long().map(str::to_owned) else {
        return arg;
    };
    if is_built_in(&arg) {
        return arg;
    }
    let arg = arg.env(variable(&flag)).hide_env(true);
    match file.and_then(|file| file.value(command, &flag)) {
        Some(values) => arg.required(false).default_values(values.to_vec()),
        None => arg,
    }
}

fn is_built_in(arg: &Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    matches!(arg.get_action(), Help | HelpLong | HelpShort | Version)
}

fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

fn known_flags(tree: &Command) -> Known {
    let flags = |command: &Command| {
        let all = command.get_arguments().filter(|arg| !is_built_in(arg));
        all.filter_map(|arg| arg.get_long().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut known: Known = BTreeMap::from([(None, flags(tree))]);
    for command in tree.get_subcommands() {
        let own = flags(command);
        let all = known.entry(None).or_default();
        all.extend(own.iter().cloned());
        all.sort();
        all.dedup();
        known.insert(Some(command.get_name().to_owned()), own);
    }
    known
}

/// Where the file is, before anything is parsed: its content decides the defaults of the parse.
fn config_path(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1).take_while(|arg| *arg != "--");
    let mut named = None;
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--config") => named = args.next().map(PathBuf::from),
            Some(text) => {
                if let Some(path) = text.strip_prefix("--config=") {
                    named = Some(PathBuf::from(path));
                }
            }
            None => {}
        }
    }
    named.or_else(|| std::env::var_os(format!("{PREFIX}CONFIG")).map(PathBuf::from))
}

/// A misspelt variable is told and not refused: an orchestrator sets LONGSHORE_PORT and the like
/// for a service of that name, and nobody who starts the agent can help it.
fn warn_of_misspelt_variables(known: &Known) {
    for (name, _) in std::env::vars_os() {
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let flag = rest.to_lowercase().replace('_', "-");
        let flags = &known[&None];
        if !flags.contains(&flag)
            && let Some(near) = nearest(&flag, flags)
        {
            tell(&format!("warning: {PREFIX}{rest} sets nothing; did you mean {}?", variable(near)));
        }
    }
}
