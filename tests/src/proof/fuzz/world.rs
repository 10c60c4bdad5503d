//! One query: drawn, run governed, run plainly over what is visible, compared.
//!
//! Owns: what agreement means. Never: how many queries there are (`mod.rs`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use caliber_engine::{EngineError, Session};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ast::{Query, Reader};
use super::config::{Config, covering};
use super::data::{Data, SOURCES};
use super::generate::{Statement, statement};
use super::outcome::{Class, Order, Outcome};
use super::policy::principal;
use super::reference::{First, Member, Reference, Sight, scalar};
use super::shrink::simpler;
use super::sources::Sources;

/// The longest a governed statement may take before it counts as a difference.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(40);

/// Simplifications that are tried on a statement that came out differently.
const SHRINK_TRIES_MAX: usize = 150;

/// Everything queries are run against.
pub struct World {
    seed: u64,
    sources: Sources,
    reference: Reference,
    covering: Vec<Config>,
}

/// What came of one query.
pub struct Compared {
    pub config: Config,
    pub statement: Statement,
    pub found: Outcome,
    /// Which member of the reference agreed; 0 is the one that runs as the engine does.
    pub member: Option<usize>,
    /// What differed, with everything needed to see it again.
    pub difference: Option<String>,
}

/// One query, ready to run.
struct Drawn {
    config: Config,
    roles: Vec<&'static str>,
    statement: Statement,
}

impl World {
    /// Loads the sources, in databases of that name.
    pub async fn open(seed: u64, name: &str) -> Result<Self> {
        let data = Arc::new(Data::new(seed));
        Ok(Self {
            seed,
            sources: Sources::load(&data, name).await?,
            reference: Reference::new(data),
            covering: covering(&mut StdRng::seed_from_u64(seed)),
        })
    }

    /// Draws query `number`, runs and compares it.
    pub async fn compare(&self, number: u64) -> Result<Compared> {
        let query = self.draw(number);
        let found = self.governed(&query, &query.statement.query).await?;
        let (member, wanted) = self.agreeing(&query, &query.statement.query, &found).await?;
        let difference = match member {
            Some(_) => None,
            None => Some(self.describe(number, &query, &found, &wanted).await?),
        };
        Ok(Compared {
            config: query.config,
            statement: query.statement,
            found,
            member,
            difference,
        })
    }

    fn draw(&self, number: u64) -> Drawn {
        let mut chance = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let drawn = Config::draw(&mut chance);
        let covering = usize::try_from(number).ok().and_then(|at| self.covering.get(at));
        let config = covering.cloned().unwrap_or(drawn);
        let mut roles = vec![config.source()];
        let other = SOURCES[chance.random_range(0..SOURCES.len())];
        if other != config.source() && chance.random_range(0..2) == 0 {
            roles.push(other);
        }
        let tables = self.reference.visible(&sight(&config, &roles));
        let statement = statement(chance.random(), &tables, config.source());
        Drawn {
            config,
            roles,
            statement,
        }
    }

    /// Runs a query through the engine under test.
    async fn governed(&self, query: &Drawn, asked: &Query) -> Result<Outcome> {
        let engine = self.sources.engine(query.config.running()).await?;
        let session = engine.session(principal(query.config.shape(), query.config.share(), &query.roles));
        let mut asked = asked.clone();
        if let Order::Some { limit, offset } = query.statement.order {
            asked.limit = Some(limit);
            asked.offset = (offset > 0).then_some(offset);
        }
        let sql = asked.text(Reader::Governed);
        let ran = execute(&session, &sql, &query.statement);
        let outcome = match tokio::time::timeout(STATEMENT_TIME_MAX, ran).await {
            Ok(Ok((schema, batches))) => Outcome::rows(&schema, &batches)?,
            Ok(Err(error)) => Outcome::governed(&error),
            Err(_) => Outcome::Failed(Class::Defect, format!("no end after {STATEMENT_TIME_MAX:?}")),
        };
        Ok(outcome)
    }

    /// The first member of the reference that comes to what was found, and the first of all.
    async fn agreeing(&self, query: &Drawn, asked: &Query, found: &Outcome) -> Result<(Option<usize>, Outcome)> {
        let sight = sight(&query.config, &query.roles);
        let mut first = None;
        for (at, member) in members(&query.config).into_iter().enumerate() {
            let values = &query.statement.parameters;
            let outcome = self.reference.run(&sight, member, asked, values).await?;
            if found.equals(&outcome, query.statement.order) {
                return Ok((Some(at), outcome));
            }
            first.get_or_insert(outcome);
        }
        Ok((None, first.context("the reference has no member")?))
    }

    async fn describe(&self, number: u64, query: &Drawn, found: &Outcome, wanted: &Outcome) -> Result<String> {
        let mut text = format!(
            "query {number} of seed {} ({}; roles of {})\n  {}\n",
            self.seed,
            query.config,
            query.roles.join(", "),
            query.statement.query.text(Reader::Governed)
        );
        if let Order::Some { limit, offset } = query.statement.order {
            text.push_str(&format!(
                "  and LIMIT {limit} OFFSET {offset}; wanted is the answer without\n"
            ));
        }
        if !query.statement.parameters.is_empty() {
            text.push_str(&format!("  parameters {:?}\n", query.statement.parameters));
        }
        text.push_str(&format!("  found {found}\n  wanted {wanted}\n"));
        let smallest = self.shrunk(query, found, wanted).await?;
        text.push_str(&format!("  as short as it gets: {}", smallest.text(Reader::Governed)));
        Ok(text)
    }

    /// The shortest statement found that differs in the same way.
    async fn shrunk(&self, query: &Drawn, found: &Outcome, wanted: &Outcome) -> Result<Query> {
        let kind = (found.class(), wanted.class());
        let mut smallest = query.statement.query.clone();
        let mut tries = 0;
        'smaller: loop {
            for candidate in simpler(&smallest) {
                tries += 1;
                if tries > SHRINK_TRIES_MAX {
                    break 'smaller;
                }
                let found = self.governed(query, &candidate).await?;
                let (member, wanted) = self.agreeing(query, &candidate, &found).await?;
                if member.is_none() && (found.class(), wanted.class()) == kind {
                    smallest = candidate;
                    continue 'smaller;
                }
            }
            break;
        }
        Ok(smallest)
    }
}

fn sight(config: &Config, roles: &[&'static str]) -> Sight {
    Sight {
        shape: config.shape(),
        share: config.share(),
        roles: roles.to_vec(),
    }
}

type Rows = (Arc<Schema>, Vec<RecordBatch>);

async fn execute(session: &Session, sql: &str, statement: &Statement) -> std::result::Result<Rows, EngineError> {
    let prepared = match statement.prepared {
        true => Some(session.prepare(sql).await?.schema),
        false => None,
    };
    let stream = session.execute(sql, parameters(statement)).await?;
    let schema = stream.schema();
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    let told = prepared.is_none_or(|prepared| prepared == schema);
    if told && batches.iter().all(|batch| batch.schema() == schema) {
        return Ok((schema, batches));
    }
    Err(EngineError::new(
        caliber_catalog::diagnostic::Code::INT001,
        "the schema is not the one that was prepared",
    ))
}

fn parameters(statement: &Statement) -> Option<RecordBatch> {
    let arrays: Option<Vec<ArrayRef>> = statement
        .parameters
        .iter()
        .map(|value| scalar(value).to_array().ok())
        .collect();
    let arrays = arrays.filter(|arrays| !arrays.is_empty())?;
    let fields = arrays.iter().enumerate();
    let fields: Vec<Field> = fields
        .map(|(at, array)| Field::new(format!("${}", at + 1), array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).ok()
}

/// The members of the reference, the one most like the engine's configuration first.
fn members(config: &Config) -> Vec<Member> {
    let running = config.running();
    let mut members = Vec::new();
    let sizes = [running.batch_rows, 1, 7, 8_192];
    for (batch_rows, partitions) in sizes
        .iter()
        .flat_map(|size| [running.partitions, 1].map(|some| (*size, some)))
    {
        for (reader, first) in [
            (Reader::Functions, First::Simple),
            (Reader::Operators, First::Simple),
            (Reader::Functions, First::Nothing),
            (Reader::Operators, First::Nothing),
            (Reader::Functions, First::All),
            (Reader::Operators, First::All),
        ] {
            let member = Member {
                batch_rows,
                partitions,
                first,
                reader,
            };
            if !members.contains(&member) {
                members.push(member);
            }
        }
    }
    members
}
