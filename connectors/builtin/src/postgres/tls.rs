//! Whether and how a connection is encrypted.
//!
//! Owns: the `tls` and `ca` options. Never: a connection that encrypts without verifying.

use std::net::IpAddr;
use std::sync::Arc;

use caliber_connector_spi::{ConnectorError, ErrorClass, SourceSpec};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How connections of a source are secured.
#[derive(Clone)]
pub enum Tls {
    /// Not at all: this machine, or a steward who says so.
    Off,
    /// By a certificate that an authority vouches for and that names the host.
    VerifyFull(MakeRustlsConnect),
}

/// What the source's options ask for; verification unless the host is this machine or TLS is disabled by name.
pub fn choose(source: &SourceSpec, config: &Config) -> Result<Tls, ConnectorError> {
    let wrong = |message: String| ConnectorError::new(&source.name, ErrorClass::Options, message);
    let verify = match (source.options.text("tls"), config.get_ssl_mode()) {
        (Some("verify-full"), _) | (None, SslMode::Require) => true,
        (Some("disable"), _) | (None, SslMode::Disable) => false,
        (Some(_), _) => return Err(wrong("option `tls` is `verify-full` or `disable`".to_owned())),
        (None, _) => !config.get_hosts().iter().all(is_this_machine),
    };
    if !verify {
        return Ok(Tls::Off);
    }
    let mut roots = RootCertStore::empty();
    match source.options.path("ca") {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unreadable = || {
                wrong(format!(
                    "option `ca`: {} holds no readable PEM certificate",
                    path.display()
                ))
            };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|_| unreadable())?;
            for certificate in certificates {
                let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
                added.ok_or_else(unreadable)?;
            }
            if roots.is_empty() {
                return Err(unreadable());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| wrong("no TLS version is available".to_owned()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls::VerifyFull(MakeRustlsConnect::new(tls)))
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}
