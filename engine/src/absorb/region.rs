//! A tree of inner joins as its parts: sides, equal columns, further conditions.
//!
//! Owns: the parts, and what of a plan is taken apart. Never: an order of joins.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType, NullEquality, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, cast};

use super::absorb_plan::{Node, is_inner};
use crate::EngineError;

/// The parts of a tree of inner joins.
pub(super) struct Region {
    pub sides: Vec<Side>,
    /// Equal columns, each class as its members.
    pub classes: Vec<BTreeSet<Place>>,
    /// Conditions that are no equality of two columns.
    pub conditions: Vec<Expr>,
}

/// One side, its columns named by `column`.
pub(super) struct Side {
    pub alias: String,
    pub node: Option<Node>,
    pub width: usize,
}

/// A column of a region: the side, and the position there.
pub(super) type Place = (usize, usize);

/// A semi or anti join, the side whose rows come out on the left.
pub(super) struct Existence<'a> {
    pub kept: &'a LogicalPlan,
    pub other: &'a LogicalPlan,
    pub on: Vec<(Expr, Expr)>,
    pub join_type: JoinType,
}

impl<'a> Existence<'a> {
    pub fn of(join: &'a Join) -> Option<Self> {
        if join.null_equality != NullEquality::NullEqualsNothing || join.null_aware {
            return None;
        }
        let (join_type, is_swapped) = match join.join_type {
            JoinType::LeftSemi => (JoinType::LeftSemi, false),
            JoinType::LeftAnti => (JoinType::LeftAnti, false),
            JoinType::RightSemi => (JoinType::LeftSemi, true),
            JoinType::RightAnti => (JoinType::LeftAnti, true),
            _ => return None,
        };
        let (kept, other, on) = if is_swapped {
            let on = join.on.iter().map(|(left, right)| (right.clone(), left.clone()));
            (&join.right, &join.left, on.collect())
        } else {
            (&join.left, &join.right, join.on.clone())
        };
        Some(Self {
            kept,
            other,
            on,
            join_type,
        })
    }

    pub fn join(
        &self,
        kept: &LogicalPlan,
        other: &LogicalPlan,
        on: Vec<(Expr, Expr)>,
        filter: Option<Expr>,
    ) -> Result<Join> {
        Join::try_new(
            Arc::new(kept.clone()),
            Arc::new(other.clone()),
            on,
            filter,
            self.join_type,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )
    }
}

impl Region {
    pub fn new() -> Self {
        Self {
            sides: Vec::new(),
            classes: Vec::new(),
            conditions: Vec::new(),
        }
    }

    pub fn place(&self, column: &Column) -> Option<Place> {
        let alias = column.relation.as_ref()?.table();
        let side = self.sides.iter().position(|side| side.alias == alias)?;
        let at = position(column, alias)?;
        (at < self.sides.get(side)?.width).then_some((side, at))
    }

    /// Whether the order of its joins decides which rows an expression that may fail meets.
    pub fn may_fail(&self) -> bool {
        let sides = self.sides.iter().filter_map(|side| side.node.as_ref());
        let type_of = |expr: &Expr| match expr {
            Expr::Column(column) => self.type_of(self.place(column)?),
            Expr::Cast(cast) => Some(cast.field.data_type().clone()),
            Expr::Literal(value, _) => Some(value.data_type()),
            _ => None,
        };
        self.conditions.iter().any(|condition| may_fail(condition, &type_of)) || sides.into_iter().any(filters_may_fail)
    }

    /// Whether some side's source does more than read tables: else there is nothing to bring together.
    pub fn has_joining_source(&self) -> bool {
        self.sides.iter().any(|side| match &side.node {
            Some(Node::Remote(remote)) => !remote.source.connector.capabilities().reads_tables_only(),
            _ => false,
        })
    }

    /// Whether equal columns lead from each side to every other.
    pub fn is_connected(&self) -> bool {
        let mut reached = BTreeSet::from([0]);
        loop {
            let before = reached.len();
            for class in &self.classes {
                if class.iter().any(|(side, _)| reached.contains(side)) {
                    reached.extend(class.iter().map(|(side, _)| *side));
                }
            }
            if reached.len() == before {
                return reached.len() >= self.sides.len();
            }
        }
    }

    /// A condition over columns of sides.
    pub fn add(&mut self, condition: Expr) {
        if let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = &condition
            && let (Some(l), Some(r)) = (self.equated(left), self.equated(right))
            && let (Some(left), Some(right)) = (self.type_of(l), self.type_of(r))
            && (left == right || common(&left, &right).is_some())
        {
            let mut class = BTreeSet::from([l, r]);
            self.classes.retain(|known| {
                let is_other = known.is_disjoint(&class);
                if !is_other {
                    class.extend(known.iter().copied());
                }
                is_other
            });
            self.classes.push(class);
            return;
        }
        self.conditions.push(condition);
    }

    /// The column that an equation is about, widened or not: whole numbers are equal or not, whatever they are kept in.
    fn equated(&self, expr: &Expr) -> Option<Place> {
        match expr {
            Expr::Column(column) => self.place(column),
            Expr::Cast(cast) => {
                let place = plain(&cast.expr).and_then(|column| self.place(column))?;
                widens(&self.type_of(place)?, cast.field.data_type()).then_some(place)
            }
            _ => None,
        }
    }

    fn type_of(&self, place: Place) -> Option<DataType> {
        let node = self.sides.get(place.0)?.node.as_ref()?;
        node.schema()
            .fields()
            .get(place.1)
            .map(|field| field.data_type().clone())
    }

    /// The parts of another region.
    pub fn take_in(&mut self, other: Region) {
        let moved = self.sides.len();
        self.sides.extend(other.sides);
        self.classes.extend(
            other
                .classes
                .into_iter()
                .map(|class| class.into_iter().map(|(side, at)| (side + moved, at)).collect()),
        );
        self.conditions.extend(other.conditions);
    }
}

/// Whether a side keeps rows by an expression that may fail: then it matters whether the side is read at all.
fn filters_may_fail(node: &Node) -> bool {
    let Node::Local(plan) = node else { return false };
    let found = plan.exists(|node| {
        let LogicalPlan::Filter(filter) = node else {
            return Ok(false);
        };
        let schema = filter.input.schema();
        Ok(may_fail(&filter.predicate, &|expr| expr.get_type(schema).ok()))
    });
    found.unwrap_or(true)
}

/// Whether a cast between the types never fails.
fn holds(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Decimal128(digits, scale), DataType::Decimal128(more, wider)) => {
            let before = |digits: u8, scale: i8| i16::from(digits) - i16::from(scale);
            wider >= scale && before(*more, *wider) >= before(*digits, *scale)
        }
        (_, DataType::Decimal128(digits, 0)) => from.is_integer() && *digits >= 20,
        (_, DataType::Float64) => from.is_numeric(),
        _ => from == to || widens(from, to),
    }
}

/// Whether every whole number of the one type is one of the other, which is another.
pub(super) fn widens(from: &DataType, to: &DataType) -> bool {
    match to {
        DataType::Int64 => from.is_integer() && !matches!(from, DataType::Int64 | DataType::UInt64),
        DataType::Int32 => matches!(from, DataType::Int8 | DataType::Int16),
        DataType::Int16 => *from == DataType::Int8,
        _ => false,
    }
}

/// The least type that holds the whole numbers of two.
fn common(one: &DataType, other: &DataType) -> Option<DataType> {
    let types = [one.clone(), other.clone(), DataType::Int64];
    let holds = |it: &DataType| [one, other].into_iter().all(|from| from == it || widens(from, it));
    types.into_iter().find(|it| it.is_integer() && holds(it))
}

/// That two columns of a class are equal, each with the schema it is in.
pub(super) fn equal(left: (&Column, &DFSchema), right: (&Column, &DFSchema)) -> Expr {
    let type_of = |(column, schema): (&Column, &DFSchema)| {
        let at = schema.maybe_index_of_column(column)?;
        Some(schema.field(at).data_type().clone())
    };
    let (l, r) = (Expr::Column(left.0.clone()), Expr::Column(right.0.clone()));
    let (Some(one), Some(other)) = (type_of(left), type_of(right)) else {
        return l.eq(r);
    };
    match common(&one, &other).filter(|_| one != other) {
        Some(wide) => {
            let widened = |expr: Expr, own: &DataType| if *own == wide { expr } else { cast(expr, wide.clone()) };
            widened(l, &one).eq(widened(r, &other))
        }
        None => l.eq(r),
    }
}

/// Whether an expression computes: comparisons do not fail, what is compared may. `type_of` may know the type of an operand.
pub(super) fn may_fail(expr: &Expr, type_of: &dyn Fn(&Expr) -> Option<DataType>) -> bool {
    let found = expr.exists(|part| {
        Ok(match part {
            Expr::ScalarFunction(_) | Expr::TryCast(_) | Expr::Negative(_) => true,
            Expr::Cast(cast) => !type_of(&cast.expr).is_some_and(|from| holds(&from, cast.field.data_type())),
            Expr::BinaryExpr(binary) => !binary.op.supports_propagation() && !binary.op.is_logic_operator(),
            _ => false,
        })
    });
    found.unwrap_or(true)
}

/// Whether a join is one of those that are taken apart.
pub(super) fn is_region(join: &Join) -> bool {
    is_inner(join) || Existence::of(join).is_some()
}

/// Whether an inner join is below, through nodes that are taken apart with it.
pub(super) fn leads_to_join(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => is_inner(join) || Existence::of(join).is_some(),
        LogicalPlan::Filter(filter) => leads_to_join(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => leads_to_join(&alias.input),
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().all(|expr| plain(expr).is_some()) && leads_to_join(&projection.input)
        }
        _ => false,
    }
}

/// The column, where the expression is one, under whatever name.
pub(super) fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

/// `expr` over other columns.
pub(super) fn replaced(expr: &Expr, place: &dyn Fn(&Column) -> Option<Column>) -> Result<Expr> {
    let moved = expr.clone().transform(|part| {
        let Expr::Column(column) = &part else {
            return Ok(Transformed::no(part));
        };
        let found = place(column).ok_or_else(lost)?;
        Ok(Transformed::yes(Expr::Column(found)))
    })?;
    Ok(moved.data)
}

/// The name of a side's column: one that no other side has, for what finds columns by name alone.
pub(super) fn column(alias: &str, at: usize) -> Column {
    Column::new(Some(TableReference::bare(alias)), format!("{alias}c{at}"))
}

/// Which column of the side it is, if it is one.
pub(super) fn position(column: &Column, alias: &str) -> Option<usize> {
    let is_of = column
        .relation
        .as_ref()
        .is_some_and(|relation| relation.table() == alias);
    let rest = column.name.strip_prefix(alias).filter(|_| is_of)?;
    rest.strip_prefix('c')?.parse().ok()
}

pub(super) fn lost() -> datafusion::error::DataFusionError {
    EngineError::internal("a join could not be taken apart", &"a column is lost").into()
}
