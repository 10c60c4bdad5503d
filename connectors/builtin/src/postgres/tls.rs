//! Whether and how a connection is encrypted.
//!
//! Owns: the `tls`, `ca`, `certificate` and `key` options. Never: encrypts without verifying, unless `tls` says `require`.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use caliber_connector_spi::{ConnectorError, ErrorClass, SourceSpec};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How connections of a source are secured.
#[derive(Clone)]
pub enum Tls {
    /// Not at all: this machine, or a steward who says so.
    Off,
    /// As the options say.
    On(MakeRustlsConnect),
}

/// What the source's options ask for; verification unless the host is this machine or TLS is disabled by name.
pub fn choose(source: &SourceSpec, config: &Config) -> Result<Tls, ConnectorError> {
    let wrong = |message: String| ConnectorError::new(&source.name, ErrorClass::Options, message);
    let verify = match (source.options.text("tls"), config.get_ssl_mode()) {
        (Some("verify-full"), _) | (None, SslMode::Require) => true,
        (Some("require"), _) => false,
        (Some("disable"), _) | (None, SslMode::Disable) => return Ok(Tls::Off),
        (Some(_), _) => {
            return Err(wrong(
                "option `tls` is `verify-full`, `require` or `disable`".to_owned(),
            ));
        }
        (None, _) if config.get_hosts().iter().all(is_this_machine) => return Ok(Tls::Off),
        (None, _) => true,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| wrong("no TLS version is available".to_owned()))?;
    let builder = if verify {
        builder.with_root_certificates(roots(source)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    let tls = match (source.options.path("certificate"), source.options.path("key")) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(source, "certificate", certificate)?;
            let unreadable = || wrong(format!("option `key`: {} holds no readable PEM key", key.display()));
            let key = PrivateKeyDer::from_pem_file(key).map_err(|_| unreadable())?;
            let mismatch = || wrong("option `key` is not the key of `certificate`".to_owned());
            builder.with_client_auth_cert(chain, key).map_err(|_| mismatch())?
        }
        _ => return Err(wrong("options `certificate` and `key` go together".to_owned())),
    };
    Ok(Tls::On(MakeRustlsConnect::new(tls)))
}

/// The authorities that may vouch for the server.
fn roots(source: &SourceSpec) -> Result<RootCertStore, ConnectorError> {
    let mut roots = RootCertStore::empty();
    match source.options.path("ca") {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates(source, "ca", path)? {
                roots.add(certificate).map_err(|_| unreadable(source, "ca", path))?;
            }
        }
    }
    Ok(roots)
}

/// The certificates in a file, at least one.
fn certificates(
    source: &SourceSpec,
    option: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectorError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(unreadable(source, option, path)),
    }
}

fn unreadable(source: &SourceSpec, option: &str, path: &Path) -> ConnectorError {
    let message = format!(
        "option `{option}`: {} holds no readable PEM certificate",
        path.display()
    );
    ConnectorError::new(&source.name, ErrorClass::Options, message)
}

/// Takes any certificate: what is sent is encrypted, for whoever answers.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}
