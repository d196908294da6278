//! Who may do what: `grants.toml`.
//!
//! ```toml
//! [primary]
//! logs."*" = ["admin", "append", "read"]
//!
//! [eu-west]
//! region = "eu-west"
//! provider = "aws"
//! logs."*" = ["replicate"]
//! logs.orders = ["read"]
//! ```
//!
//! A table's name is the identity in a certificate. The roles for a log are those under `"*"` and those
//! under the log's name together. Region and provider are facts that only the operator of the upstream
//! can know, which is why they stand here and in no message. What is not written is not allowed, and what
//! is not understood is refused, with the nearest word that would be.

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use longshore_format::ErrorKind;
use longshore_protocol::{Name, Region};
use toml::{Table, Value};

use crate::{Error, Result};

/// What an identity may do to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Append records and marks, and wait for them.
    Append,
    /// Read records and positions.
    Read,
    /// Follow the log and keep a slot in it.
    Replicate,
    /// Become its writer, and be believed about a higher epoch.
    Promote,
    /// Create logs, change limits, drop slots, see everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Role::Append, Role::Read, Role::Replicate, Role::Promote, Role::Admin];

    /// The role as `grants.toml` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Append => "append",
            Role::Read => "read",
            Role::Replicate => "replicate",
            Role::Promote => "promote",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let nearest = nearest(text, Role::ALL.map(Role::as_str));
            Error::new(ErrorKind::Invalid, format!("unknown role {text:?}"), nearest)
        })
    }
}

/// The contents of a `grants.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    identities: BTreeMap<String, Grant>,
}

/// What one identity is and may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Where it is.
    pub region: Option<Region>,
    /// Who runs the machines there.
    pub provider: Option<String>,
    /// Its roles, by log name or `*`.
    logs: BTreeMap<String, Vec<Role>>,
}

impl Grants {
    /// Reads and parses a file.
    pub fn load(path: &Path) -> Result<Grants> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the grants in {}: {error}", path.display());
            Error::new(ErrorKind::Invalid, message, "'longshore certs' writes one").because(error)
        })?;
        Grants::parse(&text).map_err(|error| {
            let message = format!("{}: {}", path.display(), error.message());
            Error::new(ErrorKind::Invalid, message, error.next_step())
        })
    }

    /// Parses the text of a file. Strict: what is not understood is refused.
    pub fn parse(text: &str) -> Result<Grants> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
            let message = format!("not TOML at line {line}: {}", error.message());
            Error::new(ErrorKind::Invalid, message, "correct the line")
        })?;
        let mut identities = BTreeMap::new();
        for (identity, value) in table {
            named(&identity, "identity")?;
            let Value::Table(table) = value else {
                let message = format!("{identity:?} is not a table");
                return Err(Error::new(ErrorKind::Invalid, message, format!("write [{identity}]")));
            };
            let grant = Grant::parse(&identity, table)?;
            identities.insert(identity, grant);
        }
        Ok(Grants { identities })
    }

    /// What is granted to an identity, if anything is.
    pub fn of(&self, identity: &Name) -> Option<&Grant> {
        self.identities.get(identity.as_str())
    }

    /// Whether an identity has a role for a log.
    pub fn allows(&self, identity: &Name, role: Role, log: &Name) -> bool {
        self.of(identity).is_some_and(|grant| grant.roles(log).any(|granted| granted == role))
    }

    /// The identities that may replicate a log.
    pub fn replicas_of(&self, log: &Name) -> impl Iterator<Item = Name> {
        let granted = self.identities.iter().filter(|(_, grant)| grant.roles(log).any(|role| role == Role::Replicate));
        granted.filter_map(|(identity, _)| Name::new(identity).ok())
    }

    /// The line which, under `[identity]`, would grant the role for the log.
    pub(crate) fn line_to_add(&self, identity: &Name, role: Role, log: &str) -> String {
        let granted = self.of(identity).and_then(|grant| grant.logs.get(log)).into_iter().flatten();
        let roles: Vec<_> = granted.copied().chain([role]).map(|role| format!("\"{role}\"")).collect();
        let log = if log == "*" { "\"*\"" } else { log };
        format!("logs.{log} = [{}]", roles.join(", "))
    }
}

impl Grant {
    fn parse(identity: &str, table: Table) -> Result<Grant> {
        let mut grant = Grant::default();
        for (key, value) in table {
            match (key.as_str(), value) {
                ("region", Value::String(region)) => {
                    named(&region, "region")?;
                    grant.region = Region::new(&region).ok();
                }
                ("provider", Value::String(provider)) if provider.len() <= Name::MAX_LEN => {
                    grant.provider = Some(provider);
                }
                ("logs", Value::Table(logs)) => grant.logs = parse_logs(identity, logs)?,
                (known @ ("region" | "provider" | "logs"), _) => {
                    let message = format!("{known:?} of {identity:?} has the wrong type");
                    let step = "region and provider are short strings, logs is a table of lists of roles";
                    return Err(Error::new(ErrorKind::Invalid, message, step));
                }
                (unknown, _) => {
                    let message = format!("unknown key {unknown:?} of {identity:?}");
                    let step = nearest(unknown, ["region", "provider", "logs"]);
                    return Err(Error::new(ErrorKind::Invalid, message, step));
                }
            }
        }
        Ok(grant)
    }

    /// The roles for a log, those for every log included.
    fn roles(&self, log: &Name) -> impl Iterator<Item = Role> {
        [log.as_str(), "*"].into_iter().filter_map(|key| self.logs.get(key)).flatten().copied()
    }
}

fn parse_logs(identity: &str, table: Table) -> Result<BTreeMap<String, Vec<Role>>> {
    let mut logs = BTreeMap::new();
    for (log, value) in table {
        if log != "*" {
            named(&log, "log")?;
        }
        let wrong = || {
            let message = format!("the roles of {identity:?} for log {log:?} are not a list of strings");
            Error::new(ErrorKind::Invalid, message, "write for example [\"read\"]")
        };
        let Value::Array(values) = value else {
            return Err(wrong());
        };
        let mut roles = Vec::new();
        for value in values {
            let role: Role = value.as_str().ok_or_else(wrong)?.parse()?;
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        logs.insert(log, roles);
    }
    Ok(logs)
}

/// Checks that a key is a name, so that no look-alike grants anything (F-125).
fn named(text: &str, what: &str) -> Result<()> {
    match Name::new(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::new(
            ErrorKind::Invalid,
            format!("bad name ({what}): {error}"),
            "use lower-case letters, digits, - and _",
        )),
    }
}

/// A sentence that names the nearest known word.
fn nearest<const N: usize>(unknown: &str, known: [&'static str; N]) -> String {
    let closest = known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(unknown, word), word))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match closest {
        Some((_, word)) => format!("did you mean {word:?}?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    const EXAMPLE: &str = r#"
        [primary]
        logs."*" = ["admin", "append"]
        [eu-west]
        region = "eu-west"
        provider = "aws"
        logs."*" = ["replicate"]
        logs.orders = ["read"]
    "#;

    #[test]
    fn roles_for_every_log_and_for_one_add_up() {
        let grants = Grants::parse(EXAMPLE).unwrap();
        let (west, orders, other) = (name("eu-west"), name("orders"), name("other"));
        assert!(grants.allows(&west, Role::Replicate, &orders));
        assert!(grants.allows(&west, Role::Read, &orders));
        assert!(grants.allows(&west, Role::Replicate, &other));
        assert!(!grants.allows(&west, Role::Read, &other));
        assert!(!grants.allows(&name("stranger"), Role::Read, &orders));
        assert!(grants.allows(&name("primary"), Role::Admin, &other));
        assert_eq!(grants.of(&west).unwrap().region, Some(Region::new("eu-west").unwrap()));
    }

    #[test]
    fn the_line_to_add_grants_what_was_missing() {
        let grants = Grants::parse(EXAMPLE).unwrap();
        let (west, orders) = (name("eu-west"), name("orders"));
        let line = grants.line_to_add(&west, Role::Append, "orders");
        assert_eq!(line, r#"logs.orders = ["read", "append"]"#);
        let added = Grants::parse(&format!("[eu-west]\n{line}\n")).unwrap();
        assert!(added.allows(&west, Role::Append, &orders) && added.allows(&west, Role::Read, &orders));
        assert_eq!(grants.line_to_add(&name("new"), Role::Admin, "*"), r#"logs."*" = ["admin"]"#);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_nearest_word() {
        // F-125, F-126
        for (text, expected) in [
            ("[a]\nregoin = \"x\"", "did you mean \"region\"?"),
            ("[a]\nzzzzzzzzz = 1", "known are region, provider, logs"),
            ("[a]\nlogs.x = [\"replicat\"]", "did you mean \"replicate\"?"),
            ("[a]\nlogs.x = \"read\"", "write for example"),
            ("[a]\nlogs.x = [1]", "write for example"),
            ("[a]\nlogs = [\"read\"]", "logs is a table"),
            ("[a]\nregion = 3", "region and provider are short strings"),
            ("[a]\nregion = \"EU\"", "bad name (region)"),
            ("[\"../a\"]", "bad name (identity)"),
            ("[a]\nlogs.\"../x\" = []", "bad name (log)"),
            ("a = 1", "write [a]"),
            ("[a\n", "not TOML at line 1"),
        ] {
            let error = Grants::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(expected), "{text:?} gave {error}");
        }
    }
}
