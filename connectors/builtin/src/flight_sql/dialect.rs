//! The SQL that a Caliber admits, and what of it is exact there.
//!
//! Owns: the spelling of casts, keys as one list. Never: a value in the text.
//!
//! The other server evaluates by the rules that hold here, so what it is not asked is: the least and greatest of floats (NaN
//! among them depends on the order of rows), and functions that the two may compute by different versions.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{
    AggregateFunction, Arithmetic, Call, Capabilities, DatePart, Dialect, Form, Function, Operand, Parameter, Sql,
    TypeClass, TypeSet,
};

/// What another Caliber evaluates as this one does.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    equality: EXACT,
    order: EXACT,
    keys: TypeSet::of(&[TypeClass::Integer, TypeClass::Decimal, TypeClass::Text, TypeClass::Date]),
    // The server takes 1 MiB of parameters: keys of a hundred bytes each still fit.
    keys_max: 10_000,
    like: true,
    limit: true,
    group: EXACT,
    sort: EXACT,
    extremes: EXACT,
    sums: TypeSet::of(&[TypeClass::Integer, TypeClass::Decimal]),
    join: true,
    union: true,
    subquery: true,
    predicate_values: true,
    functions: &[
        Function::Case,
        Function::IntegerArithmetic,
        Function::DecimalArithmetic,
        Function::NumberCast,
        Function::DateCast,
        Function::DatePart,
        Function::DateTrunc,
        Function::Substring,
        Function::CharLength,
    ],
    values: |data_type| type_name(data_type).is_some(),
    parameters_max: 1_000,
    ..Capabilities::NONE
};

const EXACT: TypeSet = TypeSet::of(&[
    TypeClass::Bool,
    TypeClass::Integer,
    TypeClass::Decimal,
    TypeClass::Text,
    TypeClass::Binary,
    TypeClass::Date,
    TypeClass::Timestamp,
    TypeClass::TimestampUtc,
]);

/// The dialect.
pub(super) struct Caliber;

/// The name of a type that travels as it is; `None` where it has none.
pub(super) fn type_name(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INTEGER UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal128(precision, scale) if *scale >= 0 => return Some(format!("DECIMAL({precision}, {scale})")),
        DataType::Utf8 => "VARCHAR",
        DataType::Binary => "BYTEA",
        DataType::Date32 => "DATE",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP(6)",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP(6) WITH TIME ZONE",
        _ => return None,
    };
    Some(name.to_owned())
}

fn cast(sql: &Sql, data_type: &DataType) -> Sql {
    // What has no name is never asked to be cast: `values` says so.
    let name = type_name(data_type).unwrap_or_else(|| "VARCHAR".to_owned());
    Sql::of("CAST({} AS {})", &[sql, &Sql::text(name)])
}

impl Dialect for Caliber {
    fn identifier(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn placeholder(&self, number: usize, parameter: &Parameter) -> String {
        let data_type = match parameter {
            Parameter::Keys(keys) => keys.data_type().clone(),
            Parameter::Value(value) => value.data_type(),
        };
        let name = type_name(&data_type).unwrap_or_else(|| "VARCHAR".to_owned());
        match parameter {
            Parameter::Keys(_) => format!("CAST(${number} AS {name}[])"),
            Parameter::Value(_) => format!("CAST(${number} AS {name})"),
        }
    }

    fn select(&self, operand: &Operand) -> Sql {
        match &operand.form {
            Form::Loose => cast(&operand.sql, &operand.data_type),
            _ => operand.sql.clone(),
        }
    }

    fn in_keys(&self, needle: &Operand, keys: &ArrayRef) -> Sql {
        Sql::of("({} IN (SELECT unnest({})))", &[&needle.sql, &Sql::keys(keys)])
    }

    fn like(&self, text: &Operand, pattern: &Operand) -> Sql {
        Sql::of("({} LIKE {})", &[&text.sql, &pattern.sql])
    }

    /// DataFusion 55 resolves none there.
    fn looks_up_in_on(&self) -> bool {
        false
    }

    /// And few that name columns from outside in other ways than `=`.
    fn has_half_joins(&self) -> bool {
        true
    }

    fn null(&self, data_type: &DataType) -> Sql {
        cast(&Sql::text("NULL"), data_type)
    }

    fn aggregate(&self, call: &Call<'_>) -> Operand {
        let of = call
            .argument
            .map_or_else(|| Sql::text("*"), |argument| argument.sql.clone());
        let name = Sql::text(match call.function {
            AggregateFunction::Count if call.distinct => "count(DISTINCT ",
            AggregateFunction::Count => "count(",
            AggregateFunction::Sum => "sum(",
            AggregateFunction::Min => "min(",
            AggregateFunction::Max => "max(",
        });
        let mut sql = Sql::of("{}{})", &[&name, &of]);
        if let Some(filter) = call.filter {
            sql.append(&Sql::of(" FILTER (WHERE {})", &[filter]));
        }
        Operand::loose(sql, call.data_type)
    }

    fn arithmetic(&self, op: Arithmetic, left: &Operand, right: &Operand, data_type: &DataType) -> Operand {
        let sign = Sql::text(match op {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
        });
        // Integers in the type of the result, where they do not overflow; decimals in their own, which give it.
        let side = |operand: &Operand| match (data_type.is_integer(), &operand.form) {
            (true, _) => cast(&operand.sql, data_type),
            (false, Form::Loose) => cast(&operand.sql, &operand.data_type),
            (false, _) => operand.sql.clone(),
        };
        Operand::loose(Sql::of("({} {} {})", &[&side(left), &sign, &side(right)]), data_type)
    }

    fn cast(&self, operand: &Operand, data_type: &DataType) -> Operand {
        // To DataFusion `CAST(x AS …)` has the name of `x`, and cannot be grouped by beside it.
        let name = Sql::text(format!("'{data_type}'"));
        Operand::typed(Sql::of("arrow_cast({}, {})", &[&operand.sql, &name]), data_type)
    }

    fn date_part(&self, part: DatePart, operand: &Operand) -> Operand {
        let sql = Sql::of("date_part('{}', {})", &[&Sql::text(word(part)), &operand.sql]);
        Operand::loose(sql, &DataType::Int32)
    }

    fn date_trunc(&self, part: DatePart, operand: &Operand) -> Operand {
        let sql = Sql::of("date_trunc('{}', {})", &[&Sql::text(word(part)), &operand.sql]);
        // A date becomes a timestamp there, and to compare the two takes nanoseconds.
        Operand::typed(cast(&sql, &operand.data_type), &operand.data_type)
    }

    fn substring(&self, text: &Operand, start: &Operand, length: Option<&Operand>) -> Operand {
        let sql = match length {
            Some(length) => Sql::of("substr({}, {}, {})", &[&text.sql, &start.sql, &length.sql]),
            None => Sql::of("substr({}, {})", &[&text.sql, &start.sql]),
        };
        Operand::typed(sql, &DataType::Utf8)
    }

    fn char_length(&self, text: &Operand) -> Operand {
        Operand::loose(Sql::of("character_length({})", &[&text.sql]), &DataType::Int32)
    }

    fn case(&self, branches: &[(Sql, Operand)], otherwise: Option<&Operand>, data_type: &DataType) -> Operand {
        Operand::loose(self.case_of(branches, otherwise), data_type)
    }
}

fn word(part: DatePart) -> &'static str {
    match part {
        DatePart::Year => "year",
        DatePart::Quarter => "quarter",
        DatePart::Month => "month",
        DatePart::Day => "day",
    }
}
