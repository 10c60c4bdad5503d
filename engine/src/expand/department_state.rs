//! What each department knows of an instance: whether any row of its tables leads to it.
//!
//! Owns: which departments and tables those are, the counts of their rows as metrics of their own. Never: a state of what is
//! hidden; rows that a policy hides are no rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use caliber_catalog::grant::SqlText;
use caliber_catalog::metric::{Frame, Metric};
use caliber_catalog::name::TableName;
use caliber_catalog::project::Label;
use caliber_catalog::whole::STATE_SUFFIX;
use datafusion::logical_expr::{Expr, lit, when};

use super::whole_view::{Names, WholeView};
use crate::EngineError;
use crate::metrics::asked::{Asked, Leaf};
use crate::metrics::definition::{Base, Defined, Kind};
use crate::metrics::meaning::MadeOf;
use crate::metrics::metric_sql::Aggregate;
use crate::metrics::metric_view::Visible;

/// What a department knows of an instance.
const PRESENT: &str = "present";
const NO_RECORD: &str = "no_record";
const DENIED: &str = "denied";

/// What is known of one department.
pub(crate) struct Department {
    pub column: String,
    /// Whether the entity's own table is there: it knows every instance.
    is_own: bool,
    /// The metrics that count its rows; none where all of it is hidden.
    pub rows: Vec<Arc<Defined>>,
}

impl WholeView<'_> {
    /// The departments that hold something of the entity and of which the principal has some grant.
    pub fn departments(&self, visible: &Visible<'_>) -> Result<Vec<Department>, EngineError> {
        let catalog = &self.catalog.snapshot.catalog;
        let mut found = Vec::new();
        for source in catalog.project.sources.keys() {
            let granted = self.catalog.source_tables().any(|grant| grant.table.schema == *source);
            let Some(schema) = catalog.schemas.get(source).filter(|_| granted) else {
                continue;
            };
            let column = format!("{source}{STATE_SUFFIX}");
            let mut department = Department {
                column,
                is_own: *source == self.entity.table.schema,
                rows: Vec::new(),
            };
            let mut of_entity = department.is_own;
            for table in schema.tables.iter().filter(|_| !department.is_own) {
                let name = TableName::new(source, &table.name);
                let Ok(Some(path)) = catalog.way_to_entity(&self.entity.name, &name) else {
                    continue;
                };
                of_entity = true;
                let first = path.steps.first().map_or(&self.entity.key, |step| &step.column);
                let mut used = BTreeSet::from([first.clone()]);
                let time = self.time_of(&name);
                used.extend(time.clone());
                let base = Base {
                    table: name.clone(),
                    function: Aggregate::Count,
                    argument: None,
                    condition: None,
                    time,
                    dimensions: Vec::new(),
                    balance: None,
                    path,
                    used,
                };
                if visible.sees_base(&base)? {
                    department.rows.push(Arc::new(self.rows_of(base)));
                }
            }
            if of_entity {
                found.push(department);
            }
        }
        Ok(found)
    }

    /// The column that says when a row of a table is from, where what is declared over the table agrees on one.
    fn time_of(&self, table: &TableName) -> Option<String> {
        let project = &self.catalog.snapshot.catalog.project;
        let metrics = project.metrics.values().filter_map(|metric| metric.base.as_ref());
        let metrics = metrics
            .filter(|base| base.table == *table)
            .filter_map(|base| base.time.as_ref().map(|(time, _)| time));
        let whole = project.wholes.get(&self.entity.name);
        let events = whole.into_iter().flat_map(|whole| {
            let steps = whole.journeys.iter().flat_map(|journey| &journey.steps);
            steps.chain(&whole.timeline)
        });
        let events = events.filter(|event| event.table == *table).map(|event| &event.time);
        let times: BTreeSet<&String> = metrics.chain(events).collect();
        match times.len() {
            1 => times.into_iter().next().cloned(),
            _ => None,
        }
    }

    /// The number of rows of every table of which both balances and other metrics are asked: a row of it for all that is
    /// held, beside which a balance stands in the same statement.
    pub fn beside_balances(&self, asked: &Asked<'_>) -> Result<Vec<Arc<Defined>>, EngineError> {
        let mut beside: Vec<Arc<Defined>> = Vec::new();
        let bases = asked.leaves.iter().map(Leaf::base).collect::<Result<Vec<_>, _>>()?;
        for balance in bases.iter().filter(|base| base.balance.is_some()) {
            let same =
                |base: &&&Base| base.table == balance.table && base.time == balance.time && base.balance.is_none();
            let known = beside
                .iter()
                .any(|rows| matches!(&rows.kind, Kind::Base(rows) if rows.table == balance.table));
            let Some(other) = bases.iter().find(same).filter(|_| !known) else {
                continue;
            };
            beside.push(Arc::new(self.rows_of(Base {
                table: other.table.clone(),
                function: Aggregate::Count,
                argument: None,
                condition: None,
                time: other.time.clone(),
                dimensions: Vec::new(),
                balance: None,
                path: other.path.clone(),
                used: BTreeSet::new(),
            })));
        }
        Ok(beside)
    }

    /// The number of an instance's rows of a table, as a metric.
    fn rows_of(&self, base: Base) -> Defined {
        let place = self.entity.key_place.clone();
        Defined {
            metric: Metric {
                name: format!("rows of {}", base.table),
                label: Label::default(),
                description: None,
                owner: None,
                version: None,
                unit: None,
                expr: SqlText {
                    text: "count(*)".to_owned(),
                    place: place.clone(),
                },
                base: None,
                frame: Frame::default(),
                place,
            },
            version: String::new(),
            data_type: DataType::Int64,
            made_of: MadeOf::default(),
            kind: Kind::Base(Box::new(base)),
        }
    }
}

impl Department {
    pub fn state(&self, names: &Names) -> Result<Expr, EngineError> {
        if self.is_own {
            return Ok(lit(PRESENT));
        }
        let counts = self.rows.iter().map(|rows| {
            let found = names.get(&rows.metric.name);
            let found = found.ok_or_else(|| EngineError::internal("a count of rows is missing", &self.column))?;
            Ok(found.0.clone().gt(lit(0_i64)))
        });
        let counts: Vec<Expr> = counts.collect::<Result<_, EngineError>>()?;
        Ok(match counts.into_iter().reduce(Expr::or) {
            Some(any) => when(any.is_true(), lit(PRESENT)).otherwise(lit(NO_RECORD))?,
            None => lit(DENIED),
        })
    }
}
