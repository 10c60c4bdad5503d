//! Step 5: every table, column and alias of a query gets its exact name, in double quotes.
//!
//! Owns: the walk over a query with the names in scope at each place. Never: makes a name visible: what the caller may
//! not see is not among `VisibleNames`, so a hidden name and an absent one take the same path.
//!
//! In a query DataFusion folds names without quotes to lower case; sources do not. So names are exact before it plans.
//! An alias keeps the case it was written in, with or without quotes: `SELECT 1 AS Total` gives a column `Total`.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use caliber_catalog::name::TableName;
use datafusion::sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, LimitClause, NamedWindowExpr, ObjectNamePart, OrderBy,
    OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, WildcardAdditionalOptions,
    WindowSpec,
};

use super::name_scope::{Found, Names, Relation, Scope, find, keep, rename};
use super::query_text::QueryText;
use super::resolve_relations::{identifiers, name_span, qualified, rename_columns};
use super::resolve_tables::VisibleNames;
use crate::EngineError;

/// Gives every name of the query its exact form. Says which tables are read, each once, sorted.
///
/// Errors: SQL010, SQL011 (table, schema), SQL012, SQL014 (column), LIM001 (CTEs that multiply).
pub(crate) fn resolve_identifiers(
    text: &QueryText,
    query: &mut Query,
    names: &dyn VisibleNames,
) -> Result<Vec<TableName>, EngineError> {
    let mut resolver = Resolver {
        text,
        names,
        ctes: Vec::new(),
        columns: HashMap::new(),
        used: BTreeSet::new(),
        scans: 0,
    };
    resolver.query(query, None)?;
    Ok(resolver.used.into_iter().collect())
}

/// A query named by WITH.
pub(super) struct Cte {
    pub name: String,
    pub columns: Rc<Names>,
    pub scans: u64,
}

/// The walk over one statement.
pub(super) struct Resolver<'a> {
    pub text: &'a QueryText,
    pub names: &'a dyn VisibleNames,
    /// In scope, inner ones last.
    pub ctes: Vec<Cte>,
    pub columns: HashMap<TableName, Rc<Names>>,
    pub used: BTreeSet<TableName>,
    /// Scans of the query being read so far.
    pub scans: u64,
}

/// What a step of the walk gives.
pub(super) type Resolved<T = ()> = Result<T, EngineError>;

impl Resolver<'_> {
    /// A query: gives the names of its result.
    pub(super) fn query(&mut self, query: &mut Query, parent: Option<&Scope<'_>>) -> Resolved<Names> {
        let outer_ctes = self.ctes.len();
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            let before = std::mem::take(&mut self.scans);
            let mut columns = self.query(&mut cte.query, parent)?;
            let scans = std::mem::replace(&mut self.scans, before);
            keep(&mut cte.alias.name);
            rename_columns(&mut cte.alias, &mut columns);
            self.ctes.push(Cte {
                name: cte.alias.name.value.clone(),
                columns: Rc::new(columns),
                scans,
            });
        }
        let outputs = match query.body.as_mut() {
            SetExpr::Select(select) => self.select(select, query.order_by.as_mut(), parent)?,
            body => {
                let outputs = self.set_expression(body, parent)?;
                let mut scope = Scope::within(parent);
                scope.outputs = outputs;
                self.order_by(query.order_by.as_mut(), &scope)?;
                scope.outputs
            }
        };
        if let Some(LimitClause::LimitOffset {
            limit,
            offset,
            limit_by: _,
        }) = &mut query.limit_clause
        {
            let scope = Scope::within(None);
            let counts = limit
                .iter_mut()
                .chain(offset.iter_mut().map(|offset| &mut offset.value));
            counts
                .into_iter()
                .try_for_each(|count| self.expression(count, &scope))?;
        }
        self.ctes.truncate(outer_ctes);
        Ok(outputs)
    }

    fn set_expression(&mut self, body: &mut SetExpr, parent: Option<&Scope<'_>>) -> Resolved<Names> {
        match body {
            SetExpr::Select(select) => self.select(select, None, parent),
            SetExpr::Query(query) => self.query(query, parent),
            SetExpr::SetOperation { left, right, .. } => {
                let outputs = self.set_expression(left, parent)?;
                self.set_expression(right, parent)?;
                Ok(outputs)
            }
            SetExpr::Values(values) => {
                let scope = Scope::within(parent);
                let mut width = 0;
                for row in &mut values.rows {
                    width = width.max(row.content.len());
                    row.content
                        .iter_mut()
                        .try_for_each(|value| self.expression(value, &scope))?;
                }
                Ok(Names::new((1..=width).map(|column| format!("column{column}"))))
            }
            // `admit_query` refuses these.
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) | SetExpr::Table(_) => {
                Ok(Names::unknown())
            }
        }
    }

    fn select(
        &mut self,
        select: &mut Select,
        order_by: Option<&mut OrderBy>,
        parent: Option<&Scope<'_>>,
    ) -> Resolved<Names> {
        let mut scope = Scope::within(parent);
        for table in &mut select.from {
            self.table_with_joins(table, &mut scope)?;
        }
        self.optional(select.selection.as_mut(), &scope)?;
        let mut outputs = Names::default();
        for item in &mut select.projection {
            self.select_item(item, &scope, &mut outputs)?;
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                self.window(spec, &scope)?;
            }
        }
        scope.outputs = outputs;
        if let Some(Distinct::On(expressions)) = &mut select.distinct {
            expressions
                .iter_mut()
                .try_for_each(|expression| self.expression(expression, &scope))?;
        }
        if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
            expressions
                .iter_mut()
                .try_for_each(|expression| self.expression(expression, &scope))?;
        }
        self.optional(select.having.as_mut(), &scope)?;
        self.optional(select.qualify.as_mut(), &scope)?;
        self.order_by(order_by, &scope)?;
        Ok(scope.outputs)
    }

    fn optional(&mut self, expression: Option<&mut Expr>, scope: &Scope<'_>) -> Resolved {
        expression.map_or(Ok(()), |expression| self.expression(expression, scope))
    }

    fn select_item(&mut self, item: &mut SelectItem, scope: &Scope<'_>, outputs: &mut Names) -> Resolved {
        match item {
            SelectItem::UnnamedExpr(expression) => {
                self.expression(expression, scope)?;
                match expression {
                    Expr::Identifier(name) => outputs.push(name.value.clone()),
                    Expr::CompoundIdentifier(parts) => match parts.last() {
                        Some(name) => outputs.push(name.value.clone()),
                        None => outputs.open = true,
                    },
                    _ => outputs.open = true,
                }
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                self.expression(expr, scope)?;
                keep(alias);
                outputs.push(alias.value.clone());
            }
            SelectItem::ExprWithAliases { expr, aliases } => {
                self.expression(expr, scope)?;
                for alias in aliases {
                    keep(alias);
                    outputs.push(alias.value.clone());
                }
            }
            SelectItem::Wildcard(options) => {
                let relations: Vec<&Relation> = scope.relations.iter().collect();
                self.wildcard(options, &relations, scope, outputs)?;
            }
            SelectItem::QualifiedWildcard(kind, options) => match kind {
                SelectItemQualifiedWildcardKind::ObjectName(name) => {
                    let parts = identifiers(name);
                    let relation = scope.relation(&parts);
                    match relation {
                        Some(relation) => {
                            *name = qualified(&relation.qualifier, name_span(name));
                            self.wildcard(options, &[relation], scope, outputs)?;
                        }
                        None => outputs.open = true,
                    }
                }
                SelectItemQualifiedWildcardKind::Expr(expression) => {
                    self.expression(expression, scope)?;
                    outputs.open = true;
                }
            },
        }
        Ok(())
    }

    fn wildcard(
        &mut self,
        options: &mut WildcardAdditionalOptions,
        relations: &[&Relation],
        scope: &Scope<'_>,
        outputs: &mut Names,
    ) -> Resolved {
        let of_relations = |identifier: &mut Ident| {
            let lists = relations.iter().map(|relation| relation.columns.as_ref());
            if let Found::One(name) = find(identifier, lists) {
                rename(identifier, &name);
            }
            identifier.value.clone()
        };
        let mut left_out = Vec::new();
        if let Some(except) = &mut options.opt_except {
            left_out.push(of_relations(&mut except.first_element));
            left_out.extend(except.additional_elements.iter_mut().map(of_relations));
        }
        let excluded = match &mut options.opt_exclude {
            Some(ExcludeSelectItem::Single(name)) => std::slice::from_mut(name),
            Some(ExcludeSelectItem::Multiple(names)) => names.as_mut_slice(),
            None => &mut [],
        };
        for part in excluded.iter_mut().flat_map(|name| name.0.last_mut()) {
            if let ObjectNamePart::Identifier(identifier) = part {
                left_out.push(of_relations(identifier));
            }
        }
        for replaced in options.opt_replace.iter_mut().flat_map(|replace| &mut replace.items) {
            of_relations(&mut replaced.column_name);
            self.expression(&mut replaced.expr, scope)?;
        }
        for relation in relations {
            outputs.open |= relation.columns.open;
            for name in relation
                .columns
                .iter()
                .filter(|name| !left_out.iter().any(|left| left == name))
            {
                outputs.push(name.to_owned());
            }
        }
        Ok(())
    }

    fn order_by(&mut self, order_by: Option<&mut OrderBy>, scope: &Scope<'_>) -> Resolved {
        let Some(OrderBy {
            kind: OrderByKind::Expressions(expressions),
            ..
        }) = order_by
        else {
            return Ok(());
        };
        for ordered in expressions {
            // A bare name in ORDER BY means the result's column first.
            if let Expr::Identifier(name) = &mut ordered.expr
                && let Found::One(output) = scope.outputs.find(name)
            {
                rename(name, &output);
                continue;
            }
            self.expression(&mut ordered.expr, scope)?;
        }
        Ok(())
    }

    fn window(&mut self, spec: &mut WindowSpec, scope: &Scope<'_>) -> Resolved {
        spec.partition_by
            .iter_mut()
            .try_for_each(|expression| self.expression(expression, scope))?;
        spec.order_by
            .iter_mut()
            .try_for_each(|ordered| self.expression(&mut ordered.expr, scope))
    }
}
