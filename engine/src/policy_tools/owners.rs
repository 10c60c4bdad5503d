//! To which instances of an entity the rows of a table belong.
//!
//! Owns: gathering the keys of such rows and following them to the entity. Never: applies policy; the instances are
//! counted, not given out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use caliber_catalog::diagnostic::Code;
use caliber_catalog::grant::KeyStep;
use caliber_catalog::name::TableName;
use datafusion::logical_expr::{Expr, lit};

use crate::EngineError;
use crate::absorb::key_relation::{KeyRelation, Keys, RelationStep, column_of, comparable};
use crate::engine::OpenSnapshot;
use crate::govern::enforcement::raw_schema;
use crate::govern::policy_expr::{Attributes, Compiled, Wanted, compile};
use crate::run::query_run::QueryRun;
use crate::session::Session;

/// Gathered arrays become one of distinct keys whenever there are this many.
const ARRAYS_MAX: usize = 64;

/// The rows' keys so far, and the way from them to the entity.
pub(super) struct Owners {
    /// The entity.
    pub entity: String,
    /// The column of the rows' table that is gathered, by index.
    pub column: usize,
    name: String,
    data_type: DataType,
    gathered: Vec<ArrayRef>,
    /// From the rows to the entity; empty where the gathered column is the entity's key itself.
    steps: Vec<RelationStep>,
    session: Session,
}

impl Owners {
    /// For each entity that rows of `table` belong to, nothing gathered yet.
    pub fn of(session: &Session, table: &TableName) -> Result<Vec<Self>, EngineError> {
        let mut all = Vec::new();
        for entity in session.engine.snapshot.catalog.entities() {
            all.extend(Self::of_entity(session, table, &entity.name, &entity.key)?);
        }
        Ok(all)
    }

    fn of_entity(
        session: &Session,
        table: &TableName,
        entity: &str,
        entity_key: &str,
    ) -> Result<Option<Self>, EngineError> {
        let snapshot = &session.engine.snapshot;
        let Some(path) = snapshot.catalog.entity_path(entity, table) else {
            return Ok(None);
        };
        let (source, remote) = snapshot.table(table)?;
        let name = path.first().map_or(entity_key, |step| step.column.as_str());
        let Some(column) = remote.columns.iter().position(|column| column.name == name) else {
            return Ok(None);
        };
        let Some(data_type) = remote.columns.get(column).map(|column| column.data_type.clone()) else {
            return Ok(None);
        };
        // The relation is walked from its last step to its first: the rows' own keys stand last, ready.
        let mut steps = vec![RelationStep {
            source,
            table: remote,
            key: column,
            link: None,
            predicate: None,
            id: "rows".to_owned(),
        }];
        for (at, step) in path.iter().enumerate() {
            let (source, remote) = snapshot.table(&step.table)?;
            let position = |name: &str| remote.columns.iter().position(|column| column.name == name);
            let next = path.get(at + 1).map_or(entity_key, |next| next.column.as_str());
            let (Some(link), Some(key)) = (position(&step.key), position(next)) else {
                return Ok(None);
            };
            let predicate = condition(session, snapshot, step)?;
            steps.insert(
                0,
                RelationStep {
                    source,
                    table: Arc::clone(&remote),
                    key,
                    link: Some(link),
                    predicate,
                    id: format!("step {at}"),
                },
            );
        }
        let fits = steps.windows(2).all(|pair| match pair {
            [to, from] => {
                let linked = to.link.and_then(|link| to.table.columns.get(link));
                let key = from.table.columns.get(from.key);
                linked
                    .zip(key)
                    .is_some_and(|(linked, key)| comparable(&linked.data_type, &key.data_type))
            }
            _ => false,
        });
        Ok(fits.then(|| Self {
            entity: entity.to_owned(),
            column,
            name: name.to_owned(),
            data_type,
            gathered: Vec::new(),
            steps,
            session: session.clone(),
        }))
    }

    /// Gathers the keys of `rows`. Error: LIM002 where they need more than `memory` bytes.
    pub fn add(&mut self, rows: &RecordBatch, memory: usize) -> Result<(), EngineError> {
        let keys = Keys::new(&self.data_type, &[column_of(rows, &self.name)?])?;
        self.gathered.push(keys.array);
        if self.gathered.len() < ARRAYS_MAX {
            return Ok(());
        }
        let keys = Keys::new(&self.data_type, &self.gathered)?.array;
        if keys.get_array_memory_size() > memory {
            let error = EngineError::new(
                Code::LIM002,
                "the keys of the rows opened need more memory than a query may use",
            );
            return Err(error.help("raise `server.limits.query_memory`, or leave the counts out"));
        }
        self.gathered = vec![keys];
        Ok(())
    }

    /// How many instances of the entity own the rows gathered.
    pub async fn count(self, run: &QueryRun) -> Result<u64, EngineError> {
        let keys = Keys::new(&self.data_type, &self.gathered)?;
        if keys.array.is_empty() {
            return Ok(0);
        }
        let run = run.beside();
        let ready = run.key_cell("rows").set(Arc::new(keys));
        ready.map_err(|_| EngineError::internal("a run's keys were there before it", &self.entity))?;
        let relation = KeyRelation {
            steps: self.steps,
            state: Arc::clone(&self.session.engine.state),
        };
        Ok(relation.resolve(&run).await?.array.len() as u64)
    }
}

/// The holdings' condition of a step. One that the principal's attributes close ties nobody.
fn condition(session: &Session, snapshot: &OpenSnapshot, step: &KeyStep) -> Result<Option<Expr>, EngineError> {
    let Some(sql) = &step.condition else {
        return Ok(None);
    };
    let (_, remote) = snapshot.table(&step.table)?;
    let schema = raw_schema(&remote)?;
    let attributes = Attributes::Of(session.principal());
    let compiled = compile(&session.engine.state, sql, &schema, attributes, &Wanted::Predicate)?;
    let Compiled::Expr(expr) = compiled else {
        return Ok(Some(lit(false)));
    };
    Ok(Some(expr))
}
