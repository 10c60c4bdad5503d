//! Why a table is for a principal what it is: which policies apply, which rows they give, what they show.
//!
//! Owns: the explanation as data. Never: decides; it reads the decision and the compiled enforcement.

use caliber_catalog::grant::{EntityFilter, PolicyGrant, RowFilter, SqlText};
use caliber_catalog::name::TableName;
use caliber_catalog::principal::Principal;
use caliber_catalog::project::Policy;
use caliber_catalog::snapshot::TableVerdict;
use caliber_catalog::standing::Verdict;
use serde::{Serialize, Serializer};

use super::cells::{ColumnState, Shown, shown, state};
use super::why_closed::{attributes_used, why_closed};
use crate::EngineError;
use crate::govern::enforcement::Enforcement;
use crate::run::wire_types::sql_type_name;
use crate::session::Session;

/// A table of a source, explained for one principal.
#[derive(Clone, Debug, Serialize)]
pub struct TableExplanation {
    /// The table.
    #[serde(serialize_with = "as_text")]
    pub table: TableName,
    /// Whether it exists for the principal.
    pub exists: bool,
    /// Every policy of the project, in order.
    pub policies: Vec<PolicyExplanation>,
    /// Every column the source has, in its order.
    pub columns: Vec<ColumnExplanation>,
}

/// What one policy makes of the table for the principal.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyExplanation {
    /// Its name.
    pub policy: String,
    /// Where it stands: `policies/access.yaml:11`.
    pub place: String,
    /// What it does.
    #[serde(flatten)]
    pub effect: Effect,
}

/// What a policy does for a principal on a table.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// The principal has none of its roles.
    OtherRoles {
        /// The roles it is for.
        roles: Vec<String>,
    },
    /// Its last day is over.
    Expired {
        /// That day.
        day: String,
    },
    /// Its `when` does not hold for the principal.
    ConditionFails {
        /// The condition.
        condition: String,
        /// The attributes it uses: `district_id = 1`.
        attributes: Vec<String>,
    },
    /// It opens other tables only.
    OtherTables,
    /// It covers the table and lists none of its columns.
    NoColumn,
    /// It is about an entity that the table's rows are not tied to.
    NotTied {
        /// The entity.
        entity: String,
        /// Where several shortest ways tie it, these.
        ways: Vec<String>,
    },
    /// It opens the table, but gives no row.
    Closed {
        /// Why: `attribute `district_id` is missing`.
        reasons: Vec<String>,
    },
    /// It opens the table for numbers over groups only, and gives no row.
    GroupsOnly {
        /// The entity that is counted.
        entity: String,
        /// The fewest of them behind a number.
        size: u32,
    },
    /// It opens the table and gives rows.
    Opens(Opening),
}

/// What an open policy gives.
#[derive(Clone, Debug, Serialize)]
pub struct Opening {
    /// The conditions on rows, all of which must hold; none admits every row.
    pub rows: Vec<RowRule>,
    /// Entities whose `rows` do not narrow this table: it is reference data that they lead to.
    pub reference_data_of: Vec<String>,
}

/// One condition on rows.
#[derive(Clone, Debug, Serialize)]
pub struct RowRule {
    /// The policy's SQL.
    pub condition: String,
    /// The attributes it uses: `district_id = 1`.
    pub attributes: Vec<String>,
    /// For rows that follow an entity: which, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityRule>,
}

/// How the rows follow an entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntityRule {
    /// The entity.
    pub entity: String,
    /// From the table to the entity's own; none where the table is the entity's own.
    pub path: Vec<PathStep>,
}

/// One step: `column` of the table before equals `key` of `table`.
#[derive(Clone, Debug, Serialize)]
pub struct PathStep {
    /// The column of the table before.
    pub column: String,
    /// The table entered.
    #[serde(serialize_with = "as_text")]
    pub table: TableName,
    /// Its column.
    pub key: String,
    /// What its rows must satisfy.
    pub condition: Option<String>,
}

/// One column, explained.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnExplanation {
    /// Its name.
    pub column: String,
    /// Its SQL type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// What it is over all visible rows.
    pub state: ColumnState,
    /// By policy that gives rows, what that shows.
    pub shown: Vec<(String, Shown)>,
}

impl Session {
    /// Why a source's table is for the principal what it is, whether or not it exists for it; `None` where no source
    /// holds such a table. For operators: it names what the principal may not know of. Asks no source.
    pub fn explain_table(&self, table: &TableName) -> Result<Option<TableExplanation>, EngineError> {
        let snapshot = &self.engine.snapshot;
        let Some(remote) = snapshot.remote_table(table) else {
            return Ok(None);
        };
        let enforcement = self.catalog.enforcement(table)?;
        let grant = self.catalog.source_tables().find(|grant| grant.table == *table);
        let policies = snapshot
            .catalog
            .verdicts(&self.catalog.standing, table)
            .into_iter()
            .map(|(policy, verdict)| explained(policy, verdict, enforcement.as_deref(), self.principal()))
            .collect();
        let columns = remote
            .columns
            .iter()
            .map(|column| {
                let governed = enforcement
                    .as_ref()
                    .zip(grant)
                    .and_then(|(enforcement, grant)| Some((enforcement, grant, enforcement.column(&column.name)?)));
                ColumnExplanation {
                    column: column.name.clone(),
                    data_type: sql_type_name(&column.data_type),
                    state: governed.map_or(ColumnState::Absent, |(enforcement, _, column)| {
                        state(enforcement, column)
                    }),
                    shown: governed
                        .map(|(enforcement, grant, column)| shown(grant, enforcement, column))
                        .unwrap_or_default(),
                }
            })
            .collect();
        Ok(Some(TableExplanation {
            table: table.clone(),
            exists: enforcement.is_some(),
            policies,
            columns,
        }))
    }

    /// Every table of every source, whether or not it exists for the principal, sorted.
    pub fn explain_all(&self) -> Result<Vec<TableExplanation>, EngineError> {
        let tables = self.engine.snapshot.catalog.all_source_tables();
        let all = tables.iter().map(|table| self.explain_table(table));
        Ok(all.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

fn explained(
    policy: &Policy,
    verdict: TableVerdict,
    enforcement: Option<&Enforcement>,
    principal: &Principal,
) -> PolicyExplanation {
    let gives_rows = enforcement.is_some_and(|table| table.policies.iter().any(|open| open.name == policy.name));
    let effect = match verdict {
        TableVerdict::NotForPrincipal(verdict) => not_for(policy, verdict, principal),
        TableVerdict::NotThisTable => Effect::OtherTables,
        TableVerdict::NoColumn => Effect::NoColumn,
        TableVerdict::NotTied { entity, ways } => Effect::NotTied { entity, ways },
        TableVerdict::Opens {
            grant: PolicyGrant {
                groups: Some(group), ..
            },
            ..
        } => Effect::GroupsOnly {
            entity: group.entity,
            size: group.size,
        },
        TableVerdict::Opens { grant, .. } if !gives_rows => Effect::Closed {
            reasons: reasons(&grant, principal),
        },
        TableVerdict::Opens {
            grant,
            reference_data_of,
        } => Effect::Opens(Opening {
            rows: grant.rows.iter().map(|row| rule(row, principal)).collect(),
            reference_data_of,
        }),
    };
    PolicyExplanation {
        policy: policy.name.clone(),
        place: format!("{}:{}", policy.place.source.name, policy.place.line_column().0),
        effect,
    }
}

/// Why a policy is not for the principal.
fn not_for(policy: &Policy, verdict: Verdict, principal: &Principal) -> Effect {
    match (verdict, &policy.expires, &policy.when) {
        (Verdict::Expired, Some((day, _)), _) => Effect::Expired { day: day.to_string() },
        (Verdict::ConditionFails, _, Some(when)) => Effect::ConditionFails {
            condition: when.text.clone(),
            attributes: attributes_used(when, principal),
        },
        _ => Effect::OtherRoles {
            roles: policy.roles.clone(),
        },
    }
}

/// Why a policy gives no row.
fn reasons(grant: &PolicyGrant, principal: &Principal) -> Vec<String> {
    let mut reasons: Vec<String> = grant
        .rows
        .iter()
        .flat_map(texts)
        .flat_map(|sql| why_closed(sql, principal))
        .collect();
    // A type that does not fit is the reason only where nothing plainer is.
    if reasons.iter().any(|reason| !reason.ends_with("does not fit")) {
        reasons.retain(|reason| !reason.ends_with("does not fit"));
    }
    reasons.dedup();
    reasons
}

/// Every piece of SQL of a row filter.
fn texts(row: &RowFilter) -> Vec<&SqlText> {
    match row {
        RowFilter::Table(sql) => vec![sql],
        RowFilter::Entity(filter) => filter
            .path
            .iter()
            .filter_map(|step| step.condition.as_ref())
            .chain([&filter.predicate])
            .collect(),
    }
}

fn rule(row: &RowFilter, principal: &Principal) -> RowRule {
    let (sql, entity) = match row {
        RowFilter::Table(sql) => (sql, None),
        RowFilter::Entity(filter) => (&filter.predicate, Some(entity_rule(filter))),
    };
    RowRule {
        condition: sql.text.clone(),
        attributes: attributes_used(sql, principal),
        entity,
    }
}

fn entity_rule(filter: &EntityFilter) -> EntityRule {
    let path = filter.path.iter().map(|step| PathStep {
        column: step.column.clone(),
        table: step.table.clone(),
        key: step.key.clone(),
        condition: step.condition.as_ref().map(|sql| sql.text.clone()),
    });
    EntityRule {
        entity: filter.entity.clone(),
        path: path.collect(),
    }
}

/// `source.table`
pub(super) fn as_text<S: Serializer>(table: &TableName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(table)
}
