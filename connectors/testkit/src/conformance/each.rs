//! Each column by itself, in everything that is declared of its type: no draw decides what is asked for.
//!
//! Owns: the relations of one column. Never: how they are compared.

use arrow::datatypes::DataType;
use caliber_connector_spi::{Aggregate, AggregateFunction, Capabilities, DatePart, Expr, Relation, SortKey};

use super::is_known;

/// Every relation of one column that the source declares to run, over `table`.
pub fn relations(table: &Relation, capabilities: &Capabilities) -> Vec<Relation> {
    let below = table.columns();
    let mut found = Vec::new();
    for (index, column) in below.iter().enumerate() {
        if !is_known(&column.data_type) {
            continue;
        }
        let column = || Box::new(Expr::Column(index));
        let mut values = vec![
            Expr::CharLength(column()),
            Expr::Substring {
                expr: column(),
                start: 2,
                length: Some(2),
            },
            Expr::Substring {
                expr: column(),
                start: 3,
                length: None,
            },
        ];
        if below[index].data_type != DataType::Utf8 {
            values.clear();
        }
        if matches!(below[index].data_type, DataType::Date32 | DataType::Timestamp(_, None)) {
            for part in [DatePart::Year, DatePart::Quarter, DatePart::Month, DatePart::Day] {
                values.push(Expr::DatePart { part, expr: column() });
                values.push(Expr::DateTrunc { part, expr: column() });
            }
        }
        found.extend(
            values
                .into_iter()
                .map(|value| project(table, vec![Expr::Column(0), value])),
        );
        let function = |function, distinct| aggregate(table, function, index, distinct);
        found.extend([
            group(table, index),
            sort(table, index, false, true),
            sort(table, index, true, false),
            function(AggregateFunction::Count, true),
            function(AggregateFunction::Min, false),
            function(AggregateFunction::Max, false),
        ]);
        if matches!(below[index].data_type, DataType::Decimal128(..)) || below[index].data_type.is_integer() {
            found.push(function(AggregateFunction::Sum, false));
        }
    }
    found.retain(|relation| capabilities.runs(relation).is_ok());
    found
}

fn project(table: &Relation, columns: Vec<Expr>) -> Relation {
    Relation::Project {
        input: Box::new(table.clone()),
        columns,
    }
}

fn group(table: &Relation, column: usize) -> Relation {
    let count = Aggregate {
        function: AggregateFunction::Count,
        argument: None,
        distinct: false,
        filter: None,
        data_type: DataType::Int64,
    };
    Relation::Aggregate {
        input: Box::new(table.clone()),
        keys: vec![Expr::Column(column)],
        aggregates: vec![count],
    }
}

fn sort(table: &Relation, column: usize, descending: bool, nulls_first: bool) -> Relation {
    let key = |column| SortKey {
        expr: Expr::Column(column),
        descending,
        nulls_first,
    };
    Relation::Sort {
        input: Box::new(project(table, vec![Expr::Column(column), Expr::Column(0)])),
        keys: vec![key(0), key(1)],
        rows: Some(20),
    }
}

fn aggregate(table: &Relation, function: AggregateFunction, column: usize, distinct: bool) -> Relation {
    let of = &table.columns()[column].data_type;
    let data_type = match (function, of) {
        (AggregateFunction::Count, _) => DataType::Int64,
        (AggregateFunction::Sum, DataType::Decimal128(precision, scale)) => {
            DataType::Decimal128((precision + 10).min(38), *scale)
        }
        (AggregateFunction::Sum, of) if of.is_unsigned_integer() => DataType::UInt64,
        (AggregateFunction::Sum, _) => DataType::Int64,
        (AggregateFunction::Min | AggregateFunction::Max, of) => of.clone(),
    };
    Relation::Aggregate {
        input: Box::new(table.clone()),
        keys: vec![],
        aggregates: vec![Aggregate {
            function,
            argument: Some(Expr::Column(column)),
            distinct,
            filter: None,
            data_type,
        }],
    }
}
