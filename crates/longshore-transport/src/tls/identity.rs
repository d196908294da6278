//! Who a certificate says its holder is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_protocol::Name;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::*;

/// What the URI of an identity begins with.
pub(crate) const SPIFFE: &str = "spiffe://longshore/";

/// What a certificate says, as far as it matters here. Only to be believed once its chain was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// The identity: from the first `spiffe://longshore/NAME` URI, else from the first DNS name that is
    /// a valid name.
    pub(crate) identity: Option<Name>,
    /// The last moment at which it is valid.
    pub(crate) not_after: SystemTime,
    /// The serial number in hexadecimal.
    pub(crate) serial: String,
}

impl Claims {
    /// Whole days until it expires, negative when it has.
    pub(crate) fn days_left(&self, now: SystemTime) -> i64 {
        const DAY: i64 = 86_400;
        let seconds = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
        };
        seconds(self.not_after).saturating_sub(seconds(now)).div_euclid(DAY)
    }
}

/// Reads a certificate; `None` when it is not one.
pub(crate) fn claims(certificate: &CertificateDer<'_>) -> Option<Claims> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    Some(Claims {
        identity: identity(&parsed),
        not_after: UNIX_EPOCH.checked_add(Duration::from_secs(not_after)).unwrap_or(UNIX_EPOCH),
        serial: parsed.raw_serial_as_string(),
    })
}

fn identity(certificate: &X509Certificate<'_>) -> Option<Name> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(SPIFFE),
        _ => None,
    });
    match uri {
        // A certificate that has such a URI is meant to be known by it and by nothing else.
        Some(name) => Name::new(name).ok(),
        None => names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Name::new(name).ok(),
            _ => None,
        }),
    }
}

/// A certificate in a few words, for the audit log.
pub(crate) fn describe(certificate: &CertificateDer<'_>) -> String {
    match claims(certificate) {
        Some(claims) => {
            let identity = claims.identity.map_or_else(|| "nobody".to_owned(), |name| name.to_string());
            format!("certificate {} claiming to be {identity}", claims.serial)
        }
        None => "bytes that are not a certificate".to_owned(),
    }
}
