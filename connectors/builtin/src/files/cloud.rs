//! The stores of the clouds: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.
//!
//! Owns: which options a store takes, credentials, patience with a store that does not answer. Never: prints a credential,
//! asks a host that the project does not name but for the provider's own.

use std::time::Duration;

use caliber_connector_spi::Options;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Location;
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};

use super::places::Root;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A request that failed in a way that may pass is sent again: so often, and only this long after the first.
const RETRIES_MAX: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// The options that only some stores have, each with those it goes with.
const BELONGING: [(&str, &[&str]); 8] = [
    ("endpoint", &["s3", "gs", "az"]),
    ("region", &["s3"]),
    ("access_key_id", &["s3"]),
    ("secret_access_key", &["s3"]),
    ("account", &["az"]),
    ("account_key", &["az"]),
    ("service_account", &["gs"]),
    ("anonymous", &["s3", "gs", "az"]),
];

/// Whether any option is given that stores of `scheme` do not take.
pub(super) fn check_options(options: &Options, scheme: &str) -> Result<(), String> {
    for (name, schemes) in BELONGING {
        if options.values.contains_key(name) && !schemes.contains(&scheme) {
            let places: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
            return Err(format!("option `{name}` is for {} alone", places.join(", ")));
        }
    }
    if ["s3", "gs", "az"].contains(&scheme) {
        return Ok(());
    }
    match ["tls", "ca"].iter().find(|name| options.values.contains_key(**name)) {
        Some(name) => Err(format!("option `{name}` is for stores, not for a folder")),
        None => Ok(()),
    }
}

/// The store at `scheme://bucket/prefix`, and whether the project's options fit it. Nothing is asked yet.
pub(super) fn open(scheme: &str, bucket: &str, prefix: &str, options: &Options) -> Result<Root, String> {
    let prefix = Location::from_url_path(prefix).map_err(|_| "option `url` holds a prefix that no object can have")?;
    if bucket.is_empty() {
        return Err(format!("option `url` must be `{scheme}://bucket/prefix`"));
    }
    let is_plain = plain_http(options)?;
    let client = client(options, is_plain)?;
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIMEOUT,
    };
    let is_anonymous = options.bool("anonymous").unwrap_or(false);
    let endpoint = options.text("endpoint");
    // Its text may hold what was given: the steward knows what he wrote.
    let wrong = |_| "the options do not make a store: check `url`, `endpoint` and the key".to_owned();
    Ok(match scheme {
        "s3" => {
            let key = match (options.secret("access_key_id"), options.secret("secret_access_key")) {
                (Some(id), Some(secret)) => Some((id, secret)),
                (None, None) => None,
                _ => return Err("options `access_key_id` and `secret_access_key` go together".to_owned()),
            };
            one_way(is_anonymous, key.is_some())?;
            // Only who names no key means the machine's.
            let mut builder = if key.is_some() || is_anonymous {
                AmazonS3Builder::new()
            } else {
                AmazonS3Builder::from_env()
            };
            builder = builder
                .with_bucket_name(bucket)
                .with_allow_http(is_plain)
                .with_skip_signature(is_anonymous)
                .with_client_options(client)
                .with_retry(retry);
            if let Some(region) = options.text("region") {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some((id, secret)) = key {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            }
            Root::below(builder.build().map_err(wrong)?, prefix)
        }
        "gs" => {
            let account = options.path("service_account");
            one_way(is_anonymous, account.is_some())?;
            let mut builder = if account.is_some() || is_anonymous {
                GoogleCloudStorageBuilder::new()
            } else {
                GoogleCloudStorageBuilder::from_env()
            };
            builder = builder
                .with_bucket_name(bucket)
                .with_skip_signature(is_anonymous)
                .with_client_options(client)
                .with_retry(retry);
            if let Some(account) = account {
                let account = account.to_str().ok_or("option `service_account` is not UTF-8")?;
                builder = builder.with_service_account_path(account);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_base_url(endpoint);
            }
            Root::below(builder.build().map_err(wrong)?, prefix)
        }
        _ => {
            let account = options.text("account").ok_or("option `account` is missing")?;
            let key = options.secret("account_key");
            one_way(is_anonymous, key.is_some())?;
            let mut builder = if key.is_some() || is_anonymous {
                MicrosoftAzureBuilder::new()
            } else {
                MicrosoftAzureBuilder::from_env()
            };
            builder = builder
                .with_account(account)
                .with_container_name(bucket)
                .with_allow_http(is_plain)
                .with_skip_signature(is_anonymous)
                .with_client_options(client)
                .with_retry(retry);
            if let Some(key) = key {
                builder = builder.with_access_key(key);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint.to_owned());
            }
            Root::below(builder.build().map_err(wrong)?, prefix)
        }
    })
}

fn one_way(is_anonymous: bool, has_key: bool) -> Result<(), String> {
    if is_anonymous && has_key {
        return Err("either requests are `anonymous` or there is a key".to_owned());
    }
    Ok(())
}

/// Whether requests go without TLS, which the project must say twice: in `endpoint` and in `tls`.
fn plain_http(options: &Options) -> Result<bool, String> {
    let endpoint = options.text("endpoint");
    let is_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    if endpoint.is_some_and(|endpoint| !is_http && !endpoint.starts_with("https://")) {
        return Err("option `endpoint` must be `https://host:port`".to_owned());
    }
    match options.text("tls") {
        None | Some("verify-full") if is_http => {
            Err("option `endpoint` is `http`: say `https`, or `tls: disable` where the way is safe".to_owned())
        }
        None | Some("verify-full") => Ok(false),
        Some("disable") if is_http => Ok(true),
        Some("disable") => Err("option `tls: disable` needs an `endpoint` that is `http`".to_owned()),
        Some(_) => Err("option `tls` must be `verify-full` or `disable`".to_owned()),
    }
}

fn client(options: &Options, is_plain: bool) -> Result<ClientOptions, String> {
    // A request lives as long as its reader takes; who waits for bytes that do not come gives up in `pinned.rs`.
    let mut client = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled();
    if let Some(path) = options.path("ca") {
        let pem = std::fs::read(path).map_err(|_| format!("option `ca`: {} cannot be read", path.display()))?;
        let bundle = Certificate::from_pem_bundle(&pem)
            .map_err(|_| format!("option `ca`: {} holds no certificate", path.display()))?;
        for certificate in bundle {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}
