//! One principal's catalog, as DataFusion resolves names in it.
//!
//! Owns: which provider a name leads to. Never: a source's raw table; what policy does not open is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use arrow::compute::kernels::cast_utils::Parser;
use arrow::datatypes::{DataType, Date32Type, Field, SchemaRef};
use async_trait::async_trait;
use caliber_catalog::date::Date;
use caliber_catalog::grant::{TableGrant, ViewGrant};
use caliber_catalog::name::TableName;
use caliber_catalog::principal::Principal;
use caliber_catalog::project::Entity;
use caliber_catalog::standing::Standing;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, lit};
use parking_lot::Mutex;

use super::system_tables::{SYSTEM_SCHEMAS, system_table, system_tables};
use crate::EngineError;
use crate::engine::{Engine, OpenSnapshot};
use crate::expand::entity_view::{EntityView, entity_view};
use crate::expand::expand_wholes::WholeTable;
use crate::expand::view_cells::ViewAsker;
use crate::expand::whole_view::WholeView;
use crate::govern::enforcement::{Enforcement, GrantCompiler};
use crate::govern::governed_table::GovernedTable;
use crate::metrics::asked::AsOf;
use crate::metrics::expand_measures::MetricViewTable;
use crate::metrics::metric_view::{MetricView, ViewParts, metric_view};
use crate::run::audit::AuditSink;
use crate::statement::dated_view::{ViewDate, view_and_date};

/// The schema of the entities' views.
pub(crate) const UNIFIED: &str = "unified";

/// What exists for one principal under one snapshot, on one day.
pub(crate) struct GovernedCatalog {
    pub snapshot: Arc<OpenSnapshot>,
    pub standing: Standing,
    /// Keeps the records of `caliber.audit`.
    pub audit: Arc<dyn AuditSink>,
    state: Arc<SessionState>,
    policy_state: Arc<SessionState>,
    grants: BTreeMap<TableName, TableGrant>,
    compiled: Mutex<BTreeMap<TableName, Arc<Enforcement>>>,
    views: Mutex<BTreeMap<String, Option<Arc<EntityView>>>>,
    metric_views: Mutex<BTreeMap<String, Option<Arc<MetricView>>>>,
    wholes: Mutex<BTreeMap<String, Option<SchemaRef>>>,
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
            audit: Arc::clone(&engine.options.audit),
            grants,
            compiled: Mutex::default(),
            views: Mutex::default(),
            metric_views: Mutex::default(),
            wholes: Mutex::default(),
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
        let view = entity_view(&self.snapshot, &self.state, entity, &lookup, &shown, None)?.map(Arc::new);
        self.views.lock().insert(name.to_owned(), view.clone());
        Ok(view)
    }

    /// A view of `unified` with all that is known of its entity, as of today; with the columns that are `wanted` alone.
    pub fn whole(
        &self,
        name: &str,
        wanted: Option<&BTreeSet<String>>,
    ) -> std::result::Result<Option<EntityView>, EngineError> {
        let (name, date) = view_and_date(name);
        let found = self.entities().find(|(view, _)| view == name);
        let Some(((_, entity), grant)) = found.zip(self.view_grant(name)) else {
            return Ok(None);
        };
        let literal = |day: Date| lit(ScalarValue::Date32(Date32Type::parse(&day.to_string())));
        let today = self.standing.today();
        let as_of = match date {
            None => AsOf {
                day: literal(today),
                is_present: None,
            },
            Some(ViewDate::Day(day)) => AsOf {
                day: literal(day),
                is_present: (day < today).then(|| lit(false)),
            },
            Some(ViewDate::Parameter(name)) => {
                let field = Arc::new(Field::new(&name, DataType::Date32, true));
                let day = Expr::Placeholder(Placeholder::new_with_field(name, Some(field)));
                AsOf {
                    is_present: Some(day.clone().gt_eq(literal(today))),
                    day,
                }
            }
        };
        let whole = WholeView {
            catalog: self,
            state: &self.state,
            entity,
            as_of,
            wanted,
        };
        let shown = ViewAsker {
            grant: &grant,
            principal: self.principal(),
            policy_state: &self.policy_state,
        };
        let lookup = |table: &TableName| self.enforcement(table);
        entity_view(
            &self.snapshot,
            &self.state,
            entity,
            &lookup,
            &shown,
            Some(&|plan, columns, cells| whole.more(plan, columns, cells)),
        )
    }

    /// The columns of a view of `unified`.
    pub fn whole_schema(&self, name: &str) -> std::result::Result<Option<SchemaRef>, EngineError> {
        // It is the same as of any date.
        let (name, _) = view_and_date(name);
        if let Some(known) = self.wholes.lock().get(name) {
            return Ok(known.clone());
        }
        let schema = self.whole(name, None)?.map(|view| view.schema());
        self.wholes.lock().insert(name.to_owned(), schema.clone());
        Ok(schema)
    }

    /// The metric views that exist, with their names.
    pub fn metric_views(&self) -> Vec<(String, Arc<MetricView>)> {
        let names = self
            .snapshot
            .catalog
            .entities()
            .map(|entity| format!("{}_metrics", entity.name));
        names
            .filter_map(|name| {
                let view = self.metric_view(&name).ok().flatten()?;
                Some((name, view))
            })
            .collect()
    }

    /// A view of metrics. One exists where the entity's own view does, for it shows the same customers.
    pub fn metric_view(&self, name: &str) -> std::result::Result<Option<Arc<MetricView>>, EngineError> {
        if let Some(known) = self.metric_views.lock().get(name) {
            return Ok(known.clone());
        }
        let entity = name
            .strip_suffix("_metrics")
            .and_then(|entity| self.snapshot.catalog.project.entities.get(entity));
        let Some((entity, grant)) = entity.zip(self.view_grant(name)) else {
            return Ok(None);
        };
        let view = match (
            self.view(&format!("{}_360", entity.name))?,
            self.snapshot.metrics.get(&entity.name),
        ) {
            (Some(customers), Some(metrics)) => {
                let parts = ViewParts {
                    snapshot: &self.snapshot,
                    state: &self.state,
                    entity,
                    grant: &grant,
                    customers: &customers,
                    metrics,
                };
                metric_view(&parts, &|table: &TableName| self.enforcement(table))?.map(Arc::new)
            }
            _ => None,
        };
        self.metric_views.lock().insert(name.to_owned(), view.clone());
        Ok(view)
    }

    /// Whether not even Caliber's own tables exist: no policy opens a table, or makes the principal an administrator.
    pub fn sees_nothing(&self) -> bool {
        self.grants.is_empty() && !self.snapshot.catalog.is_admin(&self.standing)
    }

    /// Whether `caliber.audit` exists.
    pub fn shows_audit(&self) -> bool {
        self.audit.keeps_records() && self.snapshot.catalog.is_admin(&self.standing)
    }

    /// The schemas that hold something, sorted. A principal who sees nothing sees no schema.
    pub fn schemas(&self) -> Vec<String> {
        let mut schemas: Vec<String> = self.grants.keys().map(|table| table.schema.clone()).collect();
        if !self.tables(UNIFIED).is_empty() {
            schemas.push(UNIFIED.to_owned());
        }
        if !self.sees_nothing() {
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
            let mut views: Vec<String> = self.entities().map(|(view, _)| view).filter(visible).collect();
            views.extend(self.metric_views().into_iter().map(|(name, _)| name));
            views.sort_unstable();
            return views;
        }
        if SYSTEM_SCHEMAS.contains(&schema) {
            if self.sees_nothing() {
                return Vec::new();
            }
            return system_tables(self, schema)
                .iter()
                .map(|table| (*table).to_owned())
                .collect();
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
            if let Some(schema) = self.whole_schema(table)? {
                let name = table.to_owned();
                return Ok(Some(Arc::new(WholeTable { name, schema })));
            }
            let metrics = self.metric_view(table)?;
            return Ok(metrics.map(|view| Arc::new(MetricViewTable(view)) as Arc<dyn TableProvider>));
        }
        if SYSTEM_SCHEMAS.contains(&schema) {
            return if self.sees_nothing() {
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
