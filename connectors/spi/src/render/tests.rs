//! What `render` writes, in a dialect with positional placeholders that has to bind some values twice.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;

use super::*;
use crate::{
    Aggregate, AggregateFunction, Arithmetic, Comparison, DatePart, Expr, JoinKind, Relation, RemoteColumn, SortKey,
};

/// Quotes with brackets, pins text by comparing twice, selects decimals as text.
struct Positional;

impl Dialect for Positional {
    fn identifier(&self, name: &str) -> String {
        format!("[{name}]")
    }

    fn placeholder(&self, _: usize, parameter: &Parameter) -> String {
        match parameter {
            Parameter::Value(_) => "?".to_owned(),
            Parameter::Keys(_) => "(array ?)".to_owned(),
        }
    }

    fn is_positional(&self) -> bool {
        true
    }

    fn select(&self, operand: &Operand) -> Sql {
        match &operand.data_type {
            DataType::Decimal128(..) if operand.described().is_some() => Sql::of("TEXT({})", &[&operand.sql]),
            _ => operand.sql.clone(),
        }
    }

    fn compare(&self, left: &Operand, op: Comparison, right: &Operand) -> Sql {
        let op = Sql::text(operator(op));
        if !left.is_text() {
            return Sql::of("({} {} {})", &[&left.sql, &op, &right.sql]);
        }
        Sql::of(
            "({} {} {} AND BIN({}) {} BIN({}))",
            &[&left.sql, &op, &right.sql, &left.sql, &op, &right.sql],
        )
    }

    fn in_keys(&self, needle: &Operand, keys: &ArrayRef) -> Sql {
        Sql::of("{} IN {}", &[&needle.sql, &Sql::keys(keys)])
    }

    fn like(&self, text: &Operand, pattern: &Operand) -> Sql {
        Sql::of("({} LIKE {})", &[&text.sql, &pattern.sql])
    }

    fn null(&self, _: &DataType) -> Sql {
        Sql::text("NULL")
    }

    fn aggregate(&self, call: &Call<'_>) -> Operand {
        let of = call
            .argument
            .map_or_else(|| Sql::text("*"), |argument| argument.sql.clone());
        let name = Sql::text(match call.function {
            AggregateFunction::Count => "count",
            AggregateFunction::Sum => "sum",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
        });
        let mut sql = Sql::of("{}({})", &[&name, &of]);
        if let Some(filter) = call.filter {
            sql.append(&Sql::of(" FILTER (WHERE {})", &[filter]));
        }
        Operand::typed(sql, call.data_type)
    }

    fn date_part(&self, _: DatePart, operand: &Operand) -> Operand {
        Operand::typed(Sql::of("part({})", &[&operand.sql]), &DataType::Int32)
    }

    fn date_trunc(&self, _: DatePart, operand: &Operand) -> Operand {
        Operand::typed(Sql::of("trunc({})", &[&operand.sql]), &operand.data_type)
    }

    fn substring(&self, text: &Operand, start: &Operand, _: Option<&Operand>) -> Operand {
        Operand::typed(Sql::of("substr({}, {})", &[&text.sql, &start.sql]), &DataType::Utf8)
    }

    fn char_length(&self, text: &Operand) -> Operand {
        Operand::typed(Sql::of("length({})", &[&text.sql]), &DataType::Int32)
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
        distinct_estimate: None,
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
        "SELECT TEXT(t0.[amount]) AS c0, t0.[id] FROM [public].[order] AS t0",
        &[],
    );
    check(&read(&[], None, None), "SELECT 1 FROM [public].[order] AS t0", &[]);
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
        "SELECT t0.[id] FROM [public].[order] AS t0 \
         WHERE (t0.[id] < ?) AND (t0.[name] = ? AND BIN(t0.[name]) = BIN(?)) AND (t0.[id] <> ?)",
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
        "SELECT t0.[id] FROM [public].[order] AS t0 \
         WHERE (((t0.[id] = ?) OR (t0.[id] = ?)) OR (t0.[name] LIKE ?) OR (t0.[amount] IS NULL))",
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
        "SELECT t0.[id] FROM [public].[order] AS t0 WHERE t0.[id] IN (array ?)"
    );
    assert!(matches!(rendered.parameters.as_slice(), [Parameter::Keys(bound)] if bound.len() == keys.len()));
}

fn scan() -> Box<Relation> {
    Box::new(Relation::Scan { table: table() })
}

fn over(root: Relation) -> RemoteQuery {
    RemoteQuery::new(root)
}

fn count() -> Aggregate {
    Aggregate {
        function: AggregateFunction::Count,
        argument: None,
        distinct: false,
        filter: None,
        data_type: DataType::Int64,
    }
}

fn equal(left: usize, right: usize) -> Expr {
    Expr::Compare {
        op: Comparison::Equal,
        left: Box::new(Expr::Column(left)),
        right: Box::new(Expr::Column(right)),
    }
}

#[test]
fn one_select_from_filter_to_limit() {
    let filtered = Relation::Filter {
        input: scan(),
        predicate: compare(0, Comparison::Greater, Value::Int(1)),
    };
    let grouped = Relation::Aggregate {
        input: Box::new(filtered),
        keys: vec![Expr::Column(1)],
        aggregates: vec![
            count(),
            Aggregate {
                function: AggregateFunction::Sum,
                argument: Some(Expr::Column(0)),
                filter: Some(compare(0, Comparison::Less, Value::Int(2))),
                ..count()
            },
        ],
    };
    let having = Relation::Filter {
        input: Box::new(grouped),
        predicate: compare(1, Comparison::Greater, Value::Int(3)),
    };
    let sorted = Relation::Sort {
        input: Box::new(having),
        keys: vec![SortKey {
            expr: Expr::Column(2),
            descending: true,
            nulls_first: false,
        }],
        rows: Some(10),
    };
    let projected = Relation::Project {
        input: Box::new(sorted),
        columns: vec![Expr::Column(2), Expr::Column(0)],
    };
    check(
        &over(projected),
        "SELECT sum(t0.[id]) FILTER (WHERE (t0.[id] < ?)) AS c0, t0.[name] FROM [public].[order] AS t0 \
         WHERE (t0.[id] > ?) GROUP BY t0.[name] HAVING (count(*) > ?) \
         ORDER BY sum(t0.[id]) FILTER (WHERE (t0.[id] < ?)) DESC NULLS LAST LIMIT 10",
        &[Value::Int(2), Value::Int(1), Value::Int(3), Value::Int(2)],
    );
}

#[test]
fn joins_share_a_select_and_keep_their_conditions_where_they_are_exact() {
    let filtered = |column| {
        Box::new(Relation::Filter {
            input: scan(),
            predicate: compare(column, Comparison::Less, Value::Int(5)),
        })
    };
    let join = |kind, right| Relation::Join {
        left: filtered(0),
        right,
        kind,
        on: equal(0, 3),
    };
    let pick = |input, columns: &[usize]| {
        over(Relation::Project {
            input: Box::new(input),
            columns: columns.iter().map(|index| Expr::Column(*index)).collect(),
        })
    };
    let five = [Value::Int(5), Value::Int(5)];
    check(
        &pick(join(JoinKind::Inner, filtered(0)), &[0, 4]),
        "SELECT t0.[id], t1.[name] FROM [public].[order] AS t0 JOIN [public].[order] AS t1 ON (t0.[id] = t1.[id]) \
         WHERE (t0.[id] < ?) AND (t1.[id] < ?)",
        &five,
    );
    check(
        &pick(join(JoinKind::Left, filtered(0)), &[0, 4]),
        "SELECT t0.[id], t1.[name] FROM [public].[order] AS t0 LEFT JOIN [public].[order] AS t1 \
         ON ((t0.[id] = t1.[id]) AND (t1.[id] < ?)) WHERE (t0.[id] < ?)",
        &five,
    );
    check(
        &pick(join(JoinKind::Anti, filtered(0)), &[0]),
        "SELECT t0.[id] FROM [public].[order] AS t0 WHERE (t0.[id] < ?) \
         AND NOT EXISTS (SELECT 1 FROM [public].[order] AS t1 WHERE (t1.[id] < ?) AND (t0.[id] = t1.[id]))",
        &five,
    );
    // A join on the right stands in parentheses; a constant of the right side is computed before a left join.
    let constant = Relation::Project {
        input: scan(),
        columns: vec![Expr::Column(0), Expr::Value(Value::Int(1))],
    };
    check(
        &pick(join(JoinKind::Left, Box::new(constant)), &[0, 4]),
        "SELECT t0.[id], t2.c2_1 AS c1 FROM [public].[order] AS t0 \
         LEFT JOIN (SELECT t1.[id] AS c2_0, ? AS c2_1 FROM [public].[order] AS t1) AS t2 ON (t0.[id] = t2.c2_0) WHERE (t0.[id] < ?)",
        &[Value::Int(1), Value::Int(5)],
    );
    check(
        &pick(join(JoinKind::Inner, Box::new(join(JoinKind::Inner, scan()))), &[0]),
        "SELECT t0.[id] FROM [public].[order] AS t0 JOIN ([public].[order] AS t1 JOIN [public].[order] AS t2 \
         ON (t1.[id] = t2.[id])) ON (t0.[id] = t1.[id]) WHERE (t0.[id] < ?) AND (t1.[id] < ?)",
        &five,
    );
}

#[test]
fn what_comes_too_late_for_a_select_closes_it() {
    let limited = Relation::Limit {
        input: scan(),
        rows: 10,
    };
    let filtered = Relation::Filter {
        input: Box::new(limited.clone()),
        predicate: compare(1, Comparison::NotEqual, Value::Text("a".into())),
    };
    check(
        &over(Relation::Project {
            input: Box::new(filtered),
            columns: vec![Expr::Column(0)],
        }),
        "SELECT t1.c1_0 FROM (SELECT t0.[id] AS c1_0, t0.[name] AS c1_1 FROM [public].[order] AS t0 LIMIT 10) AS t1 \
         WHERE (t1.c1_1 <> ? AND BIN(t1.c1_1) <> BIN(?))",
        &[Value::Text("a".into()), Value::Text("a".into())],
    );
    let all = Relation::Aggregate {
        input: Box::new(limited.clone()),
        keys: vec![],
        aggregates: vec![count()],
    };
    check(
        &over(all.clone()),
        "SELECT count(*) AS c0 FROM (SELECT 1 FROM [public].[order] AS t0 LIMIT 10) AS t1",
        &[],
    );
    // One row, though nothing of it is wanted.
    check(
        &over(Relation::Project {
            input: Box::new(all),
            columns: vec![Expr::Value(Value::Int(7))],
        }),
        "SELECT ? AS c0 FROM (SELECT count(*) FROM (SELECT 1 FROM [public].[order] AS t0 LIMIT 10) AS t1) AS t2",
        &[Value::Int(7)],
    );
    let union = Relation::Union {
        inputs: vec![*scan(), limited],
    };
    check(
        &over(Relation::Project {
            input: Box::new(union),
            columns: vec![Expr::Column(2)],
        }),
        "SELECT t0.c0_2 AS c0 FROM (SELECT TEXT(t1.[amount]) AS c0_2 FROM [public].[order] AS t1 \
         UNION ALL SELECT t3.c3_2 AS c0_2 FROM (SELECT TEXT(t2.[amount]) AS c3_2 FROM [public].[order] AS t2 LIMIT 10) AS t3) AS t0",
        &[],
    );
}

#[test]
fn a_subquery_stands_on_its_own() {
    let query = Relation::Project {
        input: Box::new(Relation::Filter {
            input: scan(),
            predicate: compare(0, Comparison::Less, Value::Int(9)),
        }),
        columns: vec![Expr::Column(0)],
    };
    let predicate = Expr::InQuery {
        expr: Box::new(Expr::Column(0)),
        query: Box::new(query),
    };
    check(
        &read(&[1], Some(predicate), None),
        "SELECT t0.[name] FROM [public].[order] AS t0 \
         WHERE (t0.[id] IN (SELECT t1.[id] FROM [public].[order] AS t1 WHERE (t1.[id] < ?)))",
        &[Value::Int(9)],
    );
}

#[test]
fn long_chains_are_shallow_and_long_expressions_written_once() {
    let list: Vec<Value> = (0..5_000).map(Value::Int).collect();
    let predicate = Expr::InList {
        expr: Box::new(Expr::Column(0)),
        list,
    };
    let rendered = render(&read(&[0], Some(predicate), None), &Positional);
    let mut deepest: i32 = 0;
    rendered.sql.chars().fold(0, |depth: i32, character| {
        let depth = depth + i32::from(character == '(') - i32::from(character == ')');
        deepest = deepest.max(depth);
        depth
    });
    assert!(deepest < 12, "{deepest} deep");
    let mut relation = *scan();
    for _ in 0..40 {
        let sum = Expr::Arithmetic {
            op: Arithmetic::Add,
            left: Box::new(Expr::Column(0)),
            right: Box::new(Expr::Column(0)),
            data_type: DataType::Int64,
        };
        relation = Relation::Project {
            input: Box::new(relation),
            columns: vec![sum],
        };
    }
    let rendered = render(&over(relation), &Positional);
    assert!(rendered.sql.len() < 20_000, "{} characters", rendered.sql.len());
}
