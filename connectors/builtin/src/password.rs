//! A password that stands in a file, read anew for every connection: who changes it restarts nothing.
//!
//! Owns: the `password_file` option. Never: keeps what it read.

use std::path::Path;

use caliber_connector_spi::{ConnectorError, ErrorClass, OptionKind, OptionSpec};
use secrecy::SecretString;
use tokio::io::AsyncReadExt;

/// No password is longer.
const BYTES_MAX: u64 = 4096;

/// The option.
pub const OPTION: OptionSpec = OptionSpec {
    name: "password_file",
    kind: OptionKind::Path,
    required: false,
    description: "A file whose first line is the password, read for every new connection; instead of one in `url`.",
};

/// The first line of the file.
pub async fn read(source_name: &str, path: &Path) -> Result<SecretString, ConnectorError> {
    let wrong = |what: &str| {
        let message = format!("option `password_file`: {} {what}", path.display());
        ConnectorError::new(source_name, ErrorClass::Options, message)
    };
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(|_| wrong("cannot be read"))?;
    let mut file = file.take(BYTES_MAX + 1);
    let bytes = file.read_to_string(&mut text).await.map_err(|_| wrong("is no text"))?;
    if bytes as u64 > BYTES_MAX {
        return Err(wrong("is too long"));
    }
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(SecretString::from(password)),
        _ => Err(wrong("is empty")),
    }
}
