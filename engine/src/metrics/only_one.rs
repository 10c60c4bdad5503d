//! A key that only one row may have: looked for while the rows are joined, so that no fact is counted twice.
//!
//! Owns: the check of a step's key (MET006). Never: picks one of several rows.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use caliber_catalog::diagnostic::Code;
use caliber_catalog::name::TableName;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::branch::Planner;
use super::plan_parts::{aggregate, bare, of, one};
use crate::EngineError;
use crate::engine::OpenSnapshot;

/// How many rows have the key.
const ROWS: &str = "rows of the key";

/// Whether the source itself lets one row only have each value of a column.
pub(crate) fn is_enforced(snapshot: &OpenSnapshot, table: &TableName, key: &str) -> bool {
    let alone = |columns: &Vec<String>| matches!(columns.as_slice(), [only] if only == key);
    snapshot
        .remote_table(table)
        .is_some_and(|remote| alone(&remote.primary_key) || remote.unique_keys.iter().any(alone))
}

/// A key of which several rows may be there, and the column that says how many are.
pub(crate) struct Counted {
    table: TableName,
    key: String,
    rows: Expr,
}

impl Counted {
    /// `rows` says how many rows of `table` have each value of `key`.
    pub fn new(table: &TableName, key: &str, rows: Expr) -> Self {
        Self {
            table: table.clone(),
            key: key.to_owned(),
            rows,
        }
    }

    /// The value, if it is that of one row of the key. Error of the run: MET006.
    pub fn checked(&self, value: Expr) -> Expr {
        let function = ScalarUDF::from(OnlyOne {
            table: self.table.clone(),
            key: self.key.clone(),
            signature: Signature::any(2, Volatility::Immutable),
        });
        Arc::new(function).call(vec![value, self.rows.clone()])
    }
}

impl Planner<'_> {
    /// The rows of `builder`, one for each value of `key`, with `columns`; under the name `alias`. What is read of them is
    /// to be checked, unless the source itself lets one row only have each value.
    pub(super) fn one_for_each(
        &self,
        builder: LogicalPlanBuilder,
        alias: &str,
        table: &TableName,
        key: &str,
        columns: &[String],
    ) -> Result<(LogicalPlanBuilder, Option<Counted>), EngineError> {
        if is_enforced(&self.catalog.snapshot, table, key) {
            return Ok((builder, None));
        }
        let mut calls = vec![aggregate(self.state, "count", one(), false)?.alias(ROWS)];
        let mut outputs = vec![bare(key).alias(key), bare(ROWS).alias(ROWS)];
        for column in columns.iter().filter(|column| column.as_str() != key) {
            calls.push(aggregate(self.state, "min", of(alias, column), false)?.alias(column));
            outputs.push(bare(column).alias(column));
        }
        let rows = builder.aggregate([of(alias, key).alias(key)], calls)?;
        let counted = Counted {
            table: table.clone(),
            key: key.to_owned(),
            rows: of(alias, ROWS),
        };
        Ok((rows.project(outputs)?.alias(alias.to_owned())?, Some(counted)))
    }
}

/// `only_one(value, rows)`: the value, if it is that of one row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyOne {
    table: TableName,
    key: String,
    signature: Signature,
}

impl ScalarUDFImpl for OnlyOne {
    fn name(&self) -> &'static str {
        "only_one"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, rows] = arguments.args.as_slice() else {
            return Err(DataFusionError::Plan("a value and a number of rows".to_owned()));
        };
        let rows = rows.to_array(arguments.number_rows)?;
        let rows = rows.as_primitive_opt::<Int64Type>();
        let rows = rows.ok_or_else(|| DataFusionError::Plan("a number of rows is an integer".to_owned()))?;
        if rows.iter().flatten().any(|rows| rows > 1) {
            let message = format!("several rows of `{}` have one `{}`", self.table, self.key);
            let help = "the metrics asked for count each row once: mend the data, or the rule of `holdings` and its `where`; \
                        `caliber check --online` looks for such keys";
            return Err(EngineError::new(Code::MET006, message).help(help).into());
        }
        Ok(value.clone())
    }
}
