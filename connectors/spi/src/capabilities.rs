//! What a source evaluates exactly as the engine does, as data.
//!
//! Owns: sets of type classes for each kind of work, the check of a whole relation against them, why it fails. Never:
//! decides what is worth pushing.

use arrow::datatypes::DataType;

use crate::query::{AggregateFunction, OutputColumn, Relation};
use crate::{Comparison, Expr, Value};

/// A family of Arrow types that a source treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TypeClass {
    /// `Boolean`
    Bool = 1,
    /// Signed and unsigned integers.
    Integer = 2,
    /// `Float32`, `Float64`
    Float = 4,
    /// `Decimal128`, `Decimal256`
    Decimal = 8,
    /// `Utf8`
    Text = 16,
    /// `Binary`
    Binary = 32,
    /// `Date32`
    Date = 64,
    /// `Timestamp` without a zone.
    Timestamp = 128,
    /// `Timestamp` in UTC.
    TimestampUtc = 256,
}

impl TypeClass {
    /// The class of an Arrow type, if it has one.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            other if other.is_integer() => Self::Integer,
            DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Decimal,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Binary,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampUtc,
            _ => return None,
        })
    }
}

/// A set of type classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeSet(u16);

impl TypeSet {
    /// No class.
    pub const NONE: Self = Self(0);

    /// These classes.
    pub const fn of(classes: &[TypeClass]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < classes.len() {
            bits |= classes[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether the class of `data_type` is in the set.
    pub fn holds(self, data_type: &DataType) -> bool {
        TypeClass::of(data_type).is_some_and(|class| self.0 & class as u16 != 0)
    }
}

/// A function that only some sources compute exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// CASE.
    Case,
    /// `+ - *` of integers, as `Int64`.
    IntegerArithmetic,
    /// `+ - *` of decimals.
    DecimalArithmetic,
    /// Widening between integers and decimals.
    NumberCast,
    /// A date as a timestamp.
    DateCast,
    /// A part of a date or timestamp.
    DatePart,
    /// A date or timestamp cut to a part.
    DateTrunc,
    /// A part of a text.
    Substring,
    /// The length of a text.
    CharLength,
}

/// Why something stays local: a few words, fit to follow "because".
pub type Refusal = &'static str;

/// What a source evaluates exactly. Conservative: what is not listed stays local.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Classes compared exactly by `=`, `<>`, IN, IN keys and equality between columns (text bytewise, without padding).
    pub equality: TypeSet,
    /// Classes compared exactly by `<`, `<=`, `>`, `>=` (text by bytes of UTF-8, floats as IEEE total order does for non-NaN).
    pub order: TypeSet,
    /// Classes whose key arrays travel as one parameter.
    pub keys: TypeSet,
    /// The most keys one array may hold; beyond it the engine scans.
    pub keys_max: usize,
    /// Whether LIKE with a constant pattern is exact.
    pub like: bool,
    /// Whether LIMIT is supported.
    pub limit: bool,
    /// Classes by whose values rows are grouped and counted distinct exactly.
    pub group: TypeSet,
    /// Classes by which rows are sorted exactly, NULL first or last.
    pub sort: TypeSet,
    /// Classes of which the least and the greatest are exact.
    pub extremes: TypeSet,
    /// Classes whose sums are exact.
    pub sums: TypeSet,
    /// Whether tables are joined there.
    pub join: bool,
    /// Whether UNION ALL is supported.
    pub union: bool,
    /// Whether `InQuery` is supported.
    pub subquery: bool,
    /// Whether a predicate can be a value: an output column, a key of a group, a branch of a CASE.
    pub predicate_values: bool,
    /// The functions computed exactly.
    pub functions: &'static [Function],
    /// The most digits after the point of a product or sum.
    pub decimal_scale_max: i8,
    /// Whether the values of a text or binary column are grouped and sorted whole: some servers look at the first bytes
    /// of a value only.
    pub whole: fn(&OutputColumn) -> bool,
    /// Whether `SourceReader::read_parts` gives several streams.
    pub parts: bool,
    /// Whether the source has values of that type: constants, and NULL, that come back as they are.
    pub values: fn(&DataType) -> bool,
    /// The most bind parameters a statement may have.
    pub parameters_max: usize,
    /// The first and last `Date32` the source knows; a value outside stays local.
    pub dates: (i32, i32),
    /// The first and last timestamp (microseconds since the epoch) the source knows; a value outside stays local.
    pub timestamps: (i64, i64),
}

impl Capabilities {
    /// A source that evaluates nothing.
    pub const NONE: Self = Self {
        equality: TypeSet::NONE,
        order: TypeSet::NONE,
        keys: TypeSet::NONE,
        keys_max: 0,
        like: false,
        limit: false,
        group: TypeSet::NONE,
        sort: TypeSet::NONE,
        extremes: TypeSet::NONE,
        sums: TypeSet::NONE,
        join: false,
        union: false,
        subquery: false,
        predicate_values: false,
        functions: &[],
        decimal_scale_max: i8::MAX,
        whole: |_| true,
        parts: false,
        values: |_| true,
        parameters_max: 0,
        dates: (i32::MIN, i32::MAX),
        timestamps: (i64::MIN, i64::MAX),
    };

    /// Whether the source runs nothing but reads of one table (`RemoteQuery::table_read`).
    pub fn reads_tables_only(&self) -> bool {
        !self.join && !self.union && self.group == TypeSet::NONE && self.functions.is_empty()
    }

    /// Whether the source evaluates `predicate` over the columns `below` exactly.
    pub fn evaluates(&self, predicate: &Expr, below: &[OutputColumn]) -> bool {
        self.predicate(predicate, below).is_ok()
    }

    /// Whether the source runs `relation` exactly, with everything below it.
    pub fn runs_whole(&self, relation: &Relation) -> Result<(), Refusal> {
        self.runs(relation)?;
        relation
            .inputs()
            .into_iter()
            .try_for_each(|input| self.runs_whole(input))
    }

    /// Whether the source runs `relation` exactly, everything below it taken for granted.
    pub fn runs(&self, relation: &Relation) -> Result<(), Refusal> {
        match relation {
            Relation::Scan { .. } => Ok(()),
            Relation::Filter { input, predicate } => self.predicate(predicate, &input.columns()),
            Relation::Project { input, columns } => {
                let below = input.columns();
                columns.iter().try_for_each(|expr| self.value(expr, &below))
            }
            Relation::Aggregate {
                input,
                keys,
                aggregates,
            } => {
                let below = input.columns();
                for key in keys {
                    self.operand(self.group, key, &below)
                        .and_then(|()| self.whole(key, &below))
                        .map_err(|_| "a key of the group is not compared exactly there")?;
                }
                for aggregate in aggregates {
                    if let Some(filter) = &aggregate.filter {
                        self.predicate(filter, &below)?;
                    }
                    let Some(argument) = &aggregate.argument else { continue };
                    match (aggregate.function, aggregate.distinct) {
                        (AggregateFunction::Count, false) => self.value(argument, &below)?,
                        (AggregateFunction::Count, true) => self
                            .operand(self.group, argument, &below)
                            .and_then(|()| self.whole(argument, &below))
                            .map_err(|_| "what is counted is not compared exactly there")?,
                        (_, true) => return Err("DISTINCT is sent with count alone"),
                        (AggregateFunction::Sum, false) => self
                            .operand(self.sums, argument, &below)
                            .map_err(|_| "sums of that type are not exact there")?,
                        (AggregateFunction::Min | AggregateFunction::Max, false) => self
                            .operand(self.extremes, argument, &below)
                            .map_err(|_| "values of that type are not ordered exactly there")?,
                    }
                }
                Ok(())
            }
            Relation::Join { left, right, on, .. } => {
                if !self.join {
                    return Err("the source joins no tables");
                }
                let mut below = left.columns();
                below.extend(right.columns());
                self.predicate(on, &below)
            }
            Relation::Sort { input, keys, rows } => {
                if rows.is_some() && !self.limit {
                    return Err("the source has no LIMIT");
                }
                let below = input.columns();
                keys.iter().try_for_each(|key| {
                    self.operand(self.sort, &key.expr, &below)
                        .and_then(|()| self.whole(&key.expr, &below))
                        .map_err(|_| "values of that type are not ordered exactly there")
                })
            }
            Relation::Limit { .. } if self.limit => Ok(()),
            Relation::Limit { .. } => Err("the source has no LIMIT"),
            Relation::Union { .. } if self.union => Ok(()),
            Relation::Union { .. } => Err("the source has no UNION ALL"),
        }
    }

    fn predicate(&self, predicate: &Expr, below: &[OutputColumn]) -> Result<(), Refusal> {
        match predicate {
            Expr::Compare { op, left, right } => {
                let classes = match op {
                    Comparison::Equal | Comparison::NotEqual => self.equality,
                    _ => self.order,
                };
                self.operand(classes, left, below)?;
                self.operand(classes, right, below)
            }
            Expr::And(parts) | Expr::Or(parts) => parts.iter().try_for_each(|part| self.predicate(part, below)),
            Expr::Not(part) => self.predicate(part, below),
            Expr::IsNull(part) => self.value(part, below),
            Expr::InList { expr, list } => {
                self.operand(self.equality, expr, below)?;
                list.iter().try_for_each(|value| self.constant(self.equality, value))
            }
            Expr::InKeys { column, keys } => {
                if keys.len() > self.keys_max {
                    return Err("there are more keys than are sent to it");
                }
                self.operand(self.keys, &Expr::Column(*column), below)
            }
            Expr::InQuery { expr, .. } if self.subquery => self.operand(self.equality, expr, below),
            Expr::InQuery { .. } => Err("the source takes no subquery"),
            Expr::Like { expr, pattern } => {
                if !self.like || !is_plain_pattern(pattern) {
                    return Err("its LIKE differs");
                }
                self.operand(self.equality, expr, below)
            }
            Expr::Column(_) | Expr::Case { .. } | Expr::Null(_) if predicate.data_type(below) == DataType::Boolean => {
                self.operand(self.equality, predicate, below)
            }
            _ => Err("it is no condition"),
        }
    }

    /// Whether the source computes `expr` exactly, as a value.
    fn value(&self, expr: &Expr, below: &[OutputColumn]) -> Result<(), Refusal> {
        let needs = |function: Function| {
            if self.functions.contains(&function) {
                Ok(())
            } else {
                Err("a function of it is not exact there")
            }
        };
        let all = |parts: &[&Expr]| parts.iter().try_for_each(|part| self.operand(ANY, part, below));
        match expr {
            Expr::Column(index) if *index < below.len() => Ok(()),
            Expr::Column(_) => Err("a column of it is not there"),
            Expr::Value(value) if (self.values)(&value.data_type()) => self.constant(ANY, value),
            Expr::Null(data_type) | Expr::Parameter { data_type, .. } if (self.values)(data_type) => Ok(()),
            Expr::Value(_) | Expr::Null(_) | Expr::Parameter { .. } => Err("the source has no values of its type"),
            Expr::Case {
                branches, otherwise, ..
            } => {
                needs(Function::Case)?;
                for (when, then) in branches {
                    self.predicate(when, below)?;
                    self.value(then, below)?;
                }
                otherwise.iter().try_for_each(|value| self.value(value, below))
            }
            Expr::Arithmetic {
                left, right, data_type, ..
            } => {
                needs(if data_type.is_integer() {
                    Function::IntegerArithmetic
                } else {
                    Function::DecimalArithmetic
                })?;
                if let DataType::Decimal128(_, scale) = data_type
                    && *scale > self.decimal_scale_max
                {
                    return Err("its decimals have fewer digits after the point");
                }
                all(&[left, right])
            }
            Expr::Cast { expr, data_type } => {
                needs(if matches!(data_type, DataType::Timestamp(..)) {
                    Function::DateCast
                } else {
                    Function::NumberCast
                })?;
                all(&[expr])
            }
            Expr::DatePart { expr, .. } => {
                needs(Function::DatePart)?;
                all(&[expr])
            }
            Expr::DateTrunc { expr, .. } => {
                needs(Function::DateTrunc)?;
                all(&[expr])
            }
            Expr::Substring { expr, .. } => {
                needs(Function::Substring)?;
                all(&[expr])
            }
            Expr::CharLength(expr) => {
                needs(Function::CharLength)?;
                all(&[expr])
            }
            Expr::Compare { .. }
            | Expr::And(_)
            | Expr::Or(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::InList { .. }
            | Expr::InKeys { .. }
            | Expr::Like { .. } => {
                if self.predicate_values {
                    self.predicate(expr, below)
                } else {
                    Err("a condition is no value there")
                }
            }
            Expr::InQuery { .. } => Err("a subquery is sent as a condition alone"),
        }
    }

    /// Whether the source computes `expr` exactly, to compare it within `classes`.
    fn operand(&self, classes: TypeSet, expr: &Expr, below: &[OutputColumn]) -> Result<(), Refusal> {
        if let Expr::Value(value) = expr {
            return self.constant(classes, value);
        }
        let output = expr.output(below);
        if !output.comparable {
            return Err("a column of it is not compared exactly there");
        }
        if !classes.holds(&output.data_type) {
            return Err("values of that type are not compared exactly there");
        }
        self.value(expr, below)
    }

    /// Whether every text and binary value that `expr` is made of is looked at whole.
    fn whole(&self, expr: &Expr, below: &[OutputColumn]) -> Result<(), Refusal> {
        let mut is_whole = true;
        expr.visit(&mut |part| {
            if let Expr::Column(index) = part
                && let Some(column) = below.get(*index)
                && matches!(column.data_type, DataType::Utf8 | DataType::Binary)
            {
                is_whole &= (self.whole)(column);
            }
        });
        if is_whole {
            Ok(())
        } else {
            Err("its values may be longer than what is compared there")
        }
    }

    fn constant(&self, classes: TypeSet, value: &Value) -> Result<(), Refusal> {
        let known = match value {
            // NUL is no character of a PostgreSQL text, and ends a text in many a driver.
            Value::Text(text) => !text.contains('\0'),
            Value::Float(number) => !number.is_nan(),
            Value::Date(day) => self.dates.0 <= *day && *day <= self.dates.1,
            Value::Timestamp(at) | Value::TimestampUtc(at) => self.timestamps.0 <= *at && *at <= self.timestamps.1,
            _ => true,
        };
        if known && classes.holds(&value.data_type()) {
            Ok(())
        } else {
            Err("a constant of it is not one of its values there")
        }
    }
}

/// Every class.
const ANY: TypeSet = TypeSet(u16::MAX);

/// Whether every database reads the pattern alike: `\` escapes only `%`, `_` and itself.
fn is_plain_pattern(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\0' => return false,
            '\\' if !matches!(characters.next(), Some('%' | '_' | '\\')) => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    //! What is let through of a relation, node by node.

    use std::sync::Arc;

    use super::*;
    use crate::{Aggregate, Arithmetic, JoinKind, RemoteColumn, RemoteTable, SortKey};

    fn scan() -> Relation {
        let column = |name: &str, data_type, comparable| RemoteColumn {
            name: name.to_owned(),
            data_type,
            nullable: true,
            native_type: name.to_owned(),
            comment: None,
            comparable,
            distinct_estimate: None,
        };
        let columns = vec![
            column("number", DataType::Int32, true),
            column("odd", DataType::Int32, false),
            column("text", DataType::Utf8, true),
            column("long", DataType::Utf8, true),
            column("amount", DataType::Decimal128(20, 20), true),
        ];
        let table = RemoteTable {
            name: "t".to_owned(),
            namespace: None,
            is_view: false,
            columns,
            primary_key: vec![],
            unique_keys: vec![],
            foreign_keys: vec![],
            comment: None,
            rows_estimate: None,
        };
        Relation::Scan { table: Arc::new(table) }
    }

    const SOME: TypeSet = TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Decimal]);

    const ABLE: Capabilities = Capabilities {
        equality: SOME,
        group: SOME,
        sort: SOME,
        sums: TypeSet::of(&[TypeClass::Integer]),
        functions: &[Function::DecimalArithmetic],
        decimal_scale_max: 30,
        whole: |column| column.described().is_some_and(|column| column.name != "long"),
        ..Capabilities::NONE
    };

    fn check(relation: &Relation, is_run: bool) {
        assert_eq!(ABLE.runs(relation).is_ok(), is_run, "{relation:?}");
    }

    fn grouped(key: usize) -> Relation {
        Relation::Aggregate {
            input: Box::new(scan()),
            keys: vec![Expr::Column(key)],
            aggregates: vec![],
        }
    }

    #[test]
    fn a_group_is_of_values_that_are_compared_whole() {
        for (key, is_run) in [(0, true), (1, false), (2, true), (3, false)] {
            check(&grouped(key), is_run);
            let sorted = Relation::Sort {
                input: Box::new(scan()),
                keys: vec![SortKey {
                    expr: Expr::Column(key),
                    descending: false,
                    nulls_first: false,
                }],
                rows: None,
            };
            check(&sorted, is_run);
        }
        let sum = |column, function, distinct| Relation::Aggregate {
            input: Box::new(scan()),
            keys: vec![],
            aggregates: vec![Aggregate {
                function,
                argument: Some(Expr::Column(column)),
                distinct,
                filter: None,
                data_type: DataType::Int64,
            }],
        };
        check(&sum(0, AggregateFunction::Sum, false), true);
        check(&sum(0, AggregateFunction::Sum, true), false);
        check(&sum(2, AggregateFunction::Sum, false), false);
        check(&sum(0, AggregateFunction::Max, false), false);
        check(&sum(3, AggregateFunction::Count, false), true);
        check(&sum(3, AggregateFunction::Count, true), false);
    }

    #[test]
    fn what_is_not_declared_stays() {
        let on = Expr::Compare {
            op: Comparison::Equal,
            left: Box::new(Expr::Column(0)),
            right: Box::new(Expr::Column(5)),
        };
        let joined = Relation::Join {
            left: Box::new(scan()),
            right: Box::new(scan()),
            kind: JoinKind::Inner,
            on: on.clone(),
        };
        check(&joined, false);
        let joins = Capabilities { join: true, ..ABLE };
        assert!(joins.runs(&joined).is_ok());
        let product = |scale| Relation::Project {
            input: Box::new(scan()),
            columns: vec![Expr::Arithmetic {
                op: Arithmetic::Multiply,
                left: Box::new(Expr::Column(4)),
                right: Box::new(Expr::Column(4)),
                data_type: DataType::Decimal128(38, scale),
            }],
        };
        check(&product(30), true);
        check(&product(38), false);
        let condition = Relation::Project {
            input: Box::new(scan()),
            columns: vec![Expr::IsNull(Box::new(Expr::Column(0)))],
        };
        check(&condition, false);
    }
}
