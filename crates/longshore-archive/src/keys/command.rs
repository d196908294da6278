//! Keys behind a program: the command of a key management service, of Vault, or of an HSM.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use super::{Context, DataKey, KeyError, KeyProvider, WrappedKey, child, wipe, words};

/// A program that wraps and unwraps data keys, run once for each.
///
/// From text it is split into words without a shell: white space separates, `'…'` and `"…"` hold a
/// word together, and nothing is expanded. The program gets one line of JSON on its standard input
/// and prints one line of JSON, at most 64 KiB. Unless it ends within 30 s it is killed.
///
/// | request | answer |
/// |---|---|
/// | `{"op":"wrap","log":HEX,"object":NAME,"plaintext":BASE64}` | `{"key":ID,"wrapped":BASE64}` |
/// | `{"op":"unwrap","log":HEX,"object":NAME,"key":ID,"wrapped":BASE64}` | `{"plaintext":BASE64}` |
/// | any | `{"error":TEXT}`, with `"unknown_key":true` if the key is not there |
///
/// The data key is drawn here and given to the program to wrap, so that any service that encrypts 32
/// bytes will do. A program should bind `log` and `object` to the wrapping where the service allows
/// it (an encryption context, associated data); the chunks of the object are bound to them anyway.
///
/// ```
/// use longshore_archive::keys::{CommandKeys, KeyProvider};
///
/// let keys: CommandKeys = "python3 '/etc/longshore/my kms.py' --key archive".parse().unwrap();
/// assert_eq!(keys.describe(), "command:python3");
/// ```
pub struct CommandKeys {
    program: String,
    arguments: Vec<String>,
    timeout: Duration,
}

impl FromStr for CommandKeys {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<CommandKeys, KeyError> {
        // The arguments may hold what does not belong in a message, so the text is not told.
        let refuse = |reason| KeyError::Setting { setting: format!("{PROVIDER}:…"), reason };
        let mut words = words::split(text).map_err(refuse)?.into_iter();
        let program = words.next().filter(|word| !word.is_empty()).ok_or_else(|| refuse("no program".into()))?;
        Ok(CommandKeys { program, arguments: words.collect(), timeout: Duration::from_secs(30) })
    }
}

impl KeyProvider for CommandKeys {
    fn describe(&self) -> String {
        format!("{PROVIDER}:{}", self.program)
    }

    fn wrap(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let data_key = DataKey::random()?;
        let plaintext = Some(BASE64_STANDARD.encode(data_key.as_bytes()));
        let request = Request { plaintext, ..Request::new("wrap", context) };
        let answer = self.ask(request)?;
        let bytes = answer.wrapped.and_then(|text| BASE64_STANDARD.decode(text).ok()).filter(|bytes| !bytes.is_empty());
        let (Some(key), Some(bytes)) = (answer.key, bytes) else {
            return Err(self.failed("wrap", None, r#"its answer is not {"key":ID,"wrapped":BASE64}"#.into()));
        };
        Ok((data_key, WrappedKey { provider: PROVIDER.into(), key, bytes }))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        wrapped.check_provider(PROVIDER)?;
        let key = Some(wrapped.key.as_str());
        let bytes = Some(BASE64_STANDARD.encode(&wrapped.bytes));
        let answer = self.ask(Request { key, wrapped: bytes, ..Request::new("unwrap", context) })?;
        let mut text = answer.plaintext.unwrap_or_default().into_bytes();
        let mut bytes = BASE64_STANDARD.decode(&text).unwrap_or_default();
        let data_key = DataKey::from_bytes(&bytes);
        wipe(&mut text);
        wipe(&mut bytes);
        let wrong = || r#"its answer is not {"plaintext":BASE64-OF-32-BYTES}"#.into();
        data_key.ok_or_else(|| self.failed("unwrap", key, wrong()))
    }
}

impl CommandKeys {
    /// Runs the program with one request. An answer that tells of an error becomes one here.
    fn ask(&self, request: Request<'_>) -> Result<Answer, KeyError> {
        let (op, key) = (request.op, request.key);
        let mut line = serde_json::to_vec(&request).expect("strings always have a JSON form");
        line.push(b'\n');
        if let Some(plaintext) = request.plaintext {
            wipe(&mut plaintext.into_bytes());
        }
        let run = child::run(&self.program, &self.arguments, line, self.timeout);
        let mut ended = run.map_err(|source| KeyError::Program { program: self.program.clone(), source })?;
        let answer: Option<Answer> = serde_json::from_slice(&ended.output).ok();
        wipe(&mut ended.output);
        let reason = match (&ended.status, answer) {
            (Ok(_), Some(Answer { unknown_key: true, .. })) if key.is_some() => {
                return Err(KeyError::UnknownKey { key: key.unwrap_or_default().into(), place: self.describe() });
            }
            (Ok(_), Some(Answer { error: Some(error), .. })) => format!("it answered {error:?}"),
            (Ok(status), Some(answer)) if status.success() => return Ok(answer),
            (Ok(status), None) if status.success() => "its answer is not one line of JSON".into(),
            (Ok(status), _) => format!("it ended with {status}"),
            (Err(reason), _) => reason.clone(),
        };
        let reason = match ended.stderr() {
            stderr if stderr.is_empty() => reason,
            stderr => format!("{reason}, and on standard error {stderr:?}"),
        };
        Err(self.failed(op, key, reason))
    }

    fn failed(&self, op: &'static str, key: Option<&str>, reason: String) -> KeyError {
        KeyError::Command { program: self.program.clone(), op, key: key.map(Into::into), reason }
    }
}

/// The program alone, as in every message.
impl fmt::Debug for CommandKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandKeys").field("program", &self.program).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Request<'a> {
    op: &'static str,
    log: String,
    object: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<String>,
}

impl<'a> Request<'a> {
    fn new(op: &'static str, context: &'a Context) -> Request<'a> {
        let log = context.log.to_string();
        Request { op, log, object: &context.object, key: None, wrapped: None, plaintext: None }
    }
}

#[derive(Deserialize)]
struct Answer {
    key: Option<String>,
    wrapped: Option<String>,
    plaintext: Option<String>,
    error: Option<String>,
    #[serde(default)]
    unknown_key: bool,
}

pub(super) const PROVIDER: &str = "command";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use longshore_format::{ErrorKind, LogId};
    use tempfile::TempDir;

    use super::CommandKeys;
    use crate::keys::{Context, KeyError, KeyProvider, WrappedKey};

    /// Stands in for Vault: keeps what it is given, with what it is for, under a number.
    const VAULT: &str = r#"
        cd "$1" || exit 1
        read -r line
        field() { printf '%s' "$line" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
        case $(field op) in
        wrap)
            number=$(ls | wc -l | tr -d ' ')
            printf '%s %s\n' "$(field log)/$(field object)" "$(field plaintext)" > "$number"
            printf '{"key":"transit/archive","wrapped":"%s"}\n' "$(printf '%s' "$number" | base64)" ;;
        unwrap)
            if [ "$(field key)" != transit/archive ]; then
                echo '{"error":"no such key","unknown_key":true}'; exit 2
            fi
            read -r place plaintext < "$(field wrapped | base64 -d)"
            if [ "$place" != "$(field log)/$(field object)" ]; then
                echo "audit: wrong place" >&2
                echo '{"error":"the context differs"}'; exit 0
            fi
            printf '{"plaintext":"%s"}\n' "$plaintext" ;;
        esac
    "#;

    fn vault() -> (TempDir, CommandKeys) {
        let dir = tempfile::tempdir().unwrap();
        let (script, kept) = (dir.path().join("vault.sh"), dir.path().join("kept"));
        fs::write(&script, VAULT).unwrap();
        fs::create_dir(&kept).unwrap();
        let keys = format!("sh '{}' \"{}\"", script.display(), kept.display()).parse().unwrap();
        (dir, keys)
    }

    fn context(object: &str) -> Context {
        Context { log: LogId::from_bytes([7; 16]), object: object.into() }
    }

    /// What a one-line shell script in the program's place leads to.
    fn answer_of(script: &str) -> KeyError {
        let mut keys: CommandKeys = format!("sh -c '{script}'").parse().unwrap();
        keys.timeout = Duration::from_secs(20);
        let wrapped = WrappedKey { provider: "command".into(), key: "k1".into(), bytes: vec![1] };
        keys.unwrap(&wrapped, &context("a")).unwrap_err()
    }

    #[test]
    fn a_program_wraps_and_unwraps() {
        let (_dir, keys) = vault();
        let (first, wrapped_first) = keys.wrap(&context("segments/1")).unwrap();
        let (second, wrapped_second) = keys.wrap(&context("segments/2")).unwrap();
        assert_eq!(wrapped_first.key, "transit/archive");
        let unwrap = |wrapped, object| keys.unwrap(wrapped, &context(object));
        assert_eq!(unwrap(&wrapped_second, "segments/2").unwrap().as_bytes(), second.as_bytes());
        assert_eq!(unwrap(&wrapped_first, "segments/1").unwrap().as_bytes(), first.as_bytes());

        let error = unwrap(&wrapped_first, "segments/2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        for part in ["sh did not unwrap", "\"transit/archive\"", "the context differs", "audit: wrong place"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let renamed = WrappedKey { key: "transit/old".into(), ..wrapped_first.clone() };
        let error = unwrap(&renamed, "segments/1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preflight);
        assert!(error.to_string().contains("\"transit/old\" is not in command:sh"), "{error}");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let check = |script: &str, expected: &str| {
            let error = answer_of(script);
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{script}");
            assert!(error.to_string().contains(expected), "{script}: {error}");
        };
        check("echo token expired >&2; exit 3", "exit status: 3, and on standard error \"token expired\"");
        check("true", "not one line of JSON");
        check("cat; cat", "its answer is not {\"plaintext\"");
        check("echo \"{}\"; echo \"{}\"", "not one line of JSON");
        check("echo \"{\\\"plaintext\\\":\\\"AAAA\\\"}\"", "its answer is not {\"plaintext\"");
        check("head -c 70000 /dev/zero", "longer than 65536 bytes");
        check("kill -9 $$", "signal: 9");
    }

    #[test]
    fn standard_error_is_cut_and_does_not_hold_the_program_up() {
        let error = answer_of("head -c 1000000 /dev/zero | tr \"\\\\0\" x >&2; exit 1").to_string();
        assert!(error.contains(&"x".repeat(500)) && !error.contains(&"x".repeat(501)), "{}", error.len());
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        for script in ["sleep 600", "exec >&-; sleep 600", "sleep 600 & wait"] {
            let mut keys: CommandKeys = format!("sh -c '{script}'").parse().unwrap();
            keys.timeout = Duration::from_millis(100);
            let error = keys.wrap(&context("a")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("longer than 100ms and was killed"), "{error}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let keys: CommandKeys = "/nowhere/kms --token secret".parse().unwrap();
        let error = keys.wrap(&context("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preflight);
        assert!(error.to_string().contains("/nowhere/kms cannot be started"), "{error}");
        assert!(!format!("{error}{keys:?}{}", keys.describe()).contains("secret"));
    }
}
