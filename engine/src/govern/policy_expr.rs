//! Compiles a piece of policy SQL over the raw columns of one table.
//!
//! Owns: names of columns and `principal.*` in policy text; an attribute that is missing or of the wrong type closes.
//! Never: a name of the user's statement (policies are compiled against the table alone), or where the expression is
//! evaluated.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::Code;
use caliber_catalog::grant::SqlText;
use caliber_catalog::principal::{AttributeValue, Principal};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast;

use super::attribute_class::{self, Bound};
use super::mask_functions::{TOKEN, uses_token};
use crate::EngineError;
use crate::evaluate::check_overflow::CheckOverflow;
use crate::statement::parse_expression;

/// What policy text became for one principal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Compiled {
    /// An attribute it uses does not do: the policy gives nothing.
    Closed(Reason),
    /// An expression over the table's raw columns.
    Expr(Expr),
}

/// Why a policy is closed for a principal, for its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The attribute, without `principal.`.
    pub attribute: String,
    /// What is wrong with it.
    pub fault: AttributeFault,
}

/// What is wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeFault {
    /// The principal does not have it.
    Missing,
    /// It is NULL, or a list that is empty or holds NULL.
    Null,
    /// It cannot be compared with what it stands beside, or a list stands where one value must.
    WrongType,
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
        lists: BTreeMap::new(),
        closed: None,
        state,
        sql,
    };
    let walked = ast::visit_expressions_mut(&mut parsed.expr, |expr| match names.resolve(expr) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    if let ControlFlow::Break(error) = walked {
        return Err(error);
    }
    if let Some(reason) = names.closed {
        return Ok(Compiled::Closed(reason));
    }
    let bound = matches!(attributes, Attributes::Of(_));
    let wrong_type = |value: &Bound| {
        let (attribute, fault) = (value.attribute.clone(), AttributeFault::WrongType);
        Ok(Compiled::Closed(Reason { attribute, fault }))
    };
    if let Some(value) = names.lists.values().next().and_then(|at| names.values.get(*at)) {
        return match bound {
            true => wrong_type(value),
            false => Err(names.error("a list such as `principal.roles` stands only on the right of IN")),
        };
    }
    match finish(state, parsed, schema, &names.values, wanted) {
        Ok(Finished::Expr(expr)) => Ok(Compiled::Expr(expr)),
        Ok(Finished::Mismatch(value)) if bound => wrong_type(value),
        Ok(Finished::Mismatch(value)) => {
            let message = format!("`principal.{}` stands beside a value of another kind", value.attribute);
            Err(names.error(&message))
        }
        // The text was found sound without a principal; so its attribute's type does not fit.
        Err(error) => match names.values.first() {
            Some(value) if bound => wrong_type(value),
            _ => Err(blame(sql, &error)),
        },
    }
}

/// Parses one expression, under the bounds and in the dialect of statements.
pub(crate) fn parse(sql: &SqlText) -> Result<ast::ExprWithAlias, EngineError> {
    match parse_expression(&sql.text) {
        Ok((_, expr)) => Ok(ast::ExprWithAlias { expr, alias: None }),
        Err(error) => Err(blame(sql, &error)),
    }
}

/// What became of an expression whose names are resolved.
enum Finished<'a> {
    Expr(Expr),
    /// This attribute is not of the class of what it stands beside.
    Mismatch(&'a Bound),
}

fn finish<'a>(
    state: &SessionState,
    parsed: ast::ExprWithAlias,
    schema: &DFSchema,
    values: &'a [Bound],
    wanted: &Wanted<'_>,
) -> Result<Finished<'a>, EngineError> {
    let expr = state.create_logical_expr_from_sql_expr(parsed, schema)?;
    let expr = attribute_class::mark(expr, values)?;
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
    if let Some(value) = attribute_class::mismatch(&expr, schema, values)? {
        return Ok(Finished::Mismatch(value));
    }
    let expr = attribute_class::settle(expr, values)?;
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
        Wanted::Value(column) if uses_token(&expr) => {
            return Err(EngineError::new(
                Code::PRJ011,
                format!("`token` gives {found}, but the column is {column}: it fits text and BIGINT columns only"),
            ));
        }
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
    Ok(Finished::Expr(simplifier.simplify(expr)?))
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
    values: Vec<Bound>,
    /// Lists that stand where only one value can, so far: the first placeholder of each, and its index in `values`.
    lists: BTreeMap<usize, usize>,
    closed: Option<Reason>,
    state: &'a SessionState,
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
                *expr = self.attribute(&attribute.value);
            }
            ast::Expr::InList { list, .. } => {
                // A list attribute became a tuple; in the list of IN it is spread out.
                *list = std::mem::take(list)
                    .into_iter()
                    .flat_map(|one| self.spread(one))
                    .collect();
            }
            ast::Expr::Function(function) => self.function(&function.name)?,
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

    /// Binds the attribute and gives what stands for it: a placeholder, or for a list a tuple of them.
    fn attribute(&mut self, name: &str) -> ast::Expr {
        let value = match self.attributes {
            // Nobody's name and roles are text all the same.
            Attributes::Unknown if name == "name" => return self.bind(name, ScalarValue::Utf8(None)),
            Attributes::Unknown if name == "roles" => return self.list(name, vec![ScalarValue::Utf8(None)]),
            Attributes::Unknown => return self.bind(name, ScalarValue::Null),
            Attributes::Of(principal) if name == "name" => Some(AttributeValue::Text(principal.name.clone())),
            Attributes::Of(principal) if name == "roles" => Some(AttributeValue::List(
                principal.roles.iter().cloned().map(AttributeValue::Text).collect(),
            )),
            Attributes::Of(principal) => principal.attributes.get(name).cloned(),
        };
        let fault = match &value {
            None => AttributeFault::Missing,
            Some(AttributeValue::List(values)) => match values.iter().map(scalar).collect::<Option<Vec<_>>>() {
                Some(scalars) if !scalars.is_empty() => return self.list(name, scalars),
                _ => AttributeFault::Null,
            },
            Some(one) => match scalar(one) {
                Some(scalar) => return self.bind(name, scalar),
                None => AttributeFault::Null,
            },
        };
        self.closed.get_or_insert_with(|| Reason {
            attribute: name.to_owned(),
            fault,
        });
        self.bind(name, ScalarValue::Null)
    }

    fn bind(&mut self, name: &str, value: ScalarValue) -> ast::Expr {
        self.values.push(Bound {
            attribute: name.to_owned(),
            value,
        });
        let number = self.values.len();
        ast::Expr::Value(ast::Value::Placeholder(format!("${number}")).into())
    }

    fn list(&mut self, name: &str, values: Vec<ScalarValue>) -> ast::Expr {
        let first = self.values.len();
        self.lists.insert(first + 1, first);
        ast::Expr::Tuple(values.into_iter().map(|value| self.bind(name, value)).collect())
    }

    /// The elements of a list attribute; anything else as it is.
    fn spread(&mut self, expr: ast::Expr) -> Vec<ast::Expr> {
        let ast::Expr::Tuple(elements) = expr else {
            return vec![expr];
        };
        let first = match elements.first() {
            Some(ast::Expr::Value(value)) => match &value.value {
                ast::Value::Placeholder(id) => placeholder_number(id),
                _ => None,
            },
            _ => None,
        };
        match first.and_then(|number| self.lists.remove(&number)) {
            Some(_) => elements,
            None => vec![ast::Expr::Tuple(elements)],
        }
    }

    /// A function that needs something of the project which is not there.
    fn function(&self, name: &ast::ObjectName) -> Result<(), EngineError> {
        let token = name.to_string().eq_ignore_ascii_case(TOKEN);
        if token && !self.state.scalar_functions().contains_key(TOKEN) {
            let error = self.error("`token` needs a key, and the project has no `server.mask_key`");
            return Err(error.help("set `server.mask_key: ${env:NAME}`, at least 32 bytes that nobody can guess"));
        }
        Ok(())
    }

    fn error(&self, message: &str) -> EngineError {
        EngineError::new(Code::PRJ011, message).at(self.sql.place.clone())
    }
}

/// The number of a placeholder, from 1.
pub(super) fn placeholder_number(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse().ok()
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
