//! One principal's catalog, as DataFusion resolves names in it.
//!
//! Owns: which provider a name leads to. Never: a source's raw table; what policy does not open is not there.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use caliber_catalog::grant::{TableGrant, ViewGrant};
use caliber_catalog::name::TableName;
use caliber_catalog::principal::Principal;
use caliber_catalog::project::Entity;
use caliber_catalog::standing::Standing;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use parking_lot::Mutex;

use super::system_tables::{SYSTEM_SCHEMAS, system_table, system_tables};
use crate::EngineError;
use crate::engine::{Engine, OpenSnapshot};
use crate::expand::entity_view::{EntityView, entity_view};
use crate::expand::view_cells::ViewAsker;
use crate::govern::enforcement::{Enforcement, GrantCompiler};
use crate::govern::governed_table::GovernedTable;

/// The schema of the entities' views.
pub(crate) const UNIFIED: &str = "unified";

/// What exists for one principal under one snapshot, on one day.
pub(crate) struct GovernedCatalog {
    pub snapshot: Arc<OpenSnapshot>,
    pub standing: Standing,
    state: Arc<SessionState>,
    policy_state: Arc<SessionState>,
    grants: BTreeMap<TableName, TableGrant>,
    compiled: Mutex<BTreeMap<TableName, Arc<Enforcement>>>,
    views: Mutex<BTreeMap<String, Option<Arc<EntityView>>>>,
    this: Weak<Self>,
}

impl std::fmt::Debug for GovernedCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GovernedCatalog({})", self.principal().name)
    }
}

impl GovernedCatalog {
    /// The catalog of the principal of `standing`.
    pub fn new(engine: &Engine, standing: Standing) -> Arc<Self> {
        let snapshot = Arc::clone(&engine.snapshot);
        let grants = snapshot
            .catalog
            .tables(&standing)
            .into_iter()
            .filter_map(|name| snapshot.catalog.decide(&standing, &name).map(|grant| (name, grant)))
            .collect();
        Arc::new_cyclic(|this| Self {
            snapshot,
            standing,
            state: Arc::clone(&engine.state),
            policy_state: Arc::clone(&engine.policy_state),
            grants,
            compiled: Mutex::default(),
            views: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        self.standing.principal()
    }

    /// The SQL catalog's name.
    pub fn name(&self) -> &str {
        &self.snapshot.catalog.project.name
    }

    /// The source tables that exist, sorted.
    pub fn source_tables(&self) -> impl Iterator<Item = &TableGrant> {
        self.grants.values()
    }

    /// What the principal sees of a source's table.
    pub fn enforcement(&self, name: &TableName) -> std::result::Result<Option<Arc<Enforcement>>, EngineError> {
        let Some(grant) = self.grants.get(name) else {
            return Ok(None);
        };
        if let Some(known) = self.compiled.lock().get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        let compiler = GrantCompiler {
            snapshot: &self.snapshot,
            state: &self.policy_state,
        };
        let compiled = Arc::new(compiler.compile(grant, self.principal())?);
        self.compiled.lock().insert(name.clone(), Arc::clone(&compiled));
        Ok(Some(compiled))
    }

    /// The entities whose views may be seen, with their views' names.
    pub fn entities(&self) -> impl Iterator<Item = (String, &Entity)> {
        self.snapshot
            .catalog
            .entities()
            .map(|entity| (format!("{}_360", entity.name), entity))
            .filter(|(view, _)| self.view_grant(view).is_some())
    }

    fn view_grant(&self, view: &str) -> Option<ViewGrant> {
        let view = TableName::new(UNIFIED, view);
        self.snapshot.catalog.decide_view(&self.standing, &view)
    }

    /// A view of `unified`.
    pub fn view(&self, name: &str) -> std::result::Result<Option<Arc<EntityView>>, EngineError> {
        if let Some(known) = self.views.lock().get(name) {
            return Ok(known.clone());
        }
        let found = self.entities().find(|(view, _)| view == name);
        let Some(((_, entity), grant)) = found.zip(self.view_grant(name)) else {
            return Ok(None);
        };
        let lookup = |table: &TableName| self.enforcement(table);
        let shown = ViewAsker {
            grant: &grant,
            principal: self.principal(),
            policy_state: &self.policy_state,
        };
        let view = entity_view(&self.snapshot, &self.state, entity, &lookup, &shown)?.map(Arc::new);
        self.views.lock().insert(name.to_owned(), view.clone());
        Ok(view)
    }

    /// The schemas that hold something, sorted. A principal who sees nothing sees no schema.
    pub fn schemas(&self) -> Vec<String> {
        let mut schemas: Vec<String> = self.grants.keys().map(|table| table.schema.clone()).collect();
        if !self.tables(UNIFIED).is_empty() {
            schemas.push(UNIFIED.to_owned());
        }
        if !schemas.is_empty() {
            schemas.extend(SYSTEM_SCHEMAS.iter().map(|schema| (*schema).to_owned()));
        }
        schemas.sort_unstable();
        schemas.dedup();
        schemas
    }

    /// The tables of a schema, sorted.
    pub fn tables(&self, schema: &str) -> Vec<String> {
        if schema == UNIFIED {
            let visible = |name: &String| self.view(name).is_ok_and(|view| view.is_some());
            return self.entities().map(|(view, _)| view).filter(visible).collect();
        }
        if SYSTEM_SCHEMAS.contains(&schema) {
            if self.grants.is_empty() {
                return Vec::new();
            }
            return system_tables(schema).iter().map(|table| (*table).to_owned()).collect();
        }
        self.grants
            .keys()
            .filter(|table| table.schema == schema)
            .map(|table| table.table.clone())
            .collect()
    }

    /// The columns of a table, in order; `None` if it does not exist.
    pub fn columns(&self, schema: &str, table: &str) -> Option<Vec<String>> {
        let names = |provider: Arc<dyn TableProvider>| {
            provider
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect()
        };
        self.provider(schema, table).ok().flatten().map(names)
    }

    /// The provider a name leads to. The name is exact.
    pub fn provider(
        &self,
        schema: &str,
        table: &str,
    ) -> std::result::Result<Option<Arc<dyn TableProvider>>, EngineError> {
        if schema == UNIFIED {
            return Ok(self.view(table)?.map(|view| view as Arc<dyn TableProvider>));
        }
        if SYSTEM_SCHEMAS.contains(&schema) {
            return if self.grants.is_empty() {
                Ok(None)
            } else {
                system_table(self, schema, table)
            };
        }
        match self.enforcement(&TableName::new(schema, table))? {
            Some(enforcement) => Ok(Some(Arc::new(GovernedTable::new(enforcement)?))),
            None => Ok(None),
        }
    }
}

/// The list that holds the one catalog.
#[derive(Debug)]
pub(crate) struct GovernedCatalogList(pub Arc<GovernedCatalog>);

impl CatalogProviderList for GovernedCatalogList {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.0.name().to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.0.name()).then(|| Arc::clone(&self.0) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for GovernedCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let catalog = self.this.upgrade()?;
        self.schemas().contains(&name.to_owned()).then(|| {
            Arc::new(GovernedSchema {
                catalog,
                name: name.to_owned(),
            }) as Arc<dyn SchemaProvider>
        })
    }
}

/// One schema of the catalog.
#[derive(Debug)]
struct GovernedSchema {
    catalog: Arc<GovernedCatalog>,
    name: String,
}

#[async_trait]
impl SchemaProvider for GovernedSchema {
    fn table_names(&self) -> Vec<String> {
        self.catalog.tables(&self.name)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(self.catalog.provider(&self.name, name)?)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.catalog.tables(&self.name).contains(&name.to_owned())
    }
}
