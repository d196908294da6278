//! The credentials of AWS, for S3 and KMS alike.
//!
//! `object_store` finds them in the environment, by a web identity, from the container and from the instance. Profiles, and
//! with them SSO, roles that are assumed and programs that are asked, are what AWS's own library knows: the feature
//! `aws-profiles`, which finds all of them in the order in which AWS's tools do.

/// Lets a client of AWS find its credentials.
#[cfg(not(feature = "aws-profiles"))]
pub(crate) fn with_credentials(builder: object_store::aws::AmazonS3Builder) -> object_store::aws::AmazonS3Builder {
    builder
}

#[cfg(feature = "aws-profiles")]
pub(crate) use profiles::with_credentials;

#[cfg(feature = "aws-profiles")]
mod profiles {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use aws_config::default_provider::credentials::DefaultCredentialsChain;
    use aws_credential_types::provider::ProvideCredentials;
    use object_store::aws::{AmazonS3Builder, AwsCredential};
    use object_store::{CredentialProvider, Result};
    use tokio::sync::Mutex;

    use crate::error::told;

    /// Lets a client of AWS find its credentials.
    pub(crate) fn with_credentials(builder: AmazonS3Builder) -> AmazonS3Builder {
        builder.with_credentials(Arc::new(Chain::default()))
    }

    /// AWS's own chain, asked again when what it gave is about to end.
    #[derive(Debug, Default)]
    struct Chain {
        state: Mutex<State>,
    }

    #[derive(Debug, Default)]
    struct State {
        /// Made at first use: it looks at files.
        chain: Option<DefaultCredentialsChain>,
        held: Option<Held>,
    }

    #[derive(Debug)]
    struct Held {
        credential: Arc<AwsCredential>,
        ends: Option<SystemTime>,
    }

    impl Held {
        fn is_good_for(&self, time: Duration) -> bool {
            self.ends.is_none_or(|ends| SystemTime::now() + time < ends)
        }
    }

    #[async_trait::async_trait]
    impl CredentialProvider for Chain {
        type Credential = AwsCredential;

        async fn get_credential(&self) -> Result<Arc<AwsCredential>> {
            // Held while the chain is asked, so that many requests ask it once.
            let mut state = self.state.lock().await;
            if let Some(held) = state.held.as_ref().filter(|held| held.is_good_for(EARLY)) {
                return Ok(Arc::clone(&held.credential));
            }
            let chain = match state.chain.take() {
                Some(chain) => chain,
                None => DefaultCredentialsChain::builder().build().await,
            };
            let found = chain.provide_credentials().await;
            state.chain = Some(chain);
            match (found, &state.held) {
                (Ok(found), _) => {
                    let credential = Arc::new(AwsCredential {
                        key_id: found.access_key_id().to_owned(),
                        secret_key: found.secret_access_key().to_owned(),
                        token: found.session_token().map(str::to_owned),
                    });
                    state.held = Some(Held { credential: Arc::clone(&credential), ends: found.expiry() });
                    Ok(credential)
                }
                (Err(_), Some(held)) if held.is_good_for(Duration::ZERO) => Ok(Arc::clone(&held.credential)),
                (Err(error), _) => {
                    let source = format!("no credentials of AWS are found: {}", told(&error)).into();
                    Err(object_store::Error::Unauthenticated { path: "credentials".to_owned(), source })
                }
            }
        }
    }

    /// So long before they end credentials are found anew.
    const EARLY: Duration = Duration::from_secs(5 * 60);
}
