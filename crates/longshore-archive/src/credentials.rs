//! Which credentials a store is asked with, as far as the address and the environment tell, and nothing secret of them.

use std::path::{Path, PathBuf};

use url::Url;

/// Where the credentials for the store at `url` come from, in the order in which the cloud's own tools look for them, as far as this
/// build does.
///
/// ```
/// assert_eq!(longshore_archive::credentials::source("file:///mnt/archive"), "permissions of the directory");
/// ```
pub fn source(url: &str) -> String {
    let environment = |name: &str| std::env::var(name).ok();
    let aws_profiles = cfg!(feature = "aws-profiles");
    Surroundings { aws_profiles, environment: &environment, exists: &|path| path.exists() }.source(url)
}

/// What is looked at: variables, and whether files are there.
struct Surroundings<'a> {
    /// AWS's own library looks, which knows profiles, and a container's role without a token.
    aws_profiles: bool,
    environment: &'a dyn Fn(&str) -> Option<String>,
    exists: &'a dyn Fn(&Path) -> bool,
}

impl Surroundings<'_> {
    fn source(&self, url: &str) -> String {
        match Url::parse(url).as_ref().map(Url::scheme) {
            Ok("file") => "permissions of the directory".to_owned(),
            Ok("s3") => self.aws(),
            Ok("gs") => self.google(),
            Ok("az") => self.azure(),
            _ => "unknown".to_owned(),
        }
    }

    fn aws(&self) -> String {
        if self.is_true("AWS_SKIP_SIGNATURE") {
            return "none: requests are not signed (AWS_SKIP_SIGNATURE)".to_owned();
        }
        if self.all(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
            return match self.all(&["AWS_SESSION_TOKEN"]) {
                true => "environment keys of a session (AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN)".to_owned(),
                false => "environment keys (AWS_ACCESS_KEY_ID)".to_owned(),
            };
        }
        let profile = self.variable("AWS_PROFILE");
        if let Some(profile) = profile.as_ref().filter(|_| self.aws_profiles) {
            return format!("profile {profile} (AWS_PROFILE)");
        }
        if self.all(&["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"]) {
            return "web identity (AWS_WEB_IDENTITY_TOKEN_FILE)".to_owned();
        }
        let (relative, full) = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let may_be_full = self.aws_profiles || self.all(&["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]);
        for (name, counts) in [(relative, true), (full, may_be_full)] {
            if counts && self.all(&[name]) {
                return format!("role of the container ({name})");
            }
        }
        let files = [("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), ("AWS_CONFIG_FILE", ".aws/config")];
        if self.aws_profiles && files.iter().any(|(name, below_home)| self.file(name, below_home)) {
            return "profile default, or instance metadata if it names no credentials".to_owned();
        }
        match profile {
            Some(_) => "instance metadata: AWS_PROFILE is for a build with --features aws-profiles".to_owned(),
            None => "instance metadata".to_owned(),
        }
    }

    fn google(&self) -> String {
        for name in ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY"] {
            if self.all(&[name]) {
                return format!("key of a service account ({name})");
            }
        }
        if self.all(&["GOOGLE_APPLICATION_CREDENTIALS"]) {
            return "application default credentials (GOOGLE_APPLICATION_CREDENTIALS)".to_owned();
        }
        match self.file("", ".config/gcloud/application_default_credentials.json") {
            true => "application default credentials of gcloud".to_owned(),
            false => "instance metadata".to_owned(),
        }
    }

    fn azure(&self) -> String {
        let sources = [
            (&["AZURE_STORAGE_ACCOUNT_KEY"][..], "account key (AZURE_STORAGE_ACCOUNT_KEY)"),
            (&["AZURE_STORAGE_ACCESS_KEY"], "account key (AZURE_STORAGE_ACCESS_KEY)"),
            (
                &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"],
                "workload identity (AZURE_FEDERATED_TOKEN_FILE)",
            ),
            (&["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"], "service principal (AZURE_CLIENT_ID)"),
            (&["AZURE_STORAGE_SAS_KEY"], "shared access signature (AZURE_STORAGE_SAS_KEY)"),
            (&["AZURE_STORAGE_SAS_TOKEN"], "shared access signature (AZURE_STORAGE_SAS_TOKEN)"),
        ];
        if let Some((_, source)) = sources.iter().find(|(names, _)| self.all(names)) {
            return (*source).to_owned();
        }
        match self.is_true("AZURE_USE_AZURE_CLI") {
            true => "Azure CLI (AZURE_USE_AZURE_CLI)".to_owned(),
            false => "managed identity".to_owned(),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    fn all(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.variable(name).is_some())
    }

    fn is_true(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
    }

    /// Whether the file that a variable names, or else the one below the home directory, is there.
    fn file(&self, name: &str, below_home: &str) -> bool {
        let named = self.variable(name).map(PathBuf::from);
        let path = named.or_else(|| Some(Path::new(&self.variable("HOME")?).join(below_home)));
        path.is_some_and(|path| (self.exists)(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_the_first_that_the_clouds_own_tools_would_take() {
        let keys = &[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "topsecret")];
        let session = &[keys[0], keys[1], ("AWS_SESSION_TOKEN", "topsecret"), ("AWS_PROFILE", "p")];
        let principal = &[("AZURE_CLIENT_ID", "i"), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", "topsecret")];
        let web = &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")];
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let rows: &[(&str, Variables<'_>, &str, &str)] = &[
            ("file:///mnt", &[], "", "permissions of the directory"),
            ("s3://b/p", keys, "", "environment keys (AWS_ACCESS_KEY_ID)"),
            ("s3://b/p", session, "", "environment keys of a session (AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN)"),
            ("s3://b/p", &keys[..1], "", "instance metadata"),
            ("s3://b/p", &[("AWS_PROFILE", "backup")], "", "profile backup (AWS_PROFILE)"),
            ("s3://b/p", web, "", "web identity (AWS_WEB_IDENTITY_TOKEN_FILE)"),
            ("s3://b/p", &web[..1], "", "instance metadata"),
            (
                "s3://b/p",
                &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23")],
                "",
                "role of the container (AWS_CONTAINER_CREDENTIALS_FULL_URI)",
            ),
            (
                "s3://b/p",
                &[("HOME", "/home/me")],
                "/home/me/.aws/credentials",
                "profile default, or instance metadata if it names no credentials",
            ),
            ("s3://b/p", &[("HOME", "/home/me")], "/home/you/.aws/credentials", "instance metadata"),
            (
                "s3://b/p",
                &[("AWS_SKIP_SIGNATURE", "true"), keys[0], keys[1]],
                "",
                "none: requests are not signed (AWS_SKIP_SIGNATURE)",
            ),
            (
                "gs://b",
                &[("GOOGLE_SERVICE_ACCOUNT", "/key.json")],
                "",
                "key of a service account (GOOGLE_SERVICE_ACCOUNT)",
            ),
            (
                "gs://b",
                &[("GOOGLE_APPLICATION_CREDENTIALS", "/adc.json")],
                "",
                "application default credentials (GOOGLE_APPLICATION_CREDENTIALS)",
            ),
            (
                "gs://b",
                &[("HOME", "/home/me")],
                "/home/me/.config/gcloud/application_default_credentials.json",
                "application default credentials of gcloud",
            ),
            ("gs://b", &[], "", "instance metadata"),
            ("az://c", &[("AZURE_STORAGE_ACCOUNT_KEY", "topsecret")], "", "account key (AZURE_STORAGE_ACCOUNT_KEY)"),
            (
                "az://c",
                &[principal[0], principal[1], ("AZURE_STORAGE_SAS_KEY", "topsecret")],
                "",
                "shared access signature (AZURE_STORAGE_SAS_KEY)",
            ),
            ("az://c", principal, "", "service principal (AZURE_CLIENT_ID)"),
            (
                "az://c",
                &[principal[0], principal[1], principal[2], ("AZURE_FEDERATED_TOKEN_FILE", "/t")],
                "",
                "workload identity (AZURE_FEDERATED_TOKEN_FILE)",
            ),
            ("az://c", &[("AZURE_FEDERATED_TOKEN_FILE", "/t")], "", "managed identity"),
            ("az://c", &[("AZURE_USE_AZURE_CLI", "true")], "", "Azure CLI (AZURE_USE_AZURE_CLI)"),
            ("az://c", &[], "", "managed identity"),
            ("ftp://host", &[], "", "unknown"),
        ];
        for (url, variables, file, expected) in rows {
            let environment =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let exists = |path: &Path| path == Path::new(file);
            let told = Surroundings { aws_profiles: true, environment: &environment, exists: &exists }.source(url);
            assert_eq!(told, *expected, "{url} {variables:?} {file}");
            assert!(!told.contains("topsecret"), "{told}");
        }
    }

    #[test]
    fn a_build_that_knows_no_profiles_says_that_it_passes_one_over() {
        let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23");
        let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/t");
        let profile = ("AWS_PROFILE", "backup");
        for (variables, expected) in [
            (&[profile][..], "instance metadata: AWS_PROFILE is for a build with --features aws-profiles"),
            (&[("HOME", "/home/me")], "instance metadata"),
            (&[full], "instance metadata"),
            (&[full, token, profile], "role of the container (AWS_CONTAINER_CREDENTIALS_FULL_URI)"),
        ] {
            let environment =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let around = Surroundings { aws_profiles: false, environment: &environment, exists: &|_| true };
            assert_eq!(around.source("s3://b/p"), expected, "{variables:?}");
        }
    }
}
