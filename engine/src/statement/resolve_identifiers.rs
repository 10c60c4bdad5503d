//! Step 5: every table, column and alias of a query gets its exact name, in double quotes.
//!
//! Owns: the walk over a query with the names in scope at each place. Never: makes a name visible: what the caller may
//! not see is not among `VisibleNames`, so a hidden name and an absent one take the same path.
//!
//! In a query DataFusion folds names without quotes to lower case; sources do not. So names are exact before it plans.
//! An alias keeps the case it was written in, with or without quotes: `SELECT 1 AS Total` gives a column `Total`.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use caliber_catalog::diagnostic::{Code, did_you_mean};
use caliber_catalog::name::TableName;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, LimitClause,
    NamedWindowExpr, ObjectName, ObjectNamePart, OrderBy, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Subscript, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions, WindowSpec,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::name_scope::{Found, Names, Relation, Scope, keep, rename};
use super::query_text::QueryText;
use super::resolve_tables::{VisibleNames, either, resolve_table, suggest};
use crate::EngineError;
use super::query_text::with_help;

/// Scans of a query once its CTEs are written out where they are used, at most: `WITH b AS (… a, a), c AS (… b, b)`
/// doubles with each line.
const SCANS: u64 = 512;

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

struct Cte {
    name: String,
    columns: Rc<Names>,
    scans: u64,
}

struct Resolver<'a> {
    text: &'a QueryText,
    names: &'a dyn VisibleNames,
    /// In scope, inner ones last.
    ctes: Vec<Cte>,
    columns: HashMap<TableName, Rc<Names>>,
    used: BTreeSet<TableName>,
    /// Scans of the query being read so far.
    scans: u64,
}

type Resolved<T = ()> = Result<T, EngineError>;

impl Resolver<'_> {
    /// A query: gives the names of its result.
    fn query(&mut self, query: &mut Query, parent: Option<&Scope<'_>>) -> Resolved<Names> {
        let outer_ctes = self.ctes.len();
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            let before = std::mem::take(&mut self.scans);
            let mut columns = self.query(&mut cte.query, parent)?;
            let scans = std::mem::replace(&mut self.scans, before);
            keep(&mut cte.alias.name);
            rename_columns(&mut cte.alias, &mut columns);
            self.ctes.push(Cte { name: cte.alias.name.value.clone(), columns: Rc::new(columns), scans });
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
        if let Some(LimitClause::LimitOffset { limit, offset, limit_by: _ }) = &mut query.limit_clause {
            let scope = Scope::within(None);
            let counts = limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value));
            counts.into_iter().try_for_each(|count| self.expression(count, &scope))?;
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
                    row.content.iter_mut().try_for_each(|value| self.expression(value, &scope))?;
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
            expressions.iter_mut().try_for_each(|expression| self.expression(expression, &scope))?;
        }
        if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
            expressions.iter_mut().try_for_each(|expression| self.expression(expression, &scope))?;
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
            if let Found::One(name) = super::name_scope::find(identifier, lists) {
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
            for name in relation.columns.iter().filter(|name| !left_out.iter().any(|left| left == name)) {
                outputs.push(name.to_owned());
            }
        }
        Ok(())
    }

    fn order_by(&mut self, order_by: Option<&mut OrderBy>, scope: &Scope<'_>) -> Resolved {
        let Some(OrderBy { kind: OrderByKind::Expressions(expressions), .. }) = order_by else { return Ok(()) };
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
        spec.partition_by.iter_mut().try_for_each(|expression| self.expression(expression, scope))?;
        spec.order_by.iter_mut().try_for_each(|ordered| self.expression(&mut ordered.expr, scope))
    }

    fn table_with_joins<'p>(&mut self, table: &mut TableWithJoins, scope: &mut Scope<'p>) -> Resolved {
        self.table_factor(&mut table.relation, scope)?;
        for join in &mut table.joins {
            self.table_factor(&mut join.relation, scope)?;
            match constraint(&mut join.join_operator) {
                Some(JoinConstraint::On(condition)) => self.expression(condition, scope)?,
                Some(JoinConstraint::Using(columns)) => {
                    for part in columns.iter_mut().flat_map(|column| column.0.last_mut()) {
                        if let ObjectNamePart::Identifier(identifier) = part {
                            self.column(identifier, scope)?;
                        }
                    }
                }
                Some(JoinConstraint::Natural | JoinConstraint::None) | None => {}
            }
        }
        Ok(())
    }

    fn table_factor<'p>(&mut self, factor: &mut TableFactor, scope: &mut Scope<'p>) -> Resolved {
        match factor {
            TableFactor::Table { name, alias, .. } => self.table(name, alias.as_mut(), scope),
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.query(subquery, scope.parent)?;
                push_aliased(alias.as_mut(), columns, scope);
                Ok(())
            }
            TableFactor::UNNEST { array_exprs, alias, .. } => {
                array_exprs.iter_mut().try_for_each(|array| self.expression(array, scope))?;
                push_aliased(alias.as_mut(), Names::unknown(), scope);
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut inner = Scope::within(scope.parent);
                self.table_with_joins(table_with_joins, &mut inner)?;
                match alias {
                    None => scope.relations.append(&mut inner.relations),
                    Some(alias) => {
                        let mut columns = Names::default();
                        for relation in &inner.relations {
                            columns.open |= relation.columns.open;
                            relation.columns.iter().for_each(|name| columns.push(name.to_owned()));
                        }
                        push_aliased(Some(alias), columns, scope);
                    }
                }
                Ok(())
            }
            // `admit_query` refuses the others.
            _ => {
                scope.relations.push(Relation { qualifier: Vec::new(), catalog: None, columns: Rc::new(Names::unknown()) });
                Ok(())
            }
        }
    }

    fn table(&mut self, name: &mut ObjectName, alias: Option<&mut TableAlias>, scope: &mut Scope<'_>) -> Resolved {
        let span = name_span(name);
        if let Some((cte, columns, scans)) = self.cte(name) {
            self.count_scans(scans, span)?;
            *name = qualified(std::slice::from_ref(&cte), span);
            let relation = Relation { qualifier: vec![cte], catalog: None, columns };
            push_relation(alias, relation, scope);
            return Ok(());
        }
        let table = resolve_table(self.text, name, self.names)?;
        self.count_scans(1, span)?;
        let columns = match self.columns.get(&table) {
            Some(columns) => Rc::clone(columns),
            None => {
                let columns = self.names.columns(&table.schema, &table.table).map_or_else(Names::unknown, Names::new);
                let columns = Rc::new(columns);
                self.columns.insert(table.clone(), Rc::clone(&columns));
                columns
            }
        };
        let qualifier = vec![table.schema.clone(), table.table.clone()];
        *name = qualified(&qualifier, span);
        self.used.insert(table);
        let relation = Relation { qualifier, catalog: Some(self.names.catalog().to_owned()), columns };
        push_relation(alias, relation, scope);
        Ok(())
    }

    /// A name of one part is a CTE before it is a table.
    fn cte(&self, name: &ObjectName) -> Option<(String, Rc<Names>, u64)> {
        let [ObjectNamePart::Identifier(identifier)] = name.0.as_slice() else { return None };
        let found = match Names::new(self.ctes.iter().map(|cte| cte.name.clone())).find(identifier) {
            Found::One(found) => found,
            Found::Several(_) | Found::None => return None,
        };
        let cte = self.ctes.iter().rev().find(|cte| cte.name == found)?;
        Some((found, Rc::clone(&cte.columns), cte.scans))
    }

    fn count_scans(&mut self, scans: u64, span: Span) -> Resolved {
        self.scans = self.scans.saturating_add(scans);
        if self.scans > SCANS {
            let message = format!("more than {SCANS} tables once each WITH is written out where it is used");
            let error = self.text.error(Code::LIM001, span, message);
            return Err(with_help(error, "split the statement into several"));
        }
        Ok(())
    }

    fn expression(&mut self, expression: &mut Expr, scope: &Scope<'_>) -> Resolved {
        match expression.visit(&mut Expressions { resolver: self, scope, done: 0 }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// A column by its bare name.
    fn column(&self, identifier: &mut Ident, scope: &Scope<'_>) -> Resolved {
        match scope.column(identifier) {
            Found::One(name) => {
                rename(identifier, &name);
                Ok(())
            }
            Found::Several(alike) => {
                let message = format!("column `{}` is ambiguous", identifier.value);
                Err(with_help(self.text.error(Code::SQL014, identifier.span, message), either(&alike)))
            }
            Found::None if scope.is_open() => Ok(()),
            Found::None => Err(self.column_not_found(identifier, &scope.all_relations())),
        }
    }

    /// `relation.column`, `schema.table.column`, `column.field`: the longest relation in front wins.
    fn compound(&self, parts: &mut Vec<Ident>, scope: &Scope<'_>) -> Resolved {
        for length in (1..parts.len().min(4)).rev() {
            let Some(relation) = parts.get(..length).and_then(|front| scope.relation(front)) else { continue };
            let Some(column) = parts.get_mut(length) else { continue };
            match relation.columns.find(column) {
                Found::One(name) => rename(column, &name),
                Found::Several(alike) => {
                    let message = format!("column `{}` is ambiguous", column.value);
                    return Err(with_help(self.text.error(Code::SQL014, column.span, message), either(&alike)));
                }
                Found::None if relation.columns.open => {}
                Found::None => return Err(self.column_not_found(column, &[relation])),
            }
            let span = parts.first().map_or(Span::empty(), |part| part.span);
            let qualifier = relation.qualifier.iter().map(|name| Ident::with_quote_and_span('"', span, name.as_str()));
            parts.splice(..length, qualifier);
            return Ok(());
        }
        let Some(first) = parts.first_mut() else { return Ok(()) };
        match scope.column(first) {
            Found::One(name) => rename(first, &name),
            Found::Several(_) | Found::None if scope.is_open() => {}
            Found::Several(_) | Found::None => {
                let relations = scope.all_relations();
                let qualifiers: Vec<&str> =
                    relations.iter().filter_map(|relation| relation.qualifier.last()).map(String::as_str).collect();
                let message = format!("`{}` is neither a table of this query nor a column", first.value);
                let near = did_you_mean(&first.value, qualifiers);
                let error = self.text.error(Code::SQL012, first.span, message);
                return Err(suggest(error, near, "qualify a column with a table or alias of the FROM beside it"));
            }
        }
        Ok(())
    }

    fn column_not_found(&self, identifier: &Ident, relations: &[&Relation]) -> EngineError {
        let columns: Vec<&str> = relations.iter().flat_map(|relation| relation.columns.iter()).collect();
        let near = did_you_mean(&identifier.value, columns);
        let name = &identifier.value;
        let (message, help) = match relations {
            [Relation { qualifier, .. }] if !qualifier.is_empty() => {
                let table = qualifier.join(".");
                let help = if qualifier.len() > 1 {
                    format!("caliber catalog show {table}")
                } else {
                    format!("SELECT * FROM {table} shows its columns")
                };
                (format!("column `{name}` not found in `{table}`"), help)
            }
            [] => (format!("column `{name}` not found: there is no table"), "text takes single quotes: 'text'".to_owned()),
            _ => (format!("column `{name}` not found in any table of this query"), "DESCRIBE table lists columns".to_owned()),
        };
        suggest(self.text.error(Code::SQL012, identifier.span, message), near, &help)
    }
}

/// Walks one expression; a query inside it is walked by `Resolver::query`, with its own scope.
struct Expressions<'r, 'a, 's, 'p> {
    resolver: &'r mut Resolver<'a>,
    scope: &'s Scope<'p>,
    /// How many nodes around this one are resolved already.
    done: usize,
}

impl Expressions<'_, '_, '_, '_> {
    fn flow(result: Resolved) -> ControlFlow<Box<EngineError>> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }

    /// `column.field[1].field`: the root and the subscripts are expressions, the fields are not.
    fn field_access(&mut self, root: &mut Expr, chain: &mut [AccessExpr]) -> Resolved {
        self.resolver.expression(root, self.scope)?;
        for access in chain {
            match access {
                AccessExpr::Dot(_) => {}
                AccessExpr::Subscript(Subscript::Index { index }) => self.resolver.expression(index, self.scope)?,
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                    let bounds = [lower_bound, upper_bound, stride];
                    let mut bounds = bounds.into_iter().flatten();
                    bounds.try_for_each(|bound| self.resolver.expression(bound, self.scope))?;
                }
            }
        }
        Ok(())
    }
}

impl VisitorMut for Expressions<'_, '_, '_, '_> {
    type Break = Box<EngineError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if self.done == 0 {
            Self::flow(self.resolver.query(query, Some(self.scope)).map(|_| ()))?;
        }
        self.done += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.done -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::CompoundFieldAccess { root, access_chain } = expression {
            if self.done == 0 {
                let result = self.field_access(root, access_chain);
                Self::flow(result)?;
            }
            self.done += 1;
            return ControlFlow::Continue(());
        }
        if self.done > 0 {
            return ControlFlow::Continue(());
        }
        Self::flow(match expression {
            Expr::Identifier(identifier) => self.resolver.column(identifier, self.scope),
            Expr::CompoundIdentifier(parts) => self.resolver.compound(parts, self.scope),
            _ => Ok(()),
        })
    }

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Self::Break> {
        if matches!(expression, Expr::CompoundFieldAccess { .. }) {
            self.done -= 1;
        }
        ControlFlow::Continue(())
    }
}

/// The alias of a relation takes the place of its name, and its list of columns that of its columns.
fn push_relation(alias: Option<&mut TableAlias>, relation: Relation, scope: &mut Scope<'_>) {
    match alias {
        None => scope.relations.push(relation),
        Some(alias) => push_aliased(Some(alias), Names::clone(&relation.columns), scope),
    }
}

fn push_aliased(alias: Option<&mut TableAlias>, mut columns: Names, scope: &mut Scope<'_>) {
    let qualifier = match alias {
        None => Vec::new(),
        Some(alias) => {
            keep(&mut alias.name);
            rename_columns(alias, &mut columns);
            vec![alias.name.value.clone()]
        }
    };
    scope.relations.push(Relation { qualifier, catalog: None, columns: Rc::new(columns) });
}

fn rename_columns(alias: &mut TableAlias, columns: &mut Names) {
    if alias.columns.is_empty() {
        return;
    }
    let mut renamed: Vec<String> = columns.iter().map(str::to_owned).collect();
    for (at, column) in alias.columns.iter_mut().enumerate() {
        keep(&mut column.name);
        match renamed.get_mut(at) {
            Some(name) => name.clone_from(&column.name.value),
            None => renamed.push(column.name.value.clone()),
        }
    }
    // With unnamed columns in between, the positions of the known ones are not certain.
    let open = columns.open;
    if open {
        renamed = alias.columns.iter().map(|column| column.name.value.clone()).collect();
    }
    *columns = Names::new(renamed);
    columns.open = open;
}

fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint) => Some(constraint),
        _ => None,
    }
}

fn identifiers(name: &ObjectName) -> Vec<Ident> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).cloned().collect()
}

fn name_span(name: &ObjectName) -> Span {
    Span::union_iter(name.0.iter().filter_map(ObjectNamePart::as_ident).map(|part| part.span))
}

fn qualified(parts: &[String], span: Span) -> ObjectName {
    ObjectName::from(parts.iter().map(|part| Ident::with_quote_and_span('"', span, part.as_str())).collect::<Vec<_>>())
}
