//! A grant compiled for one principal and one table: what each policy admits and shows.
//!
//! Owns: the compiled form that the scan executes. Never: decides (the catalog did), reads rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::grant::{EntityFilter, PolicyGrant, RowFilter, SqlText, TableGrant};
use caliber_catalog::name::TableName;
use caliber_catalog::principal::Principal;
use caliber_connector_spi::RemoteTable;
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, and};

use super::policy_expr::{Attributes, Compiled, Reason, Wanted, compile};
use crate::EngineError;
use crate::absorb::key_relation::{KeyRelation, RelationStep, comparable};
use crate::engine::{OpenSnapshot, OpenSource};

/// What a principal sees of one table, ready to run.
pub(crate) struct Enforcement {
    /// The table's name in SQL.
    pub name: TableName,
    /// Where it is.
    pub source: Arc<OpenSource>,
    /// The table as introspected.
    pub table: Arc<RemoteTable>,
    /// The policies that open it and give some row, in order. Empty: the table exists, and is empty.
    pub policies: Vec<CompiledPolicy>,
    /// Policies that open the table and give this principal nothing, with the attribute that is to blame.
    pub closed: Vec<(String, Reason)>,
    /// The columns that exist for the principal, in the source's order.
    pub columns: Vec<GovernedColumn>,
    /// Where not empty, rows are open in groups only, each of at least so many of each (`guard_groups`).
    pub groups: Vec<GroupFloor>,
    /// Functions and settings to evaluate policy expressions with.
    pub state: Arc<SessionState>,
}

/// The error of reading `tables` under `reads`, without the name of a column that does not exist for the principal (INV-4).
///
/// A source names the column whose value it could not give; one that a policy alone reads is not for the principal to know.
pub(crate) fn without_hidden_names<'a>(
    error: EngineError,
    tables: impl IntoIterator<Item = &'a Arc<RemoteTable>>,
    reads: &[&Enforcement],
) -> EngineError {
    let is_visible = |table: &RemoteTable, index: usize| {
        let mut over = reads.iter().filter(|read| read.table.name == table.name);
        over.any(|read| read.columns.iter().any(|column| column.index == index))
    };
    let names_hidden = |table: &'a Arc<RemoteTable>| {
        table.columns.iter().enumerate().any(|(index, column)| {
            !is_visible(table, index) && error.message.contains(&format!("`{}.{}`", table.name, column.name))
        })
    };
    if !tables.into_iter().any(names_hidden) {
        return error;
    }
    tracing::warn!(%error, "what a policy needs could not be read");
    let source = reads.first().map_or("", |read| read.source.name.as_str());
    let what = "what a policy of this statement needs cannot be read now";
    EngineError::new(error.code, format!("source `{source}`: {what}")).help("ask the data steward")
}

/// How many of an entity must stand behind what is shown of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupFloor {
    /// The entity's name.
    pub entity: String,
    /// The column of the table that holds its key: an index into the table's columns.
    pub column: usize,
    /// How many.
    pub size: u64,
}

/// One policy on the table.
pub(crate) struct CompiledPolicy {
    /// Its name, for audit.
    pub name: String,
    /// Must all hold; empty admits every row.
    pub admissions: Vec<Admission>,
}

/// One condition on a row.
pub(crate) enum Admission {
    /// Over the table's raw columns.
    Predicate(Expr),
    /// `column` is one of the relation's keys.
    Keys {
        /// Index into the table's columns.
        column: usize,
        /// Where the keys come from.
        relation: Arc<KeyRelation>,
    },
}

/// One column of the table, as the principal sees it.
#[derive(Clone, Debug)]
pub(crate) struct GovernedColumn {
    /// Index into the table's columns.
    pub index: usize,
    /// For each of `Enforcement::policies`, what it shows on a row it admits.
    pub cells: Vec<Cell>,
}

/// What a policy shows of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// The value.
    Clear,
    /// This instead, over the raw row; of the column's type.
    Mask(Expr),
    /// The policy does not grant the column.
    Absent,
}

impl GovernedColumn {
    /// Whether every policy shows it clear, so that the raw value is the governed one.
    pub fn is_clear(&self) -> bool {
        self.cells.iter().all(|cell| *cell == Cell::Clear)
    }

    /// Whether no policy ever shows it clear.
    pub fn is_never_clear(&self) -> bool {
        !self.cells.contains(&Cell::Clear)
    }
}

impl Enforcement {
    /// The Arrow field of a governed column.
    pub fn field(&self, column: &GovernedColumn) -> Field {
        let Some(remote) = self.table.columns.get(column.index) else {
            return Field::new("", DataType::Null, true);
        };
        Field::new(
            &remote.name,
            remote.data_type.clone(),
            remote.nullable || !column.is_clear(),
        )
    }

    /// Whether some policy shows rows: not none, and not groups of them only.
    pub fn shows_rows(&self) -> bool {
        !self.policies.is_empty() && self.groups.is_empty()
    }

    /// Whether some policy shows every row: then none is hidden that anything could tell of.
    pub fn shows_all_rows(&self) -> bool {
        self.shows_rows() && self.policies.iter().any(|policy| policy.admissions.is_empty())
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&GovernedColumn> {
        self.columns.iter().find(|column| {
            self.table
                .columns
                .get(column.index)
                .is_some_and(|remote| remote.name == name)
        })
    }
}

/// Compiles grants against one open snapshot.
pub(crate) struct GrantCompiler<'a> {
    /// Sources and their tables.
    pub snapshot: &'a OpenSnapshot,
    /// Functions and settings.
    pub state: &'a Arc<SessionState>,
}

impl GrantCompiler<'_> {
    /// The enforcement of `grant` for `principal`.
    pub fn compile(&self, grant: &TableGrant, principal: &Principal) -> Result<Enforcement, EngineError> {
        let (source, table) = self.snapshot.table(&grant.table)?;
        let schema = raw_schema(&table)?;
        let mut policies = Vec::new();
        let mut granted = Vec::new();
        let mut closed = Vec::new();
        for policy in &grant.policies {
            match self.admissions(policy, &grant.table, &table, &schema, principal)? {
                Ok(admissions) => {
                    policies.push(CompiledPolicy {
                        name: policy.policy.clone(),
                        admissions,
                    });
                    granted.push(policy);
                }
                Err(reason) => closed.push((policy.policy.clone(), reason)),
            }
        }
        // A policy that shows rows is not narrowed by one that shows groups.
        if granted.iter().any(|policy| policy.groups.is_none()) {
            let mut shows_rows = granted.iter().map(|policy| policy.groups.is_none());
            policies.retain(|_| shows_rows.next() == Some(true));
            granted.retain(|policy| policy.groups.is_none());
        }
        let groups = floors(&granted, &table)?;
        let mut columns = Vec::with_capacity(grant.columns.len());
        for name in &grant.columns {
            let Some(index) = table.columns.iter().position(|column| column.name == *name) else {
                continue;
            };
            let cells: Result<Vec<Cell>, EngineError> = granted
                .iter()
                .map(|policy| self.cell(policy, name, &table, &schema, principal))
                .collect();
            columns.push(GovernedColumn { index, cells: cells? });
        }
        Ok(Enforcement {
            name: grant.table.clone(),
            source,
            table,
            policies,
            closed,
            columns,
            groups,
            state: Arc::clone(self.state),
        })
    }

    /// The policy's conditions, or why it is closed for this principal.
    fn admissions(
        &self,
        policy: &PolicyGrant,
        name: &TableName,
        table: &RemoteTable,
        schema: &DFSchema,
        principal: &Principal,
    ) -> Result<Result<Vec<Admission>, Reason>, EngineError> {
        let mut admissions = Vec::with_capacity(policy.rows.len());
        for filter in &policy.rows {
            let admission = match filter {
                RowFilter::Table(sql) => self.predicate(sql, schema, principal)?.map(Admission::Predicate),
                RowFilter::Entity(filter) if filter.path.is_empty() => self
                    .predicate(&filter.predicate, schema, principal)?
                    .map(Admission::Predicate),
                RowFilter::Entity(filter) => self.keys(filter, name, table, principal)?,
            };
            match admission {
                Ok(admission) => admissions.push(admission),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(admissions))
    }

    fn predicate(
        &self,
        sql: &SqlText,
        schema: &DFSchema,
        principal: &Principal,
    ) -> Result<Result<Expr, Reason>, EngineError> {
        match compile(self.state, sql, schema, Attributes::Of(principal), &Wanted::Predicate)? {
            Compiled::Closed(reason) => Ok(Err(reason)),
            Compiled::Expr(expr) => Ok(Ok(expr)),
        }
    }

    fn cell(
        &self,
        policy: &PolicyGrant,
        name: &str,
        table: &RemoteTable,
        schema: &DFSchema,
        principal: &Principal,
    ) -> Result<Cell, EngineError> {
        if !policy.columns.iter().any(|granted| granted == name) {
            return Ok(Cell::Absent);
        }
        let Some(mask) = policy.masks.get(name) else {
            return Ok(Cell::Clear);
        };
        let Some(column) = table.column(name) else {
            return Ok(Cell::Absent);
        };
        match compile(
            self.state,
            mask,
            schema,
            Attributes::Of(principal),
            &Wanted::Value(&column.data_type),
        )? {
            // A mask whose attribute is missing shows nothing.
            Compiled::Closed(_) => Ok(Cell::Absent),
            Compiled::Expr(expr) => Ok(Cell::Mask(expr)),
        }
    }

    /// The key relation of an entity filter, or why the policy is closed.
    fn keys(
        &self,
        filter: &EntityFilter,
        name: &TableName,
        table: &RemoteTable,
        principal: &Principal,
    ) -> Result<Result<Admission, Reason>, EngineError> {
        let broken = || EngineError::internal("an entity path leads nowhere", name);
        let first = filter.path.first().ok_or_else(broken)?;
        let position = |table: &RemoteTable, column: &str| table.columns.iter().position(|known| known.name == column);
        let column = position(table, &first.column).ok_or_else(broken)?;
        let mut steps = Vec::with_capacity(filter.path.len());
        for (at, step) in filter.path.iter().enumerate() {
            let (source, remote) = self.snapshot.table(&step.table)?;
            let schema = raw_schema(&remote)?;
            let mut predicate = None;
            for sql in step
                .condition
                .iter()
                .chain((at + 1 == filter.path.len()).then_some(&filter.predicate))
            {
                let one = match self.predicate(sql, &schema, principal)? {
                    Ok(one) => one,
                    Err(reason) => return Ok(Err(reason)),
                };
                predicate = Some(match predicate {
                    Some(known) => and(known, one),
                    None => one,
                });
            }
            let link = match filter.path.get(at + 1) {
                Some(next) => Some(position(&remote, &next.column).ok_or_else(broken)?),
                None => None,
            };
            let key = position(&remote, &step.key).ok_or_else(broken)?;
            let id = format!(
                "{}/{:?}/{}",
                filter.entity,
                filter.path.get(at..),
                filter.predicate.text
            );
            steps.push(RelationStep {
                source,
                table: remote,
                key,
                link,
                predicate,
                id,
            });
        }
        let fits = steps.first().is_some_and(|step| {
            let key = step.table.columns.get(step.key).map(|column| &column.data_type);
            key.zip(table.columns.get(column))
                .is_some_and(|(key, column)| comparable(key, &column.data_type))
        });
        if !fits {
            return Err(EngineError::new(
                caliber_catalog::diagnostic::Code::POL001,
                format!("`{name}` cannot follow its entity: the keys are of different types"),
            ));
        }
        let relation = KeyRelation {
            steps,
            state: Arc::clone(self.state),
        };
        Ok(Ok(Admission::Keys {
            column,
            relation: Arc::new(relation),
        }))
    }
}

/// What policies that all show groups only ask together: of each entity the largest number.
fn floors(policies: &[&PolicyGrant], table: &RemoteTable) -> Result<Vec<GroupFloor>, EngineError> {
    let mut floors: Vec<GroupFloor> = Vec::new();
    for floor in policies.iter().filter_map(|policy| policy.groups.as_ref()) {
        let column = table.columns.iter().position(|column| column.name == floor.column);
        let column = column.ok_or_else(|| EngineError::internal("no column says whose a row is", &floor.column))?;
        let size = u64::from(floor.size);
        match floors.iter_mut().find(|known| known.entity == floor.entity) {
            Some(known) => known.size = known.size.max(size),
            None => floors.push(GroupFloor {
                entity: floor.entity.clone(),
                column,
                size,
            }),
        }
    }
    Ok(floors)
}

/// A mask that fails on a row: what failed is the steward's to know, in the log, and nothing of the row.
pub(crate) fn mask_failed(error: &datafusion::error::DataFusionError) -> EngineError {
    tracing::error!(kind = EngineError::kind(error), "a mask failed on a row");
    EngineError::new(Code::POL001, "a mask of a table in this statement cannot be evaluated")
        .help("ask the data steward; the server's log has the details under the query's id")
}

/// The raw columns of a table, unqualified.
pub(crate) fn raw_schema(table: &RemoteTable) -> Result<DFSchema, EngineError> {
    let fields: Vec<Field> = table
        .columns
        .iter()
        .map(|column| Field::new(&column.name, column.data_type.clone(), column.nullable))
        .collect();
    Ok(DFSchema::try_from(Schema::new(fields))?)
}
