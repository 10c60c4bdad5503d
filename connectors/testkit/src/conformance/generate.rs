//! Relations of every kind, drawn from a seed.
//!
//! Owns: which relations are worth asking for. Never: whether a source may be asked (`Capabilities`).

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use caliber_connector_spi::{
    Arithmetic, Capabilities, Comparison, DatePart, Expr, JoinKind, OutputColumn, Relation, RemoteTable, Value,
};

use super::is_known;
use super::local::Row;

mod grouped;

/// Draws relations over one table and itself.
pub struct Generator<'a> {
    pub state: u64,
    pub table: Arc<RemoteTable>,
    pub rows: &'a [Row],
    pub capabilities: &'a Capabilities,
}

const OPERATORS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
];
const PARTS: [DatePart; 4] = [DatePart::Year, DatePart::Quarter, DatePart::Month, DatePart::Day];

impl Generator<'_> {
    /// A number below `most`.
    pub(super) fn below(&mut self, most: usize) -> usize {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let drawn = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).expect("fits") % most.max(1)
    }

    pub(super) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        from[at].clone()
    }

    /// A relation that the source declares to run.
    pub fn relation(&mut self) -> Relation {
        let mut relation = self.base();
        for _ in 0..=self.below(3) {
            let next = match self.below(8) {
                0..=2 => self.join(&relation),
                3 | 4 => self.aggregate(&relation),
                5 => self.project(&relation),
                6 => self.union(&relation),
                _ => self.first_of_a_total_order(&relation),
            };
            relation = self.allowed(next, relation);
            if self.chance(2) {
                let next = self.filter(&relation);
                relation = self.allowed(next, relation);
            }
        }
        if self.chance(3) {
            let next = self.sort(&relation);
            relation = self.allowed(next, relation);
        }
        relation
    }

    fn allowed(&self, next: Option<Relation>, otherwise: Relation) -> Relation {
        match next {
            Some(next) if self.capabilities.runs(&next).is_ok() => next,
            _ => otherwise,
        }
    }

    /// Some columns of some rows of the table.
    fn base(&mut self) -> Relation {
        let scan = Relation::Scan {
            table: self.table.clone(),
        };
        let known: Vec<usize> = (0..self.table.columns.len())
            .filter(|index| is_known(&self.table.columns[*index].data_type))
            .collect();
        let mut columns = vec![Expr::Column(0)];
        for _ in 0..3 + self.below(4) {
            columns.push(Expr::Column(self.pick(&known)));
        }
        let filtered = match self.chance(2) {
            true => self.filter(&scan).filter(|next| self.capabilities.runs(next).is_ok()),
            false => None,
        };
        Relation::Project {
            input: Box::new(filtered.unwrap_or(scan)),
            columns,
        }
    }

    fn filter(&mut self, input: &Relation) -> Option<Relation> {
        let predicate = self.predicate(&input.columns(), 2)?;
        Some(Relation::Filter {
            input: Box::new(input.clone()),
            predicate,
        })
    }

    /// A value that some row has in a column of the type.
    fn value(&mut self, data_type: &DataType) -> Option<Value> {
        if !is_known(data_type) {
            return None;
        }
        let columns: Vec<usize> = (0..self.table.columns.len())
            .filter(|index| self.table.columns[*index].data_type == *data_type)
            .collect();
        if columns.is_empty() {
            return match data_type {
                DataType::Int64 | DataType::Int32 => Some(Value::Int(i64::try_from(self.below(2_100)).expect("fits"))),
                DataType::Boolean => Some(Value::Bool(self.chance(2))),
                _ => None,
            };
        }
        let column = self.pick(&columns);
        let row = self.below(self.rows.len());
        self.rows[row][column].clone()
    }

    /// A predicate that the source evaluates.
    pub(super) fn predicate(&mut self, below: &[OutputColumn], depth: usize) -> Option<Expr> {
        (0..8).find_map(|_| {
            let predicate = self.any_predicate(below, depth)?;
            self.capabilities.evaluates(&predicate, below).then_some(predicate)
        })
    }

    fn any_predicate(&mut self, below: &[OutputColumn], depth: usize) -> Option<Expr> {
        let operand = self.operand(below, depth);
        let data_type = operand.data_type(below);
        match self.below(12) {
            0 => Some(Expr::IsNull(Box::new(operand))),
            1 => {
                let list: Vec<Value> = (0..3).filter_map(|_| self.value(&data_type)).collect();
                (!list.is_empty()).then(|| Expr::InList {
                    expr: Box::new(operand),
                    list,
                })
            }
            2 if data_type == DataType::Utf8 => Some(Expr::Like {
                expr: Box::new(operand),
                pattern: self
                    .pick(&["%b%", "_", "a%", "%c", "\\%", "%\\_%", "A__", "%é%", ""])
                    .to_owned(),
            }),
            3 if depth > 0 => Some(Expr::Not(Box::new(self.predicate(below, depth - 1)?))),
            4 if depth > 0 => Some(Expr::And(vec![
                self.predicate(below, depth - 1)?,
                self.predicate(below, depth - 1)?,
            ])),
            5 if depth > 0 => Some(Expr::Or(vec![
                self.predicate(below, depth - 1)?,
                self.predicate(below, depth - 1)?,
            ])),
            6 if depth > 1 => {
                let query = self.subquery(&data_type)?;
                Some(Expr::InQuery {
                    expr: Box::new(operand),
                    query: Box::new(query),
                })
            }
            7 if data_type == DataType::Boolean => Some(operand),
            _ => {
                let twins: Vec<usize> = (0..below.len())
                    .filter(|index| below[*index].data_type == data_type)
                    .collect();
                let right = match self.value(&data_type) {
                    Some(value) if twins.is_empty() || self.chance(2) => Expr::Value(value),
                    _ if !twins.is_empty() => Expr::Column(self.pick(&twins)),
                    _ => return None,
                };
                Some(Expr::Compare {
                    op: self.pick(&OPERATORS),
                    left: Box::new(operand),
                    right: Box::new(right),
                })
            }
        }
    }

    /// One column of that type, of some rows.
    fn subquery(&mut self, data_type: &DataType) -> Option<Relation> {
        let columns: Vec<usize> = (0..self.table.columns.len())
            .filter(|index| self.table.columns[*index].data_type == *data_type)
            .collect();
        if columns.is_empty() {
            return None;
        }
        let scan = Relation::Scan {
            table: self.table.clone(),
        };
        let predicate = self.predicate(&scan.columns(), 1);
        let input = match predicate {
            Some(predicate) => Relation::Filter {
                input: Box::new(scan),
                predicate,
            },
            None => scan,
        };
        let column = Expr::Column(self.pick(&columns));
        let projected = Relation::Project {
            input: Box::new(input),
            columns: vec![column],
        };
        let grouped = Relation::Aggregate {
            input: Box::new(projected.clone()),
            keys: vec![Expr::Column(0)],
            aggregates: vec![],
        };
        if self.chance(2) && self.capabilities.runs(&grouped).is_ok() {
            return Some(grouped);
        }
        self.capabilities.runs(&projected).is_ok().then_some(projected)
    }

    /// A column or a function of one.
    pub(super) fn operand(&mut self, below: &[OutputColumn], depth: usize) -> Expr {
        let column = self.below(below.len());
        let operand = Expr::Column(column);
        if depth == 0 || !self.chance(3) {
            return operand;
        }
        let function = self.function(operand.clone(), &below[column].data_type, below, depth);
        let project = |expr: &Expr| {
            // The node's own expressions are what is asked about: any input with these columns would do.
            self.capabilities
                .evaluates(&Expr::IsNull(Box::new(expr.clone())), below)
        };
        match function {
            Some(function) if project(&function) => function,
            _ => operand,
        }
    }

    fn function(&mut self, of: Expr, data_type: &DataType, below: &[OutputColumn], depth: usize) -> Option<Expr> {
        let expr = Box::new(of.clone());
        if self.chance(4) {
            let when = self.predicate(below, depth - 1)?;
            let otherwise = match self.below(3) {
                0 => None,
                1 => Some(Box::new(Expr::Null(data_type.clone()))),
                _ => self.value(data_type).map(|value| Box::new(Expr::Value(value))),
            };
            return Some(Expr::Case {
                branches: vec![(when, of)],
                otherwise,
                data_type: data_type.clone(),
            });
        }
        match data_type {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
                if self.chance(2) {
                    let to = self.pick(&[DataType::Int64, DataType::Decimal128(20, 3)]);
                    return Some(Expr::Cast { expr, data_type: to });
                }
                Some(Expr::Arithmetic {
                    op: self.pick(&[Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply]),
                    left: expr.clone(),
                    right: expr,
                    data_type: DataType::Int64,
                })
            }
            DataType::Decimal128(precision, scale) if *precision <= 18 => {
                let op = self.pick(&[Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply]);
                let data_type = if op == Arithmetic::Multiply {
                    DataType::Decimal128(precision * 2 + 1, scale * 2)
                } else {
                    DataType::Decimal128(precision + 1, *scale)
                };
                Some(Expr::Arithmetic {
                    op,
                    left: expr.clone(),
                    right: expr,
                    data_type,
                })
            }
            DataType::Date32 if self.chance(3) => Some(Expr::Cast {
                expr,
                data_type: DataType::Timestamp(TimeUnit::Microsecond, None),
            }),
            DataType::Date32 | DataType::Timestamp(_, None) => {
                let part = self.pick(&PARTS);
                Some(if self.chance(2) {
                    Expr::DatePart { part, expr }
                } else {
                    Expr::DateTrunc { part, expr }
                })
            }
            DataType::Utf8 if self.chance(2) => Some(Expr::CharLength(expr)),
            DataType::Utf8 => Some(Expr::Substring {
                expr,
                start: u32::try_from(1 + self.below(4)).expect("fits"),
                length: self.pick(&[None, Some(0), Some(1), Some(3), Some(u32::MAX)]),
            }),
            _ => None,
        }
    }

    fn join(&mut self, left: &Relation) -> Option<Relation> {
        let right = if self.chance(3) {
            self.relation_below()
        } else {
            self.base()
        };
        let mut below = left.columns();
        let width = below.len();
        below.extend(right.columns());
        let mut pairs = Vec::new();
        for (one, column) in below.iter().enumerate().take(width) {
            for (other, twin) in below.iter().enumerate().skip(width) {
                if column.data_type == twin.data_type {
                    pairs.push((one, other));
                }
            }
        }
        if pairs.is_empty() {
            return None;
        }
        let mut parts = Vec::new();
        for _ in 0..=self.below(2) {
            let (one, other) = self.pick(&pairs);
            parts.push(Expr::Compare {
                op: self.pick(&OPERATORS),
                left: Box::new(Expr::Column(one)),
                right: Box::new(Expr::Column(other)),
            });
        }
        parts.extend(self.predicate(&below, 1).filter(|_| true));
        let on = if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::And(parts)
        };
        Some(Relation::Join {
            left: Box::new(left.clone()),
            right: Box::new(right),
            kind: self.pick(&[JoinKind::Inner, JoinKind::Left, JoinKind::Semi, JoinKind::Anti]),
            on,
        })
    }

    /// A right side that is more than a table.
    fn relation_below(&mut self) -> Relation {
        let base = self.base();
        let next = match self.below(3) {
            0 => self.aggregate(&base),
            1 => self.project(&base),
            _ => self.join(&base),
        };
        self.allowed(next, base)
    }

    fn project(&mut self, input: &Relation) -> Option<Relation> {
        let below = input.columns();
        let mut columns = Vec::new();
        for _ in 0..1 + self.below(5) {
            let chosen = match self.below(6) {
                0 => self.predicate(&below, 1),
                1 => {
                    let data_type = self.pick(&below).data_type;
                    self.value(&data_type).map(Expr::Value)
                }
                _ => Some(self.operand(&below, 2)),
            };
            let chosen = chosen.filter(|expr| !contains_query(expr));
            columns.push(chosen.unwrap_or(Expr::Column(0)));
        }
        Some(Relation::Project {
            input: Box::new(input.clone()),
            columns,
        })
    }

    fn union(&mut self, input: &Relation) -> Option<Relation> {
        let other = self.filter(input).unwrap_or_else(|| input.clone());
        let mut inputs = vec![input.clone(), other];
        if self.chance(2) {
            inputs.swap(0, 1);
        }
        Some(Relation::Union { inputs })
    }
}

fn contains_query(expr: &Expr) -> bool {
    let mut found = false;
    expr.visit(&mut |part| found |= matches!(part, Expr::InQuery { .. }));
    found
}
