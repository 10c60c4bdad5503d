//! Where two metrics differ: their difference in parts that add up.
//!
//! Owns: which parts there are, the statement that computes them. Two sums or counts of one table are taken apart by rows:
//! those that a condition of one leaves out and the other counts, those that count on another day, those with another
//! value. Others that add up over customers are taken apart by customers. Never: a value; the parts are metrics like any
//! other, over the same columns, so that they exist for whom both metrics do.

use std::fmt::Write as _;
use std::sync::Arc;

use caliber_catalog::diagnostic::{Code, did_you_mean};
use caliber_catalog::grant::SqlText;
use caliber_catalog::metric::{BaseMetric, Metric};
use caliber_catalog::name::TableName;
use caliber_catalog::project::{HoldingRule, Project};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::sql::sqlparser::ast;

use super::definition::{Base, Defined, Kind};
use super::metric_sql::Aggregate;
use super::metric_view::MetricView;
use crate::govern::policy_expr::parse;
use crate::resolve::governed_catalog::UNIFIED;
use crate::{EngineError, Session};

/// What two metrics are compared by.
#[derive(Clone, Debug, Default)]
pub struct ComparedBy {
    /// The entity whose metrics they are.
    pub entity: String,
    /// SQL over the metric view, each with the name of its column.
    pub groups: Vec<(String, String)>,
    /// A condition over the metric view.
    pub condition: Option<String>,
}

/// A comparison that can be asked for.
#[derive(Debug)]
pub struct Comparison {
    /// The session to ask in: the parts are metrics there.
    pub session: Session,
    /// The statement: a column for each group, both metrics, `difference`, and the parts, whose sum is the difference.
    pub sql: String,
    /// Of each part: its column, and what it counts.
    pub parts: Vec<(String, String)>,
}

/// One part of a difference.
struct Part {
    column: String,
    meaning: String,
    sql: String,
}

impl Session {
    /// Takes the difference of two metrics apart.
    ///
    /// Errors: MET007 where no parts would add up to it, SQL011 for an entity and SQL012 for a metric that does not exist
    /// for this principal.
    pub fn compare_metrics(&self, one: &str, other: &str, by: &ComparedBy) -> Result<Comparison, EngineError> {
        let name = format!("{}_metrics", by.entity);
        let view = self.catalog.metric_view(&name)?;
        let view = view.ok_or_else(|| EngineError::new(Code::SQL011, format!("no table `{UNIFIED}.{name}`")))?;
        let (one, other) = (known(&view, one)?, known(&view, other)?);
        if one.metric.name == other.metric.name {
            return Err(no_parts("a metric does not differ from itself", "name two metrics"));
        }
        match (&one.kind, &other.kind) {
            (Kind::Base(base), Kind::Base(beside)) if are_by_rows((&one, base), (&other, beside)) => {
                self.by_rows(&view, &one, &other, by)
            }
            _ => self.by_customers(&view, &one, &other, by),
        }
    }

    fn by_rows(
        &self,
        view: &MetricView,
        one: &Defined,
        other: &Defined,
        by: &ComparedBy,
    ) -> Result<Comparison, EngineError> {
        let mut project = Project::clone(&self.engine.snapshot().project);
        let mut parts = Vec::new();
        let mut added = Added {
            project: &mut project,
            view: TableName::new(UNIFIED, format!("{}_metrics", view.entity)),
            like: &one.metric.name,
            names: Vec::new(),
        };
        let (own, beside) = (written(one)?, written(other)?);
        added.left_out(one, own, other, beside, "", &mut parts)?;
        added.left_out(other, beside, one, own, "-", &mut parts)?;
        let both = joined(&[condition_of(own), condition_of(beside)]);
        let of = |added: &mut Added<'_>, metric: &Metric, base: &BaseMetric, time: &BaseMetric| {
            let base = BaseMetric {
                condition: both.clone().map(|text| placed(metric, text)),
                time: time.time.clone(),
                ..base.clone()
            };
            added.metric(metric, base)
        };
        let (first, last) = (
            of(&mut added, &one.metric, own, own),
            of(&mut added, &other.metric, beside, beside),
        );
        let mut at_its_day = first.clone();
        let day = |base: &BaseMetric| base.time.as_ref().map(|(name, _)| name.clone());
        if day(own) != day(beside) {
            at_its_day = of(&mut added, &one.metric, own, beside);
            parts.push(Part {
                column: "on another day".to_owned(),
                meaning: format!(
                    "rows of both, which `{}` counts on `{}` and `{}` on `{}`",
                    one.metric.name,
                    day(own).unwrap_or_default(),
                    other.metric.name,
                    day(beside).unwrap_or_default()
                ),
                sql: format!("MEASURE({}) - MEASURE({})", quoted(&first), quoted(&at_its_day)),
            });
        }
        parts.push(Part {
            column: "other values".to_owned(),
            meaning: format!(
                "rows of both: `{}` less `{}`",
                one.metric.expr.text, other.metric.expr.text
            ),
            sql: format!("MEASURE({}) - MEASURE({})", quoted(&at_its_day), quoted(&last)),
        });
        let view_name = added.view.clone();
        let names = std::mem::take(&mut added.names);
        // They are made of what both metrics are made of: who sees these sees the parts, and no one else.
        for policy in &mut project.policies {
            if let Some((columns, place)) = policy.columns.get_mut(&view_name)
                && columns.iter().any(|(column, _)| *column == one.metric.name)
            {
                columns.extend(names.iter().map(|name| (name.clone(), place.clone())));
            }
        }
        let (engine, _) = self.engine.with_project(Arc::new(project)).map_err(|findings| {
            let first = findings
                .first()
                .map(|finding| finding.message.clone())
                .unwrap_or_default();
            EngineError::internal("the parts of a difference could not be defined", &first)
        })?;
        let mut session = engine.session(self.principal().clone());
        session.schema = Arc::clone(&self.schema);
        let measure = |metric: &Metric| format!("MEASURE({})", quoted(&metric.name));
        let (left, right) = (measure(&one.metric), measure(&other.metric));
        let mut columns = vec![
            format!("{left} AS {}", quoted(&one.metric.name)),
            format!("{right} AS {}", quoted(&other.metric.name)),
            format!("{left} - {right} AS difference"),
        ];
        columns.extend(
            parts
                .iter()
                .map(|part| format!("{} AS {}", part.sql, quoted(&part.column))),
        );
        let sql = statement(by, &columns, &from(view, by));
        Ok(Comparison {
            session,
            sql,
            parts: parts.into_iter().map(|part| (part.column, part.meaning)).collect(),
        })
    }

    fn by_customers(
        &self,
        view: &MetricView,
        one: &Defined,
        other: &Defined,
        by: &ComparedBy,
    ) -> Result<Comparison, EngineError> {
        for defined in [one, other] {
            if !adds_up(view, defined) {
                let message = format!("`{}` does not add up over customers", defined.metric.name);
                let help =
                    "compare sums and counts, balances, and differences of such; of a rate compare both of its parts";
                return Err(no_parts(&message, help));
            }
        }
        let (left, right) = (&one.metric.name, &other.metric.name);
        let entity = &view.entity;
        let parts = [
            (
                format!("{entity}s of {left} only"),
                format!("of each {entity} for whom `{right}` is zero"),
                "CASE WHEN k IS NOT NULL AND b = 0 THEN a ELSE 0 END",
            ),
            (
                format!("{entity}s of {right} only"),
                format!("of each {entity} for whom `{left}` is zero"),
                "CASE WHEN k IS NOT NULL AND a = 0 THEN -b ELSE 0 END",
            ),
            (
                format!("{entity}s of both"),
                format!("of each {entity} for whom neither is zero"),
                "CASE WHEN k IS NOT NULL AND a <> 0 AND b <> 0 THEN a - b ELSE 0 END",
            ),
            (
                format!("of no {entity}"),
                format!("what leads to no {entity}"),
                "CASE WHEN k IS NULL THEN a - b ELSE 0 END",
            ),
        ];
        let mut columns = vec![
            format!("sum(a) AS {}", quoted(left)),
            format!("sum(b) AS {}", quoted(right)),
            "sum(a - b) AS difference".to_owned(),
        ];
        columns.extend(
            parts
                .iter()
                .map(|(column, _, sql)| format!("sum({sql}) AS {}", quoted(column))),
        );
        let mut inner = ComparedBy {
            entity: by.entity.clone(),
            groups: by.groups.clone(),
            condition: by.condition.clone(),
        };
        inner.groups.push((quoted(&view.key), "k".to_owned()));
        let value = |name: &str, column: &str| format!("coalesce(MEASURE({}), 0) AS {column}", quoted(name));
        let each = grouped(&inner, &[value(left, "a"), value(right, "b")], &from(view, by));
        let outer = ComparedBy {
            entity: by.entity.clone(),
            groups: by.groups.iter().map(|(_, name)| (quoted(name), name.clone())).collect(),
            condition: None,
        };
        Ok(Comparison {
            session: self.clone(),
            sql: statement(&outer, &columns, &format!("({each}) AS each_one")),
            parts: parts
                .into_iter()
                .map(|(column, meaning, _)| (column, meaning))
                .collect(),
        })
    }
}

/// Metrics that are added to a project.
struct Added<'a> {
    project: &'a mut Project,
    view: TableName,
    /// The metric that policies list where they are to list these.
    like: &'a str,
    names: Vec<String>,
}

impl Added<'_> {
    fn metric(&mut self, like: &Metric, base: BaseMetric) -> String {
        let name = format!("part {} of {}", self.names.len() + 1, self.like);
        let metric = Metric {
            name: name.clone(),
            base: Some(base),
            ..like.clone()
        };
        self.project.metrics.insert(name.clone(), metric);
        self.names.push(name.clone());
        name
    }

    /// What `one` counts and the conditions of `other` leave out, by the first of them that does.
    fn left_out(
        &mut self,
        one: &Defined,
        own: &BaseMetric,
        other: &Defined,
        beside: &BaseMetric,
        sign: &str,
        parts: &mut Vec<Part>,
    ) -> Result<(), EngineError> {
        let conditions = match &beside.condition {
            Some(sql) if condition_of(own) != Some(sql.text.clone()) => conjuncts(parse(sql)?.expr),
            _ => Vec::new(),
        };
        let mut met = condition_of(own).map(|text| format!("({text})"));
        for condition in conditions {
            let base = BaseMetric {
                condition: joined(&[met.clone(), Some(format!("({condition}) IS NOT TRUE"))])
                    .map(|text| placed(&one.metric, text)),
                ..own.clone()
            };
            let part = self.metric(&one.metric, base);
            parts.push(Part {
                column: format!("only {}: not {condition}", one.metric.name),
                meaning: format!(
                    "rows that `{}` counts and `{}` does not: `{condition}` does not hold",
                    one.metric.name, other.metric.name
                ),
                sql: format!("{sign}MEASURE({})", quoted(&part)),
            });
            met = joined(&[met, Some(format!("({condition}) IS TRUE"))]);
        }
        Ok(())
    }
}

/// The metric of that name, however its letters are written.
fn known(view: &MetricView, name: &str) -> Result<Arc<Defined>, EngineError> {
    let exact = view.metrics.get(name);
    let near = || {
        let mut alike = view
            .metrics
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        alike
            .next()
            .map(|(_, defined)| defined)
            .filter(|_| alike.next().is_none())
    };
    exact.or_else(near).cloned().ok_or_else(|| {
        let error = EngineError::new(Code::SQL012, format!("no metric `{name}`"));
        match did_you_mean(name, view.metrics.keys().map(String::as_str)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}

/// MET007
fn no_parts(message: &str, help: &str) -> EngineError {
    EngineError::new(Code::MET007, message.to_owned()).help(help.to_owned())
}

fn written(defined: &Defined) -> Result<&BaseMetric, EngineError> {
    let base = defined.metric.base.as_ref();
    base.ok_or_else(|| EngineError::internal("a base metric has no table", &defined.metric.name))
}

/// Whether the difference of two is one of rows.
fn are_by_rows((one, base): (&Defined, &Base), (other, beside): (&Defined, &Base)) -> bool {
    let adds = |base: &Base| base.balance.is_none() && matches!(base.function, Aggregate::Sum | Aggregate::Count);
    base.table == beside.table && adds(base) && adds(beside) && one.metric.frame == other.metric.frame
}

/// Whether the values of customers add up to those of any group of them.
fn adds_up(view: &MetricView, defined: &Defined) -> bool {
    match &defined.kind {
        Kind::Base(base) => {
            matches!(base.function, Aggregate::Sum | Aggregate::Count) && base.rule() != Some(HoldingRule::FullToEach)
        }
        Kind::Derived { expr, parts } => {
            is_sum(expr)
                && parts
                    .iter()
                    .all(|part| view.known.get(part).is_some_and(|part| adds_up(view, part)))
        }
    }
}

/// Whether an expression only adds and subtracts.
fn is_sum(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Cast(cast) => is_sum(&cast.expr),
        Expr::Negative(inner) => is_sum(inner),
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Plus | Operator::Minus,
            right,
        }) => is_sum(left) && is_sum(right),
        _ => false,
    }
}

/// The conditions that must all hold, as written.
fn conjuncts(condition: ast::Expr) -> Vec<String> {
    match condition {
        ast::Expr::Nested(inner) => conjuncts(*inner),
        ast::Expr::BinaryOp {
            left,
            op: ast::BinaryOperator::And,
            right,
        } => {
            let mut found = conjuncts(*left);
            found.extend(conjuncts(*right));
            found
        }
        other => vec![other.to_string()],
    }
}

fn condition_of(base: &BaseMetric) -> Option<String> {
    base.condition.as_ref().map(|sql| sql.text.clone())
}

fn joined(conditions: &[Option<String>]) -> Option<String> {
    let all: Vec<String> = conditions.iter().flatten().map(|text| format!("({text})")).collect();
    (!all.is_empty()).then(|| all.join(" AND "))
}

fn placed(metric: &Metric, text: String) -> SqlText {
    SqlText {
        text,
        place: metric.place.clone(),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn from(view: &MetricView, by: &ComparedBy) -> String {
    let mut from = format!("{UNIFIED}.{}", quoted(&format!("{}_metrics", view.entity)));
    if let Some(condition) = &by.condition {
        // Each on a line of its own: a comment at the end of a condition ends there.
        let _ = write!(from, " WHERE ({condition}\n)");
    }
    from
}

fn grouped(by: &ComparedBy, columns: &[String], from: &str) -> String {
    let groups = by.groups.iter().map(|(sql, name)| format!("{sql} AS {}", quoted(name)));
    let selected: Vec<String> = groups.chain(columns.iter().cloned()).collect();
    let mut sql = format!("SELECT {} FROM {from}", selected.join(", "));
    if !by.groups.is_empty() {
        let places: Vec<String> = (1..=by.groups.len()).map(|at| at.to_string()).collect();
        let _ = write!(sql, " GROUP BY {}", places.join(", "));
    }
    sql
}

fn statement(by: &ComparedBy, columns: &[String], from: &str) -> String {
    let mut sql = grouped(by, columns, from);
    if !by.groups.is_empty() {
        let places: Vec<String> = (1..=by.groups.len()).map(|at| at.to_string()).collect();
        let _ = write!(sql, " ORDER BY {}", places.join(", "));
    }
    sql
}
