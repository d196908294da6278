//! What KMS says when it does not do what was asked, and what that means here.

use longshore_format::ErrorKind;
use serde::Deserialize;

use crate::keys::KeyError;

/// Why KMS gave no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    what: What,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Not with these credentials.
    Denied,
    /// The key is there and may not be used.
    Disabled,
    /// No such key.
    Unknown,
    /// The context, or the key, is another than the one that wrapped; or the bytes are damaged.
    Mismatch,
    /// It was asked for what cannot be.
    Wrong,
    /// It may do it later.
    Passing,
    /// Anything else.
    Other,
}

impl Refusal {
    /// No answer came.
    pub(super) fn unreachable(reason: impl Into<String>) -> Refusal {
        Refusal { what: What::Passing, reason: reason.into() }
    }

    /// There are no credentials to ask with.
    pub(super) fn no_credentials(reason: &str) -> Refusal {
        Refusal { what: What::Denied, reason: format!("no credentials are found: {}", cut(reason)) }
    }

    /// What nobody thought of.
    pub(super) fn other(reason: impl Into<String>) -> Refusal {
        Refusal { what: What::Other, reason: reason.into() }
    }

    /// An answer other than 200, by the exception that it names.
    pub(super) fn of(status: u16, body: &[u8]) -> Refusal {
        let said: Said = serde_json::from_slice(body).unwrap_or_default();
        // Some endpoints put a namespace before the name, and others an address behind it.
        let name = said.name.split('#').next_back().unwrap_or_default().split(':').next().unwrap_or_default();
        let what = match name {
            "AccessDeniedException"
            | "AccessDenied"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "OptInRequired"
            | "NotAuthorizedException" => What::Denied,
            "DisabledException" | "KMSInvalidStateException" => What::Disabled,
            "NotFoundException" => What::Unknown,
            "InvalidCiphertextException" | "IncorrectKeyException" => What::Mismatch,
            "InvalidKeyUsageException"
            | "ValidationException"
            | "InvalidArnException"
            | "InvalidGrantTokenException" => What::Wrong,
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "LimitExceededException"
            | "DependencyTimeoutException"
            | "KMSInternalException"
            | "KeyUnavailableException"
            | "ServiceUnavailable"
            | "InternalFailure" => What::Passing,
            _ if status == 401 || status == 403 => What::Denied,
            _ if status == 429 || 500 <= status => What::Passing,
            _ => What::Other,
        };
        let reason = match (name, said.message.as_deref().unwrap_or_default()) {
            ("", _) => format!("it answered {status} with {:?}", cut(&String::from_utf8_lossy(body))),
            (name, "") => name.to_owned(),
            (name, message) => format!("{name}: {}", cut(message)),
        };
        Refusal { what, reason }
    }

    /// Whether it is worth asking again at once.
    pub(super) fn is_passing(&self) -> bool {
        self.what == What::Passing
    }

    /// The same, of a provider that was asked to do something with a key.
    pub(super) fn into_error(self, place: String, operation: &'static str, key: &str) -> KeyError {
        let key = key.to_owned();
        let (kind, advice) = match self.what {
            What::Unknown => return KeyError::UnknownKey { key, place },
            What::Mismatch => return KeyError::Mismatch { key, place },
            What::Denied => (
                ErrorKind::Denied,
                "look at the credentials of this process, at the key's policy, and at this machine's clock",
            ),
            What::Disabled => (ErrorKind::Preflight, "enable the key, or cancel its deletion"),
            What::Wrong => (ErrorKind::Invalid, "give a symmetric key for encryption and decryption"),
            What::Passing | What::Other => (ErrorKind::Unavailable, "look at the network and the endpoint"),
        };
        KeyError::Service { place, operation, key, reason: self.reason, kind, advice }
    }
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(rename = "__type", default)]
    name: String,
    #[serde(alias = "Message", default)]
    message: Option<String>,
}

/// As much as belongs in a message.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use longshore_format::ErrorKind;

    use super::Refusal;

    #[test]
    fn each_exception_of_kms_has_its_kind_and_its_advice() {
        let check = |status, body: &str, kind, says: &str| {
            let error = Refusal::of(status, body.as_bytes()).into_error("kms:k in r".into(), "Decrypt", "k");
            assert_eq!(error.kind(), kind, "{body}");
            assert!(error.to_string().contains(says), "{error}");
        };
        let named = |name: &str| format!(r#"{{"__type":"com.amazonaws.kms#{name}","message":"because"}}"#);
        for name in ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"] {
            check(400, &named(name), ErrorKind::Denied, "the key's policy");
        }
        for name in ["DisabledException", "KMSInvalidStateException"] {
            check(400, &named(name), ErrorKind::Preflight, "enable the key");
        }
        for name in ["InvalidCiphertextException", "IncorrectKeyException"] {
            check(400, &named(name), ErrorKind::Corrupt, "does not open");
        }
        for name in ["ThrottlingException", "KMSInternalException", "KeyUnavailableException"] {
            check(400, &named(name), ErrorKind::Unavailable, &format!("{name}: because"));
            assert!(Refusal::of(400, named(name).as_bytes()).is_passing());
        }
        check(400, &named("NotFoundException"), ErrorKind::Preflight, "\"k\" is not in kms:k in r");
        check(400, &named("InvalidKeyUsageException"), ErrorKind::Invalid, "symmetric");
        check(403, "<html>", ErrorKind::Denied, "it answered 403 with \"<html>\"");
        check(503, "", ErrorKind::Unavailable, "503");
        check(404, "not here", ErrorKind::Unavailable, "the endpoint");
        let long = Refusal::of(400, &[b'x'; 60_000]).into_error(String::new(), "Decrypt", "k").to_string();
        assert!(long.len() < 1000, "{}", long.len());
    }
}
