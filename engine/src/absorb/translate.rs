//! Translates an expression into the language of remote queries, where that can be done without changing its meaning.
//!
//! Owns: which DataFusion expressions have an exact counterpart. Never: whether a source evaluates it (`Capabilities`).

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};
use caliber_connector_spi::{
    Arithmetic, Comparison, DatePart, Expr as Remote, OutputColumn, Relation, RemoteTable, Value,
};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{InList, Placeholder, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, Like, Operator};

use super::constants::{key_array, literal};
pub(crate) use super::constants::{key_type, value};
use crate::run::plan_template::number_of;

/// Why something has no counterpart: a few words, fit to follow "because".
pub(crate) type Why = String;

/// The columns an expression may name.
pub(crate) struct Scope<'a> {
    /// What each gives, by position.
    pub columns: &'a [OutputColumn],
    /// The position of a column.
    pub place: &'a dyn Fn(&Column) -> Option<usize>,
}

/// The counterpart of `expr` over the columns of `table`, found by name; `None` where there is none.
pub(crate) fn translate_over_table(expr: &Expr, table: &Arc<RemoteTable>) -> Option<Remote> {
    let columns = table_columns(table);
    let place = |column: &Column| table.columns.iter().position(|known| known.name == column.name);
    let scope = Scope {
        columns: &columns,
        place: &place,
    };
    scope.translate(expr).ok()
}

/// What a table gives, by index.
pub(crate) fn table_columns(table: &Arc<RemoteTable>) -> Vec<OutputColumn> {
    Relation::Scan {
        table: Arc::clone(table),
    }
    .columns()
}

impl Scope<'_> {
    /// The counterpart of `expr`, which means the same and fails on no row.
    pub fn translate(&self, expr: &Expr) -> Result<Remote, Why> {
        match expr {
            Expr::Alias(alias) => self.translate(&alias.expr),
            Expr::Column(column) => (self.place)(column)
                .filter(|at| *at < self.columns.len())
                .map(Remote::Column)
                .ok_or_else(|| format!("`{}` is not a column of the source", column.name)),
            Expr::Literal(scalar, _) if scalar.is_null() => Ok(Remote::Null(scalar.data_type())),
            // It would come back in every row.
            Expr::Literal(scalar, _) if scalar.size() > CONSTANT_BYTES_MAX => {
                Err("a constant of it is long".to_owned())
            }
            Expr::Literal(scalar, _) => value(scalar)
                .map(Remote::Value)
                .ok_or_else(|| "a constant of it is not sent to sources".to_owned()),
            Expr::Placeholder(placeholder) => parameter(placeholder)
                // What a source computes with is of the widest type of its family, as values are.
                .filter(|remote| {
                    matches!(self.type_of(remote), DataType::Int64 | DataType::UInt64)
                        || !self.type_of(remote).is_integer()
                })
                .ok_or_else(|| "a parameter of it is not sent to sources".to_owned()),
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Not(inner) => Ok(Remote::Not(Box::new(self.translate(inner)?))),
            Expr::IsNull(inner) => Ok(Remote::IsNull(Box::new(self.translate(inner)?))),
            Expr::IsNotNull(inner) => Ok(Remote::Not(Box::new(Remote::IsNull(Box::new(self.translate(inner)?))))),
            Expr::Between(between) => {
                let low = self.compare(Comparison::GreaterOrEqual, &between.expr, &between.low)?;
                let high = self.compare(Comparison::LessOrEqual, &between.expr, &between.high)?;
                Ok(negated_if(between.negated, Remote::And(vec![low, high])))
            }
            Expr::InList(list) if list.list.iter().any(|one| matches!(one, Expr::Placeholder(_))) => {
                self.in_parameters(list)
            }
            Expr::InList(list) => self.in_list(list),
            Expr::Like(like) => self.like(like),
            Expr::Case(case) => self.case(case),
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.data_type()),
            Expr::ScalarFunction(call) => self.call(call),
            other => Err(format!("{} is evaluated here", other.variant_name())),
        }
    }

    fn type_of(&self, remote: &Remote) -> DataType {
        remote.data_type(self.columns)
    }

    fn in_list(&self, list: &InList) -> Result<Remote, Why> {
        let needle = self.translate(&list.expr)?;
        let data_type = self.type_of(&needle);
        let found = match needle.as_column() {
            Some(column) if list.list.len() > LIST_AS_VALUES_MAX => Remote::InKeys {
                column,
                keys: key_array(&list.list, &data_type).ok_or("a value of its list is not sent to sources")?,
            },
            _ if list.list.len() > LIST_AS_VALUES_MAX => return Err("its list is long".to_owned()),
            _ => {
                let values: Option<Vec<Value>> = list.list.iter().map(|one| literal(one, &data_type)).collect();
                Remote::InList {
                    expr: Box::new(needle),
                    list: values
                        .filter(|all| !all.is_empty())
                        .ok_or("a value of its list is not sent to sources")?,
                }
            }
        };
        Ok(negated_if(list.negated, found))
    }

    /// A list with parameters in it, as comparisons.
    fn in_parameters(&self, list: &InList) -> Result<Remote, Why> {
        let same = list
            .list
            .iter()
            .map(|one| self.compare(Comparison::Equal, &list.expr, one))
            .collect::<Result<Vec<_>, Why>>()?;
        let found = match <[Remote; 1]>::try_from(same) {
            Ok([only]) => only,
            Err(several) => Remote::Or(several),
        };
        Ok(negated_if(list.negated, found))
    }

    fn like(&self, like: &Like) -> Result<Remote, Why> {
        if like.case_insensitive || like.escape_char.is_some_and(|escape| escape != '\\') {
            return Err("it is a LIKE of another kind".to_owned());
        }
        let text = self.translate(&like.expr)?;
        match literal(&like.pattern, &self.type_of(&text)) {
            Some(Value::Text(pattern)) => Ok(negated_if(
                like.negated,
                Remote::Like {
                    expr: Box::new(text),
                    pattern,
                },
            )),
            _ => Err("the pattern of its LIKE is no constant".to_owned()),
        }
    }

    fn case(&self, case: &Case) -> Result<Remote, Why> {
        let mut branches = Vec::with_capacity(case.when_then_expr.len());
        for (when, then) in &case.when_then_expr {
            let when = match &case.expr {
                Some(subject) => self.compare(Comparison::Equal, subject, when)?,
                None => self.translate(when)?,
            };
            branches.push((when, self.translate(then)?));
        }
        let otherwise = match &case.else_expr {
            Some(value) => Some(Box::new(self.translate(value)?)),
            None => None,
        };
        let typed = branches.iter().map(|(_, then)| then).chain(otherwise.as_deref());
        let mut types = typed.map(|value| self.type_of(value));
        let data_type = types.next().ok_or("its CASE has no branch")?;
        if types.any(|other| other != data_type) {
            return Err("the branches of its CASE are of several types".to_owned());
        }
        Ok(Remote::Case {
            branches,
            otherwise,
            data_type,
        })
    }

    fn cast(&self, expr: &Expr, data_type: &DataType) -> Result<Remote, Why> {
        let inner = self.translate(expr)?;
        let from = self.type_of(&inner);
        if from == *data_type {
            return Ok(inner);
        }
        if widens(&from, data_type) {
            Ok(Remote::Cast {
                expr: Box::new(inner),
                data_type: data_type.clone(),
            })
        } else {
            Err(format!("a cast from {from} to {data_type} is done here"))
        }
    }

    /// Functions are known by name: the session's function list is closed.
    fn call(&self, call: &ScalarFunction) -> Result<Remote, Why> {
        let unknown = || format!("`{}` is evaluated here", call.name());
        match (call.name(), call.args.as_slice()) {
            ("date_part", [part, of]) => {
                let expr = self.translate(of)?;
                let is_calendar = matches!(
                    self.type_of(&expr),
                    DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, None)
                );
                match (calendar_part(part), is_calendar) {
                    (Some(part), true) => Ok(Remote::DatePart {
                        part,
                        expr: Box::new(expr),
                    }),
                    _ => Err(unknown()),
                }
            }
            ("date_trunc", [part, of]) => {
                let expr = self.translate(of)?;
                let is_timestamp = self.type_of(&expr) == DataType::Timestamp(TimeUnit::Microsecond, None);
                match (calendar_part(part), is_timestamp) {
                    (Some(part), true) => Ok(Remote::DateTrunc {
                        part,
                        expr: Box::new(expr),
                    }),
                    _ => Err(unknown()),
                }
            }
            ("substr" | "substring", [text, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
                let expr = self.translate(text)?;
                let number = |at: usize| rest.get(at).and_then(whole_number);
                let start = number(0).filter(|start| *start >= 1).ok_or_else(unknown)?;
                let length = if rest.len() == 2 {
                    Some(number(1).ok_or_else(unknown)?)
                } else {
                    None
                };
                if self.type_of(&expr) != DataType::Utf8 {
                    return Err(unknown());
                }
                Ok(Remote::Substring {
                    expr: Box::new(expr),
                    start,
                    length,
                })
            }
            ("character_length" | "char_length" | "length", [text]) => {
                let expr = self.translate(text)?;
                if self.type_of(&expr) != DataType::Utf8 {
                    return Err(unknown());
                }
                Ok(Remote::CharLength(Box::new(expr)))
            }
            _ => Err(unknown()),
        }
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Remote, Why> {
        let op = match binary.op {
            Operator::And => return Ok(Remote::And(self.chain(Operator::And, binary)?)),
            Operator::Or => return Ok(Remote::Or(self.chain(Operator::Or, binary)?)),
            Operator::Eq => Comparison::Equal,
            Operator::NotEq => Comparison::NotEqual,
            Operator::Lt => Comparison::Less,
            Operator::LtEq => Comparison::LessOrEqual,
            Operator::Gt => Comparison::Greater,
            Operator::GtEq => Comparison::GreaterOrEqual,
            Operator::Plus => return self.arithmetic(Arithmetic::Add, binary),
            Operator::Minus => return self.arithmetic(Arithmetic::Subtract, binary),
            Operator::Multiply => return self.arithmetic(Arithmetic::Multiply, binary),
            other => return Err(format!("`{other}` is evaluated here")),
        };
        self.compare(op, &binary.left, &binary.right)
    }

    /// The parts of a chain of one operator, so that its length is no depth.
    fn chain(&self, op: Operator, binary: &BinaryExpr) -> Result<Vec<Remote>, Why> {
        let mut parts = Vec::new();
        let mut stack = vec![&*binary.right, &*binary.left];
        while let Some(expr) = stack.pop() {
            match expr {
                Expr::BinaryExpr(inner) if inner.op == op => stack.extend([&*inner.right, &*inner.left]),
                other => parts.push(self.translate(other)?),
            }
        }
        Ok(parts)
    }

    /// `left op right`, both of one type, at least one of them no constant.
    fn compare(&self, op: Comparison, left: &Expr, right: &Expr) -> Result<Remote, Why> {
        let is_constant = |expr: &Expr| matches!(expr, Expr::Literal(..) | Expr::Placeholder(_));
        let (op, left, right) = if is_constant(left) {
            (flipped(op), right, left)
        } else {
            (op, left, right)
        };
        if is_constant(left) {
            return Err("it compares constants".to_owned());
        }
        let left = self.translate(left)?;
        let data_type = self.type_of(&left);
        let right = match right {
            Expr::Literal(..) => Remote::Value(
                literal(right, &data_type).ok_or("it compares with a constant of another type, or one not sent")?,
            ),
            Expr::Placeholder(placeholder) => {
                parameter(placeholder).ok_or("it compares with a parameter that is not sent")?
            }
            other => self.translate(other)?,
        };
        if !matches!(right, Remote::Value(_)) && self.type_of(&right) != data_type {
            return Err("it compares values of two types".to_owned());
        }
        Ok(Remote::Compare {
            op,
            left: Box::new(left),
            right: Box::new(right),
        })
    }

    /// `+ - *` of decimals, where the exact result has no more digits than every source computes with. The type holds the
    /// result whenever evaluating it here would not fail.
    fn arithmetic(&self, op: Arithmetic, binary: &BinaryExpr) -> Result<Remote, Why> {
        let left = self.translate(&binary.left)?;
        let right = self.translate(&binary.right)?;
        let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (self.type_of(&left), self.type_of(&right))
        else {
            return Err(format!("`{}` of these types is evaluated here", binary.op));
        };
        // As DataFusion types them (datafusion-expr-common, `type_coercion::binary`).
        let (precision, scale) = match op {
            Arithmetic::Add | Arithmetic::Subtract => {
                let (p1, p2) = (i16::from(p1) - i16::from(s1), i16::from(p2) - i16::from(s2));
                (i16::from(s1.max(s2)) + p1.max(p2) + 1, i16::from(s1.max(s2)))
            }
            Arithmetic::Multiply => (i16::from(p1) + i16::from(p2) + 1, i16::from(s1) + i16::from(s2)),
        };
        let scale = i8::try_from(scale)
            .ok()
            .filter(|scale| (0..=SCALE_MAX).contains(scale))
            .ok_or("its result has too many digits")?;
        let precision = u8::try_from(precision).unwrap_or(u8::MAX).min(DECIMAL128_MAX_PRECISION);
        let remote = Remote::Arithmetic {
            op,
            left: Box::new(left),
            right: Box::new(right),
            data_type: DataType::Decimal128(precision, scale),
        };
        match self.digits(&remote) {
            Some((whole, scale)) if whole + scale <= DIGITS_MAX => Ok(remote),
            _ => Err("its result may have too many digits".to_owned()),
        }
    }

    /// The most digits before and after the point of a number's exact value.
    fn digits(&self, remote: &Remote) -> Option<(u32, u32)> {
        Some(match remote {
            Remote::Value(Value::Decimal { unscaled, scale, .. }) => {
                let digits = unscaled.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
                let scale = u32::try_from(*scale).ok()?;
                (digits.saturating_sub(scale), scale)
            }
            Remote::Arithmetic { op, left, right, .. } => {
                let (w1, s1) = self.digits(left)?;
                let (w2, s2) = self.digits(right)?;
                match op {
                    Arithmetic::Add | Arithmetic::Subtract => (w1.max(w2) + 1, s1.max(s2)),
                    Arithmetic::Multiply => (w1 + w2, s1 + s2),
                }
            }
            Remote::Cast { expr, data_type } => {
                let scale = match data_type {
                    DataType::Decimal128(_, scale) => u32::try_from(*scale).ok()?,
                    _ => 0,
                };
                (self.digits(expr)?.0, scale)
            }
            other => match self.type_of(other) {
                DataType::Decimal128(precision, scale) => {
                    let scale = u32::try_from(scale).ok()?;
                    (u32::from(precision).saturating_sub(scale), scale)
                }
                whole if whole.is_integer() => (20, 0),
                _ => return None,
            },
        })
    }
}

/// A parameter of the statement, whose value comes when it runs.
fn parameter(placeholder: &Placeholder) -> Option<Remote> {
    Some(Remote::Parameter {
        index: number_of(&placeholder.id)?,
        data_type: placeholder.field.as_ref()?.data_type().clone(),
    })
}

/// A longer constant is not sent to be computed with; it may be compared with.
pub(crate) const CONSTANT_BYTES_MAX: usize = 1_024;

/// The digits every source that computes with decimals has room for (MySQL's DECIMAL), and those after the point.
const DIGITS_MAX: u32 = 60;
const SCALE_MAX: i8 = 30;

fn negated_if(negated: bool, remote: Remote) -> Remote {
    if negated { Remote::Not(Box::new(remote)) } else { remote }
}

/// Whether each value of one type is exactly one of the other.
fn widens(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Date32, DataType::Timestamp(TimeUnit::Microsecond, None)) => true,
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (from, DataType::Decimal128(precision, scale)) if from.is_integer() => {
            integer_digits(from).is_some_and(|digits| i16::from(*precision) - i16::from(*scale) >= digits)
        }
        (from, to) if from.is_signed_integer() && to.is_signed_integer() => {
            from.primitive_width() < to.primitive_width()
        }
        (from, to) if from.is_unsigned_integer() && to.is_integer() => from.primitive_width() < to.primitive_width(),
        _ => false,
    }
}

fn integer_digits(data_type: &DataType) -> Option<i16> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        _ => return None,
    })
}

fn calendar_part(expr: &Expr) -> Option<DatePart> {
    let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = expr else {
        return None;
    };
    Some(match name.to_ascii_lowercase().as_str() {
        "year" => DatePart::Year,
        "quarter" => DatePart::Quarter,
        "month" => DatePart::Month,
        "day" => DatePart::Day,
        _ => return None,
    })
}

fn whole_number(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => u32::try_from(*number).ok(),
        _ => None,
    }
}

/// A longer list travels as one array of keys, so that neither the statement nor its parameters grow with it.
const LIST_AS_VALUES_MAX: usize = 16;

/// A predicate of more comparisons than this is not sent: sources bound the depth of an expression.
const COMPARISONS_MAX: usize = 200;

/// Whether a source should be asked to parse a predicate of this size.
pub(crate) fn is_small(predicate: &Remote) -> bool {
    comparisons(predicate) <= COMPARISONS_MAX
}

fn comparisons(predicate: &Remote) -> usize {
    let mut count = 0;
    predicate.visit(&mut |part| {
        count += match part {
            Remote::InList { list, .. } => list.len(),
            Remote::Compare { .. } | Remote::InKeys { .. } | Remote::Like { .. } | Remote::IsNull(_) => 1,
            _ => 0,
        };
    });
    count
}

fn flipped(op: Comparison) -> Comparison {
    match op {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use caliber_connector_spi::RemoteColumn;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn table() -> Arc<RemoteTable> {
        let column = |name: &str, data_type: DataType| RemoteColumn {
            name: name.to_owned(),
            data_type,
            nullable: true,
            native_type: String::new(),
            comment: None,
            comparable: true,
            distinct_estimate: None,
        };
        Arc::new(RemoteTable {
            name: "t".to_owned(),
            namespace: None,
            is_view: false,
            columns: vec![column("id", DataType::Int64), column("rate", DataType::Float64)],
            primary_key: Vec::new(),
            unique_keys: Vec::new(),
            foreign_keys: Vec::new(),
            comment: None,
            rows_estimate: None,
        })
    }

    fn check(expr: &Expr, expected: &str) {
        let found =
            translate_over_table(expr, &table()).map_or_else(|| "local".to_owned(), |remote| format!("{remote:?}"));
        assert!(found.starts_with(expected), "{expr}: {found}");
    }

    #[test]
    fn a_literal_of_another_type_stays_local() {
        check(&col("id").eq(lit(1_i64)), "Compare");
        check(&col("id").eq(lit(1_i32)), "local");
        check(&col("id").eq(col("rate")), "local");
    }

    #[test]
    fn floats_travel_only_where_every_order_agrees() {
        check(&col("rate").gt(lit(0.5)), "Compare");
        check(&col("rate").gt(lit(0.0)), "local");
        check(&col("rate").eq(lit(-0.0)), "local");
        check(&col("rate").lt(lit(f64::NAN)), "local");
    }

    #[test]
    fn a_long_list_is_one_array_of_keys() {
        let list = |count: i64| (0..count).map(lit).collect::<Vec<_>>();
        check(&col("id").in_list(list(16), false), "InList");
        check(&col("id").in_list(list(17), false), "InKeys");
        check(&col("id").in_list(list(17), true), "Not(InKeys");
    }

    #[test]
    fn a_large_predicate_is_not_small() {
        let or = |count: i64| (1..count).fold(col("id").eq(lit(0_i64)), |all, at| all.or(col("id").eq(lit(at))));
        let size = |count: i64| translate_over_table(&or(count), &table()).map(|remote| is_small(&remote));
        assert_eq!(size(200), Some(true));
        assert_eq!(size(201), Some(false));
    }
}
