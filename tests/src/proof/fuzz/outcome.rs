//! What a statement came to, so that two runs of it can be compared.
//!
//! Owns: rows, schema or class of error, in one spelling. Never: forgives a difference.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use caliber_engine::EngineError;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::rows;

/// What went wrong. All that a row's value can cause is told apart; statements that do not plan are one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Division,
    Conversion,
    Range,
    Evaluation,
    Planning,
    Bound,
    /// Never expected: our own defect, a source, a policy that failed.
    Defect,
}

/// Rows and their schema, or the class of the error.
#[derive(Clone, PartialEq)]
pub enum Outcome {
    Rows {
        columns: Vec<(String, String)>,
        rows: Vec<Vec<String>>,
    },
    Failed(Class, String),
}

/// How rows are to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// ORDER BY is total.
    Total,
    /// As a multiset.
    Any,
    /// A bare LIMIT and OFFSET: so many of the rows without them.
    Some { limit: usize, offset: usize },
}

impl Outcome {
    /// Of batches under a schema.
    pub fn rows(schema: &Schema, batches: &[RecordBatch]) -> Result<Self> {
        let columns = schema.fields().iter();
        Ok(Self::Rows {
            columns: columns
                .map(|field| (field.name().clone(), plain(field.data_type())))
                .collect(),
            rows: rows::texts(batches)?,
        })
    }

    /// Of an error of the engine.
    pub fn governed(error: &EngineError) -> Self {
        let class = match error.code.as_str() {
            "SQL020" => Class::Conversion,
            "SQL021" => Class::Division,
            "SQL022" => Class::Range,
            "SQL023" => Class::Evaluation,
            code if code.starts_with("SQL") => Class::Planning,
            code if code.starts_with("LIM") => Class::Bound,
            _ => Class::Defect,
        };
        Self::Failed(class, format!("{}: {}", error.code.as_str(), error.message))
    }

    /// Of an error of plain DataFusion.
    pub fn plain(error: &DataFusionError) -> Self {
        Self::Failed(class(error), error.to_string().chars().take(300).collect())
    }

    /// The rows, if there are any.
    pub fn has_rows(&self) -> bool {
        matches!(self, Self::Rows { rows, .. } if !rows.is_empty())
    }

    /// The class of its error.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Rows { .. } => None,
            Self::Failed(class, _) => Some(*class),
        }
    }

    /// Whether both came to the same. `wanted` of a bare LIMIT is the outcome without it.
    pub fn equals(&self, wanted: &Self, order: Order) -> bool {
        match (self, wanted) {
            (Self::Failed(found, _), Self::Failed(wanted, _)) => found == wanted && *found != Class::Defect,
            (
                Self::Rows { columns, rows },
                Self::Rows {
                    columns: wanted_columns,
                    rows: wanted,
                },
            ) => columns == wanted_columns && same_rows(rows, wanted, order),
            _ => false,
        }
    }
}

fn same_rows(found: &[Vec<String>], wanted: &[Vec<String>], order: Order) -> bool {
    let mut left: BTreeMap<&Vec<String>, usize> = BTreeMap::new();
    wanted.iter().for_each(|row| *left.entry(row).or_default() += 1);
    let mut each_is_wanted = || {
        found.iter().all(|row| match left.get_mut(row) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        })
    };
    match order {
        Order::Total => found == wanted,
        Order::Any => found.len() == wanted.len() && each_is_wanted(),
        Order::Some { limit, offset } => {
            found.len() == wanted.len().saturating_sub(offset).min(limit) && each_is_wanted()
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 25;
        match self {
            Self::Failed(class, text) => write!(f, "{class:?}: {text}"),
            Self::Rows { columns, rows } => {
                let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
                write!(f, "{} rows ({})", rows.len(), columns.join(", "))?;
                for row in rows.iter().take(SHOWN) {
                    write!(f, "\n    {}", row.join(" | "))?;
                }
                if rows.len() > SHOWN {
                    write!(f, "\n    …")?;
                }
                Ok(())
            }
        }
    }
}

/// The type as it is on the wire (`docs/flight-sql.md`, "Results"), of those that generated statements can have.
fn plain(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8.to_string(),
        other => other.to_string(),
    }
}

/// The class of DataFusion's error, by its variant; where it has only text, by its words.
fn class(error: &DataFusionError) -> Class {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => class(inner),
        DataFusionError::Shared(inner) => class(inner),
        DataFusionError::Collection(all) => all.first().map_or(Class::Defect, class),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::DivideByZero => Class::Division,
            ArrowError::ArithmeticOverflow(_) => Class::Range,
            ArrowError::CastError(_) | ArrowError::ParseError(_) => Class::Conversion,
            _ => Class::Evaluation,
        },
        DataFusionError::Plan(_)
        | DataFusionError::SQL(..)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_) => Class::Planning,
        DataFusionError::ResourcesExhausted(_) => Class::Bound,
        DataFusionError::Execution(text) => {
            let lower = text.to_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
            if says(&["divide by zero", "division by zero"]) {
                Class::Division
            } else if says(&["overflow", "out of range"]) {
                Class::Range
            } else if says(&["cast", "parse", "convert"]) {
                Class::Conversion
            } else {
                Class::Evaluation
            }
        }
        _ => Class::Defect,
    }
}
