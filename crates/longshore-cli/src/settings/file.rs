//! The settings file: TOML, flags without their dashes as keys.
//!
//! A key at the top level is for every command that has such a flag, a key in a table named after a
//! command for that command alone. The sections of the library's settings are tables too: `slot_cap` in `[retention]` is
//! `--retention-slot-cap`. What no flag is called is an error that names the nearest one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What the file says, in the words of the command line.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    everywhere: BTreeMap<String, Vec<String>>,
    commands: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// The flags that exist: of every command together under `None`, and of each command by its name.
pub(super) type Known = BTreeMap<Option<String>, Vec<String>>;

impl SettingsFile {
    pub(super) fn read(path: &Path, known: &Known) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("settings file", path, &error))?;
        Self::parse(path, &text, known)
    }

    fn parse(path: &Path, text: &str, known: &Known) -> Result<Self, Failure> {
        let refuse = |what: String| Failure::invalid(format!("settings file {}: {what}", path.display()));
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            refuse(error.to_string().trim_end().replace('\n', "\n  "))
                .next("write it as TOML: a line `flag = \"value\"` for each setting")
        })?;
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => file.take_table(&key, inner, known, &refuse)?,
                value => {
                    let flag = check(&key, &known[&None]).map_err(|(what, next)| refuse(what).next(next))?;
                    file.everywhere.insert(flag, words(&key, value).map_err(&refuse)?);
                }
            }
        }
        Ok(file)
    }

    /// A table is a section of the library's settings, or a command, or (`replica`) both.
    fn take_table(
        &mut self,
        table: &str,
        inner: toml::Table,
        known: &Known,
        refuse: &dyn Fn(String) -> Failure,
    ) -> Result<(), Failure> {
        let all = &known[&None];
        let command = known.get(&Some(table.to_owned()));
        if command.is_none() && !is_section(table, all) {
            let tables = known.keys().flatten().cloned().chain(SECTIONS.map(str::to_owned)).collect::<Vec<_>>();
            let (what, next) = unknown("table", &format!("[{table}]"), nearest(table, &tables), &tables);
            return Err(refuse(what).next(next));
        }
        let own: &[String] = command.map_or(&[], Vec::as_slice);
        for (key, value) in inner {
            let values = words(&key, value).map_err(refuse)?;
            let section = section_flag(table, &key);
            if all.contains(&section) {
                self.everywhere.insert(section, values);
                continue;
            }
            let of_section = all.iter().filter_map(|flag| flag.strip_prefix(&format!("{table}-")));
            let names: Vec<String> = of_section.map(str::to_owned).chain(own.iter().cloned()).collect();
            let flag = check(&key, &names).map_err(|(what, next)| refuse(format!("[{table}]: {what}")).next(next))?;
            self.commands.entry(table.to_owned()).or_default().insert(flag, values);
        }
        Ok(())
    }

    /// The value for `flag` of `command`; its own table goes before the top level.
    pub(super) fn value(&self, command: &str, flag: &str) -> Option<&[String]> {
        let own = self.commands.get(command).and_then(|table| table.get(flag));
        own.or_else(|| self.everywhere.get(flag)).map(Vec::as_slice)
    }
}

/// Sections of which some flags are not called by section and key.
const SECTIONS: [&str; 7] = ["log", "retention", "ack", "replica", "network", "tls", "shutdown"];

fn is_section(table: &str, flags: &[String]) -> bool {
    SECTIONS.contains(&table)
        || flags.iter().any(|flag| flag.strip_prefix(table).is_some_and(|key| key.starts_with('-')))
}

/// The flag that a key of a section of the library's settings is.
fn section_flag(section: &str, key: &str) -> String {
    match (section, key) {
        ("network", "listen") => "listen".to_owned(),
        ("network", "http") => "http".to_owned(),
        ("replica", "upstreams") => "upstream".to_owned(),
        ("tls", "plaintext") => "insecure-plaintext".to_owned(),
        _ => format!("{section}-{}", key.replace('_', "-")),
    }
}

/// The flag a key means: keys may be written with `_` for `-`.
fn check(key: &str, flags: &[String]) -> Result<String, (String, String)> {
    let flag = key.replace('_', "-");
    if flags.contains(&flag) {
        return Ok(flag);
    }
    Err(unknown("key", &format!("`{key}`"), nearest(&flag, flags), flags))
}

/// What is not known, and what may have been meant.
fn unknown(what: &str, name: &str, near: Option<&str>, known: &[String]) -> (String, String) {
    let next = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here are: {}", known.join(", ")),
    };
    (format!("unknown {what} {name}"), next)
}

/// The known name most like `name`, if one is like it at all.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a String>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|flag| (strsim::jaro_winkler(name, flag), flag.as_str()))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, flag)| flag)
}

fn words(key: &str, value: toml::Value) -> Result<Vec<String>, String> {
    match value {
        toml::Value::String(text) => Ok(vec![text]),
        toml::Value::Integer(number) => Ok(vec![number.to_string()]),
        toml::Value::Float(number) => Ok(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Ok(vec![flag.to_string()]),
        toml::Value::Datetime(time) => Ok(vec![time.to_string()]),
        toml::Value::Array(items) => {
            let each: Result<Vec<_>, _> = items.into_iter().map(|item| words(key, item)).collect();
            Ok(each?.concat())
        }
        toml::Value::Table(_) => Err(format!("`{key}` is a table, and no command is called that")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let flags = |list: &[&str]| list.iter().map(|flag| flag.to_string()).collect::<Vec<_>>();
        BTreeMap::from([
            (None, flags(&["data-dir", "listen", "http", "apply", "retention-slot-cap"])),
            (Some("primary".into()), flags(&["data-dir", "listen", "http", "retention-slot-cap"])),
        ])
    }

    fn parse(text: &str) -> Result<SettingsFile, Failure> {
        SettingsFile::parse(Path::new("l.toml"), text, &known())
    }

    #[test]
    fn a_commands_own_table_goes_before_the_top_level() {
        let file = parse("data_dir = \"d\"\nlisten = \"a:1\"\n[primary]\nlisten = \"b:2\"").unwrap();
        assert_eq!(file.value("primary", "listen").unwrap(), ["b:2"]);
        assert_eq!(file.value("replica", "listen").unwrap(), ["a:1"]);
        assert_eq!(file.value("replica", "data-dir").unwrap(), ["d"]);
        assert_eq!(file.value("replica", "http"), None);
    }

    #[test]
    fn an_array_gives_a_repeated_flag() {
        let file = parse("apply = [\"sqlite:a.db\", \"audit=jsonl:b\"]").unwrap();
        assert_eq!(file.value("replica", "apply").unwrap(), ["sqlite:a.db", "audit=jsonl:b"]);
    }

    #[test]
    fn a_section_of_the_librarys_settings_is_a_table() {
        let file = parse("[retention]\nslot_cap = \"1GiB\"\n[network]\nlisten = \"a:1\"").unwrap();
        assert_eq!(file.value("primary", "retention-slot-cap").unwrap(), ["1GiB"]);
        assert_eq!(file.value("primary", "listen").unwrap(), ["a:1"]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        for (text, key, next) in [
            ("data-dri = \"d\"", "`data-dri`", "did you mean `data-dir`?"),
            ("[primary]\nlisen = \"a:1\"", "[primary]: unknown key `lisen`", "did you mean `listen`?"),
            ("zzz = 1", "`zzz`", "known here are: data-dir, listen, http, apply, retention-slot-cap"),
            ("[retention]\nslot_cup = 1", "[retention]: unknown key `slot_cup`", "did you mean `slot-cap`?"),
            ("[primry]\nlisten = \"a:1\"", "unknown table [primry]", "did you mean `primary`?"),
            ("[retenton]\nslot_cap = 1", "unknown table [retenton]", "did you mean `retention`?"),
            ("[tls]\nzzz = 1", "[tls]: unknown key `zzz`", "known here are: "),
        ] {
            let failure = parse(text).unwrap_err();
            assert!(failure.message().contains(key), "{}", failure.message());
            assert!(failure.hint().starts_with(next), "{}", failure.hint());
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        assert!(parse("data-dir = ").unwrap_err().message().contains("line 1"));
    }
}
