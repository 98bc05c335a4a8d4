//! Buckets: how their backends are configured, and how long they may take.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::failure::Origin;
use crate::location::Cloud;
use crate::object::Objects;
use crate::secret::{Secrets, user_of};

/// How long a request may take and how often it is made. With the defaults, a server that does not answer is an error
/// within a minute, and one whose port is closed within a few seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until a connection is made.
    pub(crate) connect: Duration,
    /// Without a byte from the server.
    pub(crate) silence: Duration,
    /// From the beginning of a request to the last byte of its answer.
    pub(crate) request: Duration,
    /// How often a request is made again.
    pub(crate) n_retries: usize,
    /// After which nothing is tried again.
    pub(crate) retry_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(20),
            request: Duration::from_secs(300),
            n_retries: 3,
            retry_window: Duration::from_secs(30),
        }
    }
}

impl Limits {
    fn client(self) -> ClientOptions {
        ClientOptions::new()
            .with_connect_timeout(self.connect)
            .with_read_timeout(self.silence)
            .with_timeout(self.request)
    }

    fn retry(self) -> RetryConfig {
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
        RetryConfig { backoff, max_retries: self.n_retries, retry_timeout: self.retry_window }
    }
}

/// Opens a bucket without contacting it; the error is the reason why that cannot be.
///
/// `variables` are read as object_store's `from_env` reads the environment: every one that has the cloud's prefix and a
/// name known to it. Empty ones count as absent.
pub(crate) fn open(
    (cloud, bucket, prefix): (Cloud, &str, Path),
    url: &str,
    variables: &[(String, String)],
    limits: Limits,
) -> Result<Objects, String> {
    let is_of =
        |cloud: Cloud, name: &str| name.starts_with(cloud.variable_prefix()) || (cloud, name) == SERVICE_ACCOUNT;
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<(&str, &str)> = variables.filter(|(_, value)| !value.is_empty()).collect();
    // A server may be asked with what another one is configured with.
    let of_clouds = variables.iter().filter(|(name, _)| Cloud::ALL.into_iter().any(|cloud| is_of(cloud, name)));
    let secrets = Secrets::of(of_clouds.copied());
    let variables: Vec<(&str, &str)> = variables.iter().filter(|(name, _)| is_of(cloud, name)).copied().collect();
    let find = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| variables.iter().find(|(there, _)| there == name));
        found.next().map(|(_, value)| (*value).to_owned())
    };
    for (name, value) in &variables {
        // As a request's URL it would be in every message.
        if user_of(value).is_some() && !name.ends_with("_PROXY_URL") {
            return Err(format!("{name} holds a user or a password; leave them out of it"));
        }
    }
    let endpoint = find(endpoints(cloud));
    if endpoint.as_ref().is_some_and(|endpoint| endpoint.contains(['?', '#'])) {
        return Err(format!("there is something behind the path of its endpoint, {}", endpoints(cloud).join(" or ")));
    }
    let is_plain_allowed = find(&[&format!("{}ALLOW_HTTP", cloud.variable_prefix())]);
    if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| endpoint.starts_with("http://"))
        && is_plain_allowed.is_none_or(|value| !is_true(&value))
    {
        let prefix = cloud.variable_prefix();
        return Err(format!("its endpoint {endpoint} is not encrypted; set {prefix}ALLOW_HTTP=true to allow that"));
    }

    // TLS takes the provider of cryptography that the process has chosen, and none is chosen by itself. It is an error
    // that there is one already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (client, retry) = (limits.client(), limits.retry());
    let built = match cloud {
        Cloud::S3 => {
            let builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
            let builder = configured(builder, &variables, AmazonS3Builder::with_config, AmazonS3ConfigKey::Bucket);
            builder.with_bucket_name(bucket).build().map(below(prefix))
        }
        Cloud::Gcs => {
            let builder = GoogleCloudStorageBuilder::new().with_client_options(client).with_retry(retry);
            let with = GoogleCloudStorageBuilder::with_config;
            let builder = configured(builder, &variables, with, GoogleConfigKey::Bucket);
            builder.with_bucket_name(bucket).build().map(below(prefix))
        }
        Cloud::Azure => {
            let builder = MicrosoftAzureBuilder::new().with_client_options(client).with_retry(retry);
            let with = MicrosoftAzureBuilder::with_config;
            let builder = configured(builder, &variables, with, AzureConfigKey::ContainerName);
            builder.with_container_name(bucket).build().map(below(prefix))
        }
    };
    let unusable = |error: object_store::Error| {
        format!(
            "the variables {}... do not configure it: {}",
            cloud.variable_prefix(),
            secrets.scrub(&error.to_string())
        )
    };
    let backend = built.map_err(unusable)?;
    let origin = Origin { url: url.to_owned(), endpoint, cloud, secrets };
    Ok(Objects::of_bucket(backend, origin))
}

/// A variable of Google's without their prefix.
const SERVICE_ACCOUNT: (Cloud, &str) = (Cloud::Gcs, "SERVICE_ACCOUNT");

/// The variables that name the server, the more particular first.
fn endpoints(cloud: Cloud) -> &'static [&'static str] {
    match cloud {
        Cloud::S3 => &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
        Cloud::Gcs => &["GOOGLE_BASE_URL"],
        Cloud::Azure => &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"],
    }
}

fn is_true(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}

/// Gives every variable that a builder knows to it, but for the bucket, which the URL names.
fn configured<B, K: FromStr<Err: Display> + PartialEq>(
    builder: B,
    variables: &[(&str, &str)],
    with: impl Fn(B, K, String) -> B,
    bucket: K,
) -> B {
    let known =
        variables.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse::<K>().ok()?, value)));
    known
        .filter(|(key, _)| *key != bucket)
        .fold(builder, |builder, (key, value)| with(builder, key, (*value).to_owned()))
}

fn below<S: ObjectStore>(prefix: Path) -> impl FnOnce(S) -> Arc<dyn ObjectStore> {
    move |backend| if prefix.is_root() { Arc::new(backend) } else { Arc::new(PrefixStore::new(backend, prefix)) }
}
