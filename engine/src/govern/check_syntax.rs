//! Reads every expression of a project without asking a source, so that a mistake in its spelling shows offline.
//!
//! Owns: finding the expressions that are no SQL. Never: names or types, which need the sources (`check_policies`).

use caliber_catalog::diagnostic::{Code, Diagnostic};
use caliber_catalog::grant::SqlText;
use caliber_catalog::project::Project;

use crate::statement::parse_expression;

/// Every row filter, mask, condition, attribute and holdings condition that cannot be read as one SQL expression.
pub fn check_syntax(project: &Project) -> Vec<Diagnostic> {
    let policies = project.policies.iter().flat_map(|policy| {
        policy
            .table_rows
            .values()
            .chain(policy.entity_rows.values())
            .chain(policy.masks.values())
            .chain(&policy.when)
    });
    let entities = project.entities.values().flat_map(|entity| {
        let holdings = entity.holdings.iter().filter_map(|holding| holding.condition.as_ref());
        entity
            .attributes
            .iter()
            .map(|attribute| &attribute.expr)
            .chain(holdings)
    });
    policies.chain(entities).filter_map(finding).collect()
}

fn finding(sql: &SqlText) -> Option<Diagnostic> {
    let error = parse_expression(&sql.text).err()?;
    let place = error
        .place
        .map_or_else(|| sql.place.clone(), |within| sql.place_of(within.range));
    let mut finding = Diagnostic::error(Code::PRJ011, error.message).at(place);
    finding.label = error.label;
    finding.help = error.help;
    Some(finding)
}
