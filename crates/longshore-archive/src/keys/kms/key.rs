//! Which key of KMS, and where it is asked for.

use url::{Host, Url, form_urlencoded};

/// The key of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// An id, an ARN, or an alias, as KMS takes it.
    pub(super) name: String,
    /// Where it is.
    pub(super) region: String,
    /// Asked instead of the region's own endpoint.
    pub(super) endpoint: Option<String>,
}

impl Key {
    /// Parses `KEY?region=REGION&endpoint=URL`, with what is not said from the environment; or what is wrong with it.
    pub(super) fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Key, String> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
        if name.is_empty() || 2048 < name.len() || !name.chars().all(is_name) {
            return Err("it names no key: write kms:KEY with the id, the ARN or the alias/NAME of a KMS key".into());
        }
        if name.starts_with("arn:") && Arn::parse(name).is_none() {
            return Err("its ARN is not one of KMS: arn:aws:kms:REGION:ACCOUNT:key/ID".into());
        }
        let (mut region, mut endpoint) = (None, None);
        for (option, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*option {
                "region" => region = Some(value.into_owned()),
                "endpoint" => endpoint = Some(checked_endpoint(&value)?),
                other => return Err(format!("unknown option {other}: it takes region and endpoint")),
            }
        }
        let region = region
            .or_else(|| Arn::parse(name).map(|arn| arn.region.to_owned()))
            .or_else(|| environment("AWS_REGION"))
            .or_else(|| environment("AWS_DEFAULT_REGION"))
            .ok_or("it names no region: add ?region=REGION, or set AWS_REGION")?;
        if !is_region(&region) {
            return Err(format!("{region:?} is no region"));
        }
        if Arn::parse(name).is_some_and(|arn| arn.region != region) {
            return Err(format!("its ARN is of another region than {region}"));
        }
        Ok(Key { name: name.to_owned(), region, endpoint })
    }

    /// How the key that wrapped a data key is named to KMS, and where it is asked for. `None` for one that cannot be ours.
    ///
    /// The name comes from an object, which somebody else may have put there. So it is asked for in our account alone: by its
    /// id, which KMS looks for in the caller's account, unless the setting is an ARN and tells which account.
    pub(super) fn that_wrapped(&self, wrapped: &str) -> Option<(String, String)> {
        let theirs = Arn::parse(wrapped)?;
        let id = theirs.resource.strip_prefix("key/")?;
        let region = if id.starts_with("mrk-") { &self.region } else { theirs.region };
        match Arn::parse(&self.name) {
            Some(ours) if ours.account != theirs.account || ours.partition != theirs.partition => None,
            Some(ours) => {
                Some((format!("arn:{}:kms:{region}:{}:key/{id}", ours.partition, ours.account), region.into()))
            }
            None => Some((id.into(), region.into())),
        }
    }

    /// What is asked for keys of a region.
    pub(super) fn endpoint_in(&self, region: &str) -> String {
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        self.endpoint.clone().unwrap_or_else(|| format!("https://kms.{region}.{suffix}/"))
    }
}

/// The parts of `arn:PARTITION:kms:REGION:ACCOUNT:RESOURCE`.
struct Arn<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl Arn<'_> {
    fn parse(text: &str) -> Option<Arn<'_>> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let (arn, partition, service, region, account, resource) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let (kind, name) = resource.split_once('/')?;
        let is_kms = arn == "arn" && service == "kms" && parts.next().is_none();
        let is_key = (kind == "key" && is_word(name)) || (kind == "alias" && !name.is_empty());
        (is_kms && is_key && is_word(partition) && is_region(region) && is_word(account)).then_some(Arn {
            partition,
            region,
            account,
            resource,
        })
    }
}

/// It becomes a part of a host's name, so nothing else may be in it.
fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// KMS answers with a data key in the clear, which is not sent over a network without TLS.
fn checked_endpoint(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("its endpoint is no address: {error}"))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err("its endpoint has no host".into()),
    };
    if url.has_authority() && !url.username().is_empty() {
        return Err("credentials do not belong into the endpoint".into());
    }
    match url.scheme() {
        "https" => Ok(url.into()),
        "http" if loopback => Ok(url.into()),
        _ => {
            Err("its endpoint is not https:// (http:// is for this machine alone: the data keys would go in the clear)"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab";

    fn parse(text: &str) -> Result<Key, String> {
        Key::parse(text, |_| None)
    }

    #[test]
    fn the_region_is_that_of_the_arn_the_option_or_the_environment() {
        assert_eq!(parse(ARN).unwrap().region, "eu-west-1");
        assert_eq!(
            parse("alias/a?region=cn-north-1").unwrap().endpoint_in("cn-north-1"),
            "https://kms.cn-north-1.amazonaws.com.cn/"
        );
        let set = Key::parse("1234", |name| (name == "AWS_DEFAULT_REGION").then(|| "us-east-1".into())).unwrap();
        assert_eq!(set.endpoint_in(&set.region), "https://kms.us-east-1.amazonaws.com/");
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (text, says) in [
            ("", "names no key"),
            ("?region=eu-west-1", "names no key"),
            ("a key?region=eu-west-1", "names no key"),
            ("1234", "add ?region=REGION"),
            ("1234?region=EU", "no region"),
            ("1234?region=evil.example/", "no region"),
            ("1234?regoin=eu-west-1", "unknown option regoin"),
            ("arn:aws:s3:::bucket", "not one of KMS"),
            ("arn:aws:kms:eu-west-1:111122223333:key/1?region=us-east-1", "another region"),
            ("1234?region=eu-west-1&endpoint=kms", "no address"),
            ("1234?region=eu-west-1&endpoint=http://kms.example/", "not https://"),
            ("1234?region=eu-west-1&endpoint=https://me:pass@kms.example/", "credentials do not belong"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(parse("1234?region=eu-west-1&endpoint=http://127.0.0.1:5000").is_ok());
    }

    #[test]
    fn a_data_key_is_unwrapped_in_our_account_alone() {
        let (other, mrk) = (ARN.replace("1111", "9999"), ARN.replace("1234abcd", "mrk-1234"));
        let by_arn = parse(ARN).unwrap();
        assert_eq!(by_arn.that_wrapped(ARN).unwrap(), (ARN.to_owned(), "eu-west-1".to_owned()));
        assert_eq!(by_arn.that_wrapped(&other), None, "an account that is not ours");
        let by_alias = parse("alias/archive?region=us-east-1").unwrap();
        // Without its account KMS takes an id as one of the caller's.
        assert_eq!(by_alias.that_wrapped(&other).unwrap(), ("1234abcd-12ab".to_owned(), "eu-west-1".to_owned()));
        assert_eq!(by_alias.that_wrapped(&mrk).unwrap(), ("mrk-1234-12ab".to_owned(), "us-east-1".to_owned()));
        for junk in [
            "",
            "1234",
            "arn:aws:kms:e.vil/:1:key/1",
            "arn:aws:kms:eu-west-1:1:alias/a",
            "arn:aws:kms:eu-west-1:1:key/a/b",
        ] {
            assert_eq!(by_alias.that_wrapped(junk), None, "{junk}");
        }
    }
}
