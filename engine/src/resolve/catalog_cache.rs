//! The catalogs of the principals that asked lately.
//!
//! Owns: finding one again, for just the same principal on the same day, and how many there are. Never: one principal's
//! catalog for another.

use std::collections::HashMap;
use std::sync::Arc;

use caliber_catalog::date::Date;
use caliber_catalog::principal::Principal;
use parking_lot::Mutex;

use super::governed_catalog::GovernedCatalog;

/// More catalogs than this are not kept: all are made anew then.
const CATALOGS_MAX: usize = 1_024;

/// The catalogs kept by one engine, which serves one snapshot.
#[derive(Debug, Default)]
pub(crate) struct CatalogCache {
    all: Mutex<HashMap<String, Arc<GovernedCatalog>>>,
}

impl CatalogCache {
    /// What exists for `principal` on the day `today`, if it asked before: policies depend on nothing else.
    pub fn find(&self, principal: &Principal, today: Date) -> Option<Arc<GovernedCatalog>> {
        let all = self.all.lock();
        let known = all.get(&principal.name)?;
        (known.principal() == principal && known.standing.today() == today).then(|| Arc::clone(known))
    }

    /// Keeps a catalog for its principal's next statement.
    pub fn keep(&self, catalog: &Arc<GovernedCatalog>) {
        let mut all = self.all.lock();
        if all.len() >= CATALOGS_MAX {
            all.clear();
        }
        all.insert(catalog.principal().name.clone(), Arc::clone(catalog));
    }
}
