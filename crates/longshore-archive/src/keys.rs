//! The keys of an archive that is encrypted.
//!
//! Every object has a data key of its own, drawn when the object is made. A [`KeyProvider`] wraps the
//! data key, and the wrapped key is kept with the object. The key that wraps stays with the provider:
//! a file, AWS KMS, or a program in front of another key service. So a key can be rotated without
//! writing the data again.

use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use longshore_format::LogId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod child;
pub mod command;
mod error;
pub mod file;
#[cfg(feature = "kms")]
mod kms;
mod words;

pub use command::CommandKeys;
pub use error::KeyError;
pub use file::FileKeys;
#[cfg(feature = "kms")]
pub use kms::KmsKeys;

/// What a data key belongs to. Bound into its wrapping and into every chunk it encrypts, so that no
/// object can stand in for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Which log.
    pub log: LogId,
    /// The object's name within the log, such as `segments/…`.
    pub object: String,
}

impl Context {
    /// The bytes that are authenticated: 16 of the log's id, then the name.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.log.as_bytes(), self.object.as_bytes()].concat()
    }
}

/// The key that encrypts one object: 256 random bits. Printed without its bytes.
///
/// Overwritten when it is dropped. Safe code cannot promise more than that: the compiler may have
/// left copies where the key was moved from.
pub struct DataKey([u8; DataKey::LEN]);

impl DataKey {
    /// The length of a key.
    pub const LEN: usize = 32;

    /// A new key.
    pub fn random() -> Result<DataKey, KeyError> {
        let mut key = DataKey([0; DataKey::LEN]);
        aws_lc_rs::rand::fill(&mut key.0).map_err(|_| KeyError::Random)?;
        Ok(key)
    }

    /// The key with these bytes: what a provider unwrapped. `None` unless there are 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<DataKey> {
        bytes.try_into().ok().map(DataKey)
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8; DataKey::LEN] {
        &self.0
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// A data key as it is kept with its object. It says nothing to those who lack the provider's key.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which sort of provider wrapped it: `file`, `command` or `kms`.
    pub provider: String,
    /// The id of the provider's key.
    pub key: String,
    /// The wrapped key, in the provider's own form. Base64 in JSON.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub bytes: Vec<u8>,
}

impl WrappedKey {
    /// Refuses a key that another sort of provider wrapped.
    fn check_provider(&self, provider: &'static str) -> Result<(), KeyError> {
        if self.provider == provider {
            return Ok(());
        }
        Err(KeyError::OtherProvider { wrapped: self.provider.clone(), given: provider, key: self.key.clone() })
    }
}

/// What wraps data keys, and unwraps them again.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// Which keys, for messages. Never a secret.
    fn describe(&self) -> String;

    /// Draws a new data key, and wraps it.
    fn wrap(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError>;

    /// The data key that was wrapped for this context.
    fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError>;
}

/// The provider that a setting names: `file:PATH` ([`FileKeys`]), `command:PROGRAM ARGS`
/// ([`CommandKeys`]), or `kms:KEY?region=REGION` where the feature `kms` is built in.
///
/// ```
/// use longshore_archive::keys::parse_keys;
///
/// let keys = parse_keys("command:vault-wrap --key archive").unwrap();
/// assert_eq!(keys.describe(), "command:vault-wrap");
/// assert!(parse_keys("archive.keys").is_err());
/// ```
pub fn parse_keys(spec: &str) -> Result<Arc<dyn KeyProvider>, KeyError> {
    match spec.split_once(':') {
        Some((file::PROVIDER, path)) if !path.is_empty() => Ok(Arc::new(FileKeys::open(path)?)),
        Some((command::PROVIDER, line)) => Ok(Arc::new(line.parse::<CommandKeys>()?)),
        Some(("kms", key)) => kms_keys(key),
        _ => Err(KeyError::Setting {
            setting: spec.into(),
            reason: "neither a file, a command, nor a key of KMS".into(),
        }),
    }
}

#[cfg(feature = "kms")]
fn kms_keys(key: &str) -> Result<Arc<dyn KeyProvider>, KeyError> {
    Ok(Arc::new(key.parse::<KmsKeys>()?))
}

#[cfg(not(feature = "kms"))]
fn kms_keys(_key: &str) -> Result<Arc<dyn KeyProvider>, KeyError> {
    Err(KeyError::Feature { feature: "kms" })
}

/// Overwrites a secret, in a way that is not optimised away.
fn wipe(secret: &mut [u8]) {
    secret.fill(0);
    std::hint::black_box(secret);
}

fn to_base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    BASE64_STANDARD.decode(text).map_err(|error| de::Error::custom(format_args!("no base64: {error}")))
}

#[cfg(test)]
mod tests {
    use longshore_format::ErrorKind;

    use super::{DataKey, WrappedKey, parse_keys};

    #[test]
    fn a_data_key_never_prints_its_bytes() {
        let key = DataKey::from_bytes(&[0xab; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "DataKey(…)");
        assert!(DataKey::from_bytes(&[0; 31]).is_none());
        assert_ne!(DataKey::random().unwrap().as_bytes(), DataKey::random().unwrap().as_bytes());
    }

    #[test]
    fn a_wrapped_key_is_json_with_base64() {
        let wrapped = WrappedKey { provider: "file".into(), key: "k1".into(), bytes: vec![0xfb, 0xff] };
        let json = serde_json::to_string(&wrapped).unwrap();
        assert_eq!(json, r#"{"provider":"file","key":"k1","bytes":"+/8="}"#);
        assert_eq!(serde_json::from_str::<WrappedKey>(&json).unwrap(), wrapped);
    }

    #[test]
    fn settings_that_name_no_provider_are_refused() {
        for setting in ["", "file", "file:", "keys.txt", "vault:x", "command:", "command:  ", "command:'a"] {
            let error = parse_keys(setting).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{setting}");
            assert!(error.to_string().contains("file:PATH"), "{error}");
        }
    }

    #[cfg(not(feature = "kms"))]
    #[test]
    fn keys_of_a_feature_that_was_left_out_name_the_feature() {
        let error = parse_keys("kms:alias/archive").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("--features kms"), "{error}");
    }
}
