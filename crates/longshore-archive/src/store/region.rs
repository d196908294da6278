//! Where a store is, as far as its address and the environment say: what its prices are found by.

use url::Url;

use crate::estimate::RegionId;

/// What a provider's region is called that nothing says: a bucket of `gs://` and a container of `az://` are wherever they were
/// made, unless their address tells.
pub(super) const UNKNOWN: &str = "unknown";

/// The provider of the store at `url`, and its region. `None` of an endpoint of one's own: it belongs to nobody whose prices are
/// known.
pub(super) fn region_of(url: &str, environment: impl Fn(&str) -> Option<String>) -> Option<RegionId> {
    let url = Url::parse(url).ok()?;
    let option = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let variable = |names: &[&str]| names.iter().find_map(|name| environment(name).filter(|value| !value.is_empty()));
    let (provider, region, elsewhere) = match url.scheme() {
        "s3" => {
            let region = option("region").or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
            ("aws", region, variable(&["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]))
        }
        "gs" => ("gcp", option("region"), None),
        "az" => ("azure", option("region"), None),
        _ => return None,
    };
    match option("endpoint").or(elsewhere) {
        None => format!("{provider}:{}", region.as_deref().unwrap_or(UNKNOWN)).parse().ok(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_what_the_address_or_else_the_environment_says() {
        let none: &[(&str, &str)] = &[];
        let rows = [
            ("s3://bucket/p?region=eu-west-1", none, Some("aws:eu-west-1")),
            ("s3://bucket/p?region=eu-west-1", &[("AWS_REGION", "us-east-1")][..], Some("aws:eu-west-1")),
            ("s3://bucket", &[("AWS_REGION", "us-east-1")], Some("aws:us-east-1")),
            ("s3://bucket", &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "us-west-2")], Some("aws:us-west-2")),
            ("s3://bucket", none, Some("aws:unknown")),
            ("s3://bucket?region=eu-west-1&endpoint=http://localhost:9000", none, None),
            ("s3://bucket?region=eu-west-1", &[("AWS_ENDPOINT_URL", "https://minio.example")], None),
            ("s3://bucket?region=no%20region", none, None),
            ("gs://bucket/p", &[("AWS_REGION", "us-east-1")], Some("gcp:unknown")),
            ("az://container/p", none, Some("azure:unknown")),
            ("gs://bucket/p?region=europe-west1", none, Some("gcp:europe-west1")),
            ("gs://bucket/p?region=europe-west1&endpoint=http://localhost:4443", none, None),
            ("az://container/p?account=ours&region=westeurope", none, Some("azure:westeurope")),
            ("file:///mnt/archive", none, None),
            ("no address", none, None),
        ];
        for (url, environment, expected) in rows {
            let look =
                |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(region_of(url, look).map(|region| region.to_string()).as_deref(), expected, "{url}");
        }
    }
}
