//! How PostgreSQL spells a `RemoteQuery`, and what of it is exact there.
//!
//! Owns: casts, collations, array parameters. Never: a value in the text.
//!
//! Text: `=` under a deterministic collation compares bytes; order is by bytes only under `COLLATE "C"`.
//! `char(n)` ignores trailing blanks and is read without them, so it is compared as the text that was read.
//!
//! `infinity` is no date here. It takes part in comparisons, where it is greater or less than every date; a function
//! of it gives what is refused once it is read.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use caliber_connector_spi::{
    AggregateFunction, Arithmetic, Call, Capabilities, Comparison, DatePart, Dialect, Form, Function, Operand,
    Parameter, RemoteTable, Sql, Subquery, TypeClass, TypeSet, Value, operator,
};

/// What PostgreSQL evaluates as DataFusion does. Floats are not in it: `-0.0 = 0.0` there, and not here.
pub const CAPABILITIES: Capabilities = Capabilities {
    equality: EXACT,
    order: EXACT,
    keys: TypeSet::of(&[
        TypeClass::Integer,
        TypeClass::Decimal,
        TypeClass::Text,
        TypeClass::Binary,
        TypeClass::Date,
        TypeClass::Timestamp,
        TypeClass::TimestampUtc,
    ]),
    keys_max: 65_536,
    like: true,
    limit: true,
    group: EXACT,
    sort: EXACT,
    // There is no min(bytea) before PostgreSQL 18.
    extremes: TypeSet::of(&[
        TypeClass::Bool,
        TypeClass::Integer,
        TypeClass::Decimal,
        TypeClass::Text,
        TypeClass::Date,
        TypeClass::Timestamp,
        TypeClass::TimestampUtc,
    ]),
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
    parameters_max: 30_000,
    // 4713 BC to 5874897 AD.
    dates: (-2_440_588, 2_145_042_905),
    timestamps: (-210_866_803_200_000_000, i64::MAX),
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
#[derive(Default)]
pub struct Postgres {
    /// Reads its one table in a range of rows, whose bounds are the two parameters after so many.
    pub range_after: Option<usize>,
}

/// The type that is text to us, and travels as its bytes.
pub const UUID: &str = "uuid";

/// How a text is reached.
#[derive(Clone, Copy, PartialEq)]
enum Text {
    /// `text`, `varchar`, a parameter, a text already computed: as it stands, with an index.
    Plain,
    /// `char(n)`: without its padding; an index can narrow first.
    Padded,
    /// `inet`: a cast would add the mask of a lone host, which the server does not print.
    Network,
    /// Anything else: by its text form.
    Cast,
}

fn text_of(operand: &Operand) -> Text {
    let Some(column) = operand.described() else {
        return Text::Plain;
    };
    let native = column.native_type.as_str();
    let native = native.split_once(" collate ").map_or(native, |(native, _)| native);
    if native == "text" || native.starts_with("character varying") {
        Text::Plain
    } else if native == "bpchar" || native == "character" || native.starts_with("character(") {
        Text::Padded
    } else if native == "inet" {
        Text::Network
    } else {
        Text::Cast
    }
}

/// Whether a text may have a collation that is not the database's own: two such do not meet in one comparison.
fn is_collated(operand: &Operand) -> bool {
    match operand.described() {
        Some(column) => column.native_type.contains(" collate "),
        None => operand.as_value().is_none(),
    }
}

/// An operand as text, its collation left alone.
fn as_text(operand: &Operand) -> Sql {
    match text_of(operand) {
        Text::Plain => operand.sql.clone(),
        Text::Padded | Text::Cast => Sql::of("{}::text", &[&operand.sql]),
        Text::Network => Sql::of("abbrev({})", &[&operand.sql]),
    }
}

fn bytewise(operand: &Operand) -> Sql {
    Sql::of("{} COLLATE \"C\"", &[&as_text(operand)])
}

/// The name of the type that is read as `data_type`.
fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "bool",
        DataType::Int8 | DataType::Int16 => "int2",
        DataType::Int32 => "int4",
        DataType::Int64 => "int8",
        DataType::Float32 => "float4",
        DataType::Float64 => "float8",
        DataType::Decimal128(..) | DataType::UInt64 => "numeric",
        DataType::Binary => "bytea",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Time64(_) => "time",
        _ => "text",
    }
}

fn cast(sql: &Sql, data_type: &DataType) -> Sql {
    Sql::of("{}::{}", &[sql, &Sql::text(type_name(data_type))])
}

/// The array type that keys of `data_type` are sent as, and compared as.
fn array_type(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "text[]",
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => "text[]::numeric[]",
        DataType::Binary => "bytea[]",
        DataType::Date32 => "date[]",
        DataType::Timestamp(_, None) => "timestamp[]",
        DataType::Timestamp(_, Some(_)) => "timestamptz[]",
        _ => "int8[]",
    }
}

impl Dialect for Postgres {
    /// Parallel workers would each compute a grouped side of a join for themselves (PostgreSQL 12 and later take the word).
    fn computes_first(&self) -> bool {
        true
    }

    fn identifier(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn table(&self, table: &RemoteTable) -> String {
        let name = self.identifier(&table.name);
        let name = match &table.namespace {
            Some(namespace) => format!("{}.{name}", self.identifier(namespace)),
            None => name,
        };
        match self.range_after {
            None => name,
            Some(known) => format!(
                "(SELECT * FROM {name} WHERE ctid >= ${} AND ctid < ${})",
                known + 1,
                known + 2
            ),
        }
    }

    fn placeholder(&self, number: usize, parameter: &Parameter) -> String {
        let cast = match parameter {
            Parameter::Keys(keys) => array_type(keys.data_type()),
            Parameter::Value(value) => match value {
                Value::Bool(_) => "bool",
                Value::Int(_) => "int8",
                Value::UInt(value) if i64::try_from(*value).is_ok() => "int8",
                Value::UInt(_) | Value::Decimal { .. } => "text::numeric",
                Value::Float(_) => "float8",
                Value::Text(_) => "text",
                Value::Bytes(_) => "bytea",
                Value::Date(_) => "date",
                Value::Timestamp(_) => "timestamp",
                Value::TimestampUtc(_) => "timestamptz",
            },
        };
        format!("${number}::{cast}")
    }

    fn select(&self, operand: &Operand) -> Sql {
        if operand.is_text() && operand.described().is_some() {
            return as_text(operand);
        }
        match &operand.form {
            Form::Loose => cast(&operand.sql, &operand.data_type),
            _ => operand.sql.clone(),
        }
    }

    fn answer(&self, operand: &Operand) -> Sql {
        // Sixteen bytes; the server takes longer to write them as text than we do.
        if operand.described().is_some_and(|column| column.native_type == UUID) {
            operand.sql.clone()
        } else {
            self.select(operand)
        }
    }

    fn united(&self, operand: &Operand) -> Sql {
        if operand.is_text() {
            bytewise(operand)
        } else {
            self.select(operand)
        }
    }

    fn compare(&self, left: &Operand, op: Comparison, right: &Operand) -> Sql {
        let sign = Sql::text(operator(op));
        if !left.is_text() {
            return Sql::of("({} {} {})", &[&left.sql, &sign, &right.sql]);
        }
        if !matches!(op, Comparison::Equal | Comparison::NotEqual) {
            return Sql::of("({} {} {})", &[&bytewise(left), &sign, &bytewise(right)]);
        }
        let exact = |left: &Operand, right: &Operand| Sql::of("({} {} {})", &[&as_text(left), &sign, &as_text(right)]);
        let is_value = |operand: &Operand| operand.as_value().is_some();
        if !is_value(left) && !is_value(right) && (is_collated(left) || is_collated(right)) {
            return Sql::of("({} {} {})", &[&bytewise(left), &sign, &bytewise(right)]);
        }
        match (text_of(left), text_of(right)) {
            // char(n) is compared without trailing blanks, as it is read.
            (Text::Padded, Text::Padded) => Sql::of("({} {} {})", &[&left.sql, &sign, &right.sql]),
            (Text::Padded, Text::Plain) if op == Comparison::Equal && is_value(right) => {
                let narrow = Sql::of("{} = {}::bpchar", &[&left.sql, &right.sql]);
                Sql::of("({} AND {})", &[&narrow, &exact(left, right)])
            }
            (Text::Plain, Text::Padded) if op == Comparison::Equal && is_value(left) => self.compare(right, op, left),
            _ => exact(left, right),
        }
    }

    fn in_list(&self, needle: &Operand, values: &[Operand]) -> Sql {
        if needle.is_text() && text_of(needle) == Text::Padded {
            let equal: Vec<Sql> = values
                .iter()
                .map(|value| self.compare(needle, Comparison::Equal, value))
                .collect();
            return Sql::of("({})", &[&Sql::joined(&equal, " OR ")]);
        }
        let needle = if needle.is_text() {
            as_text(needle)
        } else {
            needle.sql.clone()
        };
        let values: Vec<Sql> = values.iter().map(|value| value.sql.clone()).collect();
        Sql::of("({} IN ({}))", &[&needle, &Sql::joined(&values, ", ")])
    }

    fn in_keys(&self, needle: &Operand, keys: &ArrayRef) -> Sql {
        let keys = Sql::keys(keys);
        if !needle.is_text() {
            return Sql::of("({} = ANY({}))", &[&needle.sql, &keys]);
        }
        let exact = Sql::of("{} = ANY({})", &[&as_text(needle), &keys]);
        if text_of(needle) == Text::Padded {
            let narrow = Sql::of("{} = ANY({}::bpchar[])", &[&needle.sql, &keys]);
            return Sql::of("({} AND {})", &[&narrow, &exact]);
        }
        Sql::of("({})", &[&exact])
    }

    fn in_query(&self, needle: &Operand, query: &Subquery<'_>) -> Sql {
        let column = query.column();
        let (needle, column) = if needle.is_text() {
            if is_collated(needle) || is_collated(column) {
                (bytewise(needle), bytewise(column))
            } else if (text_of(needle), text_of(column)) == (Text::Padded, Text::Padded) {
                (needle.sql.clone(), column.sql.clone())
            } else {
                (as_text(needle), as_text(column))
            }
        } else {
            (needle.sql.clone(), column.sql.clone())
        };
        Sql::of("({} IN ({}))", &[&needle, &query.selecting(&column)])
    }

    fn like(&self, text: &Operand, pattern: &Operand) -> Sql {
        Sql::of("({} LIKE {})", &[&as_text(text), &pattern.sql])
    }

    fn null(&self, data_type: &DataType) -> Sql {
        cast(&Sql::text("NULL"), data_type)
    }

    fn group(&self, key: &Operand) -> (Sql, Operand) {
        if key.is_text() && matches!(text_of(key), Text::Padded | Text::Cast) {
            let text = as_text(key);
            return (text.clone(), Operand::typed(text, &key.data_type));
        }
        (key.sql.clone(), key.clone())
    }

    fn order(&self, key: &Operand, descending: bool, nulls_first: bool) -> Sql {
        let mut term = if key.is_text() { bytewise(key) } else { key.sql.clone() };
        term.push(if descending { " DESC" } else { "" });
        // NULL is the greatest value unless said otherwise.
        if key.nullable && nulls_first != descending {
            term.push(if nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
        }
        term
    }

    fn aggregate(&self, call: &Call<'_>) -> Operand {
        let of = call.argument.map_or_else(
            || Sql::text("*"),
            |argument| match (call.function, call.distinct) {
                (AggregateFunction::Min | AggregateFunction::Max, _) if argument.is_text() => bytewise(argument),
                (AggregateFunction::Count, true) if argument.is_text() => as_text(argument),
                _ => argument.sql.clone(),
            },
        );
        let is_bool = *call.data_type == DataType::Boolean;
        let name = Sql::text(match call.function {
            AggregateFunction::Count if call.distinct => "count(DISTINCT ",
            AggregateFunction::Count => "count(",
            AggregateFunction::Sum => "sum(",
            AggregateFunction::Min if is_bool => "bool_and(",
            AggregateFunction::Max if is_bool => "bool_or(",
            AggregateFunction::Min => "min(",
            AggregateFunction::Max => "max(",
        });
        let mut sql = Sql::of("{}{})", &[&name, &of]);
        if let Some(filter) = call.filter {
            sql.append(&Sql::of(" FILTER (WHERE {})", &[filter]));
        }
        let narrow = call
            .argument
            .is_some_and(|argument| matches!(argument.form, Form::Loose));
        // The sum of bigint is a numeric: what does not fit is an error.
        if call.function == AggregateFunction::Sum && (narrow || call.data_type.is_integer()) {
            sql = cast(&sql, call.data_type);
        }
        match call.function {
            AggregateFunction::Min | AggregateFunction::Max if narrow => Operand::loose(sql, call.data_type),
            _ => Operand::typed(sql, call.data_type),
        }
    }

    fn arithmetic(&self, op: Arithmetic, left: &Operand, right: &Operand, data_type: &DataType) -> Operand {
        let sign = Sql::text(match op {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
        });
        // Each side in the type of the result, where it does not overflow.
        let side = |operand: &Operand| match (data_type.is_integer(), operand.as_value()) {
            (true, None) => cast(&operand.sql, data_type),
            _ => operand.sql.clone(),
        };
        let sql = Sql::of("({} {} {})", &[&side(left), &sign, &side(right)]);
        Operand::typed(sql, data_type)
    }

    fn date_part(&self, part: DatePart, operand: &Operand) -> Operand {
        let day = &operand.sql;
        let extract = |what: &'static str| Sql::of("extract({} FROM {})::int8", &[&Sql::text(what), day]);
        // What is no year of a calendar becomes more than an int4 holds. There is no year 0 there: 1 BC is -1.
        let sql = match part {
            DatePart::Year => Sql::of(
                "(CASE WHEN NOT isfinite({}) THEN 10000000000 WHEN {} < '0001-01-01' THEN {} + 1 ELSE {} END)",
                &[day, day, &extract("year"), &extract("year")],
            ),
            DatePart::Quarter => not_infinite(day, &extract("quarter")),
            DatePart::Month => not_infinite(day, &extract("month")),
            DatePart::Day => not_infinite(day, &extract("day")),
        };
        Operand::loose(sql, &DataType::Int32)
    }

    fn date_trunc(&self, part: DatePart, operand: &Operand) -> Operand {
        let day = &operand.sql;
        let name = Sql::text(match part {
            DatePart::Year => "'year'",
            DatePart::Quarter => "'quarter'",
            DatePart::Month => "'month'",
            DatePart::Day => "'day'",
        });
        let kind = Sql::text(type_name(&operand.data_type));
        // Beyond these no timestamp is sure to be found: such a day becomes one that is refused when it is read.
        let sql = Sql::of(
            "(CASE WHEN {} >= '4713-01-01 BC' AND {} < '294276-01-01' THEN date_trunc({}, {}::timestamp)::{} \
             WHEN {} IS NOT NULL THEN 'infinity'::{} END)",
            &[day, day, &name, day, &kind, day, &kind],
        );
        Operand::typed(sql, &operand.data_type)
    }

    fn substring(&self, text: &Operand, start: &Operand, length: Option<&Operand>) -> Operand {
        let text = as_text(text);
        let sql = match length {
            Some(length) => Sql::of(
                "substring({} FROM {}::int4 FOR {}::int4)",
                &[&text, &start.sql, &length.sql],
            ),
            None => Sql::of("substring({} FROM {}::int4)", &[&text, &start.sql]),
        };
        Operand::typed(sql, &DataType::Utf8)
    }

    fn char_length(&self, text: &Operand) -> Operand {
        Operand::typed(Sql::of("char_length({})", &[&as_text(text)]), &DataType::Int32)
    }

    fn case(&self, branches: &[(Sql, Operand)], otherwise: Option<&Operand>, data_type: &DataType) -> Operand {
        let sql = self.case_of(branches, otherwise);
        Operand::typed(cast(&sql, data_type), data_type)
    }
}

fn not_infinite(day: &Sql, part: &Sql) -> Sql {
    Sql::of(
        "(CASE WHEN isfinite({}) THEN {} WHEN {} IS NOT NULL THEN 10000000000 END)",
        &[day, part, day],
    )
}
