//! The SQL of a metric's definition over the columns of its home.
//!
//! Owns: names, the one aggregate of `expr`, the division of a derived metric. Never: types of metrics (`definition`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::Code;
use caliber_catalog::grant::SqlText;
use caliber_catalog::name::TableName;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit, when};
use datafusion::sql::sqlparser::ast;

use crate::EngineError;
use crate::engine::OpenSnapshot;
use crate::expand::entity_view::{coerced, column_name};
use crate::govern::policy_expr::parse;

/// The aggregates of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    /// `sum(x)`
    Sum,
    /// `count(*)`, `count(x)`
    Count,
    /// `count(distinct x)`
    CountDistinct,
    /// `count(distinct ENTITY)`
    CountEntity,
    /// `approx_distinct(x)`
    ApproxDistinct,
    /// `min(x)`
    Min,
    /// `max(x)`
    Max,
    /// `avg(x)`
    Average,
}

/// One aggregate as the project writes it: its argument over the home's columns, `None` for `*` and for the entity.
pub(crate) struct WrittenAggregate {
    pub function: Aggregate,
    pub argument: Option<Expr>,
}

/// A piece of SQL over the columns of one table.
pub(crate) struct OverTable<'a> {
    pub snapshot: &'a OpenSnapshot,
    pub state: &'a SessionState,
    pub table: &'a TableName,
    /// The raw columns.
    pub schema: &'a DFSchema,
}

pub(crate) fn wrong(sql: &SqlText, message: &str) -> EngineError {
    EngineError::new(Code::PRJ021, message).at(sql.place.clone())
}

impl OverTable<'_> {
    /// An expression of the home's columns; adds those it uses to `used`.
    pub fn expression(
        &self,
        sql: &SqlText,
        mut parsed: ast::ExprWithAlias,
        used: &mut BTreeSet<String>,
    ) -> Result<Expr, EngineError> {
        let walked = ast::visit_expressions_mut(&mut parsed.expr, |node| match self.name(sql, node, used) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        });
        if let ControlFlow::Break(error) = walked {
            return Err(error.at(sql.place.clone()));
        }
        let planned = self.state.create_logical_expr_from_sql_expr(parsed, self.schema);
        let placed = |error: EngineError| EngineError::new(Code::PRJ021, error.message).at(sql.place.clone());
        let expr = coerced(self.state, planned.map_err(|error| placed(error.into()))?, self.schema).map_err(placed)?;
        if expr.is_volatile() {
            return Err(wrong(sql, "a volatile function cannot stand in a metric"));
        }
        Ok(expr)
    }

    fn name(&self, sql: &SqlText, node: &mut ast::Expr, used: &mut BTreeSet<String>) -> Result<(), EngineError> {
        match node {
            ast::Expr::Identifier(ident) => {
                let column = column_name(self.snapshot, self.table, ident)?;
                *ident = ast::Ident::with_quote('"', &column);
                used.insert(column);
                Ok(())
            }
            ast::Expr::CompoundIdentifier(_) => Err(wrong(sql, "a metric names columns of its own table")),
            ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
                Err(wrong(sql, "a metric cannot hold a subquery"))
            }
            ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
                Err(wrong(sql, "a metric cannot hold a placeholder"))
            }
            _ => Ok(()),
        }
    }

    /// The one aggregate of a base metric. `entities` are names that stand for an entity's key.
    pub fn aggregate(
        &self,
        sql: &SqlText,
        entity: &str,
        used: &mut BTreeSet<String>,
    ) -> Result<WrittenAggregate, EngineError> {
        const HELP: &str = "write one of sum(x), count(*), count(x), count(distinct x), min(x), max(x), avg(x), \
                            approx_distinct(x); what is computed from several goes into a metric over metrics";
        let refuse = || wrong(sql, "the expression of a metric with a table is one aggregate").help(HELP);
        let ast::Expr::Function(call) = parse(sql)?.expr else {
            return Err(refuse());
        };
        let plain = call.filter.is_none()
            && call.over.is_none()
            && call.null_treatment.is_none()
            && call.within_group.is_empty()
            && matches!(call.parameters, ast::FunctionArguments::None);
        let ast::FunctionArguments::List(arguments) = call.args else {
            return Err(refuse());
        };
        if !plain || !arguments.clauses.is_empty() {
            return Err(refuse().help("conditions stand in `where`"));
        }
        let distinct = matches!(arguments.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
        let [ast::FunctionArg::Unnamed(argument)] = arguments.args.as_slice() else {
            return Err(refuse());
        };
        let written = match argument {
            ast::FunctionArgExpr::Wildcard => None,
            ast::FunctionArgExpr::Expr(expr) => Some(expr.clone()),
            _ => return Err(refuse()),
        };
        let names_entity =
            matches!(&written, Some(ast::Expr::Identifier(name)) if name.value.eq_ignore_ascii_case(entity));
        let is_column = matches!(&written, Some(ast::Expr::Identifier(name)) if column_name(self.snapshot, self.table, name).is_ok());
        let function = match (call.name.to_string().to_lowercase().as_str(), distinct, &written) {
            ("count", true, Some(_)) if names_entity && !is_column => Aggregate::CountEntity,
            ("count", true, Some(_)) => Aggregate::CountDistinct,
            ("count", false, _) => Aggregate::Count,
            ("sum", false, Some(_)) => Aggregate::Sum,
            ("min", _, Some(_)) => Aggregate::Min,
            ("max", _, Some(_)) => Aggregate::Max,
            ("avg" | "mean", false, Some(_)) => Aggregate::Average,
            ("approx_distinct", false, Some(_)) => Aggregate::ApproxDistinct,
            _ => return Err(refuse()),
        };
        let argument = match written {
            Some(expr) if function != Aggregate::CountEntity => {
                Some(self.expression(sql, ast::ExprWithAlias { expr, alias: None }, used)?)
            }
            _ => None,
        };
        Ok(WrittenAggregate { function, argument })
    }
}

/// The names that a derived metric's expression uses, and the expression with those names as they are defined.
pub(crate) fn parts_of(
    sql: &SqlText,
    known: &dyn Fn(&str) -> Option<String>,
) -> Result<(ast::ExprWithAlias, Vec<String>), EngineError> {
    let mut parsed = parse(sql)?;
    let mut parts: Vec<String> = Vec::new();
    let walked = ast::visit_expressions_mut(&mut parsed.expr, |node| match node {
        ast::Expr::Identifier(ident) => {
            let Some(name) = known(&ident.value) else {
                return ControlFlow::Break(format!("no metric `{}`", ident.value));
            };
            *ident = ast::Ident::with_quote('"', &name);
            if !parts.contains(&name) {
                parts.push(name);
            }
            ControlFlow::Continue(())
        }
        ast::Expr::CompoundIdentifier(_) => ControlFlow::Break("a metric without a table names other metrics".into()),
        ast::Expr::Subquery(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. } => {
            ControlFlow::Break("a metric cannot hold a subquery".into())
        }
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
            ControlFlow::Break("a metric cannot hold a placeholder".into())
        }
        _ => ControlFlow::Continue(()),
    });
    if let ControlFlow::Break(message) = walked {
        return Err(wrong(sql, &message));
    }
    if parts.is_empty() {
        return Err(wrong(sql, "a metric without a table is computed from other metrics")
            .help("name one in `expr`, or give it a `table`"));
    }
    Ok((parsed, parts))
}

/// Divisions in Float64, NULL where the divisor is zero.
pub(crate) fn divided(expr: Expr) -> Result<Expr, EngineError> {
    let float = |side: Expr| datafusion::logical_expr::cast(side, DataType::Float64);
    let rewritten = expr.transform_up(|part| match part {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Divide,
            right,
        }) => {
            let divisor = float(*right);
            let quotient = float(*left) / divisor.clone();
            let nothing = lit(ScalarValue::Float64(None));
            let safe = when(divisor.eq(lit(0.0_f64)), nothing).otherwise(quotient)?;
            Ok(Transformed::yes(safe))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(rewritten.data)
}
