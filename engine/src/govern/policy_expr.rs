//! Compiles a piece of policy SQL over the raw columns of one table.
//!
//! Owns: names of columns and `principal.*` in policy text; a missing attribute closes. Never: a name of the
//! user's statement (policies are compiled against the table alone), or where the expression is evaluated.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::Code;
use caliber_catalog::grant::SqlText;
use caliber_catalog::principal::{AttributeValue, Principal};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast;

use crate::EngineError;
use crate::evaluate::check_overflow::CheckOverflow;
use crate::statement::parse_expression;

/// What policy text became for one principal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Compiled {
    /// An attribute it uses is missing, NULL or of the wrong type: the policy gives nothing.
    Closed,
    /// An expression over the table's raw columns.
    Expr(Expr),
}

/// What an expression must give.
#[derive(Clone, Debug)]
pub(crate) enum Wanted<'a> {
    /// A truth value.
    Predicate,
    /// A value of the masked column's type.
    Value(&'a DataType),
}

/// Whose attributes stand for `principal.*`.
#[derive(Clone, Copy)]
pub(crate) enum Attributes<'a> {
    /// Nobody's: types are checked with NULL in their place.
    Unknown,
    /// These.
    Of(&'a Principal),
}

/// Compiles `sql` over `schema`. An error is the steward's: bad SQL, an absent column, a wrong type.
pub(crate) fn compile(
    state: &SessionState,
    sql: &SqlText,
    schema: &DFSchema,
    attributes: Attributes<'_>,
    wanted: &Wanted<'_>,
) -> Result<Compiled, EngineError> {
    let mut parsed = parse(sql)?;
    let mut names = Names {
        schema,
        attributes,
        values: Vec::new(),
        closed: false,
        sql,
    };
    let walked = ast::visit_expressions_mut(&mut parsed.expr, |expr| match names.resolve(expr) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    if let ControlFlow::Break(error) = walked {
        return Err(error);
    }
    if names.closed {
        return Ok(Compiled::Closed);
    }
    let values = std::mem::take(&mut names.values);
    let bound = !values.is_empty() && matches!(attributes, Attributes::Of(_));
    match finish(state, parsed, schema, values, wanted) {
        Ok(expr) => Ok(Compiled::Expr(expr)),
        // The text was found sound without a principal; so its attribute's type does not fit.
        Err(_) if bound => Ok(Compiled::Closed),
        Err(error) => Err(blame(sql, &error)),
    }
}

/// Parses one expression, under the bounds and in the dialect of statements.
pub(crate) fn parse(sql: &SqlText) -> Result<ast::ExprWithAlias, EngineError> {
    match parse_expression(&sql.text) {
        Ok((_, expr)) => Ok(ast::ExprWithAlias { expr, alias: None }),
        Err(error) => Err(blame(sql, &error)),
    }
}

fn finish(
    state: &SessionState,
    parsed: ast::ExprWithAlias,
    schema: &DFSchema,
    values: Vec<ScalarValue>,
    wanted: &Wanted<'_>,
) -> Result<Expr, EngineError> {
    let expr = state.create_logical_expr_from_sql_expr(parsed, schema)?;
    let expr = expr
        .transform_up(|expr| {
            Ok(match &expr {
                Expr::Placeholder(placeholder) => {
                    let number = placeholder.id.trim_start_matches('$').parse::<usize>().unwrap_or(0);
                    match number.checked_sub(1).and_then(|at| values.get(at)) {
                        Some(value) => Transformed::yes(lit(value.clone())),
                        None => Transformed::no(expr),
                    }
                }
                _ => Transformed::no(expr),
            })
        })?
        .data;
    if expr.is_volatile() {
        return Err(EngineError::new(
            Code::PRJ011,
            "a volatile function cannot stand in a policy",
        ));
    }
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_current_time()
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(expr, schema)?;
    let expr = expr.transform_down(|part| CheckOverflow::checked(part, schema))?.data;
    let found = expr.get_type(schema)?;
    let expr = match wanted {
        Wanted::Predicate if matches!(found, DataType::Boolean | DataType::Null) => expr,
        Wanted::Predicate => {
            return Err(EngineError::new(
                Code::PRJ011,
                format!("a condition must be true or false, this is {found}"),
            ));
        }
        Wanted::Value(column) if found == **column => expr,
        Wanted::Value(column) if found == DataType::Null || same_family(&found, column) => {
            expr.cast_to(column, schema)?
        }
        Wanted::Value(column) => {
            return Err(EngineError::new(
                Code::PRJ011,
                format!("the mask gives {found}, but the column is {column}"),
            ));
        }
    };
    Ok(simplifier.simplify(expr)?)
}

/// Types between which a cast loses nothing that a mask could mean.
fn same_family(from: &DataType, to: &DataType) -> bool {
    (from.is_integer() && to.is_integer())
        || (from.is_string() && to.is_string())
        || (from.is_numeric() && (to.is_decimal() || to.is_floating()))
}

/// The error at its place in the project's file.
fn blame(sql: &SqlText, error: &EngineError) -> EngineError {
    let place = error
        .place
        .as_ref()
        .map_or_else(|| sql.place.clone(), |inner| sql.place_of(inner.range.clone()));
    let mut blamed = EngineError::new(Code::PRJ011, error.message.clone()).at(place);
    blamed.help = error.help.clone();
    blamed
}

struct Names<'a> {
    schema: &'a DFSchema,
    attributes: Attributes<'a>,
    values: Vec<ScalarValue>,
    closed: bool,
    sql: &'a SqlText,
}

impl Names<'_> {
    fn resolve(&mut self, expr: &mut ast::Expr) -> Result<(), EngineError> {
        match expr {
            ast::Expr::Identifier(ident) => {
                self.column(ident)?;
            }
            ast::Expr::CompoundIdentifier(parts) => {
                let [head, attribute] = parts.as_slice() else {
                    return Err(self.error("a policy names its own table's columns, or `principal.ATTRIBUTE`"));
                };
                if !head.value.eq_ignore_ascii_case("principal") {
                    return Err(self.error("a policy names its own table's columns, or `principal.ATTRIBUTE`"));
                }
                let placeholders = self.attribute(&attribute.value);
                *expr = match placeholders.as_slice() {
                    [one] => placeholder(*one),
                    many => ast::Expr::Tuple(many.iter().map(|number| placeholder(*number)).collect()),
                };
            }
            ast::Expr::InList { list, .. } => {
                // A list attribute became a tuple; as the whole list of IN it is spread out.
                if let [ast::Expr::Tuple(values)] = list.as_slice() {
                    *list = values.clone();
                }
            }
            ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
                return Err(self.error("a policy cannot hold a placeholder; use `principal.ATTRIBUTE`"));
            }
            ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
                return Err(self.error("a policy cannot hold a subquery"));
            }
            _ => {}
        }
        Ok(())
    }

    fn column(&self, ident: &mut ast::Ident) -> Result<(), EngineError> {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let exact = names.iter().find(|name| **name == ident.value).copied();
        let found = exact.or_else(|| {
            let mut near = names.iter().filter(|name| name.eq_ignore_ascii_case(&ident.value));
            match (ident.quote_style, near.next(), near.next()) {
                (None, Some(only), None) => Some(*only),
                _ => None,
            }
        });
        let Some(name) = found else {
            if names.is_empty() {
                return Err(
                    self.error("`when` names nothing but `principal.name`, `principal.roles`, `principal.ATTRIBUTE`")
                );
            }
            let error = self.error(&format!("column `{}` not found", ident.value));
            return Err(match caliber_catalog::diagnostic::did_you_mean(&ident.value, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error,
            });
        };
        *ident = ast::Ident::with_quote('"', name);
        Ok(())
    }

    /// Binds the attribute and gives its placeholders: one, or one for each element of a list.
    fn attribute(&mut self, name: &str) -> Vec<usize> {
        let value = match self.attributes {
            Attributes::Unknown => return vec![self.bind(ScalarValue::Null)],
            Attributes::Of(principal) if name == "name" => Some(AttributeValue::Text(principal.name.clone())),
            Attributes::Of(principal) if name == "roles" => Some(AttributeValue::List(
                principal.roles.iter().cloned().map(AttributeValue::Text).collect(),
            )),
            Attributes::Of(principal) => principal.attributes.get(name).cloned(),
        };
        let scalars = match value {
            Some(AttributeValue::List(values)) => values.iter().map(scalar).collect::<Option<Vec<_>>>(),
            Some(other) => scalar(&other).map(|one| vec![one]),
            None => None,
        };
        match scalars {
            Some(scalars) if !scalars.is_empty() => scalars.into_iter().map(|one| self.bind(one)).collect(),
            _ => {
                self.closed = true;
                vec![self.bind(ScalarValue::Null)]
            }
        }
    }

    fn bind(&mut self, value: ScalarValue) -> usize {
        self.values.push(value);
        self.values.len()
    }

    fn error(&self, message: &str) -> EngineError {
        EngineError::new(Code::PRJ011, message).at(self.sql.place.clone())
    }
}

fn placeholder(number: usize) -> ast::Expr {
    ast::Expr::Value(ast::Value::Placeholder(format!("${number}")).into())
}

/// The value as DataFusion's; `None` for NULL and for nested lists.
fn scalar(value: &AttributeValue) -> Option<ScalarValue> {
    match value {
        AttributeValue::Null | AttributeValue::List(_) => None,
        AttributeValue::Bool(value) => Some(ScalarValue::Boolean(Some(*value))),
        AttributeValue::Int(value) => Some(ScalarValue::Int64(Some(*value))),
        AttributeValue::Float(value) => Some(ScalarValue::Float64(Some(*value))),
        AttributeValue::Text(value) => Some(ScalarValue::Utf8(Some(value.clone()))),
    }
}
