//! What stands in FROM: tables, CTEs, subqueries and joins, and the relations they put in scope.
//!
//! Owns: which of a CTE and a table a name means, aliases, and how many scans a statement comes to. Never: looks up a
//! column.

use std::rc::Rc;

use caliber_catalog::diagnostic::Code;
use datafusion::sql::sqlparser::ast::{
    Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias, TableFactor, TableFunctionArgs,
    TableWithJoins,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::dated_view::dated_name;
use super::name_scope::{Found, Names, Relation, Scope, keep};
use super::query_text::with_help;
use super::resolve_identifiers::{Resolved, Resolver};
use super::resolve_tables::resolve_table;
use crate::resolve::governed_catalog::UNIFIED;

/// Scans of a query once its CTEs are written out where they are used, at most: `WITH b AS (… a, a), c AS (… b, b)`
/// doubles with each line.
const SCANS: u64 = 512;

impl Resolver<'_> {
    pub(super) fn table_with_joins<'p>(&mut self, table: &mut TableWithJoins, scope: &mut Scope<'p>) -> Resolved {
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
            TableFactor::Table {
                name,
                alias,
                args: args @ Some(_),
                ..
            } => self.dated_view(name, alias, args, scope),
            TableFactor::Table { name, alias, .. } => self.table(name, alias.as_mut(), scope),
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.query(subquery, scope.parent)?;
                push_aliased(alias.as_mut(), columns, scope);
                Ok(())
            }
            TableFactor::UNNEST { array_exprs, alias, .. } => {
                array_exprs
                    .iter_mut()
                    .try_for_each(|array| self.expression(array, scope))?;
                push_aliased(alias.as_mut(), Names::unknown(), scope);
                Ok(())
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
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
                scope.relations.push(Relation {
                    qualifier: Vec::new(),
                    catalog: None,
                    columns: Rc::new(Names::unknown()),
                });
                Ok(())
            }
        }
    }

    fn table(&mut self, name: &mut ObjectName, alias: Option<&mut TableAlias>, scope: &mut Scope<'_>) -> Resolved {
        let span = name_span(name);
        if let Some((cte, columns, scans)) = self.cte(name) {
            // One without a table is written out as well.
            self.count_scans(scans.max(1), span)?;
            *name = qualified(std::slice::from_ref(&cte), span);
            let relation = Relation {
                qualifier: vec![cte],
                catalog: None,
                columns,
            };
            push_relation(alias, relation, scope);
            return Ok(());
        }
        let table = resolve_table(self.text, name, self.names)?;
        self.count_scans(1, span)?;
        let columns = match self.columns.get(&table) {
            Some(columns) => Rc::clone(columns),
            None => {
                let columns = self
                    .names
                    .columns(&table.schema, &table.table)
                    .map_or_else(Names::unknown, Names::new);
                let columns = Rc::new(columns);
                self.columns.insert(table.clone(), Rc::clone(&columns));
                columns
            }
        };
        let qualifier = vec![table.schema.clone(), table.table.clone()];
        *name = qualified(&qualifier, span);
        self.used.insert(table);
        let relation = Relation {
            qualifier,
            catalog: Some(self.names.catalog().to_owned()),
            columns,
        };
        push_relation(alias, relation, scope);
        Ok(())
    }

    /// A view as of a date: another view's name, under an alias that keeps the one it was called by.
    fn dated_view(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
        args: &mut Option<TableFunctionArgs>,
        scope: &mut Scope<'_>,
    ) -> Resolved {
        let span = name_span(name);
        let table = resolve_table(self.text, name, self.names)?;
        let Some(given) = args.take().filter(|_| table.schema == UNIFIED) else {
            let message = format!("`{}` takes no arguments", table.table);
            let error = self.text.error(Code::SQL015, span, message);
            return Err(with_help(error, "name it alone"));
        };
        let dated = dated_name(self.text, span, &table.table, &given)?;
        self.count_scans(1, span)?;
        let columns = self.names.columns(&table.schema, &table.table);
        let alias = alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote_and_span('"', span, table.table.as_str()),
            columns: Vec::new(),
            at: None,
        });
        *name = qualified(&[table.schema.clone(), dated], span);
        self.used.insert(table);
        push_aliased(Some(alias), columns.map_or_else(Names::unknown, Names::new), scope);
        Ok(())
    }

    /// A name of one part is a CTE before it is a table.
    fn cte(&self, name: &ObjectName) -> Option<(String, Rc<Names>, u64)> {
        let [ObjectNamePart::Identifier(identifier)] = name.0.as_slice() else {
            return None;
        };
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
            let message = format!("more than {SCANS} tables or queries once each WITH is written out where it is used");
            let error = self.text.error(Code::LIM001, span, message);
            return Err(with_help(error, "split the statement into several"));
        }
        Ok(())
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
    scope.relations.push(Relation {
        qualifier,
        catalog: None,
        columns: Rc::new(columns),
    });
}

pub(super) fn rename_columns(alias: &mut TableAlias, columns: &mut Names) {
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

pub(super) fn identifiers(name: &ObjectName) -> Vec<Ident> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).cloned().collect()
}

pub(super) fn name_span(name: &ObjectName) -> Span {
    Span::union_iter(name.0.iter().filter_map(ObjectNamePart::as_ident).map(|part| part.span))
}

pub(super) fn qualified(parts: &[String], span: Span) -> ObjectName {
    ObjectName::from(
        parts
            .iter()
            .map(|part| Ident::with_quote_and_span('"', span, part.as_str()))
            .collect::<Vec<_>>(),
    )
}
