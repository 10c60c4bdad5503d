//! Why a statement reads what it reads for a principal, or why it is refused.
//!
//! Owns: the tables behind a statement's names, its masked columns, its refusal. Never: runs it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use caliber_catalog::name::TableName;
use datafusion::sql::sqlparser::ast;
use serde::Serialize;

use super::explain::{TableExplanation, as_text};
use crate::EngineError;
use crate::limits::on_large_stack;
use crate::plan::{SessionNames, plan_statement};
use crate::resolve::governed_catalog::UNIFIED;
use crate::session::Session;
use crate::statement::{Admitted, read_statement, resolve_identifiers};

/// A statement, explained for one principal.
#[derive(Clone, Debug, Serialize)]
pub struct StatementExplanation {
    /// Why the principal may not run it.
    #[serde(serialize_with = "refusal")]
    pub refused: Option<EngineError>,
    /// The views it names, sorted.
    pub views: Vec<ViewExplanation>,
    /// The tables it reads, views expanded; of a refused one, those that it or its views name.
    pub tables: Vec<TableExplanation>,
    /// The masked columns it uses, as `schema.table.column`.
    pub masked_columns: Vec<String>,
}

/// A view of `unified`.
#[derive(Clone, Debug, Serialize)]
pub struct ViewExplanation {
    /// The view.
    #[serde(serialize_with = "as_text")]
    pub view: TableName,
    /// Whether it exists for the principal.
    pub exists: bool,
    /// Where it does not, why.
    pub reason: Option<String>,
    /// Its columns that exist for the principal.
    pub columns: Vec<String>,
    /// Those of the project that do not.
    pub absent: Vec<String>,
    /// What it is made of: the entity's table.
    #[serde(serialize_with = "as_text")]
    pub table: TableName,
}

/// Whether the statement's rows come in an order of its own, so that comparing them in another would be wrong.
pub fn is_ordered(sql: &str) -> bool {
    match read_statement(sql).map(|statement| statement.admitted) {
        Ok(Admitted::Query(query)) => query.order_by.is_some(),
        _ => false,
    }
}

impl Session {
    /// What a statement reads and why, or why it is refused. For operators: it names what the principal may not know
    /// of. Asks no source.
    pub async fn explain_statement(&self, sql: &str) -> Result<StatementExplanation, EngineError> {
        let session = self.clone();
        let sql = sql.to_owned();
        on_large_stack(async move {
            let state = session.state(None)?;
            let (refused, read, masked_columns) = match plan_statement(&session, &state, &sql).await {
                Ok(planned) => (None, planned.tables, planned.masked),
                Err(error) => (Some(error), Vec::new(), Vec::new()),
            };
            let named = session.named(&sql, refused.is_none());
            let views: Vec<ViewExplanation> = named.iter().filter_map(|name| session.explain_view(name)).collect();
            let mut tables: BTreeSet<TableName> = read.into_iter().collect();
            if refused.is_some() {
                tables.extend(views.iter().map(|view| view.table.clone()));
                tables.extend(named);
            }
            let tables = tables.iter().map(|table| session.explain_table(table));
            Ok(StatementExplanation {
                refused,
                views,
                tables: tables.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
                masked_columns,
            })
        })
        .await
    }

    /// A view of `unified`, whether or not it exists for the principal; `None` where there is none of that name.
    pub fn explain_view(&self, name: &TableName) -> Option<ViewExplanation> {
        let snapshot = &self.catalog.snapshot.catalog;
        let entity = snapshot
            .entities()
            .find(|entity| name.schema == UNIFIED && name.table == format!("{}_360", entity.name))?;
        let columns = self.catalog.columns(UNIFIED, &name.table);
        let granted = self.catalog.entities().any(|(view, _)| view == name.table);
        let key = self
            .catalog
            .enforcement(&entity.table)
            .ok()
            .flatten()
            .map(|table| table.column(&entity.key).is_some_and(|key| key.is_clear()));
        let reason = match (&columns, granted, key) {
            (Some(_), ..) => None,
            (None, false, _) => Some("no policy that applies opens the view".to_owned()),
            (None, true, None) => Some(format!("its table {} does not exist", entity.table)),
            (None, true, Some(false)) => Some(format!("its key {}.{} is not clear", entity.table, entity.key)),
            (None, true, Some(true)) => Some("it cannot be made".to_owned()),
        };
        let exists = columns.is_some();
        let columns = columns.unwrap_or_default();
        let all = std::iter::once(&entity.key).chain(entity.attributes.iter().map(|attribute| &attribute.name));
        Some(ViewExplanation {
            view: name.clone(),
            exists,
            reason,
            absent: all.filter(|name| !columns.contains(name)).cloned().collect(),
            columns,
            table: entity.table.clone(),
        })
    }

    /// Every view of the project, whether or not it exists for the principal.
    pub fn explain_views(&self) -> Vec<ViewExplanation> {
        let snapshot = &self.catalog.snapshot.catalog;
        snapshot
            .entities()
            .filter_map(|entity| self.explain_view(&TableName::new(UNIFIED, format!("{}_360", entity.name))))
            .collect()
    }

    /// The tables and views a statement names: as the principal resolves them, else as they are spelled.
    fn named(&self, sql: &str, resolves: bool) -> BTreeSet<TableName> {
        let Ok(statement) = read_statement(sql) else {
            return BTreeSet::new();
        };
        let mut query = match statement.admitted {
            Admitted::Query(query) | Admitted::Explain { query, .. } => query,
            Admitted::Describe { table } => return self.spelled(&table).into_iter().collect(),
            Admitted::ShowTables { .. } | Admitted::ShowSchemas => return BTreeSet::new(),
        };
        if resolves && let Ok(names) = resolve_identifiers(&statement.text, &mut query, &SessionNames(self)) {
            return names.into_iter().collect();
        }
        let mut named = BTreeSet::new();
        let walked = ast::visit_relations(&query, |name| {
            named.extend(self.spelled(name));
            ControlFlow::<()>::Continue(())
        });
        debug_assert!(walked.is_continue());
        named
    }

    /// The table or view of the project that a name means, whether or not it exists for the principal.
    fn spelled(&self, name: &ast::ObjectName) -> Option<TableName> {
        let parts: Vec<&str> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident().map(|ident| ident.value.as_str()))
            .collect();
        let (schema, table) = match parts.as_slice() {
            [table] => (self.schema.as_ref(), *table),
            [.., schema, table] => (*schema, *table),
            [] => return None,
        };
        let catalog = &self.catalog.snapshot.catalog;
        let views = catalog
            .entities()
            .map(|entity| TableName::new(UNIFIED, format!("{}_360", entity.name)));
        let mut all = catalog.all_source_tables().into_iter().chain(views);
        all.find(|known| known.schema.eq_ignore_ascii_case(schema) && known.table.eq_ignore_ascii_case(table))
    }
}

fn refusal<S: serde::Serializer>(error: &Option<EngineError>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        code: &'a str,
        message: &'a str,
    }
    let refusal = error.as_ref().map(|error| Refusal {
        code: error.code.as_str(),
        message: &error.message,
    });
    refusal.serialize(serializer)
}
