//! The predicates tried over each column of a hostile table.
//!
//! Owns: which values are worth comparing with. Never: whether a source may be asked (`Capabilities`).

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter;
use arrow::datatypes::DataType;
use caliber_connector_spi::{Comparison, Expr, RemoteTable, Value};

use super::{is_known, local};

const OPERATORS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];

/// Every kind of predicate, over every column whose values are known, with the values it holds and their neighbours.
pub fn predicates(table: &RemoteTable, all: &RecordBatch) -> Vec<Expr> {
    let mut found = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        found.push(Expr::IsNull(Box::new(Expr::Column(index))));
        if !is_known(&column.data_type) {
            continue;
        }
        let array = all.column(index);
        let mut values: Vec<Value> = Vec::new();
        for row in 0..array.len() {
            let Some(value) = local::cell(array, row) else { continue };
            for candidate in neighbours(&value).into_iter().chain([value]) {
                if !values.contains(&candidate) {
                    values.push(candidate);
                }
            }
        }
        over_column(index, &values, &mut found);
        let known = (0..array.len()).map(|row| !array.is_null(row));
        let some = (0..array.len()).map(|row| !array.is_null(row) && row % 2 == 0);
        for mask in [
            known.collect::<BooleanArray>(),
            some.collect(),
            BooleanArray::from(vec![false; array.len()]),
        ] {
            found.push(Expr::InKeys {
                column: index,
                keys: filter(array, &mask).expect("one length"),
            });
        }
    }
    found
}

fn over_column(index: usize, values: &[Value], found: &mut Vec<Expr>) {
    let column = || Box::new(Expr::Column(index));
    for value in values {
        for op in OPERATORS {
            let compare = Expr::Compare {
                op,
                left: column(),
                right: Box::new(Expr::Value(value.clone())),
            };
            found.push(compare.clone());
            if op == Comparison::Equal || op == Comparison::Less {
                found.push(Expr::Not(Box::new(compare)));
                found.push(Expr::Compare {
                    op,
                    left: Box::new(Expr::Value(value.clone())),
                    right: column(),
                });
            }
        }
        if let Value::Text(text) = value {
            patterns(text).into_iter().for_each(|pattern| {
                found.push(Expr::Like {
                    expr: column(),
                    pattern,
                })
            });
        }
        if matches!(value, Value::Bool(_)) {
            found.push(Expr::Column(index));
        }
    }
    for pair in values.chunks(3) {
        found.push(Expr::InList {
            expr: column(),
            list: pair.to_vec(),
        });
        found.push(Expr::Not(Box::new(Expr::InList {
            expr: column(),
            list: pair.to_vec(),
        })));
        if let [first, second, ..] = pair {
            let equal = |value: &Value| Expr::Compare {
                op: Comparison::Equal,
                left: column(),
                right: Box::new(Expr::Value(value.clone())),
            };
            found.push(Expr::Or(vec![equal(first), Expr::IsNull(column()), equal(second)]));
            let unknown = || Expr::Null(DataType::Boolean);
            found.push(Expr::Or(vec![equal(first), unknown()]));
            found.push(Expr::Not(Box::new(Expr::And(vec![equal(first), unknown()]))));
            found.push(Expr::And(vec![
                Expr::Not(Box::new(equal(first))),
                Expr::Not(Box::new(equal(second))),
            ]));
        }
    }
}

/// Values that a careless comparison would hold equal, or order wrongly.
fn neighbours(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(it) => vec![Value::Bool(!it)],
        Value::Int(number) => vec![
            Value::Int(number.saturating_add(1)),
            Value::Int(number.saturating_sub(1)),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Int(1 << 53),
            Value::Int((1 << 53) + 1),
        ],
        Value::UInt(number) => vec![
            Value::UInt(number.saturating_add(1)),
            Value::UInt(0),
            Value::UInt(u64::MAX),
        ],
        Value::Float(number) => vec![Value::Float(-number), Value::Float(number + 1.0)],
        Value::Decimal {
            unscaled,
            precision,
            scale,
        } => {
            let near = |unscaled| Value::Decimal {
                unscaled,
                precision: *precision,
                scale: *scale,
            };
            let most = 10_i128.pow(u32::from(*precision)) - 1;
            vec![
                near((unscaled + 1).min(most)),
                near((unscaled - 1).max(-most)),
                near(-unscaled),
                near(most),
                near(0),
            ]
        }
        Value::Text(text) => vec![
            Value::Text(text.to_uppercase()),
            Value::Text(text.to_lowercase()),
            Value::Text(format!("{text} ")),
            Value::Text(text.trim_end().to_owned()),
            Value::Text(text.chars().take(1).collect()),
            Value::Text(format!("{text}\0")),
            Value::Text("😀中文'\"\\%_".to_owned()),
        ],
        Value::Bytes(bytes) => vec![
            Value::Bytes([bytes.as_slice(), &[0]].concat()),
            Value::Bytes(vec![255, 0, 39, 92]),
        ],
        Value::Date(day) => {
            vec![
                Value::Date(day + 1),
                Value::Date(day - 1),
                Value::Date(-1_000_000),
                Value::Date(3_000_000),
            ]
        }
        Value::Timestamp(at) => vec![
            Value::Timestamp(at + 1),
            Value::Timestamp(at - 1),
            Value::Timestamp(i64::MIN),
        ],
        Value::TimestampUtc(at) => {
            vec![
                Value::TimestampUtc(at + 1),
                Value::TimestampUtc(at - 1),
                Value::TimestampUtc(-1),
                Value::TimestampUtc(i64::MAX),
            ]
        }
    }
}

/// Patterns that match `text`, or nearly.
fn patterns(text: &str) -> Vec<String> {
    let plain: String = text.chars().filter(|character| *character != '\0').collect();
    let escaped: String = plain
        .chars()
        .flat_map(|character| {
            let escape = matches!(character, '%' | '_' | '\\').then_some('\\');
            escape.into_iter().chain([character])
        })
        .collect();
    let start: String = escaped.chars().take(2).filter(|character| *character != '\\').collect();
    vec![
        escaped.clone(),
        format!("{start}%"),
        format!("%{escaped}"),
        format!(
            "_{}",
            escaped
                .chars()
                .skip(1)
                .filter(|character| *character != '\\')
                .collect::<String>()
        ),
        escaped.to_uppercase(),
        format!("{escaped}_"),
    ]
}
