//! SQLite's SQL, exact over any stored value.
//!
//! Owns: what SQLite compares exactly, where a stored value is checked. Never: a value in the text, what is bound.
//!
//! SQLite compares what is stored, not what the column was declared to hold. A read of one table reads every column that
//! a predicate compares, so that a row it let through with a value that does not fit is an error (`prepare.rs`). Anything
//! larger checks where it compares: each column stands in a function of ours that gives the value or fails, or, for an
//! index, as it is with the function beside it. A row number, or a column of a STRICT table, holds what it declares.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use caliber_connector_spi::{
    AggregateFunction, Call, Capabilities, Comparison, DatePart, Dialect, Form, Function, Operand, Parameter,
    RemoteTable, Sql, Subquery, TypeClass, TypeSet, operator,
};

use super::types::Kind;

/// What SQLite evaluates exactly. Its LIKE ignores case; decimals, booleans and timestamps have several spellings; the
/// characters of a text end at a NUL.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    equality: COMPARED,
    order: TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Date]),
    keys: TypeSet::of(&[TypeClass::Integer, TypeClass::Text]),
    keys_max: 100_000,
    like: false,
    limit: true,
    group: COMPARED,
    sort: COMPARED,
    extremes: TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Date]),
    sums: TypeSet::of(&[TypeClass::Integer]),
    join: true,
    union: true,
    subquery: true,
    predicate_values: true,
    functions: &[Function::Case, Function::DatePart, Function::DateTrunc],
    values: |data_type| Kind::computed(data_type).is_some(),
    // A list of values becomes a chain of OR, and SQLite's expressions are at most 1,000 deep.
    parameters_max: 500,
    // The years 0000 to 9999.
    dates: (-719_528, 2_932_896),
    timestamps: (-62_167_219_200_000_000, 253_402_300_799_999_999),
    ..Capabilities::NONE
};

const COMPARED: TypeSet = TypeSet::of(&[TypeClass::Integer, TypeClass::Text, TypeClass::Binary, TypeClass::Date]);

/// The dialect.
pub(super) struct Sqlite {
    /// The tables by whose numbers a check names its column; `None` where the columns compared are read beside.
    pub(super) tables: Option<Vec<Arc<RemoteTable>>>,
}

impl Sqlite {
    /// `operand` through the function that fails for what its column cannot hold; `None` where nothing has to be checked.
    fn check(&self, operand: &Operand) -> Option<Sql> {
        let tables = self.tables.as_ref()?;
        let Form::Column(table, index) = &operand.form else {
            return None;
        };
        let native = &table.columns.get(*index)?.native_type;
        if is_trusted(native) {
            return None;
        }
        let function = match Kind::of(native) {
            Kind::Integer => "caliber_integer",
            Kind::Text => "caliber_text",
            Kind::Date => "caliber_date",
            Kind::Binary => "caliber_binary",
            Kind::Untyped => "caliber_untyped",
            // Nothing is done with these but to read them.
            Kind::Float | Kind::Decimal { .. } | Kind::Boolean | Kind::Timestamp => return None,
        };
        let number = tables.iter().position(|known| Arc::ptr_eq(known, table))?;
        let place = Sql::text(format!(", {number}, {index})"));
        Some(Sql::of("{}({}{}", &[&Sql::text(function), &operand.sql, &place]))
    }

    /// `condition` on the columns of `operands`, which it compares as they are, with their checks beside it.
    fn beside(&self, condition: Sql, operands: &[&Operand]) -> Sql {
        let mut whole = condition;
        for check in operands.iter().filter_map(|operand| self.check(operand)) {
            whole = Sql::of("({} AND {} IS NOT NULL)", &[&whole, &check]);
        }
        whole
    }

    /// A date sorts by its spelling, so one that is spelt otherwise has to be found before it is compared.
    fn dated(&self, operand: &Operand) -> Operand {
        if operand.data_type == DataType::Date32 {
            self.checked(operand)
        } else {
            operand.clone()
        }
    }
}

/// Whether SQLite itself keeps other values out of the column.
fn is_trusted(native: &str) -> bool {
    native.ends_with(super::types::ROW_NUMBER) || native.ends_with(super::types::STRICT)
}

/// A text by its bytes, whatever collation its column has.
fn bytewise(operand: &Operand) -> Sql {
    if matches!(operand.data_type, DataType::Utf8 | DataType::Date32) {
        Sql::of("{} COLLATE BINARY", &[&operand.sql])
    } else {
        operand.sql.clone()
    }
}

impl Dialect for Sqlite {
    fn identifier(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn placeholder(&self, number: usize, _: &Parameter) -> String {
        format!("?{number}")
    }

    fn checked(&self, operand: &Operand) -> Operand {
        match self.check(operand) {
            Some(sql) => Operand {
                nullable: operand.nullable,
                ..Operand::typed(sql, &operand.data_type)
            },
            None => operand.clone(),
        }
    }

    fn select(&self, operand: &Operand) -> Sql {
        operand.sql.clone()
    }

    fn compare(&self, left: &Operand, op: Comparison, right: &Operand) -> Sql {
        let (checked_left, checked_right) = (self.dated(left), self.dated(right));
        let (left, right) = (&checked_left, &checked_right);
        let sign = Sql::text(operator(op));
        // On the left: SQLite turns a chain of OR into IN, which forgets a collation on the right.
        let compared = Sql::of("({} {} {})", &[&bytewise(left), &sign, &right.sql]);
        if self.tables.is_none() && left.data_type == DataType::Date32 {
            return with_odd_dates(&compared, &[left, right]);
        }
        self.beside(compared, &[left, right])
    }

    fn in_list(&self, needle: &Operand, values: &[Operand]) -> Sql {
        let needle = self.dated(needle);
        let plain = Operand {
            form: Form::Derived,
            ..needle.clone()
        };
        let needle_of_date = self.tables.is_none() && needle.data_type == DataType::Date32;
        let compared = if needle_of_date { &needle } else { &plain };
        let equal: Vec<Sql> = values
            .iter()
            .map(|value| self.compare(compared, Comparison::Equal, value))
            .collect();
        self.beside(Sql::of("({})", &[&Sql::joined(&equal, " OR ")]), &[&needle])
    }

    fn in_keys(&self, needle: &Operand, keys: &ArrayRef) -> Sql {
        // Text travels as hexadecimal digits: JSON text ends at its first NUL in SQLite.
        let value = Sql::text(if *keys.data_type() == DataType::Int64 {
            "value"
        } else {
            "CAST(unhex(value) AS TEXT)"
        });
        let found = Sql::of(
            "({} IN (SELECT {} FROM json_each({})))",
            &[&bytewise(needle), &value, &Sql::keys(keys)],
        );
        self.beside(found, &[needle])
    }

    fn in_query(&self, needle: &Operand, query: &Subquery<'_>) -> Sql {
        let needle = self.dated(needle);
        let column = self.checked(query.column()).sql;
        let found = Sql::of("({} IN ({}))", &[&bytewise(&needle), &query.selecting(&column)]);
        self.beside(found, &[&needle])
    }

    fn like(&self, text: &Operand, pattern: &Operand) -> Sql {
        // Never asked for, since it is not declared: SQLite's LIKE ignores the case of ASCII letters.
        Sql::of("({} LIKE {} ESCAPE '\\')", &[&text.sql, &pattern.sql])
    }

    fn null(&self, _: &DataType) -> Sql {
        Sql::text("NULL")
    }

    fn group(&self, key: &Operand) -> (Sql, Operand) {
        (bytewise(key), key.clone())
    }

    fn order(&self, key: &Operand, descending: bool, nulls_first: bool) -> Sql {
        let mut term = bytewise(key);
        term.push(if descending { " DESC" } else { "" });
        // NULL is the least value unless said otherwise.
        if key.nullable && nulls_first == descending {
            term.push(if nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
        }
        term
    }

    fn aggregate(&self, call: &Call<'_>) -> Operand {
        let of = match call.argument {
            Some(argument) if call.function == AggregateFunction::Count && !call.distinct => argument.sql.clone(),
            Some(argument) => bytewise(argument),
            None => Sql::text("*"),
        };
        let name = Sql::text(match call.function {
            AggregateFunction::Count if call.distinct => "count(DISTINCT ",
            AggregateFunction::Count => "count(",
            // SQLite's own fails where a sum is out of range on the way, and so by the order of rows.
            AggregateFunction::Sum => "caliber_sum(",
            AggregateFunction::Min => "min(",
            AggregateFunction::Max => "max(",
        });
        let mut sql = Sql::of("{}{})", &[&name, &of]);
        if let Some(filter) = call.filter {
            sql.append(&Sql::of(" FILTER (WHERE {})", &[filter]));
        }
        Operand::typed(sql, call.data_type)
    }

    fn date_part(&self, part: DatePart, operand: &Operand) -> Operand {
        let day = &operand.sql;
        let sql = match part {
            DatePart::Year => Sql::of("CAST(substr({}, 1, 4) AS INTEGER)", &[day]),
            DatePart::Quarter => Sql::of("((CAST(substr({}, 6, 2) AS INTEGER) + 2) / 3)", &[day]),
            DatePart::Month => Sql::of("CAST(substr({}, 6, 2) AS INTEGER)", &[day]),
            DatePart::Day => Sql::of("CAST(substr({}, 9, 2) AS INTEGER)", &[day]),
        };
        Operand::typed(sql, &DataType::Int32)
    }

    fn date_trunc(&self, part: DatePart, operand: &Operand) -> Operand {
        let day = &operand.sql;
        let sql = match part {
            DatePart::Year => Sql::of("(substr({}, 1, 4) || '-01-01')", &[day]),
            DatePart::Quarter => Sql::of(
                "(substr({}, 1, 5) || CASE WHEN substr({}, 6, 2) < '04' THEN '01' WHEN substr({}, 6, 2) < '07' THEN '04' \
                 WHEN substr({}, 6, 2) < '10' THEN '07' ELSE '10' END || '-01')",
                &[day, day, day, day],
            ),
            DatePart::Month => Sql::of("(substr({}, 1, 7) || '-01')", &[day]),
            DatePart::Day => day.clone(),
        };
        Operand::typed(sql, &operand.data_type)
    }

    fn substring(&self, text: &Operand, start: &Operand, length: Option<&Operand>) -> Operand {
        let sql = match length {
            Some(length) => Sql::of("substr({}, {}, {})", &[&text.sql, &start.sql, &length.sql]),
            None => Sql::of("substr({}, {})", &[&text.sql, &start.sql]),
        };
        Operand::typed(sql, &DataType::Utf8)
    }

    fn char_length(&self, text: &Operand) -> Operand {
        Operand::typed(Sql::of("length({})", &[&text.sql]), &DataType::Int32)
    }
}

/// `compared`, or TRUE where a column of it holds no date as it is spelt here: the row is let through, and its date read.
fn with_odd_dates(compared: &Sql, sides: &[&Operand]) -> Sql {
    let mut whole = compared.clone();
    for side in sides.iter().filter(|side| side.is_name()) {
        // `+0 days` makes date() normalise 30 February instead of giving it back; a year before 0 is canonical to date()
        // and not to us. The text it is compared to must not look like a number, or the column's affinity would make it
        // one.
        whole = Sql::of(
            "({} OR date({}, '+0 days') IS NOT {} OR {} COLLATE BINARY < '0000-00-00')",
            &[&whole, &side.sql, &side.sql, &side.sql],
        );
    }
    whole
}
