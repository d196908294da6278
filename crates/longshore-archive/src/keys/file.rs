//! Keys in a file: for a machine without a key management service.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{Context, DataKey, KeyError, KeyProvider, WrappedKey, wipe};

/// The keys of a file. The first one wraps, all unwrap: to rotate, put a new line on top and keep
/// the others for as long as objects that name them do.
///
/// A line is `ID BASE64-OF-32-BYTES`; empty lines and lines that begin with `#` are passed over. A
/// file that its group or others may use is refused.
///
/// A data key is wrapped with AES-256-GCM, with a random nonce, bound to log and object:
/// `bytes` = nonce (12), ciphertext (32), tag (16). Random nonces keep one key good for 2³² objects
/// (NIST SP 800-38D, section 8.3).
pub struct FileKeys {
    path: PathBuf,
    /// Never empty.
    keys: Vec<Key>,
}

struct Key {
    id: String,
    key: RandomizedNonceKey,
}

impl FileKeys {
    /// Reads a key file. Later changes to the file are not seen.
    pub fn open(path: impl AsRef<Path>) -> Result<FileKeys, KeyError> {
        let path = path.as_ref().to_owned();
        let mut text = read(&path)?;
        let keys = parse(&path, &text);
        wipe(&mut text);
        Ok(FileKeys { keys: keys?, path })
    }
}

/// A line for a key file, with a new random key. `id` is 1 to 64 letters, digits, or any of
/// `. _ : / -`.
pub fn generate_line(id: &str) -> Result<String, KeyError> {
    if !is_id(id) {
        return Err(KeyError::Id { id: id.chars().take(80).collect() });
    }
    Ok(format!("{id} {}\n", BASE64_STANDARD.encode(DataKey::random()?.as_bytes())))
}

impl KeyProvider for FileKeys {
    fn describe(&self) -> String {
        format!("{PROVIDER}:{}", self.path.display())
    }

    fn wrap(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let data_key = DataKey::random()?;
        let Key { id, key } = &self.keys[0];
        let mut secret = *data_key.as_bytes();
        let sealed = key.seal_in_place_separate_tag(Aad::from(context.to_bytes()), &mut secret);
        let (nonce, tag) = sealed.map_err(|_| KeyError::Random)?;
        let bytes = [nonce.as_ref(), secret.as_slice(), tag.as_ref()].concat();
        Ok((data_key, WrappedKey { provider: PROVIDER.into(), key: id.clone(), bytes }))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        wrapped.check_provider(PROVIDER)?;
        let unknown = || KeyError::UnknownKey { key: wrapped.key.clone(), place: self.describe() };
        let key = &self.keys.iter().find(|key| key.id == wrapped.key).ok_or_else(unknown)?.key;
        let data_key = wrapped.bytes.split_first_chunk::<NONCE_LEN>().and_then(|(nonce, sealed)| {
            let mut sealed = sealed.to_vec();
            let opened = key.open_in_place(Nonce::from(nonce), Aad::from(context.to_bytes()), &mut sealed);
            let data_key = opened.ok().and_then(|secret| DataKey::from_bytes(secret));
            wipe(&mut sealed);
            data_key
        });
        data_key.ok_or_else(|| KeyError::Mismatch { key: wrapped.key.clone(), place: self.describe() })
    }
}

/// Which file, and the ids in it.
impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("FileKeys").field("path", &self.path).field("ids", &ids).finish()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::File { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    // Of the open file, not of the path: what is checked is what is read.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    // As large as it may get: a buffer that grows leaves copies behind.
    let mut text = Vec::with_capacity(LONGEST_FILE + 1);
    file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    if LONGEST_FILE < text.len() {
        wipe(&mut text);
        let reason = format!("it is longer than {LONGEST_FILE} bytes");
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason)));
    }
    Ok(text)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<Key>, KeyError> {
    let mut keys: Vec<Key> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |reason| KeyError::Line { path: path.into(), line: index + 1, reason };
        let line = str::from_utf8(line).map_err(|_| wrong("it is not text"))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(id), Some(key), None) = (words.next(), words.next(), words.next()) else {
            return Err(wrong("it does not have two words"));
        };
        if !is_id(id) {
            return Err(wrong("the id has other than letters, digits and . _ : / -, or more than 64 of them"));
        }
        if keys.iter().any(|key| key.id == id) {
            return Err(wrong("the id is there already"));
        }
        let mut bytes = BASE64_STANDARD.decode(key).map_err(|_| wrong("the key is no base64"))?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| wrong("the key has other than 32 bytes"));
        wipe(&mut bytes);
        keys.push(Key { id: id.into(), key: key? });
    }
    if keys.is_empty() {
        return Err(KeyError::NoKeys { path: path.into() });
    }
    Ok(keys)
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) const PROVIDER: &str = "file";
const LONGEST_FILE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use longshore_format::{ErrorKind, LogId};
    use tempfile::TempDir;

    use super::{FileKeys, generate_line};
    use crate::keys::{Context, KeyError, KeyProvider, WrappedKey};

    fn key_file(text: &str, mode: u32) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn open(text: &str) -> Result<FileKeys, KeyError> {
        let (_dir, path) = key_file(text, 0o600);
        FileKeys::open(path)
    }

    fn context(object: &str) -> Context {
        Context { log: LogId::from_bytes([7; 16]), object: object.into() }
    }

    #[test]
    fn the_first_key_wraps_and_all_unwrap() {
        let (old, new) = (generate_line("2025").unwrap(), generate_line("2026").unwrap());
        let before = open(&format!("# archive\n\n{old}")).unwrap();
        let after = open(&format!("{new}{old}")).unwrap();

        let (key, wrapped) = before.wrap(&context("a")).unwrap();
        assert_eq!(wrapped.key, "2025");
        assert_eq!(after.unwrap(&wrapped, &context("a")).unwrap().as_bytes(), key.as_bytes());
        assert_eq!(after.wrap(&context("a")).unwrap().1.key, "2026");
    }

    #[test]
    fn a_key_that_was_removed_is_named() {
        let keys = open(&generate_line("2025").unwrap()).unwrap();
        let (_, wrapped) = keys.wrap(&context("a")).unwrap();
        let without = open(&generate_line("2026").unwrap()).unwrap();
        let error = without.unwrap(&wrapped, &context("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preflight);
        assert!(error.to_string().contains("\"2025\" is not in file:/"), "{error}");
    }

    #[test]
    fn a_wrapped_key_opens_only_where_it_belongs() {
        let keys = open(&generate_line("k").unwrap()).unwrap();
        let (_, wrapped) = keys.wrap(&context("a")).unwrap();
        let check = |wrapped: &WrappedKey, context: &Context, kind| {
            assert_eq!(keys.unwrap(wrapped, context).unwrap_err().kind(), kind);
        };
        check(&wrapped, &context("b"), ErrorKind::Corrupt);
        check(&wrapped, &Context { log: LogId::from_bytes([8; 16]), ..context("a") }, ErrorKind::Corrupt);
        check(&WrappedKey { provider: "command".into(), ..wrapped.clone() }, &context("a"), ErrorKind::Preflight);
        for len in 0..wrapped.bytes.len() {
            let cut = WrappedKey { bytes: wrapped.bytes[..len].to_vec(), ..wrapped.clone() };
            check(&cut, &context("a"), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn a_file_that_others_may_use_is_refused_with_the_remedy() {
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            let (_dir, path) = key_file(&generate_line("k").unwrap(), mode);
            let error = FileKeys::open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Preflight);
            assert!(error.to_string().ends_with(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_file_with_anything_else_in_it_is_refused_without_telling_it() {
        let good = generate_line("k").unwrap();
        let secret = good.trim().split_once(' ').unwrap().1.to_owned();
        let check = |text: &str, expected: &str| {
            let error = open(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains(&secret), "{error}");
        };
        check("", "holds no key");
        check("# nothing\n", "holds no key");
        check(&secret, "two words");
        check(&format!("{good}{good}"), "line 2: the id is there already");
        check(&format!("ä {secret}"), "the id has other");
        check(&format!("a {secret} b"), "two words");
        check("a !", "no base64");
        check("a AAAA", "other than 32 bytes");
        assert_eq!(open(&"#".repeat(70_000)).unwrap_err().kind(), ErrorKind::Preflight);
        assert_eq!(FileKeys::open("/nowhere/keys").unwrap_err().kind(), ErrorKind::Preflight);
    }

    #[test]
    fn ids_that_a_file_cannot_hold_are_refused() {
        for id in ["", "a b", "#a", "a\n", &"a".repeat(65)] {
            assert_eq!(generate_line(id).unwrap_err().kind(), ErrorKind::Invalid, "{id:?}");
        }
    }

    #[test]
    fn debug_shows_ids_and_no_keys() {
        let keys = open(&generate_line("k1").unwrap()).unwrap();
        assert!(format!("{keys:?}").ends_with("ids: [\"k1\"] }"));
    }
}
