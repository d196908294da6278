//! Keys that never leave AWS KMS.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use super::{Context, DataKey, KeyError, KeyProvider, WrappedKey, wipe};

mod key;
mod refusal;
mod service;

use key::Key;
use service::Service;

/// A key of AWS KMS, or an alias of one: `kms:KEY?region=REGION&endpoint=URL`.
///
/// Each data key is drawn by KMS (`GenerateDataKey`) and bound to the encryption context
/// `{"longshore:log": HEX, "longshore:object": NAME}`, which a key policy may ask for and CloudTrail
/// shows. The identity that archives needs `kms:GenerateDataKey`, the one that reads `kms:Decrypt`.
/// Credentials are found in the environment, by a web identity, or from the container or the
/// instance.
///
/// The region is that of the ARN, else `region=`, else `AWS_REGION` or `AWS_DEFAULT_REGION`. A data key
/// is unwrapped by the key that wrapped it, in the account of the key that was given: an object that
/// names a key of somebody else's account is refused. A multi-Region key is asked in the region that
/// was given, and any other in its own, so that an archive outlives the region of its key.
///
/// Calls block, at most 30 s; KMS is asked on a thread of its own, so that they may be made on any.
///
/// ```
/// use longshore_archive::keys::{KeyProvider, KmsKeys};
///
/// let keys: KmsKeys = "alias/archive?region=eu-west-1".parse().unwrap();
/// assert_eq!(keys.describe(), "kms:alias/archive in eu-west-1");
/// ```
pub struct KmsKeys {
    key: Key,
    service: Service,
}

impl std::str::FromStr for KmsKeys {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<KmsKeys, KeyError> {
        let refuse = |reason| KeyError::Setting { setting: format!("{PROVIDER}:{text}"), reason };
        let key = Key::parse(text, |name| std::env::var(name).ok()).map_err(refuse)?;
        let service = Service::new(&key).map_err(refuse)?;
        Ok(KmsKeys { key, service })
    }
}

impl KeyProvider for KmsKeys {
    fn describe(&self) -> String {
        format!("{PROVIDER}:{} in {}", self.key.name, self.key.region)
    }

    fn wrap(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let request = Request { key_spec: Some("AES_256"), ..Request::new(&self.key.name, context) };
        let answer = self.ask("GenerateDataKey", &self.key.region, request)?;
        let bytes = answer.ciphertext_blob.and_then(|text| BASE64_STANDARD.decode(text).ok());
        let (Some(data_key), Some(bytes)) = (data_key(answer.plaintext), bytes.filter(|bytes| !bytes.is_empty()))
        else {
            return Err(self.no_answer("GenerateDataKey", &self.key.name));
        };
        // What could not be unwrapped again is not used.
        if self.key.that_wrapped(&answer.key_id).is_none() {
            return Err(self.no_answer("GenerateDataKey", &answer.key_id));
        }
        Ok((data_key, WrappedKey { provider: PROVIDER.into(), key: answer.key_id, bytes }))
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        wrapped.check_provider(PROVIDER)?;
        let unknown = || KeyError::UnknownKey { key: wrapped.key.clone(), place: self.describe() };
        let (name, region) = self.key.that_wrapped(&wrapped.key).ok_or_else(unknown)?;
        let blob = Some(BASE64_STANDARD.encode(&wrapped.bytes));
        let request = Request { ciphertext_blob: blob, ..Request::new(&name, context) };
        let answer = self.ask("Decrypt", &region, request)?;
        data_key(answer.plaintext).ok_or_else(|| self.no_answer("Decrypt", &wrapped.key))
    }
}

impl KmsKeys {
    fn ask(&self, operation: &'static str, region: &str, request: Request<'_>) -> Result<Answer, KeyError> {
        let body = serde_json::to_vec(&request).expect("strings always have a JSON form");
        let called = self.service.call(operation, region, &self.key.endpoint_in(region), body);
        let mut body = called.map_err(|refusal| refusal.into_error(self.describe(), operation, request.key_id))?;
        let answer = serde_json::from_slice(&body).ok();
        wipe(&mut body);
        answer.ok_or_else(|| self.no_answer(operation, request.key_id))
    }

    fn no_answer(&self, operation: &'static str, key: &str) -> KeyError {
        refusal::Refusal::other("its answer is not one of KMS: is the endpoint right?").into_error(
            self.describe(),
            operation,
            key,
        )
    }
}

/// Which key; the credentials are not told.
impl fmt::Debug for KmsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsKeys").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The data key in an answer, whose text is overwritten.
fn data_key(plaintext: Option<String>) -> Option<DataKey> {
    let mut text = plaintext?.into_bytes();
    let mut bytes = BASE64_STANDARD.decode(&text).unwrap_or_default();
    let data_key = DataKey::from_bytes(&bytes);
    wipe(&mut text);
    wipe(&mut bytes);
    data_key
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    key_id: &'a str,
    encryption_context: EncryptionContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_spec: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<String>,
}

impl<'a> Request<'a> {
    fn new(key_id: &'a str, context: &'a Context) -> Request<'a> {
        let encryption_context = EncryptionContext { log: context.log.to_string(), object: &context.object };
        Request { key_id, encryption_context, key_spec: None, ciphertext_blob: None }
    }
}

#[derive(Serialize)]
struct EncryptionContext<'a> {
    #[serde(rename = "longshore:log")]
    log: String,
    #[serde(rename = "longshore:object")]
    object: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    key_id: String,
    ciphertext_blob: Option<String>,
    plaintext: Option<String>,
}

pub(super) const PROVIDER: &str = "kms";
