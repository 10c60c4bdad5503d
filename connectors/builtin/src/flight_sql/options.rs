//! What the options of a source say of its server.
//!
//! Owns: the address, encryption, who logs in. Never: connects; prints an address or a secret.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use caliber_connector_spi::{ConnectorError, ErrorClass, SourceSpec};
use secrecy::SecretString;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// How often a connection that waits for an answer asks whether its peer is there.
const PEER_ASKED: Duration = Duration::from_secs(5);
/// How long the peer has to say so.
const PEER_ANSWERS: Duration = Duration::from_secs(3);
/// The longest a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Rows under way to a consumer that has not asked for them yet.
const WINDOW_BYTES: u32 = 8 << 20;

/// How a session begins.
#[derive(Clone)]
pub(super) enum Login {
    /// Without a word: a server that asks for none.
    Nobody,
    /// With a name and a password.
    User(String, Password),
    /// With a bearer token.
    Token(SecretString),
}

/// Where a password is.
#[derive(Clone)]
pub(super) enum Password {
    Given(SecretString),
    InFile(PathBuf),
}

/// The schema there.
pub(super) fn schema(source: &SourceSpec) -> Result<String, ConnectorError> {
    match source.options.text("dialect") {
        None | Some("caliber") => {}
        Some(_) => return Err(wrong(source, "option `dialect` is `caliber`, the one there is")),
    }
    match source.options.text("schema") {
        Some(schema) if !schema.is_empty() && !schema.contains('\0') => Ok(schema.to_owned()),
        _ => Err(wrong(source, "option `schema` names no schema")),
    }
}

/// Who logs in.
pub(super) fn login(source: &SourceSpec) -> Result<Login, ConnectorError> {
    let options = &source.options;
    let password = match (options.secret("password"), options.path("password_file")) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                source,
                "options `password` and `password_file` exclude each other",
            ));
        }
        (Some(password), None) => Some(Password::Given(SecretString::from(password))),
        (None, Some(path)) => Some(Password::InFile(path.to_owned())),
        (None, None) => None,
    };
    match (options.text("user"), password, options.secret("token")) {
        (None, None, None) => Ok(Login::Nobody),
        (None, None, Some(token)) => Ok(Login::Token(SecretString::from(token))),
        // RFC 7617: a name with a colon would end at it.
        (Some(user), Some(_), None) if user.contains(':') => Err(wrong(source, "option `user` has a colon in it")),
        (Some(user), Some(password), None) => Ok(Login::User(user.to_owned(), password)),
        (_, _, Some(_)) => Err(wrong(source, "option `token` excludes `user` and its password")),
        (Some(_), None, None) => Err(wrong(source, "option `user` needs `password` or `password_file`")),
        (None, Some(_), None) => Err(wrong(source, "a password needs option `user`")),
    }
}

/// The server, not yet connected to.
pub(super) fn endpoint(source: &SourceSpec) -> Result<Endpoint, ConnectorError> {
    let not_an_address = "option `url` is not an address such as grpc+tls://host:port";
    let url = source.options.secret("url").unwrap_or_default();
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(source, not_an_address))?;
    let is_encrypted = match scheme {
        "grpc+tls" => true,
        "grpc" | "grpc+tcp" => false,
        _ => return Err(wrong(source, not_an_address)),
    };
    if rest.contains(['@', '/', '?', '#']) {
        let message =
            "option `url` has more than host and port; who logs in is said by `user` and `password`, or `token`";
        return Err(wrong(source, message));
    }
    let address = format!("{}://{rest}", if is_encrypted { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(address).map_err(|_| wrong(source, not_an_address))?;
    let host = match (endpoint.uri().host(), endpoint.uri().port_u16()) {
        (Some(host), Some(_)) if !host.is_empty() => host.to_owned(),
        _ => return Err(wrong(source, not_an_address)),
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PEER_ASKED)
        .keep_alive_timeout(PEER_ANSWERS)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    match (is_encrypted, source.options.text("tls")) {
        (true, None) => {
            let encrypted = endpoint.tls_config(tls(source, &host)?);
            encrypted.map_err(|_| wrong(source, "options `ca`, `certificate` and `key` do not fit together"))
        }
        (true, Some(_)) => Err(wrong(
            source,
            "option `tls` is for `grpc://` addresses; this one is encrypted",
        )),
        (false, Some("disable")) => Ok(endpoint),
        (false, Some(_)) => Err(wrong(source, "option `tls` is `disable` or absent")),
        (false, None) if is_this_machine(&host) => Ok(endpoint),
        (false, None) => Err(wrong(
            source,
            "option `url` is another machine's and not encrypted: use grpc+tls://, or say `tls: disable`",
        )),
    }
}

fn tls(source: &SourceSpec, host: &str) -> Result<ClientTlsConfig, ConnectorError> {
    let mut config = ClientTlsConfig::new().domain_name(host.trim_matches(['[', ']']));
    config = match source.options.path("ca") {
        Some(path) => config.ca_certificate(Certificate::from_pem(pem(source, "ca", path)?)),
        None => config.trust_anchors(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    match (source.options.path("certificate"), source.options.path("key")) {
        (None, None) => Ok(config),
        (Some(certificate), Some(key)) => {
            let certificate = pem(source, "certificate", certificate)?;
            Ok(config.identity(Identity::from_pem(certificate, pem(source, "key", key)?)))
        }
        _ => Err(wrong(source, "options `certificate` and `key` go together")),
    }
}

/// A PEM file with something in it; what, the TLS library says.
fn pem(source: &SourceSpec, option: &str, path: &Path) -> Result<Vec<u8>, ConnectorError> {
    let unreadable = || {
        let message = format!("option `{option}`: {} holds no readable PEM text", path.display());
        ConnectorError::new(&source.name, ErrorClass::Options, message)
    };
    let bytes = std::fs::read(path).map_err(|_| unreadable())?;
    let is_pem = bytes.windows(11).any(|part| part == b"-----BEGIN ");
    if is_pem { Ok(bytes) } else { Err(unreadable()) }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn wrong(source: &SourceSpec, message: &str) -> ConnectorError {
    ConnectorError::new(&source.name, ErrorClass::Options, message)
}
