//! Columns: every identifier of an expression, by the names in scope where it stands.
//!
//! Owns: which part of `a.b.c` is a table, a column or a field, and the error of a column that is not there. Never: what
//! is in scope (`resolve_relations` says so).

use std::ops::ControlFlow;

use caliber_catalog::diagnostic::{Code, did_you_mean};
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Query, Subscript, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::name_scope::{Found, Relation, Scope, rename};
use super::query_text::with_help;
use super::resolve_identifiers::{Resolved, Resolver};
use super::resolve_tables::{either, suggest};
use crate::EngineError;

impl Resolver<'_> {
    pub(super) fn expression(&mut self, expression: &mut Expr, scope: &Scope<'_>) -> Resolved {
        match expression.visit(&mut Expressions {
            resolver: self,
            scope,
            done: 0,
        }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(*error),
        }
    }

    /// A column by its bare name.
    pub(super) fn column(&self, identifier: &mut Ident, scope: &Scope<'_>) -> Resolved {
        match scope.column(identifier) {
            Found::One(name) => {
                rename(identifier, &name);
                Ok(())
            }
            Found::Several(alike) => {
                let message = format!("column `{}` is ambiguous", identifier.value);
                Err(with_help(
                    self.text.error(Code::SQL014, identifier.span, message),
                    either(&alike),
                ))
            }
            Found::None if scope.is_open() => Ok(()),
            Found::None => Err(self.column_not_found(identifier, &scope.all_relations())),
        }
    }

    /// `relation.column`, `schema.table.column`, `column.field`: the longest relation in front wins.
    fn compound(&self, parts: &mut Vec<Ident>, scope: &Scope<'_>) -> Resolved {
        for length in (1..parts.len().min(4)).rev() {
            let Some(relation) = parts.get(..length).and_then(|front| scope.relation(front)) else {
                continue;
            };
            let Some(column) = parts.get_mut(length) else { continue };
            match relation.columns.find(column) {
                Found::One(name) => rename(column, &name),
                Found::Several(alike) => {
                    let message = format!("column `{}` is ambiguous", column.value);
                    return Err(with_help(
                        self.text.error(Code::SQL014, column.span, message),
                        either(&alike),
                    ));
                }
                Found::None if relation.columns.open => {}
                Found::None => return Err(self.column_not_found(column, &[relation])),
            }
            let span = parts.first().map_or(Span::empty(), |part| part.span);
            let qualifier = relation
                .qualifier
                .iter()
                .map(|name| Ident::with_quote_and_span('"', span, name.as_str()));
            parts.splice(..length, qualifier);
            return Ok(());
        }
        let Some(first) = parts.first_mut() else { return Ok(()) };
        match scope.column(first) {
            Found::One(name) => rename(first, &name),
            Found::Several(_) | Found::None if scope.is_open() => {}
            Found::Several(_) | Found::None => {
                let relations = scope.all_relations();
                let qualifiers: Vec<&str> = relations
                    .iter()
                    .filter_map(|relation| relation.qualifier.last())
                    .map(String::as_str)
                    .collect();
                let message = format!("`{}` is neither a table of this query nor a column", first.value);
                let near = did_you_mean(&first.value, qualifiers);
                let error = self.text.error(Code::SQL012, first.span, message);
                return Err(suggest(
                    error,
                    near,
                    "qualify a column with a table or alias of the FROM beside it",
                ));
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
            [] => (
                format!("column `{name}` not found: there is no table"),
                "text takes single quotes: 'text'".to_owned(),
            ),
            _ => (
                format!("column `{name}` not found in any table of this query"),
                "DESCRIBE table lists columns".to_owned(),
            ),
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
                AccessExpr::Subscript(Subscript::Slice {
                    lower_bound,
                    upper_bound,
                    stride,
                }) => {
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
