//! What `render` writes, in a dialect with positional placeholders that has to bind some values twice.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;

use super::*;
use crate::RemoteColumn;

/// Quotes with brackets, pins text by comparing twice, selects decimals as text.
struct Positional;

impl Dialect for Positional {
    fn identifier(&self, name: &str) -> String {
        format!("[{name}]")
    }

    fn placeholder(&self, _: usize, _: &Value) -> String {
        "?".to_owned()
    }

    fn compare(
        &self,
        left: Side<'_>,
        op: Comparison,
        right: Side<'_>,
        _: Operand<'_>,
        binder: &mut Binder<'_>,
    ) -> String {
        let op = operator(op);
        if !matches!(
            (left, right),
            (Side::Value(Value::Text(_)), _) | (_, Side::Value(Value::Text(_)))
        ) {
            return format!("({} {op} {})", binder.side(left), binder.side(right));
        }
        let plain = format!("{} {op} {}", binder.side(left), binder.side(right));
        format!(
            "({plain} AND BIN({}) {op} BIN({}))",
            binder.side(left),
            binder.side(right)
        )
    }

    fn in_keys(&self, column: &str, keys: &ArrayRef, _: Operand<'_>, binder: &mut Binder<'_>) -> String {
        format!("{column} IN (array {})", binder.keys(keys))
    }

    fn like(&self, text: Side<'_>, pattern: &Value, _: Operand<'_>, binder: &mut Binder<'_>) -> String {
        format!("({} LIKE {})", binder.side(text), binder.value(pattern))
    }

    fn select_column(&self, quoted: &str, table: &RemoteTable, index: usize) -> String {
        match table.columns.get(index).map(|column| &column.data_type) {
            Some(DataType::Decimal128(..)) => format!("TEXT({quoted})"),
            _ => quoted.to_owned(),
        }
    }
}

fn table() -> Arc<RemoteTable> {
    let column = |name: &str, data_type| RemoteColumn {
        name: name.to_owned(),
        data_type,
        nullable: true,
        native_type: String::new(),
        comment: None,
        comparable: true,
    };
    Arc::new(RemoteTable {
        name: "order".to_owned(),
        namespace: Some("public".to_owned()),
        is_view: false,
        columns: vec![
            column("id", DataType::Int64),
            column("name", DataType::Utf8),
            column("amount", DataType::Decimal128(12, 2)),
        ],
        primary_key: vec![],
        unique_keys: vec![],
        foreign_keys: vec![],
        comment: None,
        rows_estimate: None,
    })
}

fn read(columns: &[usize], predicate: Option<Expr>, rows: Option<u64>) -> RemoteQuery {
    RemoteQuery::of_table(table(), columns, predicate, rows)
}

fn compare(column: usize, op: Comparison, value: Value) -> Expr {
    Expr::Compare {
        op,
        left: Box::new(Expr::Column(column)),
        right: Box::new(Expr::Value(value)),
    }
}

fn check(query: &RemoteQuery, sql: &str, parameters: &[Value]) {
    let rendered = render(query, &Positional);
    assert_eq!(rendered.sql, sql);
    assert_eq!(
        rendered.sql.matches('?').count(),
        parameters.len(),
        "one placeholder for each parameter"
    );
    let bound: Vec<Value> = rendered
        .parameters
        .iter()
        .map(|parameter| match parameter {
            Parameter::Value(value) => value.clone(),
            Parameter::Keys(keys) => panic!("keys of {}", keys.data_type()),
        })
        .collect();
    assert_eq!(bound, parameters);
}

#[test]
fn a_scan_names_its_columns_and_casts_them() {
    check(
        &read(&[2, 0], None, None),
        "SELECT TEXT([amount]) AS [amount], [id] FROM [public].[order]",
        &[],
    );
    check(&read(&[], None, None), "SELECT 1 FROM [public].[order]", &[]);
}

#[test]
fn a_value_bound_twice_keeps_its_place() {
    let predicate = Expr::And(vec![
        compare(0, Comparison::Less, Value::Int(7)),
        compare(1, Comparison::Equal, Value::Text("x' OR 1=1".into())),
        Expr::Not(Box::new(compare(0, Comparison::Equal, Value::Int(9)))),
    ]);
    let text = Value::Text("x' OR 1=1".into());
    check(
        &read(&[0], Some(predicate), None),
        "SELECT [id] FROM [public].[order] \
         WHERE (([id] < ?) AND ([name] = ? AND BIN([name]) = BIN(?)) AND (NOT ([id] = ?)))",
        &[Value::Int(7), text.clone(), text, Value::Int(9)],
    );
}

#[test]
fn lists_likes_and_nulls() {
    let predicate = Expr::Or(vec![
        Expr::InList {
            expr: Box::new(Expr::Column(0)),
            list: vec![Value::Int(1), Value::Int(2)],
        },
        Expr::Like {
            expr: Box::new(Expr::Column(1)),
            pattern: "a%".into(),
        },
        Expr::IsNull(Box::new(Expr::Column(2))),
    ]);
    check(
        &read(&[0], Some(predicate), None),
        "SELECT [id] FROM [public].[order] WHERE ((([id] = ?) OR ([id] = ?)) OR ([name] LIKE ?) OR ([amount] IS NULL))",
        &[Value::Int(1), Value::Int(2), Value::Text("a%".into())],
    );
}

#[test]
fn keys_are_one_parameter() {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let predicate = Expr::InKeys {
        column: 0,
        keys: keys.clone(),
    };
    let rendered = render(&read(&[0], Some(predicate), None), &Positional);
    assert_eq!(
        rendered.sql,
        "SELECT [id] FROM [public].[order] WHERE [id] IN (array 1)"
    );
    assert!(matches!(rendered.parameters.as_slice(), [Parameter::Keys(bound)] if bound.len() == keys.len()));
}
