//! What differs between databases.
//!
//! Owns: the closed list of spellings, the plain ones as defaults. Never: the shape of a statement.
//!
//! Every expression must be total: it may be evaluated on any stored row, in any order, and must not fail there. Where
//! a stored value has no counterpart here (`infinity`, a date 0000-00-00), the expression gives what is refused when
//! it is read.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::sql::chain;
use super::{Operand, Parameter, Sql, Subquery};
use crate::{AggregateFunction, Arithmetic, Comparison, DatePart, RemoteTable, Value};

/// One aggregate to be written.
#[derive(Debug)]
pub struct Call<'a> {
    /// The function.
    pub function: AggregateFunction,
    /// What of; `None` for the rows.
    pub argument: Option<&'a Operand>,
    /// Whether equal arguments count once.
    pub distinct: bool,
    /// The condition on the rows.
    pub filter: Option<&'a Sql>,
    /// The type of the result.
    pub data_type: &'a DataType,
}

/// How one database spells things. Every method writes SQL; none may write a value.
pub trait Dialect {
    /// A quoted identifier. The caller guarantees that it has no NUL.
    fn identifier(&self, name: &str) -> String;

    /// A table to read from.
    fn table(&self, table: &RemoteTable) -> String {
        let name = self.identifier(&table.name);
        match &table.namespace {
            Some(namespace) => format!("{}.{name}", self.identifier(namespace)),
            None => name,
        }
    }

    /// The placeholder of the parameter with that number, from 1, typed if the database needs it.
    fn placeholder(&self, number: usize, parameter: &Parameter) -> String;

    /// Whether a grouped side of a join is named first (`WITH … AS MATERIALIZED`), so that it is computed once.
    fn computes_first(&self) -> bool {
        false
    }

    /// Whether placeholders have no number, so that a parameter is bound each time it is written.
    fn is_positional(&self) -> bool {
        false
    }

    /// `operand` as a part of an expression: where the database stores other values in a column than were declared,
    /// one that fails for those.
    fn checked(&self, operand: &Operand) -> Operand {
        operand.clone()
    }

    /// What is selected for `operand`: of the database's own type for its Arrow type.
    fn select(&self, operand: &Operand) -> Sql;

    /// What is selected for it as a column of the answer: what the connector reads into its Arrow type.
    fn answer(&self, operand: &Operand) -> Sql {
        self.select(operand)
    }

    /// What is selected for it where other columns take its place in other rows: the same type and collation for all.
    fn united(&self, operand: &Operand) -> Sql {
        self.select(operand)
    }

    /// `left op right`, exact; text bytewise.
    fn compare(&self, left: &Operand, op: Comparison, right: &Operand) -> Sql {
        let sign = Sql::text(operator(op));
        Sql::of("({} {} {})", &[&left.sql, &sign, &right.sql])
    }

    /// `needle` equals one of `values`.
    fn in_list(&self, needle: &Operand, values: &[Operand]) -> Sql {
        let equal = |value| self.compare(needle, Comparison::Equal, value);
        chain(values.iter().map(equal).collect(), " OR ", "(1 = 0)")
    }

    /// `needle` equals one of `keys`, most often through one array parameter; where the database has no such
    /// parameter, through one for each key.
    fn in_keys(&self, needle: &Operand, keys: &ArrayRef) -> Sql;

    /// `needle` equals a value of `query`'s column. Only TRUE counts.
    fn in_query(&self, needle: &Operand, query: &Subquery<'_>) -> Sql {
        let column = self.select(query.column());
        Sql::of("({} IN ({}))", &[&needle.sql, &query.selecting(&column)])
    }

    /// `text LIKE pattern`, case-sensitive, escape `\`.
    fn like(&self, text: &Operand, pattern: &Operand) -> Sql;

    /// `operand IS NULL`.
    fn is_null(&self, operand: &Operand) -> Sql {
        Sql::of("({} IS NULL)", &[&operand.sql])
    }

    /// A NULL of that type.
    fn null(&self, data_type: &DataType) -> Sql;

    /// What is grouped by for `key`, and what its value is in the grouped rows.
    fn group(&self, key: &Operand) -> (Sql, Operand) {
        (key.sql.clone(), key.clone())
    }

    /// Whether HAVING can speak of the value of `key`, which is grouped by.
    fn has_key(&self, key: &Operand) -> bool {
        let _ = key;
        true
    }

    /// Whether a derived table that the database merges into the SELECT around it still gives the same.
    fn merges_exactly(&self) -> bool {
        true
    }

    /// Whether the condition of a join may hold a subquery that names columns of the join.
    fn looks_up_in_on(&self) -> bool {
        true
    }

    /// Whether a semi or anti join is spelt `LEFT SEMI JOIN`, `LEFT ANTI JOIN`, and not EXISTS.
    fn has_half_joins(&self) -> bool {
        false
    }

    /// One key of ORDER BY (it may be several terms), text by bytes.
    fn order(&self, key: &Operand, descending: bool, nulls_first: bool) -> Sql {
        let direction = match (descending, nulls_first) {
            (false, true) => " ASC NULLS FIRST",
            (false, false) => " ASC NULLS LAST",
            (true, true) => " DESC NULLS FIRST",
            (true, false) => " DESC NULLS LAST",
        };
        let mut term = key.sql.clone();
        term.push(direction);
        term
    }

    /// An aggregate, exact or an error.
    fn aggregate(&self, call: &Call<'_>) -> Operand;

    /// `left op right` of numbers.
    fn arithmetic(&self, op: Arithmetic, left: &Operand, right: &Operand, data_type: &DataType) -> Operand {
        let sign = Sql::text(match op {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
        });
        let sql = Sql::of("({} {} {})", &[&left.sql, &sign, &right.sql]);
        Operand::loose(sql, data_type)
    }

    /// `operand` as a wider type. Left as it is where the database compares both alike, for an index.
    fn cast(&self, operand: &Operand, data_type: &DataType) -> Operand {
        Operand::loose(operand.sql.clone(), data_type)
    }

    /// A part of a date or timestamp, as `Int32`.
    fn date_part(&self, part: DatePart, operand: &Operand) -> Operand;

    /// A date or timestamp cut to a part, of its type.
    fn date_trunc(&self, part: DatePart, operand: &Operand) -> Operand;

    /// The characters of a text from the `start`th, at most `length`.
    fn substring(&self, text: &Operand, start: &Operand, length: Option<&Operand>) -> Operand;

    /// The number of a text's characters, as `Int32`.
    fn char_length(&self, text: &Operand) -> Operand;

    /// CASE, all values of `data_type`.
    fn case(&self, branches: &[(Sql, Operand)], otherwise: Option<&Operand>, data_type: &DataType) -> Operand {
        Operand::loose(self.case_of(branches, otherwise), data_type)
    }

    /// The text of CASE.
    fn case_of(&self, branches: &[(Sql, Operand)], otherwise: Option<&Operand>) -> Sql {
        let mut sql = Sql::text("(CASE");
        for (when, then) in branches {
            sql.append(&Sql::of(" WHEN {} THEN {}", &[when, &self.united(then)]));
        }
        if let Some(value) = otherwise {
            sql.append(&Sql::of(" ELSE {}", &[&self.united(value)]));
        }
        sql.push(" END)");
        sql
    }
}

/// The SQL operator.
pub fn operator(op: Comparison) -> &'static str {
    match op {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// The operator that is TRUE where `op` is FALSE.
pub(super) fn inverse(op: Comparison) -> Comparison {
    match op {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

/// The value that a parameter is, or `None` for keys.
impl Parameter {
    /// The single value.
    pub fn as_value(&self) -> Option<&Value> {
        match self {
            Parameter::Value(value) => Some(value),
            Parameter::Keys(_) => None,
        }
    }
}
