//! `unified.<entity>_360`: one row for each visible instance of an entity, with its key and attributes.
//!
//! Owns: attributes over the entity's table and what it references, NULL where policy hides what they are computed
//! from. Never: computes an attribute over a mask.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_catalog::name::{ColumnName, TableName};
use caliber_catalog::project::{Attribute, Entity};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, JoinType, ScalarValue, TableReference};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableType, lit, when};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast;

use crate::EngineError;
use crate::engine::OpenSnapshot;
use crate::expand::view_cells::{ViewAsker, ViewCells};
use crate::govern::enforcement::Enforcement;
use crate::govern::governed_table::{GovernedTable, admits_flag, clear_flag};
use crate::govern::policy_expr::parse;

/// The alias of the entity's own table within the view.
const ENTITY: &str = "entity";

/// A view over governed tables, expanded where its name is resolved.
#[derive(Debug)]
pub(crate) struct EntityView {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl EntityView {
    /// Its rows.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }
}

#[async_trait]
impl TableProvider for EntityView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(EngineError::internal("a unified view was not expanded", &self.schema.fields().len()).into())
    }
}

/// Where an attribute's names lead: columns of the entity's table, or of a table it references.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hop {
    /// The referencing column of the table before.
    column: String,
    /// What it references.
    target: ColumnName,
}

/// An attribute's expression with its names resolved.
struct Resolved {
    expr: ast::ExprWithAlias,
    /// By path from the entity's table (empty for itself), the columns used there.
    used: BTreeMap<Vec<Hop>, Vec<String>>,
}

/// How a session finds what a principal sees of a table.
pub(crate) type Lookup<'a> = &'a dyn Fn(&TableName) -> std::result::Result<Option<Arc<Enforcement>>, EngineError>;

/// What else a view shows of each of its rows: the relation with more joined to it, and the columns that they make.
pub(crate) type More<'a> = &'a dyn Fn(
    LogicalPlan,
    &[(String, Expr)],
    &ViewCells<'_>,
) -> std::result::Result<(LogicalPlan, Vec<(String, Expr)>), EngineError>;

/// The view of `entity` for the principal behind `lookup`; `None` where its table or key is not visible in the clear.
pub(crate) fn entity_view(
    snapshot: &OpenSnapshot,
    state: &SessionState,
    entity: &Entity,
    lookup: Lookup<'_>,
    asker: &ViewAsker<'_>,
    more: Option<More<'_>>,
) -> std::result::Result<Option<EntityView>, EngineError> {
    let Some(base) = lookup(&entity.table)? else {
        return Ok(None);
    };
    if !base.column(&entity.key).is_some_and(|key| key.is_clear()) {
        return Ok(None);
    }
    let cells = ViewCells::new(asker, &base);
    let mut joined: BTreeMap<Vec<Hop>, Arc<Enforcement>> = BTreeMap::from([(Vec::new(), base)]);
    let mut shown = Vec::new();
    for attribute in &entity.attributes {
        let resolved = resolve(snapshot, entity, attribute)?;
        if reach(&resolved, &mut joined, lookup)? {
            shown.push((attribute, resolved));
        }
    }
    let plan = join_all(&joined, cells.needs_flags())?;
    let mut columns = vec![(entity.key.clone(), qualified(ENTITY, &entity.key))];
    for (attribute, resolved) in shown {
        columns.push((attribute.name.clone(), attribute_expr(state, &plan, resolved, &joined)?));
    }
    let plan = match more {
        Some(more) => {
            let (plan, added) = more(plan, &columns, &cells)?;
            columns.extend(added);
            plan
        }
        None => plan,
    };
    let flag = |at: usize| qualified(ENTITY, &admits_flag(at));
    let columns = cells.columns(columns, plan.schema(), &flag)?;
    if columns.is_empty() {
        return Ok(None);
    }
    let mut builder = LogicalPlanBuilder::from(plan);
    if let Some(admitted) = cells.rows(&flag) {
        builder = builder.filter(admitted)?;
    }
    let plan = builder.project(columns)?.build()?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    Ok(Some(EntityView { plan, schema }))
}

/// The attributes of `entity` that cannot be computed over its tables as they are, whoever asks; and the columns its view
/// has for one who sees everything, but for those whose source is down.
pub(crate) fn check_attributes(
    snapshot: &OpenSnapshot,
    state: &SessionState,
    entity: &Entity,
) -> (Vec<Diagnostic>, Vec<Field>) {
    let mut findings = Vec::new();
    let mut columns = Vec::new();
    let Some(table) = snapshot.remote_table(&entity.table) else {
        return (findings, columns);
    };
    columns.extend(
        table
            .column(&entity.key)
            .map(|key| Field::new(&key.name, key.data_type.clone(), true)),
    );
    for attribute in &entity.attributes {
        let checked = resolve(snapshot, entity, attribute).and_then(|resolved| {
            let mut schema: Option<DFSchema> = None;
            for path in resolved.used.keys() {
                let table = path.last().map_or(&entity.table, |hop| &hop.target.table);
                // The table's source is down: it was reported, and the attribute cannot be checked.
                let Some(remote) = snapshot.remote_table(table) else {
                    return Ok(None);
                };
                let raw = crate::govern::enforcement::raw_schema(remote)?;
                let part = DFSchema::try_from_qualified_schema(alias_of(path), raw.as_arrow())?;
                schema = Some(match schema {
                    Some(known) => known.join(&part)?,
                    None => part,
                });
            }
            let schema = schema.unwrap_or_else(DFSchema::empty);
            let expr = state.create_logical_expr_from_sql_expr(resolved.expr, &schema)?;
            Ok(Some(coerced(state, expr, &schema)?.get_type(&schema)?))
        });
        if let Ok(Some(data_type)) = &checked {
            columns.push(Field::new(&attribute.name, data_type.clone(), true));
        }
        if let Err(error) = checked {
            let mut finding = Diagnostic::error(
                Code::PRJ011,
                format!("attribute `{}`: {}", attribute.name, error.message),
            )
            .at(attribute.expr.place.clone());
            finding.help = error.help;
            findings.push(finding);
        }
    }
    (findings, columns)
}

/// Adds to `joined` every table the attribute needs; `false` where a table or column of it does not exist for the principal.
fn reach(
    resolved: &Resolved,
    joined: &mut BTreeMap<Vec<Hop>, Arc<Enforcement>>,
    lookup: Lookup<'_>,
) -> std::result::Result<bool, EngineError> {
    for (path, columns) in &resolved.used {
        for length in 0..=path.len() {
            let part: Vec<Hop> = path.iter().take(length).cloned().collect();
            let table = match joined.get(&part) {
                Some(known) => Arc::clone(known),
                None => {
                    let Some(table) = part.last().map(|hop| lookup(&hop.target.table)).transpose()?.flatten() else {
                        return Ok(false);
                    };
                    table
                }
            };
            let next = path.get(length).map(|hop| &hop.column);
            let entered = part.last().map(|hop| &hop.target.column);
            if next
                .into_iter()
                .chain(entered)
                .any(|column| table.column(column).is_none())
            {
                return Ok(false);
            }
            if length == path.len() && columns.iter().any(|column| table.column(column).is_none()) {
                return Ok(false);
            }
            joined.entry(part).or_insert(table);
        }
    }
    Ok(true)
}

/// The entity's table, left-joined to each referenced one by plain equality. Masked cells are NULL in all of them.
/// With `flags`, the entity's own table tells which policies admit a row.
fn join_all(joined: &BTreeMap<Vec<Hop>, Arc<Enforcement>>, flags: bool) -> Result<LogicalPlan> {
    let scan = |path: &[Hop], table: &Arc<Enforcement>| {
        let provider = Arc::new(GovernedTable::for_attributes(
            Arc::clone(table),
            flags && path.is_empty(),
        )?);
        LogicalPlanBuilder::scan(TableReference::bare(alias_of(path)), provider_as_source(provider), None)?.build()
    };
    let mut builder: Option<LogicalPlanBuilder> = None;
    // Paths are ordered so that a path comes after each of its beginnings.
    for (path, table) in joined {
        let right = scan(path, table)?;
        builder = Some(match (builder, path.split_last()) {
            (Some(left), Some((hop, before))) => left.join_on(
                right,
                JoinType::Left,
                [qualified(&alias_of(before), &hop.column).eq(qualified(&alias_of(path), &hop.target.column))],
            )?,
            _ => LogicalPlanBuilder::from(right),
        });
    }
    builder
        .ok_or_else(|| EngineError::internal("an entity has no table", &"no base").into())
        .and_then(LogicalPlanBuilder::build)
}

/// The attribute over the joined tables, NULL on rows where something it is computed from is not clear.
fn attribute_expr(
    state: &SessionState,
    plan: &LogicalPlan,
    resolved: Resolved,
    joined: &BTreeMap<Vec<Hop>, Arc<Enforcement>>,
) -> std::result::Result<Expr, EngineError> {
    let expr = state.create_logical_expr_from_sql_expr(resolved.expr, plan.schema())?;
    let expr = coerced(state, expr, plan.schema())?;
    let mut flags: Vec<Expr> = Vec::new();
    for (path, columns) in &resolved.used {
        let Some(table) = joined.get(path) else { continue };
        for name in columns {
            let Some(column) = table.column(name) else { continue };
            if column.is_never_clear() {
                let data_type = expr.get_type(plan.schema())?;
                return Ok(lit(ScalarValue::try_from(&data_type)?));
            }
            if !column.is_clear() {
                flags.push(qualified(&alias_of(path), &clear_flag(name)));
            }
        }
    }
    Ok(match flags.into_iter().reduce(Expr::and) {
        Some(all_clear) => when(all_clear, expr).end()?,
        None => expr,
    })
}

pub(crate) fn coerced(state: &SessionState, expr: Expr, schema: &DFSchema) -> std::result::Result<Expr, EngineError> {
    use datafusion::logical_expr::simplify::SimplifyContext;
    use datafusion::optimizer::simplify_expressions::ExprSimplifier;
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_current_time()
        .build();
    Ok(ExprSimplifier::new(context).coerce(expr, schema)?)
}

/// Parses an attribute and resolves its names: bare ones are the entity table's columns, `source.table.column` those
/// of a table that the entity's table references.
fn resolve(
    snapshot: &OpenSnapshot,
    entity: &Entity,
    attribute: &Attribute,
) -> std::result::Result<Resolved, EngineError> {
    let mut expr = parse(&attribute.expr)?;
    let mut used: BTreeMap<Vec<Hop>, Vec<String>> = BTreeMap::new();
    let walked = ast::visit_expressions_mut(&mut expr.expr, |node| {
        let (path, name) = match node {
            ast::Expr::Identifier(name) => (Vec::new(), name.clone()),
            ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [source, table, column] => {
                    let target = TableName::new(&source.value, &table.value);
                    match reference_path(snapshot, &entity.table, &target) {
                        Ok(path) => (path, column.clone()),
                        Err(error) => return ControlFlow::Break(error),
                    }
                }
                _ => {
                    let text = "an attribute names columns of the entity's table, or `source.table.column`";
                    return ControlFlow::Break(EngineError::new(Code::PRJ011, text));
                }
            },
            ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
                return ControlFlow::Break(EngineError::new(Code::PRJ011, "an attribute cannot hold a subquery"));
            }
            _ => return ControlFlow::Continue(()),
        };
        let table = path.last().map_or(&entity.table, |hop: &Hop| &hop.target.table);
        let column = match column_name(snapshot, table, &name) {
            Ok(column) => column,
            Err(error) => return ControlFlow::Break(error),
        };
        *node = ast::Expr::CompoundIdentifier(vec![
            ast::Ident::with_quote('"', alias_of(&path)),
            ast::Ident::with_quote('"', &column),
        ]);
        let columns = used.entry(path).or_default();
        if !columns.contains(&column) {
            columns.push(column);
        }
        ControlFlow::Continue(())
    });
    if let ControlFlow::Break(error) = walked {
        return Err(error.at(attribute.expr.place.clone()));
    }
    Ok(Resolved { expr, used })
}

/// The column of `table` that `name` means: exactly, else without case if only one does. Of a table whose source is
/// down the name is taken as it is.
pub(crate) fn column_name(
    snapshot: &OpenSnapshot,
    table: &TableName,
    name: &ast::Ident,
) -> std::result::Result<String, EngineError> {
    let Some(remote) = snapshot.remote_table(table) else {
        return Ok(name.value.clone());
    };
    if remote.column(&name.value).is_some() {
        return Ok(name.value.clone());
    }
    let mut near = remote
        .columns
        .iter()
        .filter(|column| column.name.eq_ignore_ascii_case(&name.value));
    if let (None, Some(only), None) = (name.quote_style, near.next(), near.next()) {
        return Ok(only.name.clone());
    }
    let error = EngineError::new(Code::PRJ011, format!("column `{}` not found in `{table}`", name.value));
    let names = remote.columns.iter().map(|column| column.name.as_str());
    Err(match caliber_catalog::diagnostic::did_you_mean(&name.value, names) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    })
}

/// The one shortest chain of references from `from` to `to`.
fn reference_path(
    snapshot: &OpenSnapshot,
    from: &TableName,
    to: &TableName,
) -> std::result::Result<Vec<Hop>, EngineError> {
    let mut found: Vec<Vec<Hop>> = Vec::new();
    let mut queue = VecDeque::from([(from.clone(), Vec::new())]);
    while let Some((table, path)) = queue.pop_front() {
        if found.first().is_some_and(|known| path.len() >= known.len()) || path.len() > REFERENCE_CHAIN_MAX {
            break;
        }
        for (column, target) in snapshot.catalog.references(&table) {
            if path.iter().any(|hop: &Hop| hop.target.table == target.table) || target.table == *from {
                continue;
            }
            let mut longer = path.clone();
            longer.push(Hop {
                column,
                target: target.clone(),
            });
            if target.table == *to {
                found.push(longer);
            } else {
                queue.push_back((target.table, longer));
            }
        }
    }
    let shortest = found.first().map_or(0, Vec::len);
    found.retain(|path| path.len() == shortest);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(
            EngineError::new(Code::PRJ011, format!("`{from}` does not reference `{to}`"))
                .help(format!("declare it under `tables.{from}.references`")),
        ),
        _ => Err(
            EngineError::new(Code::PRJ011, format!("`{from}` references `{to}` in more than one way"))
                .help("name one column that references it, or define the attribute over a table with one reference"),
        ),
    }
}

/// Longer chains of references are not followed.
const REFERENCE_CHAIN_MAX: usize = 8;

fn alias_of(path: &[Hop]) -> String {
    path.iter()
        .fold(ENTITY.to_owned(), |alias, hop| format!("{alias}/{}", hop.column))
}

fn qualified(alias: &str, column: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new(
        Some(TableReference::bare(alias.to_owned())),
        column,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_tells_paths_apart() {
        let hop = |column: &str| Hop {
            column: column.to_owned(),
            target: ColumnName {
                table: TableName::new("s", "t"),
                column: "k".to_owned(),
            },
        };
        assert_eq!(alias_of(&[]), "entity");
        assert_ne!(alias_of(&[hop("a")]), alias_of(&[hop("b")]));
    }
}
