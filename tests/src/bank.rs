//! The real bank: three live databases loaded by the testkit, and its project served by the program.
//!
//! Owns: starting both once for the whole test program. Never: a figure.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

use crate::program::Server;
use crate::root;

/// The bank, served.
pub struct Bank {
    /// `grpc://127.0.0.1:PORT`
    pub uri: String,
    /// The folder with the dumps.
    pub folder: PathBuf,
    _server: Server,
}

/// The one bank of this test program, or `None` (and the testkit says so) where its data does not lie beside the checkout.
pub async fn bank() -> Result<Option<&'static Bank>> {
    static BANK: OnceCell<Bank> = OnceCell::const_new();
    let Some(loaded) = caliber_testkit::bank().await? else {
        return Ok(None);
    };
    BANK.get_or_try_init(|| serve(loaded)).await.map(Some)
}

async fn serve(loaded: &caliber_testkit::Bank) -> Result<Bank> {
    let text = |path: &PathBuf| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    let (project, accounting) = (text(&loaded.project)?, text(&loaded.accounting_db)?);
    let variables = [
        ("SETTLEMENT_URL", loaded.settlement_url.as_str()),
        ("CREDIT_URL", loaded.credit_url.as_str()),
        ("ACCOUNTING_DB", accounting.as_str()),
    ];
    let server = Server::start(&["serve", "--project", &project, "--listen", "127.0.0.1:0"], variables)?;
    let folder = root().join("../shared/bank").canonicalize()?;
    Ok(Bank {
        uri: server.uri.clone(),
        folder,
        _server: server,
    })
}
