//! Groups and orders, drawn.
//!
//! Owns: what is worth aggregating and sorting by. Never: the draw itself.

use arrow::datatypes::DataType;
use caliber_connector_spi::{Aggregate, AggregateFunction, Expr, Relation, SortKey};

use super::Generator;

impl Generator<'_> {
    pub(super) fn aggregate(&mut self, input: &Relation) -> Option<Relation> {
        let below = input.columns();
        let mut keys = Vec::new();
        for _ in 0..self.below(4) {
            keys.push(self.operand(&below, 1));
        }
        let mut aggregates = Vec::new();
        for _ in 0..1 + self.below(3) {
            let argument = self.operand(&below, 2);
            let of = argument.data_type(&below);
            let function = self.pick(&[
                AggregateFunction::Count,
                AggregateFunction::Sum,
                AggregateFunction::Min,
                AggregateFunction::Max,
            ]);
            let data_type = match (function, &of) {
                (AggregateFunction::Count, _) => DataType::Int64,
                (AggregateFunction::Sum, DataType::Decimal128(precision, scale)) => {
                    DataType::Decimal128((precision + 10).min(38), *scale)
                }
                (AggregateFunction::Sum, of) if of.is_unsigned_integer() => DataType::UInt64,
                (AggregateFunction::Sum, _) => DataType::Int64,
                (AggregateFunction::Min | AggregateFunction::Max, of) => of.clone(),
            };
            let is_count = function == AggregateFunction::Count;
            let filter = if self.chance(3) {
                self.predicate(&below, 1)
            } else {
                None
            };
            let one = Aggregate {
                function,
                argument: (!is_count || self.chance(2)).then_some(argument),
                distinct: false,
                filter,
                data_type,
            };
            let distinct = is_count && one.argument.is_some() && self.chance(2);
            let one = Aggregate { distinct, ..one };
            let alone = Relation::Aggregate {
                input: Box::new(input.clone()),
                keys: vec![],
                aggregates: vec![one.clone()],
            };
            if self.capabilities.runs(&alone).is_ok() {
                aggregates.push(one);
            }
        }
        keys.retain(|key| {
            let alone = Relation::Aggregate {
                input: Box::new(input.clone()),
                keys: vec![key.clone()],
                aggregates: vec![],
            };
            self.capabilities.runs(&alone).is_ok()
        });
        (!(keys.is_empty() && aggregates.is_empty())).then(|| Relation::Aggregate {
            input: Box::new(input.clone()),
            keys,
            aggregates,
        })
    }

    fn key(&mut self, expr: Expr) -> SortKey {
        SortKey {
            expr,
            descending: self.chance(2),
            nulls_first: self.chance(2),
        }
    }

    pub(super) fn sort(&mut self, input: &Relation) -> Option<Relation> {
        let below = input.columns();
        let mut keys = Vec::new();
        for _ in 0..=self.below(2) {
            let operand = self.operand(&below, 1);
            keys.push(self.key(operand));
        }
        let rows = self.pick(&[None, Some(0), Some(3), Some(20), Some(1_000)]);
        Some(Relation::Sort {
            input: Box::new(input.clone()),
            keys,
            rows,
        })
    }

    /// Rows that tie in every column are the same row: so the first of them are one answer, wherever they stand.
    pub(super) fn first_of_a_total_order(&mut self, input: &Relation) -> Option<Relation> {
        let mut keys = Vec::new();
        for index in 0..input.columns().len() {
            keys.push(self.key(Expr::Column(index)));
        }
        let rows = Some(u64::try_from(1 + self.below(30)).expect("fits"));
        Some(Relation::Sort {
            input: Box::new(input.clone()),
            keys,
            rows,
        })
    }
}
