//! Step 3 of a query's life: from an admitted statement to a checked logical plan.
//!
//! Owns: parameters and their types, the result's schema, which tables are read under which policies. Never: executes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::name::TableName;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue, TableReference};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ident, lit};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use crate::EngineError;
use crate::evaluate::bound_expansion::bound_expansion;
use crate::evaluate::distinct_keys::distinct_keys;
use crate::executable::open_plan;
use crate::expand::expand_wholes::expand_wholes;
use crate::govern::enforcement::Admission;
use crate::govern::governed_table::GovernedTable;
use crate::govern::guard_groups::{guard_groups, is_guarded};
use crate::govern::reaches_group::Withheld;
use crate::govern::require_governed::require_governed_plan;
use crate::metrics::expand_measures::expand_measures;
use crate::run::plan_template::{is_repeatable, number_of};
use crate::run::receipt::MetricUsed;
use crate::run::wire_types::wire_schema;
use crate::session::{Session, result_schema};
use crate::statement::{
    Admitted, ExplainMode, QueryText, VisibleNames, name_outputs, read_statement, resolve_identifiers, resolve_schema,
    resolve_table, written_names,
};

/// A statement, planned for one principal, with its parameters open.
#[derive(Debug)]
pub(crate) struct Planned {
    plan: LogicalPlan,
    /// The types of `$1`, `$2`…
    pub parameters: Vec<DataType>,
    /// The schema of the result on the wire.
    pub schema: SchemaRef,
    /// The tables read, sorted; Caliber's own too.
    pub tables: Vec<TableName>,
    /// Columns that the statement or a view in it names, as `schema.table.column`, sorted.
    pub columns: Vec<String>,
    /// Columns read that are masked for the principal, as `schema.table.column`, sorted.
    pub masked: Vec<String>,
    /// The policies under which they are read, sorted.
    pub policies: Vec<String>,
    /// The metrics asked for, sorted.
    pub metrics: Vec<MetricUsed>,
    /// Set while it runs, once a group or value with too few behind it was withheld.
    pub withheld: Withheld,
    /// The sources of the tables and of what their policies read, sorted.
    pub sources: Vec<String>,
    /// Whether it runs to be explained: what it gives is the explanation.
    pub is_analyzed: bool,
    /// Whether another run may use it: it reads sources' tables alone, and nothing of it tells of a run.
    pub is_kept: bool,
}

impl Planned {
    /// The plan with a typed parameter wherever a value will be; `None` where runs may need plans that differ.
    pub fn open(&self) -> Result<Option<LogicalPlan>, EngineError> {
        if !self.is_kept || !is_repeatable(&self.plan)? {
            return Ok(None);
        }
        if self.parameters.is_empty() {
            return Ok(Some(self.plan.clone()));
        }
        let typed = self.plan.clone().transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform(|part| {
                    let Expr::Placeholder(Placeholder { id, .. }) = &part else {
                        return Ok(Transformed::no(part));
                    };
                    let data_type = number_of(id).and_then(|at| self.parameters.get(at));
                    let field = data_type.map(|data_type| Arc::new(Field::new(id, data_type.clone(), true)));
                    Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(
                        id.clone(),
                        field,
                    ))))
                })
            })
        })?;
        Ok(Some(typed.data))
    }

    /// The plan with `values` for its parameters.
    pub fn bind(&self, values: Vec<ScalarValue>) -> Result<LogicalPlan, EngineError> {
        if values.is_empty() {
            return Ok(self.plan.clone());
        }
        Ok(self.plan.clone().with_param_values(ParamValues::from(values))?)
    }

    /// A typed NULL for each parameter.
    pub fn null_parameters(&self) -> Result<Vec<ScalarValue>, EngineError> {
        self.parameters
            .iter()
            .map(|data_type| Ok(ScalarValue::try_from(data_type)?))
            .collect()
    }
}

/// The principal's names, with the session's default schema.
pub(crate) struct SessionNames<'a>(pub &'a Session);

impl VisibleNames for SessionNames<'_> {
    fn schemas(&self) -> Vec<String> {
        self.0.catalog.schemas()
    }

    fn tables(&self, schema: &str) -> Vec<String> {
        self.0.catalog.tables(schema)
    }

    fn columns(&self, schema: &str, table: &str) -> Option<Vec<String>> {
        self.0.catalog.columns(schema, table)
    }

    fn default_schema(&self) -> &str {
        &self.0.schema
    }

    fn catalog(&self) -> &str {
        self.0.catalog.name()
    }
}

/// Reads, resolves and plans `sql` for the session's principal.
pub(crate) async fn plan_statement(session: &Session, state: &SessionState, sql: &str) -> Result<Planned, EngineError> {
    let statement = read_statement(sql)?;
    let names = SessionNames(session);
    match statement.admitted {
        Admitted::Query(query) => {
            let written = written_names(&query);
            let (plan, metrics) = plan_query(state, &statement.text, query, &names).await?;
            let mut planned = finish(state, plan, statement.parameters)?;
            planned.metrics = metrics;
            planned.is_kept = planned.is_kept && !is_guarded(&planned.plan)?;
            planned.schema = renamed(&planned.schema, written);
            Ok(planned)
        }
        Admitted::Explain { query, mode } => {
            if mode != ExplainMode::Plan && !session.is_admin() {
                return Err(
                    EngineError::new(Code::SQL002, "EXPLAIN ANALYZE and VERBOSE are for administrators")
                        .help("EXPLAIN shows the plan"),
                );
            }
            let (plan, metrics) = plan_query(state, &statement.text, query, &names).await?;
            let mut planned = finish(state, plan, statement.parameters)?;
            planned.metrics = metrics;
            if mode == ExplainMode::Analyze {
                planned.schema = explanation();
                planned.is_analyzed = true;
                planned.is_kept = false;
                return Ok(planned);
            }
            let explained = explain_plan(session, state, &planned).await?;
            finish(state, explained, 0)
        }
        Admitted::ShowTables { schema } => {
            let schema = schema
                .map(|schema| resolve_schema(&statement.text, &schema, &names))
                .transpose()?;
            let columns = ["table_schema", "table_name", "table_type"];
            let filter = schema.map(|schema| ("table_schema", schema));
            finish(
                state,
                catalog_query(session, "tables", &columns, filter.into_iter().collect())?,
                0,
            )
        }
        Admitted::ShowSchemas => finish(
            state,
            catalog_query(session, "schemata", &["schema_name"], Vec::new())?,
            0,
        ),
        Admitted::Describe { table } => {
            let table = resolve_table(&statement.text, &table, &names)?;
            let columns = ["column_name", "data_type", "is_nullable"];
            let filter = vec![("table_schema", table.schema), ("table_name", table.table)];
            finish(state, catalog_query(session, "columns", &columns, filter)?, 0)
        }
    }
}

async fn plan_query(
    state: &SessionState,
    text: &QueryText,
    mut query: Box<ast::Query>,
    names: &SessionNames<'_>,
) -> Result<(LogicalPlan, Vec<MetricUsed>), EngineError> {
    resolve_identifiers(text, &mut query, names)?;
    name_outputs(&mut query);
    let statement = Statement::Statement(Box::new(ast::Statement::Query(query)));
    let plan = state.statement_to_plan(statement).await;
    let plan = distinct_keys(plan.map_err(|error| placed(text, &error))?)?;
    let plan = expand_wholes(plan, &names.0.catalog)?;
    expand_measures(plan, &names.0.catalog, state)
}

/// The schema with the names people expect of the columns they gave none.
fn renamed(schema: &SchemaRef, written: Option<Vec<Option<String>>>) -> SchemaRef {
    let Some(written) = written.filter(|written| written.len() == schema.fields().len()) else {
        return Arc::clone(schema);
    };
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(written)
        .map(|(field, name)| match name {
            Some(name) => field.as_ref().clone().with_name(name),
            None => field.as_ref().clone(),
        })
        .collect();
    wire_schema(&Schema::new(fields))
}

/// The error with its place in the statement, where DataFusion knows it.
fn placed(text: &QueryText, error: &DataFusionError) -> EngineError {
    let own = EngineError::from_datafusion(error);
    let span = match error {
        DataFusionError::Diagnostic(diagnostic, _) => diagnostic.span,
        _ => None,
    };
    let span = span.map(|span| {
        let location = |at: datafusion::common::Location| Location {
            line: at.line,
            column: at.column,
        };
        Span::new(location(span.start), location(span.end))
    });
    match (own.place.is_none(), span.and_then(|span| text.place(span))) {
        (true, Some(place)) => own.at(place),
        _ => own,
    }
}

/// Checks the plan and works out what it takes and gives.
fn finish(state: &SessionState, plan: LogicalPlan, count: usize) -> Result<Planned, EngineError> {
    require_governed_plan(&plan)?;
    bound_expansion(&plan)?;
    let withheld = Withheld::default();
    let plan = guard_groups(plan, &withheld)?;
    let known = plan.get_parameter_types()?;
    let counts = counting_parameters(&plan)?;
    let casts = cast_parameters(&plan)?;
    let parameters: Vec<DataType> = (1..=count)
        .map(|number| format!("${number}"))
        .map(|name| match (known.get(&name), casts.get(&name)) {
            (Some(Some(data_type)), _) if *data_type != DataType::Null => data_type.clone(),
            (_, Some(Some(data_type))) => data_type.clone(),
            _ if counts.contains(&name) => DataType::Int64,
            // What context does not type is text, on the wire and here.
            _ => DataType::Utf8,
        })
        .collect();
    let mut planned = Planned {
        schema: Arc::new(Schema::empty()),
        tables: Vec::new(),
        columns: Vec::new(),
        masked: Vec::new(),
        policies: Vec::new(),
        metrics: Vec::new(),
        withheld,
        sources: Vec::new(),
        is_kept: false,
        is_analyzed: false,
        parameters,
        plan,
    };
    let bound = planned.bind(planned.null_parameters()?)?;
    // The optimizer keeps the schema that analysis (type coercion) gives.
    let analyzed = state
        .analyzer()
        .execute_and_check(bound.clone(), state.config_options(), |_, _| {})?;
    planned.schema = result_schema(&analyzed);
    let read = tables_read(&planned.plan)?;
    planned.tables = read.tables.into_iter().collect();
    planned.columns = read.columns.into_iter().collect();
    planned.masked = read.masked.into_iter().collect();
    planned.policies = read.policies.into_iter().collect();
    planned.sources = read.sources.into_iter().collect();
    planned.is_kept = !read.others;
    Ok(planned)
}

/// The parameters that say how many rows: LIMIT and OFFSET give them no type in DataFusion's eyes.
fn counting_parameters(plan: &LogicalPlan) -> Result<BTreeSet<String>, EngineError> {
    let mut found = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = expr.as_ref() {
                    found.insert(placeholder.id.clone());
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The parameters that a statement casts, with the type they are cast to: `CAST($1 AS BIGINT)` takes a BIGINT. `None` where it
/// casts one to several types, or to one that no client sends.
fn cast_parameters(plan: &LogicalPlan) -> Result<BTreeMap<String, Option<DataType>>, EngineError> {
    let mut found = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                let (inner, target) = match part {
                    Expr::Cast(cast) => (&cast.expr, cast.field.data_type()),
                    Expr::TryCast(cast) => (&cast.expr, cast.field.data_type()),
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                if let Expr::Placeholder(placeholder) = inner.as_ref() {
                    let target = Some(target.clone()).filter(is_sent);
                    let known = found.entry(placeholder.id.clone()).or_insert_with(|| target.clone());
                    if *known != target {
                        *known = None;
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Whether clients bind values of that type: those of the plain wire types.
fn is_sent(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => !item.data_type().is_nested() && is_sent(item.data_type()),
        DataType::Timestamp(unit, _) => *unit == TimeUnit::Microsecond,
        DataType::Boolean | DataType::Decimal128(..) | DataType::Utf8 | DataType::Binary | DataType::Date32 => true,
        other => other.is_integer() || matches!(other, DataType::Float32 | DataType::Float64),
    }
}

/// What a plan reads, for audit and receipt.
#[derive(Default)]
struct TablesRead {
    tables: BTreeSet<TableName>,
    columns: BTreeSet<String>,
    masked: BTreeSet<String>,
    policies: BTreeSet<String>,
    sources: BTreeSet<String>,
    /// Whether it reads tables of Caliber's own too: some hold what is so at this moment.
    others: bool,
}

/// From the plan before optimisation: what parameters make superfluous was asked for all the same.
fn tables_read(plan: &LogicalPlan) -> Result<TablesRead, EngineError> {
    let mut used = BTreeSet::new();
    let mut tables = Vec::new();
    let mut read = TablesRead::default();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = part {
                    used.insert(column.name.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if let LogicalPlan::TableScan(scan) = node {
            if let Some(table) = source_as_provider(&scan.source)?.downcast_ref::<GovernedTable>() {
                tables.push(Arc::clone(&table.enforcement));
            } else if let Some(schema) = scan.table_name.schema() {
                read.tables.insert(TableName::new(schema, scan.table_name.table()));
                read.others = true;
            } else {
                read.others = true;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    for table in tables {
        read.tables.insert(table.name.clone());
        read.sources.insert(table.source.name.clone());
        for admission in table.policies.iter().flat_map(|policy| &policy.admissions) {
            if let Admission::Keys { relation, .. } = admission {
                read.sources
                    .extend(relation.steps.iter().map(|step| step.source.name.clone()));
            }
        }
        read.policies
            .extend(table.policies.iter().map(|policy| policy.name.clone()));
        for column in &table.columns {
            let field = table.field(column);
            if used.contains(field.name()) {
                let name = format!("{}.{}", table.name, field.name());
                if !column.is_clear() {
                    read.masked.insert(name.clone());
                }
                read.columns.insert(name);
            }
        }
    }
    Ok(read)
}

/// A query over one of the catalog's tables about itself.
fn catalog_query(
    session: &Session,
    table: &str,
    columns: &[&str],
    filters: Vec<(&str, String)>,
) -> Result<LogicalPlan, EngineError> {
    const SCHEMA: &str = "information_schema";
    let provider = crate::resolve::system_tables::system_table(&session.catalog, SCHEMA, table)?
        .ok_or_else(|| EngineError::internal("a catalog table is missing", &table))?;
    let name = TableReference::partial(SCHEMA, table);
    let mut builder = LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?;
    for (column, value) in filters {
        builder = builder.filter(ident(column).eq(lit(value)))?;
    }
    Ok(builder.project(columns.iter().map(|column| ident(*column)))?.build()?)
}

/// The explanation of a plan, as rows.
async fn explain_plan(session: &Session, state: &SessionState, planned: &Planned) -> Result<LogicalPlan, EngineError> {
    let (logical, physical) = open_plan(state, planned).await?;
    let pushdown = session.engine.options.pushdown;
    let text = crate::explain::explain(&logical, &physical.plan, &physical.kept, session.is_admin(), pushdown)?;
    let batch = explanation_of(&text)?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    Ok(LogicalPlanBuilder::scan("explain", provider_as_source(Arc::new(table)), None)?.build()?)
}

/// What an explanation is: one line of text in each row.
pub(crate) fn explanation() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, true)]))
}

/// The lines of `text`, as rows.
pub(crate) fn explanation_of(text: &str) -> Result<RecordBatch, EngineError> {
    let lines: ArrayRef = Arc::new(text.lines().map(Some).collect::<StringArray>());
    RecordBatch::try_new(explanation(), vec![lines])
        .map_err(|error| EngineError::internal("an explanation could not be built", &error))
}
